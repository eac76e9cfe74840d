"""Finds the checkpoint that a path or a name means.

A path is a prefix, a file, or a folder; `named` has the names.

A training folder has several checkpoints, and a text file `checkpoint` that
names them.
"""

import functools
import logging
import os
import re

import tensorflow as tf

from bert_tf.checkpoints import folder_settings, named, storage
from bert_tf.checkpoints.folder_settings import TEXT
from bert_tf.checkpoints.names import BEST_FOLDER, DATA, INDEX, STATE_FILE
from bert_tf.errors import InputError

_FILE_SUFFIX = re.compile(r"\.(index|meta|data-\d{5}-of-\d{5})$")
_SAVED_NAME = re.compile(r"model\.ckpt-(\d+)$")

# How files that are not such checkpoints end, and what to do with them.
_FOREIGN = {
    ".safetensors": "a Hugging Face file: convert it first, "
    "`python -m bert_tf.convert_checkpoint from_hf`",
    ".bin": "a PyTorch file: save it as safetensors, then convert it with "
    "`python -m bert_tf.convert_checkpoint from_hf`",
    ".keras": "a Keras file: open it with `keras.saving.load_model`",
    ".h5": "a Keras file: one of keras-bert or bert4keras can be converted, "
    "`python -m bert_tf.convert_checkpoint from_other`",
    ".zip": "still packed: unzip it first",
}

_log = logging.getLogger(__name__)


def _reaching(function):
    """Lets a function of a path raise `InputError` where it is out of reach.

    A bucket may not be there or not allowed, or TensorFlow may not know its
    kind of file system.
    """

    @functools.wraps(function)
    def call(path, *arguments):
        try:
            return function(path, *arguments)
        except tf.errors.OpError as error:
            raise InputError(
                f"{os.fspath(path)} cannot be reached. TensorFlow says: "
                f"{storage.reason(error)}"
            ) from error

    return call


@_reaching
def find(path):
    """The prefix of the checkpoint that a path means.

    Args:
        path: a prefix (`uncased_L-2_H-128_A-2/bert_model.ckpt`), one of its
            files, or a folder: the newest checkpoint of a training folder, the
            only one of a released model's folder; or a name, see `named`.

    Returns:
        The prefix: what `load` and TensorFlow's own readers take.

    Raises:
        InputError: there is none, or a folder has several and does not say
            which.
    """
    path = _path_of(path)
    storage.check_path(path)
    prefix = _FILE_SUFFIX.sub("", path)
    for candidate in (path, prefix):
        if storage.exists(candidate):
            return candidate
    if tf.io.gfile.isdir(path):
        newest = latest_index(path)
        return newest.prefix if newest else _only_one_in(path)
    if _is_v1(path):
        return path
    raise InputError(_nothing_at(path, prefix))


@_reaching
def open_index(path, object_based=False):
    """The `Index` of the checkpoint that a path means: whatever `find` takes.

    That of a training folder is read once, not for `find` and again to use it.

    Args:
        path: whatever `find` takes.
        object_based: whether the checkpoint may be object-based.
    """
    path = _path_of(path)
    storage.check_path(path)
    is_folder = not storage.exists(path) and tf.io.gfile.isdir(path)
    newest = latest_index(path, object_based) if is_folder else None
    if newest:
        return newest
    prefix = _only_one_in(path) if is_folder else find(path)
    return storage.Index(prefix, object_based)


def latest(folder):
    """The newest whole checkpoint of a training folder.

    The folder's `checkpoint` file names its checkpoints. One that is not whole
    is skipped for the next older one, with a warning.

    Returns:
        Its prefix, or None if nothing was trained in the folder.

    Raises:
        InputError: checkpoints are named, but none of them is whole. Starting
            from scratch would silently throw away what was trained.
    """
    index = latest_index(folder)
    return index and index.prefix


