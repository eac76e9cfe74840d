"""Datasets of texts with a label: from files to examples.

A dataset is one entry in `DATASETS`: its files, columns, labels and metrics.
"""

import abc
import collections
import dataclasses
import json
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bert_tf.data.tables import (
    FORMATS,
    Problems,
    find_file,
    read_columns,
    read_tsv,
)
from bert_tf.errors import InputError, count_of, quote, some_of
from bert_tf.tasks import metrics

Ids = Sequence[int]
Metric = Callable[[Ids, Ids, int], float]

_LOGGER = logging.getLogger(__name__)
_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?")


@dataclasses.dataclass(frozen=True, slots=True)
class InputExample:
    """One text, or a pair of them, and its label.

    Attributes:
        guid: the part of the data set, and the row.
        text_a: the text, or the first of a pair.
        text_b: the second of a pair; None or empty for none.
        label: one of the labels; the first one in unlabelled examples.
    """

    guid: str
    text_a: str
    text_b: str | None = None
    label: str | None = None


class Dataset(abc.ABC):
    """A source of examples (the original's `DataProcessor`).

    The three `get_..._examples` raise one InputError for all bad rows of the
    file.

    Attributes:
        labels: in the order of their ids; None before `learn_labels`.
        metrics: official metrics besides accuracy, by their names in
            eval_results.txt: functions of the true label ids, the predicted
            ones, and the number of labels.
        learns_labels: whether labels are learned from the training file, and
            predictions also written by name.
    """

    labels: tuple[str, ...] | None
    metrics: Mapping[str, Metric]
    learns_labels = False

    @abc.abstractmethod
    def get_train_examples(self, data_dir: str) -> list[InputExample]:
        """The examples to train on."""

    @abc.abstractmethod
    def get_dev_examples(self, data_dir: str) -> list[InputExample]:
        """The examples to evaluate on."""

    @abc.abstractmethod
    def get_test_examples(self, data_dir: str) -> list[InputExample]:
        """The examples to predict. They carry the first label."""

    def get_labels(self) -> tuple[str, ...]:
        """The labels in the order of their ids.

        Raises:
            ValueError: they are not known yet.
        """
        if self.labels is None:
            raise ValueError(
                "The labels of this task are not known yet: call "
                "`learn_labels` or `with_labels` first"
            )
        return self.labels


# ------------------------------------------------------- published datasets


@dataclasses.dataclass(frozen=True)
class Layout:
    """The columns of a file of a published dataset, counted from 0.

    Attributes:
        file: its name in data_dir.
        prefix: the beginning of its guids.
        text_a: column of the first text.
        text_b: column of the second text, if there is one.
        label: column of the label, -1 for the last one; None for no labels.
        guid: column of the guid; None for the number of the row, counted from
            0 with the header.
        has_header: whether to skip the first row.
        language: use only rows with this value in column 0.
        renamed_labels: labels by their spelling in the file.
    """

    file: str
    prefix: str
    text_a: int
    text_b: int | None = None
    label: int | None = None
    guid: int | None = None
    has_header: bool = True
    language: str | None = None
    renamed_labels: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @property
    def width(self) -> int:
        """The minimum number of columns in a row."""
        places = (self.text_a, self.text_b, self.guid, self.label)
        last = max(place for place in places if place is not None)
        return last + 1 + (self.label == -1)


@dataclasses.dataclass(frozen=True)
class PublishedDataset(Dataset):
    """A dataset whose files are laid out as they are published."""

    name: str
    labels: tuple[str, ...]
    train: Layout
    dev: Layout
    test: Layout | None
    metrics: Mapping[str, Metric] = dataclasses.field(default_factory=dict)

    def get_train_examples(self, data_dir: str) -> list[InputExample]:
        return read_layout(data_dir, self.train, self.labels)

    def get_dev_examples(self, data_dir: str) -> list[InputExample]:
        return read_layout(data_dir, self.dev, self.labels)

    def get_test_examples(self, data_dir: str) -> list[InputExample]:
        if self.test is None:
            raise InputError(
                f"The task {self.name} has no test set: `do_predict` must be "
                f"false with task_name={self.name!r}"
            )
        return read_layout(data_dir, self.test, self.labels)


