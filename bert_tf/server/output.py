"""Writes answers as JSON."""

import base64
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bert_tf.exports.interface import show_shape
from bert_tf.server.protocol import Limits, RequestError, limit_values
from bert_tf.server.values import BASE64_KEY, BYTES_SUFFIX, Arrays


def write_outputs(outputs: Arrays, is_row: bool, limits: Limits) -> bytes:
    """The body of a response to a request to predict.

    Rows of a single output are its values; rows of several are objects.

    Args:
        outputs: arrays by name.
        is_row: whether the request had instances.
        limits: for the number of values.

    Raises:
        RequestError: outputs have no rows, or different numbers of them (400);
            there are too many values (413).
    """
    limit_values(sum(array.size for array in outputs.values()), limits)
    names = sorted(outputs)
    columns = {name: rows_as_json(name, outputs[name]) for name in names}
    if not is_row:
        written = [
            rows[0] if outputs[name].ndim == 0 else f"[{', '.join(rows)}]"
            for name, rows in columns.items()
        ]
        body = written[0] if len(names) == 1 else _object(names, written)
        return f'{{"outputs": {body}}}'.encode()
    lengths = {
        name: len(outputs[name]) if outputs[name].ndim else None
        for name in names
    }
    if None in lengths.values() or len(set(lengths.values())) > 1:
        found = ", ".join(
            f"{name} {show_shape(outputs[name].shape)}" for name in names
        )
        raise RequestError(
            "The outputs of this signature are not rows of the same number, "
            'so ask for columns, with "inputs" in place of "instances". '
            f"They are: {found}"
        )
    rows = (
        columns[names[0]]
        if len(names) == 1
        else [_object(names, row) for row in zip(*columns.values())]
    )
    return f'{{"predictions": [{", ".join(rows)}]}}'.encode()


def _object(names: Sequence[str], written: Sequence[str]) -> str:
    pairs = (
        f"{json.dumps(name)}: {text}" for name, text in zip(names, written)
    )
    return "{" + ", ".join(pairs) + "}"


def rows_as_json(name: str, array: NDArray) -> list[str]:
    """Each row of an output as JSON."""
    rows = array if array.ndim else array[np.newaxis]
    as_bytes = name.endswith(BYTES_SUFFIX)
    # Row by row, so that other threads get the interpreter in between.
    return [
        # A slice, since an element of an array of texts would be `bytes`.
        json.dumps(
            _to_json(rows[index : index + 1].reshape(rows.shape[1:]), as_bytes),
            ensure_ascii=False,
        )
        for index in range(len(rows))
    ]


def _to_json(array: NDArray, as_bytes: bool) -> Any:
    """Numbers, texts, or nested lists of them.

    Floats of 32 bits and less get the shortest digits that identify them, not
    the digits of their values in 64 bits.
    """
    flat = array.reshape(-1)
    if array.dtype == object:
        values = [_text_to_json(text, as_bytes) for text in flat]
    elif array.dtype.kind in "biu" or array.dtype == np.float64:
        return array.tolist()
    else:  # float32, float16, bfloat16
        values = list(map(float, map(str, flat)))
    if array.ndim == 0:
        return values[0]
    nested = np.empty(len(values), object)
    nested[:] = values
    return nested.reshape(array.shape).tolist()


def _text_to_json(text: bytes, as_bytes: bool) -> Any:
    if not as_bytes:
        try:
            return text.decode("utf-8")
        except UnicodeDecodeError:
            pass  # JSON could not hold it.
    return {BASE64_KEY: base64.b64encode(text).decode("ascii")}
