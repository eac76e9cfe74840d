import contextlib
import csv
import gzip
import itertools
import os
import pathlib
import re
import resource
import shutil
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from helpers.paths import GOLDEN

from bert_tf import checkpoints, models
from bert_tf.errors import InputError
from bert_tf.layers import create_initializer, weights_to_come
from bert_tf.modeling import BertConfig, BertModel

CHECKPOINTS = GOLDEN / "checkpoints"
DATA = ".data-00000-of-00001"


def released_variables():
    """Model -> name -> (dtype, shape), from the indexes of released models."""
    released = {}
    path = CHECKPOINTS / "released_variables.tsv.gz"
    with gzip.open(path, "rt", encoding="utf-8") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            shape = tuple(int(size) for size in row["shape"].split("x"))
            variables = released.setdefault(row["model"], {})
            variables[row["name"]] = (row["dtype"], shape)
    return released


RELEASED = released_variables()


def config_of(variables):
    """The sizes that the shapes of a released checkpoint tell."""
    vocab_size, width = variables["bert/embeddings/word_embeddings"][1]
    layers = re.findall(r"layer_(\d+)/output/dense/bias", " ".join(variables))
    return BertConfig(
        vocab_size=vocab_size,
        hidden_size=width,
        num_hidden_layers=len(layers),
        num_attention_heads=width // 64,
        intermediate_size=4 * width,
        type_vocab_size=2,
    )


def described(weights):
    return {name: (w.dtype, tuple(w.shape)) for name, w in weights.items()}


def model_of(folder, build=models.pretraining, *args):
    config = BertConfig.from_json_file(folder / "bert_config.json")
    with weights_to_come():
        return build(config, *args)


def bytes_in_order(prefix, names):
    """A data file's tensors: raw bytes in the order of their sorted names."""
    raw = pathlib.Path(f"{prefix}{DATA}").read_bytes()
    tensors, offset = {}, 0
    for name, (dtype, shape) in sorted(names.items()):
        size = np.prod(shape, dtype=int)
        tensors[name] = np.frombuffer(raw, dtype, size, offset).reshape(shape)
        offset += tensors[name].nbytes
    assert offset == len(raw)
    return tensors


@pytest.fixture
def micro(tmp_path):
    """A copy of the micro checkpoint that may be damaged."""
    return pathlib.Path(shutil.copytree(CHECKPOINTS / "micro", tmp_path / "m"))


@pytest.fixture(scope="module")
def weights():
    """The variables of a model with the micro checkpoint's config."""
    return checkpoints.named_weights(model_of(CHECKPOINTS / "micro"))


@pytest.fixture
def variables():
    return {
        "a": tf.Variable([1.0, 2.0]),
        "b/kernel": tf.Variable([[3.0], [4.0]]),
    }


# Names.


@pytest.mark.parametrize(
    "model",
    [
        pytest.param(
            name,
            marks=[]
            if "_L-2_" in name or "_L-4_" in name
            else pytest.mark.slow,
        )
        for name in RELEASED
    ],
)
def test_pretraining_model_has_the_variables_of_released_models(model):
    want = RELEASED[model]
    with weights_to_come():
        built = models.pretraining(config_of(want))
    assert described(checkpoints.named_weights(built)) == want


@pytest.mark.shared
@pytest.mark.slow
def test_pretraining_model_has_the_variables_of_all_indexes(shared_folder):
    folders = sorted((shared_folder / "data" / "ckpt_index").glob("*/"))
    assert len(folders) == 11
    for folder in folders:
        config_file = shared_folder / "data/configs" / folder.name
        config = BertConfig.from_json_file(config_file / "bert_config.json")
        checkpoints.check_config(config, folder)
        with weights_to_come():
            built = models.pretraining(config)
        reader = tf.compat.v1.train.NewCheckpointReader(
            str(folder / "bert_model.ckpt")
        )
        shapes = reader.get_variable_to_shape_map()
        dtypes = reader.get_variable_to_dtype_map()
        want = {n: (dtypes[n].name, tuple(shapes[n])) for n in shapes}
        assert described(checkpoints.named_weights(built)) == want


