"""Data sets whose files are laid out as they are published."""

import dataclasses
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from bert_tf.data.tables import BadValue, Problems, Row, find_file, read_tsv
from bert_tf.errors import InputError, count_of, quote, some_of
from bert_tf.tasks.classification.data import (
    Dataset,
    InputExample,
    Submission,
    require_rows,
)
from bert_tf.tasks.classification.target import NUMBER, Label, Target
from bert_tf.tasks.labels import NO_GOLD_LABEL

_LOGGER = logging.getLogger(__name__)


class SubmissionFile(NamedTuple):
    """A file that GLUE's server takes.

    Attributes:
        name: in the archive.
        num_rows: without the header.
    """

    name: str
    num_rows: int


@dataclasses.dataclass(frozen=True)
class Layout:
    """The columns of a file of a published dataset, counted from 0.

    Attributes:
        file: its name in data_dir, or several names, of which the first that is
            there is taken.
        prefix: the beginning of its guids.
        text_a: column of the first text.
        text_b: column of the second text, if there is one.
        label: column of the label, -1 for the last one; None for no labels.
        guid: column of the guid; None for the number of the row, counted from
            0 with the header.
        has_header: whether to skip the first row.
        language: use only rows with this value in column 0.
        renamed_labels: labels by their spelling in the file.
        skips_short_rows: whether rows with too few columns are left out, with
            a warning; they are errors otherwise.
        old_versions: what to say of a file with this number of examples.
        beside: another folder to look in, relative to data_dir.
        submission: the `SubmissionFile` of its predictions; column 0 has the
            index of a row.
    """

    file: str | tuple[str, ...]
    prefix: str
    text_a: int
    text_b: int | None = None
    label: int | None = None
    guid: int | None = None
    has_header: bool = True
    language: str | None = None
    renamed_labels: Mapping[str, str] = dataclasses.field(default_factory=dict)
    skips_short_rows: bool = False
    old_versions: Mapping[int, str] = dataclasses.field(default_factory=dict)
    beside: str | None = None
    submission: SubmissionFile | None = None

    @property
    def files(self) -> Sequence[str]:
        """The names that the file may have."""
        return (self.file,) if isinstance(self.file, str) else self.file

    @property
    def width(self) -> int:
        """The minimum number of columns in a row."""
        places = (self.text_a, self.text_b, self.guid, self.label)
        last = max(place for place in places if place is not None)
        return last + 1 + (self.label == -1)

    def find(self, data_dir: str) -> str:
        """The path of the file.

        Raises:
            InputError: there is none.
        """
        folder = self.folder(data_dir) or data_dir
        there = [n for n in self.files if os.path.isfile(f"{folder}/{n}")]
        return find_file(folder, there[:1] or self.files)

    def folder(self, data_dir: str) -> str | None:
        """The folder that has the file: data_dir, or that beside it."""
        folders = [data_dir]
        if self.beside is not None:
            folders.append(os.path.join(data_dir, self.beside))
        for folder in folders:
            if any(os.path.isfile(f"{folder}/{name}") for name in self.files):
                return folder
        return None


class Remark(NamedTuple):
    """What to know about a result below a bound."""

    result: str
    below: float
    text: str


@dataclasses.dataclass(frozen=True)
class PublishedDataset(Dataset):
    """A dataset whose files are laid out as they are published.

    Attributes:
        name: its --task_name.
        target: a `Target`; its labels are known.
        train, dev, test: a `Layout`, or None where there is no such file.
        extra_dev: layouts of further sets to evaluate, by a short name.
        extra_test: the same of sets to predict. Files of both may be missing.
        means: results that are means of others.
        remarks: on results that look like mistakes and are none.
    """

    name: str
    target: Target
    train: Layout | None
    dev: Layout | None
    test: Layout | None
    extra_dev: Mapping[str, Layout] = dataclasses.field(default_factory=dict)
    extra_test: Mapping[str, Layout] = dataclasses.field(default_factory=dict)
    means: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)
    remarks: Sequence[Remark] = ()

    def get_train_examples(self, data_dir: str) -> list[InputExample]:
        return self._read(data_dir, self.train, "training", "do_train")

    def get_dev_examples(self, data_dir: str) -> list[InputExample]:
        return self._read(data_dir, self.dev, "dev", "do_eval")

    def get_test_examples(self, data_dir: str) -> list[InputExample]:
        return self._read(data_dir, self.test, "test", "do_predict")

    def _read(
        self, data_dir: str, layout: Layout | None, part: str, flag: str
    ) -> list[InputExample]:
        if layout is None:
            raise InputError(
                f"The task {self.name} has no {part} set: `{flag}` must be "
                f"false with task_name={self.name!r}"
            )
        return read_layout(data_dir, layout, self.target)

    def get_extra_dev_examples(
        self, data_dir: str, name: str
    ) -> list[InputExample] | None:
        return self._read_extra(data_dir, self.extra_dev[name])

    def get_extra_test_examples(
        self, data_dir: str, name: str
    ) -> list[InputExample] | None:
        return self._read_extra(data_dir, self.extra_test[name])

    def _read_extra(
        self, data_dir: str, layout: Layout
    ) -> list[InputExample] | None:
        folder = layout.folder(data_dir)
        if folder is None:
            _LOGGER.info(
                "No %s in %s: left out.", " or ".join(layout.files), data_dir
            )
            return None
        return read_layout(folder, layout, self.target)

    def iterate_unlabelled(
        self, path: str, data_dir: str
    ) -> Iterator[InputExample]:
        if self.train is None:
            raise InputError(f"The task {self.name} has no training set")
        return _iterate_texts(path, data_dir, self.train)

    def find_submission(self, data_dir: str, name: str) -> Submission | None:
        layout = self.extra_test[name] if name else self.test
        if layout is None or layout.submission is None:
            return None
        path = layout.find(data_dir)
        indexes = [cells[0] for _, cells in _rows(path, layout, Problems(path))]
        wrong = [
            index
            for index in indexes
            if not (index.isascii() and index.isdigit())
        ]
        if wrong or len(set(indexes)) < len(indexes):
            _LOGGER.warning(
                "%s has no different numbers in column 0 (%s): no %s is "
                "written",
                path,
                quote((wrong or indexes)[0]),
                layout.submission.name,
            )
            return None
        return Submission(layout.submission.name, indexes)

    def remark(self, results: Mapping[str, float]) -> str | None:
        for result, below, text in self.remarks:
            if results.get(result, below) < below:
                return f"{result} is below {below}. {text}"
        return None

    def submission_files(self) -> Iterator[SubmissionFile]:
        """The files that its predictions are submitted in."""
        for layout in (self.test, *self.extra_test.values()):
            if layout is not None and layout.submission is not None:
                yield layout.submission


