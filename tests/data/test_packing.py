import json

import pytest

from bert_tf.data.packing import (
    InputFeatures,
    pack_tokens,
    pack_windows,
    pad_inputs,
    pad_to_length,
    padding_features,
    require_stride,
    truncate_and_pack,
    truncate_seq_pair,
)
from bert_tf.errors import InputError


def tokens(letter, count):
    return [f"{letter}{number}" for number in range(count)]


def test_pairs_are_truncated_as_by_the_original(data):
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


def test_truncating_a_pair_does_not_modify_its_lists():
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
def test_texts_are_truncated_to_six_tokens(count_a, count_b, packed):
    got = truncate_and_pack(tokens("a", count_a), tokens("b", count_b), 6)
    assert " ".join(got.tokens) == packed


def test_second_text_truncated_to_nothing_leaves_no_separator():
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


def letters(window):
    """A window as text; what it owns in capitals."""
    own = set(range(*window.owned.indices(len(window.tokens))))
    marks = {"[CLS]": "<", "[SEP]": "|"}
    return "".join(
        marks.get(token, token.upper() if i in own else token)
        + ("!" if token in marks and i in own else "")
        for i, token in enumerate(window.tokens)
    )


@pytest.mark.parametrize(
    ("a", "b", "length", "stride", "windows", "num_cut"),
    [
        # Four fit, two apart.
        ("abcdefghij", "", 6, 2, "<!ABCd| <cDEf| <eFGh| <gHIJ|!", 0),
        # They only touch, and the last one is short.
        ("abcdefg", "", 5, 3, "<!ABC| <DEF| <G|!", 0),
        ("abc", "", 5, 1, "<!ABC|!", 0),
        ("", "", 5, 1, "<!|!", 0),
        # The longer text is cut into windows, the other one is in each.
        ("ab", "cdefgh", 9, 2, "<!AB|!CDEf| <ab|eFGH|!", 0),
        ("cdefgh", "ab", 9, 2, "<!CDEf|ab| <eFGH|!AB|!", 0),
        ("", "cdefgh", 7, 4, "<!|!CDEF| <|GH|!", 0),
        # Where windows hold less than the stride, they still leave no gap.
        ("ab", "cdefgh", 7, 5, "<!AB|!CD| <ab|EF| <ab|GH|!", 0),
        # The shorter one has half of the room at most; of two equals, A has.
        ("abcd", "efghi", 8, 3, "<!AB|!EFG| <ab|HI|!", 2),
        ("abc", "def", 5, 1, "<!A|!D| <a|E| <a|F|!", 2),
    ],
)
def test_windows_hold_everything_and_each_token_is_owned_once(
    a, b, length, stride, windows, num_cut
):
    got = pack_windows(list(a), list(b), length, stride)

    assert " ".join(map(letters, got.windows)) == windows
    assert got.num_cut == num_cut
    for window in got.windows:
        assert len(window.tokens) == len(window.segment_ids) <= length
        last_of_a = window.tokens.index("[SEP]")
        ones = len(window.tokens) - last_of_a - 1
        assert window.segment_ids == [0] * (last_of_a + 1) + [1] * ones


@pytest.mark.parametrize("count_b", [0, 3])
def test_token_is_owned_by_the_window_with_most_context(count_b):
    b = tokens("b", count_b)
    for count in range(4, 40):
        a = tokens("a", count)
        for room in range(1, 9):
            for stride in range(1, room + 1):
                length = room + 2 + (count_b + 1 if count_b else 0)
                windows, cut = pack_windows(a, b, length, stride)
                inside = [
                    [token for token in one.tokens if token in a]
                    for one in windows
                ]
                around = {
                    token: max(
                        min(part.index(token), part[::-1].index(token))
                        + len(part) / 100
                        for part in inside
                        if token in part
                    )
                    for token in a
                }
                owned = [one.tokens[one.owned] for one in windows]
                kept = windows[0].tokens[len(inside[0]) + 2 : -1]
                assert cut == max(0, count_b - len(kept))
                want = pack_tokens(a, b[: len(b) - cut]).tokens
                assert [token for mine in owned for token in mine] == want
                for part, mine in zip(inside, owned):
                    for token in set(part) & set(mine):
                        place = min(part.index(token), part[::-1].index(token))
                        assert place + len(part) / 100 == around[token]


def test_without_a_stride_there_is_one_truncated_window():
    a, b = tokens("a", 9), tokens("b", 4)
    (window,), num_cut = pack_windows(a, b, 8)
    assert window[:2] == truncate_and_pack(a, b, 8)
    assert window.tokens[window.owned] == window.tokens
    assert num_cut == 8


@pytest.mark.parametrize(("b", "least"), [("", 3), ("bb", 5)])
def test_windows_need_room_for_each_text(b, least):
    assert pack_windows(list("aaaa"), list(b), least, 1).windows
    with pytest.raises(InputError, match=f"at least {least} .*={least - 1}"):
        pack_windows(list("aaaa"), list(b), least - 1, 1)


@pytest.mark.parametrize("doc_stride", [0, -1, 9])
def test_a_stride_that_leaves_gaps_is_refused(doc_stride):
    require_stride(None, 10)
    require_stride(1, 10)
    require_stride(8, 10)
    with pytest.raises(InputError, match=f"at most 8.*={doc_stride}$"):
        require_stride(doc_stride, 10)


def test_padding_is_zero_and_not_attended():
    assert pad_inputs([7, 8, 9], [0, 0, 1], 5) == (
        [7, 8, 9, 0, 0],
        [1, 1, 1, 0, 0],
        [0, 0, 1, 0, 0],
    )


def test_padding_value_can_be_chosen():
    assert pad_to_length([0.5], 3, padding=-1.0) == [0.5, -1.0, -1.0]


def test_too_long_sequences_cannot_be_padded():
    with pytest.raises(ValueError, match=r"at most 2 .*Received: 3"):
        pad_to_length([1, 2, 3], 2)


def test_a_padding_example_is_all_zero_and_not_real():
    zeros = [0, 0, 0]
    assert padding_features(3) == InputFeatures(zeros, zeros, zeros, 0, False)
