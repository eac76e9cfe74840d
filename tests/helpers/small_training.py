"""Runs of a model small enough to be trained a hundred times."""

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from bert_tf import checkpoints, layers, models
from bert_tf.training import loop
from bert_tf.training.settings import EvaluationSettings, TrainingSettings
from bert_tf.training.start import build_model, find_starting_point, set_seed
from helpers.golden import MICRO, read_config

INIT_LR = 0.01


def small_model(dropout=0.5):
    x = keras.Input((4,), name="x")
    hidden = keras.layers.Dense(8, activation="tanh", name="hidden")(x)
    hidden = keras.layers.Dropout(dropout)(hidden)
    y = keras.layers.Dense(1, name="out")(hidden)
    return keras.Model({"x": x}, {"y": y})


def squared_error(outputs, batch, totals=None):
    y = ops.cast(outputs["y"][:, 0], "float32")
    return ops.mean(ops.square(y - batch["target"]))


def batches_from(step, poison=lambda number, batch: batch):
    """Endless batches; each depends on nothing but its number."""

    def make(number):
        x = tf.random.stateless_normal((8, 4), [7, number])
        batch = {"x": x, "target": tf.reduce_sum(x, 1), "number": number}
        return poison(number, batch)

    return tf.data.Dataset.range(step, 10**9).map(make)


def train(
    folder,
    num_train_steps,
    loss_fn=squared_error,
    make_dataset=batches_from,
    learning_rate=INIT_LR,
    dropout=0.5,
    seed=1,
    precision="float32",
    evaluation=None,
    chance=None,
    init_checkpoint=None,
    **settings,
):
    """Seeds, finds the starting point, builds and trains, as a command does.

    Returns:
        All arrays of the last checkpoint.
    """
    set_seed(seed)
    start = find_starting_point(str(folder), init_checkpoint)
    with layers.precision(precision):
        model = small_model(dropout)
    if start.prefix:
        checkpoints.load(checkpoints.named_weights(model), start.prefix)
    loop.train(
        model,
        loss_fn,
        make_dataset,
        start,
        TrainingSettings(
            output_dir=str(folder),
            num_train_steps=num_train_steps,
            learning_rate=learning_rate,
            num_warmup_steps=2,
            batch_size=8,
            **settings,
        ),
        evaluation=evaluation and evaluation.settings,
        evaluate=evaluation and evaluation(model),
        chance=chance,
    )
    return contents(find_starting_point(str(folder)).prefix)


def contents(prefix):
    """All arrays of a checkpoint, as TensorFlow itself reads them."""
    reader = tf.train.load_checkpoint(str(prefix))
    return {
        name: reader.get_tensor(name)
        for name in reader.get_variable_to_shape_map()
    }


def assert_same(got, want):
    assert got.keys() == want.keys()
    for name in want:
        np.testing.assert_array_equal(got[name], want[name], err_msg=name)


def saved_steps(folder):
    return sorted(
        int(path.stem.rpartition("-")[2])
        for path in folder.glob("model.ckpt-*.index")
    )


class Scores:
    """Evaluations that return the given scores, one after the other.

    Attributes:
        settings: `EvaluationSettings`.
        seen_weights: the model's weights at each evaluation.
    """

    def __init__(self, scores, every_steps=2, **settings):
        self.scores = scores
        self.settings = EvaluationSettings(every_steps, **settings)
        self.seen_weights = []

    def __call__(self, model):
        def evaluate():
            self.seen_weights.append(model.get_weights())
            return {
                "score": self.scores[len(self.seen_weights) - 1],
                "loss": 0.5,
            }

        return evaluate


def micro_classifier(start):
    """The model of the golden trajectory, which was made without dropout."""
    config = read_config(
        MICRO.parent, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0
    )
    model = build_model(lambda: models.classifier(config, 3), config, start)
    model.get_layer("classifier").dropout.rate = 0.0
    return model
