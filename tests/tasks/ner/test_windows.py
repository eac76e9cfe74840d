"""Pieces, windows and context."""

import gzip
import hashlib
import json

import pytest

from bert_tf import tokenization
from bert_tf.tasks.ner import data
from bert_tf.tasks.ner.windows import WindowMaker, pieces_of


class Letters:
    """Each letter is a piece; a dot has none."""

    def tokenize(self, text):
        return [piece for piece in text if piece != "."]


DOCUMENT = [["ab", "c"], ["d", "."], ["efg"], ["h", "ij", "k"]]


def text_of(window):
    assert window.tokens[0] == "[CLS]" and window.tokens[-1] == "[SEP]"
    return "".join(
        "?" if token == "[UNK]" else token for token in window.tokens[1:-1]
    )


@pytest.mark.parametrize(
    ("number", "length", "text", "start"),
    [
        # Half of the room on each side, the rest on the other one.
        (0, 9, "abcd?ef", 1),
        (1, 9, "bcd?efg", 3),
        (1, 8, "bcd?ef", 3),
        (2, 9, "d?efghi", 3),
        (3, 9, "efghijk", 4),
        (3, 30, "abcd?efghijk", 9),
        (2, 5, "efg", 1),
    ],
)
def test_the_context_is_half_before_and_half_after(number, length, text, start):
    (window,) = WindowMaker(Letters(), length, True).windows(DOCUMENT, number)

    assert text_of(window) == text
    assert window.positions[0] == start


def test_without_context_a_sentence_is_alone():
    (window,) = WindowMaker(Letters(), 9).windows(DOCUMENT, 3)

    assert text_of(window) == "hijk"
    assert window.words == [0, 1, 2]
    assert window.positions == [1, 2, 4]


def test_a_word_without_pieces_is_unknown():
    assert pieces_of(".", Letters()) == ["[UNK]"]


@pytest.mark.parametrize("length", [3, 4, 5, 8, 13])
@pytest.mark.parametrize("with_context", [False, True])
def test_each_word_is_predicted_once_where_it_has_most_context(
    length, with_context
):
    words = ["ab", "c", "def", "g", ".", "hijklm", "n", "o", "pqr", "s", "t"]
    maker = WindowMaker(Letters(), length, with_context)

    windows = maker.windows([["x"], words, ["y"]], 1)

    predicted = [word for window in windows for word in window.words]
    assert predicted == list(range(len(words)))
    text = "abcdefg?hijklmnopqrst"
    for window in windows:
        assert len(window.tokens) <= length
        for word, position in zip(window.words, window.positions, strict=True):
            first = words[word][0].replace(".", "?")
            assert window.tokens[position].replace("[UNK]", "?") == first
            # No other window has more tokens on its shorter side.
            here = min(position - 1, len(window.tokens) - 2 - position)
            place = text.index(first)
            for other in windows:
                begin = text.index(text_of(other))
                there = min(
                    place - begin,
                    begin + len(other.tokens) - 3 - place,
                )
                assert there <= here


@pytest.mark.shared
@pytest.mark.parametrize("run", [0, 1])
def test_the_whole_dev_file_of_conll_gives_the_expected_features(
    shared_folder, run
):
    packed = shared_folder / "golden" / "ner" / "ner_features.json.gz"
    golden = json.loads(gzip.decompress(packed.read_bytes()))["runs"][run]
    settings = data.FileSettings(str(shared_folder / "data/ner/conll2003"))
    _, labels = data.read_train(settings)
    examples = data.read_part(settings, "dev", labels)
    tokenizer = tokenization.FullTokenizer(
        shared_folder / "data" / "vocabs" / "cased.txt", do_lower_case=False
    )
    length = golden["max_seq_length"]
    alone, around = hashlib.sha256(), hashlib.sha256()
    # Not split, as the digest is of whole sentences.
    whole = WindowMaker(tokenizer, 10**6)
    maker = WindowMaker(tokenizer, length, document_context=True)
    predicted = 0
    for example in examples:
        (window,) = whole.windows(example.document, example.number)
        tokens, firsts = window.tokens, map(str, window.positions)
        alone.update(f"{' '.join(tokens)}|{' '.join(firsts)}\n".encode())
        windows = maker.windows(example.document, example.number)
        predicted += sum(len(window.words) for window in windows)
        line = "none"
        if len(tokens) <= length:
            ((tokens, _, (start, *_)),) = windows
            line = f"{' '.join(tokens)}|{start}"
        around.update(f"{line}\n".encode())

    assert predicted == golden["stats"]["words"] == 51362
    assert alone.hexdigest() == golden["digest_alone"]
    assert around.hexdigest() == golden["digest_with_context"]
