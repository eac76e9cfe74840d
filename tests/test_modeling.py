import functools
import json
import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers.golden import (
    DATA,
    TINY,
    assign,
    read_arrays,
    read_config,
    read_variables,
)
from keras import ops

from bert_tf import layers, models
from bert_tf.errors import InputError
from bert_tf.heads import PretrainingHeads
from bert_tf.layers import get_activation, weights_to_come
from bert_tf.modeling import (
    AttentionLayer,
    BertConfig,
    BertModel,
    EmbeddingLookup,
    EmbeddingPostprocessor,
    ResidualOutput,
    attention_adder,
)

FORWARD = DATA / "forward"
CASES = json.loads((FORWARD / "forward_cases.json").read_text())["cases"]
FUNCTIONS = json.loads((FORWARD / "functions.json").read_text())

# Twice the largest difference that the original itself showed between
# TensorFlow 1.15 and 2.21.
NOISE = {
    "embedding_output": 2e-6,
    "all_encoder_layers": 8e-6,
    "pooled_output": 6e-6,
    "masked_lm_log_probs": 6e-5,
    "next_sentence_log_probs": 6e-6,
}
# With scores near -10000 digits are lost.
NOISE_OF_A_MASKED_ROW = 1.1e-3

# A probability so near 1 that whatever can be dropped is.
ALMOST_1 = 1 - 1e-6


@pytest.fixture(scope="module")
def attention():
    return read_arrays(FORWARD / "attention_layer.npz", "")


def integers(rng, high, *shape):
    return rng.integers(high, size=shape, dtype="int32")


def normalized(x, layer):
    gamma, beta = layer.get_weights()
    x = x - x.mean(-1, keepdims=True)
    return x / np.sqrt(x.var(-1, keepdims=True) + 1e-12) * gamma + beta


# Attention.


def attention_layer(attention, prefix, **arguments):
    variables = {
        name.removeprefix(prefix): value
        for name, value in attention.items()
        if name.startswith(prefix)
    }
    layer = AttentionLayer(**arguments)
    layer.build((None, 12), (None, 10))
    for weight in layer.weights:
        weight.assign(variables[weight.path.removeprefix("self/")])
    return layer


def rows_of(attention):
    tensors = attention["from_tensor"], attention["to_tensor"]
    names = "from_rows", "from_length", "to_rows", "to_length"
    values = [
        v for x in tensors for v in (x.reshape(-1, x.shape[-1]), x.shape[1])
    ]
    return dict(zip(names, values))


def test_attention_from_one_tensor_to_another_is_the_originals(attention):
    config = BertConfig(1, hidden_size=12, num_attention_heads=3)
    layer = attention_layer(attention, "var/", config=config)

    got = layer(
        **rows_of(attention),
        adder=attention_adder(attention["to_mask"], 5, "float32"),
    )

    want = attention["out_masked_h3x4"]
    np.testing.assert_allclose(ops.reshape(got, want.shape), want, atol=2e-6)


def test_attention_with_activations_is_the_originals(attention):
    layer = attention_layer(
        attention,
        "var/act/",
        config=BertConfig(1, hidden_size=6, num_attention_heads=2),
        query_act="tanh",
        key_act="relu",
        value_act="gelu",
    )

    got = layer(**rows_of(attention))

    want = attention["out_unmasked_h2x3_qtanh_krelu_vgelu_2d"]
    np.testing.assert_allclose(ops.reshape(got, want.shape), want, atol=2e-6)


def test_adder_is_minus_10000_where_the_originals_mask_is_0(attention):
    mask = attention["attention_mask"]  # [B, F, T]

    adder = attention_adder(attention["to_mask"], 5, "float32")

    assert adder.shape == (2, 1, 5, 7)
    want = np.where(mask == 1, 0.0, -10000.0)[:, None]
    np.testing.assert_array_equal(adder, want)


def test_residual_output_normalizes_projection_plus_residual(config, rng):
    layer = ResidualOutput(config)
    x, residual = rng.normal(size=(2, 3, 32)), rng.normal(size=(2, 3, 16))

    got = layer(x, residual)

    kernel, bias = layer.dense.get_weights()
    want = normalized(x @ kernel + bias + residual, layer.layer_norm)
    np.testing.assert_allclose(got, want, atol=1e-5)