def read_layout(
    data_dir: str, layout: Layout, labels: Sequence[str]
) -> list[InputExample]:
    """The examples of one file, the same as the original's.

    Raises:
        InputError: no such file, no examples in it, or bad rows.
    """
    path = find_file(data_dir, [layout.file])
    problems = Problems(path)
    examples = []
    for line, cells in read_tsv(path, problems):
        if layout.has_header and line == 1:
            _warn_if_example(path, layout, cells, labels)
            continue
        if layout.language is not None and cells[0] != layout.language:
            continue
        if len(cells) < layout.width:
            problems.add(
                line,
                count_of(len(cells), "column"),
                f"at least {layout.width}, separated by tabs",
            )
            continue
        label = labels[0] if layout.label is None else cells[layout.label]
        label = layout.renamed_labels.get(label, label)
        if label not in labels:
            problems.add(
                line,
                f"the label {quote(label)}",
                f"one of {', '.join(labels)}"
                + (" (this file has no header)" if line == 1 else ""),
            )
        guid = line - 1 if layout.guid is None else cells[layout.guid]
        examples.append(
            InputExample(
                guid=f"{layout.prefix}-{guid}",
                text_a=cells[layout.text_a],
                text_b=None if layout.text_b is None else cells[layout.text_b],
                label=label,
            )
        )
    problems.raise_if_any()
    if not examples:
        of_language = f" in the language {layout.language}"
        raise InputError(
            f"{path} must hold examples"
            f"{of_language if layout.language else ''}. It has none"
            f"{' after its header' if layout.has_header else ''}"
        )
    return examples


def _warn_if_example(
    path: str, layout: Layout, cells: Sequence[str], labels: Sequence[str]
) -> None:
    if (
        layout.label is not None
        and len(cells) >= layout.width
        and cells[layout.label] in labels
    ):
        _LOGGER.warning(
            "Line 1 of %s is left out as the header, as the original does, "
            "but it looks like an example: its label is %r",
            path,
            cells[layout.label],
        )


def _f1(labels: Ids, predictions: Ids, num_labels: int) -> float:
    """F1 of label 1, the official metric of MRPC in GLUE."""
    return metrics.f1(labels, predictions)


def _matthews_correlation(
    labels: Ids, predictions: Ids, num_labels: int
) -> float:
    """The official metric of CoLA in GLUE."""
    return metrics.matthews_correlation(labels, predictions)


_NLI_LABELS = ("contradiction", "entailment", "neutral")

COLA = PublishedDataset(
    name="cola",
    labels=("0", "1"),
    train=Layout("train.tsv", "train", text_a=3, label=1, has_header=False),
    dev=Layout("dev.tsv", "dev", text_a=3, label=1, has_header=False),
    test=Layout("test.tsv", "test", text_a=1),
    metrics={"eval_matthews_correlation": _matthews_correlation},
)

MNLI = PublishedDataset(
    name="mnli",
    labels=_NLI_LABELS,
    train=Layout("train.tsv", "train", text_a=8, text_b=9, label=-1, guid=0),
    dev=Layout(
        "dev_matched.tsv",
        "dev_matched",
        text_a=8,
        text_b=9,
        label=-1,
        guid=0,
    ),
    test=Layout("test_matched.tsv", "test", text_a=8, text_b=9, guid=0),
)

MRPC = PublishedDataset(
    name="mrpc",
    labels=("0", "1"),
    train=Layout("train.tsv", "train", text_a=3, text_b=4, label=0),
    dev=Layout("dev.tsv", "dev", text_a=3, text_b=4, label=0),
    test=Layout("test.tsv", "test", text_a=3, text_b=4),
    metrics={"eval_f1": _f1},
)

XNLI = PublishedDataset(
    name="xnli",
    labels=_NLI_LABELS,
    train=Layout(
        "multinli/multinli.train.zh.tsv",
        "train",
        text_a=0,
        text_b=1,
        label=2,
        renamed_labels={"contradictory": "contradiction"},
    ),
    dev=Layout(
        "xnli.dev.tsv", "dev", text_a=6, text_b=7, label=1, language="zh"
    ),
    test=None,
)


# ------------------------------------------------------------ users' own data


