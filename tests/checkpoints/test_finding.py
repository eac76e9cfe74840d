import os
import pathlib
import shutil

import pytest
import tensorflow as tf
from helpers.golden import CHECKPOINTS

from bert_tf import checkpoints
from bert_tf.checkpoints.names import DATA
from bert_tf.errors import InputError


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


def test_a_named_checkpoint_that_is_missing_is_said_to_be_missing(
    run, variables
):
    for file in run.glob("model.ckpt-*"):
        file.unlink()

    with pytest.raises(InputError, match=r"No checkpoint at .*ckpt-3.*needs"):
        checkpoints.latest(run)


def test_latest_passes_over_an_object_based_checkpoint(run, caplog):
    newest = run / "model.ckpt-3"
    written = tf.train.Checkpoint(x=tf.Variable(1.0)).write(str(newest))
    assert written == str(newest)

    assert latest_step(run) == 2
    assert "object-based" in caplog.text


@pytest.mark.parametrize("look", ["find", "latest", "CheckpointReader"])
def test_a_file_system_out_of_reach_is_named(look):
    with pytest.raises(InputError, match=r"nosuch://x/y cannot be reached"):
        getattr(checkpoints, look)("nosuch://x/y")
