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


def test_each_mask_is_asked_for_with_the_others_masked():
    queries = cloze.ask_for_masks(["a", "[MASK]", "b", "[MASK]"], 128)

    row = ["[CLS]", "a", "[MASK]", "b", "[MASK]", "[SEP]"]
    assert queries == [(row, 2), (row, 4)]


def test_each_piece_is_asked_for_alone():
    queries = list(cloze.ask_for_each(["a", "[MASK]", "b"], 128))

    assert queries == [
        (["[CLS]", "[MASK]", "[MASK]", "b", "[SEP]"], 1),
        (["[CLS]", "a", "[MASK]", "[MASK]", "[SEP]"], 3),
    ]


def test_pieces_of_a_long_text_are_asked_for_in_the_window_around_them():
    pieces = [str(i) for i in range(10)]

    queries = list(cloze.ask_for_each(pieces, 7))  # Room for 5.

    windows = [
        [pieces[i] if t == "[MASK]" else t for t in query.tokens[1:-1]]
        for i, query in enumerate(queries)
    ]
    starts = [int(window[0]) for window in windows]
    assert starts == [0, 0, 0, 1, 2, 3, 4, 5, 5, 5]
    for i, (query, window) in enumerate(zip(queries, windows)):
        assert window == pieces[starts[i] : starts[i] + 5]
        assert query.tokens[query.position] == "[MASK]"
        assert query.tokens.count("[MASK]") == 1
        assert window[query.position - 1] == pieces[i]
