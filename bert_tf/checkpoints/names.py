"""Names of the files beside a checkpoint and of scopes inside it."""

from collections.abc import Mapping
from typing import Any

CONFIG = "bert_config.json"
VOCAB = "vocab.txt"
PREFIX = "bert_model.ckpt"
BEST_FOLDER = "best"
SQUAD = "cls/squad/"
POOLER = "bert/pooler/"
LABELS_FILE = "labels.txt"


def checkpoint_shapes(config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """The variables that a released checkpoint of this config consists of.

    The encoder and the two pretraining heads; no optimizer slots, no global
    step. The tests compare with the indexes of released checkpoints.
    """
    width, inner = config["hidden_size"], config["intermediate_size"]
    vocab, types = config["vocab_size"], config["type_vocab_size"]
    positions = config["max_position_embeddings"]
    shapes: dict[str, tuple[int, ...]] = {
        "bert/embeddings/word_embeddings": (vocab, width),
        "bert/embeddings/token_type_embeddings": (types, width),
        "bert/embeddings/position_embeddings": (positions, width),
        "cls/predictions/output_bias": (vocab,),
        "cls/seq_relationship/output_weights": (2, width),
        "cls/seq_relationship/output_bias": (2,),
    }
    norms = ["bert/embeddings", "cls/predictions/transform"]
    dense = {
        "bert/pooler/dense": (width, width),
        "cls/predictions/transform/dense": (width, width),
    }
    for index in range(config["num_hidden_layers"]):
        layer = f"bert/encoder/layer_{index}"
        norms += [f"{layer}/attention/output", f"{layer}/output"]
        for part in ("query", "key", "value"):
            dense[f"{layer}/attention/self/{part}"] = (width, width)
        dense[f"{layer}/attention/output/dense"] = (width, width)
        dense[f"{layer}/intermediate/dense"] = (width, inner)
        dense[f"{layer}/output/dense"] = (inner, width)
    for scope, shape in dense.items():
        shapes |= {f"{scope}/kernel": shape, f"{scope}/bias": shape[1:]}
    for scope in norms:
        for part in ("beta", "gamma"):
            shapes[f"{scope}/LayerNorm/{part}"] = (width,)
    return shapes
