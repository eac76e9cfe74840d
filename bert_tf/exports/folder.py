"""The folder of an exported model: its versions and their settings.

MODEL/1, MODEL/2, ...      versions; the highest number is the newest
MODEL/2/saved_model.pb     or another one of `MODEL_FILES`
MODEL/2/assets/bert_tf.json
MODEL/2/assets.extra/bert_tf_checksums.json
"""

import errno
import hashlib
import json
import os
from collections.abc import Mapping
from typing import Any

from bert_tf.checkpoints.names import SETTINGS_FILE
from bert_tf.errors import InputError, list_folder
from bert_tf.exports.settings import MODEL_FILES, SAVED_MODEL
from bert_tf.support import files

FORMAT = 1
"""Version of the format of assets/bert_tf.json."""

SHARING = ("classifier", "tokens")
"""Heads of which a model may have several."""

MODEL_FILE = MODEL_FILES[SAVED_MODEL]
EXTRA = "assets.extra"
CHECKSUMS_FILE = os.path.join(EXTRA, "bert_tf_checksums.json")


def versions(folder: str) -> list[int]:
    """The numbers of the versions in a folder, in order.

    Other names are ignored, as by tensorflow_model_server; among them are those
    of versions that are still being written.
    """
    return sorted(
        int(name)
        for name in os.listdir(folder)
        if name.isascii() and name.isdigit() and str(int(name)) == name
    )


def format_of(version: str | os.PathLike[str]) -> str | None:
    """The format of a version, one of `FORMATS`; None if it has no model."""
    for name, file in MODEL_FILES.items():
        if os.path.isfile(os.path.join(version, file)):
            return name
    return None


def find(path: str | os.PathLike[str]) -> str:
    """The version that a path means: MODEL/N, or the newest one of MODEL.

    Raises:
        InputError: there is none.
    """
    path = os.fspath(path)
    if format_of(path):
        return path
    if not os.path.isdir(path):
        raise InputError(
            "An exported model must be a folder, as bert_tf.export_saved_model "
            f"writes it. There is no folder {path}"
        )
    numbers = versions(path)
    newest = os.path.join(path, str(numbers[-1])) if numbers else path
    if not format_of(newest):
        raise InputError(
            f"{newest} must have a {' or '.join(MODEL_FILES.values())}, or "
            "folders 1, 2, ... that have one. It has: "
            f"{list_folder(newest)}"
        )
    return newest


def read_settings(version: str) -> dict[str, Any]:
    """The content of a version's assets/bert_tf.json.

    Raises:
        InputError: there is no such file, or it is of an unknown format.
    """
    path = os.path.join(version, "assets", SETTINGS_FILE)
    try:
        with open(path, encoding="utf-8") as file:
            settings = json.load(file)
        head, number = settings["head"], settings["format"]
        if not isinstance(head, str):
            raise TypeError(f"its head is {head!r}")
        if number == FORMAT:
            _check(settings)
    except OSError as error:
        raise InputError(
            f"The model {version} must have been written by bert_tf. "
            f"{path}: {error.strerror}"
        ) from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
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


