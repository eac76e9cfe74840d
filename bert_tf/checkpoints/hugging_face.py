"""Checkpoints from and to the folders that transformers writes."""

import json
import os
import re
import shutil
from typing import NamedTuple

import numpy as np

from bert_tf import checkpoints
from bert_tf.checkpoints.folders import read_labels
from bert_tf.checkpoints.names import LABELS_FILE, checkpoint_shapes
from bert_tf.errors import InputError
from bert_tf.layers import LAYER_NORM_EPSILON, get_activation
from bert_tf.modeling import BertConfig
from bert_tf.support.files import write_text

COMMAND = "python -m bert_tf.convert_checkpoint"


CONFIG = "bert_config.json"


VOCAB = "vocab.txt"


PREFIX = "bert_model.ckpt"


HF_CONFIG = "config.json"


HF_WEIGHTS = "model.safetensors"


HF_SHARDS = "model.safetensors.index.json"


HF_TOKENIZER = "tokenizer.json"


HF_TOKENIZER_CONFIG = "tokenizer_config.json"


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


# Their "gelu" is the exact form, ours (as the original's) the tanh form.
ACTIVATION_FROM_HF = {
    "gelu": "gelu_exact",
    "gelu_python": "gelu_exact",
    "gelu_new": "gelu",
    "gelu_pytorch_tanh": "gelu",
    "gelu_fast": "gelu",
    "gelu_accurate": "gelu",
    "relu": "relu",
    "tanh": "tanh",
    "linear": "linear",
}


ACTIVATION_TO_HF = {
    "gelu": "gelu_new",
    "gelu_exact": "gelu",
    "relu": "relu",
    "tanh": "tanh",
    "linear": "linear",
}


# Where config.json says anything else than this, the model is not BERT.
HF_NEEDED = {
    "model_type": "bert",
    "is_decoder": False,
    "is_encoder_decoder": False,
    "add_cross_attention": False,
    "position_embedding_type": "absolute",
    "pruned_heads": {},
    "quantization_config": None,
}


MASKED_LM = (
    "cls/predictions/transform/dense/kernel",
    "cls/predictions/transform/dense/bias",
    "cls/predictions/transform/LayerNorm/gamma",
    "cls/predictions/transform/LayerNorm/beta",
    "cls/predictions/output_bias",
)


NEXT_SENTENCE = (
    "cls/seq_relationship/output_weights",
    "cls/seq_relationship/output_bias",
)


CLASSIFIER = ("output_weights", "output_bias")


SPAN = ("cls/squad/output_weights", "cls/squad/output_bias")


POOLER = ("bert/pooler/dense/kernel", "bert/pooler/dense/bias")


class Head(NamedTuple):
    """What `--head` means: their class, our variables, what it needs."""

    architecture: str
    variables: tuple[str, ...]
    needs_pooler: bool


HEADS = {
    "none": Head("BertModel", (), False),
    "pretraining": Head("BertForPreTraining", MASKED_LM + NEXT_SENTENCE, True),
    "masked_lm": Head("BertForMaskedLM", MASKED_LM, False),
    "next_sentence": Head("BertForNextSentencePrediction", NEXT_SENTENCE, True),
    "classifier": Head("BertForSequenceClassification", CLASSIFIER, True),
    "span": Head("BertForQuestionAnswering", SPAN, False),
    "token": Head("BertForTokenClassification", CLASSIFIER, False),
}


# Buffers that older versions of transformers saved among the weights.
_HF_BUFFERS = ("bert.embeddings.position_ids", "bert.embeddings.token_type_ids")


# The output layer of their masked-LM head, tied to other tensors.
_HF_TIED = {
    "cls.predictions.decoder.weight": "bert/embeddings/word_embeddings",
    "cls.predictions.decoder.bias": "cls/predictions/output_bias",
}


class HFTensor(NamedTuple):
    """Where Hugging Face keeps one of our variables."""

    name: str
    transposed: bool