@pytest.mark.shared
def test_released_vocabularies_fit_their_configs(shared_folder):
    data = shared_folder / "data"
    for vocab, model in (
        ("uncased", "uncased_L-12_H-768_A-12"),
        ("cased", "cased_L-12_H-768_A-12"),
        ("chinese", "chinese_L-12_H-768_A-12"),
        ("multi_cased", "multi_cased_L-12_H-768_A-12"),
        ("multilingual_uncased", "multilingual_L-12_H-768_A-12"),
    ):
        config = BertConfig.from_json_file(
            data / "configs" / model / "bert_config.json"
        )
        checkpoints.check_vocab(
            config.vocab_size, data / "vocabs" / f"{vocab}.txt"
        )


def test_two_weights_of_one_path_are_refused():
    config = BertConfig(vocab_size=9, hidden_size=4, num_attention_heads=2)
    both = [BertModel(config), BertModel(config)]

    class Pair:
        weights = both[0].weights + both[1].weights

    with pytest.raises(ValueError, match="path of its own"):
        checkpoints.named_weights(Pair)


def test_slots_of_a_trained_checkpoint_are_all_but_the_model():
    reader = checkpoints.CheckpointReader(
        CHECKPOINTS / "trained_squad" / "model.ckpt-14599"
    )
    slots = checkpoints.optimizer_slots(reader.names)
    config = config_of(RELEASED["2020_uncased_L-2_H-128_A-2"])
    with weights_to_come():
        model = models.span(config)
    assert set(reader.names) - slots == set(checkpoints.named_weights(model))
    # The pooler has no gradient in SQuAD, hence no slots.
    assert len(slots) == 2 * (len(model.weights) - 2) + 1


@pytest.mark.shared
def test_slots_of_training_directories_end_in_adam_m_and_adam_v(shared_folder):
    folder = shared_folder / "data" / "ckpt_trained"
    indexes = sorted(folder.glob("*/*.index"))
    assert len(indexes) == 5
    for index in indexes:
        names = checkpoints.CheckpointReader(index).names
        want = {n for n in names if n.endswith(("/adam_m", "/adam_v"))}
        assert checkpoints.optimizer_slots(names) == want | {"global_step"}


# Loading.


@pytest.mark.parametrize("folder", ["tiny", "micro"])
def test_load_fills_every_variable_with_the_bytes_of_the_file(folder):
    model = model_of(CHECKPOINTS / folder)
    weights = checkpoints.named_weights(model)

    report = checkpoints.load(weights, CHECKPOINTS / folder, expect=weights)

    want = bytes_in_order(
        CHECKPOINTS / folder / "bert_model.ckpt", described(weights)
    )
    for name, variable in weights.items():
        np.testing.assert_array_equal(np.array(variable), want[name])
    assert sorted(report.matched) == sorted(weights)
    assert not (report.missing or report.unused or report.slots)


def test_toy_checkpoint_loads_and_its_slots_are_told_apart():
    model = model_of(CHECKPOINTS / "toy")

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
    model = model_of(CHECKPOINTS / "micro", models.classifier, 2)
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
        "not used here (7):\n  cls/predictions/output_bias",
    ):
        assert line in report.summary()


def test_weights_to_come_that_do_not_come_are_drawn(micro):
    model = model_of(micro)
    without_pooler = {
        name: weight
        for name, weight in checkpoints.named_weights(model).items()
        if "pooler" not in name
    }
    checkpoints.load(without_pooler, micro)
    checkpoints.write(micro / "new.ckpt", without_pooler)
    weights = checkpoints.named_weights(model_of(micro))

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


@pytest.fixture
def groups_read(monkeypatch):
    """The names of tensors that were read together, for each time."""
    groups = []
    restore = checkpoints.tf.raw_ops.RestoreV2

    def noted(tensor_names, **arguments):
        groups.append(tensor_names)
        return restore(tensor_names=tensor_names, **arguments)

    monkeypatch.setattr(checkpoints.tf.raw_ops, "RestoreV2", noted)
    monkeypatch.setattr(checkpoints, "BYTES_READ_TOGETHER", 5_000)
    return groups


