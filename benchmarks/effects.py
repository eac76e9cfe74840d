"""Draws docs/effects.svg from the tables of docs/performance.md.

    python benchmarks/effects.py

A bar for each time in "Without padding" and "Reduced precision", with its
ratio: that of the table, or to the first of its group.
"""

import pathlib
import re

from bert_tf.support import files, svg

DOCS = pathlib.Path(__file__).resolve().parent.parent / "docs"
NAMES, BAR, WIDTH = 150, 18, 300


def main():
    """Writes the picture."""
    page = (DOCS / "performance.md").read_text(encoding="utf-8")
    steps, bits = [], []
    for name, _, *times, ratio in _rows(page, "Without padding", 5):
        name = re.sub(", `--kind.*", "", name).replace("`", "")
        ways = zip(("padded", "--skip_padding"), times, ("", ratio))
        steps.append((name, list(ways)))
    for name, *times in _rows(page, "Reduced precision", 5):
        ratios = [f"{_number(times[0]) / _number(x):.2f}" for x in times]
        ways = ("float32", "mixed_bfloat16", "bfloat16 kernels", "int8")
        name = name.removesuffix(", grouped by length") + " tokens"
        bits.append((name, list(zip(ways, times, ["", *ratios[1:]]))))
    parts, y = [], 16
    for title, groups in (
        ("A step of fine-tuning, seconds", steps),
        ("Prediction, seconds", bits),
    ):
        parts.append(svg.text(16, y + 12, title, "start", size=14))
        drawn, y = _draw(groups, y + 34)
        parts += drawn
    title = "What leaving padding out and fewer bits are worth, BERT-Base"
    picture = svg.document(NAMES + WIDTH + 130, y, title, parts)
    files.write_text(str(DOCS / "effects.svg"), picture)


def _rows(page, heading, count):
    """The first cells of each row of the first table below a heading."""
    table = re.search(
        rf"^## {heading}\n.*?\n\|-.*?\n((?:\|[^\n]*\n)+)", page, re.M | re.S
    )
    return [
        line.strip("| ").split(" | ")[:count] for line in table[1].splitlines()
    ]


def _draw(groups, y):
    most = max(_number(time) for _, ways in groups for _, time, _ in ways)
    parts = []
    for name, ways in groups:
        parts.append(svg.text(16, y + 12, name, "start", "faint"))
        y += BAR + 2
        for way, time, ratio in ways:
            width = WIDTH * _number(time) / most
            said = time.split()[0] + (ratio and f"  ({ratio} x)")
            parts += [
                svg.text(NAMES - 8, y + 13, way, "end"),
                svg.bar(
                    NAMES, y + 2, width, BAR - 4, "first" if ratio else "third"
                ),
                svg.text(NAMES + width + 8, y + 13, said, "start"),
            ]
            y += BAR
        y += 8
    return parts, y + 12


def _number(cell):
    return float(cell.split()[0])


if __name__ == "__main__":
    main()
