import json

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

from bert_tf import heads
from bert_tf.errors import InputError
from bert_tf.heads import ClassifierHead, PretrainingHeads, SpanHead
from bert_tf.layers import weights_to_come
from bert_tf.modeling import BertConfig
from bert_tf.models import span

FORWARD = DATA / "forward" / "forward.npz"
CASES = json.loads((DATA / "forward" / "forward_cases.json").read_text())


def log_softmax(x):
    x = np.asarray(x, "float64")
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


# Logits.


@pytest.fixture(scope="module")
def pretraining_heads():
    layer = PretrainingHeads(read_config(TINY.parent))
    assign(layer.weights, read_variables(TINY))
    return layer


def logits_of(layer, case):
    x = read_arrays(FORWARD, f"{case}/in/")
    want = read_arrays(FORWARD, f"{case}/out/")
    table = read_variables(TINY)["bert/embeddings/word_embeddings"]
    return layer(
        want["all_encoder_layers"][-1],
        want["pooled_output"],
        table,
        x["masked_lm_positions"],
    )


@pytest.mark.parametrize("case", ["base", "full_length", "length_one"])
def test_pretraining_heads_give_the_originals_log_probs(
    pretraining_heads, case
):
    logits = logits_of(pretraining_heads, case)

    want = read_arrays(FORWARD, f"{case}/out/")
    np.testing.assert_allclose(
        np.reshape(log_softmax(logits["masked_lm_logits"]), (-1, 1027)),
        want["masked_lm_log_probs"],
        rtol=0,
        atol=6e-5,
    )
    np.testing.assert_allclose(
        log_softmax(logits["next_sentence_logits"]),
        want["next_sentence_log_probs"],
        rtol=0,
        atol=6e-6,
    )


@pytest.mark.parametrize("bad", [-1, 5])
def test_a_position_outside_of_the_rows_is_refused(config, rng, bad):
    layer, x = PretrainingHeads(config), rng.normal(size=(2, 5, 16))
    table = rng.normal(size=(50, 16))
    # The next row's first token would be taken.
    with pytest.raises(
        InputError, match=rf"masked_lm_positions .*0 to 4.*: {bad} at \[0, 1\]"
    ):
        layer(x, x[:, 0], table, np.array([[0, bad], [1, 2]]))


def test_classifier_multiplies_with_the_transpose_and_adds_the_bias(
    config, rng
):
    layer, x = ClassifierHead(config, 3), rng.normal(size=(4, 16))
    weights, bias = rng.normal(size=(3, 16)), rng.normal(size=3)
    layer.set_weights([weights, bias])
    np.testing.assert_allclose(layer(x), x @ weights.T + bias, atol=1e-5)


def test_span_head_scores_starts_first_and_ends_second(config, rng):
    layer, x = SpanHead(config), rng.normal(size=(2, 5, 16))
    weights = layer.get_weights()[0]
    logits = layer(x)
    for name, row in zip(("start_logits", "end_logits"), weights):
        np.testing.assert_allclose(logits[name], x @ row, atol=1e-5)


@pytest.mark.shared
@pytest.mark.parametrize("version", ["v1.1", "v2.0"])
def test_span_model_gives_the_originals_logits(shared_folder, version):
    golden = shared_folder / "golden"
    model = span(read_config(golden / "tiny"))
    assign(model.weights, read_variables(golden / "tiny_squad" / "model.ckpt"))
    folder = golden / "run_squad" / "end_to_end"
    want = read_arrays(folder / f"{version}_logits.npz", "")
    records = tf.data.TFRecordDataset(
        str(folder / f"{version}_eval.tf_record.gz"), "GZIP"
    )
    features = next(iter(records.batch(len(want["unique_ids"]))))
    length = want["start_logits"].shape[1]
    x = tf.io.parse_example(
        features,
        {
            name: tf.io.FixedLenFeature([length], "int64")
            for name in ("input_ids", "input_mask", "segment_ids")
        },
    )

    got = model(x)

    for name, logits in got.items():
        np.testing.assert_allclose(logits, want[name], rtol=0, atol=2e-5)


def test_gather_positions_picks_from_each_row(rng):
    x = rng.normal(size=(3, 5, 4)).astype("float32")
    positions = rng.integers(5, size=(3, 2))

    got = heads.gather_positions(x, positions)

    want = np.take_along_axis(x, positions[:, :, None], axis=1)
    np.testing.assert_array_equal(got, want)


# Losses.


@pytest.mark.parametrize(
    "case", [case["case"] for case in CASES["cases"]], ids=str
)
def test_losses_of_the_originals_log_probs_are_the_originals(case):
    x = read_arrays(FORWARD, f"{case}/in/")
    want = read_arrays(FORWARD, f"{case}/out/")
    words = want["masked_lm_log_probs"].reshape(*x["masked_lm_ids"].shape, -1)

    # Log probabilities are logits too: their softmax sums to 1.
    loss, example_loss = heads.masked_lm_loss(
        words, x["masked_lm_ids"], x["masked_lm_weights"]
    )
    pair_loss, pair_example_loss = heads.classification_loss(
        want["next_sentence_log_probs"], x["next_sentence_labels"]
    )

    got = {
        "masked_lm_example_loss": np.ravel(example_loss),
        "masked_lm_loss": loss,
        "next_sentence_example_loss": pair_example_loss,
        "next_sentence_loss": pair_loss,
        "total_loss": loss + pair_loss,
    }
    for name, value in got.items():
        atol = 2.2e-5 if "example" in name else 1.2e-5
        np.testing.assert_allclose(
            value, want[name], rtol=0, atol=atol, err_msg=name
        )


