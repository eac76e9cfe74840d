"""[MASK] in raw text, and rows that ask for one piece."""

import pytest
from helpers.golden import TINY

from bert_tf.tasks.pretraining import cloze
from bert_tf.tokenization import FullTokenizer


@pytest.fixture(scope="module")
def tokenizer():
    return FullTokenizer(TINY.parent / "vocab.txt")


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("a [MASK] b", "a [MASK] b"),
        ("[MASK]", "[MASK]"),
        ("[MASK][MASK].", "[MASK] [MASK] ."),
        ("A[MASK]B", "a [MASK] b"),
        ("a b", "a b"),
        # Only when written so.
        ("[mask]", "[ m ##as ##k ]"),
    ],
)
def test_mask_survives_tokenization(tokenizer, text, pieces):
    assert cloze.tokenize(text, tokenizer) == pieces.split()


def test_the_tokenizer_alone_would_lose_it(tokenizer):
    assert "[MASK]" not in tokenizer.tokenize("a [MASK] b")


def test_each_mask_has_a_row_with_the_others_masked():
    rows = cloze.rows_of_masks(["a", "[MASK]", "b", "[MASK]"], 128)

    row = ["[CLS]", "a", "[MASK]", "b", "[MASK]", "[SEP]"]
    assert rows == [(row, 2), (row, 4)]


def test_each_piece_has_a_row_with_it_alone_masked():
    rows = list(cloze.rows_of_pieces(["a", "[MASK]", "b"], 128))

    assert rows == [
        (["[CLS]", "[MASK]", "[MASK]", "b", "[SEP]"], 1),
        (["[CLS]", "a", "[MASK]", "[MASK]", "[SEP]"], 3),
    ]


def test_pieces_of_a_long_text_are_in_the_window_around_them():
    pieces = [str(i) for i in range(10)]

    rows = list(cloze.rows_of_pieces(pieces, 7))  # Room for 5.

    windows = [
        [pieces[i] if t == "[MASK]" else t for t in masked.tokens[1:-1]]
        for i, masked in enumerate(rows)
    ]
    starts = [int(window[0]) for window in windows]
    assert starts == [0, 0, 0, 1, 2, 3, 4, 5, 5, 5]
    for i, (masked, window) in enumerate(zip(rows, windows)):
        assert window == pieces[starts[i] : starts[i] + 5]
        assert masked.tokens[masked.position] == "[MASK]"
        assert masked.tokens.count("[MASK]") == 1
        assert window[masked.position - 1] == pieces[i]
