"""Examples of texts with a label, and users' own files of them."""

import abc
import dataclasses
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
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
from bert_tf.errors import InputError, count_of, quote, some_of
from bert_tf.tasks import metrics
from bert_tf.tasks.classification.cells import label_role
from bert_tf.tasks.classification.target import CLASS, Label, Target
from bert_tf.tasks.classification.targets import OneLabel
from bert_tf.tasks.labels import (
    are_many,
    are_scores,
    lookalike_hint,
    warn_of_lookalikes,
)

_LOGGER = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, slots=True)
class InputExample:
    """One text, or a pair of them, and its label.

    Attributes:
        guid: the part of the data set, and the row.
        text_a: the text, or the first of a pair.
        text_b: the second of a pair; None or empty for none.
        label: what the target has for a label; its `blank` in unlabelled
            examples.
    """

    guid: str
    text_a: str
    text_b: str | None = None
    label: Label | None = None


class Submission(NamedTuple):
    """A file of predictions for GLUE's server.

    Attributes:
        file: its name.
        indexes: of the rows, as the test file has them.
    """

    file: str
    indexes: Sequence[str]


class Dataset(abc.ABC):
    """A source of examples (the original's `DataProcessor`).

    Methods that return examples raise one InputError for all bad rows of the
    file.

    Attributes:
        target: what is predicted; its labels may be learned later.
        learns_labels: whether labels are learned from the training file, and
            predictions also written by name.
        extra_dev, extra_test: names of further sets.
        means: results that are means of others, see `tasks.task.merge`.
    """

    target: Target
    learns_labels = False
    extra_dev: Iterable[str] = ()
    extra_test: Iterable[str] = ()
    means: Mapping[str, Sequence[str]] = {}

    @abc.abstractmethod
    def get_train_examples(self, data_dir: str) -> list[InputExample]:
        """The examples to train on."""

    @abc.abstractmethod
    def get_dev_examples(self, data_dir: str) -> list[InputExample]:
        """The examples to evaluate on."""

    @abc.abstractmethod
    def get_test_examples(self, data_dir: str) -> list[InputExample]:
        """The examples to predict. They carry the first label."""

    def get_extra_dev_examples(
        self, data_dir: str, name: str
    ) -> list[InputExample] | None:
        """Those of a set in `extra_dev`; None if there is no such file."""
        raise KeyError(name)

    def get_extra_test_examples(
        self, data_dir: str, name: str
    ) -> list[InputExample] | None:
        """Those of a set in `extra_test`; None if there is no such file."""
        raise KeyError(name)

    @abc.abstractmethod
    def iterate_unlabelled(
        self, path: str, data_dir: str
    ) -> Iterator[InputExample]:
        """Yields the texts of a file, with None for the label.

        The file is read as it is iterated over, with the text columns of the
        training file; other columns are not looked at.

        Args:
            path: of the file.
            data_dir: the folder of the training file.

        Raises:
            InputError: it lacks a column, has bad rows or none.
        """

    def find_test_labels(self, data_dir: str) -> list[Label] | None:
        """The labels of the test file, if it has some; see `OwnDataset`."""
        return None

    def test_table(self, data_dir: str) -> Table | None:
        """The cells of the test file, of users' own files."""
        return None

    def find_submission(self, data_dir: str, name: str) -> Submission | None:
        """The `Submission` of a test set, if there is one.

        Args:
            name: one of `extra_test`, or "" for the first test set.
        """
        return None

    def remark(self, results: Mapping[str, float]) -> str | None:
        """What to know about these results, for the log."""
        return None

    @property
    def labels(self) -> tuple[str, ...] | None:
        """In the order of their ids; None before they are learned."""
        return self.target.labels or None

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


