"""A warning of trainings that learn nothing, on losses of real ones."""

import functools
import gzip
import json

import numpy as np
import pytest
from helpers.paths import GOLDEN

from bert_tf.training import flat_loss
from bert_tf.training.settings import TrainingSettings

REAL = json.loads(
    gzip.decompress((GOLDEN / "flat_loss" / "losses.json.gz").read_bytes())
)


def settings_of(learning_rate, batch_size, **optimizer):
    return TrainingSettings("", 0, learning_rate, 0, batch_size, **optimizer)


def fault_of(name, count=None, **changed):
    """What is told of a real training, or of its first steps."""
    one = {**REAL[name], **changed}
    return flat_loss.find_fault(
        one["losses"][:count],
        one["chance"],
        settings_of(one["learning_rate"], one["batch_size"]),
        one["resumed"],
    )


@pytest.mark.parametrize("name", ["learns", "resumed", "begins_low"])
def test_nothing_is_told_of_a_training_with_a_low_loss(name):
    assert fault_of(name) is None


@pytest.mark.parametrize(
    ("name", "facts"),
    [
        ("tiny_rate", ("has not moved", "1e-12", "labels")),
        ("diverged", ("no lower than by chance", "a lower", "0.5 now")),
    ],
)
def test_the_fault_is_told_with_its_numbers(name, facts):
    fault = fault_of(name)

    losses = np.array(REAL[name]["losses"])
    size = len(losses) // 4
    means = (f"{part.mean():.4g}" for part in (losses[:size], losses[-size:]))
    for fact in (*facts, *means, "0.6931", f"{size} steps", "--learning_rate"):
        assert fact in fault


@pytest.mark.parametrize("name", ["tiny_rate", "diverged"])
def test_correction_is_advised_unless_it_is_there(name):
    losses, chance = np.array(REAL[name]["losses"]), REAL[name]["chance"]
    for given, is_there in (
        ({}, False),
        ({"bias_correction": True}, True),
        ({"optimizer": "lamb"}, True),
    ):
        settings = settings_of(REAL[name]["learning_rate"], 32, **given)
        fault = flat_loss.find_fault(losses, chance, settings, False)
        assert ("--bias_correction" not in fault) == is_there


@pytest.mark.parametrize("name", REAL)
def test_a_handful_of_steps_says_nothing(name):
    assert fault_of(name, 39) is None


def test_small_batches_need_more_steps():
    assert fault_of("tiny_rate", 40) is not None
    assert fault_of("tiny_rate", 40, batch_size=9) is None


def test_only_a_new_training_must_lower_its_loss():
    losses = list(0.5 + 0.01 * np.sin(np.arange(200.0)))
    find = functools.partial(flat_loss.find_fault, chance=0.69)

    fault = find(losses, settings=settings_of(1e-12, 16), resumed=False)
    assert "has not moved" in fault
    assert find(losses, settings=settings_of(1e-12, 16), resumed=True) is None


def test_a_resumed_training_at_chance_is_told():
    assert "since the training was resumed" in fault_of(
        "tiny_rate", resumed=True
    )


def test_without_a_choice_there_is_no_chance():
    assert fault_of("tiny_rate", chance=0.0) is None
