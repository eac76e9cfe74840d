"""Files of labelled words to sentences in their documents."""

import dataclasses
import logging
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from bert_tf.data.tables import BadValue, Problems, find_file, read_lines
from bert_tf.errors import InputError, count_of, quote, some_of
from bert_tf.tasks.labels import infer_labels, lookalike_hint, read_label
from bert_tf.tasks.ner import schemes

_LOGGER = logging.getLogger(__name__)

DOCUMENT = "-DOCSTART-"
# Between the words, and between the labels, of a row of a .tsv file.
SEPARATOR = "\x02"
TEXT_COLUMN, LABEL_COLUMN = "text_a", "label"

ENDINGS = (".txt", ".conll", ".bio", ".tsv")
FILES = {
    "train": [f"train{e}" for e in ENDINGS] + ["eng.train"],
    "dev": [f"{n}{e}" for n in ("dev", "valid", "testa") for e in ENDINGS]
    + ["eng.testa"],
    "test": [f"{n}{e}" for n in ("test", "testb") for e in ENDINGS]
    + ["eng.testb"],
}
"""Names of the files of each part."""


@dataclasses.dataclass(frozen=True)
class FileSettings:
    """How files are read.

    Attributes:
        data_dir: their folder.
        word_col, label_col: columns, counted from 0; from -1 down from the end.
        label_scheme: one of `schemes.SCHEMES`; None to find it by reading.
        train_scheme: one of `schemes.TRAIN_SCHEMES`.
        document_context: whether documents are needed.
        test_labels: whether to use the labels of a test file.
    """

    data_dir: str
    word_col: int = 0
    label_col: int = -1
    label_scheme: str | None = None
    train_scheme: str = schemes.IOB2
    document_context: bool = False
    test_labels: bool = True


class Row(NamedTuple):
    """A word and its label, None where the file has none."""

    line: int
    word: str
    label: str | None


Sentence = list[Row]


@dataclasses.dataclass(frozen=True, slots=True)
class Example:
    """A sentence in its document.

    Attributes:
        document: the words of each sentence; the same object for all of a
            document.
        number: of the sentence in it.
        labels: as the file has them; None without labels.
        targets: the same in the scheme of training, well-formed.
        scheme: of the file, in which predictions are written.
        line: of the first word.
    """

    document: Sequence[Sequence[str]]
    number: int
    labels: Sequence[str] | None
    targets: Sequence[str] | None
    scheme: str
    line: int

    @property
    def words(self) -> Sequence[str]:
        """The words of the sentence."""
        return self.document[self.number]


def read_train(settings: FileSettings) -> tuple[list[Example], tuple[str, ...]]:
    """The examples to train on, and the labels in the order of their ids.

    Raises:
        InputError: bad rows, or fewer than two different labels.
    """
    path, examples = _read(settings, "train", settings.train_scheme)
    found = [label for one in examples for label in one.targets or ()]
    labels = infer_labels(found)
    if len(labels) < 2:
        raise InputError(
            f"{path} must have at least two different labels in "
            f"label_col={settings.label_col}. It has only {quote(labels[0])}, "
            f"for {count_of(len(found), 'word')}"
        )
    return examples, labels


def read_part(
    settings: FileSettings, part: str, labels: Sequence[str]
) -> list[Example]:
    """The examples of dev, or of test, whose labels may be missing.

    Args:
        settings: `FileSettings`.
        part: "dev" or "test".
        labels: those of the model, in its scheme.

    Raises:
        InputError: bad rows, or a label that the model does not have.
    """
    scheme = schemes.scheme_of_model(labels)
    if scheme == schemes.NO_SCHEME and settings.label_scheme is None:
        settings = dataclasses.replace(settings, label_scheme=scheme)
    path, examples = _read(settings, part, scheme)
    _require_known(path, examples, labels, part)
    return examples


