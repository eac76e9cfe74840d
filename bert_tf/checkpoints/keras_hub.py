"""Reads presets of BERT as keras-hub (before: keras-nlp) saves them.

A preset is a folder: config.json, model.weights.h5, the tokenizer's files, and
task.json and task.weights.h5 with a head.
"""

import os

from bert_tf.checkpoints.folder_settings import UNSAID, FolderSettings
from bert_tf.checkpoints.foreign import (
    ForeignModel,
    Tensor,
    compiled,
    our_name,
)
from bert_tf.checkpoints.hugging_face import read_json
from bert_tf.checkpoints.keras_files import H5File
from bert_tf.checkpoints.names import (
    CLASSIFIER,
    MASKED_LM,
    MASKED_LM_BIAS,
    POOLER,
    POSITION_EMBEDDINGS,
    TYPE_EMBEDDINGS,
    WORD_EMBEDDINGS,
)
from bert_tf.errors import InputError, list_folder

CONFIG, WEIGHTS = "config.json", "model.weights.h5"
TASK, TASK_WEIGHTS = "task.json", "task.weights.h5"
TOKENIZER, PREPROCESSOR = "tokenizer.json", "preprocessor.json"
VOCABULARY = os.path.join("assets", "tokenizer", "vocabulary.txt")

# Keras calls layers by their class, and numbers those of one class. Keras 2.13
# to 2.15 called the container otherwise.
_ROOT = r"(?:layers|_layer_checkpoint_dependencies)/"
_VARIABLE = r"/vars/(?P<part>[01])"
_LAYER = rf"{_ROOT}transformer_encoder(?:_(?P<layer>\d+))?/_"
_BERT_LAYER = "bert/encoder/layer_{layer}"

_ENCODER = compiled(
    {
        f"{_ROOT}reversible_embedding/vars/0": WORD_EMBEDDINGS,
        f"{_ROOT}position_embedding/vars/0": POSITION_EMBEDDINGS,
        f"{_ROOT}embedding/vars/0": TYPE_EMBEDDINGS,
        f"{_ROOT}layer_normalization{_VARIABLE}": (
            "bert/embeddings/LayerNorm/{part}"
        ),
        f"{_LAYER}self_attention_layer/_?(?P<name>query|key|value)_dense"
        f"{_VARIABLE}": f"{_BERT_LAYER}/attention/self/{{name}}/{{part}}",
        f"{_LAYER}self_attention_layer/_?output_dense{_VARIABLE}": (
            f"{_BERT_LAYER}/attention/output/dense/{{part}}"
        ),
        f"{_LAYER}self_attention_layer_norm{_VARIABLE}": (
            f"{_BERT_LAYER}/attention/output/LayerNorm/{{part}}"
        ),
        f"{_LAYER}feedforward_(?P<name>intermediate|output)_dense{_VARIABLE}": (
            f"{_BERT_LAYER}/{{name}}/dense/{{part}}"
        ),
        f"{_LAYER}feedforward_layer_norm{_VARIABLE}": (
            f"{_BERT_LAYER}/output/LayerNorm/{{part}}"
        ),
        f"{_ROOT}dense{_VARIABLE}": f"{POOLER}dense/{{part}}",
    }
)
_HEAD = f"{_ROOT}masked_lm_head"
_TASKS = {
    "BertTextClassifier": {f"{_ROOT}dense{_VARIABLE}": "{part}"},
    "BertMaskedLM": {
        f"{_HEAD}/_intermediate_dense{_VARIABLE}": (
            f"{MASKED_LM}transform/dense/{{part}}"
        ),
        f"{_HEAD}/_intermediate_layer_norm{_VARIABLE}": (
            f"{MASKED_LM}transform/LayerNorm/{{part}}"
        ),
        f"{_HEAD}/vars/0": MASKED_LM_BIAS,
    },
}
_TASKS["BertClassifier"] = _TASKS["BertTextClassifier"]  # Before 0.16.
_CLASSIFIER_ACTIVATIONS = {
    "linear": None,
    None: None,
    "softmax": "single_label_classification",
    "sigmoid": "multi_label_classification",
}

_SIZES = {
    "vocabulary_size": "vocab_size",
    "hidden_dim": "hidden_size",
    "num_layers": "num_hidden_layers",
    "num_heads": "num_attention_heads",
    "intermediate_dim": "intermediate_size",
    "max_sequence_length": "max_position_embeddings",
    "num_segments": "type_vocab_size",
}
_TOKENIZER_SETTINGS = {
    "split": True,
    "suffix_indicator": "##",
    "oov_token": "[UNK]",
}


def is_preset(config):
    """Whether a config.json is one of keras-hub."""
    return isinstance(config.get("registered_name"), str)


