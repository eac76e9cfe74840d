"""Writes what the model computes under one of Keras' backends.

    KERAS_BACKEND=jax python tests/helpers/backends.py jax.npz

Imports nothing of bert_tf that imports TensorFlow, so it runs where only the
other backend is installed. For each head it writes the names of all weights,
the outputs, the loss, every gradient, and every weight after one step of the
optimizer. NumPy draws weights and inputs, the same under each backend.
"""

import functools
import os
import sys

import numpy as np

SMALL = {
    "vocab_size": 60,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 16,
    "type_vocab_size": 2,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
}
NUM_LABELS = 3
NUM_PREDICTIONS = 4
LEARNING_RATE = 1e-2


def tasks():
    """{name: (function that builds the model, function for its loss)}."""
    from bert_tf import heads, models

    def pretraining_loss(outputs, batch):
        masked, _ = heads.masked_lm_loss(
            outputs["masked_lm_logits"],
            batch["masked_lm_ids"],
            batch["masked_lm_weights"],
        )
        following, _ = heads.classification_loss(
            outputs["next_sentence_logits"], batch["next_sentence_labels"]
        )
        return masked + following

    def classifier_loss(outputs, batch):
        return heads.classification_loss(outputs["logits"], batch["labels"])[0]

    def span_loss(outputs, batch):
        return heads.span_loss(
            outputs["start_logits"],
            outputs["end_logits"],
            batch["start_positions"],
            batch["end_positions"],
        )

    return {
        "pretraining": (models.pretraining, pretraining_loss),
        "classifier": (
            lambda config: models.classifier(config, NUM_LABELS),
            classifier_loss,
        ),
        "span": (models.span, span_loss),
    }


def make_batch(config, batch_size, length):
    """Random features of all three tasks; the rows end in padding."""
    rng = np.random.default_rng(20181011)
    shape = (batch_size, length)
    lengths = np.linspace(length // 2, length, batch_size).astype(int)
    inside = (np.arange(length) < lengths[:, None]).astype("int32")
    predictions = (batch_size, NUM_PREDICTIONS)

    def draw(high, size):
        return rng.integers(high, size=size).astype("int32")

    return {
        "input_ids": draw(config.vocab_size, shape) * inside,
        "input_mask": inside,
        "segment_ids": draw(2, shape) * inside,
        "masked_lm_positions": draw(length // 2, predictions),
        "masked_lm_ids": draw(config.vocab_size, predictions),
        "masked_lm_weights": draw(2, predictions).astype("float32"),
        "next_sentence_labels": draw(2, batch_size),
        "labels": draw(NUM_LABELS, batch_size),
        "start_positions": draw(length, batch_size),
        "end_positions": draw(length, batch_size),
    }


def draw_weights(model):
    """Gives every weight a value that depends on its place alone."""
    rng = np.random.default_rng(1)
    for weight in sorted(model.weights, key=lambda weight: weight.path):
        values = rng.normal(0, 0.1, weight.shape)
        if weight.path.endswith("gamma"):
            values += 1
        weight.assign(values.astype("float32"))


class Trainer:
    """One model with its loss and its optimizer, under the current backend.

    Attributes:
        forward: function that returns the outputs.
        gradients: function that returns the loss and the gradients.
        step: function that changes the weights and returns the loss.
    """

    def __init__(self, model, loss, batch):
        import keras

        from bert_tf.optimization import create_optimizer

        self.model, self.loss = model, loss
        self.batch = {
            name: keras.ops.convert_to_tensor(value)
            for name, value in batch.items()
        }
        self.inputs = {name: self.batch[name] for name in model.input}
        self.optimizer = create_optimizer(LEARNING_RATE, 100, 0)
        self.optimizer.build(model.trainable_variables)
        make = {
            "tensorflow": self._tensorflow,
            "jax": self._jax,
            "torch": self._torch,
        }[keras.backend.backend()]
        self.forward, self.gradients, self.step = make()

    def _tensorflow(self):
        import tensorflow as tf

        variables = self.model.trainable_variables

        def gradients():
            with tf.GradientTape() as tape:
                outputs = self.model(self.inputs, training=False)
                loss = self.loss(outputs, self.batch)
            return loss, tape.gradient(loss, [v.value for v in variables])

        def step():
            loss, found = gradients()
            self.optimizer.apply(found, variables)
            return loss

        def forward():
            return self.model(self.inputs, training=False)

        return tf.function(forward), gradients, tf.function(step)

    def _jax(self):
        import jax

        model, optimizer = self.model, self.optimizer
        fixed = model.non_trainable_variables

        def loss_of(weights, others, batch):
            inputs = {name: batch[name] for name in model.input}
            outputs, others = model.stateless_call(
                weights, others, inputs, training=False
            )
            return self.loss(outputs, batch), (outputs, others)

        @jax.jit
        def compiled(weights, others, slots, batch):
            differentiate = jax.value_and_grad(loss_of, has_aux=True)
            (loss, (outputs, others)), found = differentiate(
                weights, others, batch
            )
            weights, slots = optimizer.stateless_apply(slots, found, weights)
            return outputs, loss, found, weights, others, slots

        # All at once: compiling takes longer than anything else.
        @functools.cache
        def results():
            variables = model.trainable_variables, fixed, optimizer.variables
            values = [[one.value for one in some] for some in variables]
            return compiled(*values, self.batch)

        def step():
            _, loss, _, *found = results()
            variables = model.trainable_variables, fixed, optimizer.variables
            for some, values in zip(variables, found):
                for variable, value in zip(some, values):
                    variable.assign(value)
            return loss

        return lambda: results()[0], lambda: results()[1:3], step

    def _torch(self):
        import torch

        model, variables = self.model, self.model.trainable_variables

        def gradients():
            model.zero_grad()
            outputs = model(self.inputs, training=False)
            loss = self.loss(outputs, self.batch)
            loss.backward()
            return loss.detach(), [v.value.grad for v in variables]

        def step():
            loss, found = gradients()
            with torch.no_grad():
                self.optimizer.apply(found, variables)
            return loss

        def forward():
            with torch.no_grad():
                return model(self.inputs, training=False)

        return forward, gradients, step


def dense(gradient, shape):
    """A gradient as an array; TensorFlow gives that of a table by its rows."""
    import keras

    from bert_tf.optimization import dense_gradient

    if gradient is None:
        return np.zeros(shape, "float32")
    return keras.ops.convert_to_numpy(dense_gradient(gradient))


def all_numbers():
    """Arrays by task and name."""
    import keras

    from bert_tf.modeling import BertConfig

    config = BertConfig(**SMALL)
    batch = make_batch(config, 4, 12)
    found = {}
    for task, (build, loss) in tasks().items():
        model = build(config)
        draw_weights(model)
        trainer = Trainer(model, loss, batch)
        # As in the original, TensorFlow takes the norm of a table's gradient
        # before the rows of one id are summed; the other backends have only the
        # sums, so they clip differently.
        trainer.optimizer.clip_norm = None
        for name, output in trainer.forward().items():
            found[f"{task}/output/{name}"] = keras.ops.convert_to_numpy(output)
        value, gradients = trainer.gradients()
        found[f"{task}/loss"] = keras.ops.convert_to_numpy(value)
        for weight, gradient in zip(model.trainable_variables, gradients):
            name = f"{task}/gradient/{weight.path}"
            found[name] = dense(gradient, weight.shape)
        trainer.step()
        for weight in model.weights:
            name = f"{task}/after_a_step/{weight.path}"
            found[name] = keras.ops.convert_to_numpy(weight.value)
    return found


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    np.savez(sys.argv[1], **all_numbers())
