"""Rows of about one length together, and results in order again."""

import itertools

import numpy as np
import pytest

from bert_tf import grouping


def rows(lengths):
    return [(place, "x" * int(n)) for place, n in enumerate(lengths)]


def length(row):
    return len(row[1])


def test_every_row_is_in_one_batch_and_all_but_the_last_are_full(rng):
    numbered = rows(rng.integers(2, 100, size=1000))

    batches = list(grouping.group_by_length(numbered, 7, length))

    assert {len(batch) for batch in batches[:-1]} == {7}
    places = [place for batch in batches for place, _ in batch]
    assert sorted(places) == list(range(1000))
    # Within a batch lengths are alike: 7 of 448 neighbours in order.
    spread = [length(batch[0]) - length(batch[-1]) for batch in batches[:63]]
    assert max(spread) <= 6


@pytest.mark.parametrize(
    ("batch_size", "ahead", "taken"),
    [(1, None, 64), (4, None, 256), (64, None, 4096), (4, 3, 12)],
)
def test_reads_so_many_batches_ahead_at_most(batch_size, ahead, taken):
    numbers = itertools.count()
    endless = ((number, "xx") for number in numbers)

    next(
        grouping.group_by_length(
            endless, batch_size, length, batches_ahead=ahead
        )
    )

    assert next(numbers) == taken


def test_reads_ahead_no_more_numbers_than_are_to_be_held(monkeypatch):
    monkeypatch.setattr(grouping, "NUMBERS_AHEAD", 1000)
    numbers = itertools.count()
    endless = ((number, "x" * 10) for number in numbers)

    batches = grouping.group_by_length(
        endless, 4, length, lambda row: 10 * length(row)
    )
    next(batches)

    # 10 rows have 1000 numbers; the third batch is full with the 12th.
    assert next(numbers) == 12


def test_what_comes_early_waits_no_longer_than_needed():
    late = iter([2, 1, 0, 4, 3])

    ordered = grouping.in_order((place, f"row {place}") for place in late)

    assert [next(ordered) for _ in range(3)] == ["row 0", "row 1", "row 2"]
    assert list(late) == [4, 3]


@pytest.mark.parametrize(
    ("longest", "padded"), [(0, 0), (1, 16), (16, 16), (17, 32), (33, 40)]
)
def test_lengths_are_multiples_of_16_up_to_the_longest_allowed(longest, padded):
    assert grouping.padded_length(longest, 40) == padded


def test_outputs_of_batches_become_rows_in_order_and_batches_again(rng):
    places = rng.permutation(7)
    batches = []
    for some in (places[:3], places[3:6], places[6:]):
        features = {"place": some, "label_ids": 10 * some, "other": some}
        batches.append((features, {"logits": np.stack([some, -some], axis=1)}))

    got = grouping.rows_in_order(batches, ("label_ids", "logits"))
    first, last = grouping.batched_rows(got, 4)

    assert first.keys() == last.keys() == {"label_ids", "logits"}
    np.testing.assert_array_equal(first["label_ids"], [0, 10, 20, 30])
    np.testing.assert_array_equal(last["logits"], [[4, -4], [5, -5], [6, -6]])
