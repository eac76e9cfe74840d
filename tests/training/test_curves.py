"""The picture of a training, against what happened in it."""

import math
import re
import xml.etree.ElementTree

import numpy as np
import pytest
from helpers.small_training import Scores, train

from bert_tf.support import files, svg
from bert_tf.training import curves
from bert_tf.training.history import History

NAMES = "{http://www.w3.org/2000/svg}"


def history_of(losses, planned=None):
    found = History(planned or len(losses))
    for step, loss in enumerate(losses, 1):
        found.add(step, loss, 1e-4 / step)
    return found


def read(text):
    return xml.etree.ElementTree.fromstring(text)


def texts(root):
    return [one.text for one in root.iter(f"{NAMES}text")]


def tips(root):
    """{tip: (x, y)} of the dots."""
    return {
        tip.text: (float(dot.get("cx")), float(dot.get("cy")))
        for dot in root.iter(f"{NAMES}circle")
        if (tip := dot.find(f"{NAMES}title")) is not None
    }


def test_dots_lie_where_steps_and_losses_say():
    drawn = read(curves.draw(history_of([4.0, 3.0, 1.0], planned=6)))

    places = [tips(drawn)[f"step {n}: {4 - n * (n - 1) / 2:g}"] for n in (1, 2)]
    last = tips(drawn)["step 3: 1"]
    xs, ys = zip(*places, last)
    assert xs[1] - xs[0] == pytest.approx(xs[2] - xs[1], abs=0.15)
    assert ys[0] < ys[1] < ys[2]  # Higher losses are higher.
    assert (ys[1] - ys[0]) * 2 == pytest.approx(ys[2] - ys[1], abs=0.3)
    # The axis goes to the last step that is planned.
    (right,) = {x + 3 * (xs[1] - xs[0]) for x in [xs[2]]}
    assert right == pytest.approx(64 + 640, abs=1)
    assert "Step 3 of 6" in texts(drawn)


def test_results_have_a_panel_a_ring_at_the_best_and_losses_go_with_loss():
    history = history_of(np.linspace(2, 1, 300))
    for step, value in ((100, 0.5), (200, 0.9), (300, 0.7)):
        history.evaluate(
            step, {"eval_accuracy": value, "eval_loss": 2 - value, "f1": 80.0}
        )
    history.best, history.metric = 200, "eval_accuracy"

    drawn = read(curves.draw(history))

    found = texts(drawn)
    assert "eval_accuracy, best 0.9 at 200" in found
    assert "best eval_accuracy: step 200" in found
    assert "eval_loss" in found
    # Of another scale.
    assert not any("f1" in one for one in found)
    at = tips(drawn)
    rings = [
        (float(one.get("cx")), float(one.get("cy")))
        for one in drawn.iter(f"{NAMES}circle")
        if one.get("fill") == "none"
    ]
    assert sorted(rings) == sorted(
        [at["step 200: eval_accuracy 0.9"], at["step 200: eval_loss 1.1"]]
    )
    (line,) = (
        one.get("d")
        for one in drawn.iter(f"{NAMES}path")
        if one.get("stroke-dasharray")
    )
    x = rings[0][0]
    parts = re.findall(rf"M{x:g} ([\d.]+)V([\d.]+)", line)
    assert len(parts) == 3  # One in each panel, none through other texts.
    for one in drawn.iter(f"{NAMES}text"):
        is_number_of_y = float(one.get("x")) < 64
        y = float(one.get("y"))
        inside = [float(top) < y < float(bottom) for top, bottom in parts]
        assert is_number_of_y or not any(inside), one.text


