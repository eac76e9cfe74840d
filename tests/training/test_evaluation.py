"""Evaluation during training: the best one, early stopping, result files."""

import json
import math
import shutil

import numpy as np
import pytest
from helpers.golden import read_scalars
from helpers.small_training import (
    Scores,
    assert_same,
    contents,
    saved_steps,
    small_model,
    train,
)

from bert_tf.errors import InputError
from bert_tf.training.evaluation import (
    Evaluations,
    load_best,
    write_eval_results,
)
from bert_tf.training.history import is_better


def open_evaluations(path, metric="eval_accuracy", patience=None, step=0):
    return Evaluations(str(path), metric, patience, step)


def add_all(evaluations, values, first=100):
    """Adds values of steps 100, 200, ...; returns which were new bests."""
    best = []
    for number, value in enumerate(values):
        results = {evaluations.metric: value, "other": 0}
        best.append(evaluations.is_new_best(first + 100 * number, results))
        evaluations.add(first + 100 * number, results)
    return best


@pytest.mark.parametrize(
    ("metric", "low_is_better"),
    [
        ("eval_accuracy", False),
        ("f1", False),
        ("exact_match", False),
        ("masked_lm_accuracy", False),
        ("loss", True),
        ("eval_loss", True),
        ("masked_lm_loss", True),
        ("eval_mse", True),
        ("eval_mae", True),
        ("eval_teacher_kl", True),
        ("eval_teacher_agreement", False),
    ],
)
def test_lower_is_better_for_losses_and_errors_and_higher_for_others(
    metric, low_is_better
):
    assert is_better(metric, 1.0, 2.0) == low_is_better
    assert is_better(metric, 2.0, 1.0) != low_is_better
    assert not is_better(metric, 1.0, 1.0)
    assert is_better(metric, 1.0, math.nan)
    assert not is_better(metric, math.nan, 1.0)


def test_a_new_best_is_strictly_better(
    tmp_path,
):
    evaluations = open_evaluations(tmp_path / "x.json")
    assert add_all(evaluations, [0.5, 0.4, 0.7, 0.7, 0.8]) == [
        True,
        False,
        True,
        False,
        True,
    ]
    assert evaluations.best == (500, 0.8)


def test_patience_counts_evaluations_since_the_best(tmp_path):
    evaluations = open_evaluations(tmp_path / "x.json", "loss", patience=2)
    over = []
    for step, loss in enumerate([3, 2, 2.5, 1, 1.5, 1.2]):
        evaluations.add(step, {"loss": loss})
        over.append(evaluations.is_over())
    assert over == [False] * 5 + [True]
    assert evaluations.summary() == (
        "the best loss is 1, of step 3; 2 evaluations since"
    )


def test_without_patience_training_never_stops_early(tmp_path):
    evaluations = open_evaluations(tmp_path / "x.json")
    add_all(evaluations, [1.0] + 50 * [0.5])
    assert not evaluations.is_over()


def test_a_resumed_run_keeps_its_earlier_evaluations(tmp_path):
    path = tmp_path / "x.json"
    add_all(open_evaluations(path, patience=3), [0.5, 0.7, 0.6, 0.6])

    again = open_evaluations(path, patience=3, step=400)

    assert again.best == (200, 0.7)
    assert again.knows(400) and not again.knows(500)
    assert not again.is_over()
    again.add(500, {"eval_accuracy": 0.69})
    assert again.is_over()


def test_evaluations_after_the_checkpoint_are_dropped_except_the_best(tmp_path):
    path = tmp_path / "x.json"
    add_all(open_evaluations(path, patience=1), [0.5, 0.4, 0.7])

    again = open_evaluations(path, patience=1, step=200)

    assert again.best == (300, 0.7)
    assert again.knows(200) and not again.knows(300)
    # The evaluation of step 200 came before the best.
    assert not again.is_over()
    # The same value again: its checkpoint is written again.
    assert again.is_new_best(300, {"eval_accuracy": 0.7})
    again.add(300, {"eval_accuracy": 0.7})
    again.add(400, {"eval_accuracy": 0.7})
    assert again.best == (300, 0.7) and again.is_over()


def test_a_run_from_step_0_ignores_an_old_file(tmp_path):
    path = tmp_path / "x.json"
    add_all(open_evaluations(path), [0.9])
    new = open_evaluations(path, step=0)
    assert new.best is None
    assert new.is_new_best(100, {"eval_accuracy": 0.1})


def test_a_file_of_another_metric_is_refused(tmp_path):
    path = tmp_path / "x.json"
    add_all(open_evaluations(path), [0.9])
    with pytest.raises(
        InputError, match=r"is about eval_accuracy.*--keep_best=loss.*Remove"
    ):
        open_evaluations(path, "loss", step=100)


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", '{"metric": "eval_accuracy", "best": 3}']
)
def test_a_file_that_is_not_of_evaluations_is_refused(text, tmp_path):
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(InputError, match=r"x.json must hold what --keep_best"):
        open_evaluations(path, step=100)


