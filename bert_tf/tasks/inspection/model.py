"""What an encoder computes on its way, as functions of NumPy arrays."""

import numpy as np
import tensorflow as tf

from bert_tf import models
from bert_tf.data.packing import ENCODER_INPUTS

NUMBERS = tf.TensorSpec([None, None], tf.int32)


def attention_function(model):
    """Computes the attention maps of one row.

    Args:
        model: a `keras.Model` with a `BertModel` in it.

    Returns:
        A function from the model's inputs, int32 [1, S] by name, to
        float32 [L, N, S, S].
    """
    look = _trace(model, lambda hidden, attention: attention)

    def run(inputs):
        return np.stack([weights[0] for weights in look(inputs)])

    return run


def hidden_function(model, layer):
    """Computes the output of one layer.

    Args:
        model: a `keras.Model` with a `BertModel` in it.
        layer: 0 for the embedding output, 1 for the first layer, -1 for the
            last one.

    Returns:
        A function from the model's inputs, int32 [B, S] by name, to
        float32 [B, S, D].
    """
    look = _trace(model, lambda hidden, attention: [hidden[layer]])

    def run(inputs):
        (values,) = look(inputs)
        return values.numpy()

    return run


def _trace(model, choose):
    bert = models.find_bert(model)

    @tf.function(input_signature=[NUMBERS] * 3, autograph=False)
    def look(*rows):
        return choose(*models.look_inside(bert, *rows))

    # Called itself, TensorFlow would warn of functions that are often made.
    compute = look.get_concrete_function()

    def run(inputs):
        return compute(*(tf.constant(inputs[name]) for name in ENCODER_INPUTS))

    return run


def word_embeddings(model):
    """The table of word embeddings of a model, float32 [V, D]."""
    table = models.find_bert(model).embedding_lookup.word_embeddings
    return np.array(table)
