"""Losses of the targets, as torch computes them."""

import json

import numpy as np
import pytest
import tensorflow as tf
from helpers.paths import GOLDEN

from bert_tf import heads
from bert_tf.tasks.classification.targets import ManyLabels, Number, OneLabel

LOSSES = json.loads((GOLDEN / "losses" / "losses.json").read_text())["cases"]


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
    ],
)
def test_loss_and_gradient_are_those_of_torch(case):
    logits = tf.constant(case["logits"], tf.float32)
    labels = tf.constant(case["labels"])
    target = target_of(case)

    with tf.GradientTape() as tape:
        tape.watch(logits)
        loss = target.loss(logits, labels)
    gradient = tape.gradient(loss, logits)

    assert float(loss) == pytest.approx(case["loss"], abs=1e-6)
    np.testing.assert_allclose(gradient, case["gradient"], atol=1e-6)
    # Parts of a batch add up to it.
    count = len(case["logits"])
    parts = [
        float(target.loss(logits[at : at + 1], labels[at : at + 1], count))
        for at in range(count)
    ]
    assert sum(parts) == pytest.approx(case["loss"], abs=1e-6)


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
