"""Rows made in the graph, held to those that the Python rooms make."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from bert_tf.data import packing
from bert_tf.exports import graph_rows
from bert_tf.tasks.pretraining import cloze, graph_masks

CLS, SEP, MASK = 2, 3, 4


def ragged(rows):
    return tf.ragged.constant(rows, tf.int32, ragged_rank=1)


def pieces(rng, most):
    """Lists of ids, each other than the special ones."""
    return rng.integers(10, 99, rng.integers(0, most + 1)).tolist()


def test_pairs_are_cut_as_the_fine_tuning_scripts_cut_them():
    pairs = list(itertools.product(range(9), range(9)))
    lengths = tf.unstack(tf.constant(pairs, tf.int64), axis=1)
    for room in range(10):
        got = graph_rows.truncated_lengths(
            *lengths, tf.fill([len(pairs)], tf.constant(room, tf.int64))
        )
        want = [
            [len(x) for x in packing.truncate_seq_pair("a" * a, "b" * b, room)]
            for a, b in pairs
        ]
        assert np.stack(got, 1).tolist() == want


SPECIAL = {"[CLS]": CLS, "[SEP]": SEP, "[MASK]": MASK}


def ids_of(tokens):
    """The special tokens by name, others are numbers."""
    return [SPECIAL.get(token) or int(token) for token in tokens]


def fill(rows, texts, max_seq_length):
    """Rows without padding: ids and segments of each."""
    inputs = graph_rows.fill(
        rows, *texts, graph_rows.Special(CLS, SEP), max_seq_length
    )
    ids, mask, segments = (values.numpy() for values in inputs.values())
    assert ids.shape[1] <= max_seq_length
    lengths = mask.sum(1)
    assert (mask == (np.arange(ids.shape[1]) < lengths[:, None])).all()
    assert not ids[mask == 0].any() and not segments[mask == 0].any()
    return [
        (ids[row, :length].tolist(), segments[row, :length].tolist())
        for row, length in enumerate(lengths)
    ]


@pytest.mark.parametrize("max_seq_length", [3, 8, 11, 16])
def test_rows_are_those_of_truncate_and_pack(max_seq_length, rng):
    pairs = [(pieces(rng, 14), pieces(rng, 14)) for _ in range(60)]
    pairs += [(a, []) for a, _ in pairs[:20]] + [([], b) for _, b in pairs[:9]]
    texts = [ragged(list(side)) for side in zip(*pairs)]

    rows, num_cut = graph_rows.truncate(*texts, max_seq_length)

    got = fill(rows, texts, max_seq_length)
    for (ids, segments), cut, (a, b) in zip(got, num_cut.numpy(), pairs):
        want = packing.truncate_and_pack(
            [str(x) for x in a], [str(x) for x in b], max_seq_length
        )
        assert (ids, segments) == (ids_of(want.tokens), want.segment_ids)
        kept = sum(token not in SPECIAL for token in want.tokens)
        assert cut == len(a) + len(b) - kept


@pytest.mark.parametrize(
    ("longest", "length"), [(3, 4), (8, 8), (9, 12), (17, 20), (21, 21)]
)
def test_rows_are_padded_to_a_multiple_of_4_or_what_is_allowed(longest, length):
    texts = ragged([[7], [7] * (longest - 2)]), ragged([[], []])
    rows, _ = graph_rows.truncate(*texts, 21)
    special = graph_rows.Special(CLS, SEP)
    inputs = graph_rows.fill(rows, *texts, special, 21)
    for values in inputs.values():
        assert values.shape == (2, length)
    used = tf.reduce_sum(inputs["input_mask"], 1).numpy().tolist()
    assert used == [3, longest]


@pytest.mark.parametrize("room", [1, 2, 5, 8])
@pytest.mark.parametrize("doc_stride", [1, 3, 5, 20])
def test_windows_and_their_owners_are_those_of_squad(room, doc_stride, rng):
    counts = [0, 1, room, room + 1, 0, *rng.integers(0, 40, 12).tolist(), 0]
    rooms = [room + number % 2 for number in range(len(counts))]
    windows = graph_rows.split_documents(
        tf.constant(counts, tf.int64), tf.constant(rooms, tf.int64), doc_stride
    )
    owned = graph_rows.find_max_context(windows, tf.constant(counts, tf.int64))

    want_windows, want_owned = [], []
    for row, (count, of_row) in enumerate(zip(counts, rooms)):
        spans = packing.split_document(count, of_row, doc_stride)
        best = packing.find_max_context(spans, count)
        for number, (start, length) in enumerate(spans):
            want_windows.append((row, start, length))
            of_span = best[start : start + length]
            want_owned.append([owner == number for owner in of_span])
    got = list(zip(*(values.numpy().tolist() for values in windows)))
    assert got == want_windows
    assert owned.to_list() == want_owned


@pytest.mark.parametrize("max_seq_length", [5, 6, 9, 16])
@pytest.mark.parametrize("doc_stride", [1, 2, 3, 50])
def test_rows_of_windows_are_those_of_pack_windows(
    max_seq_length, doc_stride, rng
):
    pairs = [(pieces(rng, 30), pieces(rng, 30)) for _ in range(40)]
    pairs += [(a, []) for a, _ in pairs[:20]] + [([], b) for _, b in pairs[:9]]
    pairs += [([], []), ([10], [11]), ([10] * 20, [11] * 20)]
    texts = [ragged(list(side)) for side in zip(*pairs)]

    got = graph_rows.pair_windows(*texts, max_seq_length, doc_stride)

    rows, num_cut = [], []
    for number, (a, b) in enumerate(pairs):
        a, b = (list(map(str, side)) for side in (a, b))
        windows, cut = packing.pack_windows(a, b, max_seq_length, doc_stride)
        num_cut.append(cut)
        for window in windows:
            ids = ids_of(window.tokens)
            owned = np.zeros(len(ids), bool)
            owned[window.owned] = True
            rows.append((number, (ids, window.segment_ids), owned.tolist()))
    numbers = got.rows.texts.numpy().tolist()
    filled = fill(got.rows, texts, max_seq_length)
    assert list(zip(numbers, filled, got.is_owned.to_list())) == rows
    assert got.num_cut.numpy().tolist() == num_cut


@pytest.mark.parametrize("max_seq_length", [3, 4, 7, 12])
def test_masks_are_asked_for_in_the_windows_of_fill_mask(max_seq_length, rng):
    texts = [pieces(rng, 25) for _ in range(30)] + [[], [MASK], [MASK] * 9]
    for text in texts[:30]:
        for place in rng.integers(0, len(text) + 1, 4):
            text[place : place + 1] = [MASK]
    given = ragged(texts), ragged([[]] * len(texts))

    asked = graph_masks.mask_rows(*given, max_seq_length, MASK)

    rows = fill(asked.rows, given, max_seq_length)
    numbers = asked.rows.texts.numpy()
    got = [
        (text, *rows[row], position)
        for row, text in enumerate(numbers)
        for position in asked.positions[row].numpy()
    ]
    want = [
        (text, ids_of(row.tokens), [0] * len(row.tokens), row.position)
        for text, ids in enumerate(texts)
        for row in cloze.rows_of_masks(
            ["[MASK]" if x == MASK else str(x) for x in ids], max_seq_length
        )
    ]
    assert got == want
    count = [text.count(MASK) for text in texts]
    assert asked.num_masks.numpy().tolist() == count
    row_counts = np.bincount(numbers, minlength=len(texts))
    for text, num_rows in zip(texts, row_counts):
        if len(text) <= max_seq_length - 2:
            assert num_rows == (MASK in text)  # All of them share one.


def test_a_pair_is_one_row_with_its_masks_behind_cls():
    given = (
        ragged([[10, MASK, 12], [MASK] * 9, [], [MASK]]),
        ragged([[MASK, 14], [15] * 9, [MASK], []]),
    )

    asked = graph_masks.mask_rows(*given, 10, MASK)

    assert fill(asked.rows, given, 10) == [
        ([CLS, 10, MASK, 12, SEP, MASK, 14, SEP], [0] * 5 + [1] * 3),
        ([CLS, *[MASK] * 4, SEP, 15, 15, 15, SEP], [0] * 6 + [1] * 4),
        ([CLS, SEP, MASK, SEP], [0, 0, 1, 1]),
        ([CLS, MASK, SEP], [0, 0, 0]),
    ]
    assert asked.positions.to_list() == [
        [0, 2, 5],
        [0, 1, 2, 3, 4],
        [0, 2],
        [1],
    ]
    assert asked.rows.texts.numpy().tolist() == [0, 1, 2, 3]
    assert asked.num_masks.numpy().tolist() == [2, 4, 1, 1]
    assert asked.is_pair.numpy().tolist() == [True, True, False, False]
    assert asked.has_extra.numpy().tolist() == [True, True, True, False]
    assert asked.num_cut.numpy().tolist() == [0, 11, 0, 0]


@pytest.mark.parametrize("total", [0, 1, 3, 4, 7])
def test_chunks_are_all_there_and_none_is_larger_than_asked_for(total):
    def compute(first, last):
        numbers = tf.range(first, last)
        return numbers, tf.repeat(numbers, numbers), [last - first]

    outputs = [tf.TensorSpec([None], tf.int64)] * 3
    chunked = tf.function(
        lambda total: graph_rows.in_chunks(compute, total, 3, outputs)
    )
    each, repeated, sizes = chunked(tf.constant(total, tf.int64))

    numbers = np.arange(total)
    assert each.numpy().tolist() == numbers.tolist()
    assert repeated.numpy().tolist() == np.repeat(numbers, numbers).tolist()
    assert max(sizes.numpy(), default=0) <= 3


def example(**values):
    built = tf.train.Example()
    for name, numbers in values.items():
        built.features.feature[name].int64_list.value.extend(numbers)
    return built.SerializeToString()


NAMES = ("input_ids", "input_mask", "segment_ids")


def parse(*examples):
    return graph_rows.encoder_rows(
        graph_rows.parse_examples(tf.constant(examples), NAMES)
    )


def test_examples_become_rows_as_long_as_the_longest():
    rows = parse(
        example(input_ids=[5, 6], input_mask=[1, 0], segment_ids=[0, 1]),
        example(input_ids=[7] * 3, input_mask=[1] * 3, segment_ids=[1] * 3),
    )
    assert rows["input_ids"].numpy().tolist() == [[5, 6, 0], [7, 7, 7]]
    assert rows["input_mask"].numpy().tolist() == [[1, 0, 0], [1, 1, 1]]
    assert rows["segment_ids"].numpy().tolist() == [[0, 1, 0], [1, 1, 1]]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "must have the feature input_ids"),
        ({"input_ids": [1]}, "input_mask must be as long as input_ids"),
        (
            {"input_ids": [1], "input_mask": [1], "segment_ids": [0, 0]},
            "segment_ids must be as long as input_ids",
        ),
    ],
)
def test_bad_examples_are_named(values, message):
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        parse(example(**values))
