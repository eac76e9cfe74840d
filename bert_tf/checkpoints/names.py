"""Names of the files beside a checkpoint, and of the variables inside it."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

CONFIG = "bert_config.json"
VOCAB = "vocab.txt"
LABELS_FILE = "labels.txt"
SETTINGS_FILE = "bert_tf.json"
"""Beside a checkpoint: how the model was trained; see `folder_settings`."""

EVAL_RESULTS = "eval_results.txt"
THRESHOLDS_FILE = "thresholds.tsv"
PREFIX = "bert_model.ckpt"
"""Prefix of a released checkpoint's files."""

INDEX = ".index"
DATA = ".data-00000-of-00001"
STATE_FILE = "checkpoint"
"""In a training folder: names its checkpoints, `model.ckpt-N`."""

BEST_FOLDER = "best"
"""In a training folder: the best checkpoint with its files."""

# Scopes.
ENCODER = "bert/"
POOLER = "bert/pooler/"
MASKED_LM = "cls/predictions/"
NEXT_SENTENCE = "cls/seq_relationship/"
SQUAD = "cls/squad/"
PAIR_CLASSIFIER = "pair_classifier/"
"""Of labels of two vectors, which only training needs."""

SEVERAL_HEADS = "heads/"
"""Of the heads of a model that has several."""

# Variables.
GLOBAL_STEP = "global_step"
WORD_EMBEDDINGS = "bert/embeddings/word_embeddings"
POSITION_EMBEDDINGS = "bert/embeddings/position_embeddings"
TYPE_EMBEDDINGS = "bert/embeddings/token_type_embeddings"
MASKED_LM_BIAS = f"{MASKED_LM}output_bias"
CLASSIFIER = ("output_weights", "output_bias")

# What LoRA keeps beside a merged kernel; see `lora`.
LORA_A, LORA_BASE = "lora_kernel_a", "lora_base_kernel"
LORA_NAMES = re.compile(r"/(lora_kernel_[ab]|lora_base_kernel)$")

# What optimizers and the original's training loop keep beside the weights, by
# the last part of the name or the whole name.
_SLOT_NAMES = re.compile(
    r"(^|/)(adam_[mv]|Adam(_1)?|Momentum|(beta[12]|adam)_power|global_step"
    r"|LAMB(_1)?|lamb_[mv]|AdamWeightDecay\w*|ExponentialMovingAverage"
    r"|loss_scale|good_steps|skipped_steps)$"
)


def scope_of_head(name: str) -> str:
    """The scope of one of several heads of a model."""
    return f"{SEVERAL_HEADS}{name}/"


def named_weights(model):
    """The variables of a model by the names they have in a checkpoint.

    Args:
        model: anything with `weights` that have a `path`: a `keras.Model`, a
            layer.

    Raises:
        ValueError: two weights have the same path. They would overwrite each
            other in a file; build the second model under another `name`.
    """
    named: dict[str, Any] = {}
    for weight in model.weights:
        if named.setdefault(weight.path, weight) is not weight:
            raise ValueError(
                "Every weight needs a path of its own to be stored in a "
                f"checkpoint. Received two with the path {weight.path!r}"
            )
    return named


def optimizer_slots(names: Iterable[str]) -> set[str]:
    """Those names that only a training needs: an optimizer's, LoRA's, counts.

    They are recognized by their last part (`adam_m`), or because they stand
    under the name of another variable (`output_bias/adam_m`), as no weight
    does.
    """
    known = set(names)
    return {
        name
        for name in known
        if _SLOT_NAMES.search(name)
        or LORA_NAMES.search(name)
        or name.rpartition("/")[0] in known
    }


def checkpoint_shapes(config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """The variables of a released checkpoint of this config, with shapes.

    The encoder and the two pretraining heads; no optimizer slots, no global
    step.
    """
    width, inner = config["hidden_size"], config["intermediate_size"]
    vocab, types = config["vocab_size"], config["type_vocab_size"]
    positions = config["max_position_embeddings"]
    shapes: dict[str, tuple[int, ...]] = {
        WORD_EMBEDDINGS: (vocab, width),
        TYPE_EMBEDDINGS: (types, width),
        POSITION_EMBEDDINGS: (positions, width),
        MASKED_LM_BIAS: (vocab,),
        f"{NEXT_SENTENCE}output_weights": (2, width),
        f"{NEXT_SENTENCE}output_bias": (2,),
    }
    dense = {
        f"{POOLER}dense": (width, width),
        f"{MASKED_LM}transform/dense": (width, width),
    }
    norms = ["bert/embeddings", f"{MASKED_LM}transform"]
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


def sizes_of(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, int]:
    """The sizes in a config that the shapes of variables tell.

    Args:
        shapes: of variables, by name; it may lack some.

    Returns:
        A dictionary of keys of bert_config.json.
    """
    layer = re.compile(r"bert/encoder/layer_(\d+)/")
    layers = [int(m[1]) for m in map(layer.match, shapes) if m]
    found = {"num_hidden_layers": max(layers) + 1} if layers else {}
    for key, name, axis in (
        ("vocab_size", WORD_EMBEDDINGS, 0),
        ("hidden_size", WORD_EMBEDDINGS, 1),
        ("type_vocab_size", TYPE_EMBEDDINGS, 0),
        ("max_position_embeddings", POSITION_EMBEDDINGS, 0),
        (
            "intermediate_size",
            "bert/encoder/layer_0/intermediate/dense/bias",
            0,
        ),
    ):
        shape = shapes.get(name, ())
        if len(shape) > axis:
            found[key] = shape[axis]
    return found
