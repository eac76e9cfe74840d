"""TensorFlow Serving's REST protocol: JSON to arrays, and arrays to JSON.

Comes in: the method and path of a request, its body, and what a signature takes
and gives. Goes out: arrays by name, the body of the answer, or a `RequestError`
with an HTTP status. Plain Python and NumPy; neither sockets nor TensorFlow
belong here, so that every rule can be tested with strings.

The rules are those of TensorFlow Serving's `api_rest.md`. Where this server is
stricter or says more, `docs/server.md` lists it.
"""

import base64
import binascii
import itertools
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bert_tf.errors import InputError, count_of, quote

DEFAULT_SIGNATURE = "serving_default"

# Outputs of text whose name ends so hold bytes, and are written as such.
BYTES_SUFFIX = "_bytes"
BASE64_KEY = "b64"

# Lists in lists: what NumPy's arrays have held since they exist.
DEEPEST = 32

Arrays = dict[str, NDArray]

_PATH = re.compile(
    r"/v1/models(?:/(?P<name>[^/:]+)"
    r"(?:/versions/(?P<version>\d+)|/labels/(?P<label>[^/:]+))?"
    r"(?::(?P<verb>\w+)|(?P<metadata>/metadata))?)?/?",
    re.IGNORECASE,
)


class RequestError(InputError):
    """A request that is not done: why, and the HTTP status that says so.

    Attributes:
        status: of the answer, 400 to 599.
        headers: of the answer.
    """

    def __init__(
        self, message: str, status: int = 400, **headers: str | int
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers = {
            name.replace("_", "-"): str(value)
            for name, value in headers.items()
        }


class Tensor(NamedTuple):
    """What a signature says of one input or output.

    Attributes:
        dtype: NumPy's name, or "string"; TensorFlow's name for what has none.
        shape: None in place of a length that is not fixed; None for all of it
            where not even the rank is.
        default: what an input is if the request does not have it.
    """

    dtype: str
    shape: tuple[int | None, ...] | None
    default: NDArray | None = None

    def __str__(self) -> str:
        shape = "[...]" if self.shape is None else _show_shape(self.shape)
        return f"{self.dtype} {shape}"


class Signature(NamedTuple):
    """A function of a SavedModel: what goes in and what comes out, by name."""

    inputs: Mapping[str, Tensor]
    outputs: Mapping[str, Tensor]


class Limits(NamedTuple):
    """How much one request may ask for."""

    body_bytes: int = 2 * 1024 * 1024
    instances: int = 128
    text_chars: int = 20_000
    answer_values: int = 4_000_000


class Target(NamedTuple):
    """What the path of a request names.

    Attributes:
        verb: "predict", "tokenize", "status" or "metadata".
        name: the model's.
        version: None for the one that is served.
    """

    verb: str
    name: str
    version: int | None


class PredictRequest(NamedTuple):
    """The body of a request to predict.

    Attributes:
        signature_name: the function that it asks for.
        is_row: whether `values` are instances; else they are columns.
        values: JSON, not yet looked at.
    """

    signature_name: str
    is_row: bool
    values: Any


# ------------------------------------------------------------------- the path


def parse_path(method: str, path: str) -> Target:
    """What a request to /v1/... asks for; letter case of the words is free.

    Raises:
        RequestError: 404 for a path of another form, 405 for another method,
            400 for what TensorFlow Serving has and this server has not.
    """
    match = _PATH.fullmatch(path)
    if not match:
        raise RequestError(
            "The path must be /v1/models/NAME or /v1/models/NAME/versions/N, "
            "and after it nothing, /metadata, :predict or :tokenize. Received: "
            f"{quote(path)}",
            404,
        )
    name, version, label, verb, metadata = match.group(
        "name", "version", "label", "verb", "metadata"
    )
    if not name:
        raise RequestError(
            "The path must name the model: /v1/models/NAME.", 404
        )
    if label:
        raise RequestError(
            "Versions have no labels on this server: ask for /versions/N, or "
            "leave it out for the one that is served. Received: "
            f"label {quote(label)}"
        )
    if verb is None:
        verb = "metadata" if metadata else "status"
        _require_method(method, "GET", path)
    else:
        verb = verb.lower()
        if verb in ("classify", "regress"):
            raise RequestError(
                f":{verb} is not offered: it is for models of signatures that "
                "SavedModels of TensorFlow 2 do not have. Use :predict with "
                "the signature serve_examples for tf.train.Examples."
            )
        if verb not in ("predict", "tokenize"):
            raise RequestError(
                f":{verb} is unknown; there are :predict and :tokenize.", 404
            )
        _require_method(method, "POST", path)
    return Target(verb, name, int(version) if version else None)


def _require_method(method: str, wanted: str, path: str) -> None:
    if method != wanted:
        raise RequestError(
            f"{quote(path)} must be asked for with {wanted}. Received: "
            f"{method}",
            405,
            Allow=wanted,
        )


# ------------------------------------------------------------------- the body


def parse_json(body: bytes) -> dict[str, Any]:
    """The JSON object that a body is; NaN and Infinity may stand in it.

    Raises:
        RequestError: it is not UTF-8, not JSON, or not an object.
    """
    try:
        value = json.loads(body.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise RequestError(
            f"The body must be JSON in UTF-8. Byte {error.start} is not UTF-8."
        ) from error
    except RecursionError as error:
        raise RequestError(
            "The body must be JSON of lists in lists, not thousands deep."
        ) from error
    except ValueError as error:
        what = "The body is empty" if not body.strip() else str(error)
        raise RequestError(
            f"The body must be a JSON object. {what}."
        ) from error
    if not isinstance(value, dict):
        raise RequestError(
            f"The body must be a JSON object {{...}}. Received: {_kind(value)}"
        )
    return value


def parse_predict(body: bytes) -> PredictRequest:
    """The signature that a body asks for, and what is to go into it.

    Raises:
        RequestError: not of the form that the protocol asks for.
    """
    request = parse_json(body)
    name = request.get("signature_name", DEFAULT_SIGNATURE)
    if not isinstance(name, str):
        raise RequestError(
            f'"signature_name" must be a text. Received: {_kind(name)}'
        )
    given = [key for key in ("instances", "inputs") if key in request]
    if len(given) != 1:
        raise RequestError(
            'The body must have either "instances", for rows, or "inputs", for '
            f"columns. Received: {'both' if given else _keys(request)}"
        )
    if unknown := sorted(set(request) - {"signature_name", *given}):
        raise RequestError(
            "The body may have no keys but signature_name, and instances or "
            f"inputs. Received: {', '.join(map(quote, unknown))}"
        )
    return PredictRequest(
        name or DEFAULT_SIGNATURE, given[0] == "instances", request[given[0]]
    )


def read_texts(body: bytes, limits: Limits) -> list[str]:
    """The texts that a body asks to split into word pieces.

    Raises:
        RequestError: they are not a list of texts under "instances".
    """
    request = parse_json(body)
    signature = Signature({"text": Tensor("string", (None,))}, {})
    if set(request) != {"instances"}:
        raise RequestError(
            'The body must have "instances", a list of texts, and nothing '
            f"else. Received: {_keys(request)}"
        )
    whole = PredictRequest("tokenize", True, request["instances"])
    texts = read_inputs(whole, signature, limits)["text"]
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
    """The arrays that a request gives to a signature.

    Args:
        request: as `parse_predict` gives it.
        signature: the one that it names.
        limits: what it may ask for.

    Raises:
        RequestError: an input is missing, unknown, or not of its type and
            shape (400); or there is too much of something (413).
    """
    read = _read_rows if request.is_row else _read_columns
    return read(request.values, signature.inputs, limits)


def _read_rows(
    instances: Any, inputs: Mapping[str, Tensor], limits: Limits
) -> Arrays:
    if not isinstance(instances, list) or not instances:
        what = "an empty list" if instances == [] else _kind(instances)
        raise RequestError(
            '"instances" must be a list with at least one instance. Received: '
            f"{what}"
        )
    _limit_instances(len(instances), "instances", limits)
    has_names = [_is_object(instance) for instance in instances]
    if not any(has_names) and len(_required(inputs)) == 1:
        # One input without its name: the instances are its values.
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
        wanted = has_names[0] or len(_required(inputs)) != 1
        odd = has_names.index(not wanted)
        names = ", ".join(inputs)
        raise RequestError(
            f"instances[{odd}] must be "
            + (
                f"an object with the inputs {names}"
                if wanted
                else "a value, as the instances before it"
            )
            + f". Received: {_kind(instances[odd])}"
        )
    arrays = {}
    for name, values in columns.items():

        def place(index: Sequence[int], name: str = name) -> str:
            rest = "".join(f"[{i}]" for i in index[1:])
            return f"instances[{index[0]}]{shown[name]}{rest}"

        arrays[name] = to_array(values, inputs[name], place, limits)
    return _with_defaults(arrays, inputs)


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
            f"{', '.join(inputs)}. Received: {_kind(values)}"
        )
    arrays = {}
    for name, value in columns.items():

        def place(index: Sequence[int], name: str = name) -> str:
            return shown[name] + "".join(f"[{i}]" for i in index)

        arrays[name] = to_array(value, inputs[name], place, limits)
        if arrays[name].ndim:
            _limit_instances(len(arrays[name]), shown[name], limits)
    return _with_defaults(arrays, inputs)


def _required(inputs: Mapping[str, Tensor]) -> list[str]:
    names = [name for name, tensor in inputs.items() if tensor.default is None]
    return names or list(inputs)


def _limit_instances(count: int, shown: str, limits: Limits) -> None:
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
    """The default of an input for one instance, as JSON would have it."""
    assert tensor.default is not None
    return tensor.default.reshape(-1)[0]


def _with_defaults(arrays: Arrays, inputs: Mapping[str, Tensor]) -> Arrays:
    """Adds the inputs that were left out.

    A default of one value stands for one row, and is repeated as often as
    the other inputs have rows.
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


# ------------------------------------------------------------- JSON to arrays


def to_array(
    value: Any,
    tensor: Tensor,
    place: Callable[[Sequence[int]], str],
    limits: Limits,
) -> NDArray:
    """A value, or lists in lists of values, as an array.

    Args:
        value: JSON.
        tensor: the type and shape that it must have.
        place: function of an index that says where that value stands.
        limits: how long a text may be.

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
            f"{_show_shape(tensor.shape)}. Received: {_show_shape(shape)}"
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
    """The shape of lists in lists, and what is in them, in order."""
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
                else f"{_kind(item)}"
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
    """How an array is called, all of its rows together."""
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
            raw = base64.b64decode(leaf[BASE64_KEY], validate=True)
        except (binascii.Error, ValueError) as error:
            raise fail(
                number, f'must have base64 under "b64": {error}.'
            ) from error
        size, unit = len(raw), "byte"
    else:
        raise fail(
            number,
            'must be a text, or {"b64": "..."} for bytes. Received: '
            f"{_kind(leaf)}",
        )
    if size > limits.text_chars:
        raise fail(
            number,
            f"must have at most {limits.text_chars} {unit}s. Received: "
            f"{count_of(size, unit)}",
            413,
        )
    return raw


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
            number, f"must be {wanted}. Received: {_kind(leaves[number])}"
        )
    if not leaves or dtype == "bool":
        return np.array(leaves, kind)
    if kind.kind in "iu":
        low, high = int(np.iinfo(kind).min), int(np.iinfo(kind).max)
    else:
        # Whole numbers beyond these would be rounded.
        high = 2 ** (np.finfo(kind).nmant + 1) - 1
        low = -high
    if int in set(map(type, leaves)):
        for number, leaf in enumerate(leaves):
            if type(leaf) is int and not low <= leaf <= high:
                raise fail(
                    number,
                    f"must be between {low} and {high} to be {dtype}. "
                    f"Received: {_kind(leaf)}",
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


# ------------------------------------------------------------- arrays to JSON


def write_outputs(outputs: Arrays, is_row: bool, limits: Limits) -> bytes:
    """The body of an answer.

    Rows of one output are its values; those of several are objects. Each row
    is written for itself, so that other threads come to work in between.

    Args:
        outputs: arrays by name.
        is_row: whether the request was one of instances.
        limits: how many values an answer may have.

    Raises:
        RequestError: an output has no rows, or not as many as another (400);
            there are too many values (413).
    """
    values = sum(array.size for array in outputs.values())
    if values > limits.answer_values:
        raise RequestError(
            f"The answer would have {values} values, and may have "
            f"{limits.answer_values}: send fewer or shorter rows, or use a "
            "signature that gives less.",
            413,
        )
    names = sorted(outputs)
    columns = {name: _rows_as_json(name, outputs[name]) for name in names}
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
            f"{name} {_show_shape(outputs[name].shape)}" for name in names
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


def _rows_as_json(name: str, array: NDArray) -> list[str]:
    rows = array if array.ndim else array[np.newaxis]
    as_bytes = name.endswith(BYTES_SUFFIX)
    return [
        # A slice stays an array where an element of texts would be `bytes`.
        json.dumps(
            _to_json(rows[index : index + 1].reshape(rows.shape[1:]), as_bytes),
            ensure_ascii=False,
        )
        for index in range(len(rows))
    ]


def _to_json(array: NDArray, as_bytes: bool) -> Any:
    """Numbers, texts, or lists in lists of them.

    Numbers of 32 bits and less are written with as many digits as tell them
    apart, not with those of the 64 bits that Python makes of them.
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


def error_body(message: str) -> bytes:
    """What an answer to a request that is not done says."""
    return json.dumps({"error": message}, ensure_ascii=False).encode(
        "utf-8", "replace"
    )


# ------------------------------------------------------------- what is served


def find_signature(signatures: Mapping[str, Signature], name: str) -> Signature:
    """The signature of this name.

    Raises:
        RequestError: there is none; names those that there are.
    """
    if name not in signatures:
        raise RequestError(
            f"The model has no signature {quote(name)}. It has: "
            f"{', '.join(sorted(signatures)) or 'none'}"
        )
    return signatures[name]


def status_body(statuses: Sequence[tuple[int, str, str]]) -> bytes:
    """The answer about the state of versions.

    Args:
        statuses: version, state as TensorFlow Serving calls it, and what went
            wrong or "".
    """
    entries = [
        {
            "version": str(version),
            "state": state,
            "status": {
                "error_code": "UNKNOWN" if error else "OK",
                "error_message": error,
            },
        }
        for version, state, error in statuses
    ]
    return json.dumps(
        {"model_version_status": entries}, ensure_ascii=False, indent=1
    ).encode()


def metadata_body(name: str, version: int, signature_def: Any) -> bytes:
    """The answer about the signatures of a version.

    Args:
        name: of the model.
        version: of the model.
        signature_def: its `SignatureDef`s by name, as protobuf's JSON.
    """
    spec = {"name": name, "signature_name": "", "version": str(version)}
    signatures = {"signature_def": signature_def}
    return json.dumps(
        {"model_spec": spec, "metadata": {"signature_def": signatures}},
        ensure_ascii=False,
        indent=1,
    ).encode()


# ---------------------------------------------------------------------- words


def _is_base64(value: Any) -> bool:
    return (
        type(value) is dict
        and len(value) == 1
        and type(value.get(BASE64_KEY)) is str
    )


def _is_object(value: Any) -> bool:
    return type(value) is dict and not _is_base64(value)


def _show_shape(shape: Sequence[int | None]) -> str:
    return f"[{', '.join('any' if n is None else str(n) for n in shape)}]"


def _keys(request: Mapping[str, Any]) -> str:
    return f"the keys {', '.join(map(quote, request)) or 'none'}"


def _kind(value: Any) -> str:
    """What a JSON value is, and a short one itself."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        is_long = isinstance(value, int) and abs(value) > 10**30
        return "a whole number too long to show" if is_long else f"{value}"
    if isinstance(value, str):
        return f"the text {quote(value)}"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    return "an object with " + _keys(value)
