"""TensorFlow Serving's REST protocol: paths, bodies and errors.

The rules are those of TensorFlow Serving's `api_rest.md`; docs/server.md lists
where this server is stricter or says more. Plain Python: neither sockets nor
TensorFlow, so that every rule can be tested with strings.
"""

import gzip
import io
import json
import re
import zlib
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from bert_tf.errors import InputError, quote
from bert_tf.exports.interface import ROWS, Signature

DEFAULT_SIGNATURE = ROWS

# Versions are int64 in TensorFlow Serving. Longer numbers are not converted:
# the time for that grows with the square of their length.
VERSION_DIGITS = 19

VERBS = ("predict", "tokenize", "attention", "neighbours")
"""What requests ask for; all but the first are this server's own."""

_PATH = re.compile(
    r"/v1/models(?:/(?P<name>[^/:]+)"
    r"(?:/versions/(?P<version>[0-9]+)|/labels/(?P<label>[^/:]+))?"
    r"(?::(?P<verb>\w+)|(?P<metadata>/metadata))?)?/?",
    re.IGNORECASE,
)


class RequestError(InputError):
    """A request that is refused: the reason and an HTTP status.

    Attributes:
        status: of the response, 400 to 599.
        headers: of the response.
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


class Limits(NamedTuple):
    """Upper bounds of one request and its response."""

    body_bytes: int = 2 * 1024 * 1024
    instances: int = 128
    text_chars: int = 20_000
    answer_values: int = 4_000_000
    windows: int = 2048


def limit_values(values: int, limits: Limits) -> None:
    """Raises `RequestError`, 413, for an answer of more values than allowed."""
    if values > limits.answer_values:
        raise RequestError(
            f"The answer would have {values} values, and may have "
            f"{limits.answer_values}: send fewer or shorter rows, or use a "
            "signature that gives less.",
            413,
        )


# ------------------------------------------------------------- what is served


def find_signature(signatures: Mapping[str, Signature], name: str) -> Signature:
    """The signature of this name.

    Raises:
        RequestError: there is none; lists the existing ones.
    """
    if name not in signatures:
        raise RequestError(
            f"The model has no signature {quote(name)}. It has: "
            f"{', '.join(sorted(signatures)) or 'none'}"
        )
    return signatures[name]


# ------------------------------------------------------------------- the path


OF_TEXTS = ("embeddings", "rerank")
"""Paths /v1/embeddings and /v1/rerank, whose bodies name the model."""


class Target(NamedTuple):
    """The target of a request, from its path.

    Attributes:
        verb: one of `VERBS` or `OF_TEXTS`, "status" or "metadata".
        name: the model's; "" where the body names it.
        version: None for the current one.
    """

    verb: str
    name: str
    version: int | None


def parse_path(method: str, path: str) -> Target:
    """The target of a request to /v1/...; words of the path ignore case.

    Raises:
        RequestError: 404 for a path of another form, 405 for another method,
            400 for features of TensorFlow Serving that this server lacks.
    """
    word = path.lower().removeprefix("/v1/").removesuffix("/")
    if word in OF_TEXTS:
        _require_method(method, "POST", path)
        return Target(word, "", None)
    match = _PATH.fullmatch(path)
    if not match:
        raise RequestError(
            "The path must be /v1/models/NAME or /v1/models/NAME/versions/N, "
            "and after it nothing, /metadata or one of "
            f"{', '.join(f':{verb}' for verb in VERBS)}; or /v1/embeddings or "
            f"/v1/rerank. Received: {quote(path)}",
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
        if verb not in VERBS:
            raise RequestError(
                f":{verb[:60]} is unknown; there are "
                f"{', '.join(f':{verb}' for verb in VERBS)}.",
                404,
            )
        _require_method(method, "POST", path)
    if version and len(version.lstrip("0")) > VERSION_DIGITS:
        raise RequestError(
            f"There is no version {quote(version)}: versions are numbers of "
            f"at most {VERSION_DIGITS} digits.",
            404,
        )
    return Target(verb, name, int(version) if version else None)


def _require_method(method: str, wanted: str, path: str) -> None:
    # HEAD is GET without the body, which the connection leaves out.
    allowed = {"GET": ("GET", "HEAD")}.get(wanted, (wanted,))
    if method not in allowed:
        raise RequestError(
            f"{quote(path)} must be asked for with {wanted}. Received: "
            f"{quote(method)}",
            405,
            Allow=", ".join(allowed),
        )


# ------------------------------------------------------------------- the body


class PredictRequest(NamedTuple):
    """The body of a request to predict.

    Attributes:
        signature_name: of the function to compute.
        is_row: whether `values` are instances; else they are columns.
        values: JSON, not yet checked.
    """

    signature_name: str
    is_row: bool
    values: Any


def unpack(body: bytes, limit: int) -> bytes:
    """The content of a gzip body, unpacked no further than `limit` bytes.

    Raises:
        RequestError: 413, there is more in it; 400, it is damaged.
    """
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(body)) as packed:
            content = packed.read(limit + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise RequestError(
            "The body must be gzip, as Content-Encoding says. It is not gzip, "
            f"or damaged: {error}"
        ) from error
    if len(content) > limit:
        raise too_long(limit)
    return content


def too_long(limit: int) -> RequestError:
    """The refusal of a body of more than `limit` bytes."""
    return RequestError(
        f"The body must be at most {limit} bytes long, unpacked if it is "
        "compressed; send fewer instances.",
        413,
    )


def parse_json(body: bytes) -> dict[str, Any]:
    """The JSON object of a body; it may have NaN and Infinity.

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
            "The body must be a JSON object {...}. Received: "
            f"{kind_of(value)}"
        )
    return value


