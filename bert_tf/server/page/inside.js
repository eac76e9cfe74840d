// The inside of a model: the attention of the texts that were asked about, and a
// word in its contexts. For models with the signature `inspect`. Nothing is asked
// before a section is opened.

import { about, ask, byId, make, modelPath, note } from "/page/app.js";
import { attentionView } from "/page/attention.js";

const NEIGHBOURS = 3;
const EXAMPLE = {
  word: "bank",
  lines: [
    "We walked along the river bank in the evening.",
    "They sat on the bank of the river and watched the water.",
    "Trees grew along the bank of the stream.",
    "She made a bank deposit in the morning.",
    "He has money in a bank account.",
    "The bank paid interest on the deposit.",
  ],
};

// ----------------------------------------------------------------- attention

let pairs = [];
let shown = null; // The pairs that the section shows.

/** Notes the texts of the newest answer, as lists of one text or two. */
export function lookAt(texts) {
  pairs = texts.filter(([first]) => first?.trim());
  byId("attention").hidden = !pairs.length;
  if (byId("attention").open) showAttention();
}

/** Asks for the attention in a layer, from 0. */
function askFor([text, second], layer) {
  const body = { text, text_b: second ?? "", layer: layer + 1 };
  return ask(`${modelPath()}:attention`, body);
}

async function showAttention() {
  if (shown === pairs) return;
  const wanted = (shown = pairs);
  const place = byId("attention-place");
  place.replaceChildren(note("Looking ..."));
  try {
    // By text and layer; nothing is asked for twice.
    const answers = await Promise.all(
      wanted.map(async (pair) => [await askFor(pair, 0)]),
    );
    if (wanted !== shown) return; // There is a newer answer.
    const [[{ layers, heads }]] = answers;
    const weights = async (text, layer) => {
      answers[text][layer] ??= await askFor(wanted[text], layer);
      return Float32Array.from(answers[text][layer].attention.flat(2));
    };
    const texts = answers.map(([{ tokens, segment_ids: segments }]) => ({
      tokens,
      segments,
    }));
    attentionView(place, { texts, layers, heads, weights });
    const cut = answers.reduce((sum, [{ num_cut }]) => sum + num_cut, 0);
    if (cut) place.prepend(note(`${cut} word pieces were cut off.`));
  } catch (error) {
    if (wanted !== shown) return;
    shown = null;
    place.replaceChildren(make("p", { className: "error" }, error.message));
  }
}

// ---------------------------------------------------------------- neighbours

let asked = 0;

async function compare() {
  const number = ++asked;
  const place = byId("neighbours-found");
  try {
    const texts = byId("neighbours-lines").value.split("\n");
    while (texts.length && !texts.at(-1).trim()) texts.pop();
    if (texts.length > about.max_texts) {
      throw new Error(
        `${texts.length} lines are too many; the server takes ` +
          `${about.max_texts}. For more there is bert_tf.neighbours.`,
      );
    }
    const found = await ask(`${modelPath()}:neighbours`, {
      word: byId("neighbours-word").value,
      texts,
      layer: Number(byId("neighbours-layer").value),
      top_k: NEIGHBOURS,
    });
    if (number !== asked) return;
    place.replaceChildren(...showFound(found, texts));
  } catch (error) {
    if (number !== asked) return;
    place.replaceChildren(make("p", { className: "error" }, error.message));
  }
}

/** A line with its word marked; offsets count code points. */
function lineOf({ line, start, end }, texts) {
  const points = Array.from(texts[line]);
  return make(
    "span",
    {},
    points.slice(0, start).join(""),
    make("mark", {}, points.slice(start, end).join("")),
    points.slice(end).join(""),
  );
}

function showFound({ mean, occurrences }, texts) {
  const count = occurrences.length;
  const list = make("ol", { className: "contexts" });
  for (const one of occurrences) {
    const nearest = make("ol", { className: "nearest" });
    for (const { occurrence, cosine } of one.nearest) {
      const above = cosine - mean;
      const sign = above < 0 ? "\u2212" : "+";
      nearest.append(
        make(
          "li",
          {},
          make("span", { className: "number" }, cosine.toFixed(3)),
          make(
            "span",
            { className: "number" },
            `${sign}${Math.abs(above).toFixed(3)}`,
          ),
          lineOf(occurrences[occurrence], texts),
        ),
      );
    }
    list.append(make("li", {}, lineOf(one, texts), nearest));
  }
  const times = count === 1 ? "once" : `${count} times`;
  const all =
    count === 1
      ? "There is no other one to compare it with."
      : `Below each, the nearest others: their cosines, and how far these are ` +
        `from ${mean.toFixed(3)}, the mean of all pairs.`;
  return [note(`The word is there ${times}. ${all}`), list];
}

/** Connects the sections; called once, when the page has its form. */
export function start() {
  byId("attention").addEventListener("toggle", () => {
    if (byId("attention").open) showAttention();
  });
  const layers = Array.from({ length: about.layers + 1 }, (_, layer) => {
    const name = layer ? `Layer ${layer}` : "Embeddings";
    return make("option", { value: String(layer) }, name);
  });
  byId("neighbours-layer").append(...layers);
  byId("neighbours-layer").value = String(about.layers);
  byId("neighbours").hidden = false;
  byId("neighbours-form").addEventListener("submit", (event) => {
    event.preventDefault();
    compare();
  });
  byId("neighbours-layer").addEventListener("change", () => {
    if (byId("neighbours-found").childElementCount) compare();
  });
  byId("neighbours-file").addEventListener("change", async (event) => {
    const [file] = event.target.files;
    if (file) byId("neighbours-lines").value = await file.text();
  });
  byId("neighbours-example").addEventListener("click", () => {
    byId("neighbours-word").value = EXAMPLE.word;
    byId("neighbours-lines").value = EXAMPLE.lines.join("\n");
    byId("neighbours-word").focus();
  });
}
