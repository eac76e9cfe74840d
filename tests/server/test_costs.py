"""The windows that requests are counted in."""

import pytest

from bert_tf.data import packing
from bert_tf.server import costs
from bert_tf.server.protocol import RequestError


def count(text):
    return len(text.split())


def words(number):
    return "aa " * number


def windows(about, *pairs, most=10**6):
    return costs.windows_of_texts(about, pairs, count, most)


@pytest.mark.parametrize("head", ["classifier", "features"])
@pytest.mark.parametrize("length", [24, 40])
@pytest.mark.parametrize("stride", [1, 9, 20])
def test_windows_are_those_that_packing_makes(head, length, stride):
    about = {"head": head, "max_seq_length": length, "doc_stride": stride}
    for a in (0, 1, 20, 21, 22, 23, 37, 38, 39, 100):
        for b in (0, 1, 10, 21, 100):
            packed = packing.pack_windows(["a"] * a, ["b"] * b, length, stride)
            assert windows(about, (words(a), words(b))) == [
                len(packed.windows)
            ], (a, b)


def test_questions_take_their_part_of_each_window():
    about = {
        "head": "span",
        "max_seq_length": 128,
        "doc_stride": 32,
        "max_query_length": 16,
    }
    for asked in (1, 5, 16, 40):
        for length in (1, 100, 108, 120, 121, 560, 5000):
            room = 128 - 3 - min(asked, 16)
            spans = packing.split_document(length, room, 32)
            assert windows(about, (words(asked), words(length))) == [len(spans)]


def test_each_mask_of_a_long_text_is_a_window():
    about = {"head": "pretraining", "max_seq_length": 24}
    text = "[MASK] " * 500
    assert windows(about, (text, ""), ("[MASK] a", ""), (text, "b")) == [
        500,
        1,
        1,
    ]


def test_texts_that_are_truncated_are_one_window():
    about = {"head": "classifier", "max_seq_length": 24, "doc_stride": None}
    assert windows(about, (words(500), ""), ("", "")) == [1, 1]
    assert windows({}, (words(500), "")) == [1]


def test_counting_stops_at_the_limit():
    seen = []

    def note(text):
        seen.append(text)
        return count(text)

    about = {"head": "classifier", "max_seq_length": 24, "doc_stride": 1}
    pairs = [(words(500), "")] * 100
    with pytest.raises(RequestError, match="may have 1000") as error:
        costs.windows_of_texts(about, pairs, note, 1000)
    assert error.value.status == 413
    assert len(seen) < 10
