"""Reads questions, contexts and answers from files in SQuAD's format.

Versions 1.1 and 2.0 of the JSON format become lists of `SquadExample`s.
Malformed files are rejected, and answers that are not where the file says are
skipped or rejected, as the caller chooses.
"""

import json
import logging
import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from bert_tf.errors import InputError, count_of, quote

_LOGGER = logging.getLogger(__name__)

STOP, SKIP = "stop", "skip"
"""Values of `on_bad_answer`."""

# The original splits words at these characters only. Other spaces, U+00A0 and
# U+3000 among them, are part of a word.
_WORD = re.compile("[^ \t\r\n\u202f]+")

# Number of bad answers listed in a message.
_SHOWN = 10


@dataclass(frozen=True, slots=True)
class SquadExample:
    """A question about a context and, for training, its answer.

    Attributes:
        qas_id: the question's id.
        context: the text; questions about the same text share one string.
        orig_answer_text: the answer; None unless read for training, "" if the
            question is impossible.
        start_position: the first word of the answer; None unless read for
            training, -1 if the question is impossible.
        end_position: its last word.
        answer_start: its first character in the context.
        is_impossible: whether the context holds no answer; read for training
            only.
        answers: all answers in the file, for metrics; empty if the question is
            impossible, None if the file has no answers.
    """

    qas_id: str
    question_text: str
    context: str
    orig_answer_text: str | None = None
    start_position: int | None = None
    end_position: int | None = None
    answer_start: int | None = None
    is_impossible: bool = False
    answers: tuple[str, ...] | None = None

    @property
    def doc_tokens(self) -> list[str]:
        """The words of the context."""
        return split_words(self.context).words

    @property
    def is_for_training(self) -> bool:
        """Whether the example was read for training."""
        return self.start_position is not None


class Words(NamedTuple):
    """The words of a text and the character that each of them starts at."""

    words: list[str]
    starts: list[int]


def split_words(text: str) -> Words:
    """Splits as the original does: at space, tab, CR, LF and U+202F only."""
    found = list(_WORD.finditer(text))
    return Words([m.group() for m in found], [m.start() for m in found])


def read_squad_examples(
    path: str,
    is_training: bool,
    version_2_with_negative: bool = False,
    on_bad_answer: str = SKIP,
    exact_answers: bool = False,
) -> list[SquadExample]:
    """Reads the questions of a SQuAD file, in the file's order.

    Args:
        path: the JSON file.
        is_training: reads the answer to train on: exactly one for each question
            that is not impossible.
        version_2_with_negative: in training, whether questions may be marked
            `is_impossible`.
        on_bad_answer: in training, how to treat an answer that is not where
            the file says. "skip" leaves the question out, as the original
            does, and logs a warning with its id; an answer that lies within
            the words at its place is used and logged. "stop" raises for
            both.
        exact_answers: accepts only answers that are exactly at their place, and
            all of those. (The original loses answers with white space that does
            not separate words, such as U+00A0.)

    Raises:
        InputError: invalid JSON, a missing key or a value of the wrong type, no
            questions, bad answers with "stop", or, for prediction, a repeated
            id. Names the file and the place or question.
    """
    if on_bad_answer not in (STOP, SKIP):
        raise InputError(
            f"`on_bad_answer` must be {STOP} or {SKIP}. "
            f"Received: on_bad_answer={on_bad_answer!r}"
        )
    examples: list[SquadExample] = []
    bad_answers = _BadAnswers(path)
    for where, paragraph in _paragraphs(path):
        context = _item(where, paragraph, "context", str)
        words = split_words(context) if is_training else None
        for number, question in enumerate(_item(where, paragraph, "qas", list)):
            place = f"{where}.qas[{number}]"
            qas_id = str(_item(place, question, "id", (str, int)))
            place = f"{place}, question {quote(qas_id)}"
            text = _item(place, question, "question", str)
            example = SquadExample(qas_id, text, context)
            if words is None:
                answers = _all_answers(place, question)
                examples.append(replace(example, answers=answers))
            elif version_2_with_negative and _item(
                place, question, "is_impossible", bool
            ):
                examples.append(_impossible(example))
            else:
                answer = _only_answer(place, question, version_2_with_negative)
                span = _find_words(
                    example, words, answer, exact_answers, bad_answers
                )
                if span is not None:
                    examples.append(_answered(example, answer, span))
    bad_answers.report(on_bad_answer, len(examples))
    if not examples:
        raise InputError(f"{path} must hold questions. It has none")
    if not is_training:
        _require_unique_ids(path, examples)
    return examples


