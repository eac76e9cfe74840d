"""Compares the exports of a distillation: accuracy, size and speed.

    python run_scripts/distillation/table.py --task_name=sst-2 \
        --data_dir=GLUE/SST-2 --folder=OUTPUT/exports --output_file=table.md

Asks each export about the dev set. FOLDER has `teacher`, and `alone-N`,
`distilled-N` and `int8-N` for each run N. The accuracy is the mean of the runs,
with the deviation of a sample; size and speed are those of the first run.
"""

import os
import re
import statistics
from typing import NamedTuple

from bert_tf.cli import command_line, label_flags
from bert_tf.cli.command_line import FlagSet
from bert_tf.errors import InputError
from bert_tf.exports import folder as exports
from bert_tf.support import files
from bert_tf.tasks import comparison, predictor
from bert_tf.tasks.classification.target import CLASS
from bert_tf.tasks.metrics import accuracy, mean_and_deviation

ROWS = {
    "teacher": "teacher",
    "alone": "student alone",
    "distilled": "distilled",
    "int8": "distilled, 8 bits",
}
MEGABYTE = 1_000_000
TIMES = 3
"""How often the dev set is asked for the speed; the median counts."""


class Measured(NamedTuple):
    """What is known of an export."""

    accuracy: float
    megabytes: float
    texts_per_second: float


def define_flags(values):
    """Defines the flags on a `FlagValues`."""
    flags = FlagSet(values)
    flags.string("data_dir", None, "Folder of the task's files.")
    flags.string("task_name", None, "As run_classifier takes it.")
    flags.string("folder", None, "Folder of the exports.")
    flags.string("output_file", None, "The table, in Markdown.")
    flags.require("data_dir", "task_name", "folder", "output_file")
    label_flags.define(flags)


def main(flags):
    """Measures all exports, and writes the table."""
    dataset = label_flags.find_dataset(flags)
    if dataset.target.label_type != CLASS:
        raise InputError(
            "The table has accuracies, and needs one label for each text. "
            f"Received: --label_type={dataset.target.label_type}"
        )
    if dataset.learns_labels:
        dataset = dataset.learn_labels(flags.data_dir)
    examples = dataset.get_dev_examples(flags.data_dir)
    rows = {}
    for name, title in ROWS.items():
        found = [measure(path, examples) for path in paths_of(flags, name)]
        if found:
            rows[title] = found
    text = table(rows)
    print(text, end="")
    files.write_text(flags.output_file, text)


def paths_of(flags, name):
    """The exports of a row, in the order of their runs."""
    numbers = {}
    for entry in os.listdir(flags.folder):
        match = re.fullmatch(rf"{name}(?:-(\d+))?", entry)
        if match:
            path = os.path.join(flags.folder, entry)
            numbers[int(match[1] or 0)] = path
    return [numbers[number] for number in sorted(numbers)]


def measure(path, examples):
    """The `Measured` of an export."""
    model = predictor.Predictor(path)
    texts = [
        (one.text_a, one.text_b) if one.text_b else one.text_a
        for one in examples
    ]
    timed = [comparison.run(model, texts) for _ in range(TIMES)]
    seconds = statistics.median(one.seconds for one in timed)
    return Measured(
        accuracy(
            [one.label for one in examples],
            [one.label for one in timed[0].results],
        ),
        exports.nbytes(model.path) / MEGABYTE,
        len(texts) / seconds,
    )


def table(rows):
    """The lines of the table.

    Args:
        rows: `Measured` of each run by the title of the row.
    """
    lines = [
        "| | accuracy, % | MB | texts per second |",
        "|---|---|---|---|",
    ]
    for title, found in rows.items():
        mean, deviation = mean_and_deviation([100 * x.accuracy for x in found])
        share = f"{mean:.1f}"
        if len(found) > 1:
            share += f" ± {deviation:.1f}"
        first = found[0]
        lines.append(
            f"| {title} | {share} | {first.megabytes:.1f} | "
            f"{first.texts_per_second:.0f} |"
        )
    return "".join(f"{line}\n" for line in lines)


if __name__ == "__main__":
    command_line.run(define_flags, main, __doc__)
