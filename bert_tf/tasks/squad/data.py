"""Questions about texts: SQuAD files, and windows over long texts.

Comes in: a file in SQuAD's JSON format (1.1 or 2.0). Goes out: `SquadExample`s,
and `Window`s for the model. What the model says of a window becomes answers in
`squad_answers.py`; how good they are is for `squad_metrics.py`, TFRecords and
everything TensorFlow for `records.py` and `run_squad.py`.

    question + context -> SquadExample
    context            -> Document: word pieces, once for all its questions
    example            -> Windows: [CLS] question [SEP] part of context [SEP]
"""

import functools
import json
import logging
import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from bert_tf.data import packing
from bert_tf.data.packing import (
    DocSpan,
    find_max_context,
    split_document,
)
from bert_tf.data.tables import count_of, quote
from bert_tf.errors import InputError
from bert_tf.tokenization import FullTokenizer

_LOGGER = logging.getLogger(__name__)

# What the original splits words at. Other spaces, U+00A0 and U+3000 among
# them, are characters of a word.
_WORD = re.compile("[^ \t\r\n\u202f]+")

FIRST_UNIQUE_ID = 1000000000
"""Of the first window of a file, as in the original; then counted up."""

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


def improve_answer_span(
    pieces: Sequence[str], start: int, end: int, answer_pieces: Sequence[str]
) -> tuple[int, int]:
    """The first place within [start, end] that has just the answer's pieces.

    Words hold more than answers do: "(1895-1943)" holds "1895". Where the
    pieces are not found ("Japan" in "Japanese") the span stays as it is.
    """
    length = len(answer_pieces)
    wanted = list(answer_pieces)
    for first in range(start, end - length + 2):
        if wanted and list(pieces[first : first + length]) == wanted:
            return first, first + length - 1
    return start, end


@dataclass(frozen=True)
class Document:
    """A context in word pieces.

    Attributes:
        context: the text.
        pieces: its word pieces.
        ids: their ids.
        word_of_piece: for each piece, the word it belongs to.
        first_piece: for each word, its first piece, or that of the next word
            if it has none.
        starts: for each piece, the character it starts at; empty unless asked
            for.
        ends: the same for the character after its last one.
    """

    context: str
    pieces: list[str]
    ids: list[int]
    word_of_piece: list[int]
    first_piece: list[int]
    starts: list[int]
    ends: list[int]

    @functools.cached_property
    def words(self) -> list[str]:
        """The words of the context."""
        return split_words(self.context).words


@dataclass(frozen=True, slots=True)
class Window:
    """One input of the model: [CLS] question [SEP] part of context [SEP].

    (The original's `InputFeatures`, not yet padded.) Positions count tokens of
    the window.

    Attributes:
        unique_id: tells windows of a file apart.
        example_index: which example it belongs to.
        doc_span_index: which of that example's windows it is.
        front: [CLS], the pieces of the question, [SEP].
        front_ids: their ids.
        document: the context.
        span: the part of it that the window holds.
        max_context: of the document, as `find_max_context` returns it.
        start_position: of the answer in training, 0 if it is not all in this
            window; None otherwise.
        end_position: its last token.
        is_impossible: the example's.
    """

    unique_id: int
    example_index: int
    doc_span_index: int
    front: list[str]
    front_ids: list[int]
    document: Document
    span: DocSpan
    max_context: list[int]
    start_position: int | None = None
    end_position: int | None = None
    is_impossible: bool = False

    @property
    def _pieces(self) -> range:
        return range(self.span.start, self.span.start + self.span.length)

    @property
    def tokens(self) -> list[str]:
        """All tokens, [CLS] and both [SEP] included."""
        some = slice(self.span.start, self.span.start + self.span.length)
        return [*self.front, *self.document.pieces[some], "[SEP]"]

    @property
    def input_ids(self) -> list[int]:
        """The ids of all tokens."""
        some = slice(self.span.start, self.span.start + self.span.length)
        end = self.front_ids[-1:]  # [SEP]
        return [*self.front_ids, *self.document.ids[some], *end]

    @property
    def segment_ids(self) -> list[int]:
        """0 for the question and its [CLS] and [SEP], 1 for the rest."""
        return [0] * len(self.front) + [1] * (self.span.length + 1)

    @property
    def token_to_orig_map(self) -> dict[int, int]:
        """For each token of the document, its word."""
        words = map(self.document.word_of_piece.__getitem__, self._pieces)
        return dict(enumerate(words, start=len(self.front)))

    @property
    def token_is_max_context(self) -> dict[int, bool]:
        """For each token of the document, if no window has more around it."""
        best = map(self.max_context.__getitem__, self._pieces)
        return {
            token: span == self.doc_span_index
            for token, span in enumerate(best, start=len(self.front))
        }

    def piece(self, token: int) -> int:
        """The piece of the document that a token of it is."""
        return self.span.start + token - len(self.front)

    def record(self, max_seq_length: int) -> dict[str, list[int]]:
        """The values of a record, in training with the answer's place."""
        input_ids, input_mask, segment_ids = packing.pad_inputs(
            self.input_ids, self.segment_ids, max_seq_length
        )
        values = {
            "unique_ids": [self.unique_id],
            "input_ids": input_ids,
            "input_mask": input_mask,
            "segment_ids": segment_ids,
        }
        if self.start_position is None or self.end_position is None:
            return values
        return {
            **values,
            "start_positions": [self.start_position],
            "end_positions": [self.end_position],
            "is_impossible": [int(self.is_impossible)],
        }


