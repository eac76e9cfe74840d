"""Attention and layers inside a model, against NumPy and the original."""

import numpy as np
import pytest
import tensorflow as tf
from helpers.golden import DATA, TINY

import bert_tf
from bert_tf import models
from bert_tf.data.packing import ENCODER_INPUTS
from bert_tf.tasks.inspection import model as inside

FORWARD = np.load(DATA / "forward" / "forward.npz")
MAPS = np.load(DATA / "inspection" / "attention.npz")


@pytest.fixture(scope="module")
def tiny():
    return bert_tf.load(TINY)


def inputs_of(case):
    rows = {name: FORWARD[f"{case}/in/{name}"] for name in ENCODER_INPUTS}
    return {name: rows[name].astype(np.int32) for name in rows}


@pytest.mark.parametrize("skips", [False, True])
@pytest.mark.parametrize(
    "case", ["base", "length_one", "mask_with_holes", "short"]
)
def test_attention_is_that_of_numpy(tiny, case, skips):
    inputs = inputs_of(case)
    bert = models.find_bert(tiny.model)
    bert.skip_padding = skips
    try:
        _, attention = models.look_inside(bert, *inputs.values())
    finally:
        bert.skip_padding = False
    mask = inputs["input_mask"]
    for got, want in zip(attention, MAPS[f"{case}/attention"], strict=True):
        for row, tokens in enumerate(mask > 0):
            rows = tokens if skips else slice(None)
            np.testing.assert_allclose(
                got.numpy()[row][:, rows], want[row][:, rows], atol=1e-5
            )
        hidden = got.numpy().transpose(0, 3, 1, 2)[mask == 0]
        assert not hidden.any()  # Nothing looks at padding.
        np.testing.assert_allclose(got.numpy().sum(-1), 1, atol=1e-5)


@pytest.mark.parametrize("layer", [0, 1, 3])
def test_the_output_of_a_layer_is_that_of_the_original(tiny, layer):
    inputs = inputs_of("base")
    got = inside.hidden_function(tiny.model, layer)(inputs)
    outputs = [FORWARD["base/out/embedding_output"]]
    outputs += list(FORWARD["base/out/all_encoder_layers"])
    np.testing.assert_allclose(got, outputs[layer], atol=2e-5)


def test_a_text_alone_has_the_maps_that_it_has_in_a_batch(tiny):
    inputs = inputs_of("base")
    compute = inside.attention_function(tiny.model)
    for row, mask in enumerate(inputs["input_mask"]):
        length = int(mask.sum())
        alone = {name: x[row : row + 1, :length] for name, x in inputs.items()}
        want = MAPS["base/attention"][:, row, :, :length, :length]
        np.testing.assert_allclose(compute(alone), want, atol=1e-5)


def test_the_table_is_that_of_the_checkpoint(tiny):
    stored = tf.train.load_checkpoint(str(TINY))
    want = stored.get_tensor("bert/embeddings/word_embeddings")
    np.testing.assert_array_equal(inside.word_embeddings(tiny.model), want)


def test_looking_changes_nothing_that_is_computed_afterwards(tiny):
    spec = [tf.TensorSpec([None, None], tf.int32)] * 3

    def graph():
        forward = tf.function(
            lambda *x: tiny.model(dict(zip(ENCODER_INPUTS, x))), spec
        )
        nodes = forward.get_concrete_function().graph.as_graph_def().node
        return [(node.op, len(node.input)) for node in nodes]

    before = graph()
    inside.attention_function(tiny.model)(
        {name: x[:1] for name, x in inputs_of("base").items()}
    )
    assert graph() == before
