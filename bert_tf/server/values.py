"""JSON values to NumPy arrays and back, by TensorFlow Serving's rules.

A signature's `Tensor`s give the types and shapes of its inputs. Messages name
the first value that does not fit, and its place in the request.
"""

import base64
import binascii
import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bert_tf.errors import count_of, quote
from bert_tf.exports.interface import Signature, Tensor, show_shape
from bert_tf.server.protocol import (
    Limits,
    PredictRequest,
    RequestError,
    kind_of,
)

# By the protocol, text outputs with such a name are written as base64.
BYTES_SUFFIX = "_bytes"
BASE64_KEY = "b64"

_NO_SPACES = dict.fromkeys(map(ord, " \t\n\v\f\r"))

# The most dimensions of an array in every version of NumPy.
DEEPEST = 32

Arrays = dict[str, NDArray]


def read_texts(request: PredictRequest, limits: Limits) -> list[str]:
    """The texts of a request to tokenize; raises as `read_inputs` does."""
    signature = Signature({"text": Tensor("string", (None,))}, {})
    texts = read_inputs(request, signature, limits)["text"]
    return [_decode(text, index) for index, text in enumerate(texts)]


def _decode(text: bytes, index: int) -> str:
    try:
        return text.decode("utf-8")
    except UnicodeDecodeError as error:
        raise RequestError(
            f"instances[{index}] must be a text in UTF-8: {error}"
        ) from error


def read_inputs(
    request: PredictRequest, signature: Signature, limits: Limits
) -> Arrays:
    """The inputs of a signature, by name.

    Args:
        request: from `parse_predict`.
        signature: the one that it names.
        limits: of the request.

    Raises:
        RequestError: an input is missing, unknown, or not of its type and
            shape (400); or a limit is exceeded (413).
    """
    read = _read_rows if request.is_row else _read_columns
    return read(request.values, signature.inputs, limits)


def _read_rows(
    instances: Any, inputs: Mapping[str, Tensor], limits: Limits
) -> Arrays:
    if not isinstance(instances, list) or not instances:
        what = "an empty list" if instances == [] else kind_of(instances)
        raise RequestError(
            '"instances" must be a list with at least one instance. Received: '
            f"{what}"
        )
    limit_rows(len(instances), "instances", limits)
    has_names = [_is_object(instance) for instance in instances]
    if not any(has_names) and len(_required(inputs)) == 1:
        # The only input needs no name: the instances are its values.
        (name,) = _required(inputs)
        columns = {name: instances}
        shown = {name: ""}
    elif all(has_names):
        for index, instance in enumerate(instances):
            _check_names(instance, inputs, f"instances[{index}]")
        given = {name for instance in instances for name in instance}
        columns = {
            name: [
                instance[name] if name in instance else _scalar(inputs[name])
                for instance in instances
            ]
            for name in inputs
            if name in given
        }
        shown = {name: f".{name}" for name in columns}
    else:
        raise _mixed_instances(instances, has_names, inputs)
    arrays = {}
    for name, values in columns.items():

        def place(index: Sequence[int], name: str = name) -> str:
            rest = "".join(f"[{i}]" for i in index[1:])
            return f"instances[{index[0]}]{shown[name]}{rest}"

        arrays[name] = to_array(values, inputs[name], place, limits)
    return _with_defaults(arrays, inputs)


def _mixed_instances(
    instances: list, has_names: list[bool], inputs: Mapping[str, Tensor]
) -> RequestError:
    """Names the first instance that is not of the expected kind."""
    needs_names = has_names[0] or len(_required(inputs)) != 1
    wanted = "a value, as the instances before it"
    if needs_names:
        wanted = f"an object with the inputs {', '.join(inputs)}"
    odd = has_names.index(not needs_names)
    return RequestError(
        f"instances[{odd}] must be {wanted}. Received: "
        f"{kind_of(instances[odd])}"
    )


def _read_columns(
    values: Any, inputs: Mapping[str, Tensor], limits: Limits
) -> Arrays:
    if _is_object(values):
        _check_names(values, inputs, "inputs")
        columns = values
        shown = {name: f"inputs.{name}" for name in columns}
    elif len(_required(inputs)) == 1:
        (name,) = _required(inputs)
        columns, shown = {name: values}, {name: "inputs"}
    else:
        raise RequestError(
            '"inputs" must be an object with the inputs '
            f"{', '.join(inputs)}. Received: {kind_of(values)}"
        )
    arrays = {}
    for name, value in columns.items():

        def place(index: Sequence[int], name: str = name) -> str:
            return shown[name] + "".join(f"[{i}]" for i in index)

        arrays[name] = to_array(value, inputs[name], place, limits)
        if arrays[name].ndim:
            limit_rows(len(arrays[name]), shown[name], limits)
    return _with_defaults(arrays, inputs)


