// The form of a model with several heads, and what each of them answers.

import { about, cutNote, make, secondText, textRequest } from "/page/app.js";

/** The outputs of one head, by the names it has for them alone. */
function outputsOf(name, row) {
  const prefix = `${name}/`;
  return Object.fromEntries(
    Object.entries(row)
      .filter(([key]) => key.startsWith(prefix))
      .map(([key, value]) => [key.slice(prefix.length), value]),
  );
}

/** What app.js needs of a head; `forms` has it of each of these. */
export function several(forms) {
  const heads = Object.entries(about.about.heads);
  return {
    intro:
      "Asks several heads, with one pass through the encoder: " +
      `${heads.map(([name]) => name).join(", ")}.`,
    action: "Ask",
    fields: () => [
      { id: "first", label: "Text", tall: true },
      ...secondText("Second text"),
    ],
    examples: forms[heads[0][1].head].examples.map(({ name, first }) => ({
      name,
      first,
    })),
    request: (values) => textRequest([values.first, values.second ?? ""]),
    texts: (values) => [values.first, values.second],
    show: (row, values) => {
      const elements = [];
      const spoken = [];
      const cutBy = [];
      let cut = {};
      for (const [name, settings] of heads) {
        const { num_cut, ...own } = outputsOf(name, row);
        if (num_cut) {
          cut = { num_cut };
          cutBy.push(name);
        }
        const shown = forms[settings.head].show(own, values, [own], settings);
        elements.push(make("h3", {}, name), ...shown.elements);
        spoken.push(`${name}: ${shown.spoken}`);
      }
      return {
        spoken: spoken.join("; "),
        elements: [...elements, ...cutNote(cut, ` by ${cutBy.join(", ")}`)],
      };
    },
  };
}
