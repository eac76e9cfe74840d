"""Words in lines, and the vectors of their pieces."""

import json

import numpy as np
import pytest
from helpers.golden import DATA, TINY

from bert_tf.errors import InputError
from bert_tf.tasks.inspection import data
from bert_tf.tokenization import FullTokenizer

BANK = json.loads((DATA / "inspection" / "bank.json").read_text())


@pytest.fixture(scope="module")
def tokenizer():
    return FullTokenizer(TINY.parent / "vocab.txt")


@pytest.fixture(scope="module")
def uncased(vocab_files):
    return FullTokenizer(vocab_files / "uncased")


def test_bank_is_where_transformers_has_it(uncased):
    texts = [one["text"] for one in BANK["sentences"]]

    found = data.find(texts, "bank", uncased, 128)

    assert [word.line for word in found.words] == list(range(10))
    assert [word.text for word in found.words] == ["bank"] * 10
    for row, one in zip(found.rows, BANK["sentences"], strict=True):
        tokens = uncased.convert_ids_to_tokens(row.input_ids)
        assert tokens == one["tokens"]
        assert row.pieces == [one["position"]]
    # Of words, not of pieces: willow ##s is one.
    assert found.words[2].position == 4


def test_words_are_whole_and_have_the_case_of_the_model(uncased):
    lines = ["Banks bank.", "embankment", "BANK, bank-note; bánk"]
    found = data.find(lines, data.read_word("Bank", uncased), uncased, 128)
    places = [(word.line, word.position) for word in found.words]
    assert places == [(0, 1), (2, 0), (2, 2), (2, 6)]


def test_other_words_of_all_lines_are_found_on_request(uncased):
    found = data.find(["A bank.", "", "Go!"], "bank", uncased, 128, True)
    assert [word.text for word in found.words] == ["a", "bank", ".", "go", "!"]
    assert found.num_lines == 3


@pytest.mark.parametrize("length", [3, 4, 7, 20, 128])
def test_every_piece_of_long_lines_counts_once(tokenizer, length, rng):
    words = ["museum", "quiet", "unmeasured", "the", "gardener"]
    lines = [" ".join(rng.choice(words, size)) for size in (1, 9, 40)]
    found = data.find([*lines, "the"], "the", tokenizer, length, True)

    # The vector of a piece is its id, and its square.
    def run(inputs):
        assert inputs["input_ids"].shape[1] <= length
        ids = inputs["input_ids"][..., None].astype(np.float32)
        return np.concatenate([ids, ids**2], axis=2)

    got = data.gather(found.rows, len(found.words), 2, run, 4, length)

    assert len(found.words) == 51
    for word, vector in zip(found.words, got, strict=True):
        pieces = tokenizer.tokenize(word.text)
        ids = np.array(tokenizer.convert_tokens_to_ids(pieces), np.float32)
        np.testing.assert_allclose(
            vector, [ids.mean(), (ids**2).mean()], rtol=1e-6
        )


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("New York", "one word.*'new' and 'york'"),
        ("U.S.", "one word"),
        (" ", "one word"),
        ("ᚠᚢᚦ", r"\[UNK\]"),
    ],
)
def test_what_is_not_one_known_word_is_rejected(uncased, word, message):
    with pytest.raises(InputError, match=message):
        data.read_word(word, uncased)


def test_a_word_that_is_nowhere_is_rejected_with_similar_ones(uncased):
    lines = ["the banks", "the bunk"]
    with pytest.raises(InputError, match=r"'bank'.*2 lines.*'banks' \(1\)"):
        data.find(lines, "bank", uncased, 128)
    with pytest.raises(InputError, match="at least one line"):
        data.find([], "bank", uncased, 128)


@pytest.mark.parametrize(
    ("layer", "number"),
    [(0, 0), (3, 3), (-1, 3), (-4, 0), (4, None), (-5, None)],
)
def test_layers_count_from_the_embeddings(layer, number):
    if number is not None:
        assert data.find_layer(layer, 3) == number
        return
    with pytest.raises(InputError, match=f"--layer={layer}"):
        data.find_layer(layer, 3)
