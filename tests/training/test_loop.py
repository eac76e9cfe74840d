"""The loop, on a model small enough to train a hundred times."""

import io
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import threading

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers.golden import read_scalars
from keras import ops

from bert_tf import (
    checkpoints,
    heads,
    layers,
    models,
)
from bert_tf.errors import InputError, Interrupted
from bert_tf.modeling import BertConfig
from bert_tf.training import evaluation as training_evaluation
from bert_tf.training import loop, prediction
from bert_tf.training import settings as training_settings
from bert_tf.training import start as training_start

INIT_LR = 0.01


def small_model(dropout=0.5):
    x = keras.Input((4,), name="x")
    hidden = keras.layers.Dense(8, activation="tanh", name="hidden")(x)
    hidden = keras.layers.Dropout(dropout)(hidden)
    y = keras.layers.Dense(1, name="out")(hidden)
    return keras.Model({"x": x}, {"y": y})


def squared_error(outputs, batch, totals=None):
    y = ops.cast(outputs["y"][:, 0], "float32")
    return ops.mean(ops.square(y - batch["target"]))


def batches_from(step, poison=lambda number, batch: batch):
    """An endless stream; a batch depends on nothing but its number."""

    def make(number):
        x = tf.random.stateless_normal((8, 4), [7, number])
        batch = {"x": x, "target": tf.reduce_sum(x, 1), "number": number}
        return poison(number, batch)

    return tf.data.Dataset.range(step, 10**9).map(make)


def train(
    folder,
    num_train_steps,
    loss_fn=squared_error,
    make_dataset=batches_from,
    learning_rate=INIT_LR,
    dropout=0.5,
    seed=1,
    precision="float32",
    evaluation=None,
    **settings,
):
    """What an entry point does: seed, starting point, model, training."""
    training_start.set_seed(seed)
    start = training_start.find_starting_point(str(folder))
    with layers.precision(precision):
        model = small_model(dropout)
    if start.prefix:
        checkpoints.load(checkpoints.named_weights(model), start.prefix)
    loop.train(
        model,
        loss_fn,
        make_dataset,
        start,
        training_settings.TrainingSettings(
            output_dir=str(folder),
            num_train_steps=num_train_steps,
            learning_rate=learning_rate,
            num_warmup_steps=2,
            batch_size=8,
            **settings,
        ),
        evaluation=evaluation and evaluation.settings,
        evaluate=evaluation and evaluation(model),
    )
    return contents(training_start.find_starting_point(str(folder)).prefix)


def contents(prefix):
    """All arrays of a checkpoint, as TensorFlow itself reads them."""
    reader = tf.train.load_checkpoint(str(prefix))
    return {
        name: reader.get_tensor(name)
        for name in reader.get_variable_to_shape_map()
    }


def assert_same(got, want):
    assert got.keys() == want.keys()
    for name in want:
        np.testing.assert_array_equal(got[name], want[name], err_msg=name)


def sending(number, at_step):
    """The loss, with a signal to this process while a step is computed."""

    def kill(step):
        if step == at_step:
            os.kill(os.getpid(), number)
        return np.float32(0)

    def loss_fn(outputs, batch, totals):
        nothing = tf.numpy_function(kill, [batch["number"]], tf.float32)
        return squared_error(outputs, batch) + tf.ensure_shape(nothing, ())

    return loss_fn


def saved_steps(folder):
    return sorted(
        int(path.stem.rpartition("-")[2])
        for path in folder.glob("model.ckpt-*.index")
    )


@pytest.fixture
def log(caplog):
    caplog.set_level(logging.INFO, logger="absl")
    return caplog


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """What 12 steps come to, when nothing happens on the way."""
    return train(tmp_path_factory.mktemp("undisturbed"), 12)


# ---------------------------------------------------------------- checkpoints


def test_saves_at_0_every_so_many_steps_and_at_the_end(tmp_path):
    train(tmp_path, 5, save_checkpoints_steps=2)

    assert saved_steps(tmp_path) == [0, 2, 4, 5]
    for step in (0, 2, 4, 5):
        prefix = tmp_path / f"model.ckpt-{step}"
        assert contents(prefix)["global_step"] == step


