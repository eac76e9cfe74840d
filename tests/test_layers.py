import gc
import json
import math
import weakref

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers.golden import DATA, read_arrays

from bert_tf import layers, models
from bert_tf.errors import InputError
from bert_tf.modeling import BertConfig

FORWARD = DATA / "forward"
FUNCTIONS = json.loads((FORWARD / "functions.json").read_text())
SEED = tf.constant([1, 2])


@pytest.fixture(scope="module")
def elementary():
    return read_arrays(FORWARD / "elementary.npz", "")


# Activations and normalization.


def test_gelu_is_the_originals(elementary):
    # Float32 itself is up to 7e-7 away from the exact value, in both.
    got = layers.gelu(elementary["x"])
    np.testing.assert_allclose(got, elementary["gelu"], rtol=1e-6, atol=2e-6)


def test_gelu_has_the_originals_gradient(elementary):
    x = tf.constant(elementary["x"])
    with tf.GradientTape() as tape:
        tape.watch(x)
        total = tf.reduce_sum(layers.gelu(x))
    # Float32 itself is up to 4e-6 away from the exact value, in both.
    got = tape.gradient(total, x)
    np.testing.assert_allclose(got, elementary["gelu_grad"], atol=8e-6)


@pytest.mark.parametrize("name", ["relu", "tanh"])
def test_other_activations_are_the_originals(elementary, name):
    got = layers.get_activation(name)(elementary["x"])
    np.testing.assert_allclose(got, elementary[name], rtol=1e-6)


def test_gelu_exact_is_the_erf_form(rng):
    x = rng.normal(size=50).astype("float32")
    want = [value * (1 + math.erf(value / math.sqrt(2))) / 2 for value in x]
    got = layers.gelu_exact(x)
    np.testing.assert_allclose(got, want, atol=1e-6)


def test_activations_have_the_originals_names():
    for written, name in FUNCTIONS["get_activation"].items():
        got = layers.get_activation(
            None if written == "None" else written.strip("'")
        )
        assert got is (name and layers.ACTIVATIONS[name])


def test_callable_activation_is_returned():
    assert layers.get_activation(math.sin) is math.sin


@pytest.mark.parametrize("prefix", ["ln", "ln3"])
def test_layer_norm_is_the_originals(elementary, prefix):
    x = elementary[f"{prefix}_in"]
    layer = layers.layer_norm("float32")
    layer.build(x.shape)
    layer.gamma.assign(elementary[f"{prefix}_gamma"])
    layer.beta.assign(elementary[f"{prefix}_beta"])

    error = np.abs(layer(x) - elementary[f"{prefix}_out"])

    if prefix == "ln":
        # The original loses digits in a constant row, and far from 0.
        assert error[6].max() < 0.38
        assert error[9:].max() < 3e-3
        error = np.delete(error, [6, 9, 10], axis=0)
    assert error.max() < 2e-6


def test_unknown_precision_lists_the_known_ones():
    with (
        pytest.raises(InputError, match=r"mixed_bfloat16.*Received: 'bf16'"),
        layers.precision("bf16"),
    ):
        pass


# Faster operations of TensorFlow.


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("length", [7, 8])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_a_tenth_is_dropped_and_the_rest_scaled(dtype, length, jit_compile):
    drop = tf.function(layers.drop, jit_compile=jit_compile)
    y = drop(tf.ones((40, 30, length), dtype), 0.1, SEED)

    assert y.dtype == dtype
    y = tf.cast(y, "float32").numpy()
    assert set(np.unique(y)) == {0.0, np.max(y)}
    assert np.max(y) == pytest.approx(1 / 0.9, rel=1e-2)
    assert np.mean(y == 0) == pytest.approx(0.1, abs=0.015)


def test_the_seed_decides_what_is_dropped():
    x = tf.ones((50, 50))
    again, other = (
        layers.drop(x, 0.5, tf.constant(seed)) for seed in ([1, 2], [1, 3])
    )
    np.testing.assert_array_equal(layers.drop(x, 0.5, SEED), again)
    assert np.mean(again.numpy() == other.numpy()) < 0.6


