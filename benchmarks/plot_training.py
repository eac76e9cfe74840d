r"""Draws what training learnt: a curve for each run, a panel for each quantity.

  python benchmarks/plot_training.py --run bert_tf=OUTPUT_DIR \
      --run original=tiny_pretrain_warmup5.npz \
      --quantities masked_lm_loss next_sentence_loss --picture curves.svg

A run is a folder with TensorBoard events (the `--output_dir` of a training), a
table that `--table` wrote (`.csv`: step, then a column for each quantity), or
arrays `per_step/QUANTITY` beside `per_step/global_step_before` (`.npz`). A step
is counted by what is done: the loss of the first batch is at step 1. Events
hold means over some steps; the last step of these counts.

Where two runs have steps in common, it also prints how far apart they are.
Needs matplotlib for the picture: pip install 'bert-tf[docs]'. The table alone
needs nothing more.
"""

import argparse
import csv
import io
import os
import pathlib
import sys

import numpy as np
import pictures

from bert_tf.support import files

QUANTITIES = (
    "loss",
    "masked_lm_accuracy",
    "next_sentence_accuracy",
)


def main():
    """Reads the runs, writes the picture and the table."""
    arguments = parse_arguments()
    runs = {name: read_run(path) for name, path in map(split, arguments.run)}
    for name, curves in runs.items():
        missing = [q for q in arguments.quantities if q not in curves]
        if len(missing) == len(arguments.quantities):
            sys.exit(
                f"{name} has none of {', '.join(missing)}. It has: "
                f"{', '.join(sorted(curves))}"
            )
    for line in differences(runs, arguments.quantities):
        print(line)
    if arguments.table:
        if len(runs) > 1:
            sys.exit("--table is for one --run.")
        (curves,) = runs.values()
        files.write_text(
            arguments.table, to_table(curves, arguments.quantities)
        )
        print(arguments.table)
    if arguments.picture:
        draw(runs, arguments.quantities, arguments.picture, arguments.title)
        print(arguments.picture)


def parse_arguments():
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        "--run",
        action="append",
        required=True,
        metavar="NAME=PATH",
        help="one of several; the name is shown in the picture",
    )
    parser.add_argument("--quantities", nargs="+", default=list(QUANTITIES))
    parser.add_argument("--picture", help=".svg or .png to write")
    parser.add_argument("--table", help=".csv to write, of one run")
    parser.add_argument("--title", default="")
    arguments = parser.parse_args()
    for text in arguments.run:
        if not all(split(text)):
            parser.error(f"--run must be NAME=PATH. Received: {text!r}")
    return arguments


def split(text):
    """A run's name and its path."""
    name, _, path = text.partition("=")
    return name, path


# -------------------------------------------------------------------- the runs


def read_run(path):
    """The curves of a folder, a .csv or an .npz.

    Returns:
        A dictionary, quantity to (steps, values), two arrays in order of steps.
    """
    if not os.path.exists(path):
        sys.exit(f"There is no {path}.")
    if path.endswith(".csv"):
        return read_table(path)
    if path.endswith(".npz"):
        return read_arrays(path)
    return read_events(path)


def read_table(path):
    """The curves of what `--table` wrote; an empty cell is no value."""
    with open(path, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    points = {}
    for row in rows:
        step = int(row.pop("step"))
        for quantity, value in row.items():
            if value:
                points.setdefault(quantity, {})[step] = float(value)
    return {quantity: curve(found) for quantity, found in points.items()}


def read_arrays(path):
    """The curves of arrays with one value for each step."""
    with np.load(path) as arrays:
        steps = arrays["per_step/global_step_before"] + 1
        return {
            name.removeprefix("per_step/"): (steps, arrays[name].astype(float))
            for name in arrays.files
            if name.startswith("per_step/")
            and arrays[name].shape == steps.shape
        }


def read_events(folder):
    """The curves of all event files in a folder.

    Where a training was stopped and continued, its files overlap: a step counts
    as the later file has it.
    """
    import tensorflow as tf

    points = {}
    for path in event_files(folder):
        for event in tf.compat.v1.train.summary_iterator(str(path)):
            for value in event.summary.value:
                number = (
                    float(tf.make_ndarray(value.tensor))
                    if value.HasField("tensor")
                    else value.simple_value
                )
                points.setdefault(value.tag, {})[event.step] = number
    if not points:
        sys.exit(f"{folder} holds no TensorBoard events of a training.")
    return {quantity: curve(found) for quantity, found in points.items()}


def event_files(folder):
    """The event files of a folder, older ones first."""
    # events.out.tfevents.SECONDS.HOST.PROCESS.NUMBER.v2
    found = pathlib.Path(folder).glob("events.out.tfevents.*")
    return sorted(found, key=lambda path: int(path.name.split(".")[3]))


def curve(points):
    """Arrays of steps and values, in order of steps."""
    steps = sorted(points)
    return np.array(steps), np.array([points[step] for step in steps])


# -------------------------------------------------------------- what is written


def to_table(curves, quantities):
    """The curves as CSV text, one row for each step."""
    found = {q: dict(zip(*curves[q])) for q in quantities if q in curves}
    steps = sorted({step for points in found.values() for step in points})
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["step", *found])
    for step in steps:
        cells = [
            f"{points[step]:.7g}" if step in points else ""
            for points in found.values()
        ]
        writer.writerow([step, *cells])
    return text.getvalue()


def differences(runs, quantities):
    """How far the first run is from each other one, at the same steps."""
    (first, ours), *others = runs.items()
    for name, curves in others:
        for quantity in quantities:
            if quantity not in ours or quantity not in curves:
                continue
            a, b = (dict(zip(*found[quantity])) for found in (ours, curves))
            steps = sorted(set(a) & set(b))
            if not steps:
                continue
            relative = [
                abs(a[step] - b[step]) / max(abs(b[step]), 1e-12)
                for step in steps
            ]
            worst = int(np.argmax(relative))
            yield (
                f"{quantity}: {first} and {name} have {len(steps)} steps in "
                f"common; the largest relative difference is "
                f"{relative[worst]:.2e}, at step {steps[worst]}"
            )


def draw(runs, quantities, path, title):
    """Writes the picture; the same curves always give the same SVG."""
    pyplot = pictures.load_pyplot(" (--table works without it)")
    # Side by side, four of them two by two.
    columns = 2 if len(quantities) == 4 else len(quantities)
    rows = len(quantities) // columns
    figure, panels = pyplot.subplots(
        rows,
        columns,
        figsize=(4.5 * columns, 3.2 * rows),
        squeeze=False,
        layout="constrained",
    )
    for panel, quantity in zip(panels.flat, quantities):
        for number, (name, curves) in enumerate(runs.items()):
            if quantity not in curves:
                continue
            # The first one is wide and pale: another one on top of it can be
            # seen, and so can it.
            pale = number == 0 and len(runs) > 1
            panel.plot(
                *curves[quantity],
                label=name,
                color=f"C{number}",
                linewidth=4 if pale else 1.2,
                alpha=0.4 if pale else 1,
                linestyle="-" if number == 0 else "--",
            )
        panel.set_title(quantity.replace("_", " "))
        panel.set_xlabel("step")
        panel.grid(alpha=0.3)
        if len(runs) > 1:
            panel.legend()
    pictures.write(pyplot, figure, path, title)


if __name__ == "__main__":
    main()
