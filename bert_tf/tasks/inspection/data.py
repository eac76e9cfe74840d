"""Finds a word in lines of text, and gathers its vectors.

A word is what the basic tokenizer makes of a text, whole, before it is divided
into word pieces; its vector is the mean of those of its pieces.

Shape letters: B rows, S tokens of a row, D width of a vector.
"""

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bert_tf.data import packing
from bert_tf.data.grouping import (
    encoder_inputs,
    group_by_length,
    padded_length,
)
from bert_tf.data.vocabulary import UNKNOWN
from bert_tf.errors import InputError, count_of, quote
from bert_tf.tokenization import FullTokenizer


class Word(NamedTuple):
    """A word in a line.

    Attributes:
        text: as the tokenizer has it: lower-cased, say.
        line: the number of its line, from 0.
        position: its number among the words of the line, from 0.
    """

    text: str
    line: int
    position: int


class Row(NamedTuple):
    """A line, or a window of it, in which words are.

    Attributes:
        input_ids: of [CLS] pieces [SEP].
        pieces: places in it whose vectors are wanted.
        owners: for each of these the number of its word.
    """

    input_ids: list[int]
    pieces: list[int]
    owners: list[int]


class Found(NamedTuple):
    """Words in lines, in order.

    Attributes:
        words: the `Word`s that have vectors.
        rows: those that the model has to read for them.
        num_lines: all lines that were looked through.
    """

    words: list[Word]
    rows: list[Row]
    num_lines: int


def find_layer(layer: int, num_hidden_layers: int) -> int:
    """The number of a layer, from 0 for the embedding output.

    Raises:
        InputError: there is no such layer.
    """
    count = num_hidden_layers + 1
    if not -count <= layer < count:
        raise InputError(
            "`--layer` must be from 0, the embedding output, to "
            f"{num_hidden_layers}, the last layer; or from -1, the last layer, "
            f"to {-count}. Received: --layer={layer}"
        )
    return layer % count


def read_word(word: str, tokenizer: FullTokenizer) -> str:
    """The word as the tokenizer has it.

    Raises:
        InputError: it is no word, or several, or has no word pieces.
    """
    words = tokenizer.basic_tokenizer.tokenize(word)
    if len(words) != 1:
        received = f", which are {' and '.join(map(quote, words))}"
        raise InputError(
            "`--word` must be one word, without spaces and punctuation. "
            f"Received: --word={word}" + received * (len(words) > 1)
        )
    if UNKNOWN in tokenizer.wordpiece_tokenizer.split_words(words):
        raise InputError(
            f"`--word` must be a word that the vocabulary has pieces for. "
            f"{quote(words[0])} becomes {UNKNOWN}, as all such words do. "
            f"Received: --word={word}"
        )
    return words[0]


def find(
    lines: Iterable[str],
    word: str,
    tokenizer: FullTokenizer,
    max_seq_length: int,
    all_words: bool = False,
) -> Found:
    """Finds a word in lines.

    Lines longer than `max_seq_length` are read in windows that overlap by half;
    each piece is taken from the one in which it has most context.

    Args:
        lines: of text.
        word: the result of `read_word`.
        tokenizer: the model's `FullTokenizer`.
        max_seq_length: the most tokens of a row.
        all_words: find all words of all lines.

    Raises:
        InputError: there is no line, or the word is in none.
    """
    words: list[Word] = []
    rows: list[Row] = []
    others: dict[str, int] = {}
    number, is_there = -1, False
    for number, line in enumerate(lines):
        texts = tokenizer.basic_tokenizer.tokenize(line)
        if word in texts:
            is_there = True
        else:
            if not is_there:
                for text in texts:
                    others[text] = others.get(text, 0) + 1
            if not all_words:
                continue
        first = len(words)
        words += [
            Word(text, number, position)
            for position, text in enumerate(texts)
            if all_words or text == word
        ]
        rows += _rows_of(texts, words[first:], first, tokenizer, max_seq_length)
    if number < 0:
        raise InputError(
            "There must be at least one line of text to find "
            f"{quote(word)} in. Received: none"
        )
    if not is_there:
        raise InputError(_not_there(word, number + 1, others))
    return Found(words, rows, number + 1)


