"""`bert_tf.load`: model, tokenizer and config of a checkpoint, and vectors."""

import json
import logging
import shutil

import keras
import numpy as np
import pytest
from helpers.golden import TINY, read_variables
from helpers.numpy_bert import NumpyBert
from helpers.paths import ROOT

import bert_tf
from bert_tf import checkpoints
from bert_tf.errors import InputError
from bert_tf.tokenization import FullTokenizer

pytestmark = pytest.mark.usefixtures("without_graphs")

TEXTS = ["the quiet museum", "it was born in a park .", ("who ?", "the park")]


@pytest.fixture(scope="module")
def tiny():
    return bert_tf.load(TINY)


@pytest.fixture(scope="module")
def layers(tiny):
    """Function of a text that returns what NumPy computes of it."""
    bert = NumpyBert(read_variables(TINY), tiny.config.num_attention_heads)

    def of_text(text):
        tokenizer = tiny.tokenizer
        first, second = (text, "") if isinstance(text, str) else text
        tokens = ["[CLS]", *tokenizer.tokenize(first), "[SEP]"]
        segments = [0] * len(tokens)
        if second:
            more = [*tokenizer.tokenize(second), "[SEP]"]
            tokens, segments = tokens + more, segments + [1] * len(more)
        ids = tokenizer.convert_tokens_to_ids(tokens)
        return bert.layers(ids, segments)

    return of_text


def test_weights_have_the_names_and_values_of_the_checkpoint(tiny):
    stored = read_variables(TINY)
    assert {w.path for w in tiny.model.weights} == {
        name for name in stored if name.startswith("bert/")
    }
    for weight in tiny.model.weights:
        np.testing.assert_array_equal(weight.numpy(), stored[weight.path])
    assert isinstance(tiny.tokenizer, FullTokenizer)
    assert tiny.config.vocab_size == len(tiny.tokenizer.vocab)


def test_a_call_of_the_model_has_the_outputs_of_numpy(tiny, layers):
    inputs = tiny.tokenize(TEXTS)
    outputs = tiny.model(inputs)
    v = read_variables(TINY)
    for row, text in enumerate(TEXTS):
        want = layers(text)[-1]
        assert inputs["input_mask"][row].sum() == len(want)
        got = outputs["sequence_output"][row][: len(want)]
        np.testing.assert_allclose(got, want, atol=2e-5)
        pooled = np.tanh(
            want[0] @ v["bert/pooler/dense/kernel"]
            + v["bert/pooler/dense/bias"]
        )
        np.testing.assert_allclose(
            outputs["pooled_output"][row], pooled, atol=2e-5
        )


@pytest.mark.usefixtures("with_graphs")
@pytest.mark.parametrize(
    ("pooling", "reduce"),
    [
        ("mean", lambda layers: layers[-1].mean(axis=0)),
        ("max", lambda layers: layers[-1].max(axis=0)),
        ("cls", lambda layers: layers[-1][0]),
        ("none", lambda layers: layers[-1]),
        ("second_to_last_mean", lambda layers: layers[-2].mean(axis=0)),
    ],
)
def test_vectors_are_those_of_numpy(tiny, layers, pooling, reduce):
    found = tiny.encode(TEXTS, pooling, batch_size=2)
    assert len(found) == len(TEXTS)
    for got, text in zip(found, TEXTS):
        np.testing.assert_allclose(got, reduce(layers(text)), atol=2e-5)


def test_a_folder_says_how_vectors_of_texts_are_made(tmp_path, layers):
    for path in (*TINY.parent.glob(f"{TINY.name}.*"),):
        shutil.copy(path, tmp_path)
    for name in ("vocab.txt", "bert_config.json"):
        shutil.copy(TINY.parent / name, tmp_path)
    noted = {"head": "features", "pooling": "cls", "normalize": True}
    (tmp_path / "bert_tf.json").write_text(json.dumps(noted))
    loaded = bert_tf.load(tmp_path)
    want = layers(TEXTS[0])[-1]
    unit = want[0] / np.linalg.norm(want[0])
    for pooling in (None, "cls"):
        got = loaded.encode(TEXTS[0], pooling)
        np.testing.assert_allclose(got, unit, atol=2e-5)
    # What is asked for is another vector.
    got = loaded.encode(TEXTS[0], "mean")
    np.testing.assert_allclose(got, want.mean(axis=0), atol=2e-5)
    got = loaded.encode(TEXTS[0], normalize=False)
    np.testing.assert_allclose(got, want[0], atol=2e-5)
    with pytest.raises(InputError, match=r"--normalize.*none"):
        loaded.encode(TEXTS[0], "none", normalize=True)


def test_one_text_has_one_vector_and_no_text_none(tiny):
    width = tiny.config.hidden_size
    (want,) = tiny.encode(TEXTS[:1])
    np.testing.assert_allclose(tiny.encode(TEXTS[0]), want, atol=1e-6)
    np.testing.assert_allclose(
        tiny.encode(TEXTS[2]), tiny.encode(TEXTS[2:])[0], atol=1e-6
    )
    assert tiny.encode([]).shape == (0, width)


def test_vectors_follow_the_weights_of_the_model():
    loaded = bert_tf.load(TINY)
    before = loaded.encode("a park")
    last = loaded.config.num_hidden_layers - 1
    for weight in loaded.model.weights:
        if weight.path.endswith(f"layer_{last}/output/LayerNorm/beta"):
            weight.assign_add(keras.ops.ones_like(weight))
    np.testing.assert_allclose(loaded.encode("a park"), before + 1, atol=1e-5)


def test_a_name_is_loaded_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    loaded = bert_tf.load("builtin")
    assert loaded.path.startswith(str(ROOT / "checkpoints" / "builtin"))
    # A name works wherever Python takes a checkpoint.
    reader = checkpoints.CheckpointReader("builtin")
    assert {w.path for w in loaded.model.weights} <= set(reader.names)
    with pytest.raises(InputError, match="released_models download uncased_L"):
        bert_tf.load("bert-base-uncased")


def test_a_long_text_is_cut_off_with_a_warning(caplog):
    loaded = bert_tf.load(TINY, max_seq_length=5)
    with caplog.at_level(logging.WARNING):
        inputs = loaded.tokenize(["a", "the old park was in the city"])
        loaded.encode(["the old park was in the city"])
    assert inputs["input_ids"].shape == (2, 5)
    for longer in ("1 of 2", "1 of 1"):
        text = f"{longer} examples are longer than max_seq_length=5"
        assert text in caplog.text


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (3, "3 of type int"),
        ([3], "3 of type int"),
        ([b"a"], "of type bytes"),
        (("a", "b", "c"), "of type tuple"),
        ([["a", "b"]], "of type list"),
        ([], "Received: none"),
    ],
)
def test_what_is_no_text_is_refused(tiny, texts, message):
    with pytest.raises(InputError, match=message):
        tiny.tokenize(texts)


def test_a_pooling_that_there_is_not_lists_those_that_there_are(tiny):
    with pytest.raises(InputError, match=r"none, cls, mean.*'middle'"):
        tiny.encode("a", pooling="middle")


def test_another_length_than_the_model_has_is_refused():
    with pytest.raises(InputError, match="max_seq_length=100000"):
        bert_tf.load(TINY, max_seq_length=100_000)