def heads_of(settings: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The settings of each head of a model that has several, by name.

    As those of an export of that head alone; empty for models with one head.
    """
    common = {key: x for key, x in settings.items() if key != "heads"}
    heads = settings.get("heads") or {}
    return {name: {**common, **own} for name, own in heads.items()}


def nbytes(version: str) -> int:
    """The bytes of all files of a version but its assets."""
    return sum(
        os.path.getsize(os.path.join(place, name))
        for place, _, names in os.walk(version)
        for name in names
        if os.path.basename(place) not in ("assets", EXTRA)
    )


def write_checksums(version: str) -> None:
    """Writes the checksums of all files of a version but its weights.

    TensorFlow has none of its graph and assets. Those of the weights are in
    variables.index.
    """
    found = {}
    for place, _, names in os.walk(version):
        for name in names:
            path = os.path.join(place, name)
            if ".data-" not in name:
                found[os.path.relpath(path, version)] = _checksum(path)
    path = os.path.join(version, CHECKSUMS_FILE)
    with open(path, "w", encoding="utf-8") as file:
        json.dump(found, file, indent=1, sort_keys=True)


def check_checksums(version: str) -> None:
    """Raises `InputError` if a file is not the one that was exported.

    Exports of older versions of bert_tf, and other SavedModels, have no
    checksums.
    """
    path = os.path.join(version, CHECKSUMS_FILE)
    try:
        with open(path, encoding="utf-8") as file:
            wanted = dict(json.load(file))
        for name in wanted:
            if os.path.isabs(name) or ".." in name.split("/"):
                raise ValueError(f"it names {name!r}")
    except FileNotFoundError:
        return
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise InputError(
            f"{path} cannot be read: {error}. Copy or export {version} again."
        ) from error
    for name, checksum in wanted.items():
        path = os.path.join(version, name)
        if not os.path.isfile(path):
            if os.path.dirname(name) == EXTRA:
                continue  # What a model can do without.
            found = "is missing"
        elif _checksum(path) != checksum:
            found = "is not the file that was exported: it is damaged"
        else:
            continue
        raise InputError(
            f"{version} cannot be loaded: {path} {found}. Copy or export it "
            "again. If it was changed on purpose, delete "
            f"{os.path.join(version, CHECKSUMS_FILE)}."
        )


def _checksum(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check(settings: dict[str, Any]) -> None:
    """Raises an error for a value that no export has."""
    labels = settings["labels"]
    if labels is not None and not (
        isinstance(labels, list)
        and all(isinstance(label, str) for label in labels)
    ):
        raise TypeError(f"its labels are {labels!r}")
    for key in (
        "max_seq_length",
        "doc_stride",
        "max_query_length",
        "rows_at_once",
    ):
        value = settings.get(key)
        if value is not None and (type(value) is not int or value < 1):
            raise ValueError(f"its {key} is {value!r}")
    lowers = settings.get("do_lower_case", True)
    if not isinstance(lowers, bool):
        raise TypeError(f"its do_lower_case is {lowers!r}")
    strips = settings.get("strip_accents")
    if strips is not None and not isinstance(strips, bool):
        raise TypeError(f"its strip_accents is {strips!r}")
    for head in heads_of(settings).values():
        if head["head"] not in SHARING:
            raise ValueError(f"one of its heads is {head['head']!r}")
        _check({**head, "heads": {}})
    label_type = settings.get("label_type")
    if label_type not in (None, "class", "number", "multi"):
        raise ValueError(f"its label_type is {label_type!r}")
    if label_type == "multi":
        _check_thresholds(settings.get("thresholds"), labels or [])


def _check_thresholds(thresholds: Any, labels: list[str]) -> None:
    if not isinstance(thresholds, list) or not all(
        type(one) in (int, float) and 0 <= one <= 1 for one in thresholds
    ):
        raise ValueError(
            f"its thresholds are {thresholds!r}, not a list of numbers from 0 "
            "to 1"
        )
    if len(thresholds) != len(labels):
        raise ValueError(
            f"its thresholds are {thresholds!r}, for {len(labels)} labels"
        )


def check_output(output_dir: str, flag: str = "output_dir") -> None:
    """Makes the folder to export to.

    Args:
        output_dir: the folder MODEL.
        flag: the flag that names it, for messages.

    Raises:
        InputError: it is not on this machine, or cannot be made.
    """
    if not files.is_local(output_dir):
        raise InputError(
            f"`--{flag}` must be a folder on this machine. Received: "
            f"--{flag}={output_dir}"
        )
    files.require_utf8(output_dir)
    files.make_folder(flag, output_dir)


def give_number(unfinished: str, folder: str) -> str:
    """Renames a folder in `folder` to its next version; returns the path.

    Several processes may do this at once: each gets a number of its own.
    """
    while True:
        number = max(versions(folder), default=0) + 1
        path = os.path.join(folder, str(number))
        try:
            os.rename(unfinished, path)
        except OSError as error:
            # Another process may just have taken that number.
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                raise
        else:
            return path
