import functools
import json
import lzma
import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers.golden import (
    DATA,
    MICRO,
    TINY,
    assign,
    read_arrays,
    read_config,
    read_variables,
)

from bert_tf import heads, layers, models
from bert_tf.errors import InputError
from bert_tf.layers import weights_to_come
from bert_tf.modeling import BertConfig
from bert_tf.optimization import create_optimizer

BASE = json.loads((DATA / "forward" / "variables_bert_base.json").read_text())

MAKERS = {
    "pretraining": models.pretraining,
    "classifier": lambda config: models.classifier(config, 3),
    "token_classifier": lambda config: models.token_classifier(config, 3),
    "span": models.span,
}


@functools.cache
def micro_model(make):
    return MAKERS[make](read_config(MICRO.parent))


def shapes(weights):
    return {w.path: tuple(w.shape) for w in weights}


def encoder_inputs(rng, batch, length):
    return {
        "input_ids": rng.integers(50, size=(batch, length), dtype="int32"),
        "input_mask": np.ones((batch, length), "int32"),
        "segment_ids": rng.integers(2, size=(batch, length), dtype="int32"),
    }


def inputs_of(model, rng, batch=2, length=5):
    x = encoder_inputs(rng, batch, length)
    if "masked_lm_positions" in model.input:
        x["masked_lm_positions"] = np.zeros((batch, 3), "int32")
    return x


# Names.


def test_pretraining_has_the_checkpoints_variables():
    want = {name: value.shape for name, value in read_variables(MICRO).items()}
    assert shapes(micro_model("pretraining").weights) == want


def test_pretraining_of_base_has_the_206_variables_of_the_released_one():
    config = BertConfig(vocab_size=30522, type_vocab_size=2)
    with weights_to_come():
        weights = models.pretraining(config).weights

    assert shapes(weights) == {name: tuple(BASE[name]) for name in BASE}
    assert len(weights) == 206
    assert {w.dtype for w in weights} == {"float32"}
    # As published, without the pretraining heads.
    encoder = [w for w in weights if w.path.startswith("bert/")]
    assert sum(math.prod(w.shape) for w in encoder) == 109_482_240


@pytest.mark.parametrize(
    ("make", "trajectory"),
    [("classifier", "micro_classifier3"), ("span", "micro_squad")],
)
def test_fine_tuned_models_have_the_originals_variables(make, trajectory):
    path = DATA / "optim" / f"{trajectory}.npz"
    want = {
        name: value.shape
        for name, value in read_arrays(path, "after_10/").items()
        if not name.endswith(("/adam_m", "/adam_v"))
    }

    assert shapes(micro_model(make).weights) == want


@pytest.mark.shared
@pytest.mark.parametrize(
    ("make", "folder"),
    [("classifier", "tiny_classifier3"), ("span", "tiny_squad")],
)
def test_fine_tuned_checkpoints_have_the_models_variables(
    shared_folder, make, folder
):
    checkpoint = shared_folder / "golden" / folder / "model.ckpt"
    want = {
        name: value.shape for name, value in read_variables(checkpoint).items()
    }
    assert shapes(MAKERS[make](read_config(TINY.parent)).weights) == want


def test_token_classifier_adds_what_the_classifier_adds():
    tokens = micro_model("token_classifier")
    sentences = micro_model("classifier")
    assert shapes(tokens.weights) == shapes(sentences.weights)
    assert tokens.output["logits"].shape == (None, None, 3)
    assert sentences.output["logits"].shape == (None, 3)


def test_multiple_choice_has_the_variables_of_a_classifier_of_one_label():
    config = read_config(MICRO.parent)
    choices = models.multiple_choice(config, 4)
    assert shapes(choices.weights) == shapes(
        models.classifier(config, 1).weights
    )
    assert choices.output["logits"].shape == (None, 4)
    assert choices.input["input_ids"].shape == (None, 4, None)


