// Attention maps in a page: the tokens of a text twice, and lines from each token
// to those that it attends to, the wider the larger the weight.
//
// attentionView fills an element. Text is only ever set as text, never as HTML.

// Pixels, as in attention.css: of a token, and above the first one of a text where
// there are two texts.
const ROW = 26;
const ABOVE = 24;

// Lines are drawn in so many strengths, one path of SVG each.
const STRENGTHS = 10;

// Below it no line is drawn.
const LEAST = 0.01;

const MOST_NAMED = 8;

/** An element with properties and children; strings become text. */
function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

function percent(share) {
  if (share > 0 && share < 0.001) return "< 0.1 %";
  return `${(100 * share).toFixed(1)} %`;
}

/** The mean over heads, [S * S], of weights [heads * S * S]. */
function meanOfHeads(weights, heads, size) {
  const mean = new Float32Array(size);
  for (let head = 0; head < heads; head++) {
    for (let i = 0; i < size; i++) mean[i] += weights[head * size + i] / heads;
  }
  return mean;
}

function largest(weights) {
  return weights.reduce((most, weight) => Math.max(most, weight), 0);
}

/** The mean entropy of rows of weights, in bits. */
function entropyOf(weights, count) {
  let sum = 0;
  for (const weight of weights) if (weight > 0) sum -= weight * Math.log2(weight);
  return sum / (weights.length / count);
}

/** Where a map [S * S] looks, in words; entropy is a number of bits. */
function describe(map, tokens, entropy) {
  const count = tokens.length;
  const sums = { "[CLS]": 0, "[SEP]": 0, itself: 0, previous: 0, next: 0 };
  for (let from = 0; from < count; from++) {
    for (let to = 0; to < count; to++) {
      const weight = map[from * count + to];
      // Other tokens may be called as these sums are: "next".
      if (["[CLS]", "[SEP]"].includes(tokens[to])) sums[tokens[to]] += weight;
      if (from === to) sums.itself += weight;
      if (from === to + 1) sums.previous += weight;
      if (from === to - 1) sums.next += weight;
    }
  }
  const shares = Object.entries(sums).map(([name, sum]) => {
    // The first token has none before it, the last one none after it.
    const rows = name === "previous" || name === "next" ? count - 1 : count;
    return `${name} ${percent(sum / Math.max(rows, 1))}`;
  });
  const bits = entropy.toFixed(2);
  return `Mean over tokens: entropy ${bits} bits; ${shares.join(", ")}.`;
}

/**
 * Shows the attention of texts in an element.
 *
 * @param place an element; what is in it is replaced.
 * @param source {texts, layers, heads, weights}: of each text its tokens and
 *   segments (0 for the first text, 1 for the second one); the numbers of layers
 *   and heads; and a function of the numbers of a text and a layer, both from 0,
 *   that returns a promise of weights [heads * S * S].
 */
