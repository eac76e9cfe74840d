// The page to try a model: a form for its head, and the response.
//
// /page/about.json has the model's settings and signatures; HEADS has the form of
// each head: its fields, the request, and how to show the response. Text of users
// and models is only ever set as text, never as HTML.

const MASK = "[MASK]";
const MOST_LABELS = 20;
const MOST_PIECES = 512;

export const byId = (id) => document.getElementById(id);

export let about;
let inside = null; // What shows the inside of a model, where it can be shown.

// ------------------------------------------------------------------ elements

/** An element with properties and children; strings become text. */
export function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

function percent(share) {
  const rounded = (100 * share).toFixed(1);
  if (share > 0 && rounded === "0.0") return "< 0.1 %";
  if (share < 1 && rounded === "100.0") return "> 99.9 %";
  return `${rounded} %`;
}

/** A list of names with their probabilities as bars, the highest one first. */
function shares(pairs) {
  const rows = [...pairs].sort((a, b) => b[1] - a[1]);
  const list = make("ul", { className: "shares" });
  for (const [index, [name, share]] of rows.slice(0, MOST_LABELS).entries()) {
    const filled = make("span");
    filled.style.width = `${Math.max(0, Math.min(1, share)) * 100}%`;
    const track = make("span", { className: "track" }, filled);
    track.setAttribute("aria-hidden", "true");
    const best = index === 0 ? " best" : "";
    list.append(
      make(
        "li",
        {},
        make("span", { className: `of${best}` }, name),
        track,
        make("span", { className: `number${best}` }, percent(share)),
      ),
    );
  }
  const more = rows.length - MOST_LABELS;
  if (more <= 0) return [list];
  return [list, make("p", { className: "note" }, `and ${more} more`)];
}

/**
 * Text with ranges of characters marked, each with a name if it has one; offsets
 * count code points.
 */
function markedRanges(text, ranges) {
  const points = Array.from(text);
  const parts = [];
  let place = 0;
  for (const { start, end, name } of ranges) {
    const mark = make("mark", {}, points.slice(start, end).join(""));
    if (name) mark.append(make("small", {}, name));
    parts.push(points.slice(place, start).join(""), mark);
    place = end;
  }
  return make("blockquote", {}, ...parts, points.slice(place).join(""));
}

function marked(text, start, end) {
  return markedRanges(text, [{ start, end }]);
}

export function note(text) {
  return make("p", { className: "note" }, text);
}

/** The note about pieces that were not read; `by` names heads, of several. */
export function cutNote(row, by = "") {
  if (!row.num_cut) return [];
  const length = about.about.max_seq_length;
  return [
    note(
      `${row.num_cut} word pieces were not read${by}: the model takes ` +
        `${length} at once.`,
    ),
  ];
}

// --------------------------------------------------------------------- heads

/** The request for one text or two. */
export function textRequest(texts) {
  const pair = about.signatures.serve_text_pair;
  const isPair = texts.length > 1 && texts[1] !== "" && pair;
  const name = isPair ? "serve_text_pair" : "serve_text";
  const inputs = Object.keys(about.signatures[name].inputs);
  // The inputs of serve_text_pair, sorted by name, are the first and second text.
  const instance = Object.fromEntries(
    inputs.sort().map((input, index) => [input, texts[index] ?? ""]),
  );
  return { signature_name: name, instances: [instance] };
}

export function secondText(label) {
  return readsPairs() ? [{ id: "second", label, optional: true }] : [];
}

/** Whether the model takes pairs, and was not trained on single texts only. */
function readsPairs() {
  const heads = Object.values(about.about.heads ?? { one: about.about });
  const were = heads.some(({ text_pairs }) => text_pairs !== false);
  return about.signatures.serve_text_pair && were;
}

/** The result of a classifier that predicts a number. */
function showNumber(row) {
  const number = row.value.toPrecision(4);
  const verdict = make("p", { className: "verdict" }, number);
  return { spoken: number, elements: [verdict, ...cutNote(row)] };
}

