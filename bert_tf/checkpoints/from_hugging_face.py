"""Reads a folder that transformers wrote, and writes a checkpoint."""

import dataclasses
import json
import os
import re

import numpy as np

from bert_tf.checkpoints import conversion, sentence_transformers
from bert_tf.checkpoints.folder_settings import UNSAID, FolderSettings
from bert_tf.checkpoints.hugging_face import (
    ACTIVATION_FROM_HF,
    HF_CONFIG,
    HF_WEIGHTS,
    choose_variables,
    find_head,
    hf_tensors,
    read_json,
    report_left_out,
    report_no_pooler,
    require_finite,
)
from bert_tf.checkpoints.hugging_face_labels import labels_from_hf
from bert_tf.checkpoints.hugging_face_tokenizer import read_tokenizer
from bert_tf.checkpoints.hugging_face_weights import open_weights
from bert_tf.checkpoints.names import (
    MASKED_LM_BIAS,
    POSITION_EMBEDDINGS,
    TYPE_EMBEDDINGS,
    WORD_EMBEDDINGS,
)
from bert_tf.errors import InputError, some_of
from bert_tf.layers import LAYER_NORM_EPSILON, get_activation
from bert_tf.modeling import BertConfig

# What transformers' BertConfig takes for a key that config.json lacks.
HF_DEFAULTS = {
    "vocab_size": 30522,
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "attention_probs_dropout_prob": 0.1,
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
    "initializer_range": 0.02,
}

# A model whose config.json has other values than these is not BERT.
HF_NEEDED = {
    "model_type": "bert",
    "is_decoder": False,
    "is_encoder_decoder": False,
    "add_cross_attention": False,
    "position_embedding_type": "absolute",
    "pruned_heads": {},
    "quantization_config": None,
}

# Buffers that older versions of transformers saved among the weights.
_HF_BUFFERS = ("bert.embeddings.position_ids", "bert.embeddings.token_type_ids")


_LAYER = re.compile(r"bert\.encoder\.layer\.(\d+)\.")

# The output layer of their masked-LM head, tied to other tensors.
_HF_TIED = {
    "cls.predictions.decoder.weight": WORD_EMBEDDINGS,
    "cls.predictions.decoder.bias": MASKED_LM_BIAS,
}


def from_hf(
    folder,
    output,
    *,
    head="auto",
    hidden_act=None,
    ignore_layer_norm_eps=False,
    ignore_tokenizer_settings=False,
    allow_unused=False,
    overwrite=False,
):
    """Writes checkpoint, config, vocabulary, labels, casing from their folder.

    Args:
        folder: with config.json, model.safetensors, pytorch_model.bin or
            tf_model.h5 (or shards and their index), and vocab.txt or
            tokenizer.json.
        output: the folder to write.
        head: a key of `HEADS`, or "auto" for the one in the file.
        hidden_act: our name of the activation, if not what their config says:
            "gelu" for a model that was trained by the original.
        ignore_layer_norm_eps: convert although their LayerNorm has another
            epsilon than 1e-12; results then differ slightly.
        ignore_tokenizer_settings: convert although their tokenizer makes other
            tokens than the original's.
        allow_unused: leave out tensors that are not known, instead of failing.
        overwrite: overwrite files in `output`.

    Returns:
        A report, several lines.

    Raises:
        InputError: a file is missing or damaged, the model is not BERT, a
            tensor is missing, left over or of a wrong shape, or the output is
            there already.
    """
    config_file = _find_config(folder)
    hf_config = read_json(config_file)
    config = _config_from_hf(
        hf_config, config_file, hidden_act, ignore_layer_norm_eps
    )
    weights = open_weights(folder)
    _check_sizes(config, weights, config_file)
    values, unknown = _our_names(weights, config, folder, allow_unused)
    architectures = _architectures(hf_config, config_file)
    head = find_head(head, values, folder, architectures)
    chosen, dropped = choose_variables(
        values, head, config, folder, allow_unused
    )
    values = {name: values[name] for name in chosen}
    _check_shapes(values, config, folder)
    require_finite(values, weights.source)
    predicted = labels_from_hf(
        hf_config,
        head,
        architectures,
        len(values.get("output_bias", ())),
        config_file,
    )
    notes = predicted.notes
    tokenizer = read_tokenizer(
        folder,
        config,
        hf_config.get("tokenizer_class"),
        ignore_tokenizer_settings,
    )
    after = sentence_transformers.read_modules(folder, allow_unused)
    notes += tokenizer.notes + after.notes
    of_texts = after.noted() if head == "none" else {}
    settings = dataclasses.replace(
        _settings_of(tokenizer, folder, config),
        **{**of_texts, **predicted.settings},
    )
    if weights.prefix:
        notes.append(
            f"Left out of the tensors' names: {weights.prefix!r}, of a program "
            "that wrapped the model."
        )

    # Only a file directly in it can have the name of one that is written.
    inputs = {"FOLDER": [entry.path for entry in os.scandir(folder)]}
    vocab = "".join(f"{token}\n" for token in tokenizer.vocab).encode()
    prefix = conversion.write_folder(
        output,
        values,
        config,
        vocab,
        settings,
        predicted.labels,
        inputs,
        overwrite,
    )
    return "\n".join(
        [
            *conversion.report_written(prefix, values, head, config, settings),
            *report_left_out(dropped + unknown),
            *report_no_pooler(chosen, "`checkpoints.load`"),
            *notes,
        ]
    )


