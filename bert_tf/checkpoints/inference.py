"""A checkpoint with its config and its vocabulary, checked and loaded once.

Comes in: a path, or the flags that give it, and a function that builds a model.
Goes out: the model, ready to be asked about rows of any length. What is asked,
and which head must be there, is for `language_model` and `answer`.
"""

from typing import NamedTuple

import numpy as np
import tensorflow as tf
from absl import logging

from bert_tf import (
    checkpoints,
    models,
    tokenization,
)
from bert_tf.checkpoints import folders
from bert_tf.data import packing
from bert_tf.errors import InputError
from bert_tf.layers import create_initializer, weights_to_come
from bert_tf.modeling import BertConfig

ANY_NAME = ("",)
"""How all names begin: what `load_model` takes for `may_lack`."""


class Opened(NamedTuple):
    """What belongs to a checkpoint, before its weights are read.

    Attributes:
        path: its prefix.
        config: the model's `BertConfig`.
        tokenizer: a `FullTokenizer` with its vocabulary.
        vocab_file: where that is from.
    """

    path: str
    config: BertConfig
    tokenizer: tokenization.FullTokenizer
    vocab_file: str


def open_checkpoint(
    checkpoint, vocab_file=None, bert_config_file=None, do_lower_case=True
):
    """Finds a checkpoint, its vocabulary and config, and checks that they fit.

    Args:
        checkpoint: whatever `checkpoints.find` takes: the folder of a released
            model, say.
        vocab_file: None for the vocab.txt beside the checkpoint.
        bert_config_file: None for the bert_config.json beside it.
        do_lower_case: true for uncased models, false for cased ones.

    Raises:
        InputError: a file is missing or does not fit the others.
    """
    found = folders.find(checkpoint, vocab_file, bert_config_file)
    path, vocab_file = found.reader.path, found.vocab_file
    tokenization.validate_case_matches_checkpoint(do_lower_case, path)
    tokenizer = tokenization.FullTokenizer(vocab_file, do_lower_case)
    tokenization.require_special_tokens(tokenizer, vocab_file)
    return Opened(path, found.config, tokenizer, vocab_file)


def find_length(config, max_seq_length=None, default=None):
    """How many word pieces are shown to a model at once.

    Args:
        config: the model's `BertConfig`.
        max_seq_length: how many are asked for.
        default: what to take if that is None, or as many as the model has
            positions for if they are fewer, or this is None too.

    Raises:
        InputError: asks for more than there are positions, or below 3.
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


def load_model(build, config, path, may_lack, strategy=None):
    """A model with the weights of a checkpoint.

    They are read while the model is built.

    Args:
        build: function without arguments that returns a `keras.Model`.
        config: the model's `BertConfig`.
        path: the checkpoint, whatever `checkpoints.find` takes.
        may_lack: how names begin that need not be in the checkpoint.
        strategy: a `tf.distribute.Strategy`, or None for the default one.

    Returns:
        The model, and the names of its variables that the checkpoint lacks.

    Raises:
        InputError: it lacks others, or something in it does not fit.
    """
    strategy = strategy or tf.distribute.get_strategy()
    reader = checkpoints.CheckpointReader(path)
    with reader.reading_ahead():
        with strategy.scope(), weights_to_come():
            model = build()
        weights = checkpoints.named_weights(model)
        report = checkpoints.load(
            weights,
            reader,
            initializer=create_initializer(config.initializer_range),
            expect=[name for name in weights if not name.startswith(may_lack)],
        )
    logging.info("%s", report.summary())
    return model, report.missing


def trace_forward(model):
    """A `tf.function` of `model`'s inputs by name, not training.

    One trace serves rows of any number and length.
    """
    spec = {name: tf.TensorSpec((None, None), tf.int32) for name in model.input}
    return tf.function(
        lambda inputs: model(inputs, training=False),
        input_signature=[spec],
        autograph=False,
    )


def compile_forward(model):
    """A function of `model`'s inputs by name that returns NumPy arrays."""
    forward = trace_forward(model)

    def run(inputs):
        inputs = {name: tf.constant(x, tf.int32) for name, x in inputs.items()}
        return {name: x.numpy() for name, x in forward(inputs).items()}

    return run


def encoder_inputs(rows, length):
    """Rows as `input_ids`, `input_mask` and `segment_ids`, int32 [B, length].

    Args:
        rows: pairs of input_ids and segment_ids.
        length: what they are padded to.
    """
    columns = [packing.pad_inputs(*row, length) for row in rows]
    arrays = np.array(columns, np.int32).swapaxes(0, 1)
    return dict(zip(models.ENCODER_INPUTS, arrays))


# ------------------------------------------------- what commands have in common