@pytest.mark.parametrize("rate", [1e-6, 1 - 1e-7])
def test_rates_at_both_ends(rate):
    kept = layers.drop(tf.ones((20, 20)), rate, SEED).numpy() != 0
    assert kept.mean() == (1.0 if rate < 0.5 else 0.0)


def gelu_and_gradient(gelu, x):
    @tf.function
    def both(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = gelu(x)
        return y, tape.gradient(y, x)

    return both(x)


@pytest.mark.parametrize(
    ("dtype", "close"), [("float32", 5e-6), ("bfloat16", 4e-2)]
)
def test_gelus_gradient_is_tensorflows(dtype, close):
    x = tf.cast(tf.linspace(-9.0, 9.0, 1000), dtype)
    ours = gelu_and_gradient(layers.gelu_in_training, x)
    theirs = gelu_and_gradient(layers.gelu, x)
    for got, want in zip(ours, theirs):
        assert got.dtype == dtype
        got, want = (tf.cast(v, "float32") for v in (got, want))
        np.testing.assert_allclose(got, want, atol=close)


def test_gelus_gradient_of_large_numbers_is_finite_in_float16():
    x = tf.constant([-1000, -100, -68, 68, 100, 1000], tf.float16)
    _, gradient = gelu_and_gradient(layers.gelu_in_training, x)
    np.testing.assert_array_equal(gradient, [0, 0, 0, 1, 1, 1])


def traced_graph(training):
    """A weak reference to the graph of a model that is out of scope."""
    config = BertConfig(20, 16, 1, 2, 16, max_position_embeddings=8)
    model = models.classifier(config, 2)

    @tf.function
    def step(inputs):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(model(inputs, training=training)["logits"])
        return tape.gradient(loss, model.trainable_variables[-1])

    inputs = {name: tf.ones((2, 4), tf.int32) for name in models.ENCODER_INPUTS}
    step(inputs)
    return weakref.ref(step.get_concrete_function(inputs).graph)


@pytest.mark.slow
@pytest.mark.parametrize(
    "training", [True, pytest.param(False, marks=pytest.mark.exhaustive)]
)
def test_graph_of_a_deleted_model_is_freed(training):
    graph = traced_graph(training)
    keras.backend.clear_session()
    gc.collect()
    assert graph() is None


def test_first_row_of_an_unfilled_tensor_is_nan():
    for dtype in ("float32", "float16", None):
        x = layers.unfilled((3, 4), dtype)
        assert x.shape == (3, 4)
        assert np.isnan(x.numpy()[0]).all()


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_softmax_sums_in_float32(dtype, training, rng):
    scores = tf.cast(rng.normal(size=(3, 2000)), dtype)
    want = np.exp(np.asarray(tf.cast(scores, "float64")))
    want /= want.sum(-1, keepdims=True)

    probs = layers.softmax(scores, training)

    assert probs.dtype == dtype
    # The last digit, where sums of 16 bits would stop to grow long before 1.
    digit = {"float32": 2**-20, "float16": 2**-10, "bfloat16": 2**-7.5}[dtype]
    np.testing.assert_allclose(
        tf.cast(probs, "float64"), want, rtol=digit, atol=2**-24
    )


@pytest.mark.parametrize("length", [7, 384])
def test_softmax_of_bfloat16_is_that_of_float32_rounded(length, rng):
    scores = tf.cast(rng.normal(size=(2, 4, length, length)), "bfloat16")
    # Padding, which the original's mask makes so.
    scores = tf.concat([scores, scores - 1e4], axis=-1)
    want = tf.cast(tf.nn.softmax(tf.cast(scores, "float32")), "bfloat16")

    probs = layers.softmax(scores, training=False)

    # To the last digit; with oneDNN it is the same one.
    np.testing.assert_allclose(
        tf.cast(probs, "float32"), tf.cast(want, "float32"), rtol=2**-7
    )


# ----------------------------------------------------------------- packed rows

HOLES = np.array(
    [[1, 1, 1, 1], [1, 0, 0, 0], [0, 0, 1, 1], [1, 0, 1, 0], [0, 0, 0, 0]]
)
# The first positions count, whatever the mask says.
KEPT = np.flatnonzero(HOLES | [1, 0, 0, 0])


@pytest.mark.parametrize("training", [False, True])
def test_rows_of_tokens_go_there_and_back(training, rng):
    packing = layers.PackedRows(tf.constant(HOLES), training)
    rows = rng.normal(size=(HOLES.size, 3)).astype(np.float32)

    packed = packing.pack(tf.constant(rows)).numpy()
    np.testing.assert_array_equal(packed, rows[KEPT])

    back = packing.unpack(tf.constant(packed)).numpy()
    np.testing.assert_array_equal(back[KEPT], packed)
    assert not np.delete(back, KEPT, axis=0).any()

    spread = packing.spread(tf.constant(packed)).numpy()
    np.testing.assert_array_equal(spread[KEPT], packed)
    # Padding shows a token of its own sequence only.
    for sequence, tokens in zip(np.split(spread, 5), np.split(back, 5)):
        shown = {row.tobytes() for row in sequence}
        assert shown <= {row.tobytes() for row in tokens if row.any()}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_gradients_go_back_to_the_rows_they_are_of(dtype, rng):
    packing = layers.PackedRows(tf.constant(HOLES), training=True)
    rows = tf.cast(rng.normal(size=(HOLES.size, 3)), dtype)
    upstream = tf.cast(rng.normal(size=(HOLES.size, 3)), dtype)
    with tf.GradientTape() as tape:
        tape.watch(rows)
        kept = packing.unpack(packing.pack(rows) * 2)
    gradient = tape.gradient(kept, rows, upstream).numpy()

    np.testing.assert_array_equal(gradient[KEPT], 2 * upstream.numpy()[KEPT])
    assert not np.delete(gradient, KEPT, axis=0).any()


LENGTHS = {
    "few long": [3, 9, 2, 9, 1],
    "equal": [4, 4, 4],
    "one": [5],
    "a long one": [2, 2, 7, 2, 2, 2],
}


def mask_of(lengths, padding=1):
    longest = max(lengths) + padding
    return (np.arange(longest) < np.array(lengths)[:, None]).astype(np.int32)


def attend(packing, rows):
    """How much each group computes, and what the tokens get."""
    shapes = []

    def mean(matrices, length, adder):
        (x,) = matrices
        x = tf.reshape(x, (-1, length, x.shape[-1]))
        shapes.append(tuple(x.shape[:2]))
        # As attention with equal scores.
        x = tf.nn.softmax(adder[:, 0]) @ x
        return tf.reshape(x, (-1, x.shape[-1]))

    return shapes, packing.attend(mean, [rows])


@pytest.mark.parametrize("name", LENGTHS)
@pytest.mark.parametrize("padding", [0, 1])
@pytest.mark.parametrize("training", [False, True])
def test_tokens_attend_to_their_own_sequence_in_any_group(
    name, training, padding, rng
):
    lengths = LENGTHS[name]
    mask = tf.constant(mask_of(lengths, padding))
    rows = rng.normal(size=(tf.size(mask), 3)).astype(np.float32)
    x = tf.constant(rows)

    with tf.GradientTape() as tape:
        tape.watch(x)
        packing = layers.PackedBatch(
            mask,
            lambda some: layers.attention_adder(
                some, tf.shape(some)[1], "float32"
            ),
            training,
        )
        _, attended = attend(packing, packing.pack(x))
        got = packing.unpack(attended)
        total = tf.reduce_sum(got**2)

    by_sequence = rows.reshape(*mask.shape, 3)
    want = np.zeros_like(by_sequence)
    slope = np.zeros_like(by_sequence)
    for number, length in enumerate(lengths):
        want[number, :length] = by_sequence[number, :length].mean(0)
        slope[number, :length] = 2 * want[number, 0]
    np.testing.assert_allclose(got, want.reshape(-1, 3), atol=1e-6)
    gradient = tf.convert_to_tensor(tape.gradient(total, x))
    np.testing.assert_allclose(gradient, slope.reshape(-1, 3), atol=1e-5)


@pytest.mark.parametrize(
    ("name", "shapes"),
    [
        ("few long", [(2, 9), (3, 3)]),
        ("equal", [(3, 4), (0, 1)]),
        ("one", [(1, 5), (0, 1)]),
        ("a long one", [(1, 7), (5, 2)]),
    ],
)
def test_few_long_sequences_do_not_lengthen_the_others(name, shapes):
    mask = tf.constant(mask_of(LENGTHS[name]))

    def make_adder(some):
        return layers.attention_adder(some, tf.shape(some)[1], "float32")

    packing = layers.PackedBatch(mask, make_adder, training=True)
    rows = packing.pack(tf.zeros((tf.size(mask), 3)))
    assert attend(packing, rows)[0] == shapes


def test_calls_with_one_seed_drop_other_values_each():
    dropout = layers.Dropout(0.5, seed=1)
    x = tf.ones((40, 40))
    alone = layers.Dropout(0.5, seed=1)(x, training=True)

    with dropout.drawing_once(training=True):
        some, others = (dropout(x, training=True) for _ in range(2))

    np.testing.assert_array_equal(some, alone)
    same = np.mean(some.numpy() == others.numpy())
    assert 0.4 < same < 0.6
    # The next step draws the second number.
    state = dropout.seed_generator.state.numpy()
    assert state.tolist() == [1, 1]


# Adapters.


def test_adapters_have_the_papers_formula_and_gradients(rng):
    layer = layers.Dense(5)
    layer.build((None, 4))
    layer.enable_lora(2, lora_alpha=6)
    for weight in layer.weights:
        weight.assign(rng.normal(size=weight.shape))
    bias, kernel = map(np.array, (layer.bias, layer.base_kernel))
    a, b = map(np.array, (layer.lora_kernel_a, layer.lora_kernel_b))
    x, upstream = rng.normal(size=(2, 3, 4)), rng.normal(size=(2, 3, 5))
    x, upstream = x.astype("float32"), upstream.astype("float32")

    with tf.GradientTape() as tape:
        y = layer(x)
        total = tf.reduce_sum(y * upstream)
    variables = layer.trainable_variables
    gradients = tape.gradient(total, [v.value for v in variables])

    # h = W x + (alpha / r) B A x, in the transposed notation of this code.
    np.testing.assert_allclose(y, x @ kernel + bias + 3 * x @ a @ b, rtol=1e-5)
    rows, up = x.reshape(-1, 4), upstream.reshape(-1, 5)
    want = {
        "bias": up.sum(0),
        "lora_kernel_a": 3 * rows.T @ up @ b.T,
        "lora_kernel_b": 3 * (rows @ a).T @ up,
    }
    got = {v.name: g for v, g in zip(variables, gradients)}
    assert got.keys() == want.keys()
    for name in want:
        np.testing.assert_allclose(got[name], want[name], rtol=1e-4, atol=1e-5)


def test_merged_adapters_give_the_same_also_in_functions_traced_before(rng):
    layer = layers.Dense(5)
    layer.build((None, 4))
    layer.enable_lora(2)
    layer.lora_kernel_b.assign(rng.normal(size=(2, 5)))
    x = tf.constant(rng.normal(size=(3, 4)), tf.float32)
    traced = tf.function(layer)
    before = traced(x)

    layer.merge_lora()

    assert [weight.name for weight in layer.weights] == ["kernel", "bias"]
    for call in (layer, traced):
        np.testing.assert_allclose(call(x), before, rtol=1e-6, atol=1e-6)
    layer.enable_lora(1)  # It can be adapted again.
    np.testing.assert_allclose(layer(x), before, rtol=1e-6, atol=1e-6)
