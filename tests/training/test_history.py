"""What is kept of a training, against all of its steps."""

import json
import math

import numpy as np
import pytest

from bert_tf.errors import InputError
from bert_tf.training import history
from bert_tf.training.history import History, is_better, spread


def losses_of(steps, seed=0):
    return np.random.default_rng(seed).gamma(2.0, size=steps)


def recorded(losses, first=1):
    found = History(len(losses))
    for step, loss in enumerate(losses, first):
        found.add(step, loss, 1 / step)
    return found


@pytest.mark.parametrize("steps", [1, 3, 512, 513, 5000])
def test_bins_hold_all_steps_and_are_few(steps):
    losses = losses_of(steps)

    found = recorded(losses)

    assert len(found.bins) <= history.MOST_BINS
    assert steps > history.MOST_BINS or found.width == 1
    for number, one in found.bins.items():
        first = number * found.width
        held = losses[first : first + found.width]
        assert one.size == len(held) and one.last == first + len(held)
        # Six digits are kept of each.
        assert one.mean == pytest.approx(held.mean(), rel=1e-5)
        assert one.low == pytest.approx(held.min(), rel=1e-5)
        assert one.high == pytest.approx(held.max(), rel=1e-5)
        assert one.rate == pytest.approx(1 / one.last, rel=1e-5)
    assert sum(one.size for one in found.bins.values()) == steps


def test_a_text_gives_the_same_history_back():
    found = recorded(losses_of(1500))
    found.evaluate(700, {"eval_<b>&": 0.25, "loss": 1 / 3})
    found.evaluate(1500, {"eval_<b>&": math.nan, "loss": 0.2})
    found.best, found.metric, found.not_finite = 700, "eval_<b>&", 1501

    text = found.to_json()
    again = History.from_json(text)

    assert not set(text) & set("<>&\n") and text.isascii()
    assert again.bins == found.bins and again.width == found.width
    assert str(again.evaluations) == str(found.evaluations)
    assert (again.best, again.metric) == (700, "eval_<b>&")
    assert (again.not_finite, again.num_train_steps) == (1501, 1500)


@pytest.mark.parametrize("stop", [3, 60, 400])
def test_a_history_that_goes_on_from_a_step_is_that_of_an_unbroken_one(stop):
    losses = losses_of(500)
    unbroken = recorded(losses)
    for step in range(50, 501, 50):
        unbroken.evaluate(step, {"loss": losses[step - 1]})

    killed = recorded(losses[: stop + 40])
    for step in range(50, stop + 1, 50):
        killed.evaluate(step, {"loss": losses[step - 1]})
    killed.evaluate(stop + 40, {"loss": 9.0})
    killed.not_finite = stop
    again = History.from_json(killed.to_json())
    again.back_to(stop)
    again.num_train_steps = 500
    for step in range(stop + 1, 501):
        again.add(step, losses[step - 1], 1 / step)
        if step % 50 == 0:
            again.evaluate(step, {"loss": losses[step - 1]})

    assert again.to_json() == unbroken.to_json()


def test_the_evaluation_of_the_best_checkpoint_stays():
    found = recorded(losses_of(10))
    for step in (2, 6, 10):
        found.evaluate(step, {"eval_f1": step})
    found.best = 6

    found.back_to(4)

    assert list(found.evaluations) == [2, 6]


def test_a_step_that_is_not_finite_is_told_and_not_counted():
    found = recorded([1.0, math.nan, 3.0])

    assert found.not_finite == 1 and found.last_step == 3
    assert [one.total for one in found.bins.values()] == [1.0, 3.0]


def test_many_evaluations_are_thinned_out_but_the_best_and_the_last():
    found = History(10**6)
    for step in range(10, 20_001, 10):
        if step == 1230:
            found.best = step
        found.evaluate(step, {"eval_f1": 1.0})

    assert len(found.evaluations) <= history.MOST_EVALUATIONS
    assert {10, 1230, 20_000} <= found.evaluations.keys()


def test_the_best_is_the_first_of_those_that_are_as_good():
    found = History(9)
    for step, value in enumerate([math.nan, 0.5, 0.7, 0.7, 0.6], 1):
        found.evaluate(step, {"eval_f1": value, "eval_loss": -value})

    assert found.best_of("eval_f1") == found.best_of("eval_loss") == 3
    assert found.best_of("accuracy") is None
    assert not is_better("eval_f1", math.nan, math.nan)


GOOD = json.loads(recorded([1.0, 2.0]).to_json())


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        "[" * 100_000,
        *(
            json.dumps({**GOOD, **change})
            for change in (
                {"width": 0},
                {"width": "wide"},
                {"bins": [[0, 1]]},
                {"bins": [[0, 1, 0, 1.0, 1.0]]},
                {"bins": [[0, 1, 1, math.inf, 1.0]]},
                {"bins": [[0, 10**400, 1, 1.0, 1.0]]},
                {"bins": [[n, n + 1, 1, 1.0, 1.0] for n in range(600)]},
                {"evaluations": [[1, {"loss": "low"}]]},
                {"evaluations": [[-1, {}]]},
                {"best": []},
                {"num_train_steps": 10**30},
            )
        ),
    ],
)
def test_another_text_is_refused(text):
    with pytest.raises(InputError):
        History.from_json(text)


def test_some_of_many_steps_are_at_equal_distances():
    assert spread(list(range(101)), 5) == [0, 25, 50, 75, 100]
    assert spread([3, 4], 5) == [3, 4]
