"""Grouping by length, and results in order again."""

import itertools
import math

import numpy as np
import pytest

from bert_tf.data import grouping


def rows(lengths):
    return [(place, "x" * int(n)) for place, n in enumerate(lengths)]


def length(row):
    return len(row[1])


def test_every_row_is_in_one_batch_with_rows_of_similar_length(rng):
    numbered = rows(rng.integers(2, 100, size=1000))

    batches = list(grouping.group_by_length(numbered, 7, length))

    assert max(len(batch) for batch in batches) == 7
    assert len(batches) < 1.1 * 1000 / 7  # Hardly more than full ones.
    places = [place for batch in batches for place, _ in batch]
    assert sorted(places) == list(range(1000))
    spread = [length(batch[0]) - length(batch[-1]) for batch in batches]
    assert max(spread) <= 8


def cost(lengths, sizes):
    """The cost that `cut` minimizes, computed directly."""
    rest = iter(lengths)
    batches = [list(itertools.islice(rest, size)) for size in sizes]
    assert not list(rest)
    return sum(
        32 + len(batch) * 4 * math.ceil(max(batch) / 4) for batch in batches
    )


@pytest.mark.parametrize("batch_size", [1, 3, 4, 8, 9, 13])
def test_no_other_way_to_cut_costs_less(rng, batch_size):
    for _ in range(20):
        lengths = sorted(rng.integers(0, 90, size=9).tolist(), reverse=True)
        sizes = grouping.cut(lengths, batch_size)

        assert sum(sizes) == 9
        assert min(sizes) >= 1
        assert max(sizes) <= batch_size
        every = (
            np.diff([0, *places, 9])
            for count in range(9)
            for places in itertools.combinations(range(1, 9), count)
        )
        step = max(batch_size // 4, 1)
        sizes_of_few = {2**n for n in range(9) if 2**n < step}
        allowed = [
            some
            for some in every
            if max(some) <= batch_size
            and all(n % step == 0 or n in sizes_of_few for n in some[:-1])
        ]
        assert cost(lengths, sizes) == min(
            cost(lengths, some) for some in allowed
        )


def test_there_are_few_sizes_of_batches(rng):
    sizes = grouping.cut(sorted(rng.integers(2, 128, 2047))[::-1], 32)
    assert sum(sizes) == 2047
    assert set(sizes[:-1]) <= {1, 2, 4, 8, 16, 24, 32}


def test_few_long_rows_are_not_padded_with_short_ones():
    assert grouping.cut([512] * 3 + [16] * 64, 32) == [2, 1, 32, 32]


def test_with_a_step_of_1_rows_are_not_padded_to_a_multiple_of_4():
    assert grouping.padded_length(9, 35, length_step=1) == 9
    lengths = [44] * 16 + [41] * 16
    # A second batch costs 32 tokens, its rows save 3 each.
    assert grouping.cut(lengths, 32) == [32]
    assert grouping.cut(lengths, 32, length_step=1) == [16, 16]


@pytest.mark.parametrize(
    ("lengths", "sizes"),
    [
        ([], []),
        ([5], [1]),
        ([40] * 9, [4, 4, 1]),
        ([40] * 3 + [8] * 4, [3, 4]),
        ([40] * 3 + [8] * 5, [4, 4]),  # As good as three batches.
        ([16] * 2 + [8] * 2, [4]),  # Two batches would save less.
    ],
)
def test_batches_of_rows_of_equal_length_are_full(lengths, sizes):
    found = grouping.cut(lengths, 4)

    assert cost(lengths, found) == cost(lengths, sizes)
    assert found == sizes


@pytest.mark.parametrize(
    ("batch_size", "ahead", "taken"),
    [(1, None, 64), (4, None, 256), (64, None, 4096), (4, 3, 12)],
)
def test_reads_a_limited_number_of_batches_ahead(batch_size, ahead, taken):
    numbers = itertools.count()
    endless = ((number, "xx") for number in numbers)

    next(
        grouping.group_by_length(
            endless, batch_size, length, batches_ahead=ahead
        )
    )

    assert next(numbers) == taken


def test_reads_ahead_until_results_have_too_many_values(monkeypatch):
    monkeypatch.setattr(grouping, "NUMBERS_AHEAD", 1000)
    numbers = itertools.count()
    endless = ((number, "x" * 10) for number in numbers)

    batches = grouping.group_by_length(
        endless, 4, length, lambda row: 10 * length(row)
    )
    next(batches)

    # 10 rows have 1000 numbers; the third batch is full with the 12th.
    assert next(numbers) == 12


def test_early_things_are_kept_until_it_is_their_turn():
    late = iter([2, 1, 0, 4, 3])

    ordered = grouping.in_order((place, f"row {place}") for place in late)

    assert [next(ordered) for _ in range(3)] == ["row 0", "row 1", "row 2"]
    assert list(late) == [4, 3]


@pytest.mark.parametrize(
    ("longest", "padded"), [(0, 0), (1, 4), (8, 8), (9, 12), (35, 35)]
)
def test_lengths_are_multiples_of_4_up_to_the_longest_allowed(longest, padded):
    assert grouping.padded_length(longest, 35) == padded


def test_outputs_of_batches_become_rows_in_order(rng):
    places = rng.permutation(7)
    batches = []
    for some in (places[:3], places[3:6], places[6:]):
        features = {"place": some, "label_ids": 10 * some, "other": some}
        batches.append((features, {"logits": np.stack([some, -some], axis=1)}))

    got = list(grouping.rows_in_order(batches, ("label_ids", "logits")))

    assert all(row.keys() == {"label_ids", "logits"} for row in got)
    assert [row["label_ids"] for row in got] == [0, 10, 20, 30, 40, 50, 60]
    logits = [row["logits"].tolist() for row in got]
    assert logits == [[i, -i] for i in range(7)]
