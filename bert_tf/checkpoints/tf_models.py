"""Reads BERTs of tf-models: checkpoints of TensorFlow 2, and TF-Hub's exports.

The keys of such files are paths through objects, which differ between versions
and programs. The names that the variables had are kept beside them, and are
the same since 2020.
"""

import collections
import os
import re

from google.protobuf.message import DecodeError
from tensorflow.core.protobuf import (
    saved_model_pb2,
    trackable_object_graph_pb2,
)

from bert_tf.checkpoints import finding, storage
from bert_tf.checkpoints.folder_settings import FolderSettings
from bert_tf.checkpoints.foreign import (
    ForeignModel,
    Tensor,
    compiled,
    our_name,
)
from bert_tf.checkpoints.names import (
    CLASSIFIER,
    MASKED_LM,
    MASKED_LM_BIAS,
    NEXT_SENTENCE,
    POOLER,
    POSITION_EMBEDDINGS,
    SQUAD,
    TYPE_EMBEDDINGS,
    WORD_EMBEDDINGS,
    optimizer_slots,
)
from bert_tf.checkpoints.reader import CheckpointReader
from bert_tf.checkpoints.storage import OBJECT_GRAPH, some
from bert_tf.errors import InputError

SAVED_MODEL = "saved_model.pb"
KERAS_METADATA = "keras_metadata.pb"
PARAMETERS = "params.yaml"
"""What tf-models' trainer keeps beside its checkpoints."""

_LAYER = r"(?:transformer|encoder)/layer_(?P<layer>\d+)/"
_DENSE = r"/(?P<part>kernel|bias)"
_NORM = r"/(?P<part>gamma|beta)"

# Ends of the names of variables -> ours.
_NAMES = {
    r"word_embeddings/embeddings": WORD_EMBEDDINGS,
    r"position_embedding(_\d+)?/embeddings": POSITION_EMBEDDINGS,
    r"embedding_postprocessor/position_embeddings": POSITION_EMBEDDINGS,
    r"type_embeddings/embeddings": TYPE_EMBEDDINGS,
    r"embedding_postprocessor/type_embeddings": TYPE_EMBEDDINGS,
    rf"(embeddings|embedding_postprocessor)/layer_norm{_NORM}": (
        "bert/embeddings/LayerNorm/{part}"
    ),
    rf"{_LAYER}self_attention/(?P<name>query|key|value){_DENSE}": (
        "bert/encoder/layer_{layer}/attention/self/{name}/{part}"
    ),
    rf"{_LAYER}self_attention(_|/attention_)output{_DENSE}": (
        "bert/encoder/layer_{layer}/attention/output/dense/{part}"
    ),
    rf"{_LAYER}self_attention_layer_norm{_NORM}": (
        "bert/encoder/layer_{layer}/attention/output/LayerNorm/{part}"
    ),
    rf"{_LAYER}(?P<name>intermediate|output){_DENSE}": (
        "bert/encoder/layer_{layer}/{name}/dense/{part}"
    ),
    rf"{_LAYER}output_layer_norm{_NORM}": (
        "bert/encoder/layer_{layer}/output/LayerNorm/{part}"
    ),
    rf"pooler_transform{_DENSE}": f"{POOLER}dense/{{part}}",
    rf"cls/predictions/transform/dense{_DENSE}": (
        f"{MASKED_LM}transform/dense/{{part}}"
    ),
    rf"cls/predictions/transform/LayerNorm{_NORM}": (
        f"{MASKED_LM}transform/LayerNorm/{{part}}"
    ),
    r"cls/predictions/output_bias(/bias)?": MASKED_LM_BIAS,
}
_PATTERNS = compiled({f"(?:.*/)?{k}": v for k, v in _NAMES.items()})

_NEXT_SENTENCE = (
    f"{NEXT_SENTENCE}output_weights",
    f"{NEXT_SENTENCE}output_bias",
)

