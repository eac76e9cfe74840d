import os
import pathlib

import numpy as np
import pytest
import tensorflow as tf
from helpers.golden import CHECKPOINTS, build_model

from bert_tf import checkpoints, models
from bert_tf.checkpoints.names import DATA
from bert_tf.errors import InputError
from bert_tf.layers import create_initializer, weights_to_come


def bytes_in_order(prefix, weights):
    """A data file's tensors: raw bytes in the order of their sorted names."""
    raw = pathlib.Path(f"{prefix}{DATA}").read_bytes()
    tensors, offset = {}, 0
    for name in sorted(weights):
        shape, dtype = tuple(weights[name].shape), weights[name].dtype
        size = np.prod(shape, dtype=int)
        tensors[name] = np.frombuffer(raw, dtype, size, offset).reshape(shape)
        offset += tensors[name].nbytes
    assert offset == len(raw)
    return tensors


@pytest.mark.parametrize("folder", ["tiny", "micro"])
def test_load_fills_every_variable_with_the_bytes_of_the_file(folder):
    model = build_model(CHECKPOINTS / folder)
    weights = checkpoints.named_weights(model)

    report = checkpoints.load(weights, CHECKPOINTS / folder, expect=weights)

    want = bytes_in_order(CHECKPOINTS / folder / "bert_model.ckpt", weights)
    for name, variable in weights.items():
        np.testing.assert_array_equal(np.array(variable), want[name])
    assert sorted(report.matched) == sorted(weights)
    assert not (report.missing or report.unused or report.slots)


def test_toy_checkpoint_loads_and_its_slots_are_told_apart():
    model = build_model(CHECKPOINTS / "toy")

    report = checkpoints.load(
        checkpoints.named_weights(model), CHECKPOINTS / "toy"
    )

    assert len(report.matched) == 46
    assert not report.missing
    assert not report.unused
    assert len(report.slots) == 2 * 46 + 1
    assert checkpoints.global_step(CHECKPOINTS / "toy") == 20
    assert all(np.isfinite(weight).all() for weight in model.weights)


def test_slots_and_global_step_load_like_weights():
    slot = tf.Variable(tf.zeros([15]))
    step = tf.Variable(0, dtype=tf.int64)
    name = "cls/predictions/output_bias/adam_m"

    report = checkpoints.load(
        {name: slot, "global_step": step}, CHECKPOINTS / "toy"
    )

    assert int(step) == 20
    assert np.abs(slot).max() > 0
    assert name not in report.slots


def test_a_head_that_the_file_lacks_keeps_its_values_and_is_reported():
    model = build_model(CHECKPOINTS / "micro", models.classifier, 2)
    weights = checkpoints.named_weights(model)
    before = np.array(weights["output_weights"])

    report = checkpoints.load(weights, CHECKPOINTS / "micro")

    np.testing.assert_array_equal(np.array(weights["output_weights"]), before)
    assert sorted(report.missing) == ["output_bias", "output_weights"]
    assert report.drawn == []
    assert "cls/predictions/output_bias" in report.unused
    for line in (
        "Read 39 variables from",
        "keeping their initial values (2):\n  output_weights",
        "not used here (7):\n  cls/...",
    ):
        assert line in report.summary()
    assert len(report.summary().splitlines()) == 6


def test_names_of_a_scope_that_is_read_in_part_are_all_told(micro):
    model = build_model(micro)
    weights = checkpoints.named_weights(model)
    some = {k: x for k, x in weights.items() if "pooler" not in k}

    report = checkpoints.load(some, micro)

    assert "  bert/pooler/dense/bias\n" in report.summary()


def test_weights_to_come_that_do_not_come_are_drawn(micro):
    model = build_model(micro)
    without_pooler = {
        name: weight
        for name, weight in checkpoints.named_weights(model).items()
        if "pooler" not in name
    }
    checkpoints.load(without_pooler, micro)
    checkpoints.write(micro / "new.ckpt", without_pooler)
    weights = checkpoints.named_weights(build_model(micro))

    with pytest.raises(InputError, match="lacks 1: bert/pooler/dense/kernel"):
        checkpoints.load(weights, micro / "new.ckpt")
    report = checkpoints.load(
        weights, micro / "new.ckpt", initializer=create_initializer(0.5)
    )

    drawn = np.array(weights["bert/pooler/dense/kernel"])
    assert report.drawn == ["bert/pooler/dense/kernel"]
    assert 0.35 < drawn.std() < 0.5  # Cut at two deviations: 0.88 of 0.5.
    assert "initialized at random (1):\n  bert/pooler" in report.summary()


def test_drawing_inside_weights_to_come_is_refused(micro, variables):
    checkpoints.write(micro / "new.ckpt", {"a": variables["a"]})
    variables["b/kernel"].assign([[np.nan], [0.0]])
    with weights_to_come(), pytest.raises(ValueError, match="NaN"):
        checkpoints.load(
            variables, micro / "new.ckpt", initializer=create_initializer()
        )