def _required(inputs: Mapping[str, Tensor]) -> list[str]:
    names = [name for name, tensor in inputs.items() if tensor.default is None]
    return names or list(inputs)


def limit_rows(count: int, shown: str, limits: Limits) -> None:
    """Raises `RequestError`, 413, for more rows than a request may have."""
    if count > limits.instances:
        raise RequestError(
            f'"{shown}" must have at most {limits.instances} rows; send the '
            f"rest in requests of its own. Received: {count}",
            413,
        )


def _check_names(
    given: Mapping[str, Any], inputs: Mapping[str, Tensor], shown: str
) -> None:
    missing = [
        name
        for name, tensor in inputs.items()
        if name not in given and tensor.default is None
    ]
    unknown = [name for name in given if name not in inputs]
    if not missing and not unknown:
        return
    known = ", ".join(f"{name} ({inputs[name]})" for name in inputs)
    parts = ["without " + ", ".join(missing)] if missing else []
    parts += ["with " + ", ".join(map(quote, unknown))] if unknown else []
    raise RequestError(
        f"{shown} must have the inputs of the signature: {known}. Received: "
        f"an object {' and '.join(parts)}"
    )


def _scalar(tensor: Tensor) -> Any:
    """The default of an input, as the value of one instance."""
    assert tensor.default is not None
    return tensor.default.reshape(-1)[0]


def _with_defaults(arrays: Arrays, inputs: Mapping[str, Tensor]) -> Arrays:
    """Adds the inputs that were left out.

    A default of one value is repeated for each row of the other inputs.
    """
    rows = max(
        (len(array) for array in arrays.values() if array.ndim), default=1
    )
    for name, tensor in inputs.items():
        if name in arrays or tensor.default is None:
            continue
        default = tensor.default
        if default.size == 1 and tensor.shape == (None,):
            default = np.full(rows, default.reshape(-1)[0], default.dtype)
        arrays[name] = default
    return {name: arrays[name] for name in inputs}


def to_array(
    value: Any,
    tensor: Tensor,
    place: Callable[[Sequence[int]], str],
    limits: Limits,
) -> NDArray:
    """A value, or nested lists of values, as an array.

    Args:
        value: JSON.
        tensor: the type and shape that it must have.
        place: function of an index that names that place in the request.
        limits: for the length of texts.

    Raises:
        RequestError: it has another type or shape; names the first value that
            does not fit.
    """
    shape, leaves = _flatten(value, place)
    if tensor.shape is not None and not (
        len(shape) == len(tensor.shape)
        and all(b in (None, a) for a, b in zip(shape, tensor.shape))
    ):
        raise RequestError(
            f"{_whole(place, shape)} must have the shape "
            f"{show_shape(tensor.shape)}. Received: {show_shape(shape)}"
        )

    def fail(number: int, message: str, status: int = 400) -> RequestError:
        index = np.unravel_index(number, shape) if shape else ()
        where = place([int(i) for i in index])
        return RequestError(f"{where} {message}", status)

    if tensor.dtype == "string":
        flat = np.empty(len(leaves), object)
        flat[:] = [
            _to_bytes(leaf, number, fail, limits)
            for number, leaf in enumerate(leaves)
        ]
    else:
        flat = _to_numbers(leaves, tensor.dtype, fail)
    return flat.reshape(shape)


def _flatten(
    value: Any, place: Callable[[Sequence[int]], str]
) -> tuple[tuple[int, ...], list]:
    """The shape of nested lists, and their values in order."""
    shape: list[int] = []
    level = [value]
    while level and type(level[0]) is list:
        length = len(level[0])
        for number, item in enumerate(level):
            if type(item) is list and len(item) == length:
                continue
            index = np.unravel_index(number, shape) if shape else ()
            found = (
                f"a list of {len(item)}"
                if type(item) is list
                else f"{kind_of(item)}"
            )
            raise RequestError(
                f"{place([int(i) for i in index])} must be a list of {length}, "
                f"as the one before it. Received: {found}"
            )
        shape.append(length)
        if len(shape) > DEEPEST:
            raise RequestError(
                f"{_whole(place, shape)} must be at most {DEEPEST} lists deep."
            )
        level = list(itertools.chain.from_iterable(level))
    return tuple(shape), level


