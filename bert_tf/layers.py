"""What TensorFlow has a faster way for than `keras.ops` has, where it computes.

Comes in and goes out: tensors of the layers. Other backends take the way of
`keras.ops`; nothing here imports TensorFlow for them.
"""

import functools
import math

import keras
from keras import ops

_ON_TENSORFLOW = keras.backend.backend() == "tensorflow"

if _ON_TENSORFLOW:
    import tensorflow as tf


def drop(x, rate, seed):
    """Dropout: zeroes a share of the values, and scales the others up.

    Much of its time is that of random numbers. So TensorFlow draws 16 bits for
    each value here and not 32: the rate is exact to 2 ** -17.

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


# Of the tanh form of gelu: x times the sigmoid of x * (SCALE + CUBIC * x ** 2).
GELU_SCALE = 2.0 * math.sqrt(2.0 / math.pi)
GELU_CUBIC = GELU_SCALE * 0.044715


def gelu_in_training(x):
    """The tanh form of gelu, with a gradient that needs x alone.

    For the one that TensorFlow finds, it keeps several tensors of this size.

    Args:
        x: float tensor [...].

    Returns:
        float tensor [...].
    """
    if not _ON_TENSORFLOW:
        return keras.activations.gelu(x, approximate=True)
    y = _gelu_function(x.dtype)(x)
    y.set_shape(x.shape)
    return y


@functools.cache
def _gelu_function(dtype):
    # A function of its own for all graphs: TensorFlow never forgets a custom
    # gradient, nor the graph in which it was defined.
    signature = [tf.TensorSpec(None, dtype)]
    return tf.function(_gelu_with_gradient, input_signature=signature)


def _gelu_with_gradient(x):
    @tf.custom_gradient
    def gelu(x):
        return tf.nn.gelu(x, approximate=True), gradient

    def gradient(upstream):
        # Beyond 10 it is 0 or 1; x ** 3 would be too large for float16.
        z = tf.clip_by_value(x, -10.0, 10.0) if x.dtype == tf.float16 else x
        square = z * z
        gate = tf.sigmoid(z * (GELU_SCALE + GELU_CUBIC * square))
        slope = z * (GELU_SCALE + 3.0 * GELU_CUBIC * square)
        return upstream * (gate * (1.0 + (1.0 - gate) * slope))

    return gelu(x)


def softmax(scores, training):
    """Softmax over the last axis, whose sums are float32.

    Sums of 16 bits would lose what is small. TensorFlow has an operation that
    takes bfloat16 as it is and sums in float32 inside; its gradient does not.

    Args:
        scores: float tensor [..., T].
        training: bool; gradients without it have sums of 16 bits in bfloat16.

    Returns:
        tensor of the shape and type of the scores.
    """
    dtype = keras.backend.standardize_dtype(scores.dtype)
    if _ON_TENSORFLOW and dtype == "bfloat16" and not training:
        return tf.nn.softmax(scores)
    return ops.cast(ops.softmax(ops.cast(scores, "float32")), dtype)


def unfilled(shape, dtype):
    """A tensor for a value that is to come, with NaN in its first row.

    With TensorFlow the other rows are whatever is in memory, which is then not
    even touched.

    Args:
        shape: of one dimension at least.
        dtype: of floats; None for Keras' own.
    """
    dtype = dtype or keras.config.floatx()
    if not _ON_TENSORFLOW:
        return ops.full(shape, math.nan, dtype=dtype)
    with tf.init_scope():
        empty = tf.raw_ops.Empty(shape=shape, dtype=dtype)
        row = tf.fill([1, *shape[1:]], tf.constant(math.nan, dtype))
        return tf.raw_ops.InplaceUpdate(x=empty, i=[0], v=row)