export function attentionView(place, source) {
  const state = { text: 0, layer: 0, head: -1, chosen: null, pointed: null };
  let map = null; // [S * S], of the layer and the head that are chosen.
  let entropy = 0; // Of the head, or the mean of those of all heads.
  let asked = 0;

  // Parsed as HTML, so that the name of SVG's namespace need not be written.
  const lines = make("div", { className: "attention-lines", innerHTML: "<svg></svg>" });
  const svg = lines.firstChild;
  lines.setAttribute("aria-hidden", "true");
  const sides = ["from", "to"].map((side) => {
    const list = make("ol", { className: `attention-tokens ${side}` });
    list.setAttribute("aria-label", side === "from" ? "Tokens that look" : "Looked at");
    return list;
  });
  const said = make("p", { className: "attention-said" });
  said.setAttribute("role", "status");

  function choice(name, label, options) {
    const box = make("select", {});
    box.append(
      ...options.map(([value, text]) => make("option", { value: String(value) }, text)),
    );
    box.addEventListener("change", () => {
      state[name] = Number(box.value);
      if (name === "text") show();
      else load();
    });
    return make("label", {}, make("span", {}, label), box);
  }

  const numbered = (count, first) =>
    Array.from({ length: count }, (_, i) => [i, `${first} ${i + 1}`]);
  const controls = make("div", { className: "attention-controls" });
  if (source.texts.length > 1) {
    const names = source.texts.map(({ tokens }, i) => {
      const text = tokens.slice(1, 9).join(" ").replaceAll(" ##", "");
      return [i, `${i + 1}: ${text}`];
    });
    controls.append(choice("text", "Text", names));
  }
  controls.append(
    choice("layer", "Layer", numbered(source.layers, "Layer")),
    choice("head", "Head", [[-1, "Mean of heads"], ...numbered(source.heads, "Head")]),
  );
  const hint = make(
    "p",
    { className: "attention-hint" },
    "Point at a token to see what it looks at; on the right, what looks at it. " +
      "Click or Enter keeps it, Escape lets it go; arrow keys move.",
  );
  place.replaceChildren(
    make(
      "div",
      { className: "attention" },
      make("div", { className: "attention-top" }, controls, said),
      make(
        "div",
        { className: "attention-names" },
        make("span", {}, "from"),
        make("span", {}),
        make("span", {}, "to"),
      ),
      make("div", { className: "attention-map" }, sides[0], lines, sides[1]),
      hint,
    ),
  );

  const text = () => source.texts[state.text];
  const isPair = () => text().segments.includes(1);

  /** The middle of a token, in pixels from the top. */
  function height(index) {
    const above = isPair() ? ABOVE * (1 + text().segments[index]) : 0;
    return above + ROW * (index + 0.5);
  }

  function button(side, index) {
    return sides[side].children[index].firstChild;
  }

  /** Makes the lists of tokens of the text that is chosen. */
  function show() {
    const { tokens, segments } = text();
    state.chosen = state.pointed = null;
    for (const [side, list] of sides.entries()) {
      list.replaceChildren(
        ...tokens.map((token, index) => {
          const which = isPair() ? `, text ${"AB"[segments[index]]}` : "";
          const item = make(
            "button",
            { type: "button", tabIndex: index ? -1 : 0 },
            make("span", {}, token),
            make("small", {}),
          );
          item.setAttribute("aria-label", `${token}, token ${index + 1}${which}`);
          item.setAttribute("aria-pressed", "false");
          item.addEventListener("click", () => choose({ side, index }));
          item.addEventListener("pointerenter", (event) => {
            if (event.pointerType === "mouse") point({ side, index });
          });
          item.addEventListener("focus", () => {
            if (item.matches(":focus-visible")) point({ side, index });
          });
          const starts = !index || segments[index] !== segments[index - 1];
          const kind = segments[index] ? "b" : "a";
          return make(
            "li",
            { className: kind + (isPair() && starts ? " starts" : "") },
            item,
          );
        }),
      );
    }
    const tall = height(tokens.length - 1) + ROW / 2;
    svg.setAttribute("viewBox", `0 0 100 ${tall}`);
    svg.setAttribute("preserveAspectRatio", "none");
    load();
  }

  /** Gets the weights of the layer that is chosen, and draws. */
  async function load() {
    const number = ++asked;
    const { text: which, layer, head } = state;
    const size = text().tokens.length ** 2;
    try {
      const weights = await source.weights(which, layer);
      if (number !== asked) return; // Another layer was chosen meanwhile.
      const isMean = head < 0;
      const own = isMean ? weights : weights.subarray(head * size, (head + 1) * size);
      map = isMean ? meanOfHeads(weights, source.heads, size) : own;
      entropy = entropyOf(own, text().tokens.length);
    } catch (error) {
      if (number !== asked) return;
      map = null;
      svg.replaceChildren();
      said.textContent = error.message;
      return;
    }
    draw();
  }

  function point(token) {
    state.pointed = token;
    draw();
  }

  function choose(token) {
    const { chosen } = state;
    const again =
      chosen && chosen.side === token?.side && chosen.index === token?.index;
    state.chosen = again ? null : token;
    state.pointed = null;
    draw();
  }

  /** The weights between a token and all others. */
  function weightsOf({ side, index }) {
    const count = text().tokens.length;
    return Array.from({ length: count }, (_, other) =>
      side ? map[other * count + index] : map[index * count + other],
    );
  }

  function draw() {
    if (!map) return;
    const { tokens, segments } = text();
    const count = tokens.length;
    const shown = state.pointed ?? state.chosen;
    // Strengths are shares of the largest weight that is shown.
    const most = Math.max(LEAST, shown ? Math.max(...weightsOf(shown)) : largest(map));
    const paths = new Map();
    const add = (from, to) => {
      const weight = map[from * count + to];
      if (weight < LEAST) return;
      const strength = Math.ceil((weight / most) * STRENGTHS);
      const kind = `${segments[from] ? "b" : "a"} ${strength}`;
      const line = `M0 ${height(from)}L100 ${height(to)}`;
      paths.set(kind, (paths.get(kind) ?? "") + line);
    };
    for (let one = 0; one < count; one++) {
      if (!shown) for (let to = 0; to < count; to++) add(one, to);
      else if (shown.side) add(one, shown.index);
      else add(shown.index, one);
    }
    svg.replaceChildren(
      ...[...paths].map(([kind, line]) => {
        const path = document.createElementNS(svg.namespaceURI, "path");
        const [side, strength] = kind.split(" ");
        const share = strength / STRENGTHS;
        path.setAttribute("class", side);
        path.setAttribute("d", line);
        path.setAttribute("stroke-width", 0.5 + (shown ? 5 : 3) * share);
        path.setAttribute("stroke-opacity", shown ? 0.3 + 0.6 * share : 0.05 + 0.75 * share);
        return path;
      }),
    );
    mark(shown, most);
    said.textContent = shown ? summary(shown) : describe(map, tokens, entropy);
  }

  /** Marks the token that is shown, and the weights of the others. */
  function mark(shown, most) {
    const weights = shown && weightsOf(shown);
    for (const side of [0, 1]) {
      for (const [index, item] of [...sides[side].children].entries()) {
        const isShown = shown?.side === side && shown.index === index;
        const weight = weights && shown.side !== side ? weights[index] : 0;
        item.classList.toggle("shown", isShown);
        const tint = ((100 * weight) / most).toFixed(1);
        item.style.setProperty("--weight", `${tint}%`);
        item.firstChild.lastChild.textContent =
          weight >= LEAST ? percent(weight) : "";
        const { chosen } = state;
        const isChosen = chosen?.side === side && chosen.index === index;
        item.firstChild.setAttribute("aria-pressed", String(isChosen));
      }
    }
  }

  /** What a token looks at most, in words. */
  function summary({ side, index }) {
    const { tokens } = text();
    const best = weightsOf({ side, index })
      .map((weight, other) => [weight, other])
      .sort((a, b) => b[0] - a[0])
      .slice(0, MOST_NAMED)
      .filter(([weight]) => weight >= LEAST)
      .map(([weight, other]) => `${tokens[other]} ${percent(weight)}`);
    const verb = side ? "is looked at by" : "looks at";
    const whom = best.join(", ") || "nothing above 1 %";
    return `${tokens[index]} (token ${index + 1}) ${verb}: ${whom}`;
  }

  const area = lines.parentElement;
  area.addEventListener("pointerleave", () => point(null));
  area.addEventListener("focusout", (event) => {
    if (!area.contains(event.relatedTarget)) point(null);
  });
  area.addEventListener("keydown", (event) => {
    const item = event.target.closest("li");
    if (!item) return;
    const side = sides.indexOf(item.parentElement);
    const index = [...item.parentElement.children].indexOf(item);
    const last = text().tokens.length - 1;
    const goals = {
      ArrowUp: [side, Math.max(index - 1, 0)],
      ArrowDown: [side, Math.min(index + 1, last)],
      ArrowLeft: [0, index],
      ArrowRight: [1, index],
      Home: [side, 0],
      End: [side, last],
    };
    if (event.key === "Escape") choose(null);
    if (!(event.key in goals)) return;
    event.preventDefault();
    const [newSide, newIndex] = goals[event.key];
    // One token of each list is reached with Tab.
    for (const other of sides[newSide].children) other.firstChild.tabIndex = -1;
    button(newSide, newIndex).tabIndex = 0;
    button(newSide, newIndex).focus();
  });
  show();
}
