import io
import time

import numpy as np
import pytest
import tensorflow as tf
from helpers.golden import CHECKPOINTS
from helpers.index_table import (
    entry,
    header,
    number,
    table,
    write_checkpoint,
)
from tensorflow.core.protobuf.tensor_bundle_pb2 import BundleEntryProto

from bert_tf import checkpoints
from bert_tf.checkpoints import bundle
from bert_tf.checkpoints import table as tables
from bert_tf.errors import InputError

NAME = b"bert/pooler/dense/bias"


def open_made_up(folder, entries, **more):
    """Reads all tensors of a made-up checkpoint."""
    write_checkpoint(folder / "c", entries, **more)
    reader = checkpoints.CheckpointReader(str(folder / "c"))
    return {name: reader.tensor(name) for name in reader.names}


def test_what_the_helper_writes_is_read(tmp_path):
    read = open_made_up(tmp_path, {NAME: entry((2, 3))})
    np.testing.assert_array_equal(read[NAME.decode()], np.zeros((2, 3)))


@pytest.mark.parametrize(
    "value, message",
    [
        (entry((-1,)), r"\[-1\]"),
        (entry((1,) * 255), "255 dimensions"),
        (entry((1,) * 300), "300 dimensions"),
        (entry((2**40, 2**40)), "shape"),
        (entry((0, 2**40, 2**40)), "shape"),
        (entry((2**40, 2**40, 0)), "shape"),
        (entry((2**62,)), "values"),
        (entry((2,), dtype=0), "dtype 0"),
        (entry((2,), dtype=20), "dtype 20"),
        (entry((2,), dtype=100), "dtype 100"),
        (entry((2,), dtype=101), "dtype 101"),
        (entry((2,), dtype=119), "dtype 119"),
        (entry((2,), dtype=2**31 - 1), "dtype 2147483647"),
        (entry((2,), size=7), "not 7 bytes"),
        (entry((2**40,), dtype=7, size=10), "not 10 bytes"),
        (entry((2,), shard_id=1), "file 1 of 1"),
        (entry((2,), shard_id=-1), "file -1 of 1"),
        (entry((2,), offset=-8), "byte -8"),
        (entry((2,), offset=2**63 - 4), "values"),
        (entry((4,), slices=[[(3, 2)]]), "outside"),
        (entry((4,), slices=[[(-1, 2)]]), "outside"),
        (entry((4,), slices=[[(0, 2), (0, 1)]]), "2 dimensions"),
        (entry((2**40,), slices=[[(0, 2**40)]]), "lacks a part"),
        (b"", "dtype 0"),
        (b"\xff\xff junk", "cannot be parsed"),
    ],
)
def test_what_would_end_the_process_is_refused(value, message, tmp_path):
    with pytest.raises(InputError, match=f"c.index is damaged .*{message}"):
        open_made_up(tmp_path, {NAME: value})


def test_a_name_that_is_not_utf8_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"c.index is damaged .*\\xff"):
        open_made_up(tmp_path, {b"\xff\xfe": entry((2,))})


@pytest.mark.parametrize("shards", [0, -1, 2**31 - 1])
def test_a_number_of_files_that_cannot_be_is_refused(shards, tmp_path):
    with pytest.raises(InputError, match=f"{shards} .data files"):
        open_made_up(tmp_path, {NAME: entry((2,))}, num_shards=shards)


def test_a_tensor_larger_than_its_file_is_never_allocated(tmp_path):
    with pytest.raises(InputError, match="00001 is cut short"):
        open_made_up(tmp_path, {NAME: entry((2**40,))})


def test_other_file_than_the_named_one_is_not_enough(tmp_path):
    value = entry((2,), shard_id=1)
    with pytest.raises(InputError, match=r"has 2 \.data files"):
        open_made_up(tmp_path, {NAME: value}, num_shards=2)


@pytest.mark.parametrize(
    "handle", [(2**40, 8), (0, 2**40), (0, 2**63), (2**64 - 1, 2**64 - 1)]
)
def test_blocks_outside_of_the_file_are_refused(handle, tmp_path):
    pairs = [(b"", header()), (NAME, entry((2,)))]
    place = b"".join(map(number, handle))
    (tmp_path / "c.index").write_bytes(table(pairs, place))
    with pytest.raises(InputError, match=r"c\.index is damaged"):
        checkpoints.CheckpointReader(tmp_path / "c")


def test_parts_of_a_partitioned_variable_are_read(tmp_path):
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        v1 = tf.compat.v1
        whole = v1.get_variable(
            "a",
            initializer=tf.reshape(tf.range(12.0), (4, 3)),
            partitioner=v1.fixed_size_partitioner(2),
        )
        session.run(v1.global_variables_initializer())
        saver = v1.train.Saver(list(whole))
        path = saver.save(session, str(tmp_path / "parts"))
    reader = checkpoints.CheckpointReader(path)
    assert reader.shapes == {"a": (4, 3)}
    np.testing.assert_array_equal(
        reader.tensor("a"), np.arange(12.0).reshape(4, 3)
    )


def test_texts_and_scalars_are_read(tmp_path):
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        v1 = tf.compat.v1
        made = [
            v1.get_variable("text", initializer=["", "abc", "x" * 300]),
            v1.get_variable("one", initializer=7),
            v1.get_variable("none", initializer=np.zeros((0, 4))),
        ]
        session.run(v1.global_variables_initializer())
        path = v1.train.Saver(made).save(session, str(tmp_path / "c"))
    reader = checkpoints.CheckpointReader(path)
    assert list(reader.tensor("text")) == [b"", b"abc", b"x" * 300]
    assert reader.tensor("one") == 7
    assert reader.tensor("none").shape == (0, 4)


