"""The files of one checkpoint on disk, or in a bucket.

`model.ckpt-7` is `model.ckpt-7.index` (names, shapes, checksums) and
`model.ckpt-7.data-00000-of-00001` (the numbers). Paths may be anything that
TensorFlow can open, `gs://` too.

While a checkpoint is overwritten, the new one exists for a moment as
`model.ckpt-7.replacement.*`, and counts as soon as its index is there.
"""

import os
import re

import numpy as np
import tensorflow as tf

from bert_tf.checkpoints import bundle, table
from bert_tf.checkpoints.names import DATA, INDEX
from bert_tf.errors import InputError
from bert_tf.support import files

UNFINISHED = ".unfinished"
REPLACEMENT = ".replacement"
_DATA_SUFFIX = re.compile(r"\.data-(\d{5})-of-(\d{5})$")

# TensorFlow's reader raises what pybind makes of its error codes.
READ_ERRORS = (tf.errors.OpError, IndexError, ValueError, RuntimeError)


OBJECT_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
"""In an object-based checkpoint: which objects its keys belong to."""


class ObjectBased(InputError):
    """A checkpoint is object-based, as TensorFlow 2 writes them."""


class Index:
    """The open index of one checkpoint.

    Args:
        prefix: the checkpoint's path without `.index`.
        object_based: whether it may be object-based.

    Attributes:
        prefix: the same.
        stored: the prefix of the files that count.
        reader: TensorFlow's reader of these files.
        shapes: name -> tuple of ints, in the order of the names.
        dtypes: name -> name of the dtype, "float32".

    Raises:
        InputError: an unreadable index.
        ObjectBased: it must not be.
    """

    def __init__(self, prefix, object_based=False):
        self.prefix = prefix
        self.stored = current(prefix)
        self._bundle = check_index(self.stored)
        self._has_data = False
        try:
            self.reader = tf.compat.v1.train.NewCheckpointReader(self.stored)
            shapes = self.reader.get_variable_to_shape_map()
            dtypes = self.reader.get_variable_to_dtype_map()
        except (*READ_ERRORS, TypeError) as error:
            raise _damaged(
                self.stored, f"TensorFlow says: {reason(error)}"
            ) from error
        self.shapes = {name: tuple(shapes[name]) for name in sorted(shapes)}
        self.dtypes = {name: dtypes[name].name for name in self.shapes}
        if OBJECT_GRAPH in self.shapes and not object_based:
            raise ObjectBased(
                f"{self.prefix} is an object-based checkpoint, as TensorFlow 2 "
                "writes them (tf.train.Checkpoint, save_weights). A "
                "name-based one is required, with names such as "
                "`bert/embeddings/word_embeddings`, as the released ones are. "
                "One of tf-models can be converted: `python -m "
                "bert_tf.convert_checkpoint from_other`. It has, for example: "
                f"{some(self.shapes)}"
            )

    def nbytes(self, names):
        """Size of these tensors in bytes, strings not counted."""
        total = 0
        for name in names:
            itemsize = tf.as_dtype(self.dtypes[name]).size or 0
            total += itemsize * int(np.prod(self.shapes[name], dtype=np.int64))
        return total

    def check_data(self):
        """Checks, once, that the .data files are there and long enough.

        None of them is read: damage inside is found when a tensor is read. A
        V1 file has no others, and all of its tensors are checked.

        Raises:
            InputError: one is missing or too short, or a V1 file is damaged.
        """
        if self._has_data:
            return
        check_data(self.stored, self._bundle)
        self._has_data = True


def check_index(prefix):
    """Checks what an index says, before TensorFlow reads it.

    Args:
        prefix: of the files that count.

    Returns:
        A `bundle.Bundle`; None for a V1 file, index and data in one.

    Raises:
        InputError: an unreadable index.
    """
    path = prefix + INDEX
    is_v1 = not tf.io.gfile.exists(path)
    path = prefix if is_v1 else path
    try:
        with tf.io.gfile.GFile(path, "rb") as file:
            if is_v1:
                length = tf.io.gfile.stat(path).length
                return bundle.check_v1(file, length)
            return bundle.check_index(file.read())
    except table.DamagedTable as error:
        raise _damaged(prefix, f"In it, {error}.") from error
    except tf.errors.OpError as error:
        raise InputError(f"Cannot read {path}: {reason(error)}") from error


