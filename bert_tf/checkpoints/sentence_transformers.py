"""What a sentence-transformers folder does with the encoder's output.

Such a folder has a modules.json: the Transformer, then pooling, normalization
and dense layers. Only the Transformer is a checkpoint.
"""

import json
import os
from typing import NamedTuple

from bert_tf.checkpoints.hugging_face import read_json
from bert_tf.errors import InputError

MODULES = "modules.json"
SENTENCE_CONFIG = "sentence_bert_config.json"


class SentenceSettings(NamedTuple):
    """What is done to texts before the tokenizer.

    Attributes:
        do_lower_case: whether they are lower-cased; accents are kept.
        max_seq_length: tokens of an input; None if that is not said.
    """

    do_lower_case: bool = False
    max_seq_length: int | None = None


def read_settings(folder):
    """The `SentenceSettings` of a Hugging Face folder.

    Raises:
        InputError: the file is damaged.
    """
    path = os.path.join(folder, SENTENCE_CONFIG)
    settings = read_json(path) if os.path.exists(path) else {}
    length = settings.get("max_seq_length")
    if length is not None and (type(length) is not int or length < 1):
        raise InputError(
            f"{path} must have max_seq_length as a number above 0. It has "
            f"{json.dumps(length)[:60]}."
        )
    return SentenceSettings(settings.get("do_lower_case") is True, length)


def report(folder, allow_unused=False):
    """Lines about the modules after the encoder; none for other folders.

    Args:
        folder: the Hugging Face folder.
        allow_unused: report modules that have weights, instead of failing.

    Raises:
        InputError: a file is damaged, or a module has weights.
    """
    path = os.path.join(folder, MODULES)
    lines = []
    if os.path.exists(path):
        for module in _modules(path):
            lines += _about(module, folder, path, allow_unused)
    length = read_settings(folder).max_seq_length
    if length is not None:
        lines.append(f"Its sentence vectors are of the first {length} tokens.")
    return lines


def find_transformer(folder):
    """The subfolder with the Transformer, where it is not the folder itself."""
    path = os.path.join(folder, MODULES)
    for module in _modules(path) if os.path.exists(path) else ():
        if _kind(module) == "Transformer" and module.get("path"):
            return os.path.join(folder, str(module["path"]))
    return None


def _modules(path):
    try:
        with open(path, encoding="utf-8") as file:
            modules = json.load(file)
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(modules, list) or not all(
        isinstance(module, dict) for module in modules
    ):
        raise InputError(f"{path} must be a JSON array of objects.")
    return modules


def _kind(module):
    return str(module.get("type")).rpartition(".")[2]


def _about(module, folder, path, allow_unused):
    kind = _kind(module)
    if kind == "Transformer":
        return []
    if kind == "Pooling":
        settings_file = os.path.join(
            folder, str(module.get("path")), "config.json"
        )
        settings = (
            read_json(settings_file) if os.path.exists(settings_file) else {}
        )
        modes = [
            key.removeprefix("pooling_mode_")
            for key, value in settings.items()
            if key.startswith("pooling_mode") and value is True
        ]
        named = settings.get("pooling_mode")
        modes += [str(named)] if isinstance(named, (str, list)) else []
        how = ", ".join(modes) or "unknown"
        return [
            f"Its sentence vectors are pooled ({how}); that is not part of a "
            "checkpoint: see --pooling of extract_features."
        ]
    if kind == "Normalize":
        return [
            "Its sentence vectors are divided by their length; that is not "
            "part of a checkpoint."
        ]
    if kind == "Dropout":
        return []
    if not allow_unused:
        raise InputError(
            f"{path} has a module {module.get('type')} after the encoder, "
            "which bert_tf does not have: sentence vectors would be others. "
            "With --allow_unused it is left out."
        )
    return [f"Left out the module {module.get('type')} after the encoder."]
