"""BERT as an ONNX graph, written directly from the weights of a checkpoint.

Only operators of ONNX itself are used; batch and length are free. Nodes are
named after the variables that they use.

Shape letters: B batch, S sequence, D hidden size, N heads, H size of one head.
"""

import math
from collections.abc import Mapping

import numpy as np
import onnx
from numpy.typing import ArrayLike, NDArray
from onnx import helper, numpy_helper

from bert_tf.checkpoints import names
from bert_tf.data.packing import ENCODER_INPUTS
from bert_tf.layers import MASKED_SCORE
from bert_tf.modeling import BertConfig

OPSET = 21
"""The version of ONNX's operators: the first with all of those used is 20."""

IR_VERSION = 10
"""The version of the file format that belongs to it."""

EPSILON = 1e-12
"""Of every LayerNorm."""

INTEGERS, FLOATS = onnx.TensorProto.INT32, onnx.TensorProto.FLOAT


class Graph:
    """The nodes and weights of a graph, in the order in which they are added.

    Functions that add something return the name of its result.

    Args:
        weights: arrays by the names that they have in a checkpoint. Those that
            are used become part of the graph, once each.
    """

    def __init__(self, weights: Mapping[str, NDArray]):
        self.weights = weights
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: dict[str, onnx.TensorProto] = {}

    def add(self, operator: str, *inputs: str, name: str = "", **attributes):
        """The result of a node with one output, or with the outputs asked for.

        Args:
            operator: its name in ONNX.
            inputs: names of results; "" for one that is left out.
            name: of the node and its output; else they get a number.
            attributes: of the node; `outputs`, a number, is none.
        """
        name = name or f"{operator}_{len(self.nodes)}"
        count = attributes.pop("outputs", 1)
        outputs = (
            [name] if count == 1 else [f"{name}:{n}" for n in range(count)]
        )
        self.nodes.append(
            helper.make_node(operator, inputs, outputs, name, **attributes)
        )
        return outputs[0] if count == 1 else outputs

    def weight(self, name: str) -> str:
        """A variable of the checkpoint, or of the Keras model."""
        if name not in self.initializers:
            value = np.ascontiguousarray(self.weights[name], np.float32)
            self.initializers[name] = numpy_helper.from_array(value, name)
        return name

    def constant(self, value: ArrayLike, dtype: type = np.int64) -> str:
        """A small array."""
        array: NDArray = np.asarray(value, dtype)
        name = f"{array.dtype}{array.tolist()}"
        if name not in self.initializers:
            self.initializers[name] = numpy_helper.from_array(array, name)
        return name

    def size(self, x: str, axis: int) -> str:
        """The length of an axis, int64 [1]."""
        return self.add("Shape", x, start=axis, end=axis + 1)

    def dense(self, x: str, scope: str) -> str:
        """A linear layer: x [..., any width] to [..., units]."""
        product = self.add(
            "MatMul", x, self.weight(f"{scope}/kernel"), name=f"{scope}/MatMul"
        )
        bias = self.weight(f"{scope}/bias")
        return self.add("Add", product, bias, name=f"{scope}/Add")

    def layer_norm(self, x: str, scope: str) -> str:
        """Normalizes the last axis."""
        gamma, beta = (
            self.weight(f"{scope}/LayerNorm/{part}")
            for part in ("gamma", "beta")
        )
        return self.add(
            "LayerNormalization",
            x,
            gamma,
            beta,
            name=f"{scope}/LayerNorm",
            axis=-1,
            epsilon=EPSILON,
        )

    def activate(self, x: str, hidden_act: str | None) -> str:
        """The activation of a config, one of `layers.ACTIVATIONS`."""
        name = (hidden_act or "linear").lower()
        if name == "linear":
            return x
        operator, attributes = {
            "gelu": ("Gelu", {"approximate": "tanh"}),
            "gelu_exact": ("Gelu", {"approximate": "none"}),
            "relu": ("Relu", {}),
            "tanh": ("Tanh", {}),
        }[name]
        return self.add(operator, x, **attributes)

    def project(self, x: str, weights: str, bias: str) -> str:
        """The logits [..., L] of x [..., D], for weights [L, D] as heads have.

        A `Gemm` would transpose them on the fly, but quantization makes a
        transposed copy of it.
        """
        kernel = self.add("Transpose", self.weight(weights), perm=(1, 0))
        product = self.add("MatMul", x, kernel)
        return self.add("Add", product, self.weight(bias))

    def model(
        self, inputs: Mapping[str, tuple], outputs: Mapping[str, tuple]
    ) -> onnx.ModelProto:
        """The file's content.

        Args:
            inputs: shapes by name; int32. Lengths that are free have a name.
            outputs: shapes by name; float32. Each is the name of a result.
        """
        graph = helper.make_graph(
            self.nodes,
            "bert",
            [_info(name, INTEGERS, shape) for name, shape in inputs.items()],
            [_info(name, FLOATS, shape) for name, shape in outputs.items()],
            list(self.initializers.values()),
        )
        return helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
            producer_name="bert_tf",
        )


