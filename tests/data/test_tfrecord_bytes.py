import numpy as np
import pytest
import tensorflow as tf

from bert_tf.data import records, tfrecord_bytes
from bert_tf.data.tfrecord_bytes import encode_records


def columns(rng, rows):
    """Numbers of one to ten bytes, in rows of unlike sizes."""
    bits = rng.integers(0, 63, (rows, 40))
    return {
        "small": rng.integers(0, 128, (rows, 3), np.int32),
        "borders": np.resize([0, 127, 128, 16383, 16384, 2**31], (rows, 7)),
        "any": rng.integers(0, 2**bits, dtype=np.int64),
        "floats": rng.normal(size=(rows, 5)).astype(np.float32),
        "doubles": rng.normal(size=(rows, 2)),
        "none": np.zeros((rows, 0), np.int32),
    }


def by_protobuf(table, row):
    schema = {
        name: records.Feature(
            values.shape[1:],
            "float32" if values.dtype.kind == "f" else "int64",
        )
        for name, values in table.items()
    }
    values = {name: values[row].tolist() for name, values in table.items()}
    return records.encode(values, schema)


@pytest.mark.parametrize("rows", [1, 2, 300])
def test_records_are_those_that_protobuf_and_tensorflow_write(
    rng, tmp_path, rows
):
    table = columns(rng, rows)
    with tf.io.TFRecordWriter(str(tmp_path / "x")) as writer:
        for row in range(rows):
            writer.write(by_protobuf(table, row))
    assert encode_records(table).tobytes() == (tmp_path / "x").read_bytes()


def test_checksums_are_those_of_many_blocks(rng, tmp_path, monkeypatch):
    table = columns(rng, 100)
    whole = encode_records(table).tobytes()
    monkeypatch.setattr(tfrecord_bytes, "BLOCK_BYTES", 1 << 11)
    assert encode_records(table).tobytes() == whole


def test_no_records_are_no_bytes():
    assert encode_records({"a": np.zeros((0, 4), np.int32)}).size == 0


def test_numbers_below_zero_are_refused():
    with pytest.raises(ValueError, match=r"at least 0\. Received: -3"):
        encode_records({"a": np.array([[1, 2000, -3]])})
