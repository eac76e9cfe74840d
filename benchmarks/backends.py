r"""The same model under TensorFlow, JAX and PyTorch: its numbers, its speed.

The layers, heads, losses and the optimizer are `keras.ops` alone, so Keras'
backend is a matter of an environment variable. This program needs nothing of
bert_tf that imports TensorFlow, and runs where only another backend is
installed:

    KERAS_BACKEND=jax python benchmarks/backends.py numbers --out jax.npz
    KERAS_BACKEND=torch python benchmarks/backends.py numbers --out torch.npz
    python benchmarks/backends.py compare jax.npz torch.npz
    KERAS_BACKEND=jax python benchmarks/backends.py speed --size base

`numbers` writes, for each head, the names of all weights, the outputs, the
loss, every gradient, and every weight after one step of the optimizer. Weights
and inputs are drawn by NumPy, the same everywhere. `compare` prints the largest
differences. `speed` prints the median seconds of a forward pass and of a
training step, compiled where the backend has a compiler that trains
(tf.function, jax.jit; PyTorch runs as it is).
"""

import argparse
import os
import statistics
import sys
import time

import numpy as np

# batch, sequence and predictions of one input; the model's sizes.
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
SIZES = {
    "small": SMALL,
    "mini": {
        "vocab_size": 30522,
        "hidden_size": 256,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "intermediate_size": 1024,
        "type_vocab_size": 2,
    },
    "base": {"vocab_size": 30522, "type_vocab_size": 2},
}
NUM_LABELS = 3
NUM_PREDICTIONS = 4
LEARNING_RATE = 1e-2


def main():
    """Does what the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    numbers = commands.add_parser("numbers", help="write what is computed")
    numbers.add_argument("--out", required=True, help="an .npz file")
    compare = commands.add_parser("compare", help="print differences")
    compare.add_argument("first")
    compare.add_argument("second")
    speed = commands.add_parser("speed", help="print seconds")
    speed.add_argument("--size", choices=SIZES, default="base")
    speed.add_argument("--batch_size", type=int, default=32)
    speed.add_argument("--max_seq_length", type=int, default=128)
    speed.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    if arguments.command == "numbers":
        np.savez(arguments.out, **all_numbers())
    elif arguments.command == "compare":
        print_differences(arguments.first, arguments.second)
    else:
        print_speed(arguments)


# -------------------------------------------------------- models and their loss


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


# ---------------------------------------------------- training in each backend


class Trainer:
    """One model with its loss and its optimizer, in the backend that runs."""

    def __init__(self, model, loss, batch, is_training):
        import keras

        from bert_tf.optimization import create_optimizer

        self.model, self.loss = model, loss
        self.batch = {
            name: keras.ops.convert_to_tensor(value)
            for name, value in batch.items()
        }
        self.inputs = {name: self.batch[name] for name in model.input}
        self.is_training = is_training
        self.optimizer = create_optimizer(LEARNING_RATE, 100, 0)
        self.optimizer.build(model.trainable_variables)
        make = {
            "tensorflow": self._tensorflow,
            "jax": self._jax,
            "torch": self._torch,
        }[keras.backend.backend()]
        # Functions without arguments. `gradients` returns the loss and the
        # gradients, `step` changes the weights and returns the loss.
        self.forward, self.gradients, self.step = make()

    def _tensorflow(self):
        import tensorflow as tf

        variables = self.model.trainable_variables

        def gradients():
            with tf.GradientTape() as tape:
                outputs = self.model(self.inputs, training=self.is_training)
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
                weights, others, inputs, training=self.is_training
            )
            return self.loss(outputs, batch), others

        differentiate = jax.value_and_grad(loss_of, has_aux=True)

        @jax.jit
        def compiled_step(weights, others, slots, batch):
            (loss, others), found = differentiate(weights, others, batch)
            weights, slots = optimizer.stateless_apply(slots, found, weights)
            return loss, weights, others, slots

        def values(variables):
            return [variable.value for variable in variables]

        def assign(variables, found):
            for variable, value in zip(variables, found):
                variable.assign(value)

        def gradients():
            weights = values(model.trainable_variables)
            (loss, _), found = differentiate(weights, values(fixed), self.batch)
            return loss, found

        def step():
            loss, weights, others, slots = compiled_step(
                values(model.trainable_variables),
                values(fixed),
                values(optimizer.variables),
                self.batch,
            )
            assign(model.trainable_variables, weights)
            assign(fixed, others)
            assign(optimizer.variables, slots)
            return loss

        compiled = jax.jit(
            lambda weights, others, inputs: model.stateless_call(
                weights, others, inputs, training=False
            )[0]
        )

        def forward():
            weights = values(model.trainable_variables)
            return compiled(weights, values(fixed), self.inputs)

        return forward, gradients, step

    def _torch(self):
        import torch

        model, variables = self.model, self.model.trainable_variables

        def gradients():
            model.zero_grad()
            outputs = model(self.inputs, training=self.is_training)
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


# ------------------------------------------------------------- what is printed


def all_numbers():
    """Arrays by task and name: what `numbers` writes."""
    import keras

    from bert_tf.modeling import BertConfig

    config = BertConfig(**SMALL)
    batch = make_batch(config, 4, 12)
    found = {}
    for task, (build, loss) in tasks().items():
        model = build(config)
        draw_weights(model)
        trainer = Trainer(model, loss, batch, is_training=False)
        # As in the original, TensorFlow's norm counts the rows of a table's
        # gradient before those of one id are summed; the other backends know
        # the sums only. So gradients over the norm are clipped differently.
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


def print_differences(first, second):
    """Prints the largest difference of each kind of array.

    Ends with an error if the two have not the same arrays.
    """
    with np.load(first) as one, np.load(second) as other:
        if sorted(one.files) != sorted(other.files):
            odd = sorted(set(one.files) ^ set(other.files))
            sys.exit(f"Only in one of the two: {', '.join(odd)}")
        largest = {}
        for name in one.files:
            kind = "/".join(name.split("/")[:2])
            difference = float(np.abs(one[name] - other[name]).max())
            largest[kind] = max(largest.get(kind, 0.0), difference)
    for kind, difference in largest.items():
        print(f"{kind:32} {difference:.2e}")


def print_speed(arguments):
    """Prints the seconds of a forward pass and of a training step."""
    import keras

    from bert_tf.modeling import BertConfig

    config = BertConfig(**SIZES[arguments.size])
    length = min(arguments.max_seq_length, config.max_position_embeddings)
    batch = make_batch(config, arguments.batch_size, length)
    batch["input_mask"][:] = 1
    print(
        f"{keras.backend.backend()}, {arguments.size}, "
        f"{arguments.batch_size} x {length}"
    )
    for task, (build, loss) in tasks().items():
        trainer = Trainer(build(config), loss, batch, is_training=True)
        for name in ("forward", "step"):
            run = getattr(trainer, name)
            seconds = []
            # The first run compiles.
            for number in range(arguments.rounds + 1):
                began = time.perf_counter()
                # The outputs must be there before the clock is read.
                for output in as_list(run()):
                    keras.ops.convert_to_numpy(output)
                if number:
                    seconds.append(time.perf_counter() - began)
            print(f"{task:12} {name:8} {statistics.median(seconds):.4f} s")


def as_list(outputs):
    """Outputs by name, or one of them, as a list."""
    return list(outputs.values()) if isinstance(outputs, dict) else [outputs]


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    main()
