"""The model's general layers: activations, linear, LayerNorm, dropout.

They are written in `keras.ops`. On the TensorFlow backend faster operations of
its own are used; no other backend imports TensorFlow.
"""

import contextlib
import contextvars
import functools
import math

import keras
import numpy as np
from keras import ops

from bert_tf.errors import InputError

_ON_TENSORFLOW = keras.backend.backend() == "tensorflow"

if _ON_TENSORFLOW:
    import tensorflow as tf

# The original adds -10000 rather than -inf: a row in which everything is masked
# still has a softmax.
MASKED_SCORE = -10000.0

# The original's value, in the embeddings, the encoder and the heads alike.
LAYER_NORM_EPSILON = 1e-12

PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")
"""What models compute in, by Keras' names. Variables are always float32."""


@contextlib.contextmanager
def precision(name):
    """Builds models that compute in this precision from then on.

    The mixed ones do most of the work, above all matrix products, in 16 bits.
    Embeddings, LayerNorm, logits and the sums of softmax are always float32.

    Args:
        name: one of `PRECISIONS`.

    Raises:
        InputError: no such precision.
    """
    if name not in PRECISIONS:
        raise InputError(
            f"The precision must be one of {PRECISIONS}. Received: {name!r}"
        )
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


# ---------------------------------------------------------------- activations


def gelu(x):
    """The Gaussian error linear unit, in the tanh form of the original."""
    return keras.activations.gelu(x, approximate=True)


def gelu_exact(x):
    """The erf form, which Hugging Face's models call "gelu"."""
    return keras.activations.gelu(x, approximate=False)


ACTIVATIONS = {
    "gelu": gelu,
    "gelu_exact": gelu_exact,
    "linear": None,
    "relu": keras.activations.relu,
    "tanh": keras.activations.tanh,
}


def get_activation(name):
    """The function for a `hidden_act`, or None for the identity.

    Args:
        name: a key of `ACTIVATIONS` in any case, empty or None for none, or a
            callable, which is returned as it is.

    Raises:
        InputError: no such activation.
    """
    if callable(name) or not name:
        return name or None
    if not isinstance(name, str) or name.lower() not in ACTIVATIONS:
        raise InputError(
            f"`hidden_act` must be one of {sorted(ACTIVATIONS)}. "
            f"Received: hidden_act={name!r}"
        )
    return ACTIVATIONS[name.lower()]


def gelu_in_training(x):
    """`gelu` with a gradient computed from `x` alone.

    TensorFlow's own gradient keeps several tensors of this size.

    Args:
        x: float tensor [...].

    Returns:
        float tensor [...].
    """
    if not _ON_TENSORFLOW:
        return gelu(x)
    y = _gelu_function(x.dtype)(x)
    y.set_shape(x.shape)
    return y


@functools.cache
def _gelu_function(dtype):
    # One function for all graphs: TensorFlow never frees a custom gradient, nor
    # the graph in which it was defined.
    signature = [tf.TensorSpec(None, dtype)]
    return tf.function(
        _gelu_with_gradient, input_signature=signature, autograph=False
    )


# The tanh form is x times the sigmoid of x * (SCALE + CUBIC * x ** 2).
GELU_SCALE = 2.0 * math.sqrt(2.0 / math.pi)
GELU_CUBIC = GELU_SCALE * 0.044715


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


_kept_attention: contextvars.ContextVar[list | None] = contextvars.ContextVar(
    "kept_attention", default=None
)


@contextlib.contextmanager
def keeping_attention():
    """Keeps the attention of models that are called inside.

    Yields:
        A list, to which each call of `softmax` appends its result.
    """
    kept: list = []
    token = _kept_attention.set(kept)
    try:
        yield kept
    finally:
        _kept_attention.reset(token)


