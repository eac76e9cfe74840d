"""Inputs that a SavedModel refuses: before it computes them, and while it does.

Ids are checked here although the graph checks them: those of older versions of
bert_tf do not.
"""

import json
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError

from bert_tf.checkpoints.names import CONFIG
from bert_tf.errors import InputError, printable
from bert_tf.support import ranges

EXAMPLES = "examples"
IDS, POSITIONS = "input_ids", "masked_lm_positions"
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

_SIZES = ("vocab_size", "type_vocab_size")


def read_config(version: str) -> dict[str, Any] | None:
    """The config among a version's assets.

    None for SavedModels that have none, or not that of a BERT: nothing is known
    of their inputs.
    """
    try:
        path = os.path.join(version, "assets", CONFIG)
        with open(path, encoding="utf-8") as file:
            config = json.load(file)
        known = all(type(config[key]) is int for key in _SIZES)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return config if known else None


class Checked:
    """A signature whose refusals are `InputError`s.

    Everything else is that of TensorFlow's function.

    Args:
        function: of a loaded SavedModel.
        config: from `read_config`.
    """

    def __init__(self, function: Any, config: Mapping[str, Any] | None):
        self._function = function
        self._config = config

    def __call__(self, *args: Any, **inputs: Any) -> Any:
        check(self._config, inputs)
        try:
            return self._function(*args, **inputs)
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


def check(config: Mapping[str, Any] | None, inputs: Mapping[str, Any]) -> None:
    """Refuses ids, masks, segments and positions that a model does not have.

    Args:
        config: from `read_config`.
        inputs: of a signature, by name; texts are not looked at. `examples` are
            serialized `tf.train.Example`s.

    Raises:
        InputError: names the first value that is out of range, and its place.
    """
    if config is None:
        return
    if EXAMPLES in inputs:
        for number, example in enumerate(np.ravel(inputs[EXAMPLES])):
            try:
                _check_rows(config, _features(example))
            except InputError as error:
                raise InputError(f"examples[{number}]: {error}") from error
    else:
        _check_rows(config, inputs)


def _check_rows(config: Mapping[str, Any], rows: Mapping[str, Any]) -> None:
    if IDS not in rows:
        return
    known = {name: values for name, values in rows.items() if name != POSITIONS}
    ranges.require_encoder_inputs(config, **known)
    length = np.shape(rows[IDS])[-1]
    if POSITIONS in rows and length:
        ranges.require_within(length - 1, **{POSITIONS: rows[POSITIONS]})


def _features(example: bytes) -> dict[str, Sequence[int]]:
    try:
        features = tf.train.Example.FromString(example).features.feature
    except DecodeError:
        return {}  # The graph refuses it.
    return {name: one.int64_list.value for name, one in features.items()}
