"""Files of vectors: whole or not there, and of the same lines and model."""

import json
import os

import numpy as np
import pytest

from bert_tf.errors import InputError
from bert_tf.tasks.vectors import store

TEXTS = [f"line {number}" for number in range(10)]
LINES = range(1, 11)
ABOUT = {"model": "a" * 64, "pooling": "mean", "count": 10}


class Encoder:
    """Makes vectors of the numbers in texts; may be killed on the way."""

    def __init__(self, until=None):
        self.until, self.seen = until, []

    def __call__(self, texts):
        for text in texts:
            if len(self.seen) == self.until:
                raise KeyboardInterrupt
            self.seen.append(text)
            yield np.full(3, text.split()[1], np.float32)


WANT = np.repeat(np.arange(10, dtype=np.float32)[:, None], 3, axis=1)


@pytest.fixture
def path(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "LINES_IN_PART", 4)
    return str(tmp_path / "vectors.npz")


def test_vectors_are_read_as_they_were_made(path):
    assert store.read(path, ABOUT) is None
    made = store.make(path, ABOUT, TEXTS, LINES, Encoder())
    np.testing.assert_array_equal(made, WANT)
    np.testing.assert_array_equal(store.read(path, ABOUT), WANT)
    with np.load(path) as file:
        assert file["vectors"].dtype == np.float32
        assert file["lines"].tolist() == list(LINES)
        assert json.loads(str(file["about"])) == ABOUT
    assert os.listdir(os.path.dirname(path)) == ["vectors.npz"]


def test_two_searches_do_not_make_one_file(path):
    def encode_while_another_does(texts):
        other = Encoder()
        with pytest.raises(InputError, match=r"another.*vectors\.npz"):
            store.make(path, {**ABOUT, "pooling": "cls"}, TEXTS, LINES, other)
        assert other.seen == []
        yield from Encoder()(texts)

    store.make(path, ABOUT, TEXTS, LINES, encode_while_another_does)
    np.testing.assert_array_equal(store.read(path, ABOUT), WANT)
    assert os.listdir(os.path.dirname(path)) == ["vectors.npz"]


@pytest.mark.parametrize(("until", "kept"), [(3, 0), (4, 4), (9, 8)])
def test_what_a_killed_search_encoded_is_not_encoded_again(path, until, kept):
    with pytest.raises(KeyboardInterrupt):
        store.make(path, ABOUT, TEXTS, LINES, Encoder(until))
    assert store.read(path, ABOUT) is None
    again = Encoder()
    made = store.make(path, ABOUT, TEXTS, LINES, again)
    np.testing.assert_array_equal(made, WANT)
    assert again.seen == TEXTS[kept:]


def test_parts_of_something_else_or_damaged_ones_are_made_again(path):
    with pytest.raises(KeyboardInterrupt):
        store.make(path, ABOUT, TEXTS, LINES, Encoder(8))
    with open(f"{path}.parts/1.npy", "wb") as file:
        file.write(b"\x93NUMPY")
    with pytest.raises(KeyboardInterrupt):
        store.make(path, ABOUT, TEXTS, LINES, one := Encoder(5))
    assert one.seen == TEXTS[4:9]
    other = Encoder()
    store.make(path, {**ABOUT, "pooling": "cls"}, TEXTS, LINES, other)
    assert other.seen == TEXTS


def test_vectors_of_something_else_are_refused_by_name(path):
    store.make(path, ABOUT, TEXTS, LINES, Encoder())
    with pytest.raises(InputError) as error:
        store.read(path, {**ABOUT, "model": "b" * 64, "pooling": "cls"})
    message = str(error.value)
    for fact in (path, "pooling: mean there, cls here", "model: aaaa", "bbbb"):
        assert fact in message, message
    assert "--vectors_file" in message and "count" not in message


@pytest.mark.parametrize("content", [b"", b"PK", b"text", None])
def test_a_file_of_another_kind_is_named(path, content):
    if content is None:
        np.savez(path, other=np.zeros(3))
    else:
        with open(path, "wb") as file:
            file.write(content)
    with pytest.raises(InputError, match=r"vectors\.npz.*search") as error:
        store.read(path, ABOUT)
    # NumPy's advice to trust it is not passed on.
    assert "pickle" not in str(error.value)


def test_a_file_with_fewer_vectors_is_named(path):
    about = np.array(json.dumps(ABOUT))
    np.savez(path, vectors=np.zeros((9, 3), np.float32), about=about)
    with pytest.raises(InputError, match="10 vectors"):
        store.read(path, ABOUT)
