"""Reads the wanted columns of .tsv, .csv and .jsonl files.

A bad row does not stop the reading. It is added to a `Problems`, which raises
one error for all of them, so that a file can be corrected in one go.
"""

import csv
import difflib
import json
import os
import random
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, BinaryIO, NamedTuple, TypeVar

from bert_tf.data.text_files import BEGINNING, require_line_ends, require_text
from bert_tf.errors import InputError, count_of, list_folder, quote

T = TypeVar("T")

FORMATS = (".tsv", ".csv", ".jsonl")


SHUFFLE_SEED = 12345
"""The original shuffles questions with this seed before it makes records."""


def shuffled(examples: Iterable[T]) -> list[T]:
    """Examples to train on, in another order, the same each time."""
    found = list(examples)
    random.Random(SHUFFLE_SEED).shuffle(found)
    return found


class Row(NamedTuple):
    """One row of a table; `line` counts from 1, as editors do."""

    line: int
    cells: list[str]


class Problems:
    """Collects the bad rows of a file, and reports them together."""

    def __init__(self, path: str, shown: int = 10):
        self.path = path
        self.shown = shown
        self.count = 0
        self._lines: list[str] = []

    def add(self, line: int, found: str, expected: str) -> None:
        """Adds a bad row."""
        self.count += 1
        if self.count <= self.shown:
            self._lines.append(
                f"  {self.path}, line {line}: found {found}; "
                f"expected {expected}"
            )

    def raise_if_any(self) -> None:
        """Raises one `InputError` that lists the first `shown` of them."""
        if not self.count:
            return
        rows = "one bad row" if self.count == 1 else f"{self.count} bad rows"
        first = (
            f", the first {self.shown} of them:"
            if self.count > self.shown
            else ":"
        )
        raise InputError(
            f"{self.path} has {rows}{first}\n" + "\n".join(self._lines)
        )


class BadValue(Exception):
    """A value that is not what its column must hold, for a `Problems`."""

    def __init__(self, found: str, expected: str):
        super().__init__(found, expected)
        self.found = found
        self.expected = expected


def text_value(role: str, value: Any) -> str:
    """A cell as text.

    Raises:
        BadValue: it is another JSON value, or not Unicode.
    """
    if not isinstance(value, str):
        raise BadValue(f"{role}: {quote(json.dumps(value))}", "a string")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise BadValue(
            f"{role}: {quote(value)}, half of a surrogate pair", "text"
        ) from error
    return value


def parse_column(column: str | int) -> str | int:
    """A column as a user gives it: its name, or its index in digits."""
    if isinstance(column, str) and re.fullmatch("[0-9]+", column):
        return int(column)
    return column


def require_different(columns: Mapping[str, str | int]) -> None:
    """Raises `InputError` for two roles, {role: column}, of one column."""
    roles: dict[str | int, str] = {}
    for role, column in columns.items():
        other = roles.setdefault(column, role)
        if other != role:
            raise InputError(
                f"`{other}` and `{role}` must be different columns. "
                f"Received: {other}={column!r}, {role}={column!r}"
            )


def find_file(folder: str, names: Sequence[str]) -> str:
    """The path of the one file in `folder` that has one of these names.

    Raises:
        InputError: there is no such folder, none of the files, or several.
    """
    if "://" in folder:
        raise InputError(
            "`data_dir` must be a folder on this machine: copy the files. "
            f"Received: data_dir={folder!r}"
        )
    if not os.path.isdir(folder):
        raise InputError(
            "`data_dir` must be a folder that exists. "
            f"Received: data_dir={folder!r}"
        )
    there = [name for name in names if os.path.isfile(f"{folder}/{name}")]
    if len(there) > 1:
        raise InputError(
            f"`data_dir` must hold one of {', '.join(names)}, so that it is "
            f"plain which is meant. data_dir={folder!r} has "
            f"{' and '.join(there)}: remove or rename all but one"
        )
    if not there:
        raise InputError(
            f"`data_dir` must hold {' or '.join(names)}. "
            f"data_dir={folder!r} has: {list_folder(folder)}"
        )
    return os.path.join(folder, there[0])


