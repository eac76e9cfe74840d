"""What a run shows, its signals, and numbers that are not finite."""

import io
import math
import re
import signal
import sys
import threading

import numpy as np
import pytest
import tensorflow as tf
from helpers.golden import read_scalars
from helpers.small_training import (
    INIT_LR,
    Scores,
    assert_same,
    batches_from,
    contents,
    saved_steps,
    small_model,
    squared_error,
    train,
)

from bert_tf.errors import InputError
from bert_tf.training import curves, loop, monitor
from bert_tf.training.settings import TrainingSettings
from bert_tf.training.start import StartingPoint, find_starting_point

# --------------------------------------------------------------------- signals


def test_signal_handlers_are_restored(tmp_path):
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    train(tmp_path, 1)
    after = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    assert after == before


def test_trains_outside_the_main_thread(tmp_path):
    thread = threading.Thread(target=train, args=(tmp_path, 1))
    thread.start()
    thread.join()
    assert saved_steps(tmp_path) == [0, 1]


# ------------------------------------------------------------------ not finite


def test_a_nan_loss_stops_training_and_names_step_batch_and_advice(
    tmp_path, uninterrupted
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
    drawn = curves.read(str(tmp_path / curves.PICTURE))
    assert drawn.not_finite == drawn.last_step == 7
    assert batch["number"] == 7 and np.isnan(batch["target"]).all()
    np.testing.assert_array_equal(
        batch["x"], tf.random.stateless_normal((8, 4), [7, 7])
    )
    # The checkpoint that is left is good to go on from.
    assert_same(train(tmp_path, 12), uninterrupted)


def test_a_gradient_that_is_not_finite_stops_training(tmp_path):
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

    newest = find_starting_point(str(tmp_path)).prefix
    for array in contents(newest).values():
        assert np.isfinite(array).all()


def test_initial_weights_that_are_not_finite_are_reported_before_step_0(
    tmp_path,
):
    model = small_model()
    model.get_layer("out").bias.assign([np.nan])
    with pytest.raises(InputError) as error:
        loop.train(
            model,
            squared_error,
            batches_from,
            StartingPoint(None, resumed=False, step=0),
            TrainingSettings(str(tmp_path), 3, INIT_LR, 0, 8),
        )
    assert "before step 0: 1 of 4 weights" in str(error.value)
    assert "out/bias" in str(error.value)
    assert "damaged initial checkpoint" in str(error.value)
    assert saved_steps(tmp_path) == []


# -------------------------------------------------------------------- progress


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


def test_the_log_shows_step_loss_rate_speed_and_time_left(tmp_path, log):
    train(tmp_path, 4, steps_per_call=1)
    losses = read_scalars(tmp_path)["loss"]
    for step, rate in ((1, "0"), (2, "0.005"), (3, "0.005"), (4, "0.0025")):
        line = f"step {step}/4  loss {losses[step]:.4f}  learning rate {rate}"
        (rest,) = (x.removeprefix(line) for x in log.messages if line in x)
        # How long the first step takes, with compiling, says little of others.
        speed = r"  \d+\.\d examples/s  \d+ s left"
        assert re.fullmatch(speed if step > 1 else "", rest)


def test_a_terminal_has_a_line_that_changes_and_one_stays_for_each_5_percent(
    tmp_path, log, monkeypatch
):
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", terminal)

    train(tmp_path, 60, steps_per_call=1)

    lines = terminal.getvalue().split("\r\x1b[2K")
    changing = [line.split("  ")[0] for line in lines if line]
    passing = [f"step {n}/60" for n in range(1, 61) if n % 3]
    assert changing == [monitor.COMPILING, *passing]
    assert lines[-1] == ""  # Nothing of it is left at the end.
    assert "\n" not in terminal.getvalue()
    assert steps_logged(log) == list(range(3, 61, 3))
    assert monitor.COMPILING not in log.text


def steps_logged(log):
    return [int(n) for n in re.findall(r"step (\d+)/\d+  loss", log.text)]


def test_a_log_has_a_line_for_each_5_percent_also_after_resuming(tmp_path, log):
    train(tmp_path, 50, steps_per_call=1)
    train(tmp_path, 100, steps_per_call=1)

    assert log.messages.count(monitor.COMPILING) == 2
    first = [math.ceil(n * 50 / 20) for n in range(1, 21)]
    assert steps_logged(log) == [*first, *range(55, 101, 5)]


def test_a_log_is_never_without_a_line_for_long(tmp_path, log, monkeypatch):
    monkeypatch.setattr(monitor, "SECONDS_WITHOUT_LINE", 0.0)
    train(tmp_path, 50, steps_per_call=1)
    assert steps_logged(log) == list(range(1, 51))


def test_the_loss_of_a_line_is_the_mean_since_the_last_one(tmp_path, log):
    train(tmp_path, 40, steps_per_call=1)

    bins = curves.read(str(tmp_path / curves.PICTURE)).bins
    shown = re.findall(r"step \d+/40  loss (\S+)", log.text)
    means = [(bins[n].total + bins[n + 1].total) / 2 for n in range(0, 40, 2)]
    np.testing.assert_allclose([*map(float, shown)], means, atol=1e-4)


def test_evaluations_are_a_table_at_the_end_with_the_best_marked(tmp_path, log):
    scores = Scores([0.5, 0.75, 0.25], 4, metric="score")
    train(tmp_path, 12, evaluation=scores)

    table = next(one for one in log.messages if "* Evaluations *" in one)
    rows = [line.split() for line in table.splitlines()[1:]]
    assert rows == [
        ["step", "score", "loss"],
        ["4", "0.5000", "0.5000*"],
        ["8", "0.7500*", "0.5000", "kept", "as", "the", "best"],
        ["12", "0.2500", "0.5000"],
    ]