def read_layout(
    data_dir: str, layout: Layout, target: Target
) -> list[InputExample]:
    """The examples of one file, the same as the original's.

    Raises:
        InputError: no such file, no examples in it, or bad rows.
    """
    path = layout.find(data_dir)
    problems = Problems(path)
    examples = []
    for line, cells in _rows(path, layout, problems, target):
        try:
            label = _read_label(layout, cells, line, target)
        except BadValue as bad:
            problems.add(line, bad.found, bad.expected)
            continue
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
    if len(examples) in layout.old_versions:
        _LOGGER.warning("%s: %s", path, layout.old_versions[len(examples)])
    return examples


def _iterate_texts(
    path: str, data_dir: str, layout: Layout
) -> Iterator[InputExample]:
    """Yields the texts of another file, in the columns of one of this layout.

    Where files have headers, columns go by their names in that of the file in
    data_dir: the training file and the test file may have them in other places.
    """
    places = [layout.text_a]
    if layout.text_b is not None:
        places.append(layout.text_b)
    problems = Problems(path)
    rows = read_tsv(path, problems)
    if layout.has_header:
        own = find_file(data_dir, layout.files)
        names = next(read_tsv(own, Problems(own))).cells
        header = next(rows, Row(1, [])).cells
        places = [_place_of(names[place], path, header) for place in places]
    width, count = max(places) + 1, 0
    for line, cells in rows:
        if len(cells) < width:
            found = count_of(len(cells), "column")
            problems.add(line, found, f"at least {width}, separated by tabs")
            continue
        count += 1
        yield InputExample(f"transfer-{line}", *(cells[at] for at in places))
    problems.raise_if_any()
    require_rows(path, count, layout.has_header)


def _place_of(name: str, path: str, header: Sequence[str]) -> int:
    if name not in header:
        raise InputError(
            f"Line 1 of {path} must name the column {quote(name)}, as that of "
            f"the training file does. It has: {some_of(header)}"
        )
    return header.index(name)


def _rows(
    path: str,
    layout: Layout,
    problems: Problems,
    target: Target | None = None,
) -> Iterator[Row]:
    """Yields the rows of examples.

    Short rows are added to `problems`, or counted in a warning.
    """
    short: list[int] = []
    for row in read_tsv(path, problems):
        line, cells = row
        if layout.has_header and line == 1:
            if target is not None:
                _warn_if_example(path, layout, cells, target)
            continue
        if layout.language is not None and cells[0] != layout.language:
            continue
        if len(cells) >= layout.width:
            yield row
        elif layout.skips_short_rows:
            short.append(line)
        else:
            problems.add(
                line,
                count_of(len(cells), "column"),
                f"at least {layout.width}, separated by tabs",
            )
    if short:
        _LOGGER.warning(
            "%s: skipped %s with fewer than %d columns, the first in line %d",
            path,
            count_of(len(short), "row"),
            layout.width,
            short[0],
        )


def _read_label(
    layout: Layout, cells: Sequence[str], line: int, target: Target
) -> Label:
    if layout.label is None:
        return target.blank
    text = cells[layout.label]
    if target.label_type == NUMBER:
        return target.read({"label_col": text})
    text = layout.renamed_labels.get(text, text)
    if text in target.labels:
        return text
    hint = " (this file has no header)" if line == 1 else ""
    if text == "-":
        hint = f" ({NO_GOLD_LABEL})"
    raise BadValue(
        f"the label {quote(text)}", f"one of {', '.join(target.labels)}{hint}"
    )


def _warn_if_example(
    path: str, layout: Layout, cells: Sequence[str], target: Target
) -> None:
    if (
        layout.label is not None
        and len(cells) >= layout.width
        and cells[layout.label] in target.labels
    ):
        _LOGGER.warning(
            "Line 1 of %s is left out as the header, as the original does, "
            "but it looks like an example: its label is %r",
            path,
            cells[layout.label],
        )