def _info(name, kind, shape):
    return helper.make_tensor_value_info(name, kind, shape)


# -------------------------------------------------------------------- encoder


def add_encoder(
    graph: Graph, config: BertConfig, inputs: tuple[str, ...] = ENCODER_INPUTS
) -> list[str]:
    """The output of each encoder layer, [B, S, D].

    Args:
        graph: to add it to.
        config: the model's.
        inputs: names of the ids, masks and segments, int32 [B, S].
    """
    ids, mask, segments = inputs
    hidden = _add_embeddings(graph, ids, segments)
    adder = _add_mask(graph, config, ids, mask)
    layers = []
    for number in range(config.num_hidden_layers):
        hidden = _add_layer(
            graph, config, f"bert/encoder/layer_{number}", hidden, adder
        )
        layers.append(hidden)
    return layers


def add_pooler(graph: Graph, sequence: str, scope: str = names.POOLER) -> str:
    """The pooled output [B, D] of the last layer.

    Args:
        graph: to add it to.
        sequence: the output of that layer.
        scope: of the pooler's variables.
    """
    first = graph.add("Gather", sequence, graph.constant(0), axis=1)
    dense = graph.dense(first, f"{scope}dense")
    # Always tanh, whatever the config's activation.
    return graph.add("Tanh", dense)


def _add_embeddings(graph, ids, segments):
    words, types, positions = (
        graph.weight(name)
        for name in (
            names.WORD_EMBEDDINGS,
            names.TYPE_EMBEDDINGS,
            names.POSITION_EMBEDDINGS,
        )
    )
    total = graph.add(
        "Add",
        graph.add("Gather", words, ids),
        graph.add("Gather", types, segments),
    )
    zero = graph.constant([0])
    places = graph.add("Slice", positions, zero, graph.size(ids, 1), zero)
    total = graph.add("Add", total, places)
    return graph.layer_norm(total, "bert/embeddings")


def _add_mask(graph, config, ids, mask):
    """What is added to scores: [B, 1, 1, S], or [B, 1, S, S]."""
    kept = graph.add("Cast", mask, to=FLOATS)
    one = graph.constant(1.0, np.float32)
    lowest = graph.constant(MASKED_SCORE, np.float32)
    hidden = graph.add("Mul", graph.add("Sub", one, kept), lowest)
    adder = graph.add("Unsqueeze", hidden, graph.constant([1, 2]))
    if config.attention_direction() != "left_to_right":
        return adder
    length = graph.add("Squeeze", graph.size(ids, 1))
    zero, step = graph.constant(0), graph.constant(1)
    places = graph.add("Range", zero, length, step)
    before = graph.add("Unsqueeze", places, graph.constant([1]))
    is_later = graph.add("Greater", places, before)
    later = graph.add("Mul", graph.add("Cast", is_later, to=FLOATS), lowest)
    return graph.add("Add", adder, later)


def _add_layer(graph, config, scope, hidden, adder):
    attended = _add_attention(
        graph, config, f"{scope}/attention", hidden, adder
    )
    inner = graph.dense(attended, f"{scope}/intermediate/dense")
    inner = graph.activate(inner, config.hidden_act)
    return _add_residual(graph, f"{scope}/output", inner, attended)


def _add_attention(graph, config, scope, hidden, adder):
    heads = config.num_attention_heads
    size = config.hidden_size // heads

    def split(part, order):
        rows = graph.dense(hidden, f"{scope}/self/{part}")
        shape = graph.constant([0, 0, heads, size])
        return graph.add(
            "Transpose", graph.add("Reshape", rows, shape), perm=order
        )

    query, value = (split(part, (0, 2, 1, 3)) for part in ("query", "value"))
    key = split("key", (0, 2, 3, 1))
    scale = graph.constant(1.0 / math.sqrt(size), np.float32)
    scores = graph.add("Mul", graph.add("MatMul", query, key), scale)
    probs = graph.add("Softmax", graph.add("Add", scores, adder), axis=-1)
    joined = graph.add("MatMul", probs, value)
    joined = graph.add("Transpose", joined, perm=(0, 2, 1, 3))
    joined = graph.add(
        "Reshape", joined, graph.constant([0, 0, config.hidden_size])
    )
    return _add_residual(graph, f"{scope}/output", joined, hidden)


def _add_residual(graph, scope, x, residual):
    total = graph.add("Add", graph.dense(x, f"{scope}/dense"), residual)
    return graph.layer_norm(total, scope)
