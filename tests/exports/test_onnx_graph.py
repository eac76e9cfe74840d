"""ONNX graphs, held to the Keras models whose weights they have."""

import keras
import numpy as np
import pytest

from bert_tf import models
from bert_tf.checkpoints.names import named_weights
from bert_tf.modeling import BertConfig
from bert_tf.tasks.vectors import lines

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from bert_tf.exports import onnx_files, onnx_heads  # noqa: E402
from bert_tf.exports.sessions import (  # noqa: E402
    OnnxSession,
    OpenvinoSession,
)


def make_config(**more):
    config = BertConfig(
        vocab_size=50,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=24,
        max_position_embeddings=12,
        type_vocab_size=2,
        # So that no part of the model is negligible.
        initializer_range=0.5,
    )
    for name, value in more.items():
        setattr(config, name, value)
    return config


def make_rows(rng, *shape):
    mask = np.ones(shape, np.int32)
    mask[0, ..., -3:] = 0
    return {
        "input_ids": rng.integers(0, 50, shape, np.int32),
        "input_mask": mask,
        "segment_ids": rng.integers(0, 2, shape, np.int32),
    }


def weights_of(model, rng):
    for weight in model.weights:
        if weight.path.endswith(("bias", "beta")):
            weight.assign(rng.normal(0, 0.3, weight.shape))
    return {name: x.numpy() for name, x in named_weights(model).items()}


def compare(session, model, rows):
    want = model(rows, training=False)
    got = session.run(rows, list(want))
    for name, values in want.items():
        values = keras.ops.convert_to_numpy(values)
        np.testing.assert_allclose(
            got[name], values, rtol=1e-5, atol=1e-5, err_msg=name
        )


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"hidden_act": "gelu_exact"},
        {"hidden_act": "relu"},
        {"hidden_act": "Tanh"},
        {"hidden_act": None},
        {"directionality": "left_to_right"},
    ],
)
def test_activations_and_directions_are_those_of_the_config(
    tmp_path, rng, more
):
    config = make_config(**more)
    model = models.pretraining(config)
    graph = onnx_heads.build(
        "pretraining",
        config,
        weights_of(model, rng),
        {"next_sentence": True},
    )
    onnx.checker.check_model(graph, full_check=True)
    onnx_files.save(graph, str(tmp_path))
    session = OnnxSession(str(tmp_path / "model.onnx"))
    for shape in ((3, 7), (1, 12)):
        rows = make_rows(rng, *shape)
        rows["masked_lm_positions"] = rng.integers(
            0, 4, (shape[0], 2), np.int32
        )
        compare(session, model, rows)


@pytest.mark.parametrize("pooling", lines.POOLINGS)
def test_features_are_pooled_as_the_model_pools_them(tmp_path, rng, pooling):
    config = make_config(num_hidden_layers=4)
    kind = lines.POOLINGS[pooling]
    layers = kind.layers or (-1, 0)
    model = models.feature_extractor(config, layers, kind)
    settings = {"layers": list(layers), "over_tokens": kind.over_tokens}
    graph = onnx_heads.build(
        "features", config, weights_of(model, rng), settings
    )
    onnx_files.save(graph, str(tmp_path))
    rows = make_rows(rng, 3, 7)
    session = OnnxSession(str(tmp_path / "model.onnx"))
    got = session.run(rows, ["embedding"])["embedding"]
    want = keras.ops.convert_to_numpy(model(rows)["values"])
    np.testing.assert_allclose(got, want.reshape(got.shape), atol=1e-5)


def test_without_a_pooler_there_is_no_pooled_output(rng):
    config = make_config()
    weights = weights_of(models.span(config), rng)
    settings = {"layers": [-1], "over_tokens": "mean"}
    for has_pooler in (True, False):
        kept = {
            name: x
            for name, x in weights.items()
            if has_pooler or "pooler" not in name
        }
        graph = onnx_heads.build("features", config, kept, settings).graph
        outputs = [one.name for one in graph.output]
        assert ("pooled_output" in outputs) == has_pooler


@pytest.fixture(scope="module")
def classifier():
    """A model, and its graph."""
    rng = np.random.default_rng(3)
    config = make_config()
    model = models.classifier(config, 3)
    settings = {"label_type": "class"}
    weights = weights_of(model, rng)
    return model, onnx_heads.build("classifier", config, weights, settings)


def test_weights_of_two_gigabytes_have_a_file_of_their_own(
    tmp_path, monkeypatch, rng, classifier
):
    model, graph = classifier
    monkeypatch.setattr(onnx_files, "LARGEST", 1000)
    copy = onnx.ModelProto.FromString(graph.SerializeToString())
    onnx_files.save(copy, str(tmp_path))
    written = {path.name for path in tmp_path.iterdir()}
    assert written == {"model.onnx", "model.onnx.weights"}
    session = OnnxSession(str(tmp_path / "model.onnx"))
    compare(session, model, make_rows(rng, 2, 5))


def test_int8_rounds_the_linear_layers_only(tmp_path, rng, classifier):
    model, graph = classifier
    onnx_files.save(graph, str(tmp_path), "int8")
    found = onnx.load(tmp_path / "model.onnx").graph
    products = [n for n in found.node if n.op_type == "MatMulInteger"]
    # Six of each layer, and the pooler.
    assert len(products) == 2 * 6 + 1
    kinds = {one.name: one.data_type for one in found.initializer}
    assert kinds["output_weights"] == onnx.TensorProto.FLOAT
    assert kinds["bert/embeddings/word_embeddings"] == onnx.TensorProto.FLOAT
    rows = make_rows(rng, 2, 5)
    session = OnnxSession(str(tmp_path / "model.onnx"))
    got = session.run(rows, ["logits"])["logits"]
    want = keras.ops.convert_to_numpy(model(rows)["logits"])
    apart = np.abs(got - want).max()
    assert 1e-5 < apart < 0.2 * np.abs(want).max()


def test_openvino_computes_the_same(tmp_path, rng, classifier):
    pytest.importorskip("openvino")
    model, graph = classifier
    onnx_files.save_openvino(graph, str(tmp_path))
    session = OpenvinoSession(str(tmp_path / "model.xml"))
    for shape in ((3, 7), (1, 12)):
        compare(session, model, make_rows(rng, *shape))
