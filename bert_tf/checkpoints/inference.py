"""A checkpoint with its config and its vocabulary, checked and loaded once.

Comes in: a path, or the flags that give it, and a function that builds a model.
Goes out: the model, ready to be asked about rows of any length. What is asked,
and which head must be there, is for `language_model` and `answer`.
"""

import contextlib
import itertools
import json
import os
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from absl import flags, logging

from bert_tf import (
    checkpoints,
    models,
    tokenization,
)
from bert_tf.checkpoints import folders
from bert_tf.cli import command_line, model_flags
from bert_tf.data import packing
from bert_tf.errors import InputError
from bert_tf.modeling import BertConfig, create_initializer, weights_to_come
from bert_tf.support import files
from bert_tf.tasks.classification import datasets

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
    datasets.require_special_tokens(tokenizer, vocab_file)
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


def require_positive(name, value):
    """Raises `InputError` for a number that is not above 0."""
    if value < 1:
        raise InputError(f"`{name}` must be above 0. Received: {name}={value}")


def batched(things, size):
    """Lists of `size` things; the last one may be shorter."""
    things = iter(things)
    while batch := list(itertools.islice(things, size)):
        yield batch


# ------------------------------------------------- what commands have in common


def define_model_flags(values):
    """Defines the flags that say which model."""
    string, *_ = command_line.definers(values)
    string(
        "checkpoint",
        None,
        "Folder of a model, with bert_config.json and vocab.txt; or a prefix "
        "such as BERT/bert_model.ckpt.",
    )
    string("vocab_file", None, "[vocab.txt beside the checkpoint]")
    string("bert_config_file", None, "[bert_config.json beside the checkpoint]")
    model_flags.define_lower_case(values)
    flags.mark_flag_as_required("checkpoint", flag_values=values)


def check_model_flags(flags):
    """Raises `InputError` for a file of those that is not there."""
    for name in ("vocab_file", "bert_config_file"):
        if flags[name].value:
            command_line.require_file(name, flags[name].value)


def define_flags(values):
    """Defines the flags that say which model, and where answers go."""
    define_model_flags(values)
    string, integer, _, _ = command_line.definers(values)
    integer("batch_size", 32, "Rows in a batch.")
    string(
        "output_file",
        None,
        "Write answers as lines of JSON. [they are printed for people]",
    )


def check_flags(flags):
    """Raises `InputError` for a bad value of those, before any work."""
    command_line.require_positive(flags, "batch_size")
    check_model_flags(flags)


@contextlib.contextmanager
def open_output(flags):
    """A function of an answer, as text and as a dictionary, that shows it."""
    if not flags.output_file:
        yield lambda text, _: print(text, flush=True)
        return
    folder = os.path.dirname(flags.output_file) or "."
    command_line.make_folder("output_file", folder)
    files.remove_left_overs(flags.output_file)
    with files.whole_or_nothing(flags.output_file) as file:

        def write(_, values):
            line = json.dumps(values, ensure_ascii=False) + "\n"
            file.write(line.encode("utf-8"))

        yield write
    logging.info("Wrote %s.", flags.output_file)