def _not_there(word: str, num_lines: int, others: Mapping[str, int]) -> str:
    near = difflib.get_close_matches(word, others, 3)
    hint = " ".join(f"{quote(one)} ({others[one]})" for one in near)
    return (
        f"`--word` must occur in the text as a whole word. {quote(word)} is in "
        f"none of {count_of(num_lines, 'line')}."
        + (f" Similar words are there: {hint}" if hint else "")
    )


def _rows_of(
    texts: Sequence[str],
    words: Sequence[Word],
    first: int,
    tokenizer: FullTokenizer,
    max_seq_length: int,
) -> Iterator[Row]:
    """The rows of a line in which its words are.

    Args:
        texts: all words of the line.
        words: those that are wanted.
        first: the number of the first one.
        tokenizer, max_seq_length: as for `find`.
    """
    pieces = [tokenizer.wordpiece_tokenizer.split_words([x]) for x in texts]
    number_of = {word.position: first + i for i, word in enumerate(words)}
    owners: list[int | None] = [None]  # [CLS]
    for position, parts in enumerate(pieces):
        owners += [number_of.get(position)] * len(parts)
    owners.append(None)
    windows, _ = packing.pack_windows(
        [piece for parts in pieces for piece in parts],
        (),
        max_seq_length,
        max((max_seq_length - 2) // 2, 1),
    )
    start = 0
    for window in windows:
        stop = start + window.owned.stop - window.owned.start
        wanted = [
            (place, owner)
            for place, owner in enumerate(
                owners[start:stop], window.owned.start
            )
            if owner is not None
        ]
        start = stop
        if wanted:
            ids = tokenizer.convert_tokens_to_ids(window.tokens)
            yield Row(ids, *map(list, zip(*wanted)))


def gather(
    rows: Sequence[Row],
    num_words: int,
    width: int,
    run: Callable[[dict[str, NDArray]], NDArray],
    batch_size: int,
    max_seq_length: int,
) -> NDArray:
    """The vectors of words, float32 [words, D].

    Args:
        rows: in which they are.
        num_words: how many there are.
        width: D.
        run: from the model's inputs [B, S] to the vectors [B, S, D].
        batch_size: the most rows that are computed together.
        max_seq_length: the most tokens of a row.
    """
    mean = Mean(num_words, width)
    for batch in group_by_length(
        rows, batch_size, lambda row: len(row.input_ids)
    ):
        hidden = run(inputs_of(batch, max_seq_length))
        for row, values in zip(batch, hidden):
            mean.add(row, values[row.pieces])
    return mean.vectors()


def inputs_of(rows: Sequence[Row], max_seq_length: int) -> dict[str, NDArray]:
    """The model's inputs for rows, int32 [B, S] by name."""
    longest = max(len(row.input_ids) for row in rows)
    return encoder_inputs(
        [(row.input_ids, [0] * len(row.input_ids)) for row in rows],
        padded_length(longest, max_seq_length),
    )


class Mean:
    """The means over the pieces of words.

    Args:
        num_words: how many words there are.
        width: D.
    """

    def __init__(self, num_words: int, width: int):
        self.sums = np.zeros((num_words, width), np.float32)
        self.counts = np.zeros(num_words, np.float32)

    def add(self, row: Row, values: NDArray) -> None:
        """Adds the vectors of the pieces of a row, float [pieces, D]."""
        # A word may have several of them.
        np.add.at(self.sums, row.owners, values)
        np.add.at(self.counts, row.owners, 1)

    def vectors(self) -> NDArray:
        """float32 [words, D]."""
        return self.sums / self.counts[:, None]