def test_negative_log_likelihood_is_minus_the_log_of_the_softmax(rng):
    logits = rng.normal(size=(2, 3, 5), scale=4)
    labels = rng.integers(5, size=(2, 3))

    got = heads.negative_log_likelihood(logits, labels)

    want = np.take_along_axis(log_softmax(logits), labels[..., None], -1)
    np.testing.assert_allclose(got, -want[..., 0], atol=2e-6)


def test_masked_lm_loss_without_predictions_is_0(rng):
    logits = rng.normal(size=(2, 3, 5))
    loss, _ = heads.masked_lm_loss(
        logits, np.zeros((2, 3), "int32"), np.zeros((2, 3))
    )
    assert loss == 0


def test_masked_lm_loss_divides_by_the_weights_and_1e_5(rng):
    logits, weights = rng.normal(size=(1, 2, 5)), np.array([[1e-5, 0.0]])
    labels = np.array([[4, 2]])

    loss, _ = heads.masked_lm_loss(logits, labels, weights)

    assert float(loss) == pytest.approx(-log_softmax(logits)[0, 0, 4] / 2)


def test_span_loss_is_half_the_sum_and_skips_positions_outside(rng):
    start, end = rng.normal(size=(2, 2, 4))

    loss = heads.span_loss(
        start, end, np.array([[1], [9]]), np.array([[3], [-1]])
    )

    # Each a mean over both examples, the second of which counts 0.
    total = -log_softmax(start)[0, 1] / 2 - log_softmax(end)[0, 3] / 2
    assert float(loss) == pytest.approx(total / 2, abs=1e-6)


def test_losses_are_float32_whatever_the_logits_are():
    logits = tf.ones((2, 3), "bfloat16")
    loss, _ = heads.classification_loss(logits, np.array([0, 2]))
    assert loss.dtype == "float32"
    assert float(loss) == pytest.approx(np.log(3))


# First values.


def wide_config(initializer_range):
    return BertConfig(
        10,
        hidden_size=4000,
        num_attention_heads=1,
        initializer_range=initializer_range,
    )


@pytest.mark.parametrize(
    "make", [lambda config: ClassifierHead(config, 2), SpanHead]
)
def test_fine_tuning_heads_start_at_0_02_with_any_config(make):
    weights, bias = make(wide_config(0.5)).get_weights()
    # A normal deviation of 0.02 cut at two deviations.
    assert weights.std() == pytest.approx(0.01759, rel=0.05)
    assert 0.038 < np.abs(weights).max() <= 0.04
    assert np.all(bias == 0)


def test_next_sentence_head_starts_at_the_configs_range():
    with weights_to_come():
        layer = heads.NextSentenceHead(wide_config(0.5))
        layer.build((None, 4000))
    weights, bias = layer.get_weights()
    assert weights.std() == pytest.approx(0.5 * 0.8796, rel=0.05)
    assert np.all(bias == 0)


def test_masked_lm_head_starts_at_the_configs_range(config):
    config.initializer_range = 0.5
    layer = PretrainingHeads(config).masked_lm
    values = {w.path: w.numpy() for w in layer.weights}
    scope = "cls/predictions"

    kernel = values.pop(f"{scope}/transform/dense/kernel")
    assert 0.7 < np.abs(kernel).max() <= 1.0
    assert np.all(values.pop(f"{scope}/transform/LayerNorm/gamma") == 1)
    assert len(values) == 3
    assert all(np.all(value == 0) for value in values.values())


# Dropout.


def test_classifier_drops_a_tenth_with_any_config(config):
    config.hidden_dropout_prob = config.attention_probs_dropout_prob = 0.0
    layer = ClassifierHead(config, 1)
    # One feature, so that the logit is dropped as a whole.
    layer.output_weights.assign(np.eye(1, 16))
    x = np.ones((20_000, 16), "float32")

    logits = np.ravel(layer(x, training=True))

    assert (logits != 0).mean() == pytest.approx(0.9, abs=0.009)
    np.testing.assert_allclose(logits[logits != 0], 1 / 0.9, rtol=1e-6)
    assert np.all(layer(x) == 1)


def test_pretraining_and_span_heads_drop_nothing(config, rng):
    config.hidden_dropout_prob = 0.9
    x = rng.normal(size=(2, 5, 16)).astype("float32")
    pooled, table = x[:, 0], rng.normal(size=(50, 16))
    positions = np.array([[0, 3], [1, 1]])

    for layer, values in (
        (PretrainingHeads(config), (x, pooled, table, positions)),
        (SpanHead(config), (x,)),
    ):
        inputs = [
            keras.Input(batch_shape=value.shape, dtype=value.dtype)
            for value in values
        ]
        model = keras.Model(inputs, layer(*inputs))
        still, trained = model(values), model(values, training=True)
        for name, logits in still.items():
            np.testing.assert_array_equal(trained[name], logits)