def test_keeps_the_five_newest_checkpoints(tmp_path):
    train(tmp_path, 15, save_checkpoints_steps=2)

    assert saved_steps(tmp_path) == [8, 10, 12, 14, 15]
    state = tf.train.get_checkpoint_state(str(tmp_path))
    assert state.model_checkpoint_path == str(tmp_path / "model.ckpt-15")
    assert state.all_model_checkpoint_paths == [
        str(tmp_path / f"model.ckpt-{step}") for step in (8, 10, 12, 14, 15)
    ]


def test_keeps_as_many_as_it_is_told(tmp_path):
    train(tmp_path, 7, save_checkpoints_steps=2, keep_checkpoints=2)
    assert saved_steps(tmp_path) == [6, 7]


def test_a_checkpoint_has_weights_slots_and_the_step(tmp_path):
    names = train(tmp_path, 1).keys()

    weights = {"hidden/kernel", "hidden/bias", "out/kernel", "out/bias"}
    slots = {f"{name}/adam_{k}" for name in weights for k in "mv"}
    assert names == weights | slots | {"global_step"}


# --------------------------------------------------------------------- resume


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_ended_by_a_signal_goes_on_as_if_undisturbed(
    tmp_path, undisturbed, number, log
):
    with pytest.raises(Interrupted) as stop:
        train(tmp_path, 12, sending(number, at_step=4), steps_per_call=2)
    assert stop.value.signal_number == number
    assert signal.Signals(number).name in str(stop.value)
    (interrupted_at,) = set(saved_steps(tmp_path)) - {0}
    assert interrupted_at in (5, 6)  # The end of the call that it came in.
    assert f"at step {interrupted_at}" in str(stop.value)

    final = train(tmp_path, 12)

    assert f"ckpt-{interrupted_at} (step {interrupted_at})" in log.text
    assert_same(final, undisturbed)


def test_handlers_of_signals_are_put_back(tmp_path):
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    train(tmp_path, 1)
    after = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    assert after == before


def test_trains_outside_of_the_main_thread(tmp_path):
    thread = threading.Thread(target=train, args=(tmp_path, 1))
    thread.start()
    thread.join()
    assert saved_steps(tmp_path) == [0, 1]


def test_goes_on_from_an_older_checkpoint_if_the_newest_is_cut_off(
    tmp_path, undisturbed, log
):
    train(tmp_path, 12, save_checkpoints_steps=5)
    (tmp_path / "model.ckpt-12.data-00000-of-00001").write_bytes(b"short")

    final = train(tmp_path, 12)

    assert "model.ckpt-12" in log.text
    assert "Resuming from" in log.text and "(step 10)" in log.text
    assert_same(final, undisturbed)


def test_slots_that_a_checkpoint_lacks_start_at_0_and_are_told(tmp_path, log):
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
    # One step lets 0.9 of m stay, and adds 0.001 of a clipped square to v = 0.
    for name, v in final.items():
        if name.endswith("/adam_v"):
            assert v.max() <= 0.001


def test_a_folder_of_another_model_is_not_continued(tmp_path, data):
    micro = str(data / "checkpoints" / "micro" / "bert_model.ckpt")
    tf.compat.v1.train.update_checkpoint_state(str(tmp_path), micro)
    start = training_start.find_starting_point(str(tmp_path))
    assert (start.prefix, start.resumed, start.step) == (micro, True, 0)
    with pytest.raises(
        InputError, match=r"lacks output_weights, output_bias.*--output_dir"
    ):
        micro_classifier(data, start)


def test_nothing_is_trained_where_the_last_step_is_reached(tmp_path, log):
    before = train(tmp_path, 3)

    assert_same(train(tmp_path, 3), before)
    assert "Nothing to train: step 3 of 3 is already reached" in log.text
    assert_same(train(tmp_path, 2), before)
    assert "Nothing to train: step 3 of 2 is already reached" in log.text


def test_the_initial_checkpoint_does_not_count_in_a_folder_that_has_one(
    tmp_path, data, log
):
    train(tmp_path, 1)
    micro = str(data / "checkpoints" / "micro" / "bert_model.ckpt")

    start = training_start.find_starting_point(str(tmp_path), micro)

    own = str(tmp_path / "model.ckpt-1")
    assert (start.prefix, start.resumed, start.step) == (own, True, 1)
    assert f"--init_checkpoint={micro} is without effect" in log.text