def _read(
    settings: FileSettings, part: str, train_scheme: str
) -> tuple[str, list[Example]]:
    path = find_file(settings.data_dir, FILES[part])
    problems = Problems(path)
    documents, has_documents = _read_file(path, settings, problems)
    problems.raise_if_any()
    documents = [document for document in documents if document]
    sentences = [sentence for document in documents for sentence in document]
    if not sentences:
        raise InputError(f"{path} must hold sentences. It has no words")
    if settings.document_context and not has_documents:
        raise InputError(
            f"`--document_context` needs files with {DOCUMENT} lines, which "
            f"begin a document. {path} has none"
        )
    if part != "test":
        _require_labels(path, sentences)
    elif not _uses_labels(path, sentences, settings):
        documents = [
            [[row._replace(label=None) for row in s] for s in d]
            for d in documents
        ]
    documents = _with_clean_labels(path, documents)
    sentences = [s for document in documents for s in document]
    scheme = _find_scheme(path, sentences, settings, train_scheme)
    if scheme == schemes.NO_SCHEME:
        train_scheme = scheme
    examples = [
        example
        for document in documents
        for example in _examples_of(document, scheme, train_scheme)
    ]
    _log_repairs(path, examples, scheme)
    words = sum(map(len, sentences))
    parts = [count_of(len(sentences), "sentence"), count_of(words, "word")]
    if has_documents:
        parts.append(count_of(len(documents), "document"))
    _LOGGER.info("Read %s: %s.", path, ", ".join(parts))
    return path, examples


def _examples_of(
    document: Sequence[Sentence], scheme: str, train_scheme: str
) -> Iterator[Example]:
    words = [[row.word for row in sentence] for sentence in document]
    for number, sentence in enumerate(document):
        labels = _labels_of(sentence)
        targets = None
        if labels is not None:
            targets = schemes.convert(labels, scheme, train_scheme)
        line = sentence[0].line
        yield Example(words, number, labels, targets, scheme, line)


def _labels_of(sentence: Sentence) -> list[str] | None:
    labels = [row.label for row in sentence if row.label is not None]
    return labels if len(labels) == len(sentence) else None


# --------------------------------------------------------------------- layouts


def _read_file(
    path: str, settings: FileSettings, problems: Problems
) -> tuple[list[list[Sentence]], bool]:
    """The documents of a file, and whether it says where they begin."""
    lines = _lines(path, problems)
    if path.endswith(".tsv"):
        _, header = next(lines, (1, ""))
        if header.split("\t")[0] == TEXT_COLUMN:
            return [_read_joined(header, lines, problems)], False
        lines = _lines(path, problems)
    return _read_columns(path, lines, settings, problems)


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


def _read_columns(
    path: str,
    lines: Iterator[tuple[int, str]],
    settings: FileSettings,
    problems: Problems,
) -> tuple[list[list[Sentence]], bool]:
    """A word and its columns on each line, divided by blanks or tabs."""
    documents: list[list[Sentence]] = [[]]
    sentence: Sentence = []
    has_documents = False
    width, first = 0, 0

    def end_sentence() -> None:
        nonlocal sentence
        if sentence:
            documents[-1].append(sentence)
            sentence = []

    for line, text in lines:
        if not text.strip():
            end_sentence()
            continue
        cells = [cell for cell in text.replace("\t", " ").split(" ") if cell]
        if cells[0] == DOCUMENT:
            end_sentence()
            documents.append([])
            has_documents = True
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
    end_sentence()
    return documents, has_documents


def _find_columns(
    path: str, line: int, width: int, settings: FileSettings
) -> tuple[int, int | None]:
    """The columns of the word and of the label, None in a file of words."""
    found: list[int] = []
    for role in ("word_col", "label_col"):
        column = getattr(settings, role)
        if role == "label_col" and width == 1:
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


def _read_joined(
    header: str, lines: Iterator[tuple[int, str]], problems: Problems
) -> list[Sentence]:
    r"""A sentence on each line: words joined by \x02, a tab, its labels."""
    names = header.split("\t")
    has_labels = names == [TEXT_COLUMN, LABEL_COLUMN]
    if not has_labels and names != [TEXT_COLUMN]:
        problems.add(
            1,
            f"the header {quote(header)}",
            f"{TEXT_COLUMN}, or {TEXT_COLUMN}, a tab and {LABEL_COLUMN}",
        )
    found: list[Sentence] = []
    for line, text in lines:
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
        if has_labels:
            labels = [*cells[1].split(SEPARATOR)]
        if len(words) != len(labels):
            problems.add(
                line,
                f"{count_of(len(words), 'word')} and "
                f"{count_of(len(labels), 'label')}",
                r"as many labels as words, joined by the character \x02",
            )
            continue
        found.append([Row(line, *pair) for pair in zip(words, labels)])
    return found