def test_load_reads_a_few_variables_at_a_time(micro, weights, groups_read):
    checkpoints.load(weights, micro)

    assert list(itertools.chain(*groups_read)) == list(weights)
    assert len(groups_read) > 5
    reader = checkpoints.CheckpointReader(micro)
    assert all(reader.nbytes(group[:-1]) < 5_000 for group in groups_read)


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
        monkeypatch.setattr(checkpoints, "BYTES_READ_TOGETHER", size)
        for name, message in (("a", "bytes of `a` in"), ("b", "`b` in")):
            with reader.reading_ahead(), pytest.raises(InputError) as caught:
                checkpoints.load({name: variables[name]}, reader)
            assert message in str(caught.value)
        with reader.reading_ahead():
            wanted = {name: variables[name] for name in ("c", "d")}
            checkpoints.load(wanted, reader)
        assert variables["c"].numpy().tolist() == list(range(9))
        assert (variables["d"].numpy() == np.float32(3e38)).all()


# Errors of loading, each with the file and the variable.


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


# Finding.


@pytest.mark.parametrize(
    "path",
    [
        "tiny",
        "tiny/bert_model.ckpt",
        "tiny/bert_model.ckpt.index",
        f"tiny/bert_model.ckpt{DATA}",
        "tiny/bert_model.ckpt.meta",
    ],
)
def test_find_takes_a_prefix_a_file_or_a_folder(path):
    found = checkpoints.find(CHECKPOINTS / path)
    assert found == str(CHECKPOINTS / "tiny" / "bert_model.ckpt")


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("tiny/model.ckpt", "needs .*tiny/model.ckpt.index.*there is: bert_co"),
        ("nowhere/model.ckpt", "there is no .*nowhere"),
        (".", "needs an .index and a .data.*hugging_face"),
        ("tiny/vocab.txt", "vocab.txt is not a TensorFlow checkpoint"),
        ("hugging_face/span", "safetensors.*convert_checkpoint from_hf"),
        (
            "hugging_face/span/model.safetensors",
            "Hugging Face file.*convert_checkpoint from_hf",
        ),
    ],
)
def test_find_says_what_was_looked_for_and_what_is_there(path, message):
    with pytest.raises(InputError, match=message):
        checkpoints.find(CHECKPOINTS / path)


def test_a_folder_of_several_checkpoints_must_say_which(tmp_path, variables):
    checkpoints.write(tmp_path / "x.ckpt", variables)
    checkpoints.write(tmp_path / "y.ckpt", variables)
    with pytest.raises(InputError, match=r"several.*x\.ckpt, .*y\.ckpt"):
        checkpoints.find(tmp_path)


def test_a_path_that_tensorflow_cannot_read_is_not_written(tmp_path, variables):
    with pytest.raises(InputError, match="Rename the folder"):
        checkpoints.save(tmp_path / "run[1]", 0, variables)


# Writing.


@pytest.mark.parametrize("folder", ["tiny", "micro", "toy"])
def test_write_gives_the_very_files_that_the_original_wrote(folder, tmp_path):
    source = CHECKPOINTS / folder / "bert_model.ckpt"
    reader = tf.compat.v1.train.NewCheckpointReader(str(source))
    names = reader.get_variable_to_shape_map()

    checkpoints.write(
        tmp_path / "c", {name: reader.get_tensor(name) for name in names}
    )

    for end in (".index", DATA):
        want = pathlib.Path(f"{source}{end}").read_bytes()
        assert (tmp_path / f"c{end}").read_bytes() == want
    assert len(list(tmp_path.iterdir())) == 2


def test_saver_of_tensorflow_1_restores_what_save_wrote(tmp_path, weights):
    checkpoints.load(weights, CHECKPOINTS / "micro")
    checkpoints.save(tmp_path, 7, weights)

    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        restored = {
            name: tf.compat.v1.get_variable(name, weight.shape)
            for name, weight in weights.items()
        }
        restored["global_step"] = tf.compat.v1.get_variable(
            "global_step", [], tf.int64
        )
        newest = tf.compat.v1.train.latest_checkpoint(str(tmp_path))
        tf.compat.v1.train.Saver().restore(session, newest)
        values = session.run(restored)
    assert values.pop("global_step") == 7
    for name, value in values.items():
        np.testing.assert_array_equal(value, np.array(weights[name]))