def _paragraphs(path: str) -> Iterator[tuple[str, Any]]:
    """Yields each paragraph and, for error messages, its place."""
    try:
        with open(path, encoding="utf-8-sig") as file:
            content = json.load(file)
    except OSError as error:
        raise InputError(f"Cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} must be UTF-8 text: {error}") from error
    except json.JSONDecodeError as error:
        raise InputError(
            f"{path}, line {error.lineno}, column {error.colno}: the file must "
            f"be JSON in SQuAD's format: {error.msg}. It has "
            f"{quote(error.doc[error.pos : error.pos + 40])} there"
        ) from error
    except (ValueError, RecursionError) as error:  # A number too long to read.
        raise InputError(
            f"{path} must be JSON in SQuAD's format: {error}"
        ) from error
    for i, article in enumerate(_item(path, content, "data", list)):
        where = f"{path}: data[{i}]"
        for j, paragraph in enumerate(
            _item(where, article, "paragraphs", list)
        ):
            yield f"{where}.paragraphs[{j}]", paragraph


_KINDS = {
    str: "a text",
    int: "a whole number",
    bool: "true or false",
    list: "a list",
    (str, int): "a text",
}


def _item(where: str, values: Any, key: str, kind: Any) -> Any:
    """Returns `values[key]` after checking that it is there and its type."""
    if not isinstance(values, dict):
        raise InputError(
            f"{where} must be an object with the key {key!r}. "
            f"Received: {quote(json.dumps(values))}"
        )
    if key not in values:
        has = ", ".join(map(quote, values)) or "none"
        hint = (
            ". A file of SQuAD 1.1 needs --version_2_with_negative=false"
            if key == "is_impossible"
            else ""
        )
        raise InputError(
            f"{where} must have the key {key!r}. It has the keys: {has}{hint}"
        )
    value = values[key]
    if not isinstance(value, kind) or (
        isinstance(value, bool) and kind is not bool
    ):
        raise InputError(
            f"{where}: {key!r} must be {_KINDS[kind]}. "
            f"Received: {quote(json.dumps(value))}"
        )
    return value


def _impossible(example: SquadExample) -> SquadExample:
    """The example of a question whose context holds no answer."""
    return replace(
        example,
        orig_answer_text="",
        start_position=-1,
        end_position=-1,
        is_impossible=True,
    )


def _all_answers(where: str, question: dict) -> tuple[str, ...] | None:
    if "answers" not in question:
        return None
    return tuple(
        _item(f"{where}, answers[{number}]", answer, "text", str)
        for number, answer in enumerate(_item(where, question, "answers", list))
    )


class _Answer(NamedTuple):
    text: str
    start: int


def _only_answer(
    where: str, question: dict, version_2_with_negative: bool
) -> _Answer:
    answers = _item(where, question, "answers", list)
    if len(answers) != 1:
        hint = (
            ": if the file has impossible questions, as SQuAD 2.0 has, train "
            "with --version_2_with_negative=true"
            if not answers and not version_2_with_negative
            else ": with several, as SQuAD's dev files have, it is a file for "
            "--predict_file"
            if answers
            else ""
        )
        raise InputError(
            "For training, each question should have exactly 1 answer. "
            f"{where} has {len(answers)}{hint}"
        )
    where = f"{where}, answers[0]"
    return _Answer(
        _item(where, answers[0], "text", str),
        _item(where, answers[0], "answer_start", int),
    )