# ---------------------------------------------------------------------- labels


def _require_labels(path: str, sentences: Sequence[Sentence]) -> None:
    first = sentences[0][0]
    if first.label is None:
        raise InputError(
            f"{path}, line {first.line}: found one column, {quote(first.word)};"
            " expected a word and its label, divided by blanks or tabs"
        )


def _uses_labels(
    path: str, sentences: Sequence[Sentence], settings: FileSettings
) -> bool:
    """Whether a test file has labels that are to be used."""
    if sentences[0][0].label is None or not settings.test_labels:
        return False
    distinct = {row.label for sentence in sentences for row in sentence}
    if len(distinct) == 1:
        _LOGGER.info(
            "%s has the same label for all words, %s: taken for words without "
            "labels.",
            path,
            quote(str(distinct.pop())),
        )
        return False
    return True


def _with_clean_labels(
    path: str, documents: Sequence[Sequence[Sentence]]
) -> list[list[Sentence]]:
    """The documents with labels as labels.txt holds them.

    Raises:
        InputError: it cannot hold some.
    """
    problems = Problems(path)

    def clean(row: Row) -> Row:
        if row.label is None:
            return row
        try:
            return row._replace(label=read_label("label", row.label))
        except BadValue as bad:
            problems.add(row.line, bad.found, bad.expected)
            return row

    cleaned = [[list(map(clean, s)) for s in d] for d in documents]
    problems.raise_if_any()
    return cleaned


def _find_scheme(
    path: str,
    sentences: Sequence[Sentence],
    settings: FileSettings,
    train_scheme: str,
) -> str:
    """The scheme of a file, in which all of its labels are.

    Raises:
        InputError: some are not.
    """
    labelled = [
        labels for labels in map(_labels_of, sentences) if labels is not None
    ]
    scheme = settings.label_scheme
    how = "as --label_scheme says"
    if scheme is None:
        scheme = schemes.find_scheme(labelled)
        how = "found by reading"
    if scheme is None or not labelled:
        return settings.label_scheme or train_scheme
    distinct = {label for labels in labelled for label in labels}
    bad = {label for label in distinct if not schemes.is_of(label, scheme)}
    tags = "B-, I-, E- or S-" if scheme == schemes.IOBES else "B- or I-"
    problems = Problems(path)
    for row in (row for sentence in sentences if bad for row in sentence):
        if row.label in bad:
            problems.add(
                row.line,
                f"the label {quote(str(row.label))}",
                f"O, or {tags} and a type ({scheme}, {how})",
            )
    problems.raise_if_any()
    name = "no scheme" if scheme == schemes.NO_SCHEME else scheme
    _LOGGER.info("The labels of %s are in %s, %s.", path, name, how)
    return scheme


def _log_repairs(path: str, examples: Sequence[Example], scheme: str) -> None:
    count, first = 0, 0
    for example in examples:
        bad = schemes.ill_formed(example.labels or (), scheme)
        if bad and not count:
            first = example.line
        count += len(bad)
    if count:
        _LOGGER.warning(
            "%s has %s ill-formed in %s, the first in the sentence of line "
            "%d: repaired by conlleval's rule, by which an entity begins "
            "wherever none of its type goes on.",
            path,
            count_of(count, "label")
            + (" that are" if count > 1 else " that is"),
            scheme,
            first,
        )


def _require_known(
    path: str, examples: Sequence[Example], labels: Sequence[str], part: str
) -> None:
    """Raises `InputError` for labels that the training file did not have."""
    known, problems = set(labels), Problems(path)
    switch = ", or --test_labels=false" if part == "test" else ""
    for example in examples:
        for place, label in enumerate(example.targets or ()):
            if label in known:
                continue
            is_joined = path.endswith(".tsv")
            problems.add(
                example.line if is_joined else example.line + place,
                f"the label {quote(label)} of the word "
                f"{quote(example.words[place])}",
                f"one of the training file's: {some_of(labels)}"
                f"{lookalike_hint(label, labels)}{switch}",
            )
    problems.raise_if_any()