def _find_config(folder):
    """The path of a folder's config.json."""
    if not os.path.isdir(folder):
        raise InputError(
            f"A Hugging Face model is a folder with {HF_CONFIG} and "
            f"{HF_WEIGHTS}, and is not downloaded. There is no folder {folder}"
        )
    config_file = os.path.join(folder, HF_CONFIG)
    inner = sentence_transformers.find_transformer(folder)
    if inner and not os.path.exists(config_file):
        raise InputError(f"{config_file} is missing. The model is in {inner}.")
    return config_file


def _settings_of(tokenizer, folder, config):
    """The `FolderSettings` of a tokenizer and what is done before it."""
    sentences = sentence_transformers.read_settings(folder)
    lowers, strips = tokenizer.do_lower_case, tokenizer.strip_accents
    if sentences.do_lower_case and not lowers:
        # A cased tokenizer keeps accents, if nothing else is said.
        lowers, strips = True, bool(strips)
    longest = config.max_position_embeddings
    length = sentences.max_seq_length or tokenizer.max_seq_length or UNSAID
    if length is not UNSAID:
        length = min(length, longest)
    return FolderSettings(
        do_lower_case=lowers, strip_accents=strips, max_seq_length=length
    )


def _config_from_hf(hf_config, config_file, hidden_act, ignore_layer_norm_eps):
    for key, needed in HF_NEEDED.items():
        value = hf_config.get(key, needed)
        if value != needed and not (value is None and not needed):
            raise InputError(
                f"Only BERT encoders can be converted: {config_file} must "
                f"have {key}={json.dumps(needed)}. It has "
                f"{key}={json.dumps(value)}."
            )
    if hf_config.get("auto_map"):
        raise InputError(
            f"{config_file} has auto_map: the model is computed by code of its "
            "own, which may differ from BERT. If it does not, remove auto_map "
            "from a copy of the folder and convert that."
        )
    width = hf_config.get("hidden_size", HF_DEFAULTS["hidden_size"])
    if hf_config.get("embedding_size", width) != width:
        raise InputError(
            f"Only BERT encoders can be converted: {config_file} must have an "
            f"embedding_size equal to hidden_size={json.dumps(width)}. It has "
            f"embedding_size={json.dumps(hf_config['embedding_size'])}."
        )
    epsilon = hf_config.get("layer_norm_eps", LAYER_NORM_EPSILON)
    if epsilon != LAYER_NORM_EPSILON and not ignore_layer_norm_eps:
        raise InputError(
            f"{config_file} must have layer_norm_eps=1e-12, the only one that "
            f"bert_tf has. It has layer_norm_eps={json.dumps(epsilon)}. With "
            "--ignore_layer_norm_eps it is converted all the same; results "
            "then differ slightly."
        )
    ours = {
        key: hf_config.get(key, default) for key, default in HF_DEFAULTS.items()
    }
    # Of no effect in transformers, but released configs have them.
    ours |= {
        key: value
        for key, value in hf_config.items()
        if key.startswith("pooler_")
    }
    if "directionality" in hf_config:
        ours["directionality"] = "bidi"
    if hidden_act is not None:
        get_activation(hidden_act)
        ours["hidden_act"] = hidden_act
    elif str(ours["hidden_act"]) in ACTIVATION_FROM_HF:
        ours["hidden_act"] = ACTIVATION_FROM_HF[ours["hidden_act"]]
    else:
        raise InputError(
            f"{config_file} must have a hidden_act among "
            f"{sorted(ACTIVATION_FROM_HF)}. It has "
            f"hidden_act={ours['hidden_act']!r}."
        )
    try:
        return BertConfig.from_dict(ours)
    except InputError as error:
        raise InputError(f"{config_file}: {error}") from error


