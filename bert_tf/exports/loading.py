"""Loads a SavedModel, which may have arrived damaged, and calls it."""

import os
import re
from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from bert_tf.checkpoints import storage
from bert_tf.checkpoints.names import DATA, INDEX
from bert_tf.errors import InputError, printable
from bert_tf.exports import folder, inputs
from bert_tf.exports.folder import MODEL_FILE
from bert_tf.support import files

WEIGHTS = os.path.join("variables", "variables")

# Errors of the client: inputs that the graph refuses.
REFUSALS = (
    tf.errors.InvalidArgumentError,
    tf.errors.OutOfRangeError,
    tf.errors.FailedPreconditionError,
    tf.errors.UnimplementedError,
    tf.errors.NotFoundError,
    tf.errors.DataLossError,
    # The message has bytes of the inputs that are no UTF-8.
    UnicodeDecodeError,
)


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


class Checked:
    """A signature whose refusals are `InputError`s.

    Everything else is that of TensorFlow's function.

    Args:
        model: a loaded SavedModel, which its functions do not keep alive.
        function: one of its signatures.
        config: from `inputs.read_config`.
    """

    def __init__(
        self, model: Any, function: Any, config: Mapping[str, Any] | None
    ):
        self._model = model
        self._function = function
        self._config = config

    def __call__(self, *args: Any, **given: Any) -> Any:
        inputs.check(self._config, given)
        try:
            return self._function(*args, **given)
        except REFUSALS as error:
            raise InputError(
                f"The model cannot compute this: {reason_of(error)}"
            ) from error

    def __getattr__(self, name: str) -> Any:
        return getattr(self._function, name)


def reason_of(error: Exception) -> str:
    """TensorFlow's message, without places in the graph."""
    message: str
    if isinstance(error, UnicodeDecodeError):
        message = error.object.decode("utf-8", "replace")
    else:
        message = getattr(error, "message", None) or str(error)
    lines = [line.strip() for line in message.splitlines()]
    lines = [
        re.sub(r"\s*\[(Op|\[\{?node|\[).*$", "", line)
        for line in lines
        if line
        and not line.startswith(
            ("Graph execution error", "Detected at node", "File ", "[[", "<")
        )
    ]
    text = " ".join(dict.fromkeys(filter(None, lines)))
    return printable(text[:500]) or type(error).__name__
