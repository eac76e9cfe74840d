"""The loop, on a model small enough to train a hundred times."""

import functools
import os
import shutil
import signal
import textwrap
from typing import NamedTuple

import numpy as np
import pytest
import tensorflow as tf
from helpers import prepared
from helpers.golden import MICRO, read_scalars
from helpers.small_training import (
    assert_same,
    batches_from,
    contents,
    micro_classifier,
    saved_steps,
    squared_error,
    train,
)

from bert_tf import checkpoints, heads
from bert_tf.errors import InputError, Interrupted
from bert_tf.training import loop
from bert_tf.training.settings import TrainingSettings
from bert_tf.training.start import find_starting_point


def sending(number, at_step):
    """A loss that sends a signal to this process at one step."""

    def kill(step):
        if step == at_step:
            os.kill(os.getpid(), number)
        return np.float32(0)

    def loss_fn(outputs, batch, totals):
        nothing = tf.numpy_function(kill, [batch["number"]], tf.float32)
        return squared_error(outputs, batch) + tf.ensure_shape(nothing, ())

    return loss_fn


@pytest.mark.parametrize(("learning_rate", "count"), [(0.03, 0), (1e-12, 1)])
def test_a_training_that_learns_nothing_is_warned_of(
    tmp_path, log, learning_rate, count
):
    # The variance of a sum of four standard normal numbers.
    train(tmp_path, 60, learning_rate=learning_rate, chance=4.0)

    warnings = [one for one in log.messages if "--learning_rate" in one]
    assert len(warnings) == count


# ----------------------------------------------------------------- checkpoints


def test_saves_at_step_0_every_n_steps_and_at_the_end(tmp_path):
    train(tmp_path, 5, save_checkpoints_steps=2)

    assert saved_steps(tmp_path) == [0, 2, 4, 5]
    for step in (0, 2, 4, 5):
        prefix = tmp_path / f"model.ckpt-{step}"
        assert contents(prefix)["global_step"] == step


def test_a_training_from_a_checkpoint_writes_none_of_step_0(tmp_path):
    train(tmp_path / "first", 3)
    begin = str(tmp_path / "first" / "model.ckpt-3")

    train(tmp_path / "next", 4, init_checkpoint=begin, save_checkpoints_steps=2)

    assert saved_steps(tmp_path / "next") == [2, 4]


def test_a_run_that_ends_before_its_first_save_starts_over_with_its_numbers(
    tmp_path,
):
    train(tmp_path / "first", 3)
    given = {"init_checkpoint": str(tmp_path / "first" / "model.ckpt-3")}
    whole = train(tmp_path / "whole", 12, **given)

    def fail(number, batch):
        bad = tf.where(number == 7, np.nan, 0.0)
        return {**batch, "target": batch["target"] + bad}

    out = tmp_path / "out"
    with pytest.raises(InputError):
        make = functools.partial(batches_from, poison=fail)
        train(out, 12, make_dataset=make, **given)
    assert saved_steps(out) == []

    assert_same(train(out, 12, **given), whole)
    assert (out / "training.svg").read_text() == (
        tmp_path / "whole" / "training.svg"
    ).read_text()


def test_room_for_a_checkpoint_is_looked_for_before_the_first_step(
    tmp_path, monkeypatch
):
    train(tmp_path / "first", 3)
    begin = str(tmp_path / "first" / "model.ckpt-3")
    # 49 weights, each with m and v, of 4 bytes.
    monkeypatch.setattr("shutil.disk_usage", lambda _: Usage(587))

    with pytest.raises(InputError, match=r"588 bytes.* 587 left"):
        train(tmp_path / "next", 4, init_checkpoint=begin)

    assert saved_steps(tmp_path / "next") == []


class Usage(NamedTuple):
    free: int


