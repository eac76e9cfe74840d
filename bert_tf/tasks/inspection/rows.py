"""Texts as the rows of attention maps, and the maps as a file.

Shape letters: L layers, N heads, S tokens of a text.
"""

import contextlib
import zipfile
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bert_tf.data import packing
from bert_tf.data.grouping import encoder_inputs
from bert_tf.support import files
from bert_tf.tokenization import FullTokenizer

BYTES = 4
"""Of a number of a map, float32."""


class Row(NamedTuple):
    """A text or a pair of texts, as the model reads it.

    Attributes:
        tokens: the S tokens [CLS] A [SEP] (B [SEP]).
        input_ids: their ids.
        segment_ids: 0 for A, 1 for B.
        num_cut: word pieces that did not fit.
    """

    tokens: list[str]
    input_ids: list[int]
    segment_ids: list[int]
    num_cut: int

    def inputs(self, length: int | None = None) -> dict[str, NDArray]:
        """The model's inputs, int32 [1, S], or padded to a length."""
        return encoder_inputs(
            [(self.input_ids, self.segment_ids)],
            length or len(self.input_ids),
        )


class AttentionMap(NamedTuple):
    """What each token of a text attends to.

    Attributes:
        tokens: the S tokens.
        segment_ids: 0 for those of the first text, 1 for the second one.
        weights: float32 [L, N, S, S], from and to; sums over the last axis
            are 1.
    """

    tokens: list[str]
    segment_ids: list[int]
    weights: NDArray


def row_of(
    pair: tuple[str, str],
    tokenizer: FullTokenizer,
    max_seq_length: int,
    tokenize: Callable[[str], list[str]] | None = None,
) -> Row:
    """The row of two texts.

    Args:
        pair: the texts; the second is "" if there is only one.
        tokenizer: the model's.
        max_seq_length: the most tokens of a row.
        tokenize: from a text to its word pieces; None for the tokenizer's.
    """
    first, second = map(tokenize or tokenizer.tokenize, pair)
    [window], num_cut = packing.pack_windows(first, second, max_seq_length)
    ids = tokenizer.convert_tokens_to_ids(window.tokens)
    return Row(window.tokens, ids, window.segment_ids, num_cut)


def numbers_of(row: Row, num_layers: int, num_heads: int) -> int:
    """How many numbers the maps of a row have."""
    return num_layers * num_heads * len(row.tokens) ** 2


@contextlib.contextmanager
def open_npz(path: str, num_texts: int) -> Iterator[Callable]:
    """A context with a function that writes `AttentionMap`s to an .npz file.

    Its entries are `tokens` and `attention`; of several texts `tokens_0`,
    `attention_0`, `tokens_1` and so on. They are written one by one, so that
    memory does not grow with their number.

    Args:
        path: the file; an existing one is replaced at the end.
        num_texts: how many maps there will be.
    """
    count = 0
    with (
        files.whole_or_nothing(path) as file,
        zipfile.ZipFile(file, "w") as archive,
    ):

        def add(one: AttentionMap) -> None:
            nonlocal count
            end = f"_{count}" if num_texts > 1 else ""
            count += 1
            for name, array in (
                ("tokens", np.array(one.tokens)),
                ("attention", one.weights),
            ):
                with archive.open(
                    f"{name}{end}.npy", "w", force_zip64=True
                ) as member:
                    np.lib.format.write_array(member, array, allow_pickle=False)

        yield add


def longest(rows: Iterable[Row]) -> int:
    """The number of tokens of the longest row."""
    return max(len(row.tokens) for row in rows)
