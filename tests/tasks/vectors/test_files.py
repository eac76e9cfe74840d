"""The three file formats of extract_features, from random vectors."""

import dataclasses
import json
import os

import numpy as np
import pytest
import tensorflow as tf

from bert_tf.errors import InputError
from bert_tf.tasks.vectors import files
from bert_tf.tasks.vectors.files import FileLayout
from bert_tf.tasks.vectors.lines import FORMATS, LineVectors

TOKENS = [["[CLS]", "[SEP]"], ["[CLS]", "café", "##s", "[SEP]"]]
LAYOUT = FileLayout(
    num_lines=2,
    num_tokens=6,
    shape=(3, 4),
    layers=(-1, 0, -1),
    keeps_tokens=True,
    concatenated=False,
    longest_token=5,
)
POOLED = dataclasses.replace(LAYOUT, keeps_tokens=False)


@pytest.fixture
def vectors(rng):
    """Two lines, with a vector of 4 for each token and each of 3 layers."""
    return [
        LineVectors(i, t, rng.normal(size=(len(t), 3, 4)).astype(np.float32))
        for i, t in enumerate(TOKENS)
    ]


@pytest.fixture
def pooled(vectors):
    return [one._replace(values=one.values.mean(axis=0)) for one in vectors]


def write(path, layout, vectors):
    open_file = files.WRITERS[path.suffix[1:]]
    with open_file(str(path), layout) as add:
        for one in vectors:
            add(one)
    assert os.listdir(path.parent) == [path.name]
    return path


def as_float16(layout):
    return dataclasses.replace(layout, float16=True)


@pytest.mark.parametrize("float16", [False, True])
def test_npz_has_all_tokens_and_the_offsets_of_lines(
    float16, vectors, tmp_path
):
    layout = dataclasses.replace(LAYOUT, float16=float16)
    path = write(tmp_path / "x.npz", layout, vectors)

    with np.load(path) as arrays:
        assert sorted(arrays) == ["layers", "offsets", "tokens", "values"]
        assert arrays["offsets"].tolist() == [0, 2, 6]
        assert arrays["tokens"].tolist() == [*TOKENS[0], *TOKENS[1]]
        assert arrays["layers"].tolist() == [-1, 0, -1]
        want = np.concatenate([one.values for one in vectors])
        want = want.astype("float16" if float16 else "float32")
        np.testing.assert_array_equal(arrays["values"], want, strict=True)


def test_npz_of_pooled_vectors_has_a_row_for_each_line(pooled, tmp_path):
    path = write(tmp_path / "x.npz", POOLED, pooled)

    with np.load(path) as arrays:
        assert sorted(arrays) == ["layers", "values"]
        want = np.stack([one.values for one in pooled])
        np.testing.assert_array_equal(arrays["values"], want, strict=True)


SPEC = {
    "linex_index": tf.io.FixedLenFeature((), tf.int64),
    "shape": tf.io.VarLenFeature(tf.int64),
    "layers": tf.io.VarLenFeature(tf.int64),
    "tokens": tf.io.VarLenFeature(tf.string),
    "values": tf.io.VarLenFeature(tf.float32),
}


def read_records(path, spec):
    """As a user would: with `tf.io.parse_single_example`."""
    for record in tf.data.TFRecordDataset(str(path)):
        row = tf.io.parse_single_example(record, spec)
        yield {
            name: x.values.numpy() if isinstance(x, tf.SparseTensor) else x
            for name, x in row.items()
        }


def test_tfrecord_has_an_example_for_each_line(vectors, tmp_path):
    path = write(tmp_path / "x.tfrecord", LAYOUT, vectors)

    rows = list(read_records(path, SPEC))
    assert [row["linex_index"].numpy() for row in rows] == [0, 1]
    for row, one in zip(rows, vectors, strict=True):
        assert [token.decode() for token in row["tokens"]] == one.tokens
        assert row["layers"].tolist() == [-1, 0, -1]
        values = row["values"].reshape(row["shape"])
        np.testing.assert_array_equal(values, one.values, strict=True)


def test_tfrecord_of_pooled_vectors_has_no_tokens(pooled, tmp_path):
    path = write(tmp_path / "x.tfrecord", POOLED, pooled)

    rows = list(read_records(path, SPEC))
    for row, one in zip(rows, pooled, strict=True):
        assert row["tokens"].tolist() == []
        values = row["values"].reshape(row["shape"])
        np.testing.assert_array_equal(values, one.values, strict=True)


def test_tfrecord_of_16_bits_holds_bytes_to_decode(vectors, tmp_path):
    path = write(tmp_path / "x.tfrecord", as_float16(LAYOUT), vectors)

    spec = {**SPEC, "values": tf.io.FixedLenFeature((), tf.string)}
    rows = list(read_records(path, spec))
    for row, one in zip(rows, vectors, strict=True):
        numbers = tf.io.decode_raw(row["values"], tf.float16)
        values = numbers.numpy().reshape(row["shape"])
        want = one.values.astype(np.float16)
        np.testing.assert_array_equal(values, want, strict=True)


def test_the_same_vectors_give_the_same_bytes(vectors, tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    first = write(tmp_path / "a" / "x.tfrecord", LAYOUT, vectors)
    second = write(tmp_path / "b" / "x.tfrecord", LAYOUT, vectors)
    assert first.read_bytes() == second.read_bytes()


def test_concatenated_layers_are_one_with_several_numbers(vectors, tmp_path):
    layout = dataclasses.replace(
        LAYOUT, shape=(1, 12), layers=(-1, -2, -3), concatenated=True
    )
    one = vectors[0]._replace(values=vectors[0].values.reshape(2, 1, 12))

    path = write(tmp_path / "x.jsonl", layout, [one])

    (layer,) = json.loads(path.read_text())["features"][1]["layers"]
    assert layer["index"] == [-1, -2, -3]
    assert layer["values"] == [round(float(x), 6) for x in one.values[1, 0]]


@pytest.mark.parametrize("ending", ["npz", "tfrecord"])
def test_numbers_too_large_for_16_bits_are_rejected(ending, vectors, tmp_path):
    vectors[1].values[2, 1, 3] = 65520  # float16 has 65504, and then infinity.
    with pytest.raises(InputError, match=r"Line 2 .* 65520; .* --float16"):
        write(tmp_path / f"x.{ending}", as_float16(LAYOUT), vectors)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("ending", FORMATS)
def test_an_existing_file_stays_after_an_error(ending, vectors, tmp_path):
    path = tmp_path / f"x.{ending}"
    path.write_text("from before")

    def failing():
        yield vectors[0]
        raise InputError("of something else")

    with pytest.raises(InputError, match="of something else"):
        write(path, LAYOUT, failing())

    assert path.read_text() == "from before"
    assert os.listdir(tmp_path) == [path.name]


@pytest.mark.parametrize("ending", FORMATS)
def test_an_error_names_a_file_that_cannot_be_written(
    ending, vectors, tmp_path
):
    path = tmp_path / "nowhere" / f"x.{ending}"
    with pytest.raises(InputError, match=f"Cannot write {path}"):
        write(path, LAYOUT, vectors)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no full disk")
@pytest.mark.parametrize("ending", FORMATS)
def test_a_full_disk_is_an_input_error(ending, vectors, tmp_path, monkeypatch):
    path = tmp_path / f"x.{ending}"
    monkeypatch.setattr(files.files, "whole_or_nothing", open_full_disk)
    with pytest.raises((InputError, OSError), match=r"No space|space left"):
        write(path, LAYOUT, vectors * 1000)


def open_full_disk(path):
    return open("/dev/full", "wb")