def test_choices_of_any_number_are_scored_one_by_one(rng):
    config = read_config(MICRO.parent)
    choices, rows = models.multiple_choice(config), models.classifier(config, 1)
    rows.set_weights(choices.get_weights())
    x = encoder_inputs(rng, 6, 5)

    want = rows(x)["logits"].numpy().reshape(2, 3)
    got = choices({name: v.reshape(2, 3, 5) for name, v in x.items()})

    np.testing.assert_allclose(got["logits"], want, atol=1e-6)


@pytest.mark.parametrize("make", ["span", "token_classifier"])
def test_pooler_is_kept_but_not_trained_where_nothing_uses_it(make):
    model = micro_model(make)
    left = shapes(model.weights).keys() - shapes(model.trainable_weights).keys()
    assert left == {"bert/pooler/dense/kernel", "bert/pooler/dense/bias"}


# Numbers.


def test_pretraining_computes_the_originals_loss_from_a_records_features():
    model = models.pretraining(read_config(TINY.parent))
    assign(model.weights, read_variables(TINY))
    path = DATA / "forward" / "forward.npz"
    x, want = read_arrays(path, "base/in/"), read_arrays(path, "base/out/")

    got = model({name: x[name] for name in model.input})

    words, _ = heads.masked_lm_loss(
        got["masked_lm_logits"], x["masked_lm_ids"], x["masked_lm_weights"]
    )
    pairs, _ = heads.classification_loss(
        got["next_sentence_logits"], x["next_sentence_labels"]
    )
    np.testing.assert_allclose(
        words + pairs, want["total_loss"], rtol=0, atol=1.2e-5
    )


@pytest.mark.parametrize("make", MAKERS)
def test_models_take_any_batch_and_length(rng, make):
    model = micro_model(make)
    for batch, length in ((1, 2), (3, 48)):
        outputs = model(inputs_of(model, rng, batch, length))
        for logits in outputs.values():
            assert logits.shape[0] == batch
            if make in ("span", "token_classifier"):
                assert logits.shape[1] == length


@pytest.mark.parametrize("make", MAKERS)
def test_models_that_skip_padding_give_the_same_logits(config, rng, make):
    kinds = {"classifier": (3,), "token_classifier": (3,)}.get(make, ())
    padded = getattr(models, make)(config, *kinds)
    skipping = getattr(models, make)(config, *kinds, skip_padding=True)
    skipping.set_weights(padded.get_weights())
    x = inputs_of(padded, rng, 3)
    x["input_mask"][1, 3:] = 0

    want, got = padded(x), skipping(x)

    is_token = x["input_mask"] > 0
    for name, logits in want.items():
        logits, computed = np.array(logits), np.array(got[name])
        if logits.shape[1] == is_token.shape[1]:
            logits, computed = logits[is_token], computed[is_token]
        np.testing.assert_allclose(computed, logits, rtol=0, atol=1e-6)


def test_no_answer_starts_in_padding_that_is_skipped(config, rng):
    model = models.span(config, skip_padding=True)
    x = encoder_inputs(rng, 2, 5)
    x["input_mask"][0, 2:] = 0
    for logits in model(x).values():
        assert np.all(np.array(logits)[0, 2:] == -1e9)
        assert np.all(np.abs(np.array(logits)[1]) < 10)


