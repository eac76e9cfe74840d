"""Trains tasks from the micro checkpoint on batches of golden files.

    python tests/helpers/task_training.py FOLDER NAME

trains one of `TRAINED` on replicas and, from one of their checkpoints, again on
one device; writes all weights to FOLDER/replicas.npz and FOLDER/resumed.npz.
"""

import pathlib
import sys
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from bert_tf import checkpoints
from bert_tf.optimization import create_optimizer
from bert_tf.tasks.choices.task import ChoiceTask
from bert_tf.tasks.classification.distilled import DistilledClassification
from bert_tf.tasks.classification.targets import ManyLabels, Number, OneLabel
from bert_tf.tasks.classification.task import ClassificationTask
from bert_tf.tasks.ner.task import TokenTask
from bert_tf.tasks.teacher_logits import Distillation
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
LENGTH, RATE, STEPS, WARMUP = 16, 0.001, 10, 2

# As for the trajectories of the original: twice its noise between versions.
LOSS_NOISE, VARIABLE_NOISE, GRADIENT_NOISE = 1.2e-5, 3e-5, 2e-6
NORM_NOISE = 1e-5  # relative


class Trained(NamedTuple):
    """A training whose numbers torch computed.

    Attributes:
        task: a `Task`.
        file: of the arrays, in the folder of golden files.
        prefix: of their names.
        replicas: to train on, which divide the batch.
        noise: names of variables whose gradients are 0 but for rounding, and so
            what Adam makes of it.
    """

    task: object
    file: str
    prefix: str = ""
    replicas: int = 2
    noise: tuple[str, ...] = ()

    def golden(self, prefix):
        """Arrays below a prefix, by the rest of their names."""
        return read_arrays(GOLDEN / self.file, self.prefix + prefix)


def _classification(name, target):
    task = ClassificationTask(target, None, LENGTH)
    return Trained(task, "heads/classification.npz", f"{name}/")


TRAINED = {
    "ner": Trained(
        TokenTask(("B-A", "B-B", "I-A", "I-B", "O"), None, LENGTH),
        "ner/training.npz",
    ),
    "choices": Trained(
        ChoiceTask(("1", "2", "3", "4"), None, LENGTH),
        "choices/training.npz",
        replicas=3,
        noise=("output_bias",),
    ),
    "regression": _classification("regression", Number()),
    "multi_label": _classification("multi_label", ManyLabels(("a", "b", "c"))),
    "class_weights": _classification(
        "class_weights", OneLabel(("a", "b", "c"), weights=(0.5, 1.0, 3.0))
    ),
    "distil": Trained(
        DistilledClassification(
            ClassificationTask(OneLabel(("a", "b", "c")), None, LENGTH),
            None,
            Distillation(),
        ),
        "heads/distil.npz",
        "distil/",
    ),
}


def build(name):
    """A new model with the weights that torch started from."""
    trained = TRAINED[name]
    config = read_config(MICRO.parent, **NO_DROPOUT)
    model = trained.task.build(config, one_hot=False)
    model.get_layer("classifier").dropout.rate = 0.0
    values = read_variables(MICRO) | trained.golden("head_init/")
    assign(model.weights, values)
    return model


def read_batches(name):
    """{feature: [batches, B, ...]}, in the order in which they are fed."""
    arrays = [TRAINED[name].golden(f"batch_{n}/") for n in range(5)]
    for batch in arrays:
        if "teacher_logits" in batch:
            batch["has_label"] = np.ones(len(batch["label_ids"]), np.int32)
    return {key: np.stack([a[key] for a in arrays]) for key in arrays[0]}


def batch_size(name):
    return len(next(iter(read_batches(name).values()))[0])


def take_steps(name, parts, num_steps):
    """The scalars of some steps by name, and all weights after them."""
    task, model = TRAINED[name].task, build(name)
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


def assert_same_weights(name, got):
    """Weights after training are torch's, up to noise."""
    want = TRAINED[name].golden("after_10/")
    assert want
    for path, value in want.items():
        if path not in TRAINED[name].noise:
            np.testing.assert_allclose(
                got[path], value, rtol=0, atol=VARIABLE_NOISE, err_msg=path
            )


def _train(name, folder, strategy):
    """Trains from where the folder is, and returns all weights."""
    task, size = TRAINED[name].task, batch_size(name)

    def make_dataset(step):
        rows = {
            key: x.reshape(-1, *x.shape[2:])
            for key, x in read_batches(name).items()
        }
        rows = tf.data.Dataset.from_tensor_slices(rows)
        return rows.repeat().batch(size, drop_remainder=True).skip(step)

    start = find_starting_point(folder)
    with strategy.scope():
        model = build(name)
    if start.prefix:
        checkpoints.load(checkpoints.named_weights(model), start.prefix)
    settings = TrainingSettings(
        folder, STEPS, RATE, WARMUP, size, save_checkpoints_steps=4
    )
    loop.train(
        model, task.loss, make_dataset, start, settings, strategy, task.count
    )
    return weights_of(model)


def _train_twice(name, folder, several):
    """On replicas, and from the step 4 of that on one device."""
    whole, part = folder / "whole", folder / "part"
    replicas = _train(name, str(whole), several)
    np.savez(folder / "replicas.npz", **replicas)
    part.mkdir()
    for path in whole.glob("model.ckpt-4.*"):
        (part / path.name).write_bytes(path.read_bytes())
    tf.compat.v1.train.update_checkpoint_state(str(part), "model.ckpt-4")
    assert find_starting_point(str(part)).step == 4
    resumed = _train(name, str(part), tf.distribute.get_strategy())
    np.savez(folder / "resumed.npz", **resumed)


def main(folder, name):
    cpu = tf.config.list_physical_devices("CPU")[0]
    count = TRAINED[name].replicas
    devices = [tf.config.LogicalDeviceConfiguration()] * count
    tf.config.set_logical_device_configuration(cpu, devices)
    several = tf.distribute.MirroredStrategy(
        [f"CPU:{number}" for number in range(count)]
    )
    assert several.num_replicas_in_sync == count
    _train_twice(name, pathlib.Path(folder), several)


if __name__ == "__main__":
    main(*sys.argv[1:])