def test_an_initial_checkpoint_starts_at_step_0(tmp_path, data):
    folder = data / "run_classifier" / "micro_after_1"
    start = training_start.find_starting_point(str(tmp_path), str(folder))
    prefix = str(folder / "model.ckpt-1")
    assert (start.prefix, start.resumed, start.step) == (prefix, False, 0)


# ------------------------------------------------------------ the same numbers


@pytest.mark.parametrize("steps_per_call", [1, 5])
def test_steps_per_call_do_not_change_the_numbers(
    tmp_path, undisturbed, steps_per_call
):
    assert_same(train(tmp_path, 12, steps_per_call=steps_per_call), undisturbed)


def test_compiled_steps_give_the_numbers_and_resume_too(tmp_path):
    plain = train(tmp_path / "plain", 6, dropout=0.0)
    compiled = train(tmp_path / "compiled", 6, dropout=0.0, jit_compile=True)
    for name in plain:
        np.testing.assert_allclose(
            compiled[name], plain[name], atol=1e-6, err_msg=name
        )

    settings = {"jit_compile": True, "save_checkpoints_steps": 3}
    whole = train(tmp_path / "whole", 6, **settings)
    shutil.copytree(tmp_path / "whole", tmp_path / "half")
    for path in (tmp_path / "half").glob("model.ckpt-6*"):
        path.unlink()
    half = train(tmp_path / "half", 6, **settings)
    assert_same(half, whole)


def test_dropout_is_at_work_while_training(tmp_path):
    train(tmp_path, 1, dropout=1 - 1e-9)

    # Nothing gets through but a bias of 0, so that every answer is 0.
    target = next(batches_from(0).as_numpy_iterator())["target"]
    want = np.mean(target**2)
    np.testing.assert_allclose(
        read_scalars(tmp_path)["loss"][1], want, rtol=1e-5
    )


def test_another_seed_gives_other_numbers(tmp_path, undisturbed):
    final = train(tmp_path, 12, seed=2)
    assert np.abs(final["out/kernel"] - undisturbed["out/kernel"]).max() > 1e-3


def test_a_seed_that_is_drawn_is_logged_and_repeats_the_run(log):
    seed = training_start.set_seed(None)
    first = keras.random.uniform((3,))
    assert f"--seed={seed} repeats this run" in log.text

    training_start.set_seed(seed)
    np.testing.assert_array_equal(keras.random.uniform((3,)), first)


def micro_classifier(data, start):
    """The model of the golden trajectory, which was made without dropout."""
    config = BertConfig.from_json_file(
        str(data / "checkpoints" / "micro" / "bert_config.json")
    )
    config.hidden_dropout_prob = config.attention_probs_dropout_prob = 0.0
    model = training_start.build_model(
        lambda: models.classifier(config, 3), config, start
    )
    model.get_layer("classifier").dropout.rate = 0.0
    return model


def test_weights_are_read_while_the_model_is_built(data, monkeypatch):
    building, begun = threading.Event(), threading.Event()
    restore = checkpoints.CheckpointReader._restore

    def noted(reader, names):
        begun.set()
        assert building.wait(timeout=60)
        return restore(reader, names)

    monkeypatch.setattr(checkpoints.CheckpointReader, "_restore", noted)
    start = training_start.find_starting_point(
        "", str(data / "checkpoints" / "micro")
    )
    config = BertConfig.from_json_file(
        str(data / "checkpoints" / "micro" / "bert_config.json")
    )

    def build():
        building.set()
        assert begun.wait(timeout=60)
        return models.pretraining(config)

    model = training_start.build_model(build, config, start)

    weight = checkpoints.named_weights(model)["bert/pooler/dense/bias"]
    want = checkpoints.CheckpointReader(start.prefix).tensor(weight.path)
    np.testing.assert_array_equal(weight, want)


def train_on_golden_batches(data, folder, model, start):
    stored = np.load(data / "optim" / "micro_classifier_batches.npz")
    count = len({key[:2] for key in stored.files})
    golden = {
        name: np.stack([stored[f"{i:02}/{name}"] for i in range(count)])
        for name in ("input_ids", "input_mask", "segment_ids", "label_ids")
    }
    loop.train(
        model,
        lambda out, batch, totals: heads.classification_loss(
            out["logits"], batch["label_ids"]
        )[0],
        lambda step: (
            tf.data.Dataset.from_tensor_slices(golden).repeat().skip(step)
        ),
        start,
        training_settings.TrainingSettings(
            output_dir=str(folder),
            num_train_steps=10,
            learning_rate=0.001,
            num_warmup_steps=2,
            batch_size=4,
            steps_per_call=1,
        ),
    )