/** The result of a classifier of several labels: those that hold, all scores. */
function showLabels(row, { thresholds }) {
  // Thresholds are written as float32 has them, and scores likewise.
  const found = row.labels.filter(
    (name, i) => Math.fround(row.scores[i]) >= Math.fround(thresholds[i]),
  );
  const text = found.join(", ") || "No label";
  const pairs = row.labels.map((name, i) => [name, row.scores[i]]);
  const verdict = make("p", { className: "verdict" }, text);
  return {
    spoken: text,
    elements: [verdict, ...shares(pairs), ...cutNote(row)],
  };
}

const HEADS = {
  classifier: {
    get intro() {
      const does =
        { number: "Predicts a number for", multi: "Finds the labels of" }[
          about.about.label_type
        ] ?? "Classifies";
      return `${does} a text${readsPairs() ? ", or a pair of texts" : ""}.`;
    },
    get action() {
      return about.about.label_type === "number" ? "Predict" : "Classify";
    },
    fields: () => [{ id: "first", label: "Text" }, ...secondText("Second text")],
    examples: [
      {
        name: "Example",
        first: "We stayed for three nights. The breakfast was wonderful.",
      },
    ],
    request: (values) => textRequest([values.first, values.second ?? ""]),
    texts: (values) => [values.first, values.second],
    show: (row, _, __, settings = about.about) => {
      if (row.value !== undefined) return showNumber(row);
      if (row.scores !== undefined) return showLabels(row, settings);
      const pairs = row.labels.map((name, i) => [name, row.probabilities[i]]);
      return {
        spoken: `${row.label}, ${percent(Math.max(...row.probabilities))}`,
        elements: [...shares(pairs), ...cutNote(row)],
      };
    },
  },

  span: {
    intro: "Finds the answer to a question in a text of any length.",
    action: "Answer",
    fields: () => [
      { id: "question", label: "Question", isLine: true },
      { id: "context", label: "Text", tall: true },
    ],
    examples: [
      {
        name: "Example",
        question: "Who designed the tower?",
        context:
          "The tower stands at the mouth of the river. It was designed by " +
          "the engineer Maria Keller and finished in 1904, after nine years " +
          "of work. Since 1961 it has been open to visitors.",
      },
    ],
    request: (values) => ({
      signature_name: "serve_text",
      instances: [{ question: values.question, context: values.context }],
    }),
    texts: (values) => [values.question, values.context],
    show: (row, values) => {
      const elements = [];
      if (row.start >= 0 && row.answer) {
        elements.push(make("p", { className: "verdict" }, row.answer));
        elements.push(marked(values.context, row.start, row.end));
        elements.push(
          note(`Probability among all spans: ${percent(row.score)}.`),
        );
      } else {
        elements.push(
          make("p", { className: "verdict" }, "The text has no answer."),
        );
      }
      if (row.null_probability !== undefined) {
        elements.push(
          note(`Probability of no answer: ${percent(row.null_probability)}.`),
        );
      }
      return { spoken: row.answer || "The text has no answer.", elements };
    },
  },

  pretraining: {
    intro: `Guesses the word piece at each ${MASK} of a text.`,
    action: "Guess",
    fields: () => [
      { id: "first", label: `Text with ${MASK}`, insert: MASK },
      ...secondText("Text that may follow"),
    ],
    examples: [
      {
        name: "Example",
        first: `He was the first ${MASK} of the United ${MASK}.`,
      },
    ],
    request: (values) => textRequest([values.first, values.second ?? ""]),
    texts: (values) => [values.first, values.second],
    show: (row, values) => {
      const whole = [values.first, values.second ?? ""].join(" ").trim();
      const elements = [];
      const best = [];
      let place = -1;
      for (const [index, guesses] of row.tokens.entries()) {
        place = whole.indexOf(MASK, place + 1);
        const pairs = guesses
          .map((token, i) => [token, row.token_scores[index][i]])
          .filter(([token]) => token !== "");
        if (!pairs.length) continue;
        best.push(pairs[0][0]);
        const start = Array.from(whole.slice(0, place)).length;
        elements.push(
          make(
            "div",
            { className: "guesses" },
            marked(whole, start, start + MASK.length),
            ...shares(pairs),
          ),
        );
      }
      if (!elements.length) {
        elements.push(note(`The text has no ${MASK} to guess.`));
      }
      if (values.second && row.next_sentence_probability !== undefined) {
        elements.push(make("h3", {}, "Does the second text follow?"));
        const yes = row.next_sentence_probability;
        elements.push(...shares([["follows", yes], ["does not", 1 - yes]]));
      }
      return {
        spoken: best.length ? `Best guesses: ${best.join(", ")}` : "No guesses",
        elements: [...elements, ...cutNote(row)],
      };
    },
  },

  tokens: {
    intro: "Labels the words of a text, and finds the entities in it.",
    action: "Find",
    fields: () => [{ id: "first", label: "Text", tall: true }],
    examples: [
      {
        name: "Example",
        first:
          "Maria Keller was born in Basel and joined the United Nations " +
          "in New York in 1961 .",
      },
    ],
    request: (values) => textRequest([values.first]),
    texts: (values) => [values.first],
    show: (row, values) => {
      const found = row.entity_types
        .map((name, i) => ({
          name,
          text: row.entity_texts[i],
          start: row.entity_starts[i],
          end: row.entity_ends[i],
          share: row.entity_probabilities[i],
        }))
        .filter(({ start }) => start >= 0);
      if (!found.length) {
        const none = "No entity was found.";
        return { spoken: none, elements: [note(none)] };
      }
      const named = found.map(({ text, name }) => `${text}, ${name}`);
      return {
        spoken: named.join("; "),
        elements: [
          markedRanges(values.first, found),
          ...shares(found.map(({ share }, i) => [named[i], share])),
        ],
      };
    },
  },

  features: {
    intro: "Compares the vectors of two texts.",
    action: "Compare",
    fields: () => [
      { id: "first", label: "Text" },
      { id: "second", label: "Another text" },
    ],
    examples: [
      {
        name: "Example",
        first: "The old harbour was full of ships.",
        second: "Many boats lay in the port.",
      },
    ],
    request: (values) => {
      const [input] = Object.keys(about.signatures.serve_text.inputs);
      return {
        signature_name: "serve_text",
        instances: [{ [input]: values.first }, { [input]: values.second }],
      };
    },
    texts: (values) => [values.first, values.second],
    looks: (values) => [[values.first], [values.second]],
    show: (_, __, rows) => {
      const [one, other] = rows.map(vectorOf);
      const alike = cosine(one, other);
      const elements = [
        ...shares([["similarity", alike]]),
        note(
          `Cosine of two vectors of ${one.length} numbers: ` +
            `${alike.toFixed(4)}. The usual range differs from model ` +
            "to model: compare pairs with each other.",
        ),
      ];
      elements[0].querySelector(".number").textContent = alike.toFixed(3);
      return { spoken: `Similarity ${alike.toFixed(3)}`, elements };
    },
  },

  choices: {
    intro: "Chooses the text that goes with a context.",
    action: "Choose",
    fields: () => [
      { id: "context", label: "Context" },
      { id: "question", label: "Question", optional: true },
      { id: "choices", label: "Choices, one on each line", tall: true },
    ],
    examples: [
      {
        name: "Example",
        context: "A man opens the oven.",
        question: "He",
        choices:
          "takes out a tray of hot bread.\n" +
          "swims to the other side.\n" +
          "plants a tree in the bread.",
      },
    ],
    request: ({ context, question, choices }) => {
      const instance = { context, choices: linesOf(choices) };
      if (instance.choices.length < 2) {
        throw new Error("Please give two choices or more, each on a line.");
      }
      if (!question) return { signature_name: "serve_text", instances: [instance] };
      return {
        signature_name: "serve_text_pair",
        instances: [{ ...instance, question }],
      };
    },
    texts: (values) => [values.context, values.question, ...linesOf(values.choices)],
    looks: ({ context, question, choices }) =>
      linesOf(choices).map((choice) => [context, `${question} ${choice}`.trim()]),
    show: (row, values) => {
      const names = linesOf(values.choices);
      const pairs = names.map((name, i) => [name, row.probabilities[i]]);
      return {
        spoken: `${names[row.choice]}, ${percent(row.probabilities[row.choice])}`,
        elements: [...shares(pairs), ...cutNote(row)],
      };
    },
  },

  other: {
    intro: "Calls any signature of this SavedModel.",
    action: "Predict",
    fields: () => [
      {
        id: "signature",
        label: "Signature",
        choices: Object.keys(about.signatures),
      },
      { id: "instances", label: "Instances, as a list in JSON", code: true },
    ],
    examples: [],
    request: (values) => {
      let instances;
      try {
        instances = JSON.parse(values.instances);
      } catch (error) {
        throw new Error(`The instances are not JSON: ${error.message}`);
      }
      return { signature_name: values.signature, instances };
    },
    texts: () => [],
    show: (_, __, rows) => ({
      spoken: "Predicted",
      elements: [
        make("pre", {}, make("code", {}, JSON.stringify(rows, null, 2))),
      ],
    }),
  },
};