def parse_predict(body: bytes) -> PredictRequest:
    """The signature and the values of a request to predict.

    Raises:
        RequestError: the body does not have the form of the protocol.
    """
    request = parse_json(body)
    name = request.get("signature_name", DEFAULT_SIGNATURE)
    if not isinstance(name, str):
        raise RequestError(
            f'"signature_name" must be a text. Received: {kind_of(name)}'
        )
    given = [key for key in ("instances", "inputs") if key in request]
    if len(given) != 1:
        raise RequestError(
            'The body must have either "instances", for rows, or "inputs", for '
            f"columns. Received: {'both' if given else _keys(request)}"
        )
    require_keys(
        request,
        {"signature_name", *given},
        "signature_name, and instances or inputs",
    )
    return PredictRequest(
        name or DEFAULT_SIGNATURE, given[0] == "instances", request[given[0]]
    )


def require_keys(
    request: Mapping[str, Any], known: Collection[str], shown: str
) -> None:
    """Raises `RequestError` for keys of a body that are not known.

    Args:
        request: the body.
        known: all keys that it may have.
        shown: these in words.
    """
    if unknown := sorted(set(request) - set(known)):
        raise RequestError(
            f"The body may have no keys but {shown}. Received: "
            f"{', '.join(map(quote, unknown))}"
        )


def parse_tokenize(body: bytes) -> PredictRequest:
    """The values of a request to tokenize.

    Raises:
        RequestError: the body does not have a list of texts only.
    """
    request = parse_json(body)
    if set(request) != {"instances"}:
        raise RequestError(
            'The body must have "instances", a list of texts, and nothing '
            f"else. Received: {_keys(request)}"
        )
    return PredictRequest("tokenize", True, request["instances"])


def _keys(request: Mapping[str, Any]) -> str:
    return f"the keys {', '.join(map(quote, request)) or 'none'}"


def kind_of(value: Any) -> str:
    """Describes a JSON value for a message; short ones are shown."""
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


# -------------------------------------------------------------- the response


def error_body(message: str) -> bytes:
    """The body of an error response."""
    return json.dumps({"error": message}, ensure_ascii=False).encode(
        "utf-8", "replace"
    )


def status_body(statuses: Sequence[tuple[int, str, str]]) -> bytes:
    """The body of a response about the state of versions.

    Args:
        statuses: version, state as TensorFlow Serving calls it, and the error
            or "".
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
    """The body of a response about the signatures of a version.

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