def test_other_floats_and_integers_are_stored_as_the_original_does(tmp_path):
    values = {
        "half": tf.constant([1.5], tf.bfloat16),
        "double": np.float64(0.1),
        "int": np.int32(3),
    }
    checkpoints.write(tmp_path / "c", values)
    reader = checkpoints.CheckpointReader(tmp_path)
    assert reader.dtypes == {
        "half": "float32",
        "double": "float32",
        "int": "int64",
    }
    assert reader.tensor("double") == np.float32(0.1)


def test_state_file_is_as_the_original_writes_it(tmp_path, variables):
    for step in (11000, 12000, 13000, 14000, 14599):
        checkpoints.save(tmp_path, step, variables)
    want = (CHECKPOINTS / "trained_squad" / "checkpoint").read_text()
    assert (tmp_path / "checkpoint").read_text() == want


def test_save_keeps_the_newest_and_touches_no_others(tmp_path, variables):
    checkpoints.write(tmp_path / "model.ckpt-3", variables)
    for step in (10, 20, 30, 40):
        prefix = checkpoints.save(tmp_path, step, variables, keep=2)
        pathlib.Path(f"{prefix}.meta").write_text("as the original writes")
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"checkpoint"} | {
        f"model.ckpt-{step}{end}"
        for step in (3, 30, 40)
        for end in (".index", DATA, ".meta")
        if (step, end) != (3, ".meta")
    }


def test_save_does_not_delete_in_another_folder(tmp_path, variables):
    elsewhere = checkpoints.save(tmp_path / "other", 1, variables)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "checkpoint").write_text(
        f'model_checkpoint_path: "{elsewhere}"\n'
        f'all_model_checkpoint_paths: "{elsewhere}"\n'
    )
    checkpoints.save(tmp_path / "run", 2, variables, keep=1)
    assert checkpoints.latest(tmp_path / "run").endswith("run/model.ckpt-2")
    assert checkpoints.find(elsewhere) == elsewhere


def test_remote_paths_work_too(variables):
    for step in (1, 2, 3):
        checkpoints.save("ram://remote/run", step, variables, keep=2)
    newest = checkpoints.latest("ram://remote/run")
    assert newest == "ram://remote/run/model.ckpt-3"
    variables["a"].assign([0.0, 0.0])
    checkpoints.load(variables, newest)
    np.testing.assert_array_equal(variables["a"], [1.0, 2.0])