def softmax(scores, training):
    """What scores of attention become: their softmax, with sums in float32.

    Sums in 16 bits would lose small terms. TensorFlow's operation takes
    bfloat16 directly and sums in float32; its gradient does not.

    Args:
        scores: float tensor [..., T], over the T positions to attend to.
        training: bool; if false, gradients in bfloat16 have sums of 16 bits.

    Returns:
        tensor of the shape and type of the scores.
    """
    dtype = keras.backend.standardize_dtype(scores.dtype)
    if _ON_TENSORFLOW and dtype == "bfloat16" and not training:
        found = tf.nn.softmax(scores)
    else:
        found = ops.cast(ops.softmax(ops.cast(scores, "float32")), dtype)
    if (kept := _kept_attention.get()) is not None:
        kept.append(found)
    return found


# ------------------------------------------------------------ initial weights


_weights_are_to_come = contextvars.ContextVar("weights_to_come", default=False)


@contextlib.contextmanager
def weights_to_come():
    """Builds models without drawing weights, to be read from a checkpoint.

    The first row of their kernels and embeddings is NaN. By it
    `checkpoints.load` recognizes them, fills them, and draws those that its
    file lacks. (A kernel that stays unfilled makes every output NaN.)
    """
    token = _weights_are_to_come.set(True)
    try:
        yield
    finally:
        _weights_are_to_come.reset(token)


class TruncatedNormal(keras.initializers.TruncatedNormal):
    """The original's initial weights: normal, cut at two standard deviations.

    Inside `weights_to_come()` it draws nothing, and returns NaN.
    """

    def __call__(self, shape, dtype=None, **kwargs):
        if _weights_are_to_come.get():
            return unfilled(shape, dtype)
        return super().__call__(shape, dtype=dtype, **kwargs)


def create_initializer(initializer_range=0.02):
    """Initial kernels and embeddings of the encoder and its heads."""
    return TruncatedNormal(mean=0.0, stddev=initializer_range)


def unfilled(shape, dtype):
    """A tensor whose first row is NaN, for values that will be loaded.

    With TensorFlow the other rows are uninitialized: their memory is not even
    touched.

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


# --------------------------------------------------------------------- layers


class Dense(keras.layers.Dense):
    """A linear layer that multiplies all positions as the rows of one matrix.

    The results are those of Keras' layer. But Keras keeps the shape of a tensor
    of three dimensions, and then TensorFlow cannot fuse product, bias and
    activation if batch and length are only known at run time. With
    `enable_lora` Keras multiplies by the sum of kernel and adapters, whose
    gradient is as large as the kernel's; here rows pass through the adapters.

    Call arguments:
        x: float tensor [..., any width].

    Returns:
        float tensor [..., units].
    """

    def call(self, x, training=None):
        if len(x.shape) < 3:
            return self._multiply(x, training)
        outer = ops.shape(x)[:-1]
        rows = ops.reshape(x, (-1, x.shape[-1]))
        return ops.reshape(self._multiply(rows, training), (*outer, self.units))

    def _multiply(self, rows, training):
        y = ops.add(ops.matmul(rows, self._kernel), self.bias)
        if self.lora_enabled:
            low = ops.matmul(rows, self.lora_kernel_a) * self._lora_scale()
            y = ops.add(y, ops.matmul(low, self.lora_kernel_b))
        if self.activation is None:
            return y
        if self.activation is gelu and training:
            return gelu_in_training(y)
        return self.activation(y)

    def _lora_scale(self):
        return self.lora_alpha / self.lora_rank

    @property
    def base_kernel(self):
        """The kernel's variable, without adapters."""
        return self._kernel

    def merged_kernel(self):
        """The kernel plus the adapters' product, by NumPy: not rounded."""
        factors = self.lora_kernel_a, self.lora_kernel_b
        kernel, a, b = map(ops.convert_to_numpy, (self._kernel, *factors))
        return kernel + np.float32(self._lora_scale()) * (a @ b)

    def merge_lora(self):
        """Adds the adapters to the kernel, and removes them."""
        self._kernel.assign(self.merged_kernel())
        # Functions that were traced before go on adding them.
        self.lora_kernel_b.assign(ops.zeros_like(self.lora_kernel_b))
        for adapter in (self.lora_kernel_a, self.lora_kernel_b):
            self._untrack_variable(adapter)
        self.lora_enabled = False
        for kind in ("rank", "alpha", "kernel_a", "kernel_b"):
            setattr(self, f"lora_{kind}", None)

    def quantize(self, mode=None, type_check=True, config=None):
        # Keras' `Model.quantize`, which checks types, would only warn: what it
        # quantizes of a layer, `call` above does not use.
        if type_check:
            raise InputError(
                "This model cannot be quantized in Python. Export it instead: "
                f"`python -m bert_tf.export_saved_model --quantize={mode}`, "
                "with int8 or bfloat16."
            )
        super().quantize(mode, type_check, config)