def test_snappy_is_unpacked():
    text = b"bert/encoder/layer_0/attention/" * 3
    # A literal of 31 bytes, then copies from 31 bytes before.
    packed = number(len(text)) + bytes([30 << 2]) + text[:31]
    packed += bytes([61 << 2 | 2, 31, 0])
    assert tables._unpack(packed) == text
    with pytest.raises(tables.DamagedTable):
        tables._unpack(number(2**40) + packed[1:])


def test_old_files_that_lie_about_shapes_are_refused(tmp_path):
    from tensorflow.core.util import saved_tensor_slice_pb2

    made = saved_tensor_slice_pb2.SavedTensorSlices()
    tensor = made.meta.tensor.add(name="a", type=1)
    tensor.shape.dim.add(size=-1)
    content = table([(b"", made.SerializeToString())])
    (tmp_path / "old.ckpt").write_bytes(content)
    with pytest.raises(InputError, match=r"old.ckpt is damaged .*\[-1\]"):
        checkpoints.CheckpointReader(tmp_path / "old.ckpt")


@pytest.fixture(scope="module")
def old_file(tmp_path_factory):
    """A checkpoint of before 2017, as TensorFlow still writes it."""
    path = tmp_path_factory.mktemp("v1") / "old.ckpt"
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        v1 = tf.compat.v1
        wide = np.arange(9000.0, dtype=np.float32).reshape(3, 3000)
        made = [
            v1.get_variable("wide", initializer=wide),
            v1.get_variable("step", initializer=np.int64(7)),
            v1.get_variable(
                "halves",
                initializer=tf.reshape(tf.range(12.0), (4, 3)),
                partitioner=v1.fixed_size_partitioner(2),
            ),
        ]
        session.run(v1.global_variables_initializer())
        made = [*made[:2], *made[2]]
        v1.train.Saver(made, write_version=1).save(
            session, str(path), write_meta_graph=False, write_state=False
        )
    return path


def test_a_file_of_before_2017_is_read_and_all_its_tensors_are_seen(old_file):
    reader = checkpoints.CheckpointReader(old_file)

    np.testing.assert_array_equal(
        reader.tensor("wide"), np.arange(9000.0).reshape(3, 3000)
    )
    assert reader.tensor("step") == 7
    # The keys are TensorFlow's own.
    content = old_file.read_bytes()
    pairs = dict(tables.entries(io.BytesIO(content), len(content)))
    header = bundle._v1_header(iter([(b"", pairs.pop(b""))]))
    ours = [bundle._part_key(t.name, part) for t in header for part in t.slice]
    assert sorted(ours) == sorted(pairs)


@pytest.mark.parametrize("step", range(4))
def test_a_file_of_before_2017_without_all_values_is_refused(
    old_file, tmp_path, step
):
    """TensorFlow would read what lies behind them in memory."""
    from tensorflow.core.util import saved_tensor_slice_pb2

    content = old_file.read_bytes()
    pairs = dict(tables.entries(io.BytesIO(content), len(content)))
    key = sorted(pairs)[1 + step]
    saved = saved_tensor_slice_pb2.SavedTensorSlices.FromString(pairs[key])
    tensor = saved.data.data
    values = tensor.int64_val or tensor.float_val
    del values[len(values) // 2 :]
    pairs[key] = saved.SerializeToString()
    (tmp_path / "old.ckpt").write_bytes(table(sorted(pairs.items())))

    reader = checkpoints.CheckpointReader(tmp_path / "old.ckpt")
    with pytest.raises(InputError, match=r"old\.ckpt is damaged .* values"):
        reader.tensor("step")


@pytest.mark.parametrize(
    ("lengths", "dtype"), [([1, 3], 1), ([2, 3], 2), (None, 1)]
)
def test_parts_that_are_not_as_the_whole_says_are_refused(
    tmp_path, lengths, dtype
):
    whole = entry((2, 3), slices=[[(0, 2), (0, 3)]], size=0)
    entries = {NAME: whole}
    if lengths:
        part = BundleEntryProto.FromString(whole).slices[0]
        size = 4 * dtype * lengths[0] * lengths[1]  # 2 is float64.
        made = entry(lengths, dtype, size)
        entries[bundle._part_key(NAME.decode(), part)] = made
    with pytest.raises(InputError, match=r"c\.index is damaged .* part"):
        open_made_up(tmp_path, entries)


@pytest.mark.parametrize("number", [0, 63, 64, -64, -65, 8191, 8192, 2**62, -1])
def test_signed_numbers_sort_as_they_are(number):
    assert bundle._signed(number - 1) < bundle._signed(number)
    assert bundle._signed(number) < bundle._signed(number + 1)


def test_a_large_index_is_checked_quickly():
    pairs = [
        (f"bert/encoder/layer_{n:04}/attention/adam_m".encode(), entry((2, 3)))
        for n in range(1200)
    ]
    content = table([(b"", header()), *pairs])
    began = time.process_time()
    found = bundle.check_index(content)
    assert time.process_time() - began < 1
    assert found.needed == {0: 24}


def test_all_of_a_real_index_is_seen():
    content = (CHECKPOINTS / "micro" / "bert_model.ckpt.index").read_bytes()
    keys = [k for k, _ in tables.entries(io.BytesIO(content), len(content))]
    listed = tf.train.list_variables(
        str(CHECKPOINTS / "micro" / "bert_model.ckpt")
    )
    assert keys == [b""] + [name.encode() for name, _ in listed]
    assert bundle.check_index(content).needed == {0: 110_376}
