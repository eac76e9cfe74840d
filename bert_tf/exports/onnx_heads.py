"""The heads of ONNX exports: their inputs, and what they add to the encoder.

A file has one graph with all outputs of its head. A runtime computes only those
that it is asked for, and the weights, which outputs share, are there once.

Shape letters: B batch, C choices, S sequence, D hidden size, P predictions per
sequence, V vocabulary, L labels.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from bert_tf.checkpoints import names
from bert_tf.data.packing import ENCODER_INPUTS
from bert_tf.exports.onnx_graph import FLOATS, Graph, add_encoder, add_pooler
from bert_tf.modeling import BertConfig

Shapes = dict[str, tuple]
"""Of the outputs that a head has added, by name."""

ROW, TOKENS = ("batch",), ("batch", "length")
POSITIONS = "masked_lm_positions"


def build(
    head: str,
    config: BertConfig,
    weights: Mapping[str, NDArray],
    settings: Mapping[str, Any],
) -> onnx.ModelProto:
    """The model of an export.

    Args:
        head: one of `HEADS`.
        config: the model's.
        weights: of the checkpoint, by name.
        settings: those of the head in assets/bert_tf.json; of features also
            `over_tokens`, how they are pooled.

    Returns:
        A model of `input_ids`, `input_mask` and `segment_ids`, with the outputs
        of the head's signatures of ids, and those that texts need.
    """
    graph = Graph(weights)
    inputs: Shapes = dict.fromkeys(ENCODER_INPUTS, TOKENS)
    if head == "pretraining":
        inputs[POSITIONS] = ("batch", "predictions")
    if head == "choices":
        inputs = dict.fromkeys(ENCODER_INPUTS, ("batch", "choices", "length"))
    outputs = HEADS[head](graph, config, settings)
    return graph.model(inputs, outputs)


def _named(graph: Graph, x: str, name: str) -> str:
    return graph.add("Identity", x, name=name)


def _add_classifier(graph, config, settings):
    pooled = add_pooler(graph, add_encoder(graph, config)[-1])
    return _add_labels(graph, pooled, settings["label_type"])


def _add_labels(graph, pooled, label_type, scope="", prefix=""):
    """Outputs of a classifier; their names begin with a prefix."""
    logits = _named(graph, _project(graph, pooled, scope), f"{prefix}logits")
    count = len(graph.weights[f"{scope}output_bias"])
    found = {f"{prefix}logits": (*ROW, count)}
    if label_type == "number":
        axis = graph.constant([1])
        graph.add("Squeeze", logits, axis, name=f"{prefix}value")
        return {**found, f"{prefix}value": ROW}
    if label_type == "multi":
        graph.add("Sigmoid", logits, name=f"{prefix}scores")
        return {**found, f"{prefix}scores": (*ROW, count)}
    graph.add("Softmax", logits, axis=-1, name=f"{prefix}probabilities")
    return {**found, f"{prefix}probabilities": (*ROW, count)}


def _project(graph: Graph, x: str, scope: str = "") -> str:
    """The logits of a head whose variables are in a scope, or at the root."""
    return graph.project(x, f"{scope}output_weights", f"{scope}output_bias")


def _add_tokens(graph, config, settings):
    return _add_words(graph, add_encoder(graph, config)[-1])


def _add_words(graph, sequence, scope="", prefix=""):
    """Outputs for each token; their names begin with a prefix."""
    logits = _named(graph, _project(graph, sequence, scope), f"{prefix}logits")
    graph.add("Softmax", logits, axis=-1, name=f"{prefix}probabilities")
    shape = (*TOKENS, len(graph.weights[f"{scope}output_bias"]))
    return {f"{prefix}logits": shape, f"{prefix}probabilities": shape}


def _add_several(graph, config, settings):
    sequence = add_encoder(graph, config)[-1]
    poolers = {}  # By their scope, since heads may share one.
    found: Shapes = {}
    for name, head in settings["heads"].items():
        scope, prefix = names.scope_of_head(name), f"{name}/"
        if head["head"] == "tokens":
            found |= _add_words(graph, sequence, scope, prefix)
            continue
        pooler = f"{scope}pooler/"
        if f"{pooler}dense/kernel" not in graph.weights:
            pooler = names.POOLER
        if pooler not in poolers:
            poolers[pooler] = add_pooler(graph, sequence, pooler)
        kind = head["label_type"]
        found |= _add_labels(graph, poolers[pooler], kind, scope, prefix)
    return found


def _add_span(graph, config, settings):
    sequence = add_encoder(graph, config)[-1]
    logits = _project(graph, sequence, names.SQUAD)
    for place, name in enumerate(("start_logits", "end_logits")):
        graph.add("Gather", logits, graph.constant(place), axis=2, name=name)
    return {"start_logits": TOKENS, "end_logits": TOKENS}


def _add_choices(graph, config, settings):
    length = graph.size(ENCODER_INPUTS[0], 2)
    shape = graph.add("Concat", graph.constant([-1]), length, axis=0)
    rows = tuple(graph.add("Reshape", x, shape) for x in ENCODER_INPUTS)
    pooled = add_pooler(graph, add_encoder(graph, config, rows)[-1])
    shape = graph.add("Shape", ENCODER_INPUTS[0], start=0, end=2)
    graph.add("Reshape", _project(graph, pooled), shape, name="logits")
    graph.add("Softmax", "logits", axis=-1, name="probabilities")
    return dict.fromkeys(("logits", "probabilities"), ("batch", "choices"))


def _add_pretraining(graph, config, settings):
    sequence = add_encoder(graph, config)[-1]
    places = graph.add("Cast", POSITIONS, to=onnx.TensorProto.INT64)
    places = graph.add("Unsqueeze", places, graph.constant([2]))
    masked = graph.add("GatherND", sequence, places, batch_dims=1)  # [B, P, D]
    scope = f"{names.MASKED_LM}transform"
    masked = graph.dense(masked, f"{scope}/dense")
    masked = graph.activate(masked, config.hidden_act)
    masked = graph.layer_norm(masked, scope)
    # The output projection is tied to the embeddings.
    logits = graph.project(masked, names.WORD_EMBEDDINGS, names.MASKED_LM_BIAS)
    _named(graph, logits, "masked_lm_logits")
    found: Shapes = {
        "masked_lm_logits": ("batch", "predictions", config.vocab_size)
    }
    if settings["next_sentence"]:
        pooled = add_pooler(graph, sequence)
        logits = _project(graph, pooled, names.NEXT_SENTENCE)
        _named(graph, logits, "next_sentence_logits")
        graph.add(
            "Softmax",
            logits,
            axis=-1,
            name="next_sentence_probabilities",
        )
        found["next_sentence_logits"] = (*ROW, 2)
        found["next_sentence_probabilities"] = (*ROW, 2)
    return found


def _add_features(graph, config, settings):
    layers = add_encoder(graph, config)
    size, count = config.hidden_size, len(settings["layers"])
    chosen = [layers[layer] for layer in settings["layers"]]
    axis = graph.constant([2])
    apart = [graph.add("Unsqueeze", layer, axis) for layer in chosen]
    values = graph.add("Concat", *apart, axis=2)  # [B, S, layers, D]
    _named(graph, layers[-1], "sequence_output")
    found: Shapes = {"sequence_output": (*TOKENS, size)}
    if f"{names.POOLER}dense/kernel" in graph.weights:
        _named(graph, add_pooler(graph, layers[-1]), "pooled_output")
        found["pooled_output"] = (*ROW, size)
    over_tokens = settings["over_tokens"]
    pooled = _pool(graph, values, over_tokens)
    _named(graph, values, "values")
    found["values"] = (*TOKENS, count, size)
    axes = [0] if over_tokens else [0, 0]
    shape = graph.constant([*axes, count * size])
    joined = graph.add("Reshape", pooled, shape)
    if settings.get("normalize"):
        length = graph.add("ReduceL2", joined, graph.constant([-1]))
        least = graph.constant(1e-12, np.float32)
        joined = graph.add("Div", joined, graph.add("Max", length, least))
    _named(graph, joined, "embedding")
    found["embedding"] = (*(ROW if over_tokens else TOKENS), count * size)
    return found


def _pool(graph, values, over_tokens):
    """Values [B, S, layers, D] as [B, layers, D], or as they are."""
    if over_tokens is None:
        return values
    if over_tokens == "first":
        return graph.add("Gather", values, graph.constant(0), axis=1)
    tokens = graph.constant([1])
    mask = graph.add("Unsqueeze", ENCODER_INPUTS[1], graph.constant([2, 3]))
    if over_tokens == "max":
        is_token = graph.add("Greater", mask, graph.constant(0, np.int32))
        lowest = graph.constant(-np.inf, np.float32)
        kept = graph.add("Where", is_token, values, lowest)
        return graph.add("ReduceMax", kept, tokens, keepdims=0)
    mask = graph.add("Cast", mask, to=FLOATS)
    total = graph.add(
        "ReduceSum", graph.add("Mul", values, mask), tokens, keepdims=0
    )
    count = graph.add("ReduceSum", mask, tokens, keepdims=0)
    return graph.add("Div", total, count)


HEADS: Mapping[
    str, Callable[[Graph, BertConfig, Mapping[str, Any]], Shapes]
] = {
    "classifier": _add_classifier,
    "span": _add_span,
    "pretraining": _add_pretraining,
    "features": _add_features,
    "tokens": _add_tokens,
    "choices": _add_choices,
    "several": _add_several,
}
"""What each head adds, by its name in assets/bert_tf.json."""