class WindowMaker:
    """Cuts examples into windows; each context is tokenized once.

    Args:
        tokenizer: makes pieces and ids.
        max_seq_length: the most tokens of a window.
        doc_stride: how far apart windows start, in pieces.
        max_query_length: the most pieces of a question; what is over is cut.
        exact_answers: keeps the characters that pieces come from; answers are
            then taken by them, here in training and in `squad_answers`.
        documents_kept: how many contexts stay tokenized; None for all. Files
            have the questions of one context together.

    Raises:
        InputError: no room for the context, or windows that do not move on.
    """

    def __init__(
        self,
        tokenizer: FullTokenizer,
        max_seq_length: int = 384,
        doc_stride: int = 128,
        max_query_length: int = 64,
        exact_answers: bool = False,
        documents_kept: int | None = 1,
    ):
        require_room(max_seq_length, doc_stride, max_query_length)
        self.tokenizer = tokenizer
        self.max_seq_length = max_seq_length
        self.doc_stride = doc_stride
        self.max_query_length = max_query_length
        self.exact_answers = exact_answers
        keep = functools.lru_cache(maxsize=documents_kept)
        self.document = keep(self._tokenize_context)
        self._layout = functools.lru_cache(maxsize=1024)(self._lay_out)

    def windows_by_example(
        self, examples: Iterable[SquadExample]
    ) -> Iterator[tuple[SquadExample, list[Window]]]:
        """Each example and its windows, whose unique ids are counted up."""
        unique_id = FIRST_UNIQUE_ID
        for index, example in enumerate(examples):
            windows = self.windows(example, index, unique_id)
            unique_id += len(windows)
            yield example, windows

    def windows(
        self,
        example: SquadExample,
        example_index: int = 0,
        unique_id: int = FIRST_UNIQUE_ID,
    ) -> list[Window]:
        """The windows of one example; none if its context has no pieces.

        Args:
            example: the question and its context.
            example_index: the number that windows carry.
            unique_id: that of the first window.
        """
        document = self.document(example.context)
        question = self.tokenizer.tokenize(example.question_text)
        front = ["[CLS]", *question[: self.max_query_length], "[SEP]"]
        front_ids = self.tokenizer.convert_tokens_to_ids(front)
        room = self.max_seq_length - len(front) - 1
        spans, max_context = self._layout(len(document.pieces), room)
        answer = self._find_answer(example, document)
        found = []
        for number, span in enumerate(spans):
            start = end = 0 if example.is_for_training else None
            if answer and _holds(span, answer):
                moved = len(front) - span.start
                start, end = answer[0] + moved, answer[1] + moved
            found.append(
                Window(
                    unique_id + number,
                    example_index,
                    number,
                    front,
                    front_ids,
                    document,
                    span,
                    max_context,
                    start,
                    end,
                    example.is_impossible,
                )
            )
        return found

    def _lay_out(
        self, num_pieces: int, room: int
    ) -> tuple[list[DocSpan], list[int]]:
        spans = split_document(num_pieces, room, self.doc_stride)
        return spans, find_max_context(spans, num_pieces)

    def _tokenize_context(self, context: str) -> Document:
        words, word_starts = split_words(context)
        pieces: list[str] = []
        word_of_piece: list[int] = []
        first_piece: list[int] = []
        starts: list[int] = []
        ends: list[int] = []
        for number, (word, offset) in enumerate(zip(words, word_starts)):
            first_piece.append(len(pieces))
            if self.exact_answers:
                for piece in self.tokenizer.tokenize_with_offsets(word):
                    pieces.append(piece.token)
                    starts.append(offset + piece.start)
                    ends.append(offset + piece.end)
            else:
                pieces += self.tokenizer.tokenize(word)
            word_of_piece += [number] * (len(pieces) - len(word_of_piece))
        ids = self.tokenizer.convert_tokens_to_ids(pieces)
        return Document(
            context, pieces, ids, word_of_piece, first_piece, starts, ends
        )

    def _find_answer(
        self, example: SquadExample, document: Document
    ) -> tuple[int, int] | None:
        """The first and last piece of the answer to train on, if any."""
        if example.start_position is None or example.is_impossible:
            return None
        text = example.orig_answer_text or ""
        if self.exact_answers and example.answer_start is not None:
            stop = example.answer_start + len(text)
            first = bisect_right(document.ends, example.answer_start)
            last = bisect_left(document.starts, stop) - 1
            return (first, last) if first <= last else None
        boundaries = [*document.first_piece, len(document.pieces)]
        end_word = example.end_position or 0
        return improve_answer_span(
            document.pieces,
            boundaries[example.start_position],
            boundaries[end_word + 1] - 1,
            self.tokenizer.tokenize(text),
        )