def assert_on_the_original_trajectory(data, folder, first_step):
    golden = np.load(data / "optim" / "micro_classifier3.npz")
    events = read_scalars(folder)
    for step in range(first_step, 10):
        for tag, key, noise in (
            ("loss", "loss", 6e-6),
            ("learning_rate", "learning_rate", 1e-10),
            ("gradient_norm", "grad_global_norm", 1e-4),
        ):
            want = golden[f"per_step/{key}"][step]
            assert abs(events[tag][step + 1] - want) < 2 * noise, (tag, step)
    final = contents(folder / "model.ckpt-10")
    names = [key for key in golden.files if key.startswith("after_10/")]
    assert len(names) > 100
    for name in names:
        np.testing.assert_allclose(
            final[name.removeprefix("after_10/")],
            golden[name],
            rtol=1e-5,
            atol=2 * 1.5e-5,
            err_msg=name,
        )


def test_a_folder_of_the_original_is_continued_with_its_step_and_slots(
    tmp_path, data
):
    for file in (data / "run_classifier" / "micro_after_1").iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    start = training_start.find_starting_point(str(tmp_path))
    assert start.step == 1

    train_on_golden_batches(
        data, tmp_path, micro_classifier(data, start), start
    )

    assert_on_the_original_trajectory(data, tmp_path, first_step=1)


@pytest.mark.slow
def test_the_loop_follows_the_original_from_step_0(tmp_path, data):
    micro = data / "checkpoints" / "micro" / "bert_model.ckpt"
    start = training_start.find_starting_point(str(tmp_path), str(micro))
    model = micro_classifier(data, start)
    golden = np.load(data / "optim" / "micro_classifier3.npz")
    for name in ("output_weights", "output_bias"):
        variable = checkpoints.named_weights(model)[name]
        variable.assign(golden[f"head_init/{name}"])

    train_on_golden_batches(data, tmp_path, model, start)

    assert_on_the_original_trajectory(data, tmp_path, first_step=0)


# ------------------------------------------------------------------ evaluation


class Scores:
    """Evaluates with scores that are known beforehand, by the model's step."""

    def __init__(self, scores, every_steps=2, **settings):
        self.scores = scores
        self.settings = training_settings.EvaluationSettings(
            every_steps, **settings
        )
        self.looked_at = []

    def __call__(self, model):
        def evaluate():
            self.looked_at.append(model.get_weights())
            return {"score": self.scores[len(self.looked_at) - 1], "loss": 0.5}

        return evaluate


def test_evaluates_every_so_many_steps_and_at_the_end(tmp_path, log):
    scores = Scores([0.25, 0.5, 0.125])

    train(tmp_path, 5, evaluation=scores, save_checkpoints_steps=3)

    # Each is saved first.
    assert saved_steps(tmp_path) == [0, 2, 3, 4, 5]
    for weights, step in zip(scores.looked_at, (2, 4, 5), strict=True):
        saved = contents(tmp_path / f"model.ckpt-{step}")
        assert np.array_equal(weights[0], saved["hidden/kernel"])
    assert read_scalars(tmp_path / "eval")["score"] == {
        2: 0.25,
        4: 0.5,
        5: 0.125,
    }
    assert "Evaluated step 4: score 0.5  loss 0.5" in log.text
    assert not (tmp_path / "best").exists()


def test_evaluation_does_not_change_the_numbers(tmp_path, undisturbed):
    model = train(tmp_path, 12, evaluation=Scores([0.0] * 4, every_steps=3))
    assert_same(model, undisturbed)


