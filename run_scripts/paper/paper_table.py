"""A table of the paper: the command line, and the text that is printed."""

import argparse
import dataclasses
import os
import sys

from paper_runs import (
    BUILTIN,
    TINY_ROWS,
    Failed,
    NoNumbers,
    Work,
    config_file,
)

from bert_tf.support import files
from bert_tf.tasks.metrics import mean_and_deviation

SIZE_NAMES = {"base": "BERT-Base", "large": "BERT-Large"}


@dataclasses.dataclass(frozen=True)
class Table:
    """A table of the paper.

    Attributes:
        title: of the table.
        rows: function of a `Work` that returns the rows.
        notes: what a reader has to know about the numbers.
        average: the paper's average of all numbers by size, or None.
        has_checkpoint: whether one checkpoint is for the whole table.
        define: function that adds arguments to a parser.
    """

    title: str
    rows: object
    notes: tuple[str, ...] = ()
    average: dict[str, float] | None = None
    has_checkpoint: bool = True
    define: object = lambda parser: None


# ------------------------------------------------------------------- arguments


def parse_arguments(table, description, arguments=None):
    """The command line; exits with 2 if it is wrong."""
    parser = argparse.ArgumentParser(
        description=description,
        formatter_class=argparse.RawTextHelpFormatter,
        epilog="Flags after `--` go to all commands of bert_tf that train: "
        "-- --precision=...",
    )
    parser.add_argument("--data_dir", required=True, help="folder of the data")
    parser.add_argument(
        "--output_dir", required=True, help="for runs, logs and table.md"
    )
    if table.has_checkpoint:
        parser.add_argument("--checkpoint", help="folder of a released model")
    else:
        parser.set_defaults(checkpoint=None)
    parser.add_argument(
        "--size",
        choices=[BUILTIN],
        help="use checkpoints/builtin, with settings for a model of that size",
    )
    parser.add_argument(
        "--num_runs", type=positive, default=5, help="seeds [%(default)s]"
    )
    parser.add_argument("--seed", type=int, default=1, help="the first seed")
    for part in ("train", "dev"):
        parser.add_argument(
            f"--{part}_rows",
            type=positive,
            help=f"take only the first N rows of each {part} file",
        )
    parser.add_argument(
        "--tiny",
        action="store_true",
        help=f"in miniature: {TINY_ROWS} rows of each file, one epoch",
    )
    parser.add_argument("--only", help="names of rows, separated by commas")
    for name, kind in (("learning_rate", float), ("num_train_epochs", float)):
        parser.add_argument(f"--{name}", type=kind, help="[the table's]")
    parser.add_argument(
        "--keep_checkpoints",
        action="store_true",
        help="do not remove checkpoints and records of finished rows",
    )
    table.define(parser)
    given = sys.argv[1:] if arguments is None else list(arguments)
    more = []
    if "--" in given:
        place = given.index("--")
        given, more = given[:place], given[place + 1 :]
    found = parser.parse_args(given)
    found.more = more
    if found.tiny:
        found.train_rows = found.train_rows or TINY_ROWS
        found.dev_rows = found.dev_rows or TINY_ROWS
    if found.size and found.checkpoint:
        parser.error("--size=builtin or --checkpoint, not both")
    if table.has_checkpoint and not (found.size or found.checkpoint):
        parser.error("--checkpoint=FOLDER is needed, or --size=builtin")
    for name in ("data_dir", "checkpoint"):
        folder = getattr(found, name)
        if folder and not os.path.isdir(folder):
            parser.error(f"--{name}={folder} is not a folder")
    if found.checkpoint and not config_file(found.checkpoint).exists():
        parser.error(f"--checkpoint={found.checkpoint} has no bert_config.json")
    return found


def positive(text):
    """An int of at least 1."""
    if int(text) < 1:
        raise ValueError
    return int(text)


# ------------------------------------------------------------------- the table