def read(folder, head):
    """The model of a preset.

    Args:
        folder: of the preset.
        head: not needed here; readers are called alike.

    Returns:
        A `ForeignModel`.

    Raises:
        InputError: a file is missing or damaged, or the preset is not of BERT.
    """
    del head
    config_file = os.path.join(folder, CONFIG)
    config = _config_of(config_file, ("BertBackbone",))
    file = H5File(_need(folder, WEIGHTS))
    model = ForeignModel("keras-hub", file.path, {}, file.read)
    model.files = [config_file, file.path]
    _add(model, file, _ENCODER)
    for theirs, ours in _SIZES.items():
        if theirs in config:
            model.config[ours] = config[theirs]
    dropout = config.get("dropout", 0.1)
    model.config |= {
        "hidden_act": "gelu",
        "hidden_dropout_prob": dropout,
        "attention_probs_dropout_prob": dropout,
    }
    if os.path.exists(os.path.join(folder, TASK)):
        _add_task(model, folder, file)
    _add_tokenizer(model, folder)
    return model


def _need(folder, name):
    path = os.path.join(folder, name)
    if not os.path.exists(path):
        raise InputError(
            f"{path} is missing: a preset of keras-hub has its weights there. "
            f"{folder} has: {list_folder(folder)}. A preset in shards must be "
            "saved again in one file: `save_to_preset(folder, "
            "max_shard_size=1000)`."
        )
    return path


def _config_of(path, classes):
    """The config of the layer that a file describes."""
    content = read_json(path)
    kind, config = content.get("class_name"), content.get("config")
    if kind not in classes:
        raise InputError(
            f"{path} must have class_name={' or '.join(classes)}. It has "
            f"class_name={kind}. Only BERT can be converted."
        )
    if not isinstance(config, dict):
        raise InputError(f"{path} must have an object `config`.")
    return config


def _add(model, file, table):
    for place, shape in file.shapes.items():
        if place.startswith("optimizer/"):
            continue
        name = our_name(table, place)
        if name is None:
            model.unknown.append(place)
            continue
        name = name.replace("layer_None", "layer_0")  # The first has no number.
        scope, _, part = name.rpartition("/")
        if name in ("0", "1"):
            name = CLASSIFIER[int(part)]
        elif part in ("0", "1"):
            is_norm = scope.endswith("LayerNorm")
            parts = ("gamma", "beta") if is_norm else ("kernel", "bias")
            name = f"{scope}/{parts[int(part)]}"
        is_transposed = name == CLASSIFIER[0]
        model.tensors[name] = Tensor(place, shape, is_transposed)


def _add_task(model, folder, encoder):
    """Adds the head of a task, whose file has weights of the same names."""
    path = os.path.join(folder, TASK)
    config = _config_of(path, tuple(_TASKS))
    kind = read_json(path)["class_name"]
    file = H5File(_need(folder, TASK_WEIGHTS))
    head = ForeignModel(model.program, file.path, {}, file.read)
    _add(head, file, compiled(_TASKS[kind]))
    for name, tensor in head.tensors.items():
        model.tensors[name] = tensor._replace(name=f"{TASK}/{tensor.name}")
    model.unknown += head.unknown
    model.files += [path, file.path]

    def read_from_both(name):
        start = f"{TASK}/"
        if name.startswith(start):
            return file.read(name.removeprefix(start))
        return encoder.read(name)

    model.read = read_from_both
    if kind == "BertMaskedLM":
        model.notes.append(
            "keras-hub computes the masked-LM head with the exact gelu and an "
            "epsilon of 1e-5, the layers as bert_tf does; here the head is "
            "computed as the layers are, as in the original: its logits differ "
            "slightly."
        )
        return
    activation = config.get("activation")
    if not isinstance(activation, str | None) or (
        activation not in _CLASSIFIER_ACTIVATIONS
    ):
        raise InputError(
            f"{path} must have an activation among linear, softmax and "
            f"sigmoid. It has activation={activation}."
        )
    model.problem_type = _CLASSIFIER_ACTIVATIONS[activation]


def _add_tokenizer(model, folder):
    """The vocabulary and what is done to texts; none for a bare encoder."""
    path = os.path.join(folder, TOKENIZER)
    if not os.path.exists(path):
        return
    config = _config_of(path, ("BertTokenizer",))
    for key, wanted in _TOKENIZER_SETTINGS.items():
        value = config.get(key, wanted)
        if value != wanted:
            raise InputError(
                f"{path} must have {key}={wanted}, as bert_tf's tokenizer. It "
                f"has {key}={value}: the model would get other tokens than "
                "those it was trained with."
            )
    lowers = config.get("lowercase", False) is True
    strips = config.get("strip_accents", False) is True
    length = UNSAID
    preprocessor = os.path.join(folder, PREPROCESSOR)
    model.files.append(path)
    if os.path.exists(preprocessor):
        model.files.append(preprocessor)
        inner = read_json(preprocessor).get("config")
        value = (
            inner.get("sequence_length") if isinstance(inner, dict) else None
        )
        if type(value) is int and value > 0:
            longest = model.config.get("max_position_embeddings", value)
            length = min(value, longest)
    if lowers and not strips:
        model.notes.append(
            "Its tokenizer lower-cases and keeps accents, but the released "
            "uncased models were trained without accents: convert with "
            "--strip_accents=true if this is one of them."
        )
    model.settings = FolderSettings(
        do_lower_case=lowers, strip_accents=strips, max_seq_length=length
    )
    model.vocab_file = os.path.join(folder, VOCABULARY)