@_reaching
def latest_index(folder, object_based=False):
    """The open `Index` of what `latest` returns, or None.

    Args:
        folder: a training folder.
        object_based: whether the checkpoint may be object-based; if not, those
            count as not whole.
    """
    folder = os.fspath(folder)
    storage.check_path(folder)
    prefixes = _named_in_state(folder)
    where = f"{os.path.join(folder, STATE_FILE)} names"
    if prefixes is None:
        prefixes = _saved_in(folder)
        where = f"{folder} has no `{STATE_FILE}` file, but"
        if prefixes:
            _log.warning("%s checkpoints: taking the newest.", where)
    if not prefixes:
        return None
    problems = []
    for prefix in prefixes:
        try:
            if not storage.exists(prefix) and not _is_v1(prefix):
                raise InputError(_nothing_at(prefix, prefix))
            index = storage.Index(prefix, object_based)
            index.check_data()
        except InputError as error:
            problems.append(error)
            continue
        if problems:
            _log.warning(
                "Going back to the older checkpoint %s. The newest is not "
                "whole: %s",
                prefix,
                problems[0],
            )
        return index
    if all(isinstance(problem, storage.ObjectBased) for problem in problems):
        raise problems[0]
    older = ", ".join(os.path.basename(prefix) for prefix in prefixes[1:])
    raise InputError(
        f"{where} {len(prefixes)} checkpoint(s), of which none is whole. "
        f"{problems[0]} "
        + (f"The older ones are not whole either: {older}. " if older else "")
        + f"Restore one, or move {folder} away to start anew."
    )


@_reaching
def has_checkpoints(folder):
    """Whether something was trained in a folder; reads no checkpoint."""
    folder = os.fspath(folder)
    storage.check_path(folder)
    return bool(_named_in_state(folder) or _saved_in(folder))


def folder_of(checkpoint):
    """The folder of a checkpoint: that of a prefix, or the folder given."""
    checkpoint = _path_of(checkpoint)
    # A prefix may also be the name of a folder.
    if os.path.isdir(checkpoint) and not storage.exists(checkpoint):
        return checkpoint
    return os.path.dirname(checkpoint)


def of_results(checkpoint):
    """The checkpoint that a run's results are of: its best one if it keeps it.

    Args:
        checkpoint: whatever `find` takes.

    Returns:
        The folder of the best checkpoint if a training folder has one,
        otherwise `checkpoint`.
    """
    checkpoint = _path_of(checkpoint)
    best = os.path.join(checkpoint, BEST_FOLDER)
    if not os.path.isdir(best) or not has_checkpoints(best):
        return checkpoint
    _log.info("Taking the best checkpoint, %s.", best)
    return best


def find_noted(checkpoint=None, output_dir=None, trains=False):
    """The settings that bind a run, or a use of a checkpoint.

    Args:
        checkpoint: whatever `checkpoints.find` takes, or None.
        output_dir: the folder of a run. If it has a checkpoint, the run goes on
            there, and all of its settings bind.
        trains: whether the run is a training, which may only start from the
            checkpoint: then nothing but its casing binds.

    Returns:
        A `Noted`.
    """
    if output_dir and has_checkpoints(output_dir):
        return folder_settings.noted_in(output_dir)
    if checkpoint is None:
        return folder_settings.NOTHING
    noted = folder_settings.noted_in(folder_of(checkpoint))
    if not trains:
        return noted
    return noted._replace(settings=noted.settings.only((TEXT,)))


def read_state(folder, file_name=STATE_FILE):
    """The checkpoints that the state file names, and the newest of them.

    Those that lie in the folder come as paths below it: old state files hold
    absolute paths, wrong once a folder has been moved or copied, also from
    Windows, or climb out of a relative folder, as in `../../run/model.ckpt-7`.

    Returns:
        The newest one's prefix, and the list of all, the oldest first; or None
        without a state file.

    Raises:
        InputError: the file names no checkpoint, or cannot be read.
    """
    path = os.path.join(folder, file_name)
    if not tf.io.gfile.exists(path):
        return None
    try:
        # None if it cannot be parsed.
        state = tf.train.get_checkpoint_state(folder, file_name)
    except (ValueError, tf.errors.OpError):  # Empty, or not UTF-8.
        state = None
    if state is None or not state.model_checkpoint_path:
        raise InputError(
            f"{path} must name checkpoints, as in "
            '`model_checkpoint_path: "model.ckpt-100"`, and cannot be read so. '
            "Repair it, or remove it to take the newest model.ckpt-N there."
        )
    names = [_in_folder(folder, n) for n in state.all_model_checkpoint_paths]
    newest = _in_folder(folder, state.model_checkpoint_path)
    return newest, list(dict.fromkeys(names))


