"""Writes a checkpoint as a folder that transformers can open."""

import json
import os
import shutil

import numpy as np

from bert_tf.checkpoints import (
    casing,
    finding,
    folder_settings,
    folders,
    sentence_transformers,
)
from bert_tf.checkpoints.folder_settings import shown
from bert_tf.checkpoints.hugging_face import (
    ACTIVATION_FROM_HF,
    HEADS,
    HF_CONFIG,
    HF_TOKENIZER_CONFIG,
    HF_WEIGHTS,
    choose_variables,
    find_head,
    hf_tensors,
    import_safetensors,
    read_vocab,
    report_left_out,
    report_no_pooler,
    require_finite,
)
from bert_tf.checkpoints.hugging_face_labels import (
    MULTI,
    PROBLEM_OF,
    labels_to_hf,
    noted_architectures,
)
from bert_tf.checkpoints.names import (
    CONFIG,
    LABELS_FILE,
    PAIR_CLASSIFIER,
    THRESHOLDS_FILE,
    VOCAB,
    optimizer_slots,
)
from bert_tf.checkpoints.reader import CheckpointReader
from bert_tf.checkpoints.storage import files_of
from bert_tf.checkpoints.stripping import report_dropped
from bert_tf.errors import InputError
from bert_tf.layers import LAYER_NORM_EPSILON
from bert_tf.modeling import BertConfig
from bert_tf.support import files

ACTIVATION_TO_HF = {
    "gelu": "gelu_new",
    "gelu_exact": "gelu",
    "relu": "relu",
    "tanh": "tanh",
    "linear": "linear",
}


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
    strip_accents=None,
    ignore_folder_settings=False,
    allow_unused=False,
    overwrite=False,
):
    """Writes a folder that transformers' `from_pretrained` opens.

    Args:
        checkpoint: whatever `checkpoints.find` takes; of a training folder the
            best checkpoint, if it was kept.
        output: the folder to write.
        head: a key of `HEADS`, or "auto" for the one in the file. Classifiers
            of sentences, of tokens and of choices look alike: "auto" takes the
            one that the folder notes, else the first.
        bert_config_file, vocab_file, labels_file: None for those
            beside the checkpoint.
        hidden_act: transformers' name of the activation, if not the same
            function as the config's.
        do_lower_case, strip_accents: for their tokenizer; None for what the
            folder, the vocabulary and the name tell, as in `casing.decide`.
        ignore_folder_settings: whether these two win where they contradict the
            folder.
        allow_unused: leave out variables that no head has, instead of failing.
        overwrite: overwrite files in `output`.

    Returns:
        A report, several lines.

    Raises:
        InputError: a file is missing, damaged or does not fit, variables are
            missing or left over, the casing is not the model's, or the output
            is there already.
    """
    safetensors = import_safetensors()
    reader = CheckpointReader(finding.of_results(checkpoint))
    folder = os.path.dirname(reader.path)
    config_file = bert_config_file or os.path.join(folder, CONFIG)
    config = BertConfig.from_json_file(config_file)
    folders.check_config(config, reader, config_file)
    reader.check_data()

    slots = optimizer_slots(reader.names)
    names = [name for name in reader.names if name not in slots]
    of_pairs = [name for name in names if name.startswith(PAIR_CLASSIFIER)]
    names = [name for name in names if name not in of_pairs]
    noted = folder_settings.noted_in(folder)
    settings = noted.settings
    head = find_head(head, names, reader.path, noted_architectures(settings))
    chosen, dropped = choose_variables(
        names, head, config, reader.path, allow_unused
    )
    dropped += of_pairs
    hf_config = _hf_config(config, head, hidden_act)
    labels_file = labels_file or os.path.join(folder, LABELS_FILE)
    num_outputs = reader.shapes.get("output_bias", (0,))[0]
    hf_config |= labels_to_hf(head, settings, num_outputs, labels_file)
    vocab_file = vocab_file or os.path.join(folder, VOCAB)
    vocab = read_vocab(vocab_file)
    folders.check_vocab(config.vocab_size, vocab_file, config_file)
    decided = casing.decide(
        vocab,
        vocab_file,
        reader.path,
        noted,
        do_lower_case,
        strip_accents,
        ignore_folder_settings,
    )
    of_text = {k: v for k, v in decided._asdict().items() if v is not None}
    tokenizer = {
        **of_text,
        "model_max_length": settings.said().get(
            "max_seq_length", config.max_position_embeddings
        ),
        "tokenizer_class": "BertTokenizer",
    }
    weights = os.path.join(output, HF_WEIGHTS)
    contents = {
        os.path.join(output, HF_TOKENIZER_CONFIG): _json(tokenizer),
        os.path.join(output, HF_CONFIG): _json(hf_config),
    }
    of_texts = {}
    if head == "none":
        of_texts = sentence_transformers.files_for(
            settings, config.hidden_size, config.max_position_embeddings
        )
    for name, value in of_texts.items():
        contents[os.path.join(output, name)] = _json(value)
    vocab_copy = os.path.join(output, VOCAB)
    with open(vocab_file, "rb") as file:
        contents[vocab_copy] = file.read()
    inputs = {
        "bert_config_file": [config_file],
        "vocab_file": [vocab_file],
        "labels_file": [labels_file or ""],
        "CHECKPOINT": files_of(reader.path),
    }
    if os.path.exists(vocab_copy) and os.path.samefile(vocab_file, vocab_copy):
        # It is where it belongs, and stays as it is.
        del inputs["vocab_file"], contents[vocab_copy]
    folders.check_not_there(weights, contents, inputs, overwrite)

    tensors = _tensors(reader, chosen, config, with_scope=head != "none")
    removed = _remove_others(output, of_texts) if overwrite else []
    for path, content in contents.items():
        files.make_folder("output", os.path.dirname(path) or ".")
        with files.whole_or_nothing(path) as file:
            file.write(content)
    # In a folder, which is removed after a kill with all that the package keeps
    # beside its file while it writes.
    with files.unfinished_folder(weights) as unfinished:
        name = os.path.join(unfinished, HF_WEIGHTS)
        try:
            safetensors.numpy.save_file(tensors, name, {"format": "pt"})
        except safetensors.SafetensorError as error:
            raise InputError(f"Cannot write {weights}: {error}") from error
        shutil.copymode(vocab_copy, name)  # Else only the owner may read it.
        os.replace(name, weights)

    described = [f"{name} {shown(v)}" for name, v in of_text.items()]
    return "\n".join(
        [
            f"Wrote {len(tensors)} tensors of {reader.path} to {output} as "
            f"{HEADS[head].architecture}, hidden_act "
            f"{hf_config['hidden_act']!r}, {', '.join(described)}.",
            *report_left_out(dropped),
            *report_dropped(slots),
            *removed,
            *_report_vectors(of_texts, settings),
            *report_no_pooler(chosen, "transformers"),
            *_report_thresholds(folder, hf_config),
        ]
    )


