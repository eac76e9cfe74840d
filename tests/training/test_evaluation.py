"""Which evaluation was best, and when to stop, in a file that is kept."""

import json
import math

import pytest

from bert_tf.errors import InputError
from bert_tf.training.evaluation import Evaluations, is_better


def look(path, metric="eval_accuracy", patience=None, step=0):
    return Evaluations(str(path), metric, patience, step)


def add_all(evaluations, values, first=100):
    """Adds values of steps 100, 200, ...; which ones were new bests."""
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
    ],
)
def test_a_loss_is_to_fall_and_anything_else_to_rise(metric, low_is_better):
    assert is_better(metric, 1.0, 2.0) == low_is_better
    assert is_better(metric, 2.0, 1.0) != low_is_better
    assert not is_better(metric, 1.0, 1.0)
    assert is_better(metric, 1.0, math.nan)
    assert not is_better(metric, math.nan, 1.0)


def test_the_first_is_best_and_then_what_is_better_but_not_what_is_equal(
    tmp_path,
):
    evaluations = look(tmp_path / "x.json")
    assert add_all(evaluations, [0.5, 0.4, 0.7, 0.7, 0.8]) == [
        True,
        False,
        True,
        False,
        True,
    ]
    assert evaluations.best == (500, 0.8)


def test_patience_counts_evaluations_since_the_best(tmp_path):
    evaluations = look(tmp_path / "x.json", "loss", patience=2)
    over = []
    for step, loss in enumerate([3, 2, 2.5, 1, 1.5, 1.2]):
        evaluations.add(step, {"loss": loss})
        over.append(evaluations.is_over())
    assert over == [False] * 5 + [True]
    assert evaluations.summary() == (
        "the best loss is 1, of step 3; 2 evaluations since"
    )


def test_without_patience_it_is_never_over(tmp_path):
    evaluations = look(tmp_path / "x.json")
    add_all(evaluations, [1.0] + 50 * [0.5])
    assert not evaluations.is_over()


def test_a_killed_training_goes_on_where_it_was(tmp_path):
    path = tmp_path / "x.json"
    add_all(look(path, patience=3), [0.5, 0.7, 0.6, 0.6])

    again = look(path, patience=3, step=400)

    assert again.best == (200, 0.7)
    assert again.knows(400) and not again.knows(500)
    assert not again.is_over()
    again.add(500, {"eval_accuracy": 0.69})
    assert again.is_over()


def test_steps_after_the_checkpoint_are_forgotten_but_not_the_best(tmp_path):
    path = tmp_path / "x.json"
    add_all(look(path, patience=1), [0.5, 0.4, 0.7])

    again = look(path, patience=1, step=200)

    assert again.best == (300, 0.7)
    assert again.knows(200) and not again.knows(300)
    # The evaluation of step 200 came before the best.
    assert not again.is_over()
    # The same value again: its checkpoint is written again.
    assert again.is_new_best(300, {"eval_accuracy": 0.7})
    again.add(300, {"eval_accuracy": 0.7})
    again.add(400, {"eval_accuracy": 0.7})
    assert again.best == (300, 0.7) and again.is_over()


def test_a_new_training_knows_nothing_of_an_old_file(tmp_path):
    path = tmp_path / "x.json"
    add_all(look(path), [0.9])
    new = look(path, step=0)
    assert new.best is None
    assert new.is_new_best(100, {"eval_accuracy": 0.1})


def test_another_metric_is_not_mixed_in(tmp_path):
    path = tmp_path / "x.json"
    add_all(look(path), [0.9])
    with pytest.raises(
        InputError, match=r"is about eval_accuracy.*--keep_best=loss.*Remove"
    ):
        look(path, "loss", step=100)


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", '{"metric": "eval_accuracy", "best": 3}']
)
def test_a_file_of_something_else_is_told(text, tmp_path):
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(InputError, match=r"x.json must hold what --keep_best"):
        look(path, step=100)


def test_the_file_can_be_read_by_people(tmp_path):
    path = tmp_path / "x.json"
    add_all(look(path), [0.5, 0.75])
    assert json.loads(path.read_text()) == {
        "metric": "eval_accuracy",
        "best": {"step": 200, "value": 0.75},
        "values": {"100": 0.5, "200": 0.75},
    }