def _path_of(checkpoint):
    return named.resolve(os.fspath(checkpoint))


def _in_folder(folder, written):
    # Windows writes backslashes.
    here = os.path.join(folder, re.split(r"[/\\]", written)[-1])
    return here if storage.exists(here) else written


def _named_in_state(folder):
    """Prefixes that the state file names, newest first; None without one."""
    state = read_state(folder)
    if state is None:
        return None
    newest, names = state
    # The newest may have been set back by hand: only older ones follow.
    if newest in names:
        names = names[: names.index(newest)]
    return [newest, *reversed(names)]


def _saved_in(folder):
    """Prefixes `model.ckpt-N` that lie in a folder, the largest N first."""
    if not tf.io.gfile.isdir(folder):
        return []
    steps = {
        int(match[1]): match[0]
        for match in map(_SAVED_NAME.match, _prefixes_in(folder))
        if match
    }
    return [os.path.join(folder, steps[step]) for step in sorted(steps)[::-1]]


def _prefixes_in(folder):
    """Names of the folder's checkpoints, without unfinished ones."""
    names = {
        name.removesuffix(INDEX).removesuffix(storage.REPLACEMENT)
        for name in tf.io.gfile.listdir(folder)
        if name.endswith(INDEX)
    }
    unfinished = storage.UNFINISHED
    return sorted(name for name in names if not name.endswith(unfinished))


def _only_one_in(folder):
    prefixes = _prefixes_in(folder)
    if len(prefixes) == 1:
        return os.path.join(folder, prefixes[0])
    if prefixes:
        raise InputError(
            f"{folder} holds several checkpoints and no `{STATE_FILE}` file "
            f"that says which is meant. Give one of: "
            + ", ".join(os.path.join(folder, prefix) for prefix in prefixes)
        )
    raise InputError(
        f"No checkpoint in the folder {folder}: it needs an .index and a .data "
        f"file. {_what_is_in(folder)}"
    )


def _is_v1(path):
    """Whether it is a checkpoint of before 2017: one file, a sorted table."""
    if not tf.io.gfile.exists(path) or tf.io.gfile.stat(path).length < 48:
        return False
    with tf.io.gfile.GFile(path, "rb") as file:
        file.seek(tf.io.gfile.stat(path).length - 8)
        return file.read(8) == bytes.fromhex("57fb808b247547db")


def _nothing_at(path, prefix):
    folder = os.path.dirname(path) or "."
    for ending, meaning in _FOREIGN.items():
        if path.endswith(ending) and tf.io.gfile.exists(path):
            return f"{path} is not a TensorFlow checkpoint but {meaning}."
    if tf.io.gfile.exists(path) and path == prefix:
        return f"{path} is not a TensorFlow checkpoint."
    needs = f"it needs {prefix}{INDEX} and {prefix}{DATA}"
    if not tf.io.gfile.isdir(folder):
        return f"No checkpoint at {path}: {needs}, and there is no {folder}."
    return f"No checkpoint at {path}: {needs}. {_what_is_in(folder)}"


def _what_is_in(folder, most=12):
    names = sorted(tf.io.gfile.listdir(folder))
    more = f" and {len(names) - most} more" if len(names) > most else ""
    shown = ", ".join(names[:most]) or "nothing"
    hint = ""
    if any(name.endswith(".safetensors") for name in names):
        hint = f" A .safetensors file is {_FOREIGN['.safetensors']}."
    elif "tf_model.h5" in names:
        hint = f" tf_model.h5 is {_FOREIGN['.safetensors']}."
    elif any(name in ("saved_model.pb", "model.weights.h5") for name in names):
        hint = (
            " A BERT of TF-Hub or keras-hub can be converted: `python -m "
            "bert_tf.convert_checkpoint from_other`."
        )
    elif any(name.endswith(".h5") for name in names):
        hint = f" An .h5 file is {_FOREIGN['.h5']}."
    return f"In {folder} there is: {shown}{more}.{hint}"
