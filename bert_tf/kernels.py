"""What TensorFlow has a faster way for than `keras.ops` has, where it computes.

Comes in and goes out: tensors of the layers. Other backends take the way of
`keras.ops`; nothing here imports TensorFlow for them.
"""

import math

import keras
from keras import ops

_ON_TENSORFLOW = keras.backend.backend() == "tensorflow"

if _ON_TENSORFLOW:
    import tensorflow as tf


def drop(x, rate, seed):
    """Dropout: zeroes a share of the values, and scales the others up.

    Half of the time of dropout is that of random numbers. So here TensorFlow
    draws 16 bits for each value and not 32: the rate is exact to 2 ** -17.

    Args:
        x: float tensor [...].
        rate: float in (0, 1).
        seed: int tensor [2], which decides what is dropped.

    Returns:
        float tensor [...].
    """
    dropped = round(rate * 2**16)  # Of the numbers 0 to 65535.
    if not _ON_TENSORFLOW or dropped == 2**16:
        return keras.random.dropout(x, rate, seed=_DrawnSeed(seed))
    *outer, length = tf.unstack(tf.shape(x))
    pairs = (length + 1) // 2
    bits = tf.random.stateless_uniform(
        [*outer, pairs],
        tf.cast(seed, tf.int64),
        minval=None,
        maxval=None,
        dtype=tf.uint32,
    )
    # Each becomes two numbers of 16 bits.
    bits = tf.reshape(tf.bitcast(bits, tf.uint16), [*outer, 2 * pairs])
    kept = bits[..., :length] >= tf.constant(dropped, tf.uint16)
    return tf.where(kept, x * (1.0 / (1.0 - rate)), tf.zeros((), x.dtype))


class _DrawnSeed(keras.random.SeedGenerator):
    """Gives a seed that was drawn before."""

    def __init__(self, seed):
        # Not Keras' own: no variable, no state.
        self.drawn = seed

    def next(self, ordered=True):
        return self.drawn


def unfilled(shape, dtype):
    """A tensor for a value that is to come, with NaN in its first row.

    With TensorFlow the other rows are whatever is in memory, which is then not
    even touched.

    Args:
        shape: of one dimension at least.
        dtype: of floats.
    """
    if not _ON_TENSORFLOW:
        return ops.full(shape, math.nan, dtype=dtype)
    with tf.init_scope():
        empty = tf.raw_ops.Empty(shape=shape, dtype=dtype)
        row = tf.fill([1, *shape[1:]], tf.constant(math.nan, dtype))
        return tf.raw_ops.InplaceUpdate(x=empty, i=[0], v=row)