def test_the_best_checkpoint_is_kept_with_what_belongs_to_it(tmp_path, log):
    (tmp_path / "labels.txt").write_text("yes\nno\n")

    train(tmp_path, 6, evaluation=Scores([0.5, 0.75, 0.25], metric="score"))

    best = tmp_path / "best"
    assert saved_steps(best) == [4]
    saved, kept = contents(tmp_path / "model.ckpt-4"), contents(best)
    assert kept.keys() == {n for n in saved if "adam" not in n}
    assert_same(kept, {name: saved[name] for name in kept})
    assert (best / "labels.txt").read_text() == "yes\nno\n"
    assert "So far the best score is 0.75, of step 4; 1 evaluation" in log.text

    model = small_model()
    assert training_evaluation.load_best(model, str(tmp_path)) == 4
    np.testing.assert_array_equal(
        model.get_weights()[0], saved["hidden/kernel"]
    )
    assert training_evaluation.load_best(model, str(tmp_path / "eval")) is None


def test_training_stops_when_it_gets_no_better_and_stays_so(tmp_path, log):
    scores = [0.5, 0.75, 0.5, 0.75, 0.9]
    settings = {"metric": "score", "patience": 2}

    train(tmp_path, 12, evaluation=Scores(scores, **settings))

    assert saved_steps(tmp_path)[-1] == 8
    want = "Stopped at step 8: the best score is 0.75, of step 4; 2 evaluations"
    assert want in log.text
    again = Scores([], **settings)
    train(tmp_path, 12, evaluation=again)
    assert "Nothing to train: the best score is 0.75" in log.text
    assert not again.looked_at and saved_steps(tmp_path)[-1] == 8


