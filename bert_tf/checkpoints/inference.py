"""A checkpoint as a model that is ready for inference."""

import tensorflow as tf
from absl import logging

from bert_tf import models
from bert_tf.checkpoints.names import named_weights
from bert_tf.checkpoints.reader import open_reader
from bert_tf.checkpoints.reading import load

# Re-exported for callers.
from bert_tf.data.grouping import encoder_inputs as encoder_inputs
from bert_tf.errors import InputError
from bert_tf.layers import create_initializer, weights_to_come

ANY_NAME = ("",)
"""For `may_lack` of `load_model`: any variable may be missing."""


def find_length(config, max_seq_length=None, default=None):
    """The most word pieces of an input.

    Args:
        config: the model's `BertConfig`.
        max_seq_length: what the caller asks for, or None.
        default: used if that is None; at most the positions of the model, and
            these if it is None as well.

    Raises:
        InputError: more than the model has positions, or below 3.
    """
    longest = config.max_position_embeddings
    if max_seq_length is None:
        return min(default or longest, longest)
    if not 3 <= max_seq_length <= longest:
        raise InputError(
            "`max_seq_length` must be at least 3 and at most "
            f"{longest}, the positions that the model has. Received: "
            f"max_seq_length={max_seq_length}"
        )
    return max_seq_length


def load_model(
    build, config, checkpoint, may_lack, strategy=None, skip_padding=False
):
    """A model with the weights of a checkpoint.

    They are read while the model is built.

    Args:
        build: function without arguments that returns a `keras.Model`.
        config: the model's `BertConfig`.
        checkpoint: whatever `checkpoints.find` takes, or a `CheckpointReader`.
        may_lack: beginnings of the names that may be missing.
        strategy: a `tf.distribute.Strategy`, or None for the default one.
        skip_padding: whether to compute tokens only: `models.skip_padding`.

    Returns:
        The model, and the names of its variables that the checkpoint lacks.

    Raises:
        InputError: others are missing, or something does not fit.
    """
    strategy = strategy or tf.distribute.get_strategy()
    reader = open_reader(checkpoint)
    with reader.reading_ahead():
        with strategy.scope(), weights_to_come():
            model = build()
        weights = named_weights(model)
        report = load(
            weights,
            reader,
            initializer=create_initializer(config.initializer_range),
            expect=[name for name in weights if not name.startswith(may_lack)],
        )
    logging.info("%s", report.summary())
    if skip_padding:
        models.skip_padding(model)
    return model, report.missing


def trace_forward(model):
    """The model as a `tf.function` of its inputs by name, not training.

    Traced once, for batches of any size and length.
    """
    spec = {
        name: tf.TensorSpec([None] * len(x.shape), tf.int32)
        for name, x in model.input.items()
    }
    return tf.function(
        lambda inputs: model(inputs, training=False),
        input_signature=[spec],
        autograph=False,
    )


def compile_forward(model):
    """The model as a function of its inputs by name that returns arrays."""
    forward = trace_forward(model)

    def run(inputs):
        inputs = {name: tf.constant(x, tf.int32) for name, x in inputs.items()}
        return {name: x.numpy() for name, x in forward(inputs).items()}

    return run
