"""Where a run starts: checkpoint, weights, optimizer state, seeds."""

import threading

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers.golden import MICRO, read_config
from helpers.small_training import micro_classifier, train

from bert_tf import checkpoints, models
from bert_tf.errors import InputError
from bert_tf.training.settings import (
    EvaluationSettings,
    ModelFiles,
    RunSettings,
    TrainingSettings,
)
from bert_tf.training.start import (
    build_model,
    find_starting_point,
    labels_file,
    model_folders,
    read_labels,
    set_seed,
)


def test_a_folder_of_another_model_is_not_resumed(tmp_path):
    micro = str(MICRO)
    tf.compat.v1.train.update_checkpoint_state(str(tmp_path), micro)
    start = find_starting_point(str(tmp_path))
    assert (start.prefix, start.resumed, start.step) == (micro, True, 0)
    with pytest.raises(
        InputError, match=r"lacks output_weights, output_bias.*--output_dir"
    ):
        micro_classifier(start)


def test_a_checkpoint_in_the_output_folder_overrides_the_initial_one(
    tmp_path, log
):
    train(tmp_path, 1)
    micro = str(MICRO)

    start = find_starting_point(str(tmp_path), micro)

    own = str(tmp_path / "model.ckpt-1")
    assert (start.prefix, start.resumed, start.step) == (own, True, 1)
    assert f"--init_checkpoint={micro} is without effect" in log.text


def test_an_initial_checkpoint_starts_at_step_0(tmp_path, data):
    folder = data / "run_classifier" / "micro_after_1"
    start = find_starting_point(str(tmp_path), str(folder))
    prefix = str(folder / "model.ckpt-1")
    assert (start.prefix, start.resumed, start.step) == (prefix, False, 0)


@pytest.mark.slow
def test_slots_missing_from_a_checkpoint_start_at_0_with_a_warning(
    tmp_path, log
):
    arrays = train(tmp_path, 2)
    kept = {k: v for k, v in arrays.items() if not k.endswith("/adam_v")}
    tf.raw_ops.SaveV2(
        prefix=str(tmp_path / "model.ckpt-2"),
        tensor_names=list(kept),
        shape_and_slices=[""] * len(kept),
        tensors=list(kept.values()),
    )

    final = train(tmp_path, 3)

    assert "model.ckpt-2 has no optimizer state for 4 of 8 slots" in log.text
    # One step adds 0.001 of a clipped square to v = 0.
    for name, v in final.items():
        if name.endswith("/adam_v"):
            assert v.max() <= 0.001


def test_weights_are_read_while_the_model_is_built(monkeypatch):
    building, begun = threading.Event(), threading.Event()
    restore = checkpoints.CheckpointReader._restore

    def noted(reader, names):
        begun.set()
        assert building.wait(timeout=60)
        return restore(reader, names)

    monkeypatch.setattr(checkpoints.CheckpointReader, "_restore", noted)
    start = find_starting_point("", str(MICRO.parent))
    config = read_config(MICRO.parent)

    def build():
        building.set()
        assert begun.wait(timeout=60)
        return models.pretraining(config)

    model = build_model(build, config, start)

    weight = checkpoints.named_weights(model)["bert/pooler/dense/bias"]
    want = checkpoints.CheckpointReader(start.prefix).tensor(weight.path)
    np.testing.assert_array_equal(weight, want)


def test_a_drawn_seed_is_logged_and_repeats_the_run(log):
    seed = set_seed(None)
    first = keras.random.uniform((3,))
    assert f"--seed={seed} repeats this run" in log.text

    set_seed(seed)
    np.testing.assert_array_equal(keras.random.uniform((3,)), first)


def test_files_of_the_best_model_come_first_then_the_newest_and_the_initial(
    tmp_path,
):
    run, initial = str(tmp_path / "run"), tmp_path / "initial"
    files = ModelFiles(str(initial / "model.ckpt"))
    training = TrainingSettings(run, 1, 1e-3, 0, 8)
    keeps = RunSettings(
        run, files, training, evaluation=EvaluationSettings(1, "eval_loss")
    )
    best = str(tmp_path / "run" / "best")
    assert model_folders(keeps) == [best, run, str(initial)]
    # A best checkpoint of an earlier run is not this one's.
    assert model_folders(RunSettings(run, files, training)) == [
        run,
        str(initial),
    ]

    for folder in (run, initial, best):
        tmp_path.joinpath(folder).mkdir()
    with pytest.raises(InputError, match=f"{run}/labels.txt"):
        read_labels(keeps)
    for name in ("initial", "run", "run/best"):
        path = tmp_path / name / "labels.txt"
        path.write_text(f"a\nof {name}\n")
        assert labels_file(keeps) == str(path)
        assert read_labels(keeps) == ("a", f"of {name}")