def hf_tensors(num_hidden_layers):
    """Our name -> `HFTensor`, for the encoder and all heads."""
    table = {
        f"bert/embeddings/{kind}_embeddings": HFTensor(
            f"bert.embeddings.{kind}_embeddings.weight", False
        )
        for kind in ("word", "position", "token_type")
    }
    kernels = ["bert/pooler/dense", "cls/predictions/transform/dense"]
    norms = ["bert/embeddings", "cls/predictions/transform"]
    for index in range(num_hidden_layers):
        layer = f"bert/encoder/layer_{index}"
        kernels += [
            f"{layer}/attention/self/query",
            f"{layer}/attention/self/key",
            f"{layer}/attention/self/value",
            f"{layer}/attention/output/dense",
            f"{layer}/intermediate/dense",
            f"{layer}/output/dense",
        ]
        norms += [f"{layer}/attention/output", f"{layer}/output"]
    for scope in kernels:
        theirs = scope.replace("/layer_", "/layer/").replace("/", ".")
        table[f"{scope}/kernel"] = HFTensor(f"{theirs}.weight", True)
        table[f"{scope}/bias"] = HFTensor(f"{theirs}.bias", False)
    for scope in norms:
        theirs = scope.replace("/layer_", "/layer/").replace("/", ".")
        for ours, part in (("gamma", "weight"), ("beta", "bias")):
            table[f"{scope}/LayerNorm/{ours}"] = HFTensor(
                f"{theirs}.LayerNorm.{part}", False
            )
    # Output layers of few classes are [classes, D] on both sides.
    for ours, theirs in (
        ("cls/seq_relationship/output_", "cls.seq_relationship."),
        ("cls/squad/output_", "qa_outputs."),
        ("output_", "classifier."),
    ):
        table[f"{ours}weights"] = HFTensor(f"{theirs}weight", False)
        table[f"{ours}bias"] = HFTensor(f"{theirs}bias", False)
    table["cls/predictions/output_bias"] = HFTensor(
        "cls.predictions.bias", False
    )
    return table


def to_hf(
    checkpoint,
    output,
    *,
    head="auto",
    bert_config_file=None,
    vocab_file=None,
    labels_file=None,
    hidden_act=None,
    do_lower_case=None,
    allow_unused=False,
    overwrite=False,
):
    """Writes a folder that transformers' `from_pretrained` opens.

    Args:
        checkpoint: whatever `checkpoints.find` takes.
        output: the folder to write.
        head: a key of `HEADS`, or "auto" for the one in the file. Classifiers
            of sentences and of tokens look alike: auto takes the former.
        bert_config_file, vocab_file, labels_file: where these files are;
            looked for beside the checkpoint when None.
        hidden_act: transformers' name of the activation, if not the same
            function as the config's.
        do_lower_case: for their tokenizer; when None, true unless the
            vocabulary has a capital letter A to Z as a token.
        allow_unused: leave out variables that no head has, instead of failing.
        overwrite: write over files in `output`.

    Returns:
        A report, several lines.

    Raises:
        InputError: a file is missing, damaged or does not fit, variables are
            missing or left over, or the output is there already.
    """
    safetensors = _safetensors()
    reader = checkpoints.CheckpointReader(checkpoint)
    folder = os.path.dirname(reader.path)
    config_file = bert_config_file or os.path.join(folder, CONFIG)
    config = BertConfig.from_json_file(config_file)
    checkpoints.check_config(config, reader.path, config_file)
    reader.check_data()

    slots = checkpoints.optimizer_slots(reader.names)
    names = [name for name in reader.names if name not in slots]
    head = _find_head(head, names, reader.path)
    chosen, dropped = _choose(names, head, config, reader.path, allow_unused)
    labels_file = labels_file or os.path.join(folder, LABELS_FILE)
    hf_config = _hf_config(config, head, hidden_act)
    if HEADS[head].variables == CLASSIFIER:
        num_labels = reader.shapes["output_bias"][0]
        hf_config |= _hf_labels(num_labels, labels_file)
    vocab_file = vocab_file or os.path.join(folder, VOCAB)
    vocab = _read_vocab(vocab_file)
    checkpoints.check_vocab(config.vocab_size, vocab_file, config_file)
    if do_lower_case is None:
        do_lower_case = _looks_uncased(vocab)
    tokenizer = {
        "do_lower_case": do_lower_case,
        "model_max_length": config.max_position_embeddings,
        "tokenizer_class": "BertTokenizer",
    }
    _check_output(
        [
            os.path.join(output, name)
            for name in (HF_CONFIG, HF_WEIGHTS, VOCAB, HF_TOKENIZER_CONFIG)
        ],
        overwrite,
    )

    table, tensors = hf_tensors(config.num_hidden_layers), {}
    for name in chosen:
        place, value = table[name], reader.tensor(name)
        value = np.ascontiguousarray(value.T if place.transposed else value)
        theirs = place.name
        if head == "none":
            theirs = theirs.removeprefix("bert.")
        tensors[theirs] = value.astype(np.float32, copy=False)
    os.makedirs(output, exist_ok=True)
    vocab_copy = os.path.join(output, VOCAB)
    _copy(vocab_file, vocab_copy)

    weights = os.path.join(output, HF_WEIGHTS)

    def save(path):
        try:
            safetensors.numpy.save_file(tensors, path, {"format": "pt"})
        except safetensors.SafetensorError as error:
            raise InputError(f"Cannot write {weights}: {error}") from error
        shutil.copymode(vocab_copy, path)  # Else only the owner may read it.

    _in_place(weights, save)
    _write_json(os.path.join(output, HF_TOKENIZER_CONFIG), tokenizer)
    _write_json(os.path.join(output, HF_CONFIG), hf_config)

    casing = "true" if do_lower_case else "false"
    return "\n".join(
        [
            f"Wrote {len(tensors)} tensors of {reader.path} to {output} as "
            f"{HEADS[head].architecture}, hidden_act "
            f"{hf_config['hidden_act']!r}, do_lower_case {casing}.",
            *_left_out(dropped, slots),
            *_no_pooler(chosen, "transformers"),
        ]
    )