@dataclasses.dataclass(frozen=True)
class OwnDataset(Dataset):
    """`--task_name=tsv`: the user's own texts and labels.

    data_dir contains `train.*`, `dev.*` and `test.*`, each one .tsv (no
    quoting), .csv (quoted as in RFC 4180) or .jsonl (an object on each line). A
    column is given by its name in the header (in .jsonl files, its key) or by
    its number, counted from 0. `test.*` needs no labels.

    Labels are learned from the training file: sorted by value if all of them
    are numbers, else by code point. White space around a label is stripped.

    Attributes:
        text_a_col: column of the text, or of the first of a pair.
        text_b_col: column of the second text, if there is one.
        label_col: column of the label.
        header: "yes", "no", or "auto": yes if any column is given by name.
            Without effect on .jsonl files.
        labels: in the order of their ids; None before `learn_labels`.
    """

    text_a_col: str | int = "text"
    text_b_col: str | int | None = None
    label_col: str | int = "label"
    header: str = "auto"
    labels: tuple[str, ...] | None = None
    metrics: Mapping[str, Metric] = dataclasses.field(
        default_factory=lambda: {"eval_macro_f1": metrics.macro_f1}
    )
    learns_labels = True

    def __post_init__(self):
        if self.header not in ("auto", "no", "yes"):
            raise InputError(
                "`header` must be auto, no or yes. "
                f"Received: header={self.header!r}"
            )
        columns = list(self._columns(with_label=True).items())
        for number, (role, column) in enumerate(columns):
            for other, other_column in columns[:number]:
                if column == other_column:
                    raise InputError(
                        f"`{other}` and `{role}` must be different columns. "
                        f"Received: {other}={column!r}, {role}={column!r}"
                    )

    def with_labels(self, labels: Sequence[str]) -> "OwnDataset":
        """The same data set, with these labels in the order of their ids."""
        return dataclasses.replace(self, labels=tuple(labels))

    def learn_labels(self, data_dir: str) -> "OwnDataset":
        """The same data set, with the labels of the training file.

        Raises:
            InputError: bad rows, fewer than two labels, or a first row that may
                be a header.
        """
        path, examples = self._read(data_dir, "train", None)
        found = [example.label or "" for example in examples]
        self._refuse_likely_header(path, found)
        labels = infer_labels(found)
        if len(labels) < 2:
            raise InputError(
                f"{path} must have at least two different labels in "
                f"label_col={self.label_col!r}. It has only "
                f"{quote(labels[0])}, in {count_of(len(found), 'row')}"
            )
        # Fewer than two examples per label: probably a column of texts or
        # measurements. Small trials with up to 20 labels get no warning.
        if len(labels) > 20 and len(labels) > len(found) / 2:
            _LOGGER.warning(
                "%s has %d different labels in %d rows: is label_col=%r the "
                "column of the label?",
                path,
                len(labels),
                len(found),
                self.label_col,
            )
        return self.with_labels(labels)

    def get_train_examples(self, data_dir: str) -> list[InputExample]:
        return self._read(data_dir, "train", self.get_labels())[1]

    def get_dev_examples(self, data_dir: str) -> list[InputExample]:
        return self._read(data_dir, "dev", self.get_labels())[1]

    def get_test_examples(self, data_dir: str) -> list[InputExample]:
        first_label = self.get_labels()[0]
        _, examples = self._read(data_dir, "test", None, with_label=False)
        return [
            dataclasses.replace(example, label=first_label)
            for example in examples
        ]

    def _columns(self, with_label: bool) -> dict[str, str | int]:
        columns = {"text_a_col": self.text_a_col, "text_b_col": self.text_b_col}
        if with_label:
            columns["label_col"] = self.label_col
        return {
            role: int(column)
            if isinstance(column, str) and re.fullmatch("[0-9]+", column)
            else column
            for role, column in columns.items()
            if column is not None
        }

    def _has_header(self) -> bool:
        if self.header == "auto":
            columns = self._columns(with_label=True).values()
            return any(isinstance(column, str) for column in columns)
        return self.header == "yes"

    def _read(
        self,
        data_dir: str,
        part: str,
        labels: Sequence[str] | None,
        with_label: bool = True,
    ) -> tuple[str, list[InputExample]]:
        path = find_file(data_dir, [part + ending for ending in FORMATS])
        problems = Problems(path)
        columns = self._columns(with_label)
        has_header = self._has_header()
        examples: list[InputExample] = []
        empty: list[int] = []
        for line, values in read_columns(path, columns, has_header, problems):
            try:
                example = _own_example(f"{part}-{line}", values)
            except _BadValue as bad:
                problems.add(line, bad.found, bad.expected)
                continue
            if labels is not None and example.label not in labels:
                problems.add(
                    line,
                    f"the label {quote(example.label or '')}",
                    f"one of the training file's: {some_of(labels)}"
                    + (
                        " (if this is a header, say header=yes)"
                        if line == 1 and not path.endswith(".jsonl")
                        else ""
                    ),
                )
                continue
            if not example.text_a.strip():
                empty.append(line)
            examples.append(example)
        problems.raise_if_any()
        if not examples:
            raise InputError(
                f"{path} must hold examples. It has none"
                f"{' after its header' if has_header else ''}"
            )
        if empty:
            _LOGGER.warning(
                "%s has %s without a text in text_a_col, the first in line %d",
                path,
                count_of(len(empty), "row"),
                empty[0],
            )
        return path, examples

    def _refuse_likely_header(self, path: str, found: Sequence[str]) -> None:
        if (
            self.header == "auto"
            and not self._has_header()
            and not path.endswith(".jsonl")
            and found.count(found[0]) == 1
        ):
            raise InputError(
                f"`header` must be yes or no here: line 1 of {path} has the "
                f"label {quote(found[0])}, which no other row has, so it may "
                "be a header, and columns are given by number. "
                "Received: header='auto'"
            )