def test_keeps_the_five_newest_checkpoints(tmp_path):
    train(tmp_path, 15, save_checkpoints_steps=2)

    assert saved_steps(tmp_path) == [8, 10, 12, 14, 15]
    state = tf.train.get_checkpoint_state(str(tmp_path))
    assert state.model_checkpoint_path == str(tmp_path / "model.ckpt-15")
    assert state.all_model_checkpoint_paths == [
        str(tmp_path / f"model.ckpt-{step}") for step in (8, 10, 12, 14, 15)
    ]


def test_keeps_the_number_of_checkpoints_asked_for(tmp_path):
    train(tmp_path, 7, save_checkpoints_steps=2, keep_checkpoints=2)
    assert saved_steps(tmp_path) == [6, 7]


def test_a_checkpoint_has_weights_slots_and_the_step(tmp_path):
    names = train(tmp_path, 1).keys()

    weights = {"hidden/kernel", "hidden/bias", "out/kernel", "out/bias"}
    slots = {f"{name}/adam_{k}" for name in weights for k in "mv"}
    assert names == weights | slots | {"global_step"}


# -------------------------------------------------------------------- resuming


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_stopped_by_a_signal_resumes_with_the_same_numbers(
    tmp_path, uninterrupted, number, log
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
    assert_same(final, uninterrupted)


@pytest.mark.slow
def test_resumes_from_an_older_checkpoint_if_the_newest_is_truncated(
    tmp_path, uninterrupted, log
):
    train(tmp_path, 12, save_checkpoints_steps=5)
    (tmp_path / "model.ckpt-12.data-00000-of-00001").write_bytes(b"short")

    final = train(tmp_path, 12)

    assert "model.ckpt-12" in log.text
    assert "Resuming from" in log.text and "(step 10)" in log.text
    assert_same(final, uninterrupted)


def test_nothing_is_trained_where_the_last_step_is_reached(tmp_path, log):
    before = train(tmp_path, 3)

    assert_same(train(tmp_path, 3), before)
    assert "Nothing to train: step 3 of 3 is already reached" in log.text
    assert_same(train(tmp_path, 2), before)
    assert "Nothing to train: step 3 of 2 is already reached" in log.text


# ------------------------------------------------------------ the same numbers


@pytest.mark.parametrize("steps_per_call", [1, 5])
def test_steps_per_call_do_not_change_the_numbers(
    tmp_path, uninterrupted, steps_per_call
):
    assert_same(
        train(tmp_path, 12, steps_per_call=steps_per_call), uninterrupted
    )


@pytest.mark.slow
def test_xla_gives_the_same_numbers_and_resumes(tmp_path):
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


def test_dropout_is_active_in_training(tmp_path):
    train(tmp_path, 1, dropout=1 - 1e-9)

    # Nothing gets through but a bias of 0, so that every answer is 0.
    target = next(batches_from(0).as_numpy_iterator())["target"]
    want = np.mean(target**2)
    np.testing.assert_allclose(
        read_scalars(tmp_path)["loss"][1], want, rtol=1e-5
    )


def test_another_seed_gives_other_numbers(tmp_path, uninterrupted):
    final = train(tmp_path, 12, seed=2)
    assert (
        np.abs(final["out/kernel"] - uninterrupted["out/kernel"]).max() > 1e-3
    )


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
        TrainingSettings(
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


@pytest.mark.slow
def test_a_folder_of_the_original_is_resumed_with_its_step_and_slots(
    tmp_path, data
):
    for file in (data / "run_classifier" / "micro_after_1").iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    start = find_starting_point(str(tmp_path))
    assert start.step == 1

    train_on_golden_batches(data, tmp_path, micro_classifier(start), start)

    assert_on_the_original_trajectory(data, tmp_path, first_step=1)


@pytest.mark.slow
def test_the_loop_follows_the_original_from_step_0(tmp_path, data):
    start = find_starting_point(str(tmp_path), str(MICRO))
    model = micro_classifier(start)
    golden = np.load(data / "optim" / "micro_classifier3.npz")
    for name in ("output_weights", "output_bias"):
        variable = checkpoints.named_weights(model)[name]
        variable.assign(golden[f"head_init/{name}"])

    train_on_golden_batches(data, tmp_path, model, start)

    assert_on_the_original_trajectory(data, tmp_path, first_step=0)


# ------------------------------------------------------------- mixed precision


def far_away(step):
    """Batches whose gradients overflow float16 at a scale of 2 ** 15."""

    def move(number, batch):
        return {**batch, "target": 100.0 + batch["target"]}

    return batches_from(step, move)


@pytest.mark.slow
def test_steps_that_overflow_float16_are_skipped_logged_and_counted(
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


@pytest.mark.slow
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


def test_a_nan_loss_is_not_skipped(tmp_path):
    def poison(number, batch):
        return {**batch, "target": batch["target"] + np.nan}

    with pytest.raises(InputError, match="step 0: the loss is nan"):
        train(
            tmp_path,
            3,
            make_dataset=lambda step: batches_from(step, poison),
            precision="mixed_float16",
        )


# ------------------------------------------------------------- several devices


@pytest.mark.slow
def test_two_devices_give_the_numbers_of_one_and_resume(tmp_path):
    # In a process of its own: devices can be split only before any is used.
    script = textwrap.dedent(
        """
        import pathlib, shutil, sys
        import keras
        import numpy as np
        import tensorflow as tf
        from bert_tf import checkpoints, layers
        from bert_tf.training import loop, prediction
        from bert_tf.training.settings import TrainingSettings
        from bert_tf.training.start import find_starting_point, set_seed

        cpu = tf.config.list_physical_devices("CPU")[0]
        half = tf.config.LogicalDeviceConfiguration()
        tf.config.set_logical_device_configuration(cpu, [half, half])

        def build(dropout):
            # Most ids are 0: the norm of their summed rows is some eight times
            # the norm that gradients are clipped by.
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
            set_seed(1)
            start = find_starting_point(folder)
            with strategy.scope(), layers.precision(precision):
                model = build(dropout)
            if start.prefix:
                checkpoints.load(checkpoints.named_weights(model), start.prefix)
            loop.train(
                model, loss_fn, make_dataset, start,
                TrainingSettings(folder, 20, 0.05, 2, 16, 10),
                strategy,
            )
            few = tf.data.Dataset.from_tensor_slices(rows).take(10).batch(4)
            outputs = [
                out["y"]
                for _, out in prediction.predict(model, few, strategy)
            ]
            return np.concatenate(outputs), *map(np.array, model.weights)

        folder = pathlib.Path(sys.argv[1])
        one = run(f"{folder}/1", tf.distribute.get_strategy())
        both = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
        assert both.num_replicas_in_sync == 2
        two = run(f"{folder}/2", both)
        for a, b in zip(one, two):
            np.testing.assert_allclose(a, b, atol=1e-5)

        # float16, with steps that are skipped.
        half = [
            run(f"{folder}/{name}", strategy, precision="mixed_float16")
            for name, strategy in (
                ("half1", tf.distribute.get_strategy()), ("half2", both)
            )
        ]
        # The gradients of a share are smaller than those of the whole batch:
        # they may overflow one step less.
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
    done = prepared.run(
        ["-c", script, tmp_path], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    one, two = read_scalars(tmp_path / "1"), read_scalars(tmp_path / "2")
    for tag in ("loss", "gradient_norm"):
        # Each value is a mean of the steps since the one before; which steps
        # have one depends on how fast they were.
        sums, others = sums_until(one[tag]), sums_until(two[tag])
        assert 20 in sums.keys() & others.keys()
        for step in sums.keys() & others.keys():
            # 1e-4 for each step.
            assert others[step] == pytest.approx(sums[step], abs=1e-4 * step)


def sums_until(means):
    """{step: sum of all steps} of {step: mean of the steps since the last}."""
    steps = sorted(means)
    counts = np.diff([0, *steps])
    sums = np.cumsum([means[step] for step in steps] * counts)
    return dict(zip(steps, sums))
