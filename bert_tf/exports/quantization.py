"""The encoder's linear layers in 8 or 16 bits, for SavedModels.

Kernels of query, key, value, output and intermediate layers and of poolers
become int8 or bfloat16. All other weights stay float32: embeddings, LayerNorm,
heads, biases. It needs neither training nor data.

bfloat16 rounds a kernel once, where `mixed_bfloat16` rounds it in each call.
int8 has a scale for each output of a kernel, and rounds the inputs at run time
with a scale for each row ("dynamic quantization"): a text's outputs do not
depend on the other texts of its batch.
"""

import keras
import tensorflow as tf

from bert_tf import layers, models
from bert_tf.exports.settings import BFLOAT16
from bert_tf.heads import PooledClassifierHead

LARGEST = 127.0
"""Largest int8 in use; without -128, both signs have the same range."""

# The least divisor, for rows of zeros.
_SMALLEST_RANGE = 1e-30


class Int8Dense(layers.Dense):
    """A `layers.Dense` after `quantize("int8")`, with a fast product.

    Keras' own product gives the same numbers, but is slower than float32. This
    one works inside a `tf.function` only.

    Call arguments:
        x: float32 tensor [..., any width].

    Returns:
        float32 tensor [..., units].
    """

    def quantized_call(self, x, training=None):
        width = x.shape[-1]
        rows = tf.reshape(x, (-1, width))
        rounded, scales = quantize_rows(rows)
        kernel = tf.bitcast(tf.convert_to_tensor(self._kernel), tf.qint8)
        kernel_scales = 1.0 / tf.convert_to_tensor(self.kernel_scale)
        product = _product(rounded, kernel, kernel_scales)
        y = product * scales + tf.convert_to_tensor(self.bias)
        if self.activation is not None:
            y = self.activation(y)
        return tf.reshape(y, tf.concat([tf.shape(x)[:-1], [self.units]], 0))


def precision(mode):
    """The precision, one of `layers.PRECISIONS`, to build the model in.

    Args:
        mode: one of `QUANTIZATIONS`, or None.
    """
    return "mixed_bfloat16" if mode == BFLOAT16 else "float32"


def quantize(model, mode):
    """Rounds the kernels of the encoder's linear layers, in place.

    Args:
        model: a `keras.Model` of `models`, built in `precision(mode)`, with its
            weights. It cannot be trained afterwards.
        mode: one of `QUANTIZATIONS`.
    """
    for layer in linear_layers(model):
        if mode == BFLOAT16:
            _round_kernel(layer)
            continue
        # With the type check, Keras refuses subclasses, as `call` may differ.
        layer.quantize("int8", type_check=False)
        # A built Keras layer cannot be replaced in its parent.
        layer.__class__ = Int8Dense


def _round_kernel(layer):
    rounded = keras.ops.cast(layer.kernel, "bfloat16")
    # As `keras.layers.Dense.quantize` does.
    layer._tracker.unlock()
    layer._untrack_variable(layer._kernel)
    layer._kernel = layer.add_weight(
        name="kernel",
        shape=rounded.shape,
        dtype="bfloat16",
        initializer=lambda shape, dtype: rounded,
        trainable=False,
    )
    layer._tracker.lock()


def linear_layers(model):
    """The linear layers of a model's encoder, from the lowest to poolers."""
    bert = models.find_bert(model)
    for layer in bert.encoder.layers:
        attention = layer.attention
        yield attention.self_attention.query
        yield attention.self_attention.key
        yield attention.self_attention.value
        yield attention.residual_output.dense
        yield layer.intermediate
        yield layer.residual_output.dense
    yield bert.pooler
    for layer in model.layers:
        if isinstance(layer, PooledClassifierHead):
            yield layer.pooler


def quantize_rows(rows):
    """Rounds each row to 255 steps, from minus its largest size to plus it.

    Args:
        rows: float32 tensor [R, any width].

    Returns:
        qint8 tensor of the same shape, and the size of a step, float32 [R, 1]:
        their product is close to `rows`.
    """
    largest = tf.reduce_max(tf.abs(rows), axis=1, keepdims=True)
    largest = tf.maximum(largest, _SMALLEST_RANGE)
    rounded = tf.cast(tf.round(rows * (LARGEST / largest)), tf.int8)
    return tf.bitcast(rounded, tf.qint8), largest / LARGEST


def _product(rows, kernel, kernel_scales):
    """Rows [R, K] times a kernel [K, N], both qint8, times its scales [N].

    Returns:
        float32 tensor [R, N].
    """
    largest = LARGEST * kernel_scales
    no_bias = tf.zeros_like(kernel_scales)
    device_inputs = (rows, kernel, no_bias)
    host_inputs = (-LARGEST, LARGEST, -largest, largest)
    # The CPU kernel supports no smaller fusion.
    fused = (b"BiasAdd", b"Dequantize")
    value, kind = tf.compat.v1.AttrValue, tf.compat.v1.AttrValue.ListValue
    floats = tf.float32.as_datatype_enum
    eights = tf.qint8.as_datatype_enum
    # `tf.raw_ops` lacks this operation.
    operation = rows.graph.create_op(
        "_QuantizedMatMul",
        [*device_inputs, *map(tf.convert_to_tensor, host_inputs)],
        [tf.float32],
        name="quantized_matmul",
        attrs={
            "Tdevice_inputs": value(list=kind(type=(eights, eights, floats))),
            "Thost_inputs": value(list=kind(type=(floats,) * 4)),
            "Tdevice_outputs": value(list=kind(type=(floats,))),
            "Thost_outputs": value(list=kind()),
            "T1": value(type=eights),
            "T2": value(type=eights),
            "Tbias": value(type=floats),
            "U": value(type=floats),
            "Tout": value(type=floats),
            "fused_ops": value(list=kind(s=fused)),
            "input_quant_mode": value(s=b"SCALED"),
            # Lets oneDNN cache the kernel in its own layout.
            "is_weight_const": value(b=True),
        },
    )
    return tf.ensure_shape(operation.outputs[0], (None, kernel.shape[1]))