# The whole model, on what the original made of the tiny checkpoint.


@functools.cache
def tiny_model(
    hidden_act="gelu", use_one_hot_embeddings=False, skip_padding=False
):
    config = read_config(TINY.parent, hidden_act=hidden_act)
    bert = BertModel(config, use_one_hot_embeddings, skip_padding)
    heads = PretrainingHeads(config)
    assign(bert.weights + heads.weights, read_variables(TINY))
    return bert, heads


def run(case, skip_padding=False):
    x = read_arrays(FORWARD / "forward.npz", f"{case['case']}/in/")
    bert, heads = tiny_model(
        case["config_override"].get("hidden_act", "gelu"),
        case["use_one_hot_embeddings"],
        skip_padding,
    )
    outputs = bert(
        x["input_ids"],
        x["input_mask"] if case["input_mask_given"] else None,
        x["segment_ids"] if case["token_type_ids_given"] else None,
    )
    logits = heads(
        outputs["sequence_output"],
        outputs["pooled_output"],
        outputs["embedding_table"],
        x["masked_lm_positions"],
    )
    return outputs, logits


def test_from_left_to_right_no_token_sees_later_ones(rng):
    config = read_config(TINY.parent, directionality="left_to_right")
    bert = BertModel(config)
    assign(bert.weights, read_variables(TINY))
    ids = rng.integers(0, 1027, size=(2, 9))
    changed = ids.copy()
    changed[:, 5] = (changed[:, 5] + 1) % 1027

    before, after = (
        np.array(bert(x, np.ones_like(x))["sequence_output"])
        for x in (ids, changed)
    )

    np.testing.assert_array_equal(after[:, :5], before[:, :5])
    for place in range(5, 9):
        assert np.abs(after[:, place] - before[:, place]).max() > 1e-3
    # A text that ends there is encoded alike: nothing else has changed.
    cut = bert(ids[:, :5], np.ones((2, 5), int))["sequence_output"]
    np.testing.assert_allclose(cut, before[:, :5], atol=1e-5)


def test_the_last_token_sees_the_same_in_both_directions(rng):
    ids = rng.integers(0, 1027, size=(2, 9))
    config = read_config(TINY.parent, num_hidden_layers=1)
    values = read_variables(TINY)

    outputs = []
    for direction in ("bidi", "left_to_right"):
        config.directionality = direction
        bert = BertModel(config)
        assign(bert.weights, values)
        outputs.append(np.array(bert(ids)["sequence_output"]))

    np.testing.assert_allclose(outputs[0][:, -1], outputs[1][:, -1], atol=1e-6)
    assert np.abs(outputs[0][:, 0] - outputs[1][:, 0]).max() > 1e-2


def test_an_unknown_direction_is_an_error():
    with pytest.raises(InputError, match=r"directionality.*'right_to_left'"):
        read_config(TINY.parent, directionality="right_to_left")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["case"])
def test_model_computes_what_the_original_did(case):
    outputs, logits = run(case)

    words = tf.nn.log_softmax(logits["masked_lm_logits"])
    got = {
        "embedding_output": outputs["embedding_output"],
        "all_encoder_layers": np.stack(outputs["all_encoder_layers"]),
        "pooled_output": outputs["pooled_output"],
        "masked_lm_log_probs": np.reshape(words, (-1, words.shape[-1])),
        "next_sentence_log_probs": tf.nn.log_softmax(
            logits["next_sentence_logits"]
        ),
    }
    want = read_arrays(FORWARD / "forward.npz", f"{case['case']}/out/")
    for name, noise in NOISE.items():
        if case["case"] == "one_row_fully_masked":
            noise = NOISE_OF_A_MASKED_ROW
        np.testing.assert_allclose(
            got[name], want[name], rtol=0, atol=noise, err_msg=name
        )


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["case"])
def test_tokens_are_the_originals_where_padding_is_skipped(case):
    outputs, _ = run(case, skip_padding=True)

    want = read_arrays(FORWARD / "forward.npz", f"{case['case']}/out/")
    mask = read_arrays(FORWARD / "forward.npz", f"{case['case']}/in/")[
        "input_mask"
    ]
    if not case["input_mask_given"]:
        mask = np.ones_like(mask)
    # A row of padding alone attends to its padding, which is not computed.
    rows = mask.any(axis=1)
    np.testing.assert_allclose(
        np.array(outputs["pooled_output"])[rows],
        want["pooled_output"][rows],
        rtol=0,
        atol=NOISE["pooled_output"],
    )
    got = np.stack(outputs["all_encoder_layers"])
    np.testing.assert_allclose(
        got[:, mask > 0],
        want["all_encoder_layers"][:, mask > 0],
        rtol=0,
        atol=NOISE["all_encoder_layers"],
    )
    mask[:, 0] = 1
    assert not got[:, mask == 0].any()