@pytest.mark.exhaustive
def test_fit_trains_a_model_that_skips_padding_without_xla(config, rng):
    config.num_hidden_layers = 1
    model = models.classifier(config, 2, skip_padding=True)
    model.compile(
        optimizer=create_optimizer(1e-3, 10, 0),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    x = encoder_inputs(rng, 4, 5)
    x["input_mask"][1, 3:] = 0

    model.fit(x, np.array([0, 1, 1, 0]), verbose=0)

    assert not model.jit_compile


def test_length_may_be_fixed(config):
    model = models.pretraining(config, seq_length=8, num_predictions=2)
    got = {name: x.shape for name, x in {**model.input, **model.output}.items()}
    assert got == {
        "input_ids": (None, 8),
        "input_mask": (None, 8),
        "segment_ids": (None, 8),
        "masked_lm_positions": (None, 2),
        "masked_lm_logits": (None, 2, 50),
        "next_sentence_logits": (None, 2),
    }


@pytest.mark.parametrize("make", [models.span, models.pretraining])
def test_fixed_length_beyond_the_position_table_is_refused(config, make):
    with pytest.raises(InputError, match="13 tokens"):
        make(config, seq_length=13)


# Keras' own files and loop.


def is_tied(model, rng):
    """Whether changing one word's embedding changes its input and its score."""
    word = 7
    x = inputs_of(model, rng)
    x["input_ids"][:] = 3
    scores = model(x)["masked_lm_logits"].numpy()
    x["input_ids"][:] = word
    embedded = model(x)["next_sentence_logits"].numpy()

    table = next(w for w in model.weights if w.path.endswith("word_embeddings"))
    values = table.numpy()
    values[word] = rng.normal(size=values.shape[1])
    table.assign(values)

    new_embedded = model(x)["next_sentence_logits"].numpy()
    x["input_ids"][:] = 3
    changed = model(x)["masked_lm_logits"].numpy() != scores
    return (
        np.abs(new_embedded - embedded).max() > 0
        and changed[..., word].all()
        and not np.delete(changed, word, axis=-1).any()
    )


def test_masked_lm_stays_tied_to_the_embeddings_through_a_file(rng, tmp_path):
    model = models.pretraining(read_config(MICRO.parent))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")

    assert is_tied(model, rng)
    assert is_tied(loaded, rng)


@pytest.mark.parametrize("make", MAKERS)
def test_names_and_results_survive_a_keras_file(rng, tmp_path, make):
    model = micro_model(make)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")

    assert shapes(loaded.weights) == shapes(model.weights)
    x = inputs_of(model, rng)
    for name, logits in model(x).items():
        np.testing.assert_array_equal(loaded(x)[name], logits)


@pytest.mark.slow
def test_fit_trains_the_classifier_and_its_file_keeps_the_optimizer(
    config, rng, tmp_path
):
    config.num_hidden_layers = 1
    model = models.classifier(config, 2)
    model.compile(
        optimizer=create_optimizer(1e-3, 10, 0),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    x = encoder_inputs(rng, 4, 5)
    before = model.get_weights()

    model.fit(x, np.array([0, 1, 1, 0]), verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")

    for old, new in zip(before, model.get_weights(), strict=True):
        assert np.abs(new - old).max() > 0
    assert int(model.optimizer.iterations) == 1
    assert loaded.optimizer.get_config() == model.optimizer.get_config()
    for got, want in zip(
        loaded.optimizer.variables, model.optimizer.variables, strict=True
    ):
        np.testing.assert_array_equal(got, want)


def test_keras_file_of_an_earlier_version_loads(tmp_path):
    # Written before classes moved between modules.
    packed = DATA / "keras_file" / "classifier.keras.xz"
    path = tmp_path / "classifier.keras"
    path.write_bytes(lzma.decompress(packed.read_bytes()))

    model = keras.saving.load_model(path)

    ids = np.array([[1, 2, 3, 4], [5, 6, 7, 0]], "int32")
    types = np.array([[0, 0, 1, 1], [0, 1, 1, 0]], "int32")
    logits = model(
        {"input_ids": ids, "input_mask": np.sign(ids), "segment_ids": types}
    )["logits"]
    want = [
        [0.8517118096351624, 1.6424813270568848, -2.252566337585449],
        [0.7495778203010559, 1.7457196712493896, -2.137613296508789],
    ]
    np.testing.assert_allclose(logits, want, atol=1e-5)
    assert int(model.optimizer.iterations) == 1


# Memory.


@pytest.mark.slow
@pytest.mark.parametrize(
    "precision",
    ["float32", pytest.param("mixed_bfloat16", marks=pytest.mark.exhaustive)],
)
def test_recomputed_layers_have_the_same_gradients_and_dropout(
    precision, config, rng
):
    ids = rng.integers(0, config.vocab_size, (2, 12))
    features = {"input_ids": ids, "input_mask": np.ones_like(ids)}
    features["segment_ids"] = np.zeros_like(ids)
    features = {k: tf.constant(v, tf.int32) for k, v in features.items()}

    def two_steps(recompute):
        keras.utils.set_random_seed(1)
        with layers.precision(precision):
            model = models.classifier(config, 3)
        if recompute:
            models.recompute(model)
        variables = [v.value for v in model.trainable_variables]

        @tf.function
        def step(features):
            with tf.GradientTape() as tape:
                logits = model(features, training=True)["logits"]
                loss = tf.reduce_sum(logits**2)
            return loss, tape.gradient(loss, variables)

        results = [step(features), step(features)]
        graph = step.get_concrete_function(features).graph
        kinds = [operation.type for operation in graph.get_operations()]
        seeds = [v.numpy() for v in model.non_trainable_variables]
        return results, kinds.count("Softmax"), seeds

    want, softmaxes, seeds = two_steps(recompute=False)
    got, softmaxes_again, seeds_again = two_steps(recompute=True)

    assert softmaxes == 2 and softmaxes_again == 4  # Of two layers.
    np.testing.assert_array_equal(seeds, seeds_again)
    assert float(want[0][0]) != float(want[1][0])  # Dropout is at work.
    for (loss, gradients), (other, others) in zip(want, got):
        assert float(loss) == pytest.approx(float(other), rel=1e-6)
        for one, another in zip(gradients, others, strict=True):
            np.testing.assert_allclose(
                tf.convert_to_tensor(one),
                tf.convert_to_tensor(another),
                rtol=1e-6,
                # Products of 16 bits are rounded as their order has it.
                atol=1e-8 if precision == "float32" else 3e-6,
            )


# Freezing and LoRA.


def names_of(variables):
    return {variable.path for variable in variables}


def test_freeze_takes_text_and_finds_bert_in_a_model_of_ones_own(config):
    inner = models.headless(config)
    pooled = inner(inner.input)["pooled_output"]
    score = keras.layers.Dense(1, name="score")(pooled)
    model = keras.Model(inner.input, score)

    models.freeze(model, "embeddings,1,pooler")

    left = {
        name.partition("/layer_0/")[0]
        for name in names_of(model.trainable_variables)
    }
    assert left == {"bert/encoder", "score/kernel", "score/bias"}
    with pytest.raises(InputError, match=r"from 0 to 1.*'2'"):
        models.freeze(model, "2")


def test_freezing_without_a_bert_names_the_model(config):
    x = keras.Input((4,))
    with pytest.raises(InputError, match=r"one `BertModel`. mine has 0"):
        models.freeze(keras.Model(x, x, name="mine"), "0")


def test_lora_of_base_trains_the_papers_number_of_weights():
    # Table 2 of Hu et al. 2021: 0.3 million, besides the head.
    with weights_to_come():
        model = models.span(BertConfig(vocab_size=30522))
    models.add_lora(model, rank=8)

    adapters = [v for v in model.trainable_variables if "bert/" in v.path]
    assert sum(math.prod(v.shape) for v in adapters) == 294_912


@pytest.mark.parametrize(
    ("targets", "scopes"),
    [
        ("query,value", ["attention/self/query", "attention/self/value"]),
        (
            "all",
            [
                "attention/self/query",
                "attention/self/key",
                "attention/self/value",
                "attention/output/dense",
                "intermediate/dense",
                "output/dense",
            ],
        ),
    ],
)
def test_lora_trains_adapters_pooler_and_head_alone(config, targets, scopes):
    model = models.classifier(config, 3)
    before = names_of(model.weights)

    models.add_lora(model, rank=2, targets=targets)

    adapters = {
        f"bert/encoder/layer_{layer}/{scope}/lora_kernel_{x}"
        for layer in (0, 1)
        for scope in scopes
        for x in "ab"
    }
    head = {"bert/pooler/dense/kernel", "bert/pooler/dense/bias"}
    head |= {"output_weights", "output_bias"}
    assert names_of(model.trainable_variables) == adapters | head
    assert names_of(model.weights) == before | adapters


def test_adapters_begin_as_loralibs_do_and_change_no_output(config, rng):
    model = models.headless(config)
    x = encoder_inputs(rng, 2, 5)
    before = model(x)["sequence_output"]

    models.add_lora(model, rank=4, targets="all")

    np.testing.assert_array_equal(model(x)["sequence_output"], before)
    firsts = [
        layer.lora_kernel_a.numpy() for layer in models.lora_layers(model)
    ]
    assert len(firsts) == 12
    for a in firsts:
        # torch's kaiming_uniform_ with a = sqrt(5): up to 1 / sqrt(fan in).
        assert 0.9 < np.abs(a).max() * math.sqrt(len(a)) <= 1.0
    assert len({float(a[0, 0]) for a in firsts}) == len(firsts)
    for layer in models.lora_layers(model):
        assert not np.array(layer.lora_kernel_b).any()


def test_fit_trains_adapters_that_merge_into_the_kernels(config, rng, tmp_path):
    model = models.classifier(config, 3)
    models.freeze(model, "1")
    original = {w.path: w.numpy() for w in model.weights}
    models.add_lora(model, rank=2)
    model.compile(
        create_optimizer(0.01, 4, 0),
        {"logits": keras.losses.SparseCategoricalCrossentropy(True)},
    )
    x = encoder_inputs(rng, 4, 5)
    model.fit(x, {"logits": np.array([0, 1, 2, 0])}, epochs=3, verbose=0)
    unmerged = model(x)["logits"]
    products = {
        layer.base_kernel.path: layer.lora_kernel_a.numpy()
        @ layer.lora_kernel_b.numpy()
        for layer in models.lora_layers(model)
    }
    model.save(tmp_path / "adapted.keras")

    models.merge_lora(model)

    np.testing.assert_allclose(model(x)["logits"], unmerged, atol=1e-6)
    assert len(products) == 2 and all("layer_0" in name for name in products)
    for weight in model.weights:
        name = weight.path
        if not name.startswith("bert/pooler") and name.startswith("bert/"):
            want = original[name] + products.get(name, 0.0)
            np.testing.assert_allclose(
                weight, want, atol=1e-7 if name in products else 0
            )
    # Keras merges in its files.
    file = tmp_path / "adapted.keras"
    same = keras.saving.load_model(file, compile=False)
    np.testing.assert_allclose(same(x)["logits"], unmerged, atol=1e-6)
    left = names_of(model.weights) - names_of(model.trainable_variables)
    assert all("layer_1" in name for name in left) and len(left) == 16


@pytest.mark.parametrize(
    ("prepare", "arguments", "message"),
    [
        (None, {"rank": 0}, "at least 1 .* hidden size, 16. Received: 0"),
        (None, {"rank": 17}, "Received: 17"),
        (None, {"targets": "query,values"}, "attention_output.*'values'"),
        (lambda model: models.freeze(model, "0-1"), {}, "layers are frozen"),
        (models.add_lora, {}, "adapters already"),
    ],
)
def test_adapters_that_cannot_be_are_refused(
    config, prepare, arguments, message
):
    model = models.classifier(config, 3)
    if prepare is not None:
        prepare(model)
    with pytest.raises(InputError, match=message):
        models.add_lora(model, **arguments)