@pytest.mark.parametrize("steps", [1, 3, 30, 700, 20_000])
def test_every_text_lies_in_the_picture(steps):
    rng = np.random.default_rng(1)
    history = history_of(rng.gamma(1.0, size=steps), planned=steps + 5)
    names = [f"eval_a_long_name_of_a_set_{n}_accuracy" for n in range(4)]
    for step in range(max(1, steps // 3), steps + 1, max(1, steps // 3)):
        history.evaluate(step, dict.fromkeys(names, rng.random()))
    history.best, history.metric = steps, names[0]
    history.not_finite = 1

    root = read(curves.draw(history))

    _, _, width, height = map(float, root.get("viewBox").split())
    for found in root.iter(f"{NAMES}text"):
        x, y = float(found.get("x")), float(found.get("y"))
        length = svg.width_of(found.text, float(found.get("font-size", 12)))
        before = {"start": 0, "middle": 0.5, "end": 1}[found.get("text-anchor")]
        assert x - before * length >= 0, found.text
        assert x + (1 - before) * length <= width, found.text
        assert 0 < y < height, found.text
    numbers = re.findall(
        r"[ML](\S+) ([\d.]+)",
        " ".join(path.get("d") for path in root.iter(f"{NAMES}path")),
    )
    assert all(0 <= float(y) <= height for _, y in numbers)


@pytest.mark.parametrize(
    "losses", [[math.nan], [1e30, 1e-30, 0.0], [-1e300, 1e300], [0.0], [5e-324]]
)
def test_any_losses_can_be_drawn(losses):
    root = read(curves.draw(history_of(losses)))

    assert "nan" not in " ".join(
        path.get("d") for path in root.iter(f"{NAMES}path")
    )
    wanted = {"loss not finite: step 0"} if math.isnan(losses[0]) else set()
    assert wanted <= set(texts(root))


# ------------------------------------------------------------------- the file


def test_a_training_draws_its_losses_and_evaluations(tmp_path):
    train(tmp_path, 12, evaluation=Scores([0.1, 0.9, 0.5], 4, metric="score"))

    kept = curves.read(str(tmp_path / curves.PICTURE))
    assert kept.last_step == kept.num_train_steps == 12
    assert {s: r["score"] for s, r in kept.evaluations.items()} == {
        4: 0.1,
        8: 0.9,
        12: 0.5,
    }
    assert (kept.best, kept.metric) == (8, "score")
    # The rates of steps 0 and 1 of the warm-up, then of the decay.
    rates = [one.rate for _, one in sorted(kept.bins.items())]
    want = [0, 0.005] + [0.01 * (1 - n / 12) for n in range(2, 12)]
    np.testing.assert_allclose(rates, want, rtol=1e-5)


def test_a_resumed_training_goes_on_with_its_picture(tmp_path):
    train(tmp_path / "whole", 12, save_checkpoints_steps=4)
    train(tmp_path / "half", 12, save_checkpoints_steps=4)
    for path in (tmp_path / "half").glob("model.ckpt-12*"):
        path.unlink()

    train(tmp_path / "half", 12)

    whole, half = (
        (tmp_path / name / curves.PICTURE).read_text()
        for name in ("whole", "half")
    )
    assert half == whole


def test_what_a_killed_drawing_left_goes_at_the_next_start(tmp_path):
    train(tmp_path, 2)
    left = f"{files.unfinished_names(str(tmp_path / curves.PICTURE))}"
    left = tmp_path / left.replace("*", "999999999.00000000")
    left.touch()

    train(tmp_path, 2)

    assert not left.exists()


def test_another_training_in_the_folder_draws_anew(tmp_path):
    (tmp_path / curves.PICTURE).write_text(curves.draw(history_of([1.0] * 50)))

    train(tmp_path, 3)

    assert curves.read(str(tmp_path / curves.PICTURE)).last_step == 3


@pytest.mark.parametrize(
    "content", [b"", b"<svg/>", b"\xff\xfe", b"<metadata id='data'>{}"]
)
def test_a_picture_without_a_curve_is_told(tmp_path, content, log):
    path = str(tmp_path / curves.PICTURE)
    (tmp_path / curves.PICTURE).write_bytes(content)
    assert curves.read(path) is None
    assert f"{path} cannot be read" in log.text


def test_a_picture_without_a_curve_does_not_stop_a_training(tmp_path, log):
    train(tmp_path, 4, save_checkpoints_steps=2)
    for path in tmp_path.glob("model.ckpt-4*"):
        path.unlink()
    (tmp_path / curves.PICTURE).write_bytes(b"<metadata id='data'>{}")

    train(tmp_path, 4)

    kept = curves.read(str(tmp_path / curves.PICTURE))
    assert [one.last for one in kept.bins.values()] == [3, 4]
    assert str(tmp_path / curves.PICTURE) in log.text


def test_a_picture_that_cannot_be_written_does_not_stop_a_training(
    tmp_path, log
):
    (tmp_path / curves.PICTURE).mkdir()

    train(tmp_path, 2)

    assert "training.svg" in log.text


def test_results_at_the_end_are_drawn_into_the_picture(tmp_path):
    path = tmp_path / curves.PICTURE
    path.write_text(curves.draw(history_of([1.0, 0.5])))

    curves.add_results(str(tmp_path), 2, {"eval_f1": 0.8, "global_step": 2})
    curves.add_results(str(tmp_path / "none"), 2, {"eval_f1": 0.8})

    assert curves.read(str(path)).evaluations == {2: {"eval_f1": 0.8}}
    assert "Step 2 of 2, eval_f1 0.8" in texts(read(path.read_text()))
    assert not (tmp_path / "none").exists()
