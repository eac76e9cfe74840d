"""Training folders, exported for those that take exported models.

FOLDER/export_cache/N                            the newest is of the checkpoint
FOLDER/export_cache/N/assets.extra/source.json   what it was made of
"""

import importlib
import json
import logging
import os
import shutil
import tempfile
from typing import Any

import bert_tf
from bert_tf.checkpoints import folder_settings, names
from bert_tf.errors import InputError
from bert_tf.exports import folder
from bert_tf.exports.predictor import import_tensorflow
from bert_tf.exports.settings import Source
from bert_tf.support import files
from bert_tf.tasks.squad.threshold import AUTO, THRESHOLD_FILE

CACHE = "export_cache"

EXPORTS = {
    "classifier": "classification.served:export_classifier",
    "span": "squad.served:export_span",
    "pretraining": "pretraining.served:export_pretraining",
    "tokens": "ner.served:export_tokens",
    "choices": "choices.served:export_choices",
    "features": "vectors.served:export_features",
}
"""The function that exports each head, below `bert_tf.tasks`."""

# What an export is made of, besides the weights.
_BESIDE = (
    names.CONFIG,
    names.VOCAB,
    names.LABELS_FILE,
    names.SETTINGS_FILE,
    names.THRESHOLDS_FILE,
    THRESHOLD_FILE,
)
_SOURCE_FILE = os.path.join(folder.EXTRA, "source.json")

# Of folders that cannot be written to; removed when the process ends.
_temporary: dict[str, tempfile.TemporaryDirectory] = {}

_log = logging.getLogger(__name__)


def export_of(path: str | os.PathLike[str], inspect: bool = False) -> str:
    """The folder of the exported model that a path means.

    A training folder is exported to `CACHE` in it, or to a temporary folder if
    it cannot be written to; again when its checkpoint or what lies beside that
    has changed.

    Args:
        path: a folder that training writes, or one of an exported model.
        inspect: whether the export of a training folder needs the signature
            `inspect`.

    Returns:
        The folder of the export, whose newest version is of the checkpoint; any
        other path as it is.

    Raises:
        InputError: it is a checkpoint of which it is not noted what it was
            trained for, or it cannot be exported.
    """
    path = os.fspath(path)
    if not os.path.exists(path):
        # Most are paths, and this takes a while to import.
        from bert_tf.checkpoints import named

        path = named.resolve(path)
    if not os.path.isdir(path) or folder.versions(path):
        return path
    head = folder_settings.read(path).said().get("head")
    if head not in EXPORTS:
        _refuse_checkpoints(path)
        return path
    # Without Keras, which only an export needs.
    import_tensorflow()
    from bert_tf.checkpoints import finding

    prefix = finding.find(finding.of_results(path))
    source = _describe(prefix)
    # One that can be looked into does everything else too.
    possible = [{**source, "inspect": True}, source][: 1 if inspect else 2]
    cache = os.path.join(path, CACHE)
    temporary = _temporary.get(os.path.realpath(path))
    for place in (cache, temporary.name if temporary else cache):
        if _is_of(place, possible):
            return place
    place = _writable(path, cache)
    _log.info("Exporting %s to %s, to use it.", prefix, place)
    _export(head, prefix, place, possible[-1])
    return place


def _refuse_checkpoints(path: str) -> None:
    found = [
        name
        for name in sorted(os.listdir(path))
        if name == names.STATE_FILE or name.endswith(names.INDEX)
    ]
    if found:
        raise InputError(
            f"{path} must be an exported model, or a folder that training "
            f"wrote: {names.SETTINGS_FILE} in it then notes what the model was "
            f"trained for. It has a checkpoint ({found[0]}) without such a "
            "note: export it with `python -m bert_tf.export_saved_model "
            f"--head=... --checkpoint={path}`, and give that folder"
        )


def _describe(prefix: str) -> dict[str, Any]:
    """What tells one state of a checkpoint and its files from another."""
    where, start = os.path.split(prefix)
    parts = [
        name
        for name in sorted(os.listdir(where))
        if name.startswith(f"{start}.") or name in _BESIDE
    ]
    found = {}
    for name in parts:
        about = os.stat(os.path.join(where, name))
        found[name] = [about.st_size, about.st_mtime_ns]
    return {"bert_tf_version": bert_tf.__version__, "files": found}


def _is_of(place: str, possible: list[dict[str, Any]]) -> bool:
    """Whether the newest version in a folder was made of one of these."""
    numbers = folder.versions(place) if os.path.isdir(place) else []
    if not numbers:
        return False
    path = os.path.join(place, str(numbers[-1]), _SOURCE_FILE)
    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file) in possible
    except (OSError, ValueError):
        return False


def _writable(path: str, cache: str) -> str:
    """The cache, or a temporary folder if there can be none."""
    try:
        os.makedirs(cache, exist_ok=True)
        if os.access(cache, os.W_OK | os.X_OK):
            return cache
    except OSError:
        pass
    key = os.path.realpath(path)
    if key not in _temporary:
        _temporary[key] = tempfile.TemporaryDirectory(prefix="bert_tf_export_")
    return _temporary[key].name


def remove_temporary() -> None:
    """Removes the exports of folders that cannot be written to."""
    while _temporary:
        _temporary.popitem()[1].cleanup()


def _export(head: str, prefix: str, place: str, source: dict[str, Any]) -> None:
    module, _, name = EXPORTS[head].partition(":")
    export = getattr(importlib.import_module(f"bert_tf.tasks.{module}"), name)
    where = os.path.dirname(prefix)
    noted = folder_settings.read(where).said()
    asked = Source(
        prefix,
        max_seq_length=noted.get("max_seq_length"),
        inspect=source.get("inspect", False),
    )
    arguments = _arguments(head, where, noted)
    # It gets its number once what it was made of is noted.
    with files.unfinished_folder(os.path.join(place, "new")) as new:
        version = export(asked, new, **arguments)
        text = json.dumps(source, indent=1)
        files.write_text(os.path.join(version, _SOURCE_FILE), text)
        made = folder.give_number(version, place)
    for number in folder.versions(place):
        if number < int(os.path.basename(made)):
            old = os.path.join(place, str(number))
            shutil.rmtree(old, ignore_errors=True)


def _arguments(head: str, where: str, noted: dict[str, Any]) -> dict[str, Any]:
    """Arguments of the function that exports: the settings of training."""
    if head == "classifier":
        return {
            "doc_stride": noted.get("doc_stride"),
            "window_pooling": noted.get("window_pooling", "mean"),
        }
    if head == "features":
        return {
            "pooling": noted.get("pooling", "mean"),
            "normalize": noted.get("normalize", False),
        }
    if head != "span":
        return {}
    found: dict[str, Any] = {
        "doc_stride": noted.get("doc_stride"),
        "max_query_length": noted.get("max_query_length", 64),
    }
    if os.path.isfile(os.path.join(where, THRESHOLD_FILE)):
        found["version_2_with_negative"] = True
        found["null_score_diff_threshold"] = AUTO
    return found