@pytest.mark.parametrize("recompute", [False, True])
def test_gradients_are_the_same_where_padding_is_skipped(
    recompute, config, rng
):
    config.hidden_dropout_prob = config.attention_probs_dropout_prob = 0.0
    # To the right, to the left, with holes, one token, one that is not seen.
    mask = np.zeros((6, 12), np.int32)
    for row, tokens in enumerate(
        ([*range(12)], [*range(5)], [8, 9, 10, 11], [0, 2, 3, 7], [0], [4])
    ):
        mask[row, tokens] = 1
    ids = tf.constant(integers(rng, 50, 6, 12))
    config.num_hidden_layers = 1
    start = BertModel(config).get_weights()

    def gradients(skip_padding):
        model = BertModel(config, skip_padding=skip_padding)
        assign(model.weights, dict(zip([w.path for w in model.weights], start)))
        for layer in model.encoder.layers:
            layer.recompute = recompute
        variables = [weight.value for weight in model.trainable_weights]

        @tf.function
        def compute():
            with tf.GradientTape() as tape:
                outputs = model(ids, tf.constant(mask), training=True)
                tokens = tf.boolean_mask(outputs["sequence_output"], mask)
                loss = tf.reduce_sum(tf.sin(3 * tokens))
                loss += tf.reduce_sum(tf.sin(3 * outputs["pooled_output"]))
            return tape.gradient(loss, variables)

        return [tf.convert_to_tensor(gradient) for gradient in compute()]

    for got, want in zip(gradients(True), gradients(False)):
        atol = 1e-5 * max(1.0, np.abs(want).max())
        np.testing.assert_allclose(got, want, rtol=0, atol=atol)


def test_without_a_mask_there_is_no_padding_to_skip(config, rng):
    model = BertModel(config, skip_padding=True)
    ids = integers(rng, 50, 2, 5)
    without = model(ids)["sequence_output"]
    with_ones = model(ids, np.ones_like(ids))["sequence_output"]
    np.testing.assert_allclose(without, with_ones, rtol=0, atol=1e-6)


def test_skipping_padding_is_kept_in_a_config_and_false_without_it(config):
    kept = BertModel(config, skip_padding=True).get_config()
    assert BertModel.from_config(kept).skip_padding
    del kept["skip_padding"]
    assert not BertModel.from_config(kept).skip_padding


def test_sequence_output_is_the_last_layer(config, rng):
    outputs = BertModel(config)(integers(rng, 50, 2, 5))
    np.testing.assert_array_equal(
        outputs["sequence_output"], outputs["all_encoder_layers"][-1]
    )


def test_embedding_table_is_the_variable(config):
    model = BertModel(config)
    outputs = model(np.zeros((1, 1), "int32"))
    np.testing.assert_array_equal(
        outputs["embedding_table"], model.weights[0].numpy()
    )


# Names and first values.


def test_encoder_has_the_variables_of_the_originals_checkpoint():
    model = BertModel(read_config(TINY.parent))
    assert {w.path: tuple(w.shape) for w in model.weights} == {
        name: value.shape
        for name, value in read_variables(TINY).items()
        if name.startswith("bert/")
    }


def test_name_of_the_model_is_the_first_part_of_all_names(config):
    weights = BertModel(config, name="teacher").weights
    assert {w.path.split("/")[0] for w in weights} == {"teacher"}


def test_two_models_have_the_same_names(config):
    first, second = BertModel(config), BertModel(config)
    assert [w.path for w in first.weights] == [w.path for w in second.weights]


@pytest.fixture(scope="module")
def initial_weights():
    config = BertConfig(
        vocab_size=2000,
        hidden_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=256,
        initializer_range=0.02,
    )
    return {w.path: w.numpy() for w in BertModel(config).weights}