/** The lines of a text that are not blank. */
function linesOf(text) {
  return text.split("\n").filter((line) => line.trim());
}

/** The vector of a text: the mean over its pieces where each has one. */
function vectorOf(row) {
  const { embedding, tokens } = row.embedding ? row : { embedding: row };
  if (!Array.isArray(embedding[0])) return embedding;
  const real = embedding.filter((_, i) => !tokens || tokens[i] !== "");
  return real[0].map(
    (_, d) => real.reduce((sum, vector) => sum + vector[d], 0) / real.length,
  );
}

function cosine(a, b) {
  const dot = (x, y) => x.reduce((sum, value, i) => sum + value * y[i], 0);
  return dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b));
}

// ------------------------------------------------------------------ requests

/** The JSON of a response; throws the server's message for an error. */
export async function ask(path, body) {
  let response;
  try {
    response = await fetch(path, {
      method: body ? "POST" : "GET",
      body: body && JSON.stringify(body),
    });
  } catch {
    throw new Error("The server cannot be reached.");
  }
  const text = await response.text();
  let value;
  try {
    value = JSON.parse(text);
  } catch {
    throw new Error(
      response.ok
        ? "The answer has numbers that are not finite; ask with curl."
        : `The server answered ${response.status}.`,
    );
  }
  if (!response.ok) {
    throw new Error(value.error ?? `The server answered ${response.status}.`);
  }
  return value;
}

