"""Pairs of texts: STS-B's files, MNLI's, and users' own, to examples.

A pair has a score, a label of a few, or neither. A folder has the parts
`train`, `dev` and `test`.
"""

import dataclasses
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from bert_tf.data.prediction_tables import Table, read_table
from bert_tf.data.tables import (
    FORMATS,
    BadValue,
    Problems,
    find_file,
    parse_column,
    read_columns,
    require_different,
    text_value,
)
from bert_tf.errors import InputError, count_of

_LOGGER = logging.getLogger(__name__)

COSINE, SOFTMAX, IN_BATCH = OBJECTIVES = ("cosine", "softmax", "in_batch")
"""What is learned: the scores of pairs, their labels, or which texts go
together, the other pairs of a batch being wrong."""

POOLINGS: Mapping[str, str] = {"mean": "mean", "cls": "first", "max": "max"}
"""How tokens become a vector: the names of `models.pool` by those of flags."""

TRAIN, DEV, TEST = "train", "dev", "test"

Label = float | str
"""A score, divided by the highest one; or the name of a label."""


class PairExample(NamedTuple):
    """Two texts.

    Attributes:
        guid: the part of the data, and the line.
        text_a, text_b: the texts.
        label: None for none.
    """

    guid: str
    text_a: str
    text_b: str
    label: Label | None = None

    @property
    def line(self) -> int:
        """Its line in the file, from 1."""
        return int(self.guid.rpartition("-")[2])


class PairSet(NamedTuple):
    """The examples of a file, in its order; all have a label, or none."""

    path: str
    examples: list[PairExample]

    @property
    def is_labelled(self) -> bool:
        """Whether they have labels."""
        return self.examples[0].label is not None


class Published(NamedTuple):
    """Files as they are published, with a header and columns from 0.

    Attributes:
        files: by part.
        text_a, text_b: columns of the texts.
        label: that of the label, by part; a part that is not here has none.
        max_score: the highest score; None where labels are names.
    """

    files: Mapping[str, str]
    text_a: int
    text_b: int
    label: Mapping[str, int]
    max_score: float | None


OWN = "tsv"
PUBLISHED = {
    "sts-b": Published(
        {TRAIN: "train.tsv", DEV: "dev.tsv", TEST: "test.tsv"},
        7,
        8,
        {TRAIN: 9, DEV: 9},
        5.0,
    ),
    "mnli": Published(
        {
            TRAIN: "train.tsv",
            DEV: "dev_matched.tsv",
            TEST: "test_matched.tsv",
        },
        8,
        9,
        {TRAIN: 11, DEV: 15},
        None,
    ),
}
"""By `--task_name`."""

COLUMNS = {"text_a_col": "text_a", "text_b_col": "text_b"}
LABEL_COLUMN = "label"
"""The columns of users' own files, where flags name none."""


@dataclasses.dataclass(frozen=True)
class PairFiles:
    """The files of a data set.

    Attributes:
        data_dir: their folder.
        task_name: one of `PUBLISHED`, or `OWN`.
        text_a_col, text_b_col: columns of the texts, by name (in .jsonl files,
            a key) or from 0; None for `COLUMNS`.
        label_col: that of the label; None for `LABEL_COLUMN`, if there is one.
        header: "yes", "no", or "auto": yes if any column is given by name.
    """

    data_dir: str
    task_name: str = OWN
    text_a_col: str | None = None
    text_b_col: str | None = None
    label_col: str | None = None
    header: str = "auto"

    @property
    def published(self) -> Published | None:
        """Its layout, or None for own files."""
        return PUBLISHED.get(self.task_name)

    def path(self, part: str) -> str:
        """The path of a part; raises `InputError` if there is none."""
        names = [part + ending for ending in FORMATS]
        if self.published:
            names = [self.published.files[part]]
        return find_file(self.data_dir, names)

    def columns(
        self, part: str, with_label: bool
    ) -> tuple[dict[str, str | int], dict[str, str]]:
        """Columns by role: those that must be there, and those that may."""
        if self.published:
            wanted: dict[str, str | int] = {
                "text_a_col": self.published.text_a,
                "text_b_col": self.published.text_b,
            }
            if with_label and part in self.published.label:
                wanted["label_col"] = self.published.label[part]
            return wanted, {}
        given = {
            role: getattr(self, role) or name for role, name in COLUMNS.items()
        }
        optional = {}
        if with_label and self.label_col is not None:
            given["label_col"] = self.label_col
        elif with_label:
            optional["label_col"] = LABEL_COLUMN
        wanted = {role: parse_column(column) for role, column in given.items()}
        require_different({**optional, **wanted})
        return wanted, optional

    @property
    def has_header(self) -> bool:
        """Whether the first row of a file names the columns."""
        if self.published or self.header != "auto":
            return self.header != "no"
        wanted, _ = self.columns(TRAIN, with_label=True)
        return any(isinstance(column, str) for column in wanted.values())

    def table(self, part: str) -> Table:
        """All cells of a part that has been read before."""
        return read_table(self.path(part), self.has_header)

    def rows(
        self, part: str, with_label: bool, problems: Problems
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        """The line and the wanted values of each row."""
        wanted, optional = self.columns(part, with_label)
        return read_columns(
            problems.path, wanted, self.has_header, problems, optional
        )


def read_part(
    files: PairFiles, part: str, read: Callable[[Any], Label] | None
) -> PairSet:
    """Reads the file of a part.

    Args:
        files: `PairFiles`.
        part: `TRAIN`, `DEV` or `TEST`.
        read: function of the cell of a label, which raises `BadValue`; None
            for no labels.

    Returns:
        A set without labels, if `read` is None or the file may lack a column
        of them and does.

    Raises:
        InputError: there is no such file, no example in it, a column is
            missing, or rows are bad; names all of these.
    """
    path = files.path(part)
    problems = Problems(path)
    examples, empty = [], []
    for line, values in files.rows(part, read is not None, problems):
        try:
            example = _example(f"{part}-{line}", values, read)
        except BadValue as bad:
            problems.add(line, bad.found, bad.expected)
            continue
        if not example.text_a.strip() or not example.text_b.strip():
            empty.append(line)
        examples.append(example)
    problems.raise_if_any()
    if not examples:
        raise InputError(f"{path} must hold examples. It has none")
    if empty:
        _LOGGER.warning(
            "%s has %s with an empty text, the first in line %d",
            path,
            count_of(len(empty), "row"),
            empty[0],
        )
    _require_all_or_none(path, examples)
    return PairSet(path, examples)


def _example(
    guid: str, values: Mapping[str, Any], read: Callable[[Any], Label] | None
) -> PairExample:
    label = None
    if read is not None and "label_col" in values:
        label = read(values["label_col"])
    text_a, text_b = (text_value(role, values[role]) for role in COLUMNS)
    return PairExample(guid, text_a, text_b, label)


def _require_all_or_none(path: str, examples: Sequence[PairExample]) -> None:
    """Raises `InputError` if some rows of a .jsonl file lack a label."""
    lacking = [x.line for x in examples if x.label is None]
    if lacking and len(lacking) < len(examples):
        raise InputError(
            f"{path} must have the key {LABEL_COLUMN!r} in all of its rows, or "
            f"in none. {count_of(len(lacking), 'row')} of {len(examples)} "
            f"without it, the first in line {lacking[0]}"
        )
