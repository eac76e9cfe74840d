"""Losses of the targets, as torch computes them."""

import json

import numpy as np
import pytest
import tensorflow as tf
from helpers.paths import GOLDEN

from bert_tf import heads
from bert_tf.tasks.classification.targets import ManyLabels, Number, OneLabel

LOSSES = json.loads((GOLDEN / "losses" / "losses.json").read_text())["cases"]


def loss_of(target, logits, labels, count=None):
    return heads.mean_over_batch(target.losses(logits, labels), count)


def target_of(case):
    names = tuple("abcdefgh"[: len(case["logits"][0])])
    if case["name"].startswith("class_weights"):
        return OneLabel(names, weights=tuple(case["weights"]))
    if case["name"].startswith("multi_label"):
        weights = case.get("positive_weights")
        return ManyLabels(names, weights=weights and tuple(weights))
    return Number()


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, id=case["name"])
        for case in LOSSES
        # Not ours: divided by the sum of the weights of the batch.
        if "normalised" not in case["name"]
        and not case["name"].startswith("distil")
    ],
)
def test_loss_and_gradient_are_those_of_torch(case):
    logits = tf.constant(case["logits"], tf.float32)
    labels = tf.constant(case["labels"])
    target = target_of(case)

    with tf.GradientTape() as tape:
        tape.watch(logits)
        loss = loss_of(target, logits, labels)
    gradient = tape.gradient(loss, logits)

    assert float(loss) == pytest.approx(case["loss"], abs=1e-6)
    np.testing.assert_allclose(gradient, case["gradient"], atol=1e-6)
    # Parts of a batch add up to it.
    count = len(case["logits"])
    parts = [
        float(loss_of(target, logits[at : at + 1], labels[at : at + 1], count))
        for at in range(count)
    ]
    assert sum(parts) == pytest.approx(case["loss"], abs=1e-6)


@pytest.mark.parametrize(
    "case", [case for case in LOSSES if "normalised" in case["name"]]
)
def test_a_weighted_loss_is_not_divided_by_the_weights_of_the_batch(case):
    logits, labels = tf.constant(case["logits"]), tf.constant(case["labels"])
    loss = loss_of(target_of(case), logits, labels)

    # Which is what torch does.
    mean = np.mean([case["weights"][label] for label in case["labels"]])
    assert float(loss) == pytest.approx(case["loss"] * mean, abs=1e-6)


def test_a_score_is_compared_with_its_own_label_alone():
    logits = tf.constant([[1.0], [2.0], [4.0]])
    loss, of_each = heads.regression_loss(logits, tf.constant([1.0, 3.0, 2.0]))
    assert of_each.shape == (3,)
    np.testing.assert_allclose(of_each, [0, 1, 4])
    assert float(loss) == pytest.approx(5 / 3)


@pytest.mark.parametrize("logit", [-200.0, 200.0])
def test_large_logits_of_several_labels_stay_finite(logit):
    logits = tf.constant([[logit, logit]])
    loss, _ = heads.multi_label_loss(logits, tf.constant([[0, 1]]))
    assert float(loss) == pytest.approx(100.0)


CLASSES = ["a", "b", "a", "a", "c"]
SETS = [("a", "b"), (), ("a",), ("a",), ("b",)]


@pytest.mark.parametrize(
    ("target", "labels", "best"),
    [
        (OneLabel(("a", "b", "c")), CLASSES, np.log([3, 1, 1])),
        (
            OneLabel(("a", "b", "c"), weights=(1, 2, 4.5)),
            CLASSES,
            np.log([3, 2, 4.5]),
        ),
        (ManyLabels(("a", "b")), SETS, np.log([3 / 2, 2 / 3])),
        (
            ManyLabels(("a", "b"), weights=(0.5, 4)),
            SETS,
            np.log([0.5 * 3 / 2, 4 * 2 / 3]),
        ),
        (Number(), [1.0, 2.0, 4.5], [2.5]),
    ],
)
def test_chance_is_the_lowest_loss_of_the_same_answer_to_all(
    target, labels, best
):
    label_ids = tf.constant([target.encode(label) for label in labels])

    def loss(logits):
        rows = np.tile(np.asarray(logits, np.float32), (len(labels), 1))
        return float(loss_of(target, tf.constant(rows), label_ids))

    chance = target.chance_loss(labels)

    assert chance == pytest.approx(loss(best), rel=1e-6)
    for other in np.eye(len(best)):
        assert loss(best + 0.3 * other) > chance < loss(best - 0.3 * other)