def dense(config, units, dtype, activation=None, name="dense"):
    """A linear layer with the config's initial weights."""
    return Dense(
        units,
        activation=activation,
        kernel_initializer=create_initializer(config.initializer_range),
        name=name,
        dtype=dtype,
    )


class LayerNorm(keras.layers.LayerNormalization):
    """LayerNorm over the last axis, computed in float32 in any precision.

    Keras' layer allocates two more tensors as large as its input; this one
    allocates only the normalized values.

    Call arguments:
        x: float tensor [..., D].

    Returns:
        float tensor [..., D].
    """

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.autocast = False

    def call(self, x):
        x = ops.cast(x, "float32")
        centred = x - ops.mean(x, axis=-1, keepdims=True)
        variance = ops.mean(ops.square(centred), axis=-1, keepdims=True)
        normal = centred * ops.rsqrt(variance + self.epsilon)
        gamma, beta = (ops.cast(w, "float32") for w in (self.gamma, self.beta))
        return ops.cast(normal * gamma + beta, self.compute_dtype)


def layer_norm(dtype):
    """LayerNorm with the original's epsilon and name."""
    return LayerNorm(epsilon=LAYER_NORM_EPSILON, name="LayerNorm", dtype=dtype)


class Dropout(keras.layers.Dropout):
    """Dropout that can repeat an earlier call, given the seed of that call."""

    given_seed, calls = None, 0

    def __init__(self, rate, **kwargs):
        if kwargs.get("noise_shape") is not None:
            raise ValueError("`noise_shape` is not supported: leave it out.")
        super().__init__(rate, **kwargs)

    def draw(self):
        """Draws the seed that the next call would use."""
        return self.seed_generator.next()

    @contextlib.contextmanager
    def dropping_by(self, seed):
        """Calls inside use this seed, each in a way of its own; none draws."""
        self.given_seed, self.calls = seed, 0
        try:
            yield
        finally:
            self.given_seed = None

    def drawing_once(self, training):
        """A context whose calls all use one seed, which is drawn here."""
        if not training or not self.rate or self.given_seed is not None:
            return contextlib.nullcontext()
        return self.dropping_by(self.draw())

    def call(self, inputs, training=False):
        if not training or not self.rate:
            return inputs
        if self.given_seed is None:
            return drop(inputs, self.rate, self.draw())
        seed = self.given_seed
        if self.calls:
            seed = seed + ops.cast((self.calls, 0), seed.dtype)
        self.calls += 1
        return drop(inputs, self.rate, seed)


def dropout(rate, dtype):
    """Dropout; a rate of None is 0."""
    return Dropout(rate or 0.0, dtype=dtype)