def _whole(place: Callable[[Sequence[int]], str], shape: Sequence[int]) -> str:
    """The place of a whole array, all of its rows together."""
    called = place([0] if shape else [])
    return re.sub(r"\[0\]", "", called, count=1)


def _to_bytes(
    leaf: Any,
    number: int,
    fail: Callable[..., RequestError],
    limits: Limits,
) -> bytes:
    if type(leaf) is bytes:  # A default; JSON has none.
        return leaf
    if type(leaf) is str:
        size, unit = len(leaf), "character"
        try:
            raw = leaf.encode("utf-8")
        except UnicodeEncodeError as error:
            raise fail(
                number,
                "must be a text that UTF-8 can hold. Character "
                f"{error.start} is half of a surrogate pair.",
            ) from error
    elif _is_base64(leaf):
        try:
            raw = _decode_base64(leaf[BASE64_KEY])
        except (binascii.Error, ValueError) as error:
            raise fail(
                number, f'must have base64 under "b64": {error}.'
            ) from error
        size, unit = len(raw), "byte"
    else:
        raise fail(
            number,
            'must be a text, or {"b64": "..."} for bytes. Received: '
            f"{kind_of(leaf)}",
        )
    if size > limits.text_chars:
        raise fail(
            number,
            f"must have at most {limits.text_chars} {unit}s. Received: "
            f"{count_of(size, unit)}",
            413,
        )
    return raw


def _decode_base64(text: str) -> bytes:
    """Decodes what `absl::Base64Unescape` of TensorFlow Serving decodes.

    Lines may be wrapped, as `base64` and `encodebytes` do, and the padding may
    be left out.
    """
    text = text.translate(_NO_SPACES)
    if "=" not in text:
        text += "=" * (-len(text) % 4)
    return base64.b64decode(text, validate=True)


def _to_numbers(
    leaves: list, dtype: str, fail: Callable[..., RequestError]
) -> NDArray:
    if dtype == "bool":
        allowed, wanted = {bool, np.bool_}, "true or false"
    elif dtype.startswith(("int", "uint")):
        allowed, wanted = {int}, f"a whole number ({dtype})"
    elif dtype in ("float16", "float32", "float64"):
        allowed, wanted = {int, float}, f"a number ({dtype})"
    else:
        raise fail(0, f"is of type {dtype}, which JSON cannot give.")
    kind = np.dtype(dtype)
    allowed.add(kind.type)  # A default.
    if not set(map(type, leaves)) <= allowed:
        number = next(
            n for n, leaf in enumerate(leaves) if type(leaf) not in allowed
        )
        raise fail(
            number, f"must be {wanted}. Received: {kind_of(leaves[number])}"
        )
    if not leaves or dtype == "bool":
        return np.array(leaves, kind)
    if kind.kind in "iu":
        low, high = int(np.iinfo(kind).min), int(np.iinfo(kind).max)
    else:
        # Larger whole numbers would be rounded.
        high = 2 ** (np.finfo(kind).nmant + 1) - 1
        low = -high
    if int in set(map(type, leaves)):
        for number, leaf in enumerate(leaves):
            if type(leaf) is int and not low <= leaf <= high:
                raise fail(
                    number,
                    f"must be between {low} and {high} to be {dtype}. "
                    f"Received: {kind_of(leaf)}",
                )
    if kind.kind == "f":
        wide = np.array(leaves, np.float64)
        beyond = np.isfinite(wide) & (abs(wide) > np.finfo(kind).max)
        if beyond.any():
            number = int(beyond.argmax())
            raise fail(
                number,
                f"must be a number that {dtype} can hold. Received: "
                f"{leaves[number]}",
            )
        return wide.astype(kind)
    return np.array(leaves, kind)


def _is_base64(value: Any) -> bool:
    return (
        type(value) is dict
        and len(value) == 1
        and type(value.get(BASE64_KEY)) is str
    )


def _is_object(value: Any) -> bool:
    return type(value) is dict and not _is_base64(value)