def read_lines(
    path: str, problems: Problems, keeps_returns: bool = False
) -> Iterator[tuple[int, str]]:
    r"""Each line's number, from 1, and its text without the line end.

    As in TensorFlow's line reader, and so in the original, lines end at \n
    only and every carriage return is dropped, also inside a line. A byte-order
    mark at the start is removed. A line that is not UTF-8, or contains NUL, is
    added to `problems` and returned without the bad characters.

    Args:
        path: of the file.
        problems: collects the bad lines.
        keeps_returns: keep carriage returns inside a line.

    Raises:
        InputError: the file is empty, in another encoding, or has carriage
            returns for line ends.
    """
    with _open(path) as file:
        start = file.read(BEGINNING)
        if not start:
            raise InputError(f"{path} is empty: it must hold examples")
        require_text(path, start)
        file.seek(3 if start.startswith(b"\xef\xbb\xbf") else 0)
        for line, raw in enumerate(file, start=1):
            if line == 1:
                require_line_ends(path, raw)
            if not raw.rstrip(b"\r"):
                return  # Carriage returns after the last line end.
            yield line, _decode(raw, line, problems, keeps_returns)


def _open(path: str) -> BinaryIO:
    try:
        return open(path, "rb")
    except OSError as error:
        raise InputError(f"Cannot read {path}: {error.strerror}") from error


def _decode(
    raw: bytes, line: int, problems: Problems, keeps_returns: bool
) -> str:
    raw = raw.removesuffix(b"\n").rstrip(b"\r")
    if not keeps_returns:
        raw = raw.replace(b"\r", b"")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        before = raw[: error.start].decode("utf-8")
        problems.add(
            line,
            f"the byte 0x{raw[error.start]:02x} at column "
            f"{len(before) + 1}, after {quote(before[-20:])}",
            "UTF-8 text",
        )
        text = raw.decode("utf-8", errors="replace")
    if "\x00" in text:
        problems.add(
            line,
            f"a NUL byte at column {text.index(chr(0)) + 1}",
            "text (is this a binary file, or UTF-16?)",
        )
        text = text.replace("\x00", "")
    return text


def read_tsv(
    path: str, problems: Problems, keeps_returns: bool = False
) -> Iterator[Row]:
    """Rows of a tab-separated file; quotes are ordinary characters.

    Args:
        path: of the file.
        problems: collects the bad rows; blank lines after the last row are
            none.
        keeps_returns: keep carriage returns in cells.
    """
    blanks = BlankLines(problems, "a row")
    for line, text in read_lines(path, problems, keeps_returns):
        if text:
            blanks.add_to_problems()
            yield Row(line, text.split("\t"))
        else:
            blanks.lines.append(line)


def read_csv(path: str, problems: Problems) -> Iterator[Row]:
    """Rows of a comma-separated file quoted as in RFC 4180.

    A quoted cell may contain commas, doubled quotes and line breaks; the line
    number of a row is that of its first line. Carriage returns inside a line
    stay in their cells.
    """
    # For the whole process. By default 131,072 characters are an error.
    csv.field_size_limit(2**31 - 1)
    # The reader takes a carriage return for the end of a row. `read_lines`
    # leaves no NUL in a text.
    lines = (
        text.replace("\r", "\0") + "\n"
        for _, text in read_lines(path, problems, keeps_returns=True)
    )
    reader = csv.reader(lines, strict=True)
    blanks = BlankLines(problems, "a row")
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            blanks.add_to_problems()
            problems.add(
                line,
                f"quoting that cannot be read ({error})",
                'RFC 4180 quoting: "..." around a cell, "" for a quote in it, '
                "and each quote closed",
            )
            continue
        if cells:
            blanks.add_to_problems()
            yield Row(line, [cell.replace("\0", "\r") for cell in cells])
        else:
            blanks.lines.append(line)


def read_jsonl(
    path: str, problems: Problems
) -> Iterator[tuple[int, dict[str, Any]]]:
    """The JSON object on each line.

    Raises:
        InputError: the file is one JSON value over several lines.
    """
    blanks = BlankLines(problems, "a JSON object")
    is_first = True
    for line, text in read_lines(path, problems, keeps_returns=True):
        if not text.strip():
            blanks.lines.append(line)
            continue
        blanks.add_to_problems()
        try:
            value = json.loads(text)
        except (ValueError, RecursionError) as error:
            if is_first and text.strip() in ("[", "{", "[{"):
                raise InputError(
                    f"{path}, line {line}: found {quote(text.strip())}, the "
                    "start of a JSON value over several lines; expected a "
                    "JSON object on each line, without brackets and commas "
                    "between them (`jq -c '.[]'` makes that of an array)"
                ) from error
            problems.add(line, f"{quote(text)} ({error})", "a JSON object")
            continue
        finally:
            is_first = False
        if isinstance(value, dict):
            yield line, value
        else:
            problems.add(line, quote(text), "a JSON object: {...}")


class BlankLines:
    """Blank lines, which are problems only if a row follows them."""

    def __init__(self, problems: Problems, expected: str):
        self.problems = problems
        self.expected = expected
        self.lines: list[int] = []

    def add_to_problems(self) -> None:
        for line in self.lines:
            self.problems.add(line, "a blank line", self.expected)
        self.lines.clear()


