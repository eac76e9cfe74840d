"""Reads BERTs of keras-bert and bert4keras: .h5 files of Keras 2.

Both name their layers, and number the weights in a layer. A file holds weights
only, as `save_weights` writes it, or the whole model.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

from bert_tf.checkpoints.foreign import (
    ForeignModel,
    Tensor,
    compiled,
    our_name,
)
from bert_tf.checkpoints.keras_files import H5File
from bert_tf.checkpoints.names import (
    MASKED_LM,
    MASKED_LM_BIAS,
    NEXT_SENTENCE,
    POOLER,
    POSITION_EMBEDDINGS,
    TYPE_EMBEDDINGS,
    WORD_EMBEDDINGS,
)
from bert_tf.errors import InputError, some_of
from bert_tf.layers import LAYER_NORM_EPSILON

_ENCODER = r"(?:Encoder|Transformer)-(?P<layer>\d+)-"

# Layers -> our variables in the order of their weights; a scope that ends with
# a slash has weights that are called as ours.
_LAYERS = compiled(
    {
        "Embedding-Token": WORD_EMBEDDINGS,
        "Embedding-Segment": TYPE_EMBEDDINGS,
        "Embedding-Position": POSITION_EMBEDDINGS,
        "Embedding-Norm": "bert/embeddings/LayerNorm/",
        f"{_ENCODER}MultiHeadSelfAttention": " ".join(
            f"bert/encoder/layer_{{layer}}/attention/{name}/{part}"
            for name in ("self/query", "self/key", "self/value", "output/dense")
            for part in ("kernel", "bias")
        ),
        f"{_ENCODER}MultiHeadSelfAttention-Norm": (
            "bert/encoder/layer_{layer}/attention/output/LayerNorm/"
        ),
        f"{_ENCODER}FeedForward": " ".join(
            f"bert/encoder/layer_{{layer}}/{name}/dense/{part}"
            for name in ("intermediate", "output")
            for part in ("kernel", "bias")
        ),
        f"{_ENCODER}FeedForward-Norm": (
            "bert/encoder/layer_{layer}/output/LayerNorm/"
        ),
        "NSP-Dense|Pooler-Dense": f"{POOLER}dense/",
        "NSP|NSP-Proba": (
            f"{NEXT_SENTENCE}output_weights {NEXT_SENTENCE}output_bias"
        ),
        "MLM-Dense": f"{MASKED_LM}transform/dense/",
        "MLM-Norm": f"{MASKED_LM}transform/LayerNorm/",
        "MLM-Sim|MLM-Bias": MASKED_LM_BIAS,
    }
)
_TRANSPOSED = f"{NEXT_SENTENCE}output_weights"

_BERT4KERAS = "bert4keras"
_COMPUTES = {
    "keras-bert": {},
    _BERT4KERAS: {
        "gelu": "gelu_exact",
        "gelu_erf": "gelu_exact",
        "gelu_tanh": "gelu",
    },
}
"""Their names of activations that mean something else to us."""


def is_file(file):
    """Whether an `H5File` has layers that are called as in these programs."""
    layers = {layer for layer, _ in _weights(file)}
    return any(our_name(_LAYERS, layer) for layer in layers)


def read(path, head):
    """The model in a file.

    Args:
        path: of the .h5 file.
        head: not needed here; readers are called alike.

    Returns:
        A `ForeignModel`.

    Raises:
        InputError: a damaged file, or one of another kind.
    """
    del head
    file = H5File(path)
    layers: dict[str, list[str]] = {}
    for layer, place in _weights(file):
        layers.setdefault(layer, []).append(place)
    is_first = any(layer.startswith("Encoder-") for layer in layers)
    program = "keras-bert" if is_first else _BERT4KERAS
    model = ForeignModel(program, path, {}, file.read, files=[path])
    model.computes = _COMPUTES[program]
    for layer, places in layers.items():
        # The one counts layers from 1, the other from 0.
        number = re.fullmatch(r"Encoder-(\d+)-(.*)", layer)
        name = f"Encoder-{int(number[1]) - 1}-{number[2]}" if number else layer
        ours = our_name(_LAYERS, name)
        if ours is None:
            model.unknown += places
        else:
            _add(model, file, layer, ours, places)
    config = file.attributes().get("model_config")
    if config is not None:
        _add_config(model, config)
    elif program == _BERT4KERAS:
        model.notes.append(
            "bert4keras computes `gelu` exactly. If the program that wrote the "
            "file calls set_gelu('tanh'), convert with --hidden_act=gelu."
        )
    return model


def _weights(file: H5File) -> Iterator[tuple[str, str]]:
    """The layer and the place of each weight, in the order of the layers."""
    whole = "model_weights"
    root = f"{whole}/" if any(s.startswith(whole) for s in file.shapes) else ""
    for group in file.names(root or "/", "layer_names"):
        for weight in file.names(f"{root}{group}", "weight_names"):
            # The group of a model inside the model has all of its layers.
            yield weight.split("/")[0], f"{root}{group}/{weight}"


def _add(model, file, layer, ours, places):
    """Adds the weights of one layer."""
    names = ours.split()
    if ours.endswith("/"):
        ends = [re.split(r"[/:]", place)[-2] for place in places]
        names = [f"{ours}{end}" for end in ends]
    if len(names) != len(places):
        raise InputError(
            f"The layer {layer} in {model.source} must have "
            f"{len(names)} weights. It has {len(places)}: "
            f"{some_of(places, 12)}. Only BERT can be converted."
        )
    for name, place in zip(names, places):
        if place not in file.shapes or name in model.tensors:
            raise InputError(
                f"{model.source} must have one array `{place}`: it is damaged, "
                "or of two models."
            )
        is_transposed = name == _TRANSPOSED
        model.tensors[name] = Tensor(place, file.shapes[place], is_transposed)


def _add_config(model, text):
    """What the description of a whole model tells."""
    try:
        layers = list(_layers_in(json.loads(text)))
    except (ValueError, TypeError, RecursionError) as error:
        raise InputError(
            f"`model_config` in {model.source} is damaged: {error}"
        ) from error
    found: dict[str, set[Any]] = {"heads": set(), "activation": set()}
    for kind, config in layers:
        if kind == "MultiHeadAttention":
            found["heads"].add(config.get("heads", config.get("head_num")))
        elif kind == "FeedForward":
            found["activation"].add(_activation(config.get("activation")))
        elif kind == "LayerNormalization":
            epsilon = config.get("epsilon") or 0.0
            if epsilon > LAYER_NORM_EPSILON:
                found.setdefault("epsilon", set()).add(epsilon)
    for key, name in (
        ("heads", "num_attention_heads"),
        ("activation", "hidden_act"),
    ):
        if len(found[key]) > 1:
            raise InputError(
                f"All layers of {model.source} must have the same {key}. They "
                f"have {', '.join(sorted(map(str, found[key])))}."
            )
        if found[key]:
            model.config[name] = found[key].pop()
    if "epsilon" in found:
        model.notes.append(
            f"Its LayerNorm has epsilon {max(found['epsilon'])}, bert_tf's "
            f"{LAYER_NORM_EPSILON}: results differ slightly."
        )


def _layers_in(config):
    """The class and the config of each layer, also of models inside."""
    if isinstance(config, dict):
        inner = config.get("config")
        if isinstance(config.get("class_name"), str) and isinstance(
            inner, dict
        ):
            yield config["class_name"], inner
        for value in config.values():
            yield from _layers_in(value)
    elif isinstance(config, list):
        for value in config:
            yield from _layers_in(value)


def _activation(value):
    """The name of an activation, as versions of Keras write it."""
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, dict):
        value = value.get("config", value)
    return value if isinstance(value, str) else json.dumps(value)
