"""Loads a SavedModel, which may have arrived damaged."""

import os
import re

import tensorflow as tf

from bert_tf.checkpoints import storage
from bert_tf.checkpoints.names import DATA, INDEX
from bert_tf.errors import InputError
from bert_tf.exports import folder
from bert_tf.exports.folder import MODEL_FILE
from bert_tf.support import files

WEIGHTS = os.path.join("variables", "variables")


def load(path):
    """What `tf.saved_model.load` returns, without ending the process.

    Args:
        path: the folder of the SavedModel, MODEL/1.

    Raises:
        InputError: it is damaged, or needs an operation that is not there.
    """
    files.require_utf8(path)
    weights = os.path.join(path, WEIGHTS)
    if (
        not os.path.exists(weights + INDEX)
        and os.path.isdir(os.path.dirname(weights))
        and os.listdir(os.path.dirname(weights))
    ):
        raise InputError(
            f"{path} cannot be loaded: {weights}{INDEX} is missing."
        )
    folder.check_checksums(path)
    # One without variables has no such files.
    if os.path.exists(weights + INDEX):
        storage.check_data(weights, storage.check_index(weights))
    try:
        return tf.saved_model.load(path)
    # A graph that is not whole may raise anything in TensorFlow's Python.
    except Exception as error:
        missing = re.search(r"Op type not registered '(\w+)'", str(error))
        if not missing:
            raise _damaged(path, error) from error
    try:
        import tensorflow_text  # noqa: F401  Registers its ops.
    except ImportError as error:
        raise InputError(
            f"{path} cannot be loaded: it needs the operation {missing[1]}, "
            "which TensorFlow alone does not have; that of tensorflow-text "
            "may: pip install tensorflow-text"
        ) from error
    try:
        return tf.saved_model.load(path)
    except Exception as error:
        raise _damaged(path, error) from error


def _damaged(path, error):
    lines = str(error).strip().splitlines() or [""]
    reason = f"{type(error).__name__}: {lines[0][:300]}"
    file = os.path.join(path, MODEL_FILE)
    if isinstance(error, IndexError | tf.errors.OpError):
        file += f", or {os.path.join(path, WEIGHTS)}{DATA},"
    return InputError(
        f"{path} cannot be loaded: {file} is damaged or missing; copy or "
        f"export it again. TensorFlow says: {reason}"
    )
