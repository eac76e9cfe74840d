"""Reads a folder that transformers wrote, and writes a checkpoint."""

import json
import os
import re

import numpy as np

from bert_tf.checkpoints import folders, writing
from bert_tf.checkpoints.hugging_face import (
    ACTIVATION_FROM_HF,
    HEADS,
    HF_CONFIG,
    HF_TOKENIZER_CONFIG,
    HF_WEIGHTS,
    SPAN_HEAD,
    choose_variables,
    find_head,
    hf_tensors,
    import_safetensors,
    looks_uncased,
    read_json,
    read_vocab,
    report_left_out,
    report_no_pooler,
)
from bert_tf.checkpoints.names import (
    CLASSIFIER,
    CONFIG,
    INDEX,
    LABELS_FILE,
    MASKED_LM_BIAS,
    PREFIX,
    VOCAB,
    WORD_EMBEDDINGS,
    checkpoint_shapes,
)
from bert_tf.errors import InputError
from bert_tf.layers import LAYER_NORM_EPSILON, get_activation
from bert_tf.modeling import BertConfig
from bert_tf.support.files import write_text

HF_SHARDS = "model.safetensors.index.json"
HF_TOKENIZER = "tokenizer.json"

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
    allow_unused=False,
    overwrite=False,
):
    """Writes checkpoint, config, vocabulary and labels from their folder.

    Args:
        folder: with config.json, model.safetensors (or its shards and their
            index), and vocab.txt or tokenizer.json.
        output: the folder to write.
        head: a key of `HEADS`, or "auto" for the one in the file.
        hidden_act: our name of the activation, if not what their config says:
            "gelu" for a model that was trained by the original.
        ignore_layer_norm_eps: convert although their LayerNorm has another
            epsilon than 1e-12; results then differ slightly.
        allow_unused: leave out tensors that are not known, instead of failing.
        overwrite: overwrite files in `output`.

    Returns:
        A report, several lines.

    Raises:
        InputError: a file is missing or damaged, the model is not BERT, a
            tensor is missing, left over or of a wrong shape, or the output is
            there already.
    """
    if not os.path.isdir(folder):
        raise InputError(
            f"A Hugging Face model is a folder with {HF_CONFIG} and "
            f"{HF_WEIGHTS}. Received: {folder}"
        )
    config_file = os.path.join(folder, HF_CONFIG)
    hf_config = read_json(config_file)
    config = _config_from_hf(
        hf_config, config_file, hidden_act, ignore_layer_norm_eps
    )
    values, unknown = _our_names(
        _read_tensors(folder), config, folder, allow_unused
    )
    head = find_head(head, values, folder, hf_config.get("architectures"))
    chosen, dropped = choose_variables(
        values, head, config, folder, allow_unused
    )
    values = {name: values[name] for name in chosen}
    _check_shapes(values, config, folder)
    labels = ()
    if HEADS[head].has_labels:
        labels = _labels_from_hf(hf_config, len(values["output_bias"]), folder)
    vocab, filled = _vocab_from_hf(folder, config.vocab_size)
    lowers = _lowers_case(folder, vocab)

    prefix = os.path.join(output, PREFIX)
    vocab_file, new_config_file, labels_file = paths = [
        os.path.join(output, name) for name in (VOCAB, CONFIG, LABELS_FILE)
    ]
    folders.check_not_there([prefix + INDEX, *paths], overwrite)
    writing.write(prefix, values)
    write_text(vocab_file, "".join(f"{token}\n" for token in vocab))
    write_text(new_config_file, config.to_json_string())
    if len(labels) > 1:
        write_text(labels_file, "".join(f"{label}\n" for label in labels))

    return "\n".join(
        [
            f"Wrote {len(values)} variables to {prefix}, head: {head}, "
            f"hidden_act: {config.hidden_act}.",
            f"Its vocabulary needs --do_lower_case={str(lowers).lower()}.",
            *report_left_out(dropped + unknown),
            *report_no_pooler(chosen, "`checkpoints.load`"),
            *filled,
        ]
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


def _read_tensors(folder):
    """All tensors of a folder as float32, and integers as they are."""
    safetensors = import_safetensors()
    tensors = {}
    for path in _tensor_files(folder):
        try:
            with safetensors.safe_open(path, framework="np") as file:
                for name in file.keys():  # noqa: SIM118 - not a dictionary
                    value = _read_tensor(file, name, path)
                    if value.dtype.kind not in "iub":
                        value = value.astype(np.float32, copy=False)
                    tensors[name] = value
        except (safetensors.SafetensorError, OSError) as error:
            raise InputError(
                f"{path} is damaged or not a safetensors file; copy or "
                f"download it again. {error}"
            ) from error
    return tensors


def _read_tensor(file, name, path):
    try:
        return file.get_tensor(name)
    except (AttributeError, TypeError) as error:
        dtype = file.get_slice(name).get_dtype()
        raise InputError(
            f"{name} in {path} must be of a dtype that NumPy has. It is "
            f"{dtype}: save the model as float32."
        ) from error


def _tensor_files(folder):
    index = os.path.join(folder, HF_SHARDS)
    if os.path.exists(os.path.join(folder, HF_WEIGHTS)):
        names = [HF_WEIGHTS]
    elif os.path.exists(index):
        shards = read_json(index).get("weight_map")
        if not isinstance(shards, dict):
            raise InputError(
                f"{index} must have an object `weight_map` of tensors and "
                "their files."
            )
        names = sorted({str(name) for name in shards.values()})
    else:
        names = []
    paths = [os.path.join(folder, name) for name in names]
    absent = [path for path in paths if not os.path.exists(path)]
    if absent:
        raise InputError(f"{index} names files that are missing: {absent}")
    if not paths:
        others = sorted(os.listdir(folder))
        hint = ""
        if any(name.endswith((".bin", ".h5")) for name in others):
            hint = (
                " Open the model with transformers and save it with "
                "`save_pretrained(folder)`: that writes safetensors."
            )
        raise InputError(
            f"{folder} must have {HF_WEIGHTS}. It has: "
            f"{', '.join(others) or 'nothing'}.{hint}"
        )
    return paths


def _our_names(tensors, config, folder, allow_unused):
    """Their tensors under our names, kernels transposed back; and the rest."""
    places = hf_tensors(config)
    ours = {place.name: name for name, place in places.items()}
    values, tied, unknown = {}, {}, []
    for theirs, value in tensors.items():
        canonical = _canonical(theirs)
        if canonical in _HF_BUFFERS:
            continue
        if canonical in _HF_TIED:
            tied[canonical] = value
        elif canonical not in ours:
            unknown.append(theirs)
        elif ours[canonical] in values:
            raise InputError(
                f"{folder} has two tensors that both mean "
                f"`{ours[canonical]}`; one is {theirs}."
            )
        else:
            name = ours[canonical]
            if places[name].transposed:
                value = np.ascontiguousarray(value.T)
            values[name] = value
    for theirs, value in tied.items():
        name = _HF_TIED[theirs]
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


def _canonical(name):
    """The name that today's transformers give to a tensor of theirs."""
    name = re.sub(r"LayerNorm\.gamma$", "LayerNorm.weight", name)
    name = re.sub(r"LayerNorm\.beta$", "LayerNorm.bias", name)
    if name.startswith(("embeddings.", "encoder.", "pooler.")):
        return f"bert.{name}"
    return name


def _check_shapes(values, config, folder):
    width = config.hidden_size
    shapes = checkpoint_shapes(config.to_dict())
    num_labels = values["output_bias"].size if "output_bias" in values else 0
    for (weights, bias), size in ((SPAN_HEAD, 2), (CLASSIFIER, num_labels)):
        shapes |= {weights: (size, width), bias: (size,)}
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


def _labels_from_hf(hf_config, num_labels, folder):
    named = hf_config.get("id2label")
    if not named:
        return [f"LABEL_{i}" for i in range(num_labels)]
    places = [str(i) for i in range(num_labels)]
    labels = (
        [str(named[place]).strip() for place in places]
        if isinstance(named, dict) and named.keys() == set(places)
        else []
    )
    if "" in labels or len(set(labels)) < num_labels:
        raise InputError(
            f"id2label in {os.path.join(folder, HF_CONFIG)} must give each of "
            f"{', '.join(places)} a label of its own, as classifier.weight has "
            f"{num_labels} of them. It is {json.dumps(named)[:200]}"
        )
    return labels


def _vocab_from_hf(folder, vocab_size):
    """The tokens, one for each embedding, and what to say about them."""
    path = os.path.join(folder, VOCAB)
    if os.path.exists(path):
        vocab = read_vocab(path)
    else:
        path = os.path.join(folder, HF_TOKENIZER)
        vocab = _vocab_of_tokenizer(path)
    if len(vocab) > vocab_size:
        raise InputError(
            f"{path} must have as many tokens as {HF_CONFIG} says, "
            f"vocab_size={vocab_size}. It has {len(vocab)}."
        )
    missing = range(len(vocab), vocab_size)
    if not missing:
        return vocab, []
    # Some models round the table up. Such a token matches no text.
    note = (
        f"The vocabulary has {len(vocab)} tokens for {vocab_size} embeddings: "
        f"filled up with [unused_{missing[0]}] to [unused_{missing[-1]}]."
    )
    return vocab + [f"[unused_{i}]" for i in missing], [note]


def _vocab_of_tokenizer(path):
    if not os.path.exists(path):
        raise InputError(
            f"{os.path.dirname(path)} must have {VOCAB} or {HF_TOKENIZER}: "
            "without its vocabulary a model cannot be used."
        )
    tokenizer = read_json(path)
    model = tokenizer.get("model")
    kind = model.get("type") if isinstance(model, dict) else None
    if kind != "WordPiece":
        raise InputError(
            f"{path} must have a WordPiece vocabulary, as BERT has. It has "
            f"{kind!r}."
        )
    try:
        ids = dict(model["vocab"])
        for added in tokenizer.get("added_tokens") or ():
            ids[added["content"]] = added["id"]
        vocab = {place: token for token, place in ids.items()}
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{path} must have an object `vocab` of tokens and their ids, and "
            f"`added_tokens` with content and id: {error!r}"
        ) from error
    if vocab.keys() != set(range(len(ids))):
        raise InputError(f"{path} must number its tokens 0, 1, 2 and so on.")
    return [vocab[place] for place in range(len(ids))]


def _lowers_case(folder, vocab):
    path = os.path.join(folder, HF_TOKENIZER_CONFIG)
    stated = read_json(path) if os.path.exists(path) else {}
    return stated.get("do_lower_case", looks_uncased(vocab))