export const modelPath = () => `/v1/models/${encodeURIComponent(about.name)}`;

function headOf() {
  const { head } = about.about;
  return head in HEADS && about.signatures.serve_text ? head : "other";
}

function showProblem(message) {
  byId("problem").textContent = message;
  byId("problem").hidden = !message;
}

/** The values of the fields, by id. */
function readFields(fields) {
  return Object.fromEntries(
    fields.map(({ id }) => [id, byId(`field-${id}`).value]),
  );
}

/** Throws for the first field that is empty or too long. */
function checkFields(fields, values) {
  for (const field of fields) {
    const length = Array.from(values[field.id]).length;
    const box = byId(`field-${field.id}`);
    let message = "";
    if (!field.optional && !values[field.id].trim()) {
      message = `Please fill in: ${field.label}.`;
    } else if (!field.code && length > about.max_text_chars) {
      message =
        `${field.label}: ${length} characters are too many; the server ` +
        `takes ${about.max_text_chars}.`;
    }
    box.setAttribute("aria-invalid", String(Boolean(message)));
    if (message) {
      box.focus();
      throw new Error(message);
    }
  }
}

let asked = 0;

async function submit(head, fields) {
  const button = byId("submit");
  const number = ++asked;
  showProblem("");
  try {
    const values = readFields(fields);
    checkFields(fields, values);
    const body = head.request(values);
    button.setAttribute("aria-disabled", "true");
    const texts = head.texts(values).filter(Boolean);
    const began = performance.now();
    const answer = ask(`${modelPath()}:predict`, body);
    const pieces = texts.length
      ? ask(`${modelPath()}:tokenize`, { instances: texts }).catch(() => null)
      : null;
    const { predictions } = await answer;
    const took = performance.now() - began;
    const found = await pieces;
    if (number !== asked) return; // There is a newer request.
    const shown = head.show(predictions[0], values, predictions);
    byId("answer").replaceChildren(
      ...shown.elements,
      note(`Answered in ${took.toFixed(0)} ms.`),
    );
    byId("result").hidden = false;
    byId("spoken").textContent = shown.spoken;
    showPieces(found?.predictions);
    showRequest(body);
    // The texts or pairs that the model read as one.
    inside?.lookAt(head.looks?.(values) ?? [head.texts(values)]);
  } catch (error) {
    if (number !== asked) return;
    showProblem(error.message);
    for (const id of ["result", "pieces", "request", "attention"]) {
      byId(id).hidden = true;
    }
  } finally {
    if (number === asked) button.removeAttribute("aria-disabled");
  }
}

