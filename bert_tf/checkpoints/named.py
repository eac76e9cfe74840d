"""Models that are called by a name: the built-in one, and released ones."""

import glob
import logging
import os
from pathlib import Path

from bert_tf.checkpoints.released import (
    COMMAND,
    INDEX_FILE,
    find_model,
    registry_folder,
)
from bert_tf.errors import InputError

BUILTIN = "builtin"

DOWNLOADS = "checkpoints"
"""The folder, in the current one, to which released models are downloaded."""

# What Hugging Face puts before the original's names.
_OWNERS = ("google-bert/", "google/bert_")

# Of the files of a checkpoint, after its prefix.
_ENDS = (".index", ".data-*", ".meta")

_log = logging.getLogger(__name__)


def resolve(name: str) -> str:
    """The path that a name stands for; a path stays as it is.

    Args:
        name: a path, which wins over a name; `builtin`; or a released model's
            name as the original or Hugging Face spells it.

    Raises:
        InputError: a released model that is not on this machine.
    """
    is_path = os.path.exists(name) or any(
        glob.glob(glob.escape(name) + end) for end in _ENDS
    )
    folder = _folder_of(name)
    if folder is None:
        return name
    if is_path:
        place = name if os.path.isdir(name) else os.path.dirname(name) or "."
        if folder and not os.path.samefile(place, folder):
            _log.info("Using the path %s, not the model of that name.", name)
        return name
    if folder:
        return str(folder)
    model = find_model(_plain(name))
    raise InputError(
        f"{name} is a released model that is not here. `{COMMAND} download "
        f"{model.name}` fetches it ({model.data_bytes // 1_000_000} MB) to "
        f"{DOWNLOADS}/{model.name}."
    )


def here(name: str) -> Path | None:
    """The folder of a model that is on this machine, or None.

    Args:
        name: `builtin` or the name of a released model.
    """
    beside = registry_folder()
    places = (beside,) if name == BUILTIN else (Path(DOWNLOADS), beside)
    for place in places:
        if (place / name / INDEX_FILE).exists():
            return place / name
    return None


def _folder_of(name: str) -> Path | str | None:
    """None if it is no model's name, "" if that is not on this machine."""
    if name == BUILTIN:
        return here(BUILTIN)
    try:
        model = find_model(_plain(name))
    except InputError:
        return None
    return here(model.name) or ""


def _plain(name: str) -> str:
    for owner in _OWNERS:
        name = name.removeprefix(owner)
    return name
