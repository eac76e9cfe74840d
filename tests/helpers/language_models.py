"""The tiny pretrained model, in bert_tf and in NumPy."""

import functools

import numpy as np
from absl import flags

from bert_tf.cli import command_line
from bert_tf.tasks.pretraining.language_model import LanguageModel
from helpers.golden import TINY, read_config, read_variables
from helpers.numpy_bert import NumpyBert

# Noise that the original has itself, with log probabilities down to -39.
LOG_PROB_NOISE = 3e-5

TEXT = "the quiet museum measured John Smith ."


@functools.cache
def model():
    return LanguageModel(TINY.parent, batch_size=4)


@functools.cache
def numpy_bert():
    heads = read_config(TINY.parent).num_attention_heads
    return NumpyBert(read_variables(TINY), heads)


def ids(tokens):
    return model().tokenizer.convert_tokens_to_ids(tokens)


def assert_close(got, want):
    np.testing.assert_allclose(got, want, rtol=0, atol=LOG_PROB_NOISE)


def parse(script, *arguments):
    """The flags of a command that uses the tiny model."""
    values = flags.FlagValues()
    script.define_flags(values)
    given = [f"--checkpoint={TINY.parent}", *arguments]
    command_line.parse(values, ["script", *given])
    return values