def _hf_config(config, head, hidden_act):
    ours = config.to_dict()
    if config.attention_direction() == "left_to_right":
        raise InputError(
            "A model with directionality=left_to_right cannot be converted: "
            "transformers' BERT would attend in both directions."
        )
    act = (config.hidden_act or "linear").lower()
    if hidden_act is None:
        hidden_act = ACTIVATION_TO_HF[act]
    elif hidden_act not in ACTIVATION_FROM_HF:
        raise InputError(
            "`hidden_act` must be one of transformers' "
            f"{sorted(ACTIVATION_FROM_HF)}. Received: hidden_act={hidden_act!r}"
        )
    return {
        **ours,
        "architectures": [HEADS[head].architecture],
        "model_type": "bert",
        "hidden_act": hidden_act,
        "hidden_dropout_prob": config.hidden_dropout_prob or 0.0,
        "attention_probs_dropout_prob": config.attention_probs_dropout_prob
        or 0.0,
        "layer_norm_eps": LAYER_NORM_EPSILON,
        "pad_token_id": 0,
        "position_embedding_type": "absolute",
    }


def _hf_labels(num_labels, labels_file):
    labels = [f"LABEL_{i}" for i in range(num_labels)]
    if os.path.exists(labels_file):
        labels = read_labels(labels_file)
    if len(labels) != num_labels:
        raise InputError(
            f"{labels_file} must name the {num_labels} labels of the "
            f"checkpoint. It has {len(labels)}."
        )
    return {
        "id2label": {str(i): label for i, label in enumerate(labels)},
        "label2id": {label: i for i, label in enumerate(labels)},
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
    """Writes bert_model.ckpt, bert_config.json and vocab.txt from their folder.

    Args:
        folder: with config.json, model.safetensors (or its shards and their
            index), and vocab.txt or tokenizer.json.
        output: the folder to write.
        head: a key of `HEADS`, or "auto" for the one in the file.
        hidden_act: our name of the activation, if not what their config says:
            "gelu" for a model that was trained by the original.
        ignore_layer_norm_eps: convert although their LayerNorm adds another
            epsilon than 1e-12; results then differ slightly.
        allow_unused: leave out tensors that are not known, instead of failing.
        overwrite: write over files in `output`.

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
    hf_config = _read_json(config_file)
    config = _config_from_hf(
        hf_config, config_file, hidden_act, ignore_layer_norm_eps
    )
    tensors = _our_names(_read_tensors(folder), config, folder, allow_unused)
    values, unknown = tensors
    head = _find_head(head, values, folder, hf_config.get("architectures"))
    chosen, dropped = _choose(values, head, config, folder, allow_unused)
    values = {name: values[name] for name in chosen}
    _check_shapes(values, config, folder)
    labels = ()
    if HEADS[head].variables == CLASSIFIER:
        labels = _labels_from_hf(hf_config, len(values["output_bias"]), folder)
    vocab, filled = _vocab_from_hf(folder, config.vocab_size)
    lowers = _lowers_case(folder, vocab)

    prefix = os.path.join(output, PREFIX)
    _check_output(
        [
            prefix + checkpoints.INDEX,
            os.path.join(output, CONFIG),
            os.path.join(output, VOCAB),
            os.path.join(output, LABELS_FILE),
        ],
        overwrite,
    )
    checkpoints.write(prefix, values)
    write_text(os.path.join(output, VOCAB), "".join(f"{t}\n" for t in vocab))
    write_text(os.path.join(output, CONFIG), config.to_json_string())
    if len(labels) > 1:
        text = "".join(f"{label}\n" for label in labels)
        write_text(os.path.join(output, LABELS_FILE), text)

    return "\n".join(
        [
            f"Wrote {len(values)} variables to {prefix}, head: {head}, "
            f"hidden_act: {config.hidden_act}.",
            f"Its vocabulary wants --do_lower_case={str(lowers).lower()}.",
            *_left_out(dropped + unknown, ()),
            *_no_pooler(chosen, "`checkpoints.load`"),
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
    safetensors = _safetensors()
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
        shards = _read_json(index).get("weight_map")
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
    places = hf_tensors(config.num_hidden_layers)
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
    shapes["cls/squad/output_weights"] = (2, width)
    shapes["cls/squad/output_bias"] = (2,)
    if "output_bias" in values:
        num_labels = values["output_bias"].size
        shapes["output_weights"] = (num_labels, width)
        shapes["output_bias"] = (num_labels,)
    places = hf_tensors(config.num_hidden_layers)
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
        vocab = _read_vocab(path)
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
    tokenizer = _read_json(path)
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
    stated = _read_json(path) if os.path.exists(path) else {}
    return stated.get("do_lower_case", _looks_uncased(vocab))


def strip(checkpoint, output, *, overwrite=False):
    """Writes a checkpoint with its weights alone.

    Adam's slots make a trained checkpoint three times the size of the weights.

    Args:
        checkpoint: whatever `checkpoints.find` takes.
        output: prefix of the new one. The config, vocabulary and labels that
            lie beside the old one are copied there.
        overwrite: write over files.

    Returns:
        A report, several lines.

    Raises:
        InputError: no or a damaged checkpoint, or the output is there already.
    """
    reader = checkpoints.CheckpointReader(checkpoint)
    reader.check_data()
    slots = checkpoints.optimizer_slots(reader.names)
    kept = [name for name in reader.names if name not in slots]
    if os.path.isdir(output) or not os.path.basename(output):
        raise InputError(
            "`output` must be a prefix, such as "
            f"{os.path.join(output, PREFIX)}. Received a folder: {output!r}"
        )
    if not kept:
        raise InputError(
            f"{reader.path} holds no weights. It has: "
            + ", ".join(reader.names[:4])
        )
    here, there = os.path.dirname(reader.path), os.path.dirname(output)
    beside = [
        name
        for name in (CONFIG, VOCAB, LABELS_FILE)
        if os.path.exists(os.path.join(here, name))
        and os.path.realpath(here) != os.path.realpath(there)
    ]
    _check_output(
        [
            output + checkpoints.INDEX,
            *(os.path.join(there, name) for name in beside),
        ],
        overwrite,
    )
    checkpoints.write(output, {name: reader.tensor(name) for name in kept})
    for name in beside:
        _copy(os.path.join(here, name), os.path.join(there, name))
    before, after = reader.nbytes(reader.names), reader.nbytes(kept)
    return "\n".join(
        [
            f"Kept {len(kept)} weights of {reader.path} in {output}: "
            f"{after:,} bytes, before {before:,}.",
            *_left_out((), slots),
            *([f"Copied {', '.join(beside)}."] if beside else []),
        ]
    )


def _find_head(head, names, where, architectures=None):
    """Settles "auto" by the variables there are; checks what was asked for."""
    if head != "auto":
        if head not in HEADS:
            raise InputError(
                f"`head` must be auto or one of {sorted(HEADS)}. "
                f"Received: head={head!r}"
            )
        return head
    there = {
        kind
        for kind in ("masked_lm", "next_sentence", "classifier", "span")
        if any(name in names for name in HEADS[kind].variables)
    }
    if there == {"masked_lm", "next_sentence"}:
        return "pretraining"
    if len(there) > 1:
        raise InputError(
            f"{where} has several heads: {', '.join(sorted(there))}. Say with "
            "--head which of them is meant."
        )
    if there == {"classifier"}:
        token = HEADS["token"].architecture
        return "token" if token in (architectures or ()) else "classifier"
    return there.pop() if there else "none"


def _choose(names, head, config, where, allow_unused):
    """Which variables the head's model has; which known ones are left out."""
    known = set(hf_tensors(config.num_hidden_layers))
    encoder = {name for name in known if name.startswith("bert/")}
    optional = set() if HEADS[head].needs_pooler else set(POOLER)
    wanted = encoder | set(HEADS[head].variables)
    absent = sorted(wanted - optional - set(names))
    if absent:
        raise InputError(
            f"{where} lacks {len(absent)} variables of a BERT with the head "
            f"{head!r}: {', '.join(absent[:6])}"
            + (", ..." if len(absent) > 6 else "")
        )
    unknown = sorted(set(names) - known)
    if unknown and not allow_unused:
        raise InputError(
            f"{where} has variables that BERT does not have: "
            f"{', '.join(unknown)}. With --allow_unused they are left out."
        )
    chosen = sorted(wanted & set(names))
    return chosen, sorted(set(names) - wanted)


def _left_out(names, slots):
    lines = [f"Left out {len(names)}: {', '.join(names)}."] if names else []
    if slots:
        kinds = {}
        for slot in slots:
            kind = slot.rpartition("/")[2]
            kinds[kind] = kinds.get(kind, 0) + 1
        counts = ", ".join(f"{n} {kind}" for kind, n in sorted(kinds.items()))
        lines.append(f"Dropped {len(slots)} of the optimizer: {counts}.")
    return lines


def _no_pooler(names, reader):
    if set(POOLER) <= set(names):
        return []
    return [
        "There is no pooler (this kind of model is saved without one): where a "
        f"task needs it, {reader} will draw it at random."
    ]


def _read_vocab(path):
    try:
        with open(path, encoding="utf-8", newline="\n") as file:
            return [line.rstrip("\r\n") for line in file]
    except OSError as error:
        raise InputError(
            f"The vocabulary {path} cannot be read: {error.strerror}."
        ) from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} must be UTF-8 text: {error}") from error


