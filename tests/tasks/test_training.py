"""Training of tasks with words, choices, numbers and labels is torch's."""

import numpy as np
import pytest
import tensorflow as tf
from helpers import prepared, task_training
from helpers.golden import read_arrays
from helpers.task_training import TRAINED

PARTS = {
    "ner": 4,
    "choices": 3,
    "regression": 2,
    "multi_label": 2,
    "class_weights": 2,
    "distil": 2,
}
"""Parts of a batch, besides the whole one."""

QUICK = "ner"
"""Trained in the quick run too; the rest differs in the loss alone."""

ONCE = ("choices", "class_weights", "distil")
"""Trained in parts only; their losses as a whole are held at the first step."""

WITH_REPLICAS = "ner"
"""Its words are counted over all replicas, as nothing else's are."""

ALIKE = ("regression", "multi_label")
"""Their losses are divided by the number of examples, as others are."""


def in_parts(name):
    return pytest.mark.exhaustive if name in ALIKE else pytest.mark.slow


def as_a_whole(name):
    if name in ONCE:
        return pytest.mark.exhaustive
    return () if name == QUICK else pytest.mark.slow


def on_replicas(name):
    is_slow = name == WITH_REPLICAS
    return pytest.mark.slow if is_slow else pytest.mark.exhaustive


@pytest.mark.parametrize("name", TRAINED)
def test_first_logits_and_gradients_are_those_of_torch(name):
    task, model = TRAINED[name].task, task_training.build(name)
    batch = {k: x[0] for k, x in task_training.read_batches(name).items()}
    with tf.GradientTape() as tape:
        outputs = model({key: batch[key] for key in model.input})
        loss = task.loss(outputs, batch, None)
    variables = model.trainable_variables
    found = tape.gradient(loss, [v.value for v in variables])
    gradients = {
        v.path: tf.convert_to_tensor(g) for v, g in zip(variables, found)
    }

    want = TRAINED[name].golden("first_logits")[""]
    np.testing.assert_allclose(
        outputs["logits"], want, atol=task_training.LOSS_NOISE
    )
    wanted = TRAINED[name].golden("grad_step0/")
    assert wanted
    for path, value in wanted.items():
        np.testing.assert_allclose(
            gradients[path],
            value,
            rtol=0,
            atol=task_training.GRADIENT_NOISE,
            err_msg=path,
        )


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        pytest.param(
            name,
            parts,
            marks=(as_a_whole if parts == 1 else in_parts)(name),
        )
        for name in TRAINED
        for parts in (1, PARTS[name])
    ],
)
def test_training_is_that_of_torch_in_one_part_or_in_several(name, parts):
    scalars, weights = task_training.take_steps(name, parts, 12)

    want = TRAINED[name].golden("per_step/")
    np.testing.assert_allclose(
        scalars["loss"], want["loss"], atol=task_training.LOSS_NOISE
    )
    np.testing.assert_allclose(
        scalars["gradient_norm"],
        want["grad_global_norm"],
        rtol=task_training.NORM_NOISE,
    )
    # The last two of the twelve steps have a learning rate of 0.
    task_training.assert_same_weights(name, weights)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=on_replicas(name)) for name in TRAINED]
)
def test_replicas_and_a_resumed_run_train_as_torch_does(name, tmp_path):
    # A process can have replicas of one strategy only.
    done = prepared.run(
        [task_training.__file__, tmp_path, name],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    for run in ("replicas", "resumed"):
        found = read_arrays(tmp_path / f"{run}.npz", "")
        task_training.assert_same_weights(name, found)
