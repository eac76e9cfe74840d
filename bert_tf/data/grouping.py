"""Batches of rows of about one length, so that little padding is computed.

Comes in: rows in some order, and how long each of them is. Goes out: batches,
to be padded to a length that the longest of them asks for; and what the model
made of the rows, in their order again. What a row is stays outside: lists of
rows are grouped here, records of a file in `records.py`, by the same rule.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TypeVar

import numpy as np

T = TypeVar("T")

# Batches are padded to a multiple of this. Each new shape costs time once, and
# memory for good: the library below TensorFlow remembers it. Of 2,048 texts
# (`mixed_lengths` in benchmarks/workloads.py) a step of 8 makes 7 % more
# tokens, 4 makes 3 %, and 9 more shapes.
LENGTH_STEP = 4

# A batch costs what so many tokens cost, beside its own: for each of them all
# weights are fetched from memory. On two cores with AVX-512 any number from 16
# to 64 gave the same time within 6 % (BERT-Base, 128 texts of mixed lengths:
# `benchmarks/speed.py --only 'mixed-grouped/*/float32'`).
TOKENS_OF_A_BATCH = 32

# A batch has a multiple of this share of the most rows, or all that are left:
# otherwise there would soon be a shape for every number of rows and length.
SHARES_OF_A_BATCH = 4

# How far ahead rows are read to find some of one length: so many batches, or
# so many numbers to hold until their turn comes.
BATCHES_AHEAD = 64
NUMBERS_AHEAD = 1 << 24

PLACE = "place"
"""The feature that says which row of its file one is, from 0."""


def padded_length(longest: int, max_seq_length: int) -> int:
    """What rows of at most `longest` tokens are padded to."""
    return min(-(-longest // LENGTH_STEP) * LENGTH_STEP, max_seq_length)


def group_by_length(
    rows: Iterable[T],
    batch_size: int,
    length: Callable[[T], int],
    count_numbers: Callable[[T], int] | None = None,
    batches_ahead: int | None = None,
) -> Iterator[list[T]]:
    """Batches of rows of about one length.

    Reads some batches ahead and sorts those: no further, so that neither the
    rows nor what becomes of them are ever held in memory as a whole. Where a
    batch ends is for `cut`.

    Args:
        rows: in their order.
        batch_size: the most rows of a batch.
        length: of a row.
        count_numbers: how many numbers a row becomes, if they are many. They
            have to be held until those of the rows before are written.
        batches_ahead: how many batches to look at; None for `BATCHES_AHEAD`.
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
            yield from _sorted_batches(window, batch_size, length)
            window, numbers = [], 0
    yield from _sorted_batches(window, batch_size, length)


def _sorted_batches(
    window: list[T], batch_size: int, length: Callable[[T], int]
) -> Iterator[list[T]]:
    # The longest first: if memory is short, that shows at once.
    window = sorted(window, key=lambda row: -length(row))
    rows = iter(window)
    for size in cut([length(row) for row in window], batch_size):
        yield list(islice(rows, size))


def cut(lengths: Sequence[int], batch_size: int) -> list[int]:
    """How many rows each batch should have, so that least is to be computed.

    A row costs the tokens that it is padded to, and a batch costs
    `TOKENS_OF_A_BATCH` more, however small it is.

    Args:
        lengths: of the rows in their order, the longest first.
        batch_size: the most rows of a batch.

    Returns:
        Sizes of batches; their sum is the number of rows.
    """
    count = len(lengths)
    padded = -(-np.asarray(lengths, np.int64) // LENGTH_STEP) * LENGTH_STEP
    step = max(batch_size // SHARES_OF_A_BATCH, 1)
    # The least cost of the rows from each one on, and the size of the batch
    # that begins there then: of those that cost the same, the largest.
    costs = np.zeros(count + 1, np.int64)
    sizes = np.zeros(count, np.int64)
    for start in reversed(range(0, count, step)):
        most = min(batch_size, count - start)
        tried = np.arange(most // step * step, 0, -step)
        if most == count - start and most % step:
            tried = np.array([most, *tried])
        found = padded[start] * tried + costs[start + tried]
        best = found.argmin()
        costs[start] = found[best] + TOKENS_OF_A_BATCH
        sizes[start] = tried[best]
    batches: list[int] = []
    while (start := sum(batches)) < count:
        batches.append(int(sizes[start]))
    return batches


def in_order(placed: Iterable[tuple[int, T]]) -> Iterator[T]:
    """What comes with its place, from 0, by place; what is too early waits."""
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
    """What the model made of each row, by the rows' places.

    Args:
        batches: pairs of features, `PLACE` [B] among them, and outputs, all of
            them arrays [B, ...].
        names: the features and outputs that are wanted.
    """

    def placed() -> Iterator[tuple[int, dict[str, np.ndarray]]]:
        for features, outputs in batches:
            wanted = {name: {**features, **outputs}[name] for name in names}
            for row, place in enumerate(features[PLACE].tolist()):
                yield place, {name: x[row] for name, x in wanted.items()}

    return in_order(placed())


def batched_rows(
    rows: Iterable[Arrays], batch_size: int
) -> Iterator[dict[str, np.ndarray]]:
    """Rows of arrays [...] as arrays [B, ...]; the last B may be smaller."""
    rows = iter(rows)
    while batch := list(islice(rows, batch_size)):
        names = batch[0]
        yield {name: np.stack([row[name] for row in batch]) for name in names}


def batched(things, size):
    """Lists of `size` things; the last one may be shorter."""
    things = iter(things)
    while batch := list(itertools.islice(things, size)):
        yield batch