def _looks_uncased(vocab):
    capitals = set(map(chr, range(ord("A"), ord("Z") + 1)))
    return capitals.isdisjoint(vocab)


def _read_json(path):
    try:
        with open(path, encoding="utf-8") as file:
            value = json.load(file)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(value, dict):
        raise InputError(f"{path} must hold a JSON object.")
    return value


def _write_json(path, value):
    write_text(path, json.dumps(value, indent=2, sort_keys=True) + "\n")


def _copy(source, target):
    if not (os.path.exists(target) and os.path.samefile(source, target)):
        _in_place(target, lambda path: shutil.copyfile(source, path))


def _in_place(target, make):
    """Lets `make` write another file, which then becomes the target."""
    half_written = f"{target}.{os.getpid()}.incomplete"
    try:
        make(half_written)
        os.replace(half_written, target)
    finally:
        if os.path.exists(half_written):
            os.remove(half_written)


def _check_output(paths, overwrite):
    there = [path for path in paths if os.path.exists(path)]
    if there and not overwrite:
        raise InputError(
            f"Already there: {', '.join(there)}. Take another --output, or "
            "--overwrite."
        )


def _safetensors():
    try:
        import safetensors
        import safetensors.numpy
    except ImportError as error:
        raise InputError(
            "Converting from and to Hugging Face needs the package "
            "safetensors: pip install 'bert-tf[convert]'"
        ) from error
    return safetensors
