"""What callers give to a signature: checked before anything is computed.

Shape letters: B rows of a request, S tokens of a row.
"""

import reprlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bert_tf.data.examples import read_integers
from bert_tf.data.packing import ENCODER_INPUTS
from bert_tf.errors import InputError
from bert_tf.exports.interface import Arrays, Signature, Tensor, show_shape
from bert_tf.support import ranges


def read(name: str, signature: Signature, given: Mapping[str, Any]) -> Arrays:
    """The inputs of a signature: arrays of integers, lists of UTF-8.

    Args:
        name: of the signature.
        signature: says what it takes.
        given: by name, anything.

    Raises:
        InputError: there are other inputs, or of another type or shape.
    """
    if set(given) != set(signature.inputs):
        wanted = ", ".join(signature.inputs)
        received = ", ".join(map(str, given)) or "nothing"
        raise InputError(f"{name} takes {wanted}. Received: {received}")
    return {
        key: (_texts if tensor.dtype == "string" else _integers)(
            key, tensor, given[key]
        )
        for key, tensor in signature.inputs.items()
    }


def _integers(name: str, tensor: Tensor, values: Any) -> np.ndarray:
    """Integers of any type, so that none is changed before it is checked."""
    try:
        array = np.asarray(values)
    except ValueError as error:  # Lists of different lengths.
        raise _not(name, tensor, values) from error
    shape = tensor.shape or ()
    if array.size == 0 and array.dtype == float:
        array = array.astype(np.int32)  # NumPy's type for an empty list.
    if array.dtype.kind not in "iu" or array.ndim != len(shape):
        raise _not(name, tensor, values)
    return array


def _texts(name: str, tensor: Tensor, values: Any) -> Any:
    """Texts as UTF-8, in lists of lists as deep as the tensor's shape."""
    if hasattr(values, "__array__"):
        values = np.asarray(values).tolist()
    found = _encoded(values, len(tensor.shape or ()))
    if found is None:
        raise _not(name, tensor, values)
    return found


def _encoded(values: Any, depth: int) -> Any:
    """None if it is something else."""
    if not depth:
        if isinstance(values, str):
            try:
                return values.encode("utf-8")
            except UnicodeEncodeError:  # Half of a surrogate pair.
                return None
        return values if isinstance(values, bytes) else None
    if isinstance(values, np.ndarray):
        values = values.tolist()
    if not isinstance(values, list | tuple):
        return None
    found = [_encoded(one, depth - 1) for one in values]
    return None if any(one is None for one in found) else found


def _not(name: str, tensor: Tensor, values: Any) -> InputError:
    kind = "texts" if tensor.dtype == "string" else "integers"
    shown = reprlib.repr(values)
    if isinstance(values, np.ndarray):
        shown = f"{values.dtype} {list(values.shape)}"
    return InputError(
        f"{name} must be {kind} of the shape {show_shape(tensor.shape or ())}. "
        f"Received: {shown}"
    )


# -------------------------------------------------------------- rows of numbers


def check_rows(rows: Arrays, config: Mapping[str, Any]) -> None:
    """Checks the model's inputs, integers [..., S] by name.

    Raises:
        InputError: an id that is not in the vocabulary, a mask that is neither
            0 nor 1, a segment that the model does not have, arrays of different
            shapes, rows without tokens, or more tokens than positions.
    """
    ids, longest = rows["input_ids"], config["max_position_embeddings"]
    for name in ENCODER_INPUTS:
        if rows[name].shape != ids.shape:
            raise InputError(
                f"{name} must have the shape of input_ids. Their shapes: "
                f"{list(rows[name].shape)}, {list(ids.shape)}"
            )
    ranges.require_encoder_inputs(config, **rows)
    if not ids.shape[-1]:
        raise InputError(
            "input_ids must have at least one token in each row. Tokens in a "
            "row: 0"
        )
    if ids.shape[-1] > longest:
        raise InputError(
            f"The model has {longest} positions. Tokens in a row: "
            f"{ids.shape[-1]}"
        )


def read_examples(
    examples: Sequence[bytes], names: Sequence[str]
) -> dict[str, list[list[int]]]:
    """Lists of features of serialized `tf.train.Example`s, for each example.

    Raises:
        InputError: an example is damaged, has no input_ids, or a mask or
            segments of another length; or a number is larger than int32.
    """
    found: dict[str, list[list[int]]] = {name: [] for name in names}
    limit = 1 << 31
    for number, example in enumerate(examples):
        features = read_integers(example, names)
        counts = [len(features[name]) for name in ENCODER_INPUTS]
        if not counts[0]:
            raise InputError(
                "Each example must have the feature input_ids, a list of "
                f"int64. Example {number} has none."
            )
        for name, count in zip(ENCODER_INPUTS, counts):
            if count != counts[0]:
                raise InputError(
                    f"In each example {name} must be as long as input_ids. "
                    f"In example {number} the lengths are {count} and "
                    f"{counts[0]}."
                )
        for name in names:
            for value in features[name]:
                if not -limit <= value < limit:
                    raise InputError(
                        f"{name} must be from {-limit} to {limit - 1}. "
                        f"Received: {value} in example {number}"
                    )
            found[name].append(features[name])
    return found