def is_drawn(name):
    return name.endswith(("kernel", "embeddings"))


def test_initial_kernels_are_normal_truncated_at_two_deviations(
    initial_weights,
):
    kernels = [x for name, x in initial_weights.items() if is_drawn(name)]
    assert len(kernels) == 10
    for kernel in kernels:
        # 0.01759 is the deviation of a normal one of 0.02 when it is cut.
        error = 4 / math.sqrt(kernel.size)
        assert kernel.std() == pytest.approx(0.01759, rel=error)
        assert abs(kernel.mean()) < 0.01759 * error
        assert 0.035 < np.abs(kernel).max() <= 0.04


def test_initial_kernels_follow_the_initializer_range(config):
    config.initializer_range = 0.5
    for weight in BertModel(config).weights:
        if is_drawn(weight.path):
            assert 0.3 < np.abs(weight.numpy()).max() <= 1.0


def test_no_two_initial_kernels_are_alike(initial_weights):
    starts = [
        tuple(x.ravel()[:8])
        for name, x in initial_weights.items()
        if is_drawn(name)
    ]
    assert len(set(starts)) == len(starts)


def test_initial_biases_and_beta_are_0_and_gamma_1(initial_weights):
    for name, x in initial_weights.items():
        if not is_drawn(name):
            assert name.endswith(("/bias", "/beta", "/gamma"))
            assert np.all(x == name.endswith("/gamma"))


def test_weights_to_come_are_nan_where_they_would_be_drawn(config):
    with weights_to_come():
        coming = BertModel(config)
    drawn = BertModel(config)

    for weight in coming.weights:
        if is_drawn(weight.path):
            assert np.isnan(weight.numpy()[0]).all()
        else:
            assert np.isfinite(weight.numpy()).all()
    assert all(np.isfinite(w.numpy()).all() for w in drawn.weights)


# Dropout.


def test_dropout_acts_in_training_only(config, rng):
    model, ids = BertModel(config), integers(rng, 50, 2, 5)
    still = model(ids)["sequence_output"]
    again = model(ids, training=False)["sequence_output"]
    dropped = model(ids, training=True)["sequence_output"]

    np.testing.assert_array_equal(still, again)
    assert np.abs(dropped - still).max() > 0.1


@pytest.mark.parametrize("nothing", [0.0, None])
def test_without_dropout_training_changes_nothing(config, rng, nothing):
    config.hidden_dropout_prob = config.attention_probs_dropout_prob = nothing
    model, ids = BertModel(config), integers(rng, 50, 2, 5)
    np.testing.assert_array_equal(
        model(ids, training=True)["pooled_output"],
        model(ids, training=False)["pooled_output"],
    )


def test_embeddings_drop_a_tenth_after_normalizing_and_scale_the_rest(rng):
    config = BertConfig(1, hidden_size=60)
    layer = EmbeddingPostprocessor(config)
    words = rng.normal(size=(8, 100, 60)).astype("float32")
    types = integers(rng, 16, 8, 100)

    still = layer(words, types).numpy()
    dropped = layer(words, types, training=True).numpy()

    kept = dropped != 0
    assert kept.mean() == pytest.approx(0.9, abs=0.006)
    np.testing.assert_allclose(dropped[kept], still[kept] / 0.9, rtol=1e-5)


def test_attention_drops_a_tenth_of_the_probabilities(config, rng):
    # Attending to one position has probability 1, or is dropped: the head is
    # scaled as a whole.
    layer = AttentionLayer(config)
    x = rng.normal(size=(10_000, 16)).astype("float32")

    sizes = {"from_length": 1, "to_length": 1}
    dropped = layer(x, x, **sizes, training=True).numpy()
    ratio = dropped / layer(x, x, **sizes).numpy()

    heads = ratio.reshape(-1, 8)
    np.testing.assert_allclose(heads, heads[:, :1] + np.zeros(8), rtol=1e-4)
    kept = heads[:, 0] != 0
    assert kept.mean() == pytest.approx(0.9, abs=0.012)
    np.testing.assert_allclose(heads[kept], 1 / 0.9, rtol=1e-4)


