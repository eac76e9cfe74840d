"""Training of classification's targets as torch did it, from golden files.

As a program, it trains on two replicas, and resumes on one device:
FOLDER TARGET... leaves FOLDER/TARGET-replicas.npz and FOLDER/TARGET-resumed.npz
with all weights.
"""

import pathlib
import sys

import numpy as np
import tensorflow as tf

from bert_tf import checkpoints, models
from bert_tf.optimization import create_optimizer
from bert_tf.tasks.classification.targets import ManyLabels, Number, OneLabel
from bert_tf.tasks.classification.task import ClassificationTask
from bert_tf.training import loop
from bert_tf.training.settings import TrainingSettings
from bert_tf.training.start import find_starting_point
from bert_tf.training.step import Step, compile_steps
from helpers.golden import MICRO, assign, read_arrays, read_config
from helpers.golden import read_variables as read_checkpoint
from helpers.paths import GOLDEN

FILE = GOLDEN / "heads" / "classification.npz"
NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
TARGETS = {
    "regression": Number(),
    "multi_label": ManyLabels(("a", "b", "c")),
    "class_weights": OneLabel(("a", "b", "c"), weights=(0.5, 1.0, 3.0)),
}
BATCH, LENGTH, RATE, STEPS, WARMUP = 4, 16, 0.001, 10, 2


def task_of(name):
    """The `ClassificationTask` of a golden file's target."""
    return ClassificationTask(TARGETS[name], None, LENGTH)


def golden(name, prefix):
    """Arrays below a prefix of a target's, by the rest of their names."""
    return read_arrays(FILE, f"{name}/{prefix}")


def read_batches(name):
    """{feature: [batches, B, ...]}, in the order in which they are fed."""
    arrays = [golden(name, f"batch_{n}/") for n in range(5)]
    return {key: np.stack([a[key] for a in arrays]) for key in arrays[0]}


def build(name, strategy=None):
    """The model with the weights that torch started from."""
    strategy = strategy or tf.distribute.get_strategy()
    with strategy.scope():
        config = read_config(MICRO.parent, **NO_DROPOUT)
        model = models.classifier(config, TARGETS[name].num_outputs)
    model.get_layer("classifier").dropout.rate = 0.0
    values = read_checkpoint(MICRO) | golden(name, "head_init/")
    assign(model.weights, values)
    return model


def take_steps(name, parts, num_steps):
    """The scalars of some steps by name, and all weights after them."""
    model, task = build(name), task_of(name)
    optimizer = create_optimizer(
        RATE, STEPS, WARMUP, clip_norm=None, gradients_are_summed=True
    )
    optimizer.build(model.trainable_variables)
    settings = TrainingSettings(
        "", STEPS, RATE, WARMUP, BATCH, gradient_accumulation_steps=parts
    )
    dataset = tf.data.Dataset.from_tensor_slices(read_batches(name)).repeat()
    strategy = tf.distribute.get_strategy()
    step = Step(model, task.loss, task.count, optimizer, strategy, settings)
    rows, _ = compile_steps(step, dataset)(
        iter(dataset), tf.constant(num_steps)
    )
    scalars = dict(zip(step.scalar_names, rows.numpy().T))
    return scalars, {w.path: w.numpy() for w in model.weights}


def train(name, folder, strategy):
    """Trains to the last step in a folder, and returns all weights."""
    task, batches = task_of(name), read_batches(name)

    def make_dataset(step):
        rows = {key: x.reshape(-1, *x.shape[2:]) for key, x in batches.items()}
        rows = tf.data.Dataset.from_tensor_slices(rows)
        return rows.repeat().batch(BATCH, drop_remainder=True).skip(step)

    start = find_starting_point(folder)
    model = build(name, strategy)
    if start.prefix:
        checkpoints.load(checkpoints.named_weights(model), start.prefix)
    settings = TrainingSettings(
        folder, STEPS, RATE, WARMUP, BATCH, save_checkpoints_steps=4
    )
    loop.train(
        model, task.loss, make_dataset, start, settings, strategy, task.count
    )
    return {weight.path: weight.numpy() for weight in model.weights}


def main(folder, *names):
    """Trains on two replicas, and from the step 4 of that on one device."""
    cpu = tf.config.list_physical_devices("CPU")[0]
    half = tf.config.LogicalDeviceConfiguration()
    tf.config.set_logical_device_configuration(cpu, [half, half])
    both = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    assert both.num_replicas_in_sync == 2
    for name in names:
        place = pathlib.Path(folder) / name
        np.savez(f"{place}-replicas.npz", **train(name, f"{place}/2", both))
        resumed = place / "3"
        resumed.mkdir()
        for path in (place / "2").glob("model.ckpt-4.*"):
            (resumed / path.name).write_bytes(path.read_bytes())
        tf.compat.v1.train.update_checkpoint_state(str(resumed), "model.ckpt-4")
        assert find_starting_point(str(resumed)).step == 4
        one = tf.distribute.get_strategy()
        np.savez(f"{place}-resumed.npz", **train(name, str(resumed), one))


if __name__ == "__main__":
    main(*sys.argv[1:])
