"""Integers that enter a model, compared with what it has: ids, segments, masks.

A lookup table turns an id that it lacks into an error, zeros or another row, as
device and operation have it.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from bert_tf.errors import InputError


def require_within(last: int, **inputs: Any) -> None:
    """Refuses values below 0 or above `last`.

    Args:
        last: the largest value.
        **inputs: arrays or tensors by name; None is skipped, as is a tensor of
            a graph, which has no values yet.

    Raises:
        InputError: names the first such value, and its place.
    """
    for name, values in inputs.items():
        array = _array_of(values)
        if array is None or array.size == 0:
            continue
        if array.min() >= 0 and array.max() <= last:
            continue
        is_bad = ~((array >= 0) & (array <= last))
        place = tuple(int(n) for n in np.argwhere(is_bad)[0])
        raise InputError(
            f"{name} must be from 0 to {last}. Received: {array[place]} at "
            f"{list(place)}"
        )


def require_in_call(last: int, **inputs: Any) -> None:
    """`require_within`, for models that are called outside of a graph.

    Raises:
        InputError: says how the value is computed all the same, as the original
            computes masks other than 0 and 1.
    """
    try:
        require_within(last, **inputs)
    except InputError as error:
        raise InputError(
            f"{error}. Within a tf.function nothing is checked"
        ) from None


def require_encoder_inputs(config: Mapping[str, Any], **inputs: Any) -> None:
    """Refuses ids, masks and segments that a model does not have.

    Args:
        config: values of its `bert_config.json`.
        **inputs: arrays or tensors by name, as for `require_within`.

    Raises:
        InputError: names the first bad value.
    """
    segments = config["type_vocab_size"] - 1
    lasts = {
        "input_ids": config["vocab_size"] - 1,
        "input_mask": 1,
        "segment_ids": segments,
        "token_type_ids": segments,
    }
    for name, values in inputs.items():
        if name in lasts:
            require_within(lasts[name], **{name: values})


def _array_of(values: Any) -> np.ndarray | None:
    if values is None:
        return None
    try:
        return np.asarray(values)
    # What TensorFlow, JAX, torch and Keras raise for tensors without values, or
    # on a device from which nothing is copied in passing.
    except (NotImplementedError, TypeError, ValueError, RuntimeError):
        return None