def test_hidden_dropout_acts_before_residual_and_normalization(config, rng):
    config.hidden_dropout_prob = ALMOST_1
    model = BertModel(config)
    for weight in model.weights:
        weight.assign(rng.normal(size=weight.shape))

    outputs = model(integers(rng, 50, 2, 5), training=True)

    hidden = np.zeros((2, 5, 16))
    np.testing.assert_array_equal(outputs["embedding_output"], hidden)
    for layer, got in zip(model.encoder.layers, outputs["all_encoder_layers"]):
        for closing in (layer.attention, layer):
            hidden = normalized(hidden, closing.residual_output.layer_norm)
        np.testing.assert_allclose(got, hidden, atol=1e-4)
    # The pooler drops nothing.
    kernel, bias = model.pooler.get_weights()
    want = np.tanh(hidden[:, 0] @ kernel + bias)
    np.testing.assert_allclose(outputs["pooled_output"], want, atol=1e-4)


def test_attention_dropout_acts_on_the_probabilities(config, rng):
    config.attention_probs_dropout_prob = ALMOST_1
    layer = AttentionLayer(config)
    x = rng.normal(size=(10, 16))
    assert np.all(layer(x, x, from_length=5, to_length=5, training=True) == 0)


# Inputs.


@pytest.mark.parametrize("shape", [(1, 1), (7, 3), (2, 12), (0, 4)])
def test_any_batch_and_length_up_to_the_longest(config, rng, shape):
    outputs = BertModel(config)(integers(rng, 50, *shape))
    assert outputs["sequence_output"].shape == (*shape, 16)
    assert outputs["pooled_output"].shape == (shape[0], 16)


def test_masked_padding_does_not_change_the_tokens(config, rng):
    model, ids = BertModel(config), integers(rng, 50, 3, 7)
    padded = np.pad(ids, ((0, 0), (0, 5)), constant_values=9)
    mask = np.pad(np.ones_like(ids), ((0, 0), (0, 5)))

    got = model(padded, mask)["sequence_output"][:, :7]

    want = model(ids)["sequence_output"]
    np.testing.assert_allclose(got, want, atol=1e-5)


def test_too_long_sequence_is_refused_with_both_lengths(config, rng):
    model = BertModel(config)
    with pytest.raises(InputError, match=r"13 tokens, .*_embeddings` is 12"):
        model(integers(rng, 50, 2, 13))


def test_too_long_sequence_fails_where_the_length_is_not_known_before(
    config, rng
):
    model = BertModel(config)
    signature = [tf.TensorSpec((None, None), "int32")]
    call = tf.function(lambda ids: model(ids)["pooled_output"], signature)

    assert call(integers(rng, 50, 2, 12)).shape == (2, 16)
    with pytest.raises(tf.errors.InvalidArgumentError):
        call(integers(rng, 50, 2, 13))


def test_the_original_refused_these_and_so_does_the_model(config, rng):
    def model():
        return BertModel(config)

    ids = integers(rng, 50, 2, 4)
    attempts = {
        "hidden size not a multiple of heads": lambda: BertConfig(
            10, hidden_size=8, num_attention_heads=3
        ),
        "unknown activation": lambda: get_activation("swish"),
        "input_ids of rank 3": lambda: model()(ids[:, :, None]),
        "input_ids of rank 1": lambda: model()(ids[0]),
        "sequence longer than max_position_embeddings (static)": (
            lambda: model()(integers(rng, 50, 2, 13))
        ),
        "mask of another shape": lambda: model()(ids, np.ones((2, 5))),
    }
    known = {error["case"] for error in FUNCTIONS["errors"]}
    # Nothing here reshapes to matrices.
    assert known - {"reshape_to_matrix of rank 1"} == set(attempts)
    for attempt in attempts.values():
        with pytest.raises(InputError, match=r"Received|longer than"):
            attempt()


@pytest.mark.parametrize("shape", [(2, 5), (2, 1), (1, 4), (4,), (3, 4)])
@pytest.mark.parametrize("name", ["input_mask", "token_type_ids"])
def test_other_inputs_of_another_shape_are_refused(config, rng, name, shape):
    model, other = BertModel(config), np.zeros(shape, "int32")
    with pytest.raises(InputError, match=rf"`{name}` .*\(2, 4\). Received"):
        model(integers(rng, 50, 2, 4), **{name: other})


