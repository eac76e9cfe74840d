"""Examples of texts with a label, and users' own files of them."""

import abc
import collections
import dataclasses
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

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
from bert_tf.errors import InputError, count_of, quote, some_of
from bert_tf.tasks import metrics
from bert_tf.tasks.labels import (
    are_scores,
    infer_labels,
    look_of,
    lookalike_hint,
)

Ids = Sequence[int]
Metric = Callable[[Ids, Ids, int], float]

_LOGGER = logging.getLogger(__name__)


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
        require_different(self._columns(with_label=True))

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
        _warn_of_lookalikes(path, examples)
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
        elif are_scores(labels):
            _LOGGER.warning(
                "%s: the labels in label_col=%r are numbers with decimals, "
                "such as %s: each of the %d is a class of its own, without "
                "order or distance",
                path,
                self.label_col,
                some_of(labels, 3),
                len(labels),
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
            role: parse_column(column)
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
            except BadValue as bad:
                problems.add(line, bad.found, bad.expected)
                continue
            if labels is not None and example.label not in labels:
                problems.add(
                    line,
                    f"the label {quote(example.label or '')}",
                    f"one of the training file's: {some_of(labels)}"
                    + lookalike_hint(example.label or "", labels)
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


def _own_example(guid: str, values: Mapping[str, Any]) -> InputExample:
    """Checks the values of one row; those of a .jsonl file can be anything."""
    text_b = values.get("text_b_col")
    return InputExample(
        guid=guid,
        text_a=text_value("text_a_col", values["text_a_col"]),
        text_b=None if text_b is None else text_value("text_b_col", text_b),
        label=_label_value(values["label_col"])
        if "label_col" in values
        else None,
    )


def _label_value(value: Any) -> str:
    if isinstance(value, bool | int | float):
        value = json.dumps(value)
    label = text_value("label_col", value).strip()
    if not label:
        raise BadValue("an empty label", "a label")
    if len(label.splitlines()) > 1:
        raise BadValue(f"the label {quote(label)}", "a label of one line")
    return label


def _warn_of_lookalikes(path: str, examples: Sequence[InputExample]) -> None:
    """Names labels that look the same, each with the line of its first row."""
    lines: dict[str, str] = {}
    for example in examples:
        line = example.guid.rpartition("-")[2]
        lines.setdefault(example.label or "", line)
    groups = collections.defaultdict(list)
    for label in lines:
        groups[look_of(label)].append(label)
    for alike in groups.values():
        if len(alike) > 1:
            _LOGGER.warning(
                "%s has labels that differ only in how they are written, and "
                "are different classes: %s. Write them in one way if they "
                "mean the same",
                path,
                ", ".join(
                    f"{label!a} (line {lines[label]})" for label in alike
                ),
            )
