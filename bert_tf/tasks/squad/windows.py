"""Cuts questions and their contexts into windows that fit the model.

    context  -> Document: word pieces, once for all of its questions
    question -> Windows: [CLS] question [SEP] part of the context [SEP]

Windows over a long context overlap. For each word piece the window that has
most context around it is known: answers may start only there.
"""

import functools
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from bert_tf.data import packing
from bert_tf.data.packing import DocSpan
from bert_tf.errors import InputError
from bert_tf.tasks.squad.data import SquadExample, split_words
from bert_tf.tokenization import FullTokenizer

FIRST_UNIQUE_ID = 1000000000
"""The unique id of the first window of a file, as in the original."""


@dataclass(frozen=True)
class Document:
    """A context in word pieces.

    Attributes:
        context: the text.
        pieces: its word pieces.
        ids: their ids.
        word_of_piece: for each piece, the word that it belongs to.
        first_piece: for each word, its first piece, or that of the next word
            if it has none.
        starts: for each piece, its first character in the context; empty unless
            made with `exact_answers`.
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
    """One input of the model: [CLS] question [SEP] part of the context [SEP].

    (The original's `InputFeatures`, without padding.) Positions count tokens of
    the window.

    Attributes:
        unique_id: identifies the window within its file.
        example_index: the number of its example.
        doc_span_index: the number of the window among those of its example.
        front: [CLS], the pieces of the question, [SEP].
        front_ids: their ids.
        document: the context.
        span: the part of the context in this window.
        max_context: of the document, as `find_max_context` returns it.
        start_position: the first token of the answer, for training; 0 if the
            window does not hold the whole answer, None for prediction.
        end_position: its last token.
        is_impossible: that of the example.
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
    def _part(self) -> slice:
        return slice(self.span.start, self.span.start + self.span.length)

    @property
    def tokens(self) -> list[str]:
        """All tokens, with [CLS] and both [SEP]."""
        return [*self.front, *self.document.pieces[self._part], "[SEP]"]

    @property
    def input_ids(self) -> list[int]:
        """The ids of all tokens."""
        sep = self.front_ids[-1]
        return [*self.front_ids, *self.document.ids[self._part], sep]

    @property
    def segment_ids(self) -> list[int]:
        """0 for the question with its [CLS] and [SEP], 1 for the rest."""
        return [0] * len(self.front) + [1] * (self.span.length + 1)

    @property
    def token_to_orig_map(self) -> dict[int, int]:
        """For each token of the context, its word."""
        words = self.document.word_of_piece[self._part]
        return dict(enumerate(words, start=len(self.front)))

    @property
    def token_is_max_context(self) -> dict[int, bool]:
        """For each token of the context, if no window has more around it."""
        best = self.max_context[self._part]
        return {
            token: window == self.doc_span_index
            for token, window in enumerate(best, start=len(self.front))
        }

    def piece(self, token: int) -> int:
        """The piece of the document at a token of the window."""
        return self.span.start + token - len(self.front)

    def record(self, max_seq_length: int) -> dict[str, list[int]]:
        """The features of a TFRecord, padded to `max_seq_length`."""
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
        tokenizer: the model's tokenizer.
        max_seq_length: maximum number of tokens in a window.
        doc_stride: distance between the starts of windows, in word pieces.
        max_query_length: maximum number of word pieces of a question; the rest
            is truncated.
        exact_answers: records the characters that each piece was made from, so
            that answers are exactly those characters, in training and in
            prediction.
        documents_kept: number of tokenized contexts to cache; None for all. In
            files, the questions about one context follow each other.

    Raises:
        InputError: there is no room for the context, or a stride below 1.
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
        cached = functools.lru_cache(maxsize=documents_kept)
        self.document = cached(self._tokenize_context)
        self._layout = functools.lru_cache(maxsize=1024)(self._lay_out)

    def windows_by_example(
        self, examples: Iterable[SquadExample]
    ) -> Iterator[tuple[SquadExample, list[Window]]]:
        """Yields each example and its windows, with consecutive unique ids."""
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
            example_index: the number of the example.
            unique_id: that of the first window.
        """
        document = self.document(example.context)
        question = self.tokenizer.tokenize(example.question_text)
        front = ["[CLS]", *question[: self.max_query_length], "[SEP]"]
        front_ids = self.tokenizer.convert_tokens_to_ids(front)
        room = self.max_seq_length - len(front) - 1
        spans, max_context = self._layout(len(document.pieces), room)
        answer = self._find_answer(example, document)
        windows = []
        for number, span in enumerate(spans):
            start = end = 0 if example.is_for_training else None
            if answer and _holds(span, answer):
                shift = len(front) - span.start
                start, end = answer[0] + shift, answer[1] + shift
            windows.append(
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
        return windows

    def _lay_out(
        self, num_pieces: int, room: int
    ) -> tuple[list[DocSpan], list[int]]:
        spans = packing.split_document(num_pieces, room, self.doc_stride)
        return spans, packing.find_max_context(spans, num_pieces)

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


def _holds(span: DocSpan, answer: tuple[int, int]) -> bool:
    return span.start <= answer[0] and answer[1] < span.start + span.length


def improve_answer_span(
    pieces: Sequence[str], start: int, end: int, answer_pieces: Sequence[str]
) -> tuple[int, int]:
    """Narrows a span of whole words down to the pieces of the answer.

    Words may hold more than the answer: "(1895-1943)" holds "1895". The first
    match within [start, end] is returned; if there is none ("Japan" in
    "Japanese"), the span itself.
    """
    length = len(answer_pieces)
    wanted = list(answer_pieces)
    for first in range(start, end - length + 2):
        if wanted and list(pieces[first : first + length]) == wanted:
            return first, first + length - 1
    return start, end


def describe_window(example: SquadExample, window: Window) -> str:
    """A window and where it comes from, for the log."""
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
            else "the answer is not completely in this window",
        ]
    return "\n".join(lines)


def require_room(
    max_seq_length: int, doc_stride: int, max_query_length: int
) -> None:
    """Raises `InputError` unless windows hold some context and move forward."""
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
    """Raises `InputError` unless the model tells question and text apart."""
    if type_vocab_size < 2:
        raise InputError(
            "The model must have two token types, for question and text. "
            f"`type_vocab_size` of its config is {type_vocab_size}."
        )
