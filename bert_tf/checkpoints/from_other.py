"""Reads BERTs of other Keras and TensorFlow programs, writes a checkpoint."""

import dataclasses
import os

import numpy as np

from bert_tf.checkpoints import (
    conversion,
    folders,
    keras_bert,
    keras_hub,
    tf_models,
)
from bert_tf.checkpoints.hugging_face import (
    HF_CONFIG,
    choose_variables,
    find_head,
    read_json,
    report_left_out,
    report_no_pooler,
    require_finite,
)
from bert_tf.checkpoints.hugging_face_labels import labels_from_hf
from bert_tf.checkpoints.keras_files import H5File
from bert_tf.checkpoints.names import (
    CONFIG,
    INDEX,
    STATE_FILE,
    VOCAB,
    WORD_EMBEDDINGS,
    sizes_of,
)
from bert_tf.checkpoints.tf_models import SAVED_MODEL
from bert_tf.errors import InputError, list_folder, some_of
from bert_tf.modeling import BertConfig

_DEFAULTS = {
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "attention_probs_dropout_prob": 0.1,
    "initializer_range": 0.02,
}
_H5 = (".h5", ".hdf5")
_PACKED = (".zip", ".tar", ".tar.gz", ".tgz")


def from_other(
    path,
    output,
    *,
    head="auto",
    hidden_act=None,
    bert_config_file=None,
    vocab_file=None,
    do_lower_case=None,
    strip_accents=None,
    allow_unused=False,
    overwrite=False,
):
    """Writes checkpoint, config, vocabulary and casing from another program's.

    Args:
        path: a checkpoint or training folder of tf-models, a SavedModel of
            TF-Hub, a preset of keras-hub, an .h5 file of keras-bert or
            bert4keras. Which it is, the files tell.
        output: the folder to write.
        head: a key of `HEADS`, or "auto" for the one in the file.
        hidden_act: our name of the activation, if not the one that the program
            computes.
        bert_config_file, vocab_file: None for those that the program keeps, or
            bert_config.json and vocab.txt beside the weights.
        do_lower_case, strip_accents: what is done to texts; None for what the
            files tell. If they do not, commands judge by the vocabulary.
        allow_unused: leave out tensors that are not known, instead of failing.
        overwrite: overwrite files in `output`.

    Returns:
        A report, several lines.

    Raises:
        InputError: a file is missing or damaged, the model is not BERT or not
            of a known program, a tensor is missing, left over or of a wrong
            shape, or the output is there already.
    """
    model = _open(path, head)
    if model.unknown and not allow_unused:
        raise InputError(
            f"{model.source} has tensors that BERT does not have: "
            f"{some_of(sorted(model.unknown))}. With --allow_unused they are "
            "left out."
        )
    config = _config(model, bert_config_file, hidden_act)
    head = find_head(head, model.tensors, model.source)
    chosen, dropped = choose_variables(
        model.tensors, head, config, model.source, allow_unused
    )
    vocab_file = _find_vocab(model, vocab_file, config)
    values = _read_all(model, chosen, config)
    predicted = labels_from_hf(
        {"problem_type": model.problem_type},
        head,
        (),
        len(values.get("output_bias", ())),
        model.source,
    )
    given = {"do_lower_case": do_lower_case, "strip_accents": strip_accents}
    given = {name: value for name, value in given.items() if value is not None}
    settings = dataclasses.replace(
        model.settings, **predicted.settings, **given
    )
    with open(vocab_file, "rb") as file:
        vocab = file.read()
    prefix = conversion.write_folder(
        output,
        values,
        config,
        vocab,
        settings,
        predicted.labels,
        {"PATH": model.files, "vocab_file": [vocab_file]},
        overwrite,
    )
    dropped = [model.tensors[name].name for name in dropped]
    left_out = sorted(dropped + model.unknown + model.left_out)
    return "\n".join(
        [
            f"Read {model.source}, of {model.program}.",
            *conversion.report_written(prefix, values, head, config, settings),
            *report_left_out(left_out),
            *report_no_pooler(chosen, "`checkpoints.load`"),
            *model.notes,
        ]
    )


def _open(path, head):
    """The `ForeignModel` at a path, by the reader that its files need."""
    path = os.fspath(path)
    if os.path.isdir(path):
        return _open_folder(path.rstrip("/") or path, head)
    if path.endswith(_PACKED) and os.path.exists(path):
        raise InputError(f"{path} is still packed: unpack it first.")
    if path.endswith(_H5) and os.path.exists(path):
        return _open_h5(path, head)
    return tf_models.read_checkpoint(path, head)


def _open_folder(folder, head):
    names = set(os.listdir(folder))
    config = os.path.join(folder, HF_CONFIG)
    if SAVED_MODEL in names:
        return tf_models.read_saved_model(folder, head)
    if HF_CONFIG in names and keras_hub.is_preset(read_json(config)):
        return keras_hub.read(folder, head)
    if any(name.endswith(INDEX) for name in names) or STATE_FILE in names:
        return tf_models.read_checkpoint(folder, head)
    if HF_CONFIG in names:
        raise InputError(
            f"{folder} is a folder of Hugging Face, by its {HF_CONFIG}: use "
            "`python -m bert_tf.convert_checkpoint from_hf`."
        )
    files = sorted(name for name in names if name.endswith(_H5))
    if len(files) == 1:
        return _open_h5(os.path.join(folder, files[0]), head)
    if files:
        raise InputError(
            f"{folder} has several .h5 files: {some_of(files)}. Give the path "
            "of one."
        )
    raise InputError(
        f"{folder} must have a checkpoint of tf-models (.index), a "
        f"{SAVED_MODEL}, a preset of keras-hub ({HF_CONFIG}) or an .h5 file of "
        f"keras-bert or bert4keras. It has: {list_folder(folder)}."
    )


