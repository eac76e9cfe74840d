"""A sentence-transformers folder: how texts become vectors, in and out.

Such a folder has a modules.json: the Transformer, then pooling, normalization
and dense layers. Only the Transformer is a checkpoint; pooling, normalization
and length are noted in bert_tf.json.
"""

import json
import os
from typing import NamedTuple

from bert_tf.checkpoints.folder_settings import FolderSettings
from bert_tf.checkpoints.hugging_face import read_json
from bert_tf.errors import InputError, quote

MODULES = "modules.json"
SENTENCE_CONFIG = "sentence_bert_config.json"
PROMPTS = "config_sentence_transformers.json"
POOLING_CONFIG = os.path.join("1_Pooling", "config.json")
NORMALIZE_CONFIG = os.path.join("2_Normalize", "config.json")
FILES = (MODULES, SENTENCE_CONFIG, POOLING_CONFIG, NORMALIZE_CONFIG)
"""What `files_for` may write."""

HEAD = "features"
"""What bert_tf.json calls an encoder whose pooling is known."""

_POOLINGS = {"mean": "mean_tokens", "cls": "cls_token", "max": "max_tokens"}
"""How their versions before 6 name what both call by the key."""

_OTHERS = ("mean_sqrt_len_tokens", "weightedmean_tokens", "lasttoken")


class SentenceSettings(NamedTuple):
    """What is done to texts before the tokenizer.

    Attributes:
        do_lower_case: whether they are lower-cased; accents are kept.
        max_seq_length: tokens of an input; None if that is not said.
    """

    do_lower_case: bool = False
    max_seq_length: int | None = None


class AfterEncoder(NamedTuple):
    """What is done to the encoder's output.

    Attributes:
        pooling: over tokens, one of mean, cls and max; None if it is not said
            or left out.
        normalize: whether vectors are divided by their length.
        notes: lines for a report.
    """

    pooling: str | None
    normalize: bool
    notes: list[str]

    def noted(self):
        """Entries of bert_tf.json, by name."""
        if self.pooling is None:
            return {}
        return {
            "head": HEAD,
            "pooling": self.pooling,
            "normalize": self.normalize,
        }


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


def read_modules(folder, allow_unused=False):
    """What the modules after the encoder do.

    Args:
        folder: the Hugging Face folder; others than those of
            sentence-transformers do nothing.
        allow_unused: leave out, with a note, modules that bert_tf does not
            have, instead of failing.

    Returns:
        `AfterEncoder`.

    Raises:
        InputError: a file is damaged, or there is such a module.
    """
    path = os.path.join(folder, MODULES)
    pooling, normalize = None, False
    left_out: list[str] = []
    for module in _modules(path) if os.path.exists(path) else ():
        kind = _kind(module)
        settings = _config_of(module, folder)
        is_first = pooling is None and not normalize and not left_out
        if kind == "Pooling" and is_first:
            pooling = _pooling_of(settings)
            if pooling is not None:
                continue
        elif kind == "Normalize" and not left_out:
            name = settings.get("module_input_name", "sentence_embedding")
            if name == "sentence_embedding" and pooling is not None:
                normalize = True
                continue
        elif kind in ("Transformer", "Dropout"):
            continue
        left_out.append(_left_out(module, settings, path, allow_unused))
    if left_out:
        # What comes before them is not the vector of a text.
        return AfterEncoder(None, False, left_out)
    notes = _prompt_notes(os.path.join(folder, PROMPTS))
    if pooling is not None:
        how = ", divided by their length" if normalize else ""
        notes.insert(0, f"Its vectors of texts: {pooling} over tokens{how}.")
    return AfterEncoder(pooling, normalize, notes)


def find_transformer(folder):
    """The subfolder with the Transformer, where it is not the folder itself."""
    path = os.path.join(folder, MODULES)
    for module in _modules(path) if os.path.exists(path) else ():
        if _kind(module) == "Transformer" and module.get("path"):
            return os.path.join(folder, str(module["path"]))
    return None


def files_for(settings: FolderSettings, hidden_size: int, positions: int):
    """The files that make a folder of transformers one of theirs.

    All of their versions read them.

    Args:
        settings: of the checkpoint's folder.
        hidden_size, positions: of the model.

    Returns:
        {path in the folder: JSON}; {} unless the folder notes a pooling of
        texts.
    """
    said = settings.said()
    if said.get("head") != HEAD or said.get("pooling") not in _POOLINGS:
        return {}
    names = ["Transformer", "Pooling"]
    modes = {
        f"pooling_mode_{theirs}": ours == said["pooling"]
        for ours, theirs in _POOLINGS.items()
    }
    files = {
        SENTENCE_CONFIG: {
            "max_seq_length": said.get("max_seq_length", positions),
            "do_lower_case": False,
        },
        POOLING_CONFIG: {
            "word_embedding_dimension": hidden_size,
            **modes,
            **{f"pooling_mode_{name}": False for name in _OTHERS},
        },
    }
    if said.get("normalize"):
        names.append("Normalize")
        files[NORMALIZE_CONFIG] = {}
    modules = [
        {
            "idx": number,
            "name": str(number),
            "path": f"{number}_{name}" if number else "",
            "type": f"sentence_transformers.models.{name}",
        }
        for number, name in enumerate(names)
    ]
    return {**files, MODULES: modules}


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


def _config_of(module, folder):
    """The settings of a module; {} if it has no file."""
    if not module.get("path"):
        return {}
    path = os.path.join(folder, str(module["path"]), "config.json")
    return read_json(path) if os.path.exists(path) else {}


def _modes_of(settings):
    """The poolings that a module joins, as version 6 calls them."""
    named = settings.get("pooling_mode")
    if named is not None:
        return [str(x) for x in named] if type(named) is list else [str(named)]
    ours = {theirs: ours for ours, theirs in _POOLINGS.items()}
    asked = [
        key.removeprefix("pooling_mode_")
        for key, value in settings.items()
        if key.startswith("pooling_mode_") and value is True
    ]
    return [ours.get(name, name) for name in asked] or ["mean"]


def _pooling_of(settings):
    """The pooling of a module; None if bert_tf does not have it."""
    modes = _modes_of(settings)
    return modes[0] if len(modes) == 1 and modes[0] in _POOLINGS else None


def _left_out(module, settings, path, allow_unused):
    """A note on a module that bert_tf does not have.

    Raises:
        InputError: it must not be left out.
    """
    what = f"a module {module.get('type')}"
    if _kind(module) == "Pooling":
        what += f" ({', '.join(_modes_of(settings))})"
    if not allow_unused:
        raise InputError(
            f"{path} has {what} after the encoder, which bert_tf does not "
            "have: vectors of texts would be others. With --allow_unused it is "
            "left out."
        )
    return f"Left out {what} after the encoder: vectors of texts are others."


def _prompt_notes(path):
    """A line about a text that is put before all others; [] for none."""
    settings = read_json(path) if os.path.exists(path) else {}
    name, prompts = settings.get("default_prompt_name"), settings.get("prompts")
    prompt = prompts.get(name) if isinstance(prompts, dict) and name else None
    if not prompt:
        return []
    return [
        f"Not converted: its prompt {quote(str(prompt))}. To get the same "
        "vectors, write it before each text."
    ]
