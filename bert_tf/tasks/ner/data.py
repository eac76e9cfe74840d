"""Files of labelled words to sentences in their documents."""

import dataclasses
import logging
from collections.abc import Iterator, Sequence

from bert_tf.data.tables import BadValue, Problems, find_file
from bert_tf.errors import InputError, count_of, quote, some_of
from bert_tf.tasks.labels import infer_labels, lookalike_hint, read_label
from bert_tf.tasks.ner import layouts, schemes
from bert_tf.tasks.ner.layouts import DOCUMENT, FileSettings, Row, Sentence

_LOGGER = logging.getLogger(__name__)

ENDINGS = (".txt", ".conll", ".bio", ".tsv")
FILES = {
    "train": [f"train{e}" for e in ENDINGS] + ["eng.train"],
    "dev": [f"{n}{e}" for n in ("dev", "valid", "testa") for e in ENDINGS]
    + ["eng.testa"],
    "test": [f"{n}{e}" for n in ("test", "testb") for e in ENDINGS]
    + ["eng.testb"],
}
"""Names of the files of each part."""


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
    is_plain = settings.label_scheme == schemes.NO_SCHEME
    if is_plain and schemes.scheme_of_model(labels) != schemes.NO_SCHEME:
        raise InputError(
            "`--label_scheme=none` is for labels that are no entities, and a "
            f"model with those of {path} would be taken for one of entities: "
            f"{some_of(labels, 4)}. Leave the flag out, or rename them"
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
    examples = _as_model_writes(examples, labels, scheme)
    _require_known(path, examples, labels, part)
    return examples


def _as_model_writes(
    examples: list[Example], labels: Sequence[str], scheme: str
) -> list[Example]:
    """Examples with targets as the model has them: L- for E-, for instance."""
    own = {schemes.plain_label(label): label for label in labels}
    own |= {label: label for label in labels}
    if scheme == schemes.NO_SCHEME or all(a == b for a, b in own.items()):
        return examples
    return [
        dataclasses.replace(one, targets=[own.get(x, x) for x in one.targets])
        if one.targets is not None
        else one
        for one in examples
    ]


def _read(
    settings: FileSettings, part: str, train_scheme: str
) -> tuple[str, list[Example]]:
    path = find_file(settings.data_dir, FILES[part])
    problems = Problems(path)
    if part == "test" and not settings.test_labels:
        settings = dataclasses.replace(settings, label_col=None)
    documents, has_documents = layouts.read(path, settings, problems)
    problems.raise_if_any()
    documents = [document for document in documents if document]
    sentences = [sentence for document in documents for sentence in document]
    _check_content(path, bool(sentences), has_documents, settings)
    if part != "test":
        _require_labels(path, sentences)
    elif not _uses_labels(path, sentences):
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


def iterate_unlabelled(settings: FileSettings, path: str) -> Iterator[Example]:
    """Yields the sentences of a file as it is read, without labels.

    Held in memory is one document, where documents are needed, or a sentence.

    Args:
        settings: `FileSettings`; the column of the label is not looked at.
        path: of the file.

    Raises:
        InputError: bad rows, no words, or no documents where they are needed.
    """
    settings = dataclasses.replace(settings, label_col=None)
    problems = Problems(path)
    document: list[Sentence] = []
    has_documents = has_words = False
    for sentence in layouts.iterate(path, settings, problems):
        if not sentence:
            has_documents = True
        if not sentence or not settings.document_context:
            yield from _examples_of(document, schemes.NO_SCHEME, "")
            document = []
        if sentence:
            has_words = True
            document.append(sentence)
    yield from _examples_of(document, schemes.NO_SCHEME, "")
    problems.raise_if_any()
    _check_content(path, has_words, has_documents, settings)


def _check_content(
    path: str, has_words: bool, has_documents: bool, settings: FileSettings
) -> None:
    if not has_words:
        raise InputError(f"{path} must hold sentences. It has no words")
    if settings.document_context and not has_documents:
        raise InputError(
            f"`{settings.documents_for}` needs files with {DOCUMENT} lines, "
            f"which begin a document. {path} has none"
        )


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


# ---------------------------------------------------------------------- labels


def _require_labels(path: str, sentences: Sequence[Sentence]) -> None:
    first = sentences[0][0]
    if first.label is None:
        raise InputError(
            f"{path}, line {first.line}: found one column, {quote(first.word)};"
            " expected a word and its label, divided by blanks or tabs"
        )


def _uses_labels(path: str, sentences: Sequence[Sentence]) -> bool:
    """Whether a test file has labels that are to be used."""
    if sentences[0][0].label is None:
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
    hint = schemes.how_to_rename(bad)
    if settings.label_scheme is None:
        hint += "; --label_scheme=none if labels are no entities"
    problems = Problems(path)
    for row in (row for sentence in sentences if bad for row in sentence):
        if row.label in bad:
            problems.add(
                row.line,
                f"the label {quote(str(row.label))}",
                f"O, or {tags} and a type ({scheme}, {how}){hint}",
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