function showPieces(lists) {
  byId("pieces").hidden = !lists;
  if (!lists) return;
  const elements = [];
  for (const pieces of lists) {
    const list = make("ol", { className: "pieces" });
    for (const { token, id } of pieces.slice(0, MOST_PIECES)) {
      const kind = token.startsWith("##") ? "goes-on" : "";
      const unknown = token === "[UNK]" ? " unknown" : "";
      const number = make("small", {}, String(id));
      list.append(make("li", { className: kind + unknown }, token, number));
    }
    elements.push(list);
    const more = pieces.length - MOST_PIECES;
    if (more > 0) elements.push(note(`and ${more} more`));
  }
  byId("piece-lists").replaceChildren(
    ...elements,
    note("Each with its id in the vocabulary; ## continues a word."),
  );
}

function showRequest(body) {
  const address = `${location.origin}${modelPath()}:predict`;
  const json = JSON.stringify(body, null, 2).replaceAll("'", "'\\''");
  byId("curl").textContent = `curl ${address} \\\n  -d '${json}'`;
  byId("request").hidden = false;
}

// ------------------------------------------------------------------ the form

function makeField(field) {
  const id = `field-${field.id}`;
  const label = make("label", { htmlFor: id }, field.label);
  if (field.optional) {
    label.append(make("span", { className: "optional" }, " (optional)"));
  }
  let box;
  if (field.choices) {
    box = make("select", { id });
    box.append(...field.choices.map((name) => make("option", {}, name)));
  } else if (field.isLine) {
    box = make("input", { id, type: "text", autocomplete: "off" });
  } else {
    box = make("textarea", { id, rows: field.tall ? 8 : field.optional ? 2 : 3 });
    const kinds = { tall: field.tall, code: field.code, short: field.optional };
    box.className = Object.keys(kinds)
      .filter((kind) => kinds[kind])
      .join(" ");
  }
  box.setAttribute("aria-required", String(!field.optional));
  const whole = make("div", { className: "field" }, label, box);
  if (field.insert) {
    const button = make(
      "button",
      { type: "button", className: "small" },
      `Insert ${field.insert}`,
    );
    button.addEventListener("click", () => {
      box.setRangeText(field.insert, box.selectionStart, box.selectionEnd, "end");
      box.focus();
    });
    whole.append(button);
  }
  return whole;
}

function fill(example) {
  for (const [id, text] of Object.entries(example)) {
    const box = byId(`field-${id}`);
    if (box) box.value = text;
  }
}

async function start() {
  try {
    about = await ask("/page/about.json");
  } catch (error) {
    showProblem(error.message);
    return;
  }
  if (about.about.heads) {
    const { several } = await import("/page/several.js");
    HEADS.several = several(HEADS);
  }
  const head = HEADS[headOf()];
  const fields = head.fields();
  document.title = `${about.name} · bert_tf`;
  byId("name").textContent = about.name;
  const kind = about.about.head ?? "SavedModel";
  byId("facts").textContent = `${kind}, version ${about.version}`;
  byId("status-link").href = modelPath();
  byId("metadata-link").href = `${modelPath()}/metadata`;
  byId("intro").textContent = head.intro;
  byId("submit").textContent = head.action;
  byId("fields").replaceChildren(...fields.map(makeField));
  byId("examples").replaceChildren(
    ...head.examples.map((example) => {
      const { name, ...values } = example;
      const button = make("button", { type: "button" }, name);
      button.addEventListener("click", () => {
        fill(values);
        byId(`field-${fields[0].id}`).focus();
      });
      return button;
    }),
  );
  if (about.signatures.inspect) {
    inside = await import("/page/inside.js");
    inside.start();
  }
  const form = byId("form");
  form.hidden = false;
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    submit(head, fields);
  });
  form.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      form.requestSubmit();
    }
  });
}

start();
