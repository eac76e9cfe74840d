import json

import pytest

from bert_tf.errors import InputError
from bert_tf.features import (
    InputFeatures,
    PaddingInputExample,
    pack_tokens,
    pad_examples,
    pad_inputs,
    pad_to_length,
    padding_features,
    truncate_and_pack,
    truncate_seq_pair,
)


def tokens(letter, count):
    return [f"{letter}{number}" for number in range(count)]


def test_pairs_are_cut_as_the_original_cut_them(data):
    path = data / "classification" / "truncate_seq_pair.json"
    cases = json.loads(path.read_text())

    got = [
        truncate_seq_pair(
            tokens("a", case["len_a"]),
            tokens("b", case["len_b"]),
            case["max_length"],
        )
        for case in cases
    ]

    assert len(cases) == 60
    assert [list(pair) for pair in got] == [case["out"] for case in cases]


def test_cutting_a_pair_leaves_the_lists_that_came_in():
    a, b = tokens("a", 5), tokens("b", 5)
    truncate_seq_pair(a, b, 4)
    assert (len(a), len(b)) == (5, 5)


@pytest.mark.parametrize(
    ("tokens_a", "tokens_b", "packed", "segments"),
    [
        ("x y", "", "[CLS] x y [SEP]", "0000"),
        ("x y", "z", "[CLS] x y [SEP] z [SEP]", "000011"),
        ("", "", "[CLS] [SEP]", "00"),
        ("", "z", "[CLS] [SEP] z [SEP]", "0011"),
    ],
)
def test_packing_marks_begin_ends_and_segments(
    tokens_a, tokens_b, packed, segments
):
    got = pack_tokens(tokens_a.split(), tokens_b.split())
    assert " ".join(got.tokens) == packed
    assert "".join(map(str, got.segment_ids)) == segments


@pytest.mark.parametrize(
    ("count_a", "count_b", "packed"),
    [
        (9, 0, "[CLS] a0 a1 a2 a3 [SEP]"),
        (9, 1, "[CLS] a0 a1 [SEP] b0 [SEP]"),
        (9, 9, "[CLS] a0 a1 [SEP] b0 [SEP]"),
        (1, 9, "[CLS] a0 [SEP] b0 b1 [SEP]"),
    ],
)
def test_what_does_not_fit_into_six_is_cut_off(count_a, count_b, packed):
    got = truncate_and_pack(tokens("a", count_a), tokens("b", count_b), 6)
    assert " ".join(got.tokens) == packed


def test_a_second_text_cut_to_nothing_leaves_no_separator():
    got = truncate_and_pack(["a"], ["b"], 4)
    assert got == (["[CLS]", "a", "[SEP]"], [0, 0, 0])


@pytest.mark.parametrize(("tokens_b", "least"), [([], 2), (["b"], 3)])
def test_no_room_for_the_special_tokens_is_an_input_error(tokens_b, least):
    truncate_and_pack(["a"], tokens_b, least)
    with pytest.raises(
        InputError,
        match=f"at least {least}.*Received: max_seq_length={least - 1}",
    ):
        truncate_and_pack(["a"], tokens_b, least - 1)


def test_padding_is_zero_and_not_attended():
    assert pad_inputs([7, 8, 9], [0, 0, 1], 5) == (
        [7, 8, 9, 0, 0],
        [1, 1, 1, 0, 0],
        [0, 0, 1, 0, 0],
    )


def test_padding_takes_another_value_where_asked():
    assert pad_to_length([0.5], 3, padding=-1.0) == [0.5, -1.0, -1.0]


def test_what_is_too_long_cannot_be_padded():
    with pytest.raises(ValueError, match=r"at most 2 .*Received: 3"):
        pad_to_length([1, 2, 3], 2)


def test_a_padding_example_is_all_zero_and_not_real():
    zeros = [0, 0, 0]
    assert padding_features(3) == InputFeatures(zeros, zeros, zeros, 0, False)


@pytest.mark.parametrize(
    ("count", "batch_size", "padded"), [(5, 8, 8), (8, 8, 8), (0, 8, 0)]
)
def test_examples_are_filled_up_to_a_multiple_of_the_batch(
    count, batch_size, padded
):
    examples = tokens("example", count)
    got = pad_examples(examples, batch_size)
    assert got[:count] == examples
    assert len(got) == padded
    assert all(isinstance(one, PaddingInputExample) for one in got[count:])