def check_data(prefix, needs):
    """Checks that the .data files exist and are as long as they must be.

    Of a V1 file, which has no others, all tensors are checked.

    Args:
        prefix: of the files that count.
        needs: what `check_index` returned.

    Raises:
        InputError: one is missing or too short.
    """
    if needs is None:
        return _check_v1_data(prefix)
    there = data_files(prefix)
    if not there:
        raise InputError(
            f"{prefix}{DATA} is missing: {prefix}{INDEX} only lists the names, "
            "the weights are in the .data file. Copy it beside the index."
        )
    wanted = {
        shard: f"{prefix}.data-{shard:05}-of-{needs.num_shards:05}"
        for shard in range(needs.num_shards)
    }
    if not set(wanted.values()) <= set(there):
        raise InputError(
            f"{prefix} has {needs.num_shards} .data files, of which only these "
            f"are there: {', '.join(map(os.path.basename, there))}"
        )
    for shard, needed in sorted(needs.needed.items()):
        path = wanted[shard]
        found = tf.io.gfile.stat(path).length
        if found < needed:
            raise InputError(
                f"{path} is cut short: {prefix}{INDEX} needs {needed:,} bytes. "
                f"Received: {found:,} bytes. Copy or download it again."
                f"{_pointer_hint(path, found)}"
            )


def _check_v1_data(path):
    try:
        with tf.io.gfile.GFile(path, "rb") as file:
            bundle.check_v1_data(file, tf.io.gfile.stat(path).length)
    except table.DamagedTable as error:
        raise _damaged(path, f"In it, {error}.") from error
    except tf.errors.OpError as error:
        raise InputError(f"Cannot read {path}: {reason(error)}") from error


def _damaged(prefix, why):
    path = prefix + INDEX
    path = path if tf.io.gfile.exists(path) else prefix
    return InputError(
        f"{path} is damaged or not a checkpoint's index; copy it again. {why}"
    )


def _pointer_hint(path, length):
    if length > 1000:
        return ""
    with tf.io.gfile.GFile(path, "rb") as file:
        is_pointer = file.read(30).startswith(b"version https://git-lfs")
    return " It is a Git LFS pointer: run `git lfs pull`." if is_pointer else ""


def current(prefix):
    """The prefix of the files that count: those of a finished replacement."""
    if tf.io.gfile.exists(prefix + REPLACEMENT + INDEX):
        return prefix + REPLACEMENT
    return prefix


def exists(prefix):
    """Whether there is an index of this checkpoint."""
    return tf.io.gfile.exists(current(prefix) + INDEX)


def data_files(prefix):
    """Paths of the .data files, in order."""
    folder, name = os.path.split(prefix)
    pattern = re.compile(re.escape(name) + _DATA_SUFFIX.pattern)
    names = sorted(tf.io.gfile.listdir(folder or "."))
    return [os.path.join(folder, file) for file in names if pattern.match(file)]


def files_of(prefix):
    """Paths of the files of a checkpoint that is there."""
    stored = current(prefix)
    return [prefix, stored + INDEX, *data_files(stored)]


def check_path(path):
    """Raises `InputError` for a path that TensorFlow's reader cannot take."""
    files.require_utf8(path)
    # It takes a path for a pattern, and these find no file.
    if "[" in path or "\\" in path:
        raise InputError(
            "TensorFlow cannot read checkpoints from a path with `[` or a "
            f"backslash in it. Rename the folder. Received: {path}"
        )


def reason(error):
    """First line of a message, without TensorFlow's nodes and its own files."""
    line = str(error).strip().split("\n")[0]
    inner = r"\{\{.*?\}\} | \[Op:.*|\S*\.unfinished\S*; "
    return re.sub(inner, "", line).rstrip(". ")


def some(names, most=4):
    """The first few names, and how many more there are."""
    names = list(names)
    more = f" ({len(names) - most} more)" if len(names) > most else ""
    return ", ".join(names[:most]) + more