def _our_names(weights, config, folder, allow_unused):
    """Their tensors under our names, kernels transposed back; and the rest."""
    places = hf_tensors(config)
    ours = {place.name: name for name, place in places.items()}
    values, tied, unknown = {}, {}, []
    for theirs in weights.shapes:
        canonical = _canonical(theirs, weights.prefix)
        if canonical in _HF_BUFFERS:
            continue
        if canonical in _HF_TIED:
            tied[theirs] = canonical
        elif canonical not in ours:
            unknown.append(theirs)
        elif ours[canonical] in values:
            raise InputError(
                f"{folder} has two tensors that both mean "
                f"`{ours[canonical]}`; one is {theirs}."
            )
        else:
            name = ours[canonical]
            value = _read_floats(weights, theirs)
            if places[name].transposed:
                value = np.ascontiguousarray(value.T)
            values[name] = value
    for theirs, canonical in tied.items():
        name, value = _HF_TIED[canonical], _read_floats(weights, theirs)
        if name.startswith("cls/"):
            values.setdefault(name, value)
        if name in values and not np.array_equal(values[name], value):
            raise InputError(
                f"{theirs} in {folder} must equal `{name}`: BERT's masked-LM "
                "output is tied to it. They differ, so this model cannot be "
                "converted with its masked-LM head."
            )
    if unknown and not allow_unused:
        raise InputError(
            f"{folder} has tensors that BERT does not have: "
            f"{', '.join(sorted(unknown))}. With --allow_unused they are left "
            "out."
        )
    return values, sorted(unknown)


def _read_floats(weights, name):
    value = weights.read(name)
    if value.dtype != np.float32:
        raise InputError(
            f"{name} in {weights.source} must have floating-point numbers. It "
            f"has {value.dtype}: if the model was quantized, take the one "
            "before that."
        )
    return value


def _canonical(name, prefix=""):
    """The name that today's transformers give to a tensor of theirs."""
    name = name.removeprefix(prefix)
    name = re.sub(r"LayerNorm\.gamma$", "LayerNorm.weight", name)
    name = re.sub(r"LayerNorm\.beta$", "LayerNorm.bias", name)
    if name.startswith(("embeddings.", "encoder.", "pooler.")):
        return f"bert.{name}"
    return name


def _check_sizes(config, weights, config_file):
    """Compares a config with the shapes of tensors, before any is read."""
    shapes = {
        _canonical(name, weights.prefix): shape
        for name, shape in weights.shapes.items()
    }
    layers = {m[1] for m in map(_LAYER.match, shapes) if m}
    found = {"num_hidden_layers": len(layers)} if layers else {}
    first = "bert.encoder.layer.0.intermediate.dense.bias"
    tables = {
        name: f"{name.replace('/', '.')}.weight"
        for name in (WORD_EMBEDDINGS, TYPE_EMBEDDINGS, POSITION_EMBEDDINGS)
    }
    for key, name, axis in (
        ("vocab_size", tables[WORD_EMBEDDINGS], 0),
        ("hidden_size", tables[WORD_EMBEDDINGS], 1),
        ("type_vocab_size", tables[TYPE_EMBEDDINGS], 0),
        ("max_position_embeddings", tables[POSITION_EMBEDDINGS], 0),
        ("intermediate_size", first, 0),
    ):
        if len(shapes.get(name, ())) > axis:
            found[key] = shapes[name][axis]
    wrong = [
        f"{key}={getattr(config, key)} where the weights have {size}"
        for key, size in found.items()
        if getattr(config, key) != size
    ]
    if wrong:
        raise InputError(
            f"{config_file} does not fit {weights.source}: {', '.join(wrong)}. "
            f"Use the {HF_CONFIG} that was saved with the weights."
        )
    lacking = [name for name in (*tables.values(), first) if name not in shapes]
    if lacking:
        raise InputError(
            f"{weights.source} lacks tensors of a BERT: {', '.join(lacking)}. "
            f"It has {some_of(sorted(weights.shapes), 4)}."
        )


def _check_shapes(values, config, folder):
    num_labels = values["output_bias"].size if "output_bias" in values else 0
    shapes = conversion.shapes_of_heads(config, num_labels)
    places = hf_tensors(config)
    for name, value in values.items():
        want, found = shapes[name], value.shape
        if want != found:
            if places[name].transposed:
                want, found = want[::-1], found[::-1]
            raise InputError(
                f"{places[name].name} in {folder} must have the shape "
                f"{list(want)} by {HF_CONFIG}. It has {list(found)}."
            )


def _architectures(hf_config, config_file):
    value = hf_config.get("architectures") or []
    if not isinstance(value, list):
        raise InputError(
            f"{config_file} must have a list of architectures. It has "
            f"{json.dumps(value)[:200]}."
        )
    return value
