"""Questions about texts: SQuAD files, and windows over long texts.

Comes in: a file in SQuAD's JSON format (1.1 or 2.0). Goes out: `SquadExample`s,
and `Window`s for the model. What the model says of a window becomes answers in
`squad_answers.py`; how good they are is for `squad_metrics.py`, TFRecords and
everything TensorFlow for `records.py` and `run_squad.py`.

    question + context -> SquadExample
    context            -> Document: word pieces, once for all its questions
    example            -> Windows: [CLS] question [SEP] part of context [SEP]
"""

import json
import logging
import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from bert_tf.errors import InputError, count_of, quote

_LOGGER = logging.getLogger(__name__)

# What the original splits words at. Other spaces, U+00A0 and U+3000 among
# them, are characters of a word.
_WORD = re.compile("[^ \t\r\n\u202f]+")


# What `on_bad_answer` may be.
STOP, SKIP = "stop", "skip"

_SHOWN = 10


# ------------------------------------------------------------------- examples


@dataclass(frozen=True, slots=True)
class SquadExample:
    """A question, the text it is about, and for training the answer.

    Attributes:
        qas_id: the question's id.
        question_text: the question.
        context: the text; questions about one text share it.
        orig_answer_text: the answer; None unless read for training, "" if the
            question is impossible.
        start_position: the first word of the answer; None unless read for
            training, -1 if the question is impossible.
        end_position: its last word.
        answer_start: its first character in the context.
        is_impossible: whether the context holds no answer. Known in training.
        answers: all answers of the file, for metrics; none if the question is
            impossible. None if the file has no answers.
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
        """Whether it was read for training."""
        return self.start_position is not None


class Words(NamedTuple):
    """The words of a text, and the character that each starts at."""

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
    """The questions of a SQuAD file, in its order.

    Args:
        path: the file.
        is_training: whether answers are wanted to train on: exactly one for
            each question that has any.
        version_2_with_negative: whether there are impossible questions, marked
            by `is_impossible`. To predict, it makes no difference.
        on_bad_answer: what to do in training with an answer that is not where
            the file says: "skip" leaves the question out, as the original
            does, and logs a warning with its id; one that is near by, in the
            words that hold the place, is used and logged. "stop" raises for
            either.
        exact_answers: accepts what is exactly at its place and nothing else.
            (The original loses an answer with white space that does not end
            words, such as U+00A0.)

    Raises:
        InputError: bad JSON, something that is not there or of the wrong kind,
            no questions, bad answers with "stop", or, to predict, an id that
            comes twice. Names file and place or question.
    """
    if on_bad_answer not in (STOP, SKIP):
        raise InputError(
            f"`on_bad_answer` must be {STOP} or {SKIP}. "
            f"Received: on_bad_answer={on_bad_answer!r}"
        )
    examples: list[SquadExample] = []
    faults = _AnswerFaults(path)
    for where, paragraph in _paragraphs(path):
        context = _item(where, paragraph, "context", str)
        words = split_words(context) if is_training else None
        for number, question in enumerate(_item(where, paragraph, "qas", list)):
            place = f"{where}.qas[{number}]"
            qas_id = str(_item(place, question, "id", (str, int)))
            place = f"{place}, question {quote(qas_id)}"
            text = _item(place, question, "question", str)
            if words is None:
                answers = _all_answers(place, question)
                example: SquadExample | None = SquadExample(
                    qas_id, text, context, answers=answers
                )
            elif version_2_with_negative and _item(
                place, question, "is_impossible", bool
            ):
                example = SquadExample(
                    qas_id, text, context, "", -1, -1, is_impossible=True
                )
            else:
                answer = _only_answer(place, question, version_2_with_negative)
                example = _answered_example(
                    SquadExample(qas_id, text, context),
                    words,
                    answer,
                    exact_answers,
                    faults,
                )
            if example is not None:
                examples.append(example)
    faults.report(on_bad_answer, len(examples))
    if not examples:
        raise InputError(f"{path} must hold questions. It has none")
    if not is_training:
        _require_unique_ids(path, examples)
    return examples


def _paragraphs(path: str) -> Iterator[tuple[str, Any]]:
    """Each paragraph, and what to call its place in an error."""
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
    except RecursionError as error:
        raise InputError(f"{path} must be JSON in SQuAD's format") from error
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
    """`values[key]`, if it is there and of that kind."""
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


def _answered_example(
    example: SquadExample,
    words: Words,
    answer: _Answer,
    exact_answers: bool,
    faults: "_AnswerFaults",
) -> SquadExample | None:
    """The example with its answer; None if that is not to be found."""
    context, (text, start) = example.context, answer
    end = start + len(text)
    if not text.strip():
        faults.add_lost(example, "the answer has no text")
        return None
    if start < 0 or end > len(context):
        faults.add_lost(
            example,
            f"the answer {quote(text)} must be at character {start} of its "
            f"context, which has {len(context)} characters",
        )
        return None
    # The word that a character is in; a space counts with the word before.
    first = bisect_right(words.starts, start) - 1
    last = bisect_right(words.starts, end - 1) - 1
    found = context[start:end]
    is_there = found == text
    # The original takes an answer whose words are among those of its place.
    place = " ".join(words.words[first : last + 1]) if first >= 0 else ""
    is_near = " ".join(text.split()) in place
    if not is_there:
        fault = (
            f"the answer {quote(text)} must be at character {start} of its "
            f"context, which has {quote(found)} there"
        )
        if exact_answers or not is_near:
            faults.add_lost(example, fault)
            return None
        faults.add_near(example, fault)
    elif not is_near and not exact_answers:
        faults.add_lost(
            example,
            f"the answer {quote(text)} has white space that is no end of a "
            "word; --exact_answers=true keeps it",
        )
        return None
    return SquadExample(
        example.qas_id,
        example.question_text,
        context,
        orig_answer_text=text,
        start_position=max(first, 0),
        end_position=last,
        answer_start=start,
    )


class _AnswerFaults:
    """Answers that are not where their file says, told when all is read."""

    def __init__(self, path: str):
        self.path = path
        self.lost: list[str] = []
        self.near: list[str] = []

    def add_lost(self, example: SquadExample, fault: str) -> None:
        """Notes a question that cannot be trained on."""
        self.lost.append(f"  question {quote(example.qas_id)}: {fault}")

    def add_near(self, example: SquadExample, fault: str) -> None:
        """Notes an answer that is near by, so that it can be used."""
        self.near.append(f"  question {quote(example.qas_id)}: {fault}")

    def report(self, on_bad_answer: str, num_used: int) -> None:
        """Raises or warns, with the first of them and how many there are.

        Raises where they are not to be passed over, or nothing else is there.
        """
        all_faults = self.lost + self.near
        if all_faults and (on_bad_answer == STOP or not num_used):
            advice = (
                f"--on_bad_answer={SKIP} trains without them, as the original "
                "does"
                if num_used
                else "No question is left to train on"
            )
            raise InputError(
                f"{self.path} has {count_of(len(all_faults), 'bad answer')}"
                f"{_first_of(all_faults)}\n{advice}"
            )
        if self.lost:
            _LOGGER.warning(
                "%s: left out of training, beside %s used: %s%s",
                self.path,
                count_of(num_used, "question"),
                count_of(len(self.lost), "question"),
                _first_of(self.lost),
            )
        if self.near:
            _LOGGER.warning(
                "%s: used although not quite at their place, as the original "
                "does: %s%s",
                self.path,
                count_of(len(self.near), "answer"),
                _first_of(self.near),
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


# -------------------------------------------------------------------- windows