def _open_h5(path, head):
    file = H5File(path)
    if keras_bert.is_file(file):
        return keras_bert.read(path, head)
    places = list(file.shapes)
    hint = "Only the layers of keras-bert and bert4keras are known."
    if any("/tf_bert_" in place for place in places):
        hint = (
            "It is of transformers: convert its folder, in which config.json "
            "is, `python -m bert_tf.convert_checkpoint from_hf`."
        )
    elif any("/vars/0" in place for place in places):
        hint = (
            "Keras 3 wrote it: of keras-hub, convert the folder that "
            "`save_to_preset` writes."
        )
    raise InputError(
        f"{path} has no layers such as Embedding-Token. It has "
        f"{some_of(places, 4)}. {hint}"
    )


def _find_vocab(model, vocab_file, config):
    """The path of the vocabulary, which fits the model."""
    found = vocab_file or model.vocab_file or _beside(model, VOCAB)
    if found is None:
        raise InputError(
            f"{model.source} has no vocabulary beside it: give its path, "
            "--vocab_file."
        )
    folders.check_vocab(config.vocab_size, found, model.source)
    return found


def _beside(model, name):
    """A file beside the weights, if it is there."""
    path = os.path.join(os.path.dirname(model.source), name)
    return path if os.path.exists(path) else None


# ---------------------------------------------------------------------- config


def _config(model, bert_config_file, hidden_act):
    """The `BertConfig` of what shapes, files and the caller tell."""
    path = bert_config_file or _beside(model, CONFIG)
    stated = {}
    if path is not None:
        BertConfig.from_json_file(path)  # Names what is wrong in it.
        stated = read_json(path)
        model.files.append(path)
    if WORD_EMBEDDINGS not in model.tensors:
        raise InputError(
            f"{model.source} is not of a BERT: it has no {WORD_EMBEDDINGS}, "
            "or calls it otherwise than the programs that are known. It has "
            f"{some_of(model.unknown, 4) or 'no weights'}."
        )
    told = dict(model.config)
    told |= sizes_of(
        {name: tensor.shape for name, tensor in model.tensors.items()}
    )
    sizes = {k: v for k, v in told.items() if k not in _DEFAULTS}
    for where, sources in ((path, stated), (model.source, model.config)):
        wrong = [
            f"{key}={sources[key]} where the weights have {value}"
            for key, value in sizes.items()
            if sources.get(key, value) != value
        ]
        if wrong:
            raise InputError(
                f"{where} does not fit {model.source}: {', '.join(wrong)}."
            )
    values = {**_DEFAULTS, **stated, **told}
    if "num_attention_heads" not in values:
        raise InputError(
            f"{model.source} does not tell the number of attention heads: give "
            "the model's bert_config.json, --bert_config_file."
        )
    activation = values["hidden_act"]
    if hidden_act is not None:
        values["hidden_act"] = hidden_act
    elif isinstance(activation, str):
        values["hidden_act"] = model.computes.get(activation, activation)
    if hidden_act is None and "hidden_act" not in {**stated, **told}:
        model.notes.append(
            "No file tells the activation: gelu is assumed. --hidden_act takes "
            "another one."
        )
    try:
        return BertConfig.from_dict(values)
    except InputError as error:
        raise InputError(f"{path or model.source}: {error}") from error


# --------------------------------------------------------------------- tensors


def _read_all(model, names, config):
    """Arrays by our names; all shapes are checked before the first is read."""
    has_labels = "output_bias" in names
    num_labels = model.tensors["output_bias"].shape[0] if has_labels else 0
    shapes = conversion.shapes_of_heads(config, num_labels)
    for name in names:
        _check_shape(model, name, shapes[name], config)
    values = {name: _read(model, name, shapes[name]) for name in names}
    require_finite(values, model.source)
    return values


def _check_shape(model, name, want, config):
    """Raises `InputError` unless a tensor has the numbers of ours."""
    tensor = model.tensors[name]
    heads, shape = config.num_attention_heads, tensor.shape
    forms = [want[::-1] if tensor.transposed else want]
    size = config.hidden_size // heads
    if "/attention/self/" in name:
        forms.append((*want[:-1], heads, size))
    elif name.endswith("/attention/output/dense/kernel"):
        forms.append((heads, size, want[1]))
    if shape not in forms:
        wanted = " or ".join(str(list(form)) for form in forms)
        raise InputError(
            f"`{tensor.name}` in {model.source} must have the shape {wanted}, "
            f"as `{name}`. It has {list(shape)}."
        )


def _read(model, name, shape):
    tensor = model.tensors[name]
    value = model.read(tensor.name)
    if value.dtype.kind != "f":
        raise InputError(
            f"`{tensor.name}` in {model.source} must have floating-point "
            f"numbers. It has {value.dtype}: if the model was quantized, take "
            "the one before that."
        )
    value = value.T if tensor.transposed else value.reshape(shape)
    return np.ascontiguousarray(value, np.float32)