# What the last layer of a head may be for, by `--head`.
_OUTPUTS = {
    "next_sentence": _NEXT_SENTENCE,
    "classifier": CLASSIFIER,
    "token": CLASSIFIER,
    "span": (f"{SQUAD}output_weights", f"{SQUAD}output_bias"),
}
# The layer is called the same in several heads but for these.
_HEADS = {
    "next_sentence": "next_sentence",
    "sentence_prediction": "classifier",
    "predictions/transform": None,
}
_LOGITS = re.compile(rf"(?:.*/)?(?P<name>{'|'.join(_HEADS)})/logits{_DENSE}")
_OWN_POOLER = re.compile(rf"(?:.*/)?(?P<name>\w+)/pooler_dense{_DENSE}")

# Counters, and the slots of optimizers.
_NO_WEIGHT = re.compile(
    r"(.*/)?(\.OPTIMIZER_SLOT|optimizer|keras_api)/.*"
    r"|(save_counter|global_step|step|do_lower_case)(/.*)?"
)
_KEY_END = "/.ATTRIBUTES/VARIABLE_VALUE"
_LOWER_CASE = f"do_lower_case{_KEY_END}"

# Parts of names in models that look like BERT.
_OTHERS = {
    "embedding_projection": "its word vectors are projected to the width of "
    "the layers, as in ALBERT",
    "final_layer_norm": "it normalizes before the parts of a layer, not after",
}
_BERTS = ("bert", "bert_v2")
_OUR_KEYS = {
    "hidden_activation": "hidden_act",
    "dropout_rate": "hidden_dropout_prob",
    "attention_dropout_rate": "attention_probs_dropout_prob",
    "initializer_range": "initializer_range",
}
_QUERY = "bert/encoder/layer_0/attention/self/query/kernel"


def read_checkpoint(path, head):
    """The model of a checkpoint, such as `ckpt-100` or `bert_model.ckpt-1`.

    Args:
        path: whatever `checkpoints.find` takes.
        head: a key of `hugging_face.HEADS`, or "auto".

    Returns:
        A `ForeignModel`.

    Raises:
        InputError: damaged files, a model of another kind, or a head that may
            be one of several.
    """
    reader = CheckpointReader(finding.open_index(path, True))
    if OBJECT_GRAPH not in reader:
        raise InputError(
            f"{reader.path} is a checkpoint with names, such as "
            f"{some(reader.names, 2)}, as the original writes it: nothing is "
            "to be converted. If these are not the original's names, it is of "
            "another program."
        )
    model = _open(reader, head)
    folder = os.path.dirname(reader.path)
    parameters = os.path.join(folder, PARAMETERS)
    if os.path.exists(parameters):
        model.files.append(parameters)
        has_masked_lm = MASKED_LM_BIAS in model.tensors
        model.config |= _read_parameters(parameters, has_masked_lm)
    return model


def read_saved_model(folder, head):
    """The model of a SavedModel of TF-Hub, with vocabulary and casing.

    Its other arguments and errors are those of `read_checkpoint`.
    """
    prefix = os.path.join(folder, "variables", "variables")
    reader = CheckpointReader(finding.open_index(prefix, True))
    model = _open(reader, head)
    model.program = "TF-Hub"
    path = os.path.join(folder, SAVED_MODEL)
    meta, content = _read_graph(path)
    metadata = os.path.join(folder, KERAS_METADATA)
    model.files.append(path)
    if os.path.exists(metadata):
        model.files.append(metadata)
        with open(metadata, "rb") as file:
            content += file.read()
    if b'"norm_first": true' in content:
        raise _other_model(path, "norm_first", _OTHERS["final_layer_norm"])
    activation = _activation(meta)
    if activation:
        model.config["hidden_act"] = activation
    assets = [asset.filename for asset in meta.asset_file_def]
    if len(assets) == 1:
        name = os.path.basename(assets[0])
        model.vocab_file = os.path.join(folder, "assets", name)
    if _LOWER_CASE in reader:
        lowers = bool(reader.tensor(_LOWER_CASE))
        model.settings = FolderSettings(do_lower_case=lowers)
    return model


