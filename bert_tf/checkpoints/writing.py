"""Writes checkpoints, so that a killed process leaves the old one or the new.

Both files are first written in full under other names, `*.unfinished.*`, and
flushed to the disk. Renamed to `*.replacement.*`, the index last, they are the
checkpoint from that moment on: readers prefer a replacement. Then they take
the place of the old files, and the replacement is removed, its index first.
"""

import contextlib
import os
import re

import numpy as np
import tensorflow as tf

from bert_tf.checkpoints import finding, storage
from bert_tf.checkpoints.names import (
    DATA,
    GLOBAL_STEP,
    INDEX,
    LORA_A,
    LORA_BASE,
    STATE_FILE,
)
from bert_tf.checkpoints.storage import REPLACEMENT, UNFINISHED
from bert_tf.errors import InputError
from bert_tf.support.files import is_local


def write(prefix, values):
    """Writes one checkpoint, whole or not at all.

    If the process is killed, either the old or the new checkpoint remains.

    Args:
        prefix: its path without `.index`; the folder is created.
        values: mapping of names to variables, tensors or arrays. Stored are
            float32 and int64, as in the original: other floats and integers
            are converted.

    Raises:
        InputError: it cannot be written, for example because the disk is full,
            or has LoRA's adapters beside kernels that do not contain them.
            Existing files are left untouched.
    """
    prefix = os.fspath(prefix)
    storage.check_path(prefix)
    names = sorted(values)
    _require_merged(prefix, names)
    with _reporting(prefix):
        tf.io.gfile.makedirs(os.path.dirname(prefix) or ".")
        _settle(prefix)
        try:
            with tf.device("CPU:0"):
                tf.raw_ops.SaveV2(
                    prefix=prefix + UNFINISHED,
                    tensor_names=names,
                    shape_and_slices=[""] * len(names),
                    tensors=[_storable(name, values[name]) for name in names],
                )
            _flush(prefix + UNFINISHED + DATA)
            _flush(prefix + UNFINISHED + INDEX)
        except Exception:
            _remove_files(prefix + UNFINISHED)
            raise
        # The index last: from then on the replacement counts.
        for end in (DATA, INDEX):
            _rename(prefix + UNFINISHED + end, prefix + REPLACEMENT + end)
        _settle(prefix)


def save(folder, step, values, keep=5):
    """Adds `model.ckpt-STEP` to a training folder, and deletes the oldest.

    First the checkpoint is written, then the `checkpoint` file that names it,
    then older ones are deleted. Left-overs of killed writes are removed.
    Nothing outside of the folder is changed, whatever the file names.

    Args:
        folder: created if it does not exist.
        step: int, stored in the checkpoint as `global_step`.
        values: mapping of names to variables, tensors or arrays.
        keep: how many to keep of those that the `checkpoint` file names; None
            for all. Others in the folder are left alone.

    Returns:
        The new checkpoint's prefix.

    Raises:
        InputError: it cannot be written. Existing files are left untouched.
    """
    folder = os.fspath(folder)
    prefix = os.path.join(folder, f"model.ckpt-{step}")
    with _reporting(prefix):
        tf.io.gfile.makedirs(folder)
        _settle_all(folder)
    _, older = finding.read_state(folder) or (None, [])
    paths = [*(path for path in older if path != prefix), prefix]
    with _reporting(os.path.join(folder, STATE_FILE)):
        _prepare_state(folder, paths)
    try:
        write(prefix, {**values, GLOBAL_STEP: np.int64(step)})
    except Exception:
        _remove_if_there(os.path.join(folder, STATE_FILE + UNFINISHED))
        raise
    with _reporting(os.path.join(folder, STATE_FILE)):
        _put_state(folder)
        _keep_newest(folder, paths, keep)
    return prefix


def tidy(folder, keep=5):
    """Finishes what a killed `save` has begun in a training folder.

    Args:
        folder: need not exist.
        keep: as in `save`.

    Raises:
        InputError: a file cannot be written, or the state file be read.
    """
    folder = os.fspath(folder)
    with _reporting(os.path.join(folder, STATE_FILE)):
        _settle_all(folder)
        _, named = finding.read_state(folder) or (None, [])
        # With more than one too many, the folder was made with another `keep`.
        if keep and len(named) == keep + 1:
            _keep_newest(folder, named, keep)


def _keep_newest(folder, paths, keep):
    """Deletes checkpoints but the newest, and names those in the state file.

    They are deleted while the state file names them: after a kill meanwhile it
    is still known which are to go.
    """
    kept = paths[-keep:] if keep else paths
    for path in paths[: len(paths) - len(kept)]:
        if _is_in(folder, path):
            _delete(path)
    if len(kept) < len(paths):
        _prepare_state(folder, kept)
        _put_state(folder)


def _is_in(folder, path):
    return path == os.path.join(folder, os.path.basename(path))