def _remove_others(output, of_texts):
    """Removes what a folder says of vectors of texts, but what is written.

    Args:
        output: the folder, where an older model may be.
        of_texts: the files that are written, by their paths in it.

    Returns:
        A line about each.
    """
    paths = [
        os.path.join(output, name)
        for name in sentence_transformers.FILES
        if name not in of_texts
    ]
    found = [path for path in paths if os.path.exists(path)]
    for path in found:
        try:
            os.remove(path)
        except OSError as error:
            raise InputError(
                f"`output`: {path}, which is of an older model, cannot be "
                f"removed: {error.strerror}"
            ) from error
    return [f"Removed {path}, which was the older model's." for path in found]


def _report_vectors(of_texts, settings):
    """Lines about how texts become vectors."""
    if not of_texts:
        return []
    how = ", divided by their length" if settings.normalize is True else ""
    return [
        "sentence-transformers opens it too: the vectors of texts are the "
        f"{settings.pooling} over tokens{how}."
    ]


def _report_thresholds(folder, hf_config):
    """Lines about thresholds, which are no part of a config.json."""
    path = os.path.join(folder, THRESHOLDS_FILE)
    if hf_config.get("problem_type") != PROBLEM_OF[MULTI]:
        return []
    if not os.path.exists(path):
        return []
    return [
        f"Not converted: {path}. Programs of transformers predict a label "
        "where its score is over 0.5, or over a threshold of their own."
    ]


def _tensors(reader, names, config, with_scope):
    """Tensors as transformers has them, with or without the scope `bert`."""
    table, tensors = hf_tensors(config), {}
    for name in names:
        place, value = table[name], reader.tensor(name)
        require_finite({name: value}, reader.path)
        value = np.ascontiguousarray(value.T if place.transposed else value)
        theirs = place.name if with_scope else place.name.removeprefix("bert.")
        tensors[theirs] = value.astype(np.float32, copy=False)
    return tensors


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


def _json(value):
    return (json.dumps(value, indent=2, sort_keys=True) + "\n").encode()