@pytest.mark.parametrize("one_hot", [False, True])
@pytest.mark.parametrize(
    ("name", "bad"),
    [("input_ids", 50), ("input_ids", -1), ("input_mask", 7)],
)
def test_values_out_of_range_are_refused_outside_of_graphs(
    config, rng, name, bad, one_hot
):
    model = BertModel(config, use_one_hot_embeddings=one_hot)
    inputs = {"input_ids": integers(rng, 50, 2, 4), name: np.full((2, 4), bad)}
    with pytest.raises(InputError, match=rf"{name} .*: {bad} at \[0, 0\]"):
        model(**inputs)


@pytest.mark.parametrize("bad", [50, -1, 2**31 - 1])
def test_gathering_an_id_out_of_range_fails_on_a_cpu(config, bad):
    lookup = EmbeddingLookup(config)
    with (
        tf.device("CPU"),
        pytest.raises(tf.errors.InvalidArgumentError, match=r"not in \[0, 50"),
    ):
        lookup(np.full((2, 4), bad, "int32"))


@pytest.mark.parametrize("bad", [50, -1])
def test_one_hot_of_an_id_out_of_range_is_a_zero_vector(config, bad):
    lookup = EmbeddingLookup(config, use_one_hot_embeddings=True)
    got = lookup(np.array([[3, bad]], "int32"))
    np.testing.assert_array_equal(got[0, 0], lookup.weights[0][3])
    assert np.all(got[0, 1] == 0)


# Precision.


def test_bfloat16_keeps_variables_in_float32_and_results_near(config, rng):
    model = BertModel(config)
    half = BertModel(config, dtype="mixed_bfloat16")
    for source, target in zip(model.weights, half.weights):
        target.assign(source)
    ids = integers(rng, 50, 2, 5)

    got = half(ids)["sequence_output"]

    assert {w.dtype for w in half.weights} == {"float32"}
    assert keras.backend.standardize_dtype(got.dtype) == "bfloat16"
    want = model(ids)["sequence_output"]
    np.testing.assert_allclose(ops.cast(got, "float32"), want, atol=0.05)


def operations(model, training):
    """{(kind of operation, dtype)} in the graph of a model."""
    inputs = {n: tf.TensorSpec((2, 12), tf.int32) for n in model.input}
    forward = tf.function(lambda x: model(x, training=training))
    graph = forward.get_concrete_function(inputs).graph
    return {
        (operation.type, operation.outputs[0].dtype.name)
        for operation in graph.get_operations()
        if operation.outputs
    }


@pytest.mark.parametrize("name", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_multiplies_in_16_bits_and_sums_in_32(
    name, config, rng
):
    short = name.removeprefix("mixed_")
    config.num_hidden_layers, config.initializer_range = 1, 0.3
    plain = models.classifier(config, 3)
    with layers.precision(name):
        mixed = models.classifier(config, 3)
    assert keras.config.dtype_policy().name == "float32"
    mixed.set_weights(plain.get_weights())

    assert {weight.dtype for weight in mixed.weights} == {"float32"}
    for training in (False, True):
        kinds = operations(mixed, training)
        for kind in ("MatMul", "BatchMatMulV2", "Tanh"):
            assert (kind, short) in kinds
        for kind in ("Softmax", "Rsqrt"):  # Attention, LayerNorm.
            as_it_is = (kind, short) == ("Softmax", "bfloat16") and not training
            assert ((kind, "float32") in kinds) != as_it_is
            assert ((kind, short) in kinds) == as_it_is
        # Rows of the table are gathered, and not a rounded table made.
        assert ("ResourceGather", "float32") in kinds or (
            ("GatherV2", "float32") in kinds
            and ("GatherV2", short) not in kinds
        )

    ids = rng.integers(0, 50, (2, 12))
    inputs = dict.fromkeys(models.ENCODER_INPUTS, np.ones_like(ids))
    inputs["input_ids"] = ids
    want, got = plain(inputs)["logits"], mixed(inputs)["logits"]
    assert got.dtype == tf.float32
    error = np.abs(got - want).max()
    # 16 bits keep 2 or 3 digits of numbers around 1.
    assert 0 < error < (0.1 if short == "bfloat16" else 0.01)