# -------------------------------------------------------------------- variables


def _open(reader, head):
    """The `ForeignModel` of a checkpoint's variables."""
    files = storage.files_of(reader.path)
    model = ForeignModel("tf-models", reader.path, {}, reader.tensor)
    model.files = [path for path in files if os.path.exists(path)]
    if OBJECT_GRAPH not in reader:  # A module of TF-Hub's first format.
        slots = optimizer_slots(reader.names)
        model.tensors = {
            name: Tensor(name, reader.shapes[name])
            for name in reader.names
            if name not in slots
        }
        return model
    outputs: dict[str, dict[str, str]] = {}
    poolers: dict[str, dict[str, str]] = {}
    for key, name in _names_of(reader).items():
        for part, why in _OTHERS.items():
            if part in name:
                raise _other_model(reader.path, name, why)
        ours = our_name(_PATTERNS, name)
        logits, pooler = _LOGITS.fullmatch(name), _OWN_POOLER.fullmatch(name)
        if ours in model.tensors:
            raise InputError(
                f"{reader.path} has two tensors that both mean `{ours}`, of "
                f"two models: {model.tensors[ours].name} and {key}."
            )
        if ours:
            model.tensors[ours] = Tensor(key, reader.shapes[key])
        elif logits:
            outputs.setdefault(logits["name"], {})[logits["part"]] = key
        elif pooler:
            poolers.setdefault(pooler["name"], {})[pooler["part"]] = key
        else:
            model.unknown.append(key.removesuffix(_KEY_END))
    _add_outputs(model, reader, outputs, head)
    _add_pooler(model, reader, poolers)
    query = model.tensors.get(_QUERY)
    if query and len(query.shape) == 3:
        model.config["num_attention_heads"] = query.shape[1]
    return model


def _names_of(reader):
    """The names that variables had when they were saved, by their keys."""
    graph = trackable_object_graph_pb2.TrackableObjectGraph()
    try:
        graph.ParseFromString(reader.tensor(OBJECT_GRAPH))
    except DecodeError as error:
        raise InputError(
            f"The object graph in {reader.path} is damaged; copy or download "
            "the checkpoint again."
        ) from error
    return {
        attribute.checkpoint_key: attribute.full_name
        for node in graph.nodes
        for attribute in node.attributes
        if attribute.checkpoint_key in reader
        and not _NO_WEIGHT.fullmatch(
            attribute.checkpoint_key.removesuffix(_KEY_END)
        )
    }


def _add_outputs(model, reader, outputs, head):
    """Adds the last layers of heads, [D, L], under our names."""
    for name, keys in outputs.items():
        kind = _HEADS[name]
        if kind is None and MASKED_LM_BIAS in model.tensors:
            kind = "next_sentence"
        elif kind is None and head in _OUTPUTS:
            kind = head
        elif kind is None and head == "auto":
            raise InputError(
                f"{reader.path} has a head `{name}/logits`, which classifiers "
                "of texts, of tokens and of spans have alike. Say with "
                "--head=classifier, token or span which of them it is, or with "
                "--head=none that the encoder is wanted without it."
            )
        if kind is None:
            model.left_out += [k.removesuffix(_KEY_END) for k in keys.values()]
            continue
        for ours, part in zip(_OUTPUTS[kind], ("kernel", "bias")):
            if part in keys:
                key = keys[part]
                is_kernel = part == "kernel"
                model.tensors[ours] = Tensor(key, reader.shapes[key], is_kernel)