class _BadValue(Exception):
    def __init__(self, found: str, expected: str):
        super().__init__(found, expected)
        self.found = found
        self.expected = expected


def _own_example(guid: str, values: Mapping[str, Any]) -> InputExample:
    """Checks the values of one row; those of a .jsonl file can be anything."""
    text_b = values.get("text_b_col")
    return InputExample(
        guid=guid,
        text_a=_text_value("text_a_col", values["text_a_col"]),
        text_b=None if text_b is None else _text_value("text_b_col", text_b),
        label=_label_value(values["label_col"])
        if "label_col" in values
        else None,
    )


def _text_value(role: str, value: Any) -> str:
    if not isinstance(value, str):
        raise _BadValue(f"{role}: {quote(json.dumps(value))}", "a string")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise _BadValue(
            f"{role}: {quote(value)}, half of a surrogate pair", "text"
        ) from error
    return value


def _label_value(value: Any) -> str:
    if isinstance(value, bool | int | float):
        value = json.dumps(value)
    label = _text_value("label_col", value).strip()
    if not label:
        raise _BadValue("an empty label", "a label")
    if len(label.splitlines()) > 1:
        raise _BadValue(f"the label {quote(label)}", "a label of one line")
    return label


def infer_labels(found: Sequence[str]) -> tuple[str, ...]:
    """The distinct labels in the order of their ids.

    Sorted by value if all are numbers ("2" before "10"), else by code point.
    """
    different = collections.Counter(found)
    if all(_NUMBER.fullmatch(label) for label in different):
        return tuple(sorted(different, key=lambda text: (float(text), text)))
    return tuple(sorted(different))


# --------------------------------------------------------------- all data sets

DATASETS: dict[str, Dataset] = {
    "cola": COLA,
    "mnli": MNLI,
    "mrpc": MRPC,
    "tsv": OwnDataset(),
    "xnli": XNLI,
}


def published_names() -> str:
    """Names of the published datasets, as a help text lists them."""
    names = [
        name for name, dataset in DATASETS.items() if not dataset.learns_labels
    ]
    return f"{', '.join(names[:-1])} or {names[-1]}"


def find_dataset(name: str, **columns: str | int | None) -> Dataset:
    """The data set of this name.

    Args:
        name: one of `DATASETS`, in any case.
        **columns: for the task tsv: `text_a_col`, `text_b_col`, `label_col`,
            `header` of `OwnDataset`. None for the default.

    Raises:
        InputError: an unknown task, or columns for one whose files are fixed.
    """
    dataset = DATASETS.get(name.lower())
    if dataset is None:
        raise InputError(
            f"`task_name` must be one of {sorted(DATASETS)}. "
            f"Received: task_name={name!r}"
        )
    given = {role: at for role, at in columns.items() if at is not None}
    if isinstance(dataset, OwnDataset):
        return dataclasses.replace(dataset, **given)  # type: ignore[arg-type]
    if given.get("header") == "auto":
        given.pop("header")
    if given:
        raise InputError(
            f"`{next(iter(given))}` must be given with task_name='tsv' only: "
            f"the columns of {name} are fixed. Received: task_name={name!r}, "
            + ", ".join(f"{role}={at!r}" for role, at in given.items())
        )
    return dataset
