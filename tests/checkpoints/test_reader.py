import itertools
import pathlib

import numpy as np
import pytest
import tensorflow as tf

from bert_tf import checkpoints
from bert_tf.checkpoints import reader as reader_module
from bert_tf.checkpoints import storage
from bert_tf.checkpoints.names import DATA
from bert_tf.errors import InputError


@pytest.fixture
def groups_read(monkeypatch):
    """The names of tensors that were read together, for each time."""
    groups = []
    restore = tf.raw_ops.RestoreV2

    def noted(tensor_names, **arguments):
        groups.append(tensor_names)
        return restore(tensor_names=tensor_names, **arguments)

    monkeypatch.setattr(tf.raw_ops, "RestoreV2", noted)
    monkeypatch.setattr(reader_module, "BYTES_READ_TOGETHER", 5_000)
    return groups


def test_load_reads_a_few_variables_at_a_time(micro, weights, groups_read):
    checkpoints.load(weights, micro)

    assert list(itertools.chain(*groups_read)) == list(weights)
    assert len(groups_read) > 5
    reader = checkpoints.CheckpointReader(micro)
    assert all(reader.nbytes(group[:-1]) < 5_000 for group in groups_read)


def test_files_are_checked_once(micro, monkeypatch):
    checked = []
    check = storage.check_data
    monkeypatch.setattr(
        storage, "check_data", lambda *what: checked.append(check(*what))
    )
    reader = checkpoints.CheckpointReader(micro)
    for _ in range(2):
        reader.check_data()
        reader.tensor(reader.names[0])
    assert len(checked) == 1


def test_weights_read_ahead_are_read_once_and_slots_are_not(
    tmp_path, groups_read
):
    values = {f"w{n}": np.full((7, 100), n, np.float32) for n in range(9)}
    slots = {f"{name}/adam_m": value for name, value in values.items()}
    checkpoints.write(tmp_path / "model.ckpt", {**values, **slots})
    variables = {name: tf.Variable(tf.zeros([7, 100])) for name in values}
    del variables["w3"]
    reader = checkpoints.CheckpointReader(tmp_path / "model.ckpt")
    with reader.reading_ahead():
        report = checkpoints.load(variables, reader, expect=variables)
        assert list(itertools.chain(*groups_read)) == sorted(values)
        groups_read.clear()
        checkpoints.load(variables, reader)  # Reads again what is gone.

    assert report.unused == ["w3"] and len(report.slots) == 9
    assert list(itertools.chain(*groups_read)) == list(variables)
    for name, variable in variables.items():
        np.testing.assert_array_equal(variable.numpy(), values[name])


def test_what_is_read_ahead_in_vain_may_be_damaged(tmp_path, monkeypatch):
    """The first tensor has a wrong byte, the second is not finite."""
    values = {
        "a": np.ones(9, np.float32),
        "b": np.full(9, np.nan, np.float32),
        "c": np.arange(9, dtype=np.float32),
        "d": np.full(9, 3e38, np.float32),  # Their sum is too large.
    }
    path = tmp_path / "model.ckpt"
    checkpoints.write(path, values)
    data = pathlib.Path(f"{path}{DATA}")
    data.write_bytes(b"\1" + data.read_bytes()[1:])
    variables = {name: tf.Variable(tf.zeros([9])) for name in values}
    reader = checkpoints.CheckpointReader(path)

    for size in (1, 1000):  # A thread reads one at a time, or all of them.
        monkeypatch.setattr(reader_module, "BYTES_READ_TOGETHER", size)
        for name, message in (("a", "bytes of `a` in"), ("b", "`b` in")):
            with reader.reading_ahead(), pytest.raises(InputError) as caught:
                checkpoints.load({name: variables[name]}, reader)
            assert message in str(caught.value)
        with reader.reading_ahead():
            wanted = {name: variables[name] for name in ("c", "d")}
            checkpoints.load(wanted, reader)
        assert variables["c"].numpy().tolist() == list(range(9))
        assert (variables["d"].numpy() == np.float32(3e38)).all()