def _find_words(
    example: SquadExample,
    words: Words,
    answer: _Answer,
    exact_answers: bool,
    bad_answers: "_BadAnswers",
) -> tuple[int, int] | None:
    """The first and last word of an answer; None if it cannot be used."""
    context, (text, start) = example.context, answer
    end = start + len(text)
    if not text.strip():
        bad_answers.skip(example, "the answer has no text")
        return None
    if start < 0 or end > len(context):
        bad_answers.skip(
            example,
            f"the answer {quote(text)} must be at character {start} of its "
            f"context, which has {len(context)} characters",
        )
        return None
    # A space belongs to the word before it.
    first = bisect_right(words.starts, start) - 1
    last = bisect_right(words.starts, end - 1) - 1
    found = context[start:end]
    # The original accepts any answer whose words are among those at its place.
    place = " ".join(words.words[first : last + 1]) if first >= 0 else ""
    is_near = " ".join(text.split()) in place
    if found != text:
        fault = (
            f"the answer {quote(text)} must be at character {start} of its "
            f"context, which has {quote(found)} there"
        )
        if exact_answers or not is_near:
            bad_answers.skip(example, fault)
            return None
        bad_answers.use(example, fault)
    elif not is_near and not exact_answers:
        bad_answers.skip(
            example,
            f"the answer {quote(text)} has white space that does not end a "
            "word; --exact_answers=true keeps it",
        )
        return None
    return max(first, 0), last


def _answered(
    example: SquadExample, answer: _Answer, span: tuple[int, int]
) -> SquadExample:
    """The example of a question with the answer to train on."""
    return replace(
        example,
        orig_answer_text=answer.text,
        start_position=span[0],
        end_position=span[1],
        answer_start=answer.start,
    )


class _BadAnswers:
    """Collects misplaced answers of a file and reports them together."""

    def __init__(self, path: str):
        self.path = path
        self.skipped: list[str] = []
        self.used: list[str] = []

    def skip(self, example: SquadExample, fault: str) -> None:
        """Records a question that cannot be trained on."""
        self.skipped.append(f"  question {quote(example.qas_id)}: {fault}")

    def use(self, example: SquadExample, fault: str) -> None:
        """Records an answer that is used, as it lies near its place."""
        self.used.append(f"  question {quote(example.qas_id)}: {fault}")

    def report(self, on_bad_answer: str, num_used: int) -> None:
        """Logs the first bad answers and their number.

        Raises:
            InputError: bad answers are not allowed, or no question is left.
        """
        bad = self.skipped + self.used
        if bad and (on_bad_answer == STOP or not num_used):
            advice = (
                f"--on_bad_answer={SKIP} trains without them, as the original "
                "does"
                if num_used
                else "No question is left to train on"
            )
            raise InputError(
                f"{self.path} has {count_of(len(bad), 'bad answer')}"
                f"{_first_of(bad)}\n{advice}"
            )
        if self.skipped:
            _LOGGER.warning(
                "%s: %s used for training, %s skipped%s",
                self.path,
                count_of(num_used, "question"),
                count_of(len(self.skipped), "question"),
                _first_of(self.skipped),
            )
        if self.used:
            _LOGGER.warning(
                "%s: used although not exactly at their place, as the original "
                "does: %s%s",
                self.path,
                count_of(len(self.used), "answer"),
                _first_of(self.used),
            )


def _first_of(lines: Sequence[str]) -> str:
    rest = f", the first {_SHOWN}:" if len(lines) > _SHOWN else ":"
    return "\n".join([rest, *lines[:_SHOWN]])


def _require_unique_ids(path: str, examples: Iterable[SquadExample]) -> None:
    seen: set[str] = set()
    for example in examples:
        if example.qas_id in seen:
            raise InputError(
                f"{path} must have each id once: predictions are kept by id. "
                f"Two questions have the id {quote(example.qas_id)}"
            )
        seen.add(example.qas_id)
