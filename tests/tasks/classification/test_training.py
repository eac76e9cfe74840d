"""Losses of the targets, and training with them, as torch computes them."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from helpers import trained_heads
from helpers.golden import read_arrays
from helpers.paths import GOLDEN, ROOT
from helpers.trained_heads import TARGETS, golden

from bert_tf import heads
from bert_tf.tasks.classification.targets import ManyLabels, Number, OneLabel

# As for the trajectories of the original: twice its noise between versions.
LOSS_NOISE, VARIABLE_NOISE, GRADIENT_NOISE = 1.2e-5, 3e-5, 2e-6
NORM_NOISE = 1e-5  # relative

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


# --------------------------------------------------------------- trajectories


def assert_same_weights(got, want):
    assert want
    for name, value in want.items():
        np.testing.assert_allclose(
            got[name], value, rtol=0, atol=VARIABLE_NOISE, err_msg=name
        )


@pytest.mark.parametrize("name", TARGETS)
def test_first_logits_and_gradients_are_those_of_torch(name):
    model, task = trained_heads.build(name), trained_heads.task_of(name)
    batch = {key: x[0] for key, x in trained_heads.read_batches(name).items()}
    with tf.GradientTape() as tape:
        outputs = model({key: batch[key] for key in model.input})
        loss = task.loss(outputs, batch, None)
    variables = model.trainable_variables
    found = tape.gradient(loss, [v.value for v in variables])
    gradients = {
        v.path: tf.convert_to_tensor(g) for v, g in zip(variables, found)
    }

    want = golden(name, "first_logits")[""]
    np.testing.assert_allclose(outputs["logits"], want, atol=LOSS_NOISE)
    wanted = golden(name, "grad_step0/")
    assert wanted
    for key, value in wanted.items():
        np.testing.assert_allclose(
            gradients[key], value, rtol=0, atol=GRADIENT_NOISE, err_msg=key
        )


@pytest.mark.slow
@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize("name", TARGETS)
def test_training_is_that_of_torch_in_one_part_or_in_two(name, parts):
    scalars, weights = trained_heads.take_steps(name, parts, 12)

    want = golden(name, "per_step/")
    np.testing.assert_allclose(scalars["loss"], want["loss"], atol=LOSS_NOISE)
    np.testing.assert_allclose(
        scalars["gradient_norm"], want["grad_global_norm"], rtol=NORM_NOISE
    )
    # The last two of the twelve steps have a learning rate of 0.
    assert_same_weights(weights, golden(name, "after_10/"))


@pytest.mark.slow
def test_two_replicas_and_a_resumed_run_train_as_torch_does(tmp_path):
    for name in TARGETS:
        (tmp_path / name).mkdir()
    done = subprocess.run(
        [
            sys.executable,
            trained_heads.__file__,
            str(tmp_path),
            *TARGETS,
        ],
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    for name in TARGETS:
        for run in ("replicas", "resumed"):
            got = read_arrays(tmp_path / f"{name}-{run}.npz", "")
            assert_same_weights(got, golden(name, "after_10/"))