def _require_merged(prefix, names):
    """Raises `InputError` for adapters that a reader would not apply."""
    known = set(names)
    for name in names:
        scope, _, last = name.rpartition("/")
        is_merged = f"{scope}/{LORA_BASE}" in known
        if last == LORA_A and f"{scope}/kernel" in known and not is_merged:
            raise InputError(
                f"{prefix} must have kernels with LoRA's adapters in them: "
                "call models.merge_lora(model) before its weights are written. "
                f"Received: {scope}/kernel and {name}"
            )


@contextlib.contextmanager
def _reporting(path):
    """Turns an error of writing into an `InputError` that names the path."""
    try:
        yield
    except (tf.errors.OpError, OSError) as error:
        raise InputError(
            f"{path} could not be written: {storage.reason(error)}. The "
            "checkpoints that were there before are untouched."
        ) from error


def _storable(name, value):
    tensor = tf.convert_to_tensor(value)
    if tensor.dtype.is_floating:
        return tf.cast(tensor, tf.float32)
    if tensor.dtype.is_integer:
        return tf.cast(tensor, tf.int64)
    raise ValueError(
        f"`{name}` must be of floats or integers. Received: "
        f"dtype={tensor.dtype.name}"
    )


def _settle(prefix):
    """Puts a replacement in place, and clears what a killed write left."""
    # First of all: an unfinished file may be a hard link to the replacement.
    _remove_files(prefix + UNFINISHED)
    if tf.io.gfile.exists(prefix + REPLACEMENT + INDEX):
        for end in (DATA, INDEX):
            _link(prefix + REPLACEMENT + end, prefix + UNFINISHED + end)
            _rename(prefix + UNFINISHED + end, prefix + end)
        for file in storage.data_files(prefix):
            if not file.endswith(DATA):  # What was replaced had several.
                tf.io.gfile.remove(file)
        tf.io.gfile.remove(prefix + REPLACEMENT + INDEX)
    _remove_files(prefix + REPLACEMENT)
    # Renaming is a no-op between two hard links to the same file.
    _remove_files(prefix + UNFINISHED)


def _settle_all(folder):
    """Finishes or clears whatever killed writes left in a folder."""
    if not tf.io.gfile.isdir(folder):
        return
    marked = re.compile(rf"(.+)({UNFINISHED}|{REPLACEMENT})\.(index|data-)")
    matches = map(marked.match, tf.io.gfile.listdir(folder))
    for name in {match[1] for match in matches if match}:
        _settle(os.path.join(folder, name))
    if _is_prepared(folder):
        _put_state(folder)
    _remove_if_there(os.path.join(folder, STATE_FILE + UNFINISHED))


def _prepare_state(folder, paths):
    """Writes the next state file, under another name.

    That is done before the checkpoint is there, so that after a kill the
    checkpoint is not left without a name.
    """
    start = os.path.join(folder, "")
    names = [path.removeprefix(start) for path in paths]
    # TensorFlow would take names for paths below the working directory, unless
    # the folder is absolute: `a/run` would give `../../model.ckpt-7`.
    state = tf.compat.v1.train.generate_checkpoint_state_proto(
        "/", names[-1], names
    )
    path = os.path.join(folder, STATE_FILE + UNFINISHED)
    _remove_if_there(path)  # Perhaps a link to another file.
    with tf.io.gfile.GFile(path, "w") as file:
        file.write(str(state))
    _flush(path)


def _is_prepared(folder):
    """Whether the next state file is whole, and its checkpoint is there."""
    path = os.path.join(folder, STATE_FILE + UNFINISHED)
    if is_local(path) and os.path.islink(path):
        return False
    try:
        state = finding.read_state(folder, os.path.basename(path))
    except InputError:
        return False
    newest, named = state or (None, [])
    return bool(named) and named[-1] == newest and storage.exists(newest)


def _put_state(folder):
    path = os.path.join(folder, STATE_FILE)
    _rename(path + UNFINISHED, path)


def _delete(prefix):
    # The index first: without it the rest is no checkpoint.
    _remove_if_there(prefix + INDEX)
    for file in [*storage.data_files(prefix), prefix + ".meta"]:
        _remove_if_there(file)


def _remove_if_there(path):
    # TensorFlow says of a link to nothing that it does not exist.
    if tf.io.gfile.exists(path) or (is_local(path) and os.path.islink(path)):
        tf.io.gfile.remove(path)


def _remove_files(prefix):
    """Removes `PREFIX.*`; the prefix must be one that this module created."""
    folder, name = os.path.split(prefix)
    if not tf.io.gfile.isdir(folder or "."):
        return
    for file in tf.io.gfile.listdir(folder or "."):
        if file.startswith(name + "."):
            tf.io.gfile.remove(os.path.join(folder, file))


def _flush(path):
    if is_local(path):
        with open(path, "rb") as file:
            os.fsync(file.fileno())


def _rename(source, target):
    tf.io.gfile.rename(source, target, overwrite=True)
    if is_local(target):
        folder = os.open(os.path.dirname(target) or ".", os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _link(source, target):
    """A second name for a file, or a copy where there is no such thing."""
    if is_local(source):
        try:
            os.link(source, target)
            return
        except OSError:
            pass
    tf.io.gfile.copy(source, target, overwrite=True)
    _flush(target)