def drop(x, rate, seed):
    """Zeroes a share of the values, and scales up the others.

    Most of its time is spent on random numbers. So with TensorFlow it draws 16
    bits per value rather than 32: the rate is exact to 2 ** -17.

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
    """Returns a seed that was drawn before."""

    def __init__(self, seed):
        # Not Keras' own: no variable, no state.
        self.drawn = seed

    def next(self, ordered=True):
        return self.drawn


# ------------------------------------------------------- what is attended to


def attention_adder(input_mask, from_length, dtype):
    """The additive attention mask: 0 for tokens, -10000 for padding.

    Args:
        input_mask: int tensor [B, T], 1 for tokens and 0 for padding.
        from_length: int, F.
        dtype: of the scores.

    Returns:
        float tensor [B, 1, F, T].
    """
    # Repeated for each attending token: only then can TensorFlow fuse the
    # addition with the product that computes the scores.
    kept = ops.expand_dims(ops.cast(input_mask, dtype), (1, 2))
    return ops.tile((1.0 - kept) * MASKED_SCORE, (1, 1, from_length, 1))


def left_to_right_adder(length, dtype):
    """The additive mask of scores [B, N, S, S] that hides later tokens."""
    places = ops.arange(length)
    is_later = ops.expand_dims(places, 0) > ops.expand_dims(places, 1)
    hidden = ops.cast(is_later, dtype) * MASKED_SCORE
    return ops.expand_dims(hidden, (0, 1))


# ------------------------------------------------------------ rows of a batch


class _Chosen:
    """Some rows of a matrix, to compute on these only.

    Args:
        tokens: int32 [tokens], the chosen rows, in their new order.
        places_or_none: int32 [rows], for each row of the matrix its place in
            `tokens`, or their number.
        training: whether gradients will be asked for; without it they are right
            as well, but slow.
    """

    def __init__(self, tokens, places_or_none, training):
        self.tokens = tokens
        self.places_or_none = places_or_none
        self.training = training

    def pack(self, rows):
        """All rows [R, D] -> those that are chosen [tokens, D]."""
        return self._move(rows, self.tokens, self.places_or_none, "gradient")

    def unpack(self, rows):
        """Those that are chosen [tokens, D] -> [R, D], with zeros elsewhere."""
        return self._move(rows, self.places_or_none, self.tokens, "result")

    def _move(self, rows, there, back, with_zeros=None):
        if not self.training:
            return _gather(rows, there, with_zeros == "result")
        moved = _move_function(rows.dtype, with_zeros)(rows, there, back)
        moved.set_shape((None, rows.shape[-1]))
        return moved


class PackedRows(_Chosen):
    """Which rows of a batch [B * S, D] are tokens, to compute on these only.

    TensorFlow only. The first position of every sequence counts as a token
    whatever the mask says: the pooler reads it.

    Args:
        input_mask: int tensor [B, S], 1 for tokens and 0 for padding.
        training: whether gradients will be asked for.
    """

    def __init__(self, input_mask, training=None):
        is_token = tf.reshape(_is_token(input_mask), [-1])
        # For each token its row in the batch; for each row of the batch the
        # token that is there, or the one before it, which is of the same
        # sequence since the first position is a token.
        tokens = tf.cast(tf.where(is_token)[:, 0], tf.int32)
        self.places = tf.cumsum(tf.cast(is_token, tf.int32)) - 1
        places_or_none = tf.where(is_token, self.places, tf.size(tokens))
        super().__init__(tokens, places_or_none, training)

    def spread(self, rows):
        """Tokens [tokens, D] -> [B * S, D], for attention.

        Padding repeats the token before it. Nothing may come of it: a key is
        masked, a query packed away; gradients that come back from it are not
        counted.
        """
        return self._move(rows, self.places, self.tokens)


class PackedBatch(_Chosen):
    """The tokens of a batch [B * S, D], and how they attend to each other.

    TensorFlow only. Attention is computed for [B, S, S]; in training in two
    groups of sequences, where S is the longest of each. In prediction batches
    have rows of similar length, and there is one group.

    Args:
        input_mask: int tensor [B, S], 1 for tokens and 0 for padding.
        make_adder: function of the mask of a group that returns what is added
            to its scores.
        training: whether gradients will be asked for.
    """

    def __init__(self, input_mask, make_adder, training=None):
        if not training:
            rows = PackedRows(input_mask, training)
            super().__init__(rows.tokens, rows.places_or_none, training)
            masks, self._groups = [input_mask], [rows]
        else:
            sequences, lengths = _two_groups(input_mask)
            masks = [
                tf.gather(input_mask, some)[:, :length]
                for some, length in zip(sequences, lengths)
            ]
            self._groups = [PackedRows(mask, training) for mask in masks]
            places = tf.range(tf.size(input_mask))
            places = tf.reshape(places, tf.shape(input_mask))
            tokens = [
                tf.gather(
                    tf.reshape(tf.gather(places, some)[:, :length], [-1]),
                    group.tokens,
                )
                for some, length, group in zip(sequences, lengths, self._groups)
            ]
            self._counts = tf.stack([tf.size(some) for some in tokens])
            tokens = tf.concat(tokens, 0)
            count = tf.size(tokens)
            places_or_none = tf.tensor_scatter_nd_update(
                tf.fill([tf.size(input_mask)], count),
                tokens[:, None],
                tf.range(count),
            )
            super().__init__(tokens, places_or_none, training)
        self._lengths = [tf.shape(mask)[1] for mask in masks]
        self._adders = [make_adder(mask) for mask in masks]

    def attend(self, function, rows):
        """Calls a function for each group of sequences.

        Args:
            function: of matrices [sequences * S, D], of S and of what is added
                to scores; returns one such matrix.
            rows: matrices [tokens, D].

        Returns:
            What it has returned for the tokens, [tokens, D].
        """
        parts = [rows]
        if len(self._groups) > 1:
            parts = list(zip(*(tf.split(x, self._counts) for x in rows)))
        spaces = zip(self._lengths, self._adders)
        found = [
            group.pack(function([group.spread(x) for x in some], *space))
            for group, some, space in zip(self._groups, parts, spaces)
        ]
        return found[0] if len(found) == 1 else tf.concat(found, 0)


def _is_token(input_mask):
    first = tf.ones_like(input_mask[:, :1])
    return tf.concat([first, input_mask[:, 1:]], axis=1) > 0


def _two_groups(input_mask):
    """The sequences of each group, and its length; the second may be empty."""
    is_token = _is_token(input_mask)
    batch, length = tf.unstack(tf.shape(input_mask, tf.int64))
    places = tf.range(1, length + 1)
    lengths = tf.reduce_max(tf.where(is_token, places, 0), axis=1)  # [B]
    order = tf.argsort(lengths, direction="DESCENDING", stable=True)
    lengths = tf.gather(lengths, order)
    # The numbers of scores if the first group has 1, 2, ... sequences.
    sizes = tf.range(1, batch + 1)
    rest = tf.concat([lengths[1:], [1]], 0)
    scores = sizes * lengths[0] ** 2 + (batch - sizes) * rest**2
    # Of equal ones the largest: nothing is gained by a second group.
    size = batch - tf.argmin(scores[::-1])
    return (order[:size], order[size:]), (lengths[0], rest[size - 1])


def _gather(rows, index, with_zeros):
    # An index may then be the number of rows.
    rows = tf.pad(rows, [[0, 1], [0, 0]]) if with_zeros else rows
    return tf.gather(rows, index)


@functools.cache
def _move_function(dtype, with_zeros):
    """A function that gathers rows, and whose gradient gathers them back.

    TensorFlow's own gradient would add up rows one by one.
    """

    def move(rows, there, back):
        @tf.custom_gradient
        def moved(rows):
            return _gather(rows, there, with_zeros == "result"), gradient

        def gradient(upstream):
            return _gather(upstream, back, with_zeros == "gradient")

        return moved(rows)

    # One for all graphs, as in `_gelu_function`.
    index = tf.TensorSpec([None], tf.int32)
    rows = tf.TensorSpec([None, None], dtype)
    return tf.function(
        move, input_signature=[rows, index, index], autograph=False
    )


def packs_rows():
    """Whether the backend can: TensorFlow's, whose shapes may vary."""
    return _ON_TENSORFLOW