def read_columns(
    path: str,
    columns: Mapping[str, str | int],
    has_header: bool,
    problems: Problems,
    optional: Mapping[str, str] | None = None,
) -> Iterator[tuple[int, dict[str, Any]]]:
    """The wanted values of each row of a .tsv, .csv or .jsonl file.

    Args:
        path: of the file; its ending determines the format.
        columns: {role: column}. A role, such as `label_col`, names the value
            in the results and in errors. A column is a name in the header (in
            a .jsonl file, a key), or an index from 0.
        has_header: whether the first row names the columns. All rows must have
            as many columns as the first one.
        problems: collects the bad rows.
        optional: columns to read if the file has them, in a .jsonl file if the
            row has them.

    Yields:
        The line number, and {role: value}. Values are text, or any JSON value
        of a .jsonl file.

    Raises:
        InputError: the file lacks a column.
    """
    if path.endswith(".jsonl"):
        yield from _read_keys(path, columns, problems, optional or {})
        return
    rows = (
        read_csv(path, problems)
        if path.endswith(".csv")
        else read_tsv(path, problems, keeps_returns=True)
    )
    first = next(rows, None)
    if first is None:
        return
    if has_header and optional:
        names = {name.strip() for name in first.cells}
        there = {role: x for role, x in optional.items() if x in names}
        columns = {**columns, **there}
    places = find_columns(path, columns, first, has_header)
    if not has_header:
        yield first.line, {role: first.cells[at] for role, at in places.items()}
    for line, cells in rows:
        if len(cells) == len(first.cells):
            yield line, {role: cells[at] for role, at in places.items()}
        else:
            problems.add(
                line,
                count_of(len(cells), "column"),
                f"{len(first.cells)} as in line {first.line} "
                + _width_hint(path, len(cells) > len(first.cells)),
            )


def _width_hint(path: str, too_wide: bool) -> str:
    if not too_wide:
        return "(is a column missing, or the row broken in two?)"
    if path.endswith(".csv"):
        return "(a text that holds a comma must stand in quotes)"
    return "(a text cannot hold a tab)"


def find_columns(
    path: str,
    columns: Mapping[str, str | int],
    first: Row,
    has_header: bool,
) -> dict[str, int]:
    """The index of each wanted column, from 0.

    Raises:
        InputError: the first row lacks a column, or has it twice.
    """
    names = [name.strip() for name in first.cells]
    places = {}
    for role, column in columns.items():
        if isinstance(column, int):
            if not 0 <= column < len(names):
                raise InputError(
                    f"`{role}` must be a column of {path}, which has "
                    f"{count_of(len(names), 'column')}, counted from 0. "
                    f"Received: {role}={column}" + _separator_hint(path, names)
                )
            places[role] = column
            continue
        if not has_header:
            raise InputError(
                f"`{role}` must be a place counted from 0 where the files "
                f"have no header. Received: {role}={column!r}"
            )
        if names.count(column) != 1:
            raise InputError(
                f"`{role}` must be one of the columns that line {first.line} "
                f"of {path} names: {', '.join(map(quote, names[:20]))}. "
                f"Received: {role}={column!r}"
                + (
                    ", which is there twice"
                    if column in names
                    else _nearest(column, names)
                    + _separator_hint(path, names)
                    + ". In files without a header, name columns by place: "
                    "0, 1, ..."
                )
            )
        places[role] = names.index(column)
    return places


def _nearest(column: str, names: Sequence[str]) -> str:
    near = difflib.get_close_matches(column, names, n=1)
    return f" (did you mean {near[0]!r}?)" if near else ""


def _separator_hint(path: str, names: Sequence[str]) -> str:
    if len(names) > 1:
        return ""
    separator = "commas" if path.endswith(".csv") else "tabs"
    return f" (columns of this file are separated by {separator})"


def _read_keys(
    path: str,
    columns: Mapping[str, str | int],
    problems: Problems,
    optional: Mapping[str, str],
) -> Iterator[tuple[int, dict[str, Any]]]:
    keys = {role: str(column) for role, column in columns.items()}
    for line, values in read_jsonl(path, problems):
        missing = [
            f"{key!r} ({role})"
            for role, key in keys.items()
            if key not in values
        ]
        if missing:
            has = ", ".join(map(quote, list(values)[:20])) or "none"
            problems.add(
                line, f"the keys {has}", f"the key {' and '.join(missing)}"
            )
        else:
            there = {role: x for role, x in optional.items() if x in values}
            wanted = {**keys, **there}
            yield line, {role: values[key] for role, key in wanted.items()}