def own_target() -> OneLabel:
    """The target of users' own files, unless they have another."""
    return OneLabel(metrics={"eval_macro_f1": metrics.macro_f1})


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
        label_col: column of the label; None if each label has its own column,
            named as the label.
        header: "yes", "no", or "auto": yes if any column is given by name.
            Without effect on .jsonl files.
        target: a `Target`.
        finds_scores: whether labels that look like measurements are an error.
    """

    text_a_col: str | int = "text"
    text_b_col: str | int | None = None
    label_col: str | int | None = "label"
    header: str = "auto"
    target: Target = dataclasses.field(default_factory=own_target)
    finds_scores: bool = True
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
        return self.with_target(self.target.with_labels(labels))

    def with_target(self, target: Target) -> "OwnDataset":
        """The same data set with another target."""
        return dataclasses.replace(self, target=target)

    def learn_labels(self, data_dir: str) -> "OwnDataset":
        """The same data set, with the labels of the training file.

        Raises:
            InputError: bad rows, too few labels, or a first row that may be a
                header.
        """
        path, examples = self._read(data_dir, "train", learns=True)
        found = [_label_of(example) for example in examples]
        is_class = self.target.label_type == CLASS
        if is_class:
            self._refuse_likely_header(path, [str(one) for one in found])
        target = self.target.learned(found)
        _warn_of_lookalikes(path, target, examples)
        if is_class:
            self._check_classes(path, target.labels, len(found))
        if target.record_shape == (0,):
            raise InputError(
                f"{path} must have labels in label_col={self.label_col!r}. "
                f"Each of its {count_of(len(found), 'row')} has none"
            )
        return self.with_target(target)

    def _check_classes(
        self, path: str, labels: Sequence[str], num_rows: int
    ) -> None:
        if len(labels) < 2:
            raise InputError(
                f"{path} must have at least two different labels in "
                f"label_col={self.label_col!r}. It has only "
                f"{quote(labels[0])}, in {count_of(num_rows, 'row')}"
            )
        if self.finds_scores and are_scores(labels, num_rows):
            raise InputError(
                f"{path} has {len(labels)} different numbers in "
                f"label_col={self.label_col!r}, such as {some_of(labels, 3)}: "
                "as labels, each of them is a class of its own, without order "
                "or distance. Give --label_type=number to predict a number, "
                "or --label_type=class if they are names of classes"
            )
        # Fewer than two examples per label: probably a column of texts.
        if are_many(labels, num_rows):
            _LOGGER.warning(
                "%s has %d different labels in %d rows: is label_col=%r the "
                "column of the label?",
                path,
                len(labels),
                num_rows,
                self.label_col,
            )

    def get_train_examples(self, data_dir: str) -> list[InputExample]:
        return self._read(data_dir, "train")[1]

    def get_dev_examples(self, data_dir: str) -> list[InputExample]:
        return self._read(data_dir, "dev")[1]

    def get_test_examples(self, data_dir: str) -> list[InputExample]:
        blank = self.target.blank
        _, examples = self._read(data_dir, "test", with_label=False)
        return [
            dataclasses.replace(example, label=blank) for example in examples
        ]

    def iterate_unlabelled(
        self, path: str, data_dir: str
    ) -> Iterator[InputExample]:
        if not path.endswith(FORMATS):
            raise InputError(
                f"{path} must end with one of {', '.join(FORMATS)}, which says "
                "how it is read"
            )
        problems, count = Problems(path), 0
        columns, has_header = self._columns(False), self._has_header()
        for line, values in read_columns(path, columns, has_header, problems):
            try:
                example = self._example(f"transfer-{line}", values, False)
            except BadValue as bad:
                problems.add(line, bad.found, bad.expected)
                continue
            count += 1
            yield example
        problems.raise_if_any()
        require_rows(path, count, has_header)

    def find_test_labels(self, data_dir: str) -> list[Label] | None:
        """The labels of the test file, in its order.

        Returns:
            None, with a line in the log if there is a column: a row has no
            label or an unknown one, or all have the same, which holds the place
            of labels that are not public.
        """
        path = find_file(data_dir, ["test" + ending for ending in FORMATS])
        problems = Problems(path)
        columns = self._columns(with_label=True)
        try:
            rows = list(
                read_columns(path, columns, self._has_header(), problems)
            )
        except InputError:
            return None  # There is no such column.
        if not rows:
            return None
        reason = "not every row has one" if problems.count else None
        found = []
        for line, values in rows if reason is None else ():
            try:
                found.append(self._known_label(values))
            except BadValue as bad:
                reason = f"line {line} has {bad.found}"
                break
        if reason is None and len(set(found)) == 1:
            reason = "all rows have the same"
        if reason is not None:
            _LOGGER.info("Labels of %s are not used: %s.", path, reason)
            return None
        return found

    def test_table(self, data_dir: str) -> Table:
        path = find_file(data_dir, ["test" + ending for ending in FORMATS])
        return read_table(path, self._has_header())

    def _known_label(self, values: Mapping[str, Any]) -> Label:
        """Raises `BadValue` for a label that is none of the target's."""
        label = self.target.read(values)
        for name in self.target.names_in(label):
            if name not in self.target.labels:
                raise BadValue(
                    f"the label {quote(name)}, which the training file does "
                    "not have",
                    "a known label",
                )
        return label

    def _columns(self, with_label: bool) -> dict[str, str | int]:
        columns = {"text_a_col": self.text_a_col, "text_b_col": self.text_b_col}
        if with_label and self.label_col is not None:
            columns["label_col"] = self.label_col
        elif with_label:
            for number, label in enumerate(self.target.labels):
                columns[label_role(number)] = label
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
        learns: bool = False,
        with_label: bool = True,
    ) -> tuple[str, list[InputExample]]:
        if not learns and not self.target.num_outputs:
            self.get_labels()  # Raises.
        path = find_file(data_dir, [part + ending for ending in FORMATS])
        problems = Problems(path)
        columns = self._columns(with_label)
        has_header = self._has_header()
        examples: list[InputExample] = []
        empty: list[int] = []
        for line, values in read_columns(path, columns, has_header, problems):
            try:
                example = self._example(f"{part}-{line}", values, with_label)
                if with_label:
                    self._require_known(example, path, line, learns)
            except BadValue as bad:
                problems.add(line, bad.found, bad.expected)
                continue
            if not example.text_a.strip():
                empty.append(line)
            examples.append(example)
        problems.raise_if_any()
        require_rows(path, len(examples), has_header)
        if empty:
            _LOGGER.warning(
                "%s has %s without a text in text_a_col, the first in line %d",
                path,
                count_of(len(empty), "row"),
                empty[0],
            )
        return path, examples

    def _example(
        self, guid: str, values: Mapping[str, Any], with_label: bool
    ) -> InputExample:
        """Checks the values of one row; those of a .jsonl file can be any."""
        text_b = values.get("text_b_col")
        return InputExample(
            guid=guid,
            text_a=text_value("text_a_col", values["text_a_col"]),
            text_b=None if text_b is None else text_value("text_b_col", text_b),
            label=self.target.read(values) if with_label else None,
        )

    def _require_known(
        self, example: InputExample, path: str, line: int, learns: bool
    ) -> None:
        """Raises `BadValue` for a label that is none of the target's."""
        labels = self.target.labels
        known = "--label_cols" if learns else "the training file's"
        for name in self.target.names_in(_label_of(example)):
            if labels and name not in labels:
                raise BadValue(
                    f"the label {quote(name)}",
                    f"one of {known}: {some_of(labels)}"
                    + lookalike_hint(name, labels)
                    + (
                        " (if this is a header, say header=yes)"
                        if line == 1 and not path.endswith(".jsonl")
                        else ""
                    ),
                )

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


def require_rows(path: str, count: int, has_header: bool) -> None:
    """Raises `InputError` for a file without examples."""
    if not count:
        raise InputError(
            f"{path} must hold examples. It has none"
            f"{' after its header' if has_header else ''}"
        )


def _label_of(example: InputExample) -> Label:
    assert example.label is not None
    return example.label


def _warn_of_lookalikes(
    path: str, target: Target, examples: Sequence[InputExample]
) -> None:
    """Names labels that look the same, each with the line of its first row."""
    lines: dict[str, str] = {}
    for example in examples:
        line = example.guid.rpartition("-")[2]
        for name in target.names_in(_label_of(example)):
            lines.setdefault(name, line)
    warn_of_lookalikes(path, lines)
