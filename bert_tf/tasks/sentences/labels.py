"""Labels of pairs: scores, names, or none where texts go together."""

import collections
import logging
from collections.abc import Callable, Sequence
from typing import Any

from bert_tf.data.tables import BadValue, Problems
from bert_tf.errors import InputError, count_of, quote, some_of
from bert_tf.tasks.labels import (
    NO_GOLD_LABEL,
    are_many,
    are_scores,
    infer_labels,
    lookalike_hint,
    read_label,
    read_number,
    warn_of_lookalikes,
)
from bert_tf.tasks.sentences.data import (
    COSINE,
    IN_BATCH,
    LABEL_COLUMN,
    SOFTMAX,
    TEST,
    Label,
    PairExample,
    PairFiles,
    PairSet,
)

_LOGGER = logging.getLogger(__name__)


def score_reader(max_score: float) -> Callable[[Any], float]:
    """A function of a cell that returns a score, divided by the highest one."""

    def read(value: Any) -> float:
        number = read_number("label_col", value)
        if not -max_score <= number <= max_score:
            raise BadValue(
                f"label_col: {number:g}",
                f"a score from {-max_score:g} to {max_score:g}; "
                "--max_score=N is that of equal texts",
            )
        return number / max_score

    return read


def read_raw_score(value: Any) -> float:
    """A score as the file has it; raises `BadValue`."""
    return read_number("label_col", value)


def read_name(value: Any) -> str:
    """A label of a few from a cell; raises `BadValue`."""
    label = read_label("label_col", value)
    if label == "-":
        raise BadValue("the label '-'", f"a label ({NO_GOLD_LABEL})")
    return label


def learn_labels(found: PairSet) -> tuple[str, ...]:
    """The labels of a training set, in the order of their ids.

    Raises:
        InputError: there are too few, or they are scores.
    """
    names = [str(example.label) for example in found.examples]
    labels = infer_labels(names)
    if len(labels) < 2:
        raise InputError(
            f"{found.path} must have at least two different labels for "
            f"--objective={SOFTMAX}. It has only {quote(labels[0])}, in "
            f"{count_of(len(names), 'row')}"
        )
    if are_scores(labels, len(names)):
        raise InputError(
            f"{found.path} has {len(labels)} different numbers for labels, "
            f"such as {some_of(labels, 3)}: --objective={COSINE} learns scores"
        )
    lines: dict[str, str] = {}
    for example in found.examples:
        lines.setdefault(str(example.label), str(example.line))
    warn_of_lookalikes(found.path, lines)
    if are_many(labels, len(names)):
        _LOGGER.warning(
            "%s has %d different labels in %d rows: is it the right column?",
            found.path,
            len(labels),
            len(names),
        )
    return labels


def as_labels_or_scores(
    found: PairSet, labels: Sequence[str], max_score: float
) -> PairSet:
    """A set whose labels, read as names, become scores if none is a label.

    Args:
        found: the set.
        labels: those of training.
        max_score: the highest score.

    Raises:
        InputError: a label is neither; names the rows.
    """
    names = [str(example.label) for example in found.examples]
    if set(names) <= set(labels):
        return found
    problems = Problems(found.path)
    read = score_reader(max_score)
    has_labels = bool(set(names) & set(labels))
    examples = []
    for example, name in zip(found.examples, names, strict=True):
        try:
            if has_labels and name not in labels:
                raise BadValue(
                    f"the label {quote(name)}",
                    f"one of the training file's: {some_of(labels)}"
                    + lookalike_hint(name, labels),
                )
            if not has_labels:
                examples.append(example._replace(label=read(name)))
        except BadValue as bad:
            problems.add(example.line, bad.found, bad.expected)
    problems.raise_if_any()
    return found._replace(examples=examples)


def require_labels(found: PairSet, objective: str) -> PairSet:
    """The set itself; raises `InputError` if it has no labels."""
    if not found.is_labelled:
        kind = "scores" if objective == COSINE else "labels"
        raise InputError(
            f"{found.path} must have a column of {kind} for --objective="
            f"{objective}: it has no {LABEL_COLUMN!r}. `--label_col` names "
            "another one"
        )
    return found


def belonging_together(found: PairSet, min_score: float | None) -> PairSet:
    """The pairs of a training set that go together.

    Args:
        found: the set; its scores as in the file.
        min_score: the least score of such a pair; None for all pairs.

    Raises:
        InputError: there are scores and no least one, or the other way round;
            or no pair is left.
    """
    if found.is_labelled and min_score is None:
        raise InputError(
            f"`--objective={IN_BATCH}` trains on pairs that go together. "
            f"{found.path} has scores or labels: --min_score=N takes the pairs "
            "from N on; for all pairs, remove the column"
        )
    if min_score is None:
        return found
    if not found.is_labelled:
        raise InputError(
            f"`--min_score` needs scores, and {found.path} has none. Received: "
            f"--min_score={min_score:g}"
        )
    kept = [x for x in found.examples if float(x.label or 0.0) >= min_score]
    _LOGGER.info(
        "%d of %d pairs of %s have a score of at least %g.",
        len(kept),
        len(found.examples),
        found.path,
        min_score,
    )
    if not kept:
        raise InputError(
            f"No pair of {found.path} has a score of at least "
            f"--min_score={min_score:g}"
        )
    return found._replace(examples=kept)


def log_repeated(examples: Sequence[PairExample], batch_size: int) -> None:
    """Logs how many pairs share a text with another one, or are too few.

    In a batch, the text that goes with one of them counts as wrong for the
    other.
    """
    if len(examples) < batch_size:
        _LOGGER.warning(
            "There are %d pairs, fewer than --train_batch_size=%d: some are in "
            "a batch several times, and their own second texts count as wrong.",
            len(examples),
            batch_size,
        )
    counts = collections.Counter(
        text for one in examples for text in {one.text_a, one.text_b}
    )
    shared = sum(max(counts[x.text_a], counts[x.text_b]) > 1 for x in examples)
    if shared:
        _LOGGER.info(
            "%d of %d pairs share a text with another pair. Where both are in "
            "a batch, a right text counts as a wrong one.",
            shared,
            len(examples),
        )


def find_test_labels(
    files: PairFiles, read: Callable[[Any], Label]
) -> list[Label] | None:
    """The labels of the test file, in its order.

    Args:
        files: `PairFiles`, whose test file has been read.
        read: as in `read_part`.

    Returns:
        None, with a line in the log if there is a column: a row has no label or
        a bad one, or all have the same, which holds the place of labels that
        are not public.
    """
    problems = Problems(files.path(TEST))
    try:
        rows = list(files.rows(TEST, True, problems))
    except InputError:
        return None  # There is no such column.
    if not any("label_col" in values for _, values in rows):
        return None
    found: list[Label] = []
    reason = "not every row has one" if problems.count else None
    for line, values in rows if reason is None else ():
        try:
            found.append(read(values.get("label_col", "")))
        except BadValue as bad:
            reason = f"line {line} has {bad.found}"
            break
    if reason is None and len(set(found)) == 1:
        reason = "all rows have the same"
    if reason is None and len(set(map(type, found))) > 1:
        reason = "some are labels of training, and others are not"
    if reason is not None:
        _LOGGER.info("Labels of %s are not used: %s.", problems.path, reason)
        return None
    return found


def label_or_score(
    labels: Sequence[str], max_score: float
) -> Callable[[Any], Label]:
    """A function of a cell that returns one of some labels, or a score."""
    read_score = score_reader(max_score)

    def read(value: Any) -> Label:
        name = read_name(value)
        return name if name in labels else read_score(name)

    return read