def _add_pooler(model, reader, poolers):
    """Takes the pooler of a head, where that is not the encoder's.

    The encoder has one all the same, which then is not trained.
    """
    if len(poolers) > 1:
        raise InputError(
            f"{reader.path} must have one pooler. It has heads with poolers of "
            f"their own: {', '.join(sorted(poolers))}."
        )
    for name, keys in poolers.items():
        for part, key in keys.items():
            ours = f"{POOLER}dense/{part}"
            if ours in model.tensors:
                model.left_out.append(
                    model.tensors[ours].name.removesuffix(_KEY_END)
                )
            model.tensors[ours] = Tensor(key, reader.shapes[key])
        model.notes.append(
            f"The pooler is that of the head `{name}`, which was trained."
        )


# ------------------------------------------------------------ what else is said


def _other_model(path, name, why):
    return InputError(
        f"{path} is of a model that bert_tf does not have: {why}. It has "
        f"`{name}`. Only BERT can be converted."
    )


def _read_parameters(path, has_masked_lm):
    """Entries of bert_config.json that a params.yaml has."""
    values = _read_scalars(path)
    encoder = "task.model.encoder"
    kind = values.get(f"{encoder}.type")
    if kind is None:
        return {}
    if kind not in _BERTS:
        raise InputError(
            f"{path} must have an encoder of type {' or '.join(_BERTS)}. It "
            f"has {encoder}.type={kind}. Only BERT can be converted."
        )
    if values.get(f"{encoder}.{kind}.norm_first") == "true":
        raise _other_model(path, "norm_first", _OTHERS["final_layer_norm"])
    activation = values.get(f"{encoder}.{kind}.hidden_activation")
    of_head = values.get("task.model.mlm_activation", activation)
    if has_masked_lm and activation != of_head:
        raise InputError(
            f"{path} must have the same activation in layers and in the "
            f"masked-LM head. It has hidden_activation={activation} and "
            f"mlm_activation={of_head}."
        )
    found: dict[str, str | float] = {}
    for theirs, ours in _OUR_KEYS.items():
        value = values.get(f"{encoder}.{kind}.{theirs}")
        if value is None:
            continue
        try:
            found[ours] = value if ours == "hidden_act" else float(value)
        except ValueError as error:
            raise InputError(
                f"{path} must have {theirs} as a number. It has {value}."
            ) from error
    return found


def _read_scalars(path):
    """The entries of a YAML file that have one value, by their dotted keys.

    tf-models writes one on each line; lists are not needed.
    """
    try:
        with open(path, encoding="utf-8") as file:
            lines = file.read().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    values: dict[str, str] = {}
    parents: list[tuple[int, str]] = []
    for line in lines:
        entry = re.fullmatch(r"( *)(\w+):(?: (.*))?", line)
        if entry is None:
            continue
        depth = len(entry[1])
        parents = [(d, key) for d, key in parents if d < depth]
        parents.append((depth, entry[2]))
        if entry[3] not in (None, "null"):
            values[".".join(key for _, key in parents)] = entry[3].strip("'\"")
    return values


def _read_graph(path):
    """The first graph of a SavedModel, and the bytes of its file."""
    try:
        with open(path, "rb") as file:
            content = file.read()
        saved = saved_model_pb2.SavedModel.FromString(content)
        return saved.meta_graphs[0], content
    except (DecodeError, IndexError) as error:
        raise InputError(
            f"{path} is damaged or not a SavedModel; copy or download it again."
        ) from error


def _activation(meta):
    """Our name of the activation that a graph computes; None if unclear."""
    graphs = [meta.graph_def.node]
    graphs += [f.node_def for f in meta.graph_def.library.function]
    counts = [collections.Counter(node.op for node in g) for g in graphs]
    ops = set().union(*counts)
    if ops & {"Erf", "Erfc"}:
        return "gelu_exact"
    if ops & {"Relu", "Relu6", "Elu", "Selu", "LeakyRelu", "Softplus"}:
        return "relu" if "Relu" in ops else None
    # One is the pooler's. That of gelu follows a polynomial.
    if max((count["Tanh"] for count in counts), default=0) > 1:
        return "gelu" if "Pow" in ops or "Square" in ops else None
    return None
