"""Serialized `tf.train.Example`s, held to protobuf's own reading of them."""

import pytest
import tensorflow as tf

from bert_tf.data.examples import read_integers
from bert_tf.errors import InputError


def serialize(**features):
    example = tf.train.Example()
    for name, values in features.items():
        feature = example.features.feature[name]
        if isinstance(values[0], int):
            feature.int64_list.value.extend(values)
        elif isinstance(values[0], float):
            feature.float_list.value.extend(values)
        else:
            feature.bytes_list.value.extend(values)
    return example.SerializeToString()


def test_integers_come_back_whatever_their_size(rng):
    numbers = [0, 1, 127, 128, 300, -1, 2**63 - 1, -(2**63)]
    numbers += rng.integers(-(2**40), 2**40, 200).tolist()
    content = serialize(a=numbers, b=[5], unasked=[7])
    assert read_integers(content, ("a", "b")) == {"a": numbers, "b": [5]}


def test_other_types_and_missing_features_are_empty():
    content = serialize(a=[1.5, 2.5], b=[b"text"])
    found = read_integers(content, ("a", "b", "c"))
    assert found == {"a": [], "b": [], "c": []}
    assert read_integers(b"", ("a",)) == {"a": []}


def test_lists_that_are_not_packed_are_read():
    numbers = b"\x08\x05\x08\x96\x01"  # Tag, 5, tag, 150.
    feature = b"\x1a" + bytes([len(numbers)]) + numbers
    entry = b"\x0a\x01a\x12" + bytes([len(feature)]) + feature
    features = b"\x0a" + bytes([len(entry)]) + entry
    content = b"\x0a" + bytes([len(features)]) + features
    example = tf.train.Example.FromString(content)
    want = list(example.features.feature["a"].int64_list.value)
    assert read_integers(content, ("a",)) == {"a": want} == {"a": [5, 150]}


@pytest.mark.parametrize(
    "content",
    [
        b"\xff" * 12,
        b"\x0a",
        b"\x0a\x05ab",
        serialize(a=[1, 2, 300])[:-1],
        b"\x0b",
        b"\x02\x00",
    ],
)
def test_damaged_bytes_are_an_error(content):
    with pytest.raises(InputError, match=r"tf\.train\.Example"):
        read_integers(content, ("a",))
