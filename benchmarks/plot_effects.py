r"""Draws what grouping, precision, accumulation and recomputing are worth.

  python benchmarks/speed.py --size base --json speed.json
  python benchmarks/memory.py --size base --json memory.json
  python benchmarks/plot_effects.py --speed speed.json --memory memory.json \
      --picture effects.svg

One of the two files is enough: there is a panel for each quantity that is
found. The thin lines on bars go from the lowest to the highest round. Needs
matplotlib: pip install 'bert-tf[docs]'.
"""

import argparse
import functools
import json
import sys

import pictures

PRECISIONS = {
    "float32": "float32",
    "mixed_bfloat16": "bfloat16",
    "bfloat16": "bfloat16 kernels",
    "int8": "int8",
}
MIXED = {"mixed-padded": "padded to 128", "mixed-grouped": "grouped by length"}
VARIANTS = {
    "plain": "plain",
    "accumulation": "accumulation of 4 parts",
    "recompute": "recompute",
    "both": "both",
}


def main():
    """Reads the files and writes the picture."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--speed", metavar="FILE", help="JSON of speed.py")
    parser.add_argument("--memory", metavar="FILE", help="JSON of memory.py")
    parser.add_argument("--picture", required=True, help=".svg or .png")
    parser.add_argument("--title", help="[says which models and machine]")
    arguments = parser.parse_args()
    found = {
        program: read(getattr(arguments, program), program)
        for program in ("speed", "memory")
        if getattr(arguments, program)
    }
    panels = find_panels(found)
    if not panels:
        sys.exit("There is nothing to draw: name --speed or --memory.")
    title = arguments.title
    if title is None:
        title = describe(found)
    draw(panels, arguments.picture, title)
    print(arguments.picture)


def read(path, program):
    """What a program wrote.

    Raises:
        SystemExit: another program did.
    """
    with open(path, encoding="utf-8") as file:
        found = json.load(file)
    about = found.get("about", {})
    if about.get("program") != program or about.get("mode") == "largest":
        sys.exit(
            f"{path} is not what {program}.py --json writes"
            + (" without --largest." if program == "memory" else ".")
        )
    return found


def describe(found):
    """The size of the model and the machine, as each file says."""
    texts = dict.fromkeys(
        f"{each['about']['size']}, {each['about']['cores']} cores, "
        f"TensorFlow {each['about']['tensorflow']}"
        for each in found.values()
    )
    return "; ".join(texts)


# ------------------------------------------------------------------ the panels


def find_panels(found):
    """Pairs of a function that draws a panel, and what it draws."""
    panels = []
    if "speed" in found:
        rows = found["speed"]["rows"]
        panels += [
            (draw_grouping, grouping_bars(rows)),
            (draw_precision, precision_ratios(rows)),
        ]
    if "memory" in found:
        rows = found["memory"]["rows"]
        of_batch = f"batch {rows[0]['batch']}"
        memory = {
            "title": f"Memory that a training step adds, {of_batch}",
            "label": "GB",
        }
        time = {
            "title": f"Time of a training step, {of_batch}",
            "label": "seconds",
        }
        panels += [
            (
                functools.partial(draw_lines, **memory),
                memory_lines(rows, "step_bytes", 1e-9),
            ),
            (
                functools.partial(draw_lines, **time),
                memory_lines(rows, "seconds", 1),
            ),
        ]
    return [(function, values) for function, values in panels if values]


def grouping_bars(rows):
    """(rate, lowest, highest) by precision and by kind of batches.

    A precision counts if both kinds were measured with it.
    """
    bars = {}
    for row in rows:
        if row["kind"] in MIXED:
            amount = row["rate"] * row["seconds"]
            ends = amount / row["seconds_high"], amount / row["seconds_low"]
            of_precision = bars.setdefault(row["precision"], {})
            of_precision[row["kind"]] = row["rate"], *ends
    return {name: kinds for name, kinds in bars.items() if len(kinds) == 2}


def precision_ratios(rows):
    """How many times as fast as float32 each is, by what was measured."""
    seconds = {}
    for row in rows:
        if row["precision"]:
            key = f"{row['kind']} {row['batch']}x{row['length']}"
            seconds.setdefault(key, {})[row["precision"]] = row["seconds"]
    ratios = {}
    for key, found in seconds.items():
        if "float32" in found:
            base = found.pop("float32")
            ratios[key] = {name: base / x for name, x in found.items()}
    return {key: found for key, found in ratios.items() if found}


def memory_lines(rows, quantity, scale):
    """(lengths, values) by variant; what was killed has no value."""
    lines = {}
    for row in sorted(rows, key=lambda row: row["length"]):
        if quantity in row:
            lengths, values = lines.setdefault(row["variant"], ([], []))
            lengths.append(row["length"])
            values.append(row[quantity] * scale)
    return {name: lines[name] for name in VARIANTS if name in lines}


def draw_grouping(panel, bars):
    """Padded and grouped side by side, for each precision."""
    width = 0.38
    for number, (kind, label) in enumerate(MIXED.items()):
        for place, kinds in enumerate(bars.values()):
            rate, low, high = kinds[kind]
            at = place + (number - 0.5) * width
            panel.bar(
                at,
                rate,
                width,
                color=f"C{number}",
                label=label if place == 0 else None,
                yerr=[[rate - low], [high - rate]],
                error_kw={"linewidth": 0.8, "capsize": 3},
            )
            times = rate / kinds["mixed-padded"][0]
            text = f"{rate:.3g}" + (f"\n({times:.2f} x)" if number else "")
            panel.annotate(
                text,
                (at, high),
                (0, 4),
                textcoords="offset points",
                ha="center",
                va="bottom",
                fontsize=9,
            )
    highest = max(
        high for kinds in bars.values() for *_, high in kinds.values()
    )
    # Room for what stands above the bars, and for the legend above that.
    panel.set_ylim(0, highest * 1.45)
    panel.set_xticks(range(len(bars)), [PRECISIONS[name] for name in bars])
    panel.set_title("128 texts of mixed lengths")
    panel.set_ylabel("texts/s")
    panel.grid(axis="y", alpha=0.3)
    panel.set_axisbelow(True)
    panel.legend(loc="upper center", ncols=2, fontsize=9)


def draw_precision(panel, ratios):
    """Bars for each measurement, from the top down, one for each precision."""
    names = [
        name
        for name in PRECISIONS
        if any(name in found for found in ratios.values())
    ]
    height = 0.8 / len(names)
    for number, name in enumerate(names):
        # What has fewer bars has them in the middle.
        at = {
            key: place
            + (list(found).index(name) - (len(found) - 1) / 2) * height
            for place, (key, found) in enumerate(ratios.items())
            if name in found
        }
        times = [ratios[key][name] for key in at]
        panel.barh(
            list(at.values()),
            times,
            height,
            color=f"C{number + 2}",
            label=PRECISIONS[name],
        )
        for place, one in zip(at.values(), times):
            panel.annotate(
                f"{one:.2f} x",
                # Right of the dashed line.
                (max(1, one), place),
                (4, 0),
                textcoords="offset points",
                va="center",
                fontsize=8,
            )
    highest = max(max(found.values()) for found in ratios.values())
    panel.axvline(1, color="black", linewidth=0.8, linestyle="--")
    panel.set_xlim(0, max(1, highest) * 1.25)
    panel.set_yticks(range(len(ratios)), list(ratios), fontsize=9)
    # From the top down, with room for the legend above the bars.
    panel.set_ylim(len(ratios) - 0.4, -1.2)
    panel.set_title("Fewer bits beside float32")
    panel.set_xlabel("times as fast as float32 (dashed line)")
    panel.grid(axis="x", alpha=0.3)
    panel.set_axisbelow(True)
    panel.legend(loc="upper center", ncol=len(names), fontsize=9)


def draw_lines(panel, lines, title, label):
    """A line for each variant, over the length."""
    for number, (name, (lengths, values)) in enumerate(lines.items()):
        panel.plot(
            lengths,
            values,
            label=VARIANTS[name],
            color=f"C{number}",
            marker="osD^"[number],
            markersize=5,
            linewidth=1.5,
            linestyle="-" if number == 0 else "--",
        )
    lengths = sorted({n for lengths, _ in lines.values() for n in lengths})
    panel.set_xticks(lengths)
    panel.set_ylim(bottom=0)
    panel.set_title(title)
    panel.set_xlabel("sequence length (word pieces)")
    panel.set_ylabel(label)
    panel.grid(alpha=0.3)
    panel.legend(loc="upper left", fontsize=9)


def draw(panels, path, title):
    """Writes the picture; the same numbers always give the same SVG."""
    pyplot = pictures.load_pyplot()
    # Side by side, more than two of them two by two.
    columns = min(2, len(panels))
    rows = -(-len(panels) // columns)
    figure, places = pyplot.subplots(
        rows,
        columns,
        figsize=(5.5 * columns, 3.8 * rows),
        squeeze=False,
        layout="constrained",
    )
    for place, (function, values) in zip(places.flat, panels):
        function(place, values)
    for place in list(places.flat)[len(panels) :]:
        place.set_visible(False)
    pictures.write(pyplot, figure, path, title)


if __name__ == "__main__":
    main()