@pytest.mark.parametrize("killed_at", [4, 6])
def test_a_run_killed_while_it_evaluates_goes_on_with_that(
    tmp_path, undisturbed, killed_at
):
    class Killed(Exception):
        pass

    class Dying(Scores):
        def __call__(self, model):
            get_results = super().__call__(model)

            def evaluate():
                results = get_results()
                if len(self.looked_at) == killed_at // 2:
                    raise Killed
                return results

            return evaluate

    values = [0.5, 0.75, 0.6, 0.7, 0.65, 0.1]
    with pytest.raises(Killed):
        train(tmp_path, 12, evaluation=Dying(values, metric="score"))
    assert saved_steps(tmp_path)[-1] == killed_at

    after = Scores(values[killed_at // 2 - 1 :], metric="score")
    final = train(tmp_path, 12, evaluation=after)

    assert_same(final, undisturbed)
    assert len(after.looked_at) == 7 - killed_at // 2
    assert saved_steps(tmp_path / "best") == [4]
    kept = json.loads((tmp_path / "evaluations.json").read_text())
    assert kept["values"] == dict(zip(("2", "4", "6", "8", "10", "12"), values))


def test_a_run_killed_at_its_last_evaluation_makes_up_for_it(tmp_path):
    train(tmp_path, 4, evaluation=Scores([0.5, 0.75], metric="score"))
    path = tmp_path / "evaluations.json"
    kept = json.loads(path.read_text())
    del kept["values"]["4"]
    kept["best"] = {"step": 2, "value": 0.5}
    path.write_text(json.dumps(kept))
    shutil.rmtree(tmp_path / "best")

    train(tmp_path, 4, evaluation=Scores([0.75], metric="score"))

    assert saved_steps(tmp_path / "best") == [4]
    assert json.loads(path.read_text())["best"] == {"step": 4, "value": 0.75}


# ----------------------------------------------------------------- in 16 bits


def far_away(step):
    """Targets so large that gradients times 2 ** 15 leave float16's range."""

    def move(number, batch):
        return {**batch, "target": 100.0 + batch["target"]}

    return batches_from(step, move)


def test_steps_too_large_for_float16_are_skipped_told_and_counted(
    tmp_path, log
):
    final = train(
        tmp_path,
        12,
        make_dataset=far_away,
        precision="mixed_float16",
        dropout=0.0,
        save_checkpoints_steps=1,
        keep_checkpoints=20,
    )

    skipped = int(final["skipped_steps"])
    assert 3 < skipped < 10
    assert final["loss_scale"] == 2.0**15 / 2**skipped
    assert final["good_steps"] == 12 - skipped
    assert f"Step {skipped - 1} is skipped" in log.text
    assert f"Step {skipped} is skipped" not in log.text
    assert f"{skipped} of 12 steps were skipped" in log.text
    before = contents(tmp_path / "model.ckpt-0")
    still = contents(tmp_path / f"model.ckpt-{skipped}")
    after = contents(tmp_path / f"model.ckpt-{skipped + 1}")
    counters = {"global_step", "loss_scale", "good_steps", "skipped_steps"}
    names = before.keys() - counters
    assert_same({n: still[n] for n in names}, {n: before[n] for n in names})
    assert {array.dtype for name, array in final.items() if name in names} == {
        np.dtype("float32")
    }
    # The first good gradient is scaled down, clipped to a norm of 1, and then
    # a tenth of it is in m.
    m = [after[name] for name in names if name.endswith("/adam_m")]
    norm = np.sqrt(sum(np.square(x).sum() for x in m))
    assert norm == pytest.approx(0.1, rel=1e-3)
    assert all((after[n] != before[n]).any() for n in names if "adam" in n)


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_resumes_and_its_checkpoints_fit_float32(
    tmp_path, precision
):
    settings = {"make_dataset": far_away, "save_checkpoints_steps": 6}
    whole = train(tmp_path / "whole", 12, precision=precision, **settings)
    shutil.copytree(tmp_path / "whole", tmp_path / "half")
    for path in (tmp_path / "half").glob("model.ckpt-12*"):
        path.unlink()
    shutil.copytree(tmp_path / "half", tmp_path / "float32")

    half = train(tmp_path / "half", 12, precision=precision, **settings)
    float32 = train(tmp_path / "float32", 12, **settings)

    assert_same(half, whole)
    assert float32.keys() == whole.keys() - {
        "loss_scale",
        "good_steps",
        "skipped_steps",
    }


def test_a_loss_that_is_nan_is_not_skipped(tmp_path):
    def poison(number, batch):
        return {**batch, "target": batch["target"] + np.nan}

    with pytest.raises(InputError, match="step 0: the loss is nan"):
        train(
            tmp_path,
            3,
            make_dataset=lambda step: batches_from(step, poison),
            precision="mixed_float16",
        )


# ------------------------------------------------------------- what goes wrong


def test_a_loss_that_is_nan_stops_with_step_batch_and_advice(
    tmp_path, undisturbed
):
    def poison(number, batch):
        bad = tf.where(number == 7, np.nan, 0.0)
        return {**batch, "target": batch["target"] + bad}

    with pytest.raises(InputError) as error:
        train(
            tmp_path,
            12,
            make_dataset=lambda step: batches_from(step, poison),
            save_checkpoints_steps=5,
        )

    message = str(error.value)
    assert "step 7" in message and "loss is nan" in message
    assert "--learning_rate" in message
    assert saved_steps(tmp_path) == [0, 5]
    file = tmp_path / "not_finite_at_step_7.npz"
    assert str(file) in message
    batch = np.load(file)
    assert batch["number"] == 7 and np.isnan(batch["target"]).all()
    np.testing.assert_array_equal(
        batch["x"], tf.random.stateless_normal((8, 4), [7, 7])
    )
    # The checkpoint that is left is good to go on from.
    assert_same(train(tmp_path, 12), undisturbed)


def test_a_gradient_that_is_not_finite_stops_although_the_loss_is(tmp_path):
    def loss_fn(outputs, batch, totals):
        # The root of 0 has the slope 1 / 0.
        at_3 = tf.cast(batch["number"] == 3, tf.float32)
        root = tf.sqrt(tf.reduce_sum(outputs["y"] * 0.0))
        return squared_error(outputs, batch) + at_3 * root

    with pytest.raises(InputError, match=r"step 3.*gradients nan"):
        train(
            tmp_path,
            12,
            loss_fn=lambda outputs, batch, totals: tf.cond(
                batch["number"] == 3,
                lambda: loss_fn(outputs, batch, totals),
                lambda: squared_error(outputs, batch),
            ),
            save_checkpoints_steps=3,
        )

    assert saved_steps(tmp_path) == [0, 3]
    for array in contents(tmp_path / "model.ckpt-3").values():
        assert np.isfinite(array).all()


def test_weights_that_are_not_finite_are_never_saved(tmp_path):
    with pytest.raises(InputError, match=r"step [012].*--learning_rate"):
        train(
            tmp_path, 12, learning_rate=float("inf"), save_checkpoints_steps=1
        )

    newest = training_start.find_starting_point(str(tmp_path)).prefix
    for array in contents(newest).values():
        assert np.isfinite(array).all()


def test_initial_weights_that_are_not_finite_are_told_before_any_step(tmp_path):
    model = small_model()
    model.get_layer("out").bias.assign([np.nan])
    with pytest.raises(InputError) as error:
        loop.train(
            model,
            squared_error,
            batches_from,
            training_start.StartingPoint(None, resumed=False, step=0),
            training_settings.TrainingSettings(str(tmp_path), 3, INIT_LR, 0, 8),
        )
    assert "before step 0: 1 of 4 weights" in str(error.value)
    assert "out/bias" in str(error.value)
    assert "damaged initial checkpoint" in str(error.value)
    assert saved_steps(tmp_path) == []


# --------------------------------------------------------------- what is shown


def test_tensorboard_gets_the_rate_that_a_step_used(tmp_path):
    train(tmp_path, 12, steps_per_call=1)

    events = read_scalars(tmp_path)

    names = {"loss", "gradient_norm", "learning_rate", "global_step/sec"}
    assert events.keys() == names
    # The rates of steps 0 to 11; the event of step 0 is named 1, done.
    rates = [0, INIT_LR / 2] + [INIT_LR * (1 - n / 12) for n in range(2, 12)]
    got = events["learning_rate"]
    assert list(got) == list(range(1, 13))
    np.testing.assert_allclose(list(got.values()), rates, rtol=1e-6)
    assert all(np.isfinite(v) for v in events["loss"].values())


def test_the_log_tells_step_loss_rate_speed_and_time_left(tmp_path, log):
    train(tmp_path, 4, steps_per_call=1)
    losses = read_scalars(tmp_path)["loss"]
    for step, rate in ((1, "0"), (2, "0.005"), (3, "0.005"), (4, "0.0025")):
        line = f"step {step}/4  loss {losses[step]:.4f}  learning rate {rate}  "
        assert line in log.text
    assert " examples/s  " in log.text and "0 s left" in log.text


def test_a_terminal_gets_one_line_that_changes(tmp_path, log, monkeypatch):
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", terminal)

    train(tmp_path, 3, steps_per_call=1)

    lines = terminal.getvalue().split("\r\x1b[2K")
    steps = [line.split("  ")[0] for line in lines if line]
    assert steps == ["step 1/3", "step 2/3", "step 3/3"]
    assert lines[-1] == ""  # Nothing of it is left at the end.
    assert "\n" not in terminal.getvalue()
    assert "step 1/3" not in log.text


def test_results_are_sorted_float32_lines_with_ours_at_the_end(tmp_path):
    training_evaluation.write_eval_results(
        str(tmp_path),
        {"loss": 1 / 3, "global_step": 30, "eval_loss": 1e-5},
        {"eval_f1": 0.5, "eval_a": 2.0},
    )

    assert (tmp_path / "eval_results.txt").read_text() == (
        "eval_loss = 1e-05\n"
        "global_step = 30\n"
        "loss = 0.33333334\n"
        "eval_a = 2.0\n"
        "eval_f1 = 0.5\n"
    )
    events = read_scalars(tmp_path / "eval")
    assert events["eval_f1"] == {30: 0.5} and events["eval_a"] == {30: 2.0}


# ------------------------------------------------------------------ prediction


@pytest.mark.parametrize("batch_size", [1, 5, 64])
def test_predicts_every_row_in_order_whatever_the_batch_size(batch_size):
    model = small_model()
    x = np.arange(12 * 4, dtype=np.float32).reshape(12, 4) / 50
    rows = {"x": x, "number": np.arange(12)}
    dataset = tf.data.Dataset.from_tensor_slices(rows).batch(batch_size)

    pairs = list(prediction.predict(model, dataset))

    numbers = np.concatenate([features["number"] for features, _ in pairs])
    np.testing.assert_array_equal(numbers, np.arange(12))
    sizes = [prediction.count_rows(pair) for pair in pairs]
    assert sizes[0] == min(batch_size, 12)
    assert sum(sizes) == 12
    kernel, bias, out, out_bias = map(np.array, model.weights)
    want = np.tanh(x @ kernel + bias) @ out + out_bias
    got = np.concatenate([outputs["y"] for _, outputs in pairs])
    np.testing.assert_allclose(got, want, atol=1e-6)


# ------------------------------------------------------------- several devices


@pytest.mark.slow
def test_two_devices_give_the_numbers_of_one_and_resume_too(tmp_path):
    # In a process of its own: devices can be split only before any is used.
    script = textwrap.dedent(
        """
        import pathlib, shutil, sys
        import keras
        import numpy as np
        import tensorflow as tf
        from bert_tf import checkpoints, layers
        from bert_tf.training import loop as training

        cpu = tf.config.list_physical_devices("CPU")[0]
        half = tf.config.LogicalDeviceConfiguration()
        tf.config.set_logical_device_configuration(cpu, [half, half])

        def build(dropout):
            # Most ids are 0 and pull the same way: summed, their rows are some
            # eight times as long as they are for the clipping.
            ids = keras.Input((6,), dtype="int32", name="ids")
            table = keras.layers.Embedding(9, 4, name="table")(ids)
            table = keras.layers.Dropout(dropout)(table)
            mean = keras.layers.GlobalAveragePooling1D()(table)
            y = keras.layers.Dense(1, use_bias=False, name="out")(mean)
            return keras.Model({"ids": ids}, {"y": y})

        def loss_fn(outputs, batch, totals):
            error = tf.cast(outputs["y"][:, 0], "float32") - batch["target"]
            total = totals["examples"] if totals else 16.0
            return 50 * tf.reduce_sum(tf.square(error)) / total

        rng = np.random.default_rng(1)
        rows = {
            "ids": rng.integers(0, 9, (64, 6)) * rng.integers(0, 2, (64, 6)),
            "target": rng.normal(size=64).astype(np.float32) + 2,
        }

        def make_dataset(step):
            dataset = tf.data.Dataset.from_tensor_slices(rows)
            return dataset.repeat().batch(16, True).skip(step)

        def run(folder, strategy, dropout=0.0, precision="float32"):
            training.set_seed(1)
            start = training.find_starting_point(folder)
            with strategy.scope(), layers.precision(precision):
                model = build(dropout)
            if start.prefix:
                checkpoints.load(checkpoints.named_weights(model), start.prefix)
            training.train(
                model, loss_fn, make_dataset, start,
                training.TrainingSettings(folder, 20, 0.05, 2, 16, 10),
                strategy,
            )
            few = tf.data.Dataset.from_tensor_slices(rows).take(10).batch(4)
            outputs = [
                out["y"] for _, out in training.predict(model, few, strategy)
            ]
            return np.concatenate(outputs), *map(np.array, model.weights)

        folder = pathlib.Path(sys.argv[1])
        one = run(f"{folder}/1", tf.distribute.get_strategy())
        both = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
        assert both.num_replicas_in_sync == 2
        two = run(f"{folder}/2", both)
        for a, b in zip(one, two):
            np.testing.assert_allclose(a, b, atol=1e-5)

        # Numbers of 16 bits, with steps that are skipped.
        half = [
            run(f"{folder}/{name}", strategy, precision="mixed_float16")
            for name, strategy in (
                ("half1", tf.distribute.get_strategy()), ("half2", both)
            )
        ]
        # A share of a batch has smaller gradients than the whole, and may
        # bear a scale that the whole does not: for one step, at most.
        skipped = [
            tf.train.load_variable(f"{folder}/{name}", "skipped_steps")
            for name in ("half1", "half2")
        ]
        assert 0 < skipped[1] <= skipped[0] <= skipped[1] + 1, skipped
        np.testing.assert_allclose(half[0][0], half[1][0], atol=0.15)
        before = tf.train.load_variable(
            f"{folder}/half2/model.ckpt-0", "out/kernel"
        )
        assert np.abs(half[1][-1] - before).max() > 0.01

        # The same with dropout, and again from the middle on.
        want = run(f"{folder}/3", both, dropout=0.5)
        (folder / "4").mkdir()
        for file in (folder / "3").glob("model.ckpt-10.*"):
            shutil.copy(file, folder / "4")
        tf.compat.v1.train.update_checkpoint_state(
            f"{folder}/4", "model.ckpt-10"
        )
        for a, b in zip(want, run(f"{folder}/4", both, dropout=0.5)):
            np.testing.assert_allclose(a, b, atol=1e-6)
        """
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    one, two = read_scalars(tmp_path / "1"), read_scalars(tmp_path / "2")
    for tag in ("loss", "gradient_norm"):
        for step, value in one[tag].items():
            if step in two[tag]:
                assert two[tag][step] == pytest.approx(value, abs=1e-4)
