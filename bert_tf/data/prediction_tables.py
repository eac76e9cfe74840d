"""Writes predictions beside what the input file had: a row for each row."""

import csv
import io
import json
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from bert_tf.data.tables import Problems, read_csv, read_jsonl, read_tsv
from bert_tf.errors import InputError, count_of
from bert_tf.support import files

FILE = "test_predictions.tsv"

PREFIX = "predicted_"
"""Before the name of a column that is there already."""


class Table(NamedTuple):
    """The cells of a .tsv, .csv or .jsonl file.

    Attributes:
        path: of the file.
        names: of its columns; `column_0`, `column_1`, ... if it names none.
        rows: as many cells each. A value of a .jsonl file that is no text is
            written as JSON; a key that a row lacks is an empty cell.
    """

    path: str
    names: list[str]
    rows: list[list[str]]


def read_table(path: str, has_header: bool) -> Table:
    """All cells of a file whose rows have been checked.

    Args:
        path: of the file; its ending determines the format.
        has_header: whether the first row names the columns; without effect on
            .jsonl files.
    """
    problems = Problems(path)
    if path.endswith(".jsonl"):
        objects = [values for _, values in read_jsonl(path, problems)]
        names = list(dict.fromkeys(key for one in objects for key in one))
        rows = [
            [_as_text(one[key]) if key in one else "" for key in names]
            for one in objects
        ]
        return Table(path, names, rows)
    read = (
        read_csv(path, problems)
        if path.endswith(".csv")
        else read_tsv(path, problems, keeps_returns=True)
    )
    rows = [row.cells for row in read]
    if has_header:
        return Table(path, [name.strip() for name in rows[0]], rows[1:])
    names = [f"column_{number}" for number in range(len(rows[0]))]
    return Table(path, names, rows)


def write(path: str, table: Table, columns: Sequence[tuple[str, Any]]) -> None:
    """Writes a table with further columns, whole or not at all.

    A cell stands in quotes, as in a .csv file, if it holds a tab or a line
    break or begins with a quote; in other cells quotes are ordinary.

    Args:
        path: of the file to write.
        table: what the input file has.
        columns: names, and values in the order of the rows.

    Raises:
        InputError: the file has another number of rows than there are
            predictions: it was changed.
    """
    for _, values in columns:
        if len(values) != len(table.rows):
            raise InputError(
                f"{table.path} must stay as it is until its predictions are "
                f"written. It has {count_of(len(table.rows), 'row')} now, and "
                f"{len(values)} were predicted: run the command again"
            )
    names: list[str] = []
    for name, _ in columns:
        while name in table.names or name in names:
            name = PREFIX + name
        names.append(name)
    rows = zip(table.rows, zip(*(values for _, values in columns)))
    lines = [_line([*table.names, *names])]
    lines += [_line([*cells, *map(str, more)]) for cells, more in rows]
    files.write_text(path, "".join(lines))


def _as_text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)


def _line(cells: Iterable[str]) -> str:
    return "\t".join(map(_cell, cells)) + "\n"


def _cell(text: str) -> str:
    if not text.startswith('"') and not any(c in text for c in "\t\n\r"):
        return text
    quoted = io.StringIO()
    csv.writer(quoted, quoting=csv.QUOTE_ALL, lineterminator="").writerow(
        [text]
    )
    return quoted.getvalue()
