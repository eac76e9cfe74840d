"""Lines of files to sentences: words, and their labels.

No more than a sentence is held in memory by `iterate`.
"""

import dataclasses
import unicodedata
from collections.abc import Iterator
from typing import NamedTuple

from bert_tf.data.tables import BlankLines, Problems, read_lines
from bert_tf.errors import InputError, count_of, quote
from bert_tf.tasks.ner import schemes

DOCUMENT = "-DOCSTART-"
# Between the words, and between the labels, of a row of a .tsv file.
SEPARATOR = "\x02"
TEXT_COLUMN, LABEL_COLUMN = "text_a", "label"


@dataclasses.dataclass(frozen=True)
class FileSettings:
    """How files are read.

    Attributes:
        data_dir: their folder.
        word_col, label_col: columns, counted from 0; from -1 down from the
            end. No column of labels is read if it is None.
        label_scheme: one of `schemes.SCHEMES`; None to find it by reading.
        train_scheme: one of `schemes.TRAIN_SCHEMES`.
        document_context: whether documents are needed.
        test_labels: whether to use the labels of a test file.
        documents_for: the flag that needs documents.
    """

    data_dir: str
    word_col: int = 0
    label_col: int | None = -1
    label_scheme: str | None = None
    train_scheme: str = schemes.IOB2
    document_context: bool = False
    test_labels: bool = True
    documents_for: str = "--document_context"


class Row(NamedTuple):
    """A word and its label, None where the file has none."""

    line: int
    word: str
    label: str | None


Sentence = list[Row]


def read(
    path: str, settings: FileSettings, problems: Problems
) -> tuple[list[list[Sentence]], bool]:
    """The documents of a file, and whether it says where they begin."""
    documents: list[list[Sentence]] = [[]]
    has_documents = False
    for sentence in iterate(path, settings, problems):
        if sentence:
            documents[-1].append(sentence)
        else:
            documents.append([])
            has_documents = True
    return documents, has_documents


def iterate(
    path: str, settings: FileSettings, problems: Problems
) -> Iterator[Sentence]:
    """Yields the sentences of a file, and an empty one where a document begins.

    Args:
        path: of the file.
        settings: `FileSettings`.
        problems: collects the bad rows.

    Raises:
        InputError: there is no such column, or the file cannot be read.
    """
    lines = _lines(path, problems)
    if path.endswith(".tsv"):
        _, header = next(lines, (1, ""))
        if header.split("\t")[0] == TEXT_COLUMN:
            reads_labels = settings.label_col is not None
            return _iterate_joined(header, lines, problems, reads_labels)
        lines = _lines(path, problems)
    return _iterate_columns(path, lines, settings, problems)


def _lines(path: str, problems: Problems) -> Iterator[tuple[int, str]]:
    """The lines of a file; carriage returns stand at their ends only."""
    for line, text in read_lines(path, problems, keeps_returns=True):
        if "\r" in text:
            problems.add(
                line,
                f"a carriage return in {quote(text)}",
                "none but at the end of lines",
            )
        yield line, text


def _iterate_columns(
    path: str,
    lines: Iterator[tuple[int, str]],
    settings: FileSettings,
    problems: Problems,
) -> Iterator[Sentence]:
    """A word and its columns on each line, divided by blanks or tabs."""
    sentence: Sentence = []
    width, first = 0, 0
    for line, text in lines:
        cells = [cell for cell in text.replace("\t", " ").split(" ") if cell]
        begins_document = DOCUMENT in cells[:1] + _word_of(cells, settings)
        if begins_document or _is_blank(text, width):
            if sentence:
                yield sentence
            if begins_document:
                yield []
            sentence = []
            continue
        if not width:
            width, first = len(cells), line
            word_col, label_col = _find_columns(path, line, width, settings)
        if len(cells) != width:
            problems.add(
                line,
                f"{count_of(len(cells), 'column')}, {quote(text)}",
                f"{width} as in line {first}, divided by blanks or tabs (blank "
                "lines divide sentences)",
            )
            continue
        label = None if label_col is None else cells[label_col]
        sentence.append(Row(line, cells[word_col], label))
    if sentence:
        yield sentence


def _word_of(cells: list[str], settings: FileSettings) -> list[str]:
    """The cell of the word, if there is one."""
    at = settings.word_col
    return [cells[at]] if -len(cells) <= at < len(cells) else []


def _is_blank(text: str, width: int) -> bool:
    """Whether a line is white space. In files of words control characters are
    words.
    """
    return not text.strip() and (
        width != 1
        or all(
            one in "\t\r" or unicodedata.category(one) == "Zs" for one in text
        )
    )


def _find_columns(
    path: str, line: int, width: int, settings: FileSettings
) -> tuple[int, int | None]:
    """The columns of the word and of the label, None in a file of words."""
    found: list[int] = []
    for role in ("word_col", "label_col"):
        column = getattr(settings, role)
        if role == "label_col" and (width == 1 or column is None):
            return found[0], None
        if not -width <= column < width:
            raise InputError(
                f"`--{role}` must be a column of {path}, whose line {line} has "
                f"{count_of(width, 'column')}, counted from 0, divided by "
                f"blanks or tabs. Received: --{role}={column}"
            )
        found.append(column % width)
    if found[0] == found[1]:
        raise InputError(
            "`--word_col` and `--label_col` must be different columns. In "
            f"{path}, with {width} columns, both are column {found[0]}. "
            f"Received: --word_col={settings.word_col} "
            f"--label_col={settings.label_col}"
        )
    return found[0], found[1]


def _iterate_joined(
    header: str,
    lines: Iterator[tuple[int, str]],
    problems: Problems,
    reads_labels: bool,
) -> Iterator[Sentence]:
    r"""A sentence on each line: words joined by \x02, a tab, its labels."""
    names = header.split("\t")
    has_labels = names == [TEXT_COLUMN, LABEL_COLUMN]
    if not has_labels and names != [TEXT_COLUMN]:
        problems.add(
            1,
            f"the header {quote(header)}",
            f"{TEXT_COLUMN}, or {TEXT_COLUMN}, a tab and {LABEL_COLUMN}",
        )
    blanks = BlankLines(problems, "words, and labels")
    for line, text in lines:
        if not text:
            blanks.lines.append(line)
            continue
        blanks.add_to_problems()
        cells = text.split("\t")
        if len(cells) != len(names) or not cells[0]:
            problems.add(
                line,
                f"{count_of(len(cells), 'column')}, {quote(text)}",
                f"{len(names)} as in line 1: words, and labels, joined by the "
                r"character \x02",
            )
            continue
        words = cells[0].split(SEPARATOR)
        labels: list[str | None] = [None] * len(words)
        if has_labels and reads_labels:
            labels = [*cells[1].split(SEPARATOR)]
        if len(words) != len(labels):
            problems.add(
                line,
                f"{count_of(len(words), 'word')} and "
                f"{count_of(len(labels), 'label')}",
                r"as many labels as words, joined by the character \x02",
            )
            continue
        yield [Row(line, *pair) for pair in zip(words, labels)]