def load_error(path, weights, **arguments):
    with pytest.raises(InputError) as caught:
        checkpoints.load(weights, path, **arguments)
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "shape", "hint"),
    [
        ("bert/embeddings/word_embeddings", (300, 32), "vocab_size"),
        ("bert/embeddings/position_embeddings", (64, 32), "max_position"),
        ("bert/pooler/dense/kernel", (16, 16), "config is of another model"),
    ],
)
def test_wrong_shape_names_file_variable_and_both_shapes(name, shape, hint):
    message = load_error(
        CHECKPOINTS / "micro", {name: tf.Variable(tf.zeros(shape))}
    )
    for part in (name, str(list(shape)), "micro/bert_model.ckpt has [", hint):
        assert part in message


def test_wrong_number_of_labels_is_called_so(tmp_path):
    checkpoints.write(tmp_path / "c", {"output_bias": np.zeros(3)})
    message = load_error(tmp_path, {"output_bias": tf.Variable([0.0, 0.0])})
    assert "[2]" in message
    assert "[3]" in message
    assert "another number of labels" in message


def test_wrong_dtype_is_named(tmp_path):
    checkpoints.write(tmp_path / "c", {"a": np.zeros(2, np.int64)})
    message = load_error(tmp_path, {"a": tf.Variable([0.0, 0.0])})
    assert f"`a` must be float32. {tmp_path}/c has it as int64" in message


def test_no_common_name_shows_names_of_both_sides():
    message = load_error(CHECKPOINTS / "micro", {"x/y": tf.Variable(0.0)})
    assert "x/y" in message
    assert "bert/embeddings/LayerNorm/beta" in message
    assert "micro/bert_model.ckpt" in message


def test_expected_names_must_be_there(variables, tmp_path):
    checkpoints.write(tmp_path / "c", {"a": variables["a"]})
    message = load_error(tmp_path, variables, expect=variables)
    assert "lacks 1 needed variables: b/kernel" in message


def test_missing_data_file_is_named(micro, weights):
    (micro / f"bert_model.ckpt{DATA}").unlink()
    assert f"{micro}/bert_model.ckpt{DATA} is missing" in load_error(
        micro, weights
    )


@pytest.mark.parametrize("length", [0, 50_000, 110_375])
def test_cut_data_file_is_named_with_both_lengths(micro, weights, length):
    data = micro / f"bert_model.ckpt{DATA}"
    os.truncate(data, length)
    message = load_error(micro, weights)
    assert f"{data} is cut short" in message
    assert "110,376 bytes" in message
    assert f"{length:,} bytes" in message


def test_lfs_pointer_is_recognized(micro, weights):
    (micro / f"bert_model.ckpt{DATA}").write_text(
        "version https://git-lfs.github.com/spec/v1\nsize 110376\n"
    )
    assert "git lfs pull" in load_error(micro, weights)


@pytest.mark.parametrize("position", [0, 3000, 60_000, 110_375])
def test_one_wrong_byte_is_found_and_its_variable_named(
    micro, weights, position
):
    data = micro / f"bert_model.ckpt{DATA}"
    raw = bytearray(data.read_bytes())
    raw[position] ^= 1
    data.write_bytes(raw)
    offset = 0
    for name in sorted(weights):
        offset += 4 * np.prod(weights[name].shape, dtype=int)
        if position < offset:
            break
    message = load_error(micro, weights)
    assert f"bytes of `{name}` in {micro}/bert_model.ckpt are" in message
    assert "Checksum" in message


@pytest.mark.parametrize("damage", ["cut", "flip", "empty"])
def test_damaged_index_is_named(micro, weights, damage):
    index = micro / "bert_model.ckpt.index"
    raw = bytearray(index.read_bytes())
    raw[100] ^= 1
    index.write_bytes({"cut": raw[:700], "flip": raw, "empty": b""}[damage])
    assert f"{index} is damaged" in load_error(micro, weights)


def test_object_based_checkpoint_is_called_so(tmp_path):
    path = tf.train.Checkpoint(a=tf.Variable(1.0)).write(str(tmp_path / "c"))
    message = load_error(path, {"a": tf.Variable(0.0)})
    assert "object-based" in message
    assert "a/.ATTRIBUTES/VARIABLE_VALUE" in message


def test_old_single_file_checkpoint_loads(tmp_path):
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        old = tf.compat.v1.get_variable("a", initializer=[5.0, 6.0])
        session.run(old.initializer)
        saver = tf.compat.v1.train.Saver([old], write_version=1)
        path = saver.save(session, str(tmp_path / "v1.ckpt"))
    variable = tf.Variable([0.0, 0.0])
    checkpoints.load({"a": variable}, path)
    np.testing.assert_array_equal(variable, [5.0, 6.0])