def require_room(
    max_seq_length: int, doc_stride: int, max_query_length: int
) -> None:
    """Raises `InputError` unless windows hold some context, and move on."""
    if max_seq_length <= max_query_length + 3:
        raise InputError(
            f"The max_seq_length ({max_seq_length}) must be greater than "
            f"max_query_length ({max_query_length}) + 3: [CLS], two [SEP] and "
            "the question take that much."
        )
    for name, value in (
        ("doc_stride", doc_stride),
        ("max_query_length", max_query_length),
    ):
        if value < 1:
            raise InputError(
                f"`{name}` must be above 0. Received: {name}={value}"
            )


def require_token_types(type_vocab_size: int) -> None:
    """Raises `InputError` unless a model tells question and text apart."""
    if type_vocab_size < 2:
        raise InputError(
            "The model must have two token types, for question and text. "
            f"`type_vocab_size` of its config is {type_vocab_size}."
        )


def _holds(span: DocSpan, answer: tuple[int, int]) -> bool:
    return span.start <= answer[0] and answer[1] < span.start + span.length


def describe_window(example: SquadExample, window: Window) -> str:
    """One window and where it comes from, for the log."""
    first, last = window.span.start, window.span.start + window.span.length
    lines = [
        f"unique_id: {window.unique_id}",
        f"qas_id: {example.qas_id}",
        f"window: {window.doc_span_index}, pieces {first} to {last - 1} of "
        f"{len(window.document.pieces)} of the context",
        f"tokens: {' '.join(window.tokens)}",
        f"input_ids: {' '.join(map(str, window.input_ids))}",
    ]
    if window.is_impossible:
        lines.append("impossible example")
    elif window.start_position is not None and window.end_position is not None:
        answer = window.tokens[window.start_position : window.end_position + 1]
        lines += [
            f"start_position: {window.start_position}",
            f"end_position: {window.end_position}",
            f"answer: {' '.join(answer)}"
            if window.end_position
            else "the answer is not, or not all, in this window",
        ]
    return "\n".join(lines)
