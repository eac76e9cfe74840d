"""Compares the results of two predictors on the texts of a file."""

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from bert_tf.errors import InputError
from bert_tf.exports import results
from bert_tf.exports.folder import heads_of
from bert_tf.exports.predictor import Predictor
from bert_tf.exports.results import Result
from bert_tf.support import files

SEPARATOR = " ||| "
SHOWN = 20
"""Texts with different labels that a report names."""


class Timed(NamedTuple):
    """The results of all texts, and the seconds that they took."""

    results: list[Result]
    seconds: float


class Difference(NamedTuple):
    """How far the results of texts are apart.

    Attributes:
        largest: of all numbers of the results.
        line: the number of the text that it is in, from 1.
        labels: for each text with another label, answer, choice or best guess
            its number, and both.
    """

    largest: float
    line: int
    labels: list[tuple[int, Any, Any]]


def read_texts(path: str, head: str) -> list[Any]:
    """The texts of a file, as `Predictor` takes them.

    Args:
        path: of a text on each line; `A ||| B` is a pair, a question and its
            context, or a context and its choices. Blank lines are skipped.
        head: what the model has.

    Raises:
        InputError: it cannot be read, has no text, or other ones than the head
            takes.
    """
    try:
        with open(path, encoding="utf-8") as file:
            lines = [line.strip() for line in file]
    except OSError as error:
        raise InputError(
            f"`--check`: {path} cannot be read: {error.strerror}"
        ) from error
    except UnicodeDecodeError as error:
        raise InputError(
            f"`--check`: {path} must be UTF-8 text: {error}"
        ) from error
    least, most, wanted = {
        "tokens": (1, 1, "one text"),
        "span": (2, 2, f"a question{SEPARATOR}its context"),
        "choices": (
            3,
            None,
            f"a context{SEPARATOR}a choice{SEPARATOR}another one",
        ),
    }.get(head, (1, 2, f"one text, or a text{SEPARATOR}another one"))
    found: list[Any] = []
    for number, line in enumerate(lines, start=1):
        if not line:
            continue
        parts = tuple(part.strip() for part in line.split(SEPARATOR.strip()))
        if len(parts) < least or (most and len(parts) > most):
            raise InputError(
                f"`--check`: each line must be {wanted} for the head {head}. "
                f"{path}, line {number}, has {len(parts)} parts"
            )
        if head == "choices":
            parts = (parts[0], list(parts[1:]))  # type: ignore[assignment]
        found.append(parts)
    if not found:
        raise InputError(f"`--check`: {path} has no text")
    return found


def head_of(settings: Mapping[str, Any]) -> str:
    """The head that says which texts a model takes, for `read_texts`.

    Args:
        settings: the content of its assets/bert_tf.json.
    """
    heads = [own["head"] for own in heads_of(settings).values()]
    return strictest(heads) if heads else settings["head"]


def strictest(heads: Collection[str]) -> str:
    """Which of several heads says which texts their model takes."""
    return "tokens" if "tokens" in heads else "classifier"


def run(predictor: Predictor, texts: Sequence[Any]) -> Timed:
    """The results of texts, after a first one that is not timed."""
    list(predictor(texts[:1]))
    began = time.perf_counter()
    found = list(predictor(texts))
    return Timed(found, time.perf_counter() - began)


def compare(got: Sequence[Result], want: Sequence[Result]) -> Difference:
    """Compares results of the same texts."""
    largest, line, labels = 0.0, 1, []
    for number, (one, other) in enumerate(zip(got, want, strict=True), 1):
        ours, theirs = list(_numbers(one)), list(_numbers(other))
        apart = 0.0
        if len(ours) == len(theirs):
            differences = np.abs(np.array(ours) - np.array(theirs))
            apart = float(differences.max(initial=0.0))
        # NaN is larger than all numbers.
        if apart > largest or np.isnan(apart) > np.isnan(largest):
            largest, line = apart, number
        pair = _label(one), _label(other)
        if pair[0] != pair[1]:
            labels.append((number, *pair))
    return Difference(largest, line, labels)


def _numbers(result: Result) -> Iterator[float]:
    """The numbers of a result, in an order of their own."""
    match result:
        case dict():
            for of_head in result.values():
                yield from _numbers(of_head)
        case results.Label(probabilities=chances):
            yield from chances.values()
        case results.Labels(scores=scores):
            yield from scores.values()
        case results.Value(value=value):
            yield value
        case results.Answer(score=score, null_probability=null):
            yield from (score, null or 0.0)
        case results.Guesses(masks=masks, next_sentence_probability=follows):
            yield from (one.probability for mask in masks for one in mask)
            yield follows or 0.0
        case results.Vectors(embedding=embedding):
            yield from embedding.ravel().tolist()
        case results.Tags() | results.Choice():
            yield from result.probabilities


def _label(result: Result) -> Any:
    """What a program would act on; None for numbers only."""
    match result:
        case dict():
            return {name: _label(one) for name, one in result.items()}
        case results.Label(label=label):
            return label
        case results.Answer(text=text, start=start):
            return text, start
        case results.Guesses(masks=masks):
            return [mask[0].piece if mask else None for mask in masks]
        case results.Labels() | results.Tags():
            return result.labels
        case results.Choice(choice=choice):
            return choice
    return None


def report(
    path: str,
    kind: str,
    difference: Difference,
    timed: Sequence[tuple[str, Timed, float]],
) -> str:
    """What is written about a comparison.

    Args:
        path: the file of texts.
        kind: the export's format.
        difference: of the results.
        timed: the name of each model, its results and its megabytes.
    """
    count = len(timed[0][1].results)
    lines = [
        f"texts: {count} of {path}",
        f"format: {kind}",
        f"largest difference: {difference.largest:.2g} (text "
        f"{difference.line})",
        f"different labels: {len(difference.labels)}",
    ]
    for name, found, megabytes in timed:
        milliseconds = 1000 * found.seconds / count
        lines.append(
            f"{name}: {milliseconds:.3g} ms a text, {megabytes:.1f} MB"
        )
    for number, got, want in difference.labels[:SHOWN]:
        lines.append(f"text {number}: {got!r}, Python model {want!r}")
    return "\n".join(lines) + "\n"


def write(path: str, text: str) -> None:
    """Writes a report.

    Raises:
        InputError: it cannot be written.
    """
    files.write_text(path, text)