def test_full_disk_leaves_the_old_checkpoint(tmp_path, variables):
    old = checkpoints.save(tmp_path, 1, variables)
    before = sorted(path.name for path in tmp_path.iterdir())
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(InputError, match=r"model\.ckpt-2 could not be"):
            checkpoints.save(tmp_path, 2, {"a": np.zeros(10**6)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert checkpoints.latest(tmp_path) == old
    assert sorted(path.name for path in tmp_path.iterdir()) == before


# The newest whole checkpoint.


@pytest.fixture
def run(tmp_path, variables):
    """A folder with checkpoints of the steps 1, 2 and 3."""
    for step in (1, 2, 3):
        checkpoints.save(tmp_path / "run", step, variables)
    return tmp_path / "run"


def latest_step(folder):
    return int(checkpoints.latest(folder).rpartition("-")[2])


def test_latest_of_no_training_is_none(tmp_path):
    assert checkpoints.latest(tmp_path) is None
    assert checkpoints.latest(tmp_path / "nowhere") is None
    assert checkpoints.latest(CHECKPOINTS / "tiny") is None


@pytest.mark.parametrize("damage", ["no index", "no data", "cut", "bad index"])
def test_latest_goes_back_to_an_older_whole_one(run, damage, caplog):
    index, data = run / "model.ckpt-3.index", run / f"model.ckpt-3{DATA}"
    if damage == "no index":
        index.unlink()
    elif damage == "no data":
        data.unlink()
    elif damage == "cut":
        os.truncate(data, 20)
    else:
        os.truncate(index, 20)
    assert latest_step(run) == 2
    assert "model.ckpt-3" in caplog.text
    assert "Going back" in caplog.text


def test_latest_never_starts_anew_where_nothing_is_whole(run):
    for data in run.glob("*.data*"):
        data.unlink()
    with pytest.raises(
        InputError, match=r"3 checkpoint.*none is whole.*ckpt-1"
    ):
        checkpoints.latest(run)
    with pytest.raises(InputError, match=r"5 checkpoint.*14599\.data"):
        checkpoints.latest(CHECKPOINTS / "trained_squad")


@pytest.mark.parametrize("text", ["", "no such format", "\xff\xfe"])
def test_unreadable_state_file_is_an_error(run, text):
    (run / "checkpoint").write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match=r"run/checkpoint must name"):
        checkpoints.latest(run)


def test_without_a_state_file_the_largest_step_counts(run, variables, caplog):
    checkpoints.save(run, 10, variables)
    (run / "checkpoint").unlink()
    assert latest_step(run) == 10
    assert "no `checkpoint` file" in caplog.text


def test_a_moved_folder_finds_its_own_checkpoints(run, tmp_path):
    state = (run / "checkpoint").read_text()
    (run / "checkpoint").write_text(state.replace('"model', f'"{run}/model'))
    moved = pathlib.Path(shutil.copytree(run, tmp_path / "moved"))
    assert checkpoints.latest(moved) == str(moved / "model.ckpt-3")


def test_a_state_file_set_back_by_hand_is_obeyed(run):
    state = (run / "checkpoint").read_text()
    back = state.replace('h: "model.ckpt-3"', 'h: "model.ckpt-2"', 1)
    (run / "checkpoint").write_text(back)
    assert latest_step(run) == 2
    (run / "model.ckpt-2.index").unlink()
    assert latest_step(run) == 1  # Not 3, which is newer.


# Killed while writing.


class Killed(BaseException):
    """Nothing catches it, as nothing catches a kill -9."""


def kill_at(monkeypatch, operation):
    """Dies before the given one of all operations that change files."""
    left = [operation]

    def dying(function):
        def wrapper(*args, **kwargs):
            left[0] -= 1
            if left[0] < 0:
                raise Killed
            return function(*args, **kwargs)

        return wrapper

    for owner, name in (
        (tf.raw_ops, "SaveV2"),
        (tf.io.gfile, "rename"),
        (tf.io.gfile, "remove"),
        (os, "link"),
        (os, "fsync"),
    ):
        monkeypatch.setattr(owner, name, dying(getattr(owner, name)))


def read_all(path):
    """The one value that all tensors of a checkpoint have."""
    values = {"a": tf.Variable(tf.zeros(8)), "b": tf.Variable(tf.zeros(8))}
    checkpoints.load(values, path, expect=values)
    assert len(set(np.concatenate(list(values.values())))) == 1
    return float(values["a"][0])


def all_equal_to(value):
    return {name: np.full(8, value, np.float32) for name in ("a", "b")}


def die_everywhere(monkeypatch, work):
    """Yields after a death before each of the operations of `work`."""
    for operation in itertools.count():
        with monkeypatch.context() as patch:
            kill_at(patch, operation)
            try:
                work()
                return
            except Killed:
                pass
        yield operation


def test_killed_overwriting_leaves_the_old_or_the_new(tmp_path, monkeypatch):
    prefix, seen = tmp_path / "c", []
    checkpoints.write(prefix, all_equal_to(1))
    for _ in die_everywhere(
        monkeypatch, lambda: checkpoints.write(prefix, all_equal_to(2))
    ):
        seen.append(read_all(prefix))
        assert read_all(tmp_path) == seen[-1]
        checkpoints.write(prefix, all_equal_to(1))
        names = sorted(path.name for path in tmp_path.iterdir())
        assert names == [f"c{DATA}", "c.index"]
    assert set(seen) == {1, 2}
    assert seen == sorted(seen)
    assert len(seen) > 10


def test_killed_twice_overwriting_leaves_a_whole_one(tmp_path, monkeypatch):
    prefix = tmp_path / "c"
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    deaths = 0
    for first in range(0, 18, 3):
        checkpoints.write(prefix, all_equal_to(1))
        for _ in die_everywhere(
            monkeypatch, lambda: checkpoints.write(prefix, all_equal_to(2))
        ):
            deaths += 1
            assert read_all(prefix) in (1, 2, 3)
            with monkeypatch.context() as patch:
                kill_at(patch, first)
                with contextlib.suppress(Killed):
                    checkpoints.write(prefix, all_equal_to(3))
            assert read_all(prefix) in (1, 2, 3)
    assert deaths > 60


def test_killed_saving_leaves_a_folder_that_goes_on(tmp_path, monkeypatch):
    seen = []
    for operation in itertools.count():
        folder = tmp_path / str(operation)
        checkpoints.save(folder, 1, all_equal_to(1))
        with monkeypatch.context() as patch:
            kill_at(patch, operation)
            try:
                checkpoints.save(folder, 2, all_equal_to(2), keep=1)
                break
            except Killed:
                pass
        seen.append(read_all(folder))
        assert latest_step(folder) == seen[-1]
        checkpoints.save(folder, 3, all_equal_to(3), keep=1)
        left = {path.name for path in folder.iterdir()}
        assert not [name for name in left if "unfinished" in name]
        assert not [name for name in left if "replacement" in name]
        assert {"checkpoint", "model.ckpt-3.index"} < left
        assert latest_step(folder) == 3
    assert set(seen) == {1, 2}
    assert len(seen) > 15


@pytest.mark.slow
def test_kill_9_twenty_times_always_leaves_a_whole_checkpoint(tmp_path):
    script = GOLDEN / "checkpoints/kill_saving.py"
    done = subprocess.run(
        [sys.executable, script, tmp_path / "run", "20"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    steps = [int(line) for line in done.stdout.split()]
    assert len(steps) == 20
    assert steps == sorted(steps)
    assert steps[-1] > 20


# What lies beside.


def test_config_that_does_not_fit_names_keys_values_and_files(micro):
    config = BertConfig.from_json_file(micro / "bert_config.json")
    checkpoints.check_config(config, micro)
    for key, stored in (
        ("vocab_size", 200),
        ("hidden_size", 32),
        ("type_vocab_size", 2),
        ("max_position_embeddings", 48),
        ("num_hidden_layers", 2),
        ("intermediate_size", 64),
    ):
        for wrong in (stored - 1, 2 * stored):
            other = BertConfig.from_dict(config.to_dict())
            setattr(other, key, wrong)
            with pytest.raises(
                InputError,
                match=rf"my\.json does not fit .*m/bert_model\.ckpt: {key}="
                rf"{wrong} where the checkpoint has {stored}\.",
            ):
                checkpoints.check_config(other, micro, "my.json")


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("", 0),
        ("a", 1),
        ("a\n", 1),
        ("a\n\n", 2),
        ("a\r\nb", 2),
        ("a\u2028b\x0b\n", 1),
    ],
)
def test_vocabulary_lines_are_counted_as_the_tokenizer_does(
    tmp_path, text, lines
):
    path = tmp_path / "vocab.txt"
    path.write_bytes(text.encode())
    checkpoints.check_vocab(lines, path)
    with pytest.raises(InputError, match=f"{lines} lines.*no embedding"):
        checkpoints.check_vocab(lines - 1, path, "c.json")
    with pytest.raises(
        InputError, match=f"of c.json, {lines + 1}.*stand for no token"
    ):
        checkpoints.check_vocab(lines + 1, path, "c.json")


def test_missing_vocabulary_is_named(tmp_path):
    with pytest.raises(InputError, match=r"cannot be read: .*vocab\.txt"):
        checkpoints.check_vocab(5, tmp_path / "vocab.txt")