def cell(values, scale=1.0):
    """`mean ± deviation` of numbers; the number alone if there is one."""
    mean, deviation = mean_and_deviation([scale * value for value in values])
    if len(values) == 1:
        return f"{mean:.1f}"
    return f"{mean:.1f} ± {deviation:.1f}"


def paper_cell(number):
    """A number of the paper."""
    return "-" if number is None else f"{number:.1f}"


def lines_of_row(row, found, size):
    """The lines of the table for a row with numbers."""
    lines = []
    for result in row.results:
        values = found.get(result.id)
        ours = "not here" if values is None else cell(values, result.scale)
        paper = paper_cell(result.of_paper(size))
        lines.append(f"| {row.name} | {result.name} | {ours} | {paper} |")
    return lines


def lines_without_numbers(row, size):
    """The lines of the table for a row that has none, and no reason."""
    names = [(one.name, one.of_paper(size)) for one in row.results]
    return [
        f"| {row.name} | {name} | not here | {paper_cell(paper)} |"
        for name, paper in names or [("", None)]
    ]


def averages(rows, found):
    """The mean over all numbers for each run; None if one is missing."""
    columns = []
    for row in rows:
        for result in row.results:
            values = found.get(row.name, {}).get(result.id)
            if values is None:
                return None
            columns.append([result.scale * value for value in values])
    return [sum(run) / len(run) for run in zip(*columns)]


def describe(work):
    """How our numbers came about, in a line."""
    given = work.arguments
    parts = []
    if work.checkpoint:
        layers, width = work.shape
        parts.append(f"{work.checkpoint.name} ({layers} layers of {width})")
    runs = "1 run" if given.num_runs == 1 else f"{given.num_runs} runs"
    parts.append(f"{runs} from seed {given.seed}")
    for part in ("train", "dev"):
        count = getattr(given, f"{part}_rows")
        if count:
            parts.append(f"the first {count} rows of each {part} file")
    return f"Ours: {', '.join(parts)}. Mean ± sample deviation, in percent."


def make(table, work):
    """Computes a table.

    Returns:
        The table as text, and the exit code: 1 if a command failed, or no row
        has numbers.
    """
    rows = table.rows(work)
    names = [row.name for row in rows]
    chosen = (work.arguments.only or ",".join(names)).split(",")
    unknown = sorted(set(chosen) - set(names))
    if unknown:
        sys.exit(f"--only={','.join(unknown)}: rows are {', '.join(names)}")
    paper = "paper"
    if table.has_checkpoint:
        paper = f"paper, {SIZE_NAMES[work.size]}"
    lines = [f"| | | ours | {paper} |", "|---|---|---|---|"]
    found, reasons, broken = {}, [], False
    for row in rows:
        if row.name not in chosen:
            continue
        try:
            found[row.name] = work.numbers_of(row)
            lines += lines_of_row(row, found[row.name], work.size)
            reasons += [
                f"{row.name}, {result.name}: no {result.key} in {result.file}"
                for result in row.results
                if result.id not in found[row.name]
            ]
        except NoNumbers as reason:
            print(f"{row.name}: {reason}", flush=True)
            reasons.append(f"{row.name}: {reason}")
            broken |= isinstance(reason, Failed)
            lines += lines_without_numbers(row, work.size)
    if table.average:
        means = averages(rows, found)
        ours = cell(means) if means else "not here"
        lines.append(f"| average | | {ours} | {table.average[work.size]:.1f} |")
    notes = [*table.notes, *reasons]
    text = "\n".join(
        [
            f"{table.title}\n\n{describe(work)}\n",
            *lines,
            "",
            *(f"- {note}" for note in notes),
        ]
    )
    return text + "\n", int(broken or not found)


def main(table, description, arguments=None):
    """Computes a table, prints it and writes it to table.md.

    Returns:
        The exit code.
    """
    given = parse_arguments(table, description, arguments)
    work = Work(given)
    work.folder.mkdir(parents=True, exist_ok=True)
    text, code = make(table, work)
    files.write_text(str(work.folder / "table.md"), text)
    print(f"\n{text}", end="", flush=True)
    return code
