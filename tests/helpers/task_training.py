"""Trains a task from the micro checkpoint on batches of a golden file.

    python tests/helpers/task_training.py ner FOLDER

does it on two replicas and, from one of their checkpoints, again on one device,
and writes the weights of both to FOLDER.
"""

import pathlib
import sys

import numpy as np
import tensorflow as tf

from bert_tf import checkpoints, models
from bert_tf.optimization import create_optimizer
from bert_tf.tasks.ner.task import TokenTask
from bert_tf.training import loop
from bert_tf.training.settings import TrainingSettings
from bert_tf.training.start import find_starting_point
from bert_tf.training.step import Step, compile_steps
from helpers.golden import (
    MICRO,
    assign,
    read_arrays,
    read_config,
    read_variables,
)
from helpers.paths import GOLDEN

NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
RATE, STEPS, WARMUP = 0.001, 10, 2

# As for the trajectories of the original: twice its noise between versions.
LOSS_NOISE, VARIABLE_NOISE, GRADIENT_NOISE = 1.2e-5, 3e-5, 2e-6
NORM_NOISE = 1e-5  # relative

FILES = {"ner": GOLDEN / "ner" / "training.npz"}
REPLICAS = 2


def make(name):
    """A task, and a new model of it with the weights to start from."""
    labels = ("B-A", "B-B", "I-A", "I-B", "O")
    task = {"ner": lambda: TokenTask(labels, None, 16)}[name]()
    config = read_config(MICRO.parent, **NO_DROPOUT)
    model = {"ner": lambda: models.token_classifier(config, 5)}[name]()
    model.get_layer("classifier").dropout.rate = 0.0
    values = read_variables(MICRO) | read_arrays(FILES[name], "head_init/")
    assign(model.weights, values)
    return task, model


def read_batches(name):
    """{feature: [batches, B, ...]}, in the order in which they are fed."""
    arrays = [read_arrays(FILES[name], f"batch_{n}/") for n in range(5)]
    return {key: np.stack([a[key] for a in arrays]) for key in arrays[0]}


def batch_size(name):
    return len(next(iter(read_batches(name).values()))[0])


def take_steps(name, parts, num_steps):
    """The scalars of some steps, and all weights after them."""
    task, model = make(name)
    optimizer = create_optimizer(
        RATE, STEPS, WARMUP, clip_norm=None, gradients_are_summed=True
    )
    optimizer.build(model.trainable_variables)
    settings = TrainingSettings(
        "",
        STEPS,
        RATE,
        WARMUP,
        batch_size(name),
        gradient_accumulation_steps=parts,
    )
    dataset = tf.data.Dataset.from_tensor_slices(read_batches(name)).repeat()
    strategy = tf.distribute.get_strategy()
    step = Step(model, task.loss, task.count, optimizer, strategy, settings)
    run_steps = compile_steps(step, dataset)
    rows, _ = run_steps(iter(dataset), tf.constant(num_steps))
    return dict(zip(step.scalar_names, rows.numpy().T)), weights_of(model)


def weights_of(model):
    return {weight.path: weight.numpy() for weight in model.weights}


def assert_close(got, want):
    """Weights are those of a golden file, up to noise."""
    assert want
    for name, value in want.items():
        np.testing.assert_allclose(
            got[name], value, rtol=0, atol=VARIABLE_NOISE, err_msg=name
        )


def _train(name, folder, strategy):
    """Trains from where the folder is, and returns all weights."""
    size = batch_size(name)

    def make_dataset(step):
        rows = {
            key: x.reshape(-1, *x.shape[2:])
            for key, x in read_batches(name).items()
        }
        rows = tf.data.Dataset.from_tensor_slices(rows)
        return rows.repeat().batch(size, drop_remainder=True).skip(step)

    start = find_starting_point(folder)
    with strategy.scope():
        task, model = make(name)
    if start.prefix:
        checkpoints.load(checkpoints.named_weights(model), start.prefix)
    settings = TrainingSettings(
        folder, STEPS, RATE, WARMUP, size, save_checkpoints_steps=4
    )
    loop.train(
        model, task.loss, make_dataset, start, settings, strategy, task.count
    )
    return weights_of(model)


def main(name, folder):
    cpu = tf.config.list_physical_devices("CPU")[0]
    devices = [tf.config.LogicalDeviceConfiguration()] * REPLICAS
    tf.config.set_logical_device_configuration(cpu, devices)
    folder = pathlib.Path(folder)
    several = tf.distribute.MirroredStrategy(
        [f"CPU:{number}" for number in range(REPLICAS)]
    )
    assert several.num_replicas_in_sync == REPLICAS
    whole, part = folder / "whole", folder / "part"
    np.savez(folder / "replicas.npz", **_train(name, str(whole), several))
    part.mkdir()
    for path in whole.glob("model.ckpt-4.*"):
        (part / path.name).write_bytes(path.read_bytes())
    tf.compat.v1.train.update_checkpoint_state(str(part), "model.ckpt-4")
    assert find_starting_point(str(part)).step == 4
    one = tf.distribute.get_strategy()
    np.savez(folder / "resumed.npz", **_train(name, str(part), one))


if __name__ == "__main__":
    main(*sys.argv[1:])
