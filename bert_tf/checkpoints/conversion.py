"""Writes a model of another program: checkpoint, and what belongs to it."""

import os

from bert_tf.checkpoints import folders, writing
from bert_tf.checkpoints.hugging_face import SPAN_HEAD
from bert_tf.checkpoints.names import (
    CLASSIFIER,
    CONFIG,
    INDEX,
    LABELS_FILE,
    PREFIX,
    SETTINGS_FILE,
    VOCAB,
    checkpoint_shapes,
)
from bert_tf.support.files import make_folder, whole_or_nothing


def shapes_of_heads(config, num_labels):
    """The shapes of all variables that conversions know, by our names.

    Args:
        config: a `BertConfig`.
        num_labels: rows of a classifier's weights.
    """
    width = config.hidden_size
    shapes = checkpoint_shapes(config.to_dict())
    for (weights, bias), size in ((SPAN_HEAD, 2), (CLASSIFIER, num_labels)):
        shapes |= {weights: (size, width), bias: (size,)}
    return shapes


def write_folder(
    output, values, config, vocab, settings, labels, inputs, overwrite
):
    """Writes checkpoint, config, vocabulary, bert_tf.json and labels.

    Args:
        output: the folder.
        values: arrays by our names.
        config: their `BertConfig`.
        vocab: the bytes of vocab.txt.
        settings: `FolderSettings`.
        labels: in the order of their ids; none for no labels.txt.
        inputs: what is read, as `files.require_other_file` takes it.
        overwrite: overwrite files in `output`.

    Returns:
        The checkpoint's prefix.

    Raises:
        InputError: the output is there already, or cannot be written.
    """
    prefix = os.path.join(output, PREFIX)
    texts = {CONFIG: config.to_json_string()}
    if settings.said():
        texts[SETTINGS_FILE] = settings.to_json()
    if labels:
        texts[LABELS_FILE] = "".join(f"{label}\n" for label in labels)
    contents = {VOCAB: vocab}
    contents |= {name: text.encode("utf-8") for name, text in texts.items()}
    contents = {os.path.join(output, k): v for k, v in contents.items()}
    folders.check_not_there(prefix + INDEX, contents, inputs, overwrite)
    make_folder("output", output)
    for path, content in contents.items():
        with whole_or_nothing(path) as file:
            file.write(content)
    writing.write(prefix, values)
    return prefix


def report_written(prefix, values, head, config, settings):
    """Lines about what was written."""
    lines = [
        f"Wrote {len(values)} variables to {prefix}, head: {head}, "
        f"hidden_act: {config.hidden_act}."
    ]
    if settings.describe():
        lines.append(
            f"Noted in {SETTINGS_FILE}, so that no flag is needed: "
            f"{settings.describe()}."
        )
    return lines
