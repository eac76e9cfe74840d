"""Folders of SavedModels: their versions, and what is written down in them.

Comes in: a path. Goes out: the version to use, and its settings. What is in a
SavedModel is for `serving.py`, which writes it, and for `predictor.py` and the
server, which use it. TensorFlow stays outside.

    MODEL/1, MODEL/2, ...      versions; the highest number is the newest
    MODEL/2/saved_model.pb
    MODEL/2/assets/bert_tf.json
"""

import errno
import json
import os
from typing import Any

from bert_tf.errors import InputError, list_folder

FORMAT = 1
"""Of assets/bert_tf.json. A higher one has what this version cannot know."""

SETTINGS_FILE = "bert_tf.json"
MODEL_FILE = "saved_model.pb"


def versions(folder: str) -> list[int]:
    """The numbers of the versions in a folder, in order.

    Other names are passed over, as by tensorflow_model_server: those of
    versions that are still being written among them.
    """
    return sorted(
        int(name)
        for name in os.listdir(folder)
        if name.isascii() and name.isdigit() and str(int(name)) == name
    )


def find(path: str | os.PathLike[str]) -> str:
    """The version that a path means: MODEL/N, or the newest one of MODEL.

    Raises:
        InputError: there is none.
    """
    path = os.fspath(path)
    if os.path.isfile(os.path.join(path, MODEL_FILE)):
        return path
    if not os.path.isdir(path):
        raise InputError(
            "A SavedModel must be a folder, as bert_tf.export_saved_model "
            f"writes it. There is no folder {path}"
        )
    numbers = versions(path)
    newest = os.path.join(path, str(numbers[-1])) if numbers else path
    if not os.path.isfile(os.path.join(newest, MODEL_FILE)):
        raise InputError(
            f"{newest} must have a {MODEL_FILE}, or folders 1, 2, ... that "
            f"have one. It has: {list_folder(newest)}"
        )
    return newest


def read_settings(version: str) -> dict[str, Any]:
    """What assets/bert_tf.json of a version says.

    Raises:
        InputError: there is no such file, or one that this bert_tf cannot know.
    """
    path = os.path.join(version, "assets", SETTINGS_FILE)
    try:
        with open(path, encoding="utf-8") as file:
            settings = json.load(file)
        head, number = settings["head"], settings["format"]
    except OSError as error:
        raise InputError(
            f"The SavedModel {version} must have been written by bert_tf. "
            f"{path}: {error.strerror}"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path} must be what bert_tf.export_saved_model writes. It is "
            f"not: {error!r}"
        ) from error
    if number != FORMAT:
        raise InputError(
            f"{path} must be of format {FORMAT}. It is of format {number}, for "
            f"the head {head}: another version of bert_tf wrote it, "
            f"{settings.get('bert_tf_version')}"
        )
    return settings


def give_number(unfinished: str, folder: str) -> str:
    """Renames a folder in `folder` to its next version; returns the path.

    Of several that do this at once, each gets a number of its own.
    """
    while True:
        number = max(versions(folder), default=0) + 1
        path = os.path.join(folder, str(number))
        try:
            os.rename(unfinished, path)
        except OSError as error:
            # Somebody else has just taken that number.
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                raise
        else:
            return path