def test_the_file_is_indented_json(tmp_path):
    path = tmp_path / "x.json"
    add_all(open_evaluations(path), [0.5, 0.75])
    assert json.loads(path.read_text()) == {
        "metric": "eval_accuracy",
        "best": {"step": 200, "value": 0.75},
        "values": {"100": 0.5, "200": 0.75},
    }


# ------------------------------------------------------------- during training


def test_evaluates_every_n_steps_and_at_the_end(tmp_path, log):
    scores = Scores([0.25, 0.5, 0.125])

    train(tmp_path, 5, evaluation=scores, save_checkpoints_steps=3)

    # Each is saved first.
    assert saved_steps(tmp_path) == [0, 2, 3, 4, 5]
    for weights, step in zip(scores.seen_weights, (2, 4, 5), strict=True):
        saved = contents(tmp_path / f"model.ckpt-{step}")
        assert np.array_equal(weights[0], saved["hidden/kernel"])
    assert read_scalars(tmp_path / "eval")["score"] == {
        2: 0.25,
        4: 0.5,
        5: 0.125,
    }
    assert "Evaluated step 4: score 0.5  loss 0.5" in log.text
    assert not (tmp_path / "best").exists()


def test_evaluation_does_not_change_the_numbers(tmp_path, uninterrupted):
    model = train(tmp_path, 12, evaluation=Scores([0.0] * 4, every_steps=3))
    assert_same(model, uninterrupted)


def test_the_best_checkpoint_is_kept_with_what_belongs_to_it(tmp_path, log):
    labels = b"yes\r\nno\r\n"  # Copied as it is.
    (tmp_path / "labels.txt").write_bytes(labels)

    train(tmp_path, 6, evaluation=Scores([0.5, 0.75, 0.25], metric="score"))

    best = tmp_path / "best"
    assert saved_steps(best) == [4]
    saved, kept = contents(tmp_path / "model.ckpt-4"), contents(best)
    assert kept.keys() == {n for n in saved if "adam" not in n}
    assert_same(kept, {name: saved[name] for name in kept})
    assert (best / "labels.txt").read_bytes() == labels
    assert "So far the best score is 0.75, of step 4; 1 evaluation" in log.text

    model = small_model()
    assert load_best(model, str(tmp_path)) == 4
    np.testing.assert_array_equal(
        model.get_weights()[0], saved["hidden/kernel"]
    )
    assert load_best(model, str(tmp_path / "eval")) is None


def test_training_stops_without_improvement_and_stays_stopped(tmp_path, log):
    scores = [0.5, 0.75, 0.5, 0.75, 0.9]
    settings = {"metric": "score", "patience": 2}

    train(tmp_path, 12, evaluation=Scores(scores, **settings))

    assert saved_steps(tmp_path)[-1] == 8
    want = "Stopped at step 8: the best score is 0.75, of step 4; 2 evaluations"
    assert want in log.text
    again = Scores([], **settings)
    train(tmp_path, 12, evaluation=again)
    assert "Nothing to train: the best score is 0.75" in log.text
    assert not again.seen_weights and saved_steps(tmp_path)[-1] == 8


@pytest.mark.slow
@pytest.mark.parametrize("killed_at", [4, 6])
def test_a_run_killed_during_an_evaluation_repeats_it_when_resumed(
    tmp_path, uninterrupted, killed_at
):
    class Killed(Exception):
        pass

    class Dying(Scores):
        def __call__(self, model):
            get_results = super().__call__(model)

            def evaluate():
                results = get_results()
                if len(self.seen_weights) == killed_at // 2:
                    raise Killed
                return results

            return evaluate

    values = [0.5, 0.75, 0.6, 0.7, 0.65, 0.1]
    with pytest.raises(Killed):
        train(tmp_path, 12, evaluation=Dying(values, metric="score"))
    assert saved_steps(tmp_path)[-1] == killed_at

    after = Scores(values[killed_at // 2 - 1 :], metric="score")
    final = train(tmp_path, 12, evaluation=after)

    assert_same(final, uninterrupted)
    assert len(after.seen_weights) == 7 - killed_at // 2
    assert saved_steps(tmp_path / "best") == [4]
    kept = json.loads((tmp_path / "evaluations.json").read_text())
    assert kept["values"] == dict(zip(("2", "4", "6", "8", "10", "12"), values))


def test_a_run_killed_at_its_last_evaluation_evaluates_when_resumed(tmp_path):
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


# ------------------------------------------------------------ eval_results.txt


def test_eval_results_are_sorted_float32_lines_then_those_not_in_the_original(
    tmp_path,
):
    write_eval_results(
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
