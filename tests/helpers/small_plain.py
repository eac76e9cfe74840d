"""The small classifier of `small_models`, as an ONNX export of bert_tf."""

import json
import pathlib

import numpy as np
import onnx
from onnx import helper

from bert_tf.exports.folder import write_checksums
from bert_tf.exports.onnx_graph import FLOATS, Graph
from helpers.small_models import IDS, LABELS, VOCAB

CONFIG = {
    "vocab_size": len(VOCAB),
    "hidden_size": 2,
    "type_vocab_size": 2,
    "max_position_embeddings": 64,
}
SLOW = "##ly"
"""The piece for which a model takes its time: "goodly" has it."""

TURNS = 10_000_000
"""Of a loop that computes nothing, for each such piece: seconds."""


def reviews(offset=0.0):
    """The graph of `small_models.Reviews`, which takes its time for `SLOW`."""
    graph = Graph({})
    ids, mask, _ = IDS
    is_token = graph.add("Cast", mask, to=FLOATS)
    logits = graph.add(
        "Concat",
        *(_count(graph, ids, is_token, label) for label in LABELS),
        axis=1,
    )
    offsets = graph.constant([0.0, offset], np.float32)
    logits = graph.add("Add", logits, offsets)
    number = graph.add("ReduceSum", _count(graph, ids, is_token, SLOW))
    turns = graph.add("Mul", number, graph.constant(TURNS, np.float32))
    turns = graph.add("Squeeze", graph.add("Cast", turns, to=INT64))
    graph.add("Loop", turns, "", logits, name="logits", body=_nothing())
    graph.add("Softmax", "logits", axis=-1, name="probabilities")
    rows, shape = ("batch", "length"), ("batch", len(LABELS))
    return graph.model(
        dict.fromkeys(IDS, rows),
        dict.fromkeys(("logits", "probabilities"), shape),
    )


INT64 = onnx.TensorProto.INT64


def _count(graph, ids, is_token, piece):
    """How often a piece stands in each row, float [B, 1]."""
    wanted = graph.constant(VOCAB.index(piece), np.int32)
    found = graph.add("Cast", graph.add("Equal", ids, wanted), to=FLOATS)
    found = graph.add("Mul", found, is_token)
    return graph.add("ReduceSum", found, graph.constant([1]), keepdims=1)


def _nothing():
    """The body of a loop that goes on and returns what it gets."""
    truth = onnx.TensorProto.BOOL
    shape = ("batch", len(LABELS))

    def info(name, kind, shape):
        return helper.make_tensor_value_info(name, kind, shape)

    return helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["go_on"]),
            helper.make_node("Identity", ["x"], ["same"]),
        ],
        "nothing",
        [
            info("turn", INT64, ()),
            info("go", truth, ()),
            info("x", FLOATS, shape),
        ],
        [info("go_on", truth, ()), info("same", FLOATS, shape)],
    )


def save(folder, offset=0.0):
    """Writes a version, as `export_saved_model --format=onnx` does.

    Args:
        folder: MODEL/1, say.
        offset: as of `small_models.Reviews`.
    """
    assets = pathlib.Path(folder, "assets")
    assets.mkdir(parents=True)
    (assets.parent / "assets.extra").mkdir()
    about = {
        "format": 1,
        "bert_tf_version": "0.1.0",
        "head": "classifier",
        "label_type": "class",
        "labels": LABELS,
        "do_lower_case": True,
        "strip_accents": None,
        "max_seq_length": 64,
    }
    (assets / "bert_tf.json").write_text(json.dumps(about))
    (assets / "bert_config.json").write_text(json.dumps(CONFIG))
    (assets / "vocab.txt").write_text("\n".join(VOCAB) + "\n")
    onnx.save_model(reviews(offset), assets.parent / "model.onnx")
    write_checksums(str(assets.parent))
