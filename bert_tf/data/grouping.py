"""Batches of rows of similar length, so that little padding is computed.

A batch is padded to the length of its longest row. The results of a model are
put back into the order of the rows.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TypeVar

import numpy as np

from bert_tf.data import packing

T = TypeVar("T")

# Batches are padded to a multiple of this. Each new shape costs time once, and
# memory for good: oneDNN keeps what it compiled for it. In 2,048 texts of mixed
# lengths a step of 8 makes 7 % more tokens; 4 makes 3 %, and 9 more shapes.
LENGTH_STEP = 4

# Fixed cost of a batch, in tokens: all weights are read from memory once. On
# two cores with AVX-512 the time with any number from 16 to 64 was the same
# within 6 % (BERT-Base, 128 texts of mixed lengths).
TOKENS_OF_A_BATCH = 32

# The size of a batch is a multiple of its maximum divided by this, a smaller
# power of two, or all rows that are left. Otherwise there would be a shape for
# every size and length. With multiples only, short rows would be padded to a
# few long ones.
SHARES_OF_A_BATCH = 4

# How far ahead rows are read to find some of similar length: this number of
# batches, or of values that have to be kept for them.
BATCHES_AHEAD = 64
NUMBERS_AHEAD = 1 << 24

PLACE = "place"
"""The feature with the number of a row in its file, from 0."""


def padded_length(
    longest: int, max_seq_length: int, length_step: int = LENGTH_STEP
) -> int:
    """The length to which a batch is padded, given its longest row."""
    return min(-(-longest // length_step) * length_step, max_seq_length)


def encoder_inputs(
    rows: Iterable[tuple[Sequence[int], Sequence[int]]], length: int
) -> dict[str, np.ndarray]:
    """Rows as `input_ids`, `input_mask` and `segment_ids`, int32 [B, length].

    Args:
        rows: pairs of input_ids and segment_ids.
        length: the length to pad to.
    """
    columns = [
        packing.pad_inputs(input_ids, segment_ids, length)
        for input_ids, segment_ids in rows
    ]
    arrays = np.array(columns, np.int32).swapaxes(0, 1)
    return dict(zip(packing.ENCODER_INPUTS, arrays))


def group_by_length(
    rows: Iterable[T],
    batch_size: int,
    length: Callable[[T], int],
    count_numbers: Callable[[T], int] | None = None,
    batches_ahead: int | None = None,
    length_step: int = LENGTH_STEP,
) -> Iterator[list[T]]:
    """Batches of rows of similar length, cut by `cut`.

    Only some batches are read ahead and sorted, so that memory holds neither
    all rows nor all results.

    Args:
        rows: in their order.
        batch_size: the maximum number of rows in a batch.
        length: returns the length of a row.
        count_numbers: returns the number of values in the result of a row, if
            it is large. Results are kept until those of earlier rows are
            written.
        batches_ahead: batches to read ahead; None for `BATCHES_AHEAD`.
        length_step: of what the batches are padded to.
    """
    most = (batches_ahead or BATCHES_AHEAD) * batch_size
    window: list[T] = []
    numbers = 0
    for row in rows:
        window.append(row)
        numbers += count_numbers(row) if count_numbers else 0
        if len(window) < most and numbers < NUMBERS_AHEAD:
            continue
        if len(window) % batch_size == 0:
            yield from _sorted_batches(window, batch_size, length, length_step)
            window, numbers = [], 0
    yield from _sorted_batches(window, batch_size, length, length_step)


def _sorted_batches(
    window: list[T],
    batch_size: int,
    length: Callable[[T], int],
    length_step: int,
) -> Iterator[list[T]]:
    # The longest first: if memory is short, it fails at once.
    window = sorted(window, key=lambda row: -length(row))
    rows = iter(window)
    lengths = [length(row) for row in window]
    for size in cut(lengths, batch_size, length_step):
        yield list(islice(rows, size))


def cut(
    lengths: Sequence[int], batch_size: int, length_step: int = LENGTH_STEP
) -> list[int]:
    """The sizes of batches with the least total cost.

    A row costs the number of tokens to which it is padded, and each batch
    `TOKENS_OF_A_BATCH` more.

    Args:
        lengths: of the rows, the longest first.
        batch_size: the maximum number of rows in a batch.
        length_step: they are padded to a multiple of this.

    Returns:
        Sizes of batches; their sum is the number of rows.
    """
    count = len(lengths)
    padded = -(-np.asarray(lengths, np.int64) // length_step) * length_step
    step = max(batch_size // SHARES_OF_A_BATCH, 1)
    few = [
        1 << power for power in range(step.bit_length()) if 1 << power < step
    ]
    allowed = np.array(
        [*range(batch_size // step * step, 0, -step), *few[::-1]]
    )
    # For each row, the least cost of it and all later ones, and the size of the
    # batch that then begins with it: the largest of those with equal costs.
    costs = np.zeros(count + 1, np.int64)
    sizes = np.zeros(count, np.int64)
    for start in reversed(range(count)):
        left = count - start
        tried = allowed[allowed <= left]
        if left <= batch_size and left != tried[0]:
            tried = np.array([left, *tried])
        found = padded[start] * tried + costs[start + tried]
        best = found.argmin()
        costs[start] = found[best] + TOKENS_OF_A_BATCH
        sizes[start] = tried[best]
    batches: list[int] = []
    while (start := sum(batches)) < count:
        batches.append(int(sizes[start]))
    return batches


def in_order(placed: Iterable[tuple[int, T]]) -> Iterator[T]:
    """Sorts things by their places, from 0; keeps those that are early."""
    waiting: dict[int, T] = {}
    due = 0
    for place, one in placed:
        waiting[place] = one
        while due in waiting:
            yield waiting.pop(due)
            due += 1


Arrays = Mapping[str, np.ndarray]


def rows_in_order(
    batches: Iterable[tuple[Arrays, Arrays]], names: Sequence[str]
) -> Iterator[dict[str, np.ndarray]]:
    """Features and outputs of each row, in the order of the rows' places.

    Args:
        batches: pairs of features, with `PLACE` [B], and outputs; all of them
            arrays [B, ...].
        names: of the features and outputs to return.
    """

    def placed() -> Iterator[tuple[int, dict[str, np.ndarray]]]:
        for features, outputs in batches:
            wanted = {name: {**features, **outputs}[name] for name in names}
            for row, place in enumerate(features[PLACE].tolist()):
                yield place, {name: x[row] for name, x in wanted.items()}

    return in_order(placed())


def batched(things: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of `size` things; the last one may be shorter."""
    things = iter(things)
    while batch := list(islice(things, size)):
        yield batch
