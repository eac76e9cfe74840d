"""Answers in JSON, error answers, and the files of the page."""

import importlib.resources
import json
import traceback

from starlette.responses import Response

from bert_tf.errors import quote
from bert_tf.server import protocol
from bert_tf.tasks.inspection import page

JSON = "application/json"
PAGE_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


# No external resources, no inline scripts or styles, no framing.
SECURITY_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; "
        "img-src 'self'; connect-src 'self'; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-cache",
}


RAW_SECURITY_HEADERS = [
    (name.encode(), value.encode()) for name, value in SECURITY_HEADERS.items()
]


def json_response(value):
    """A value as a JSON answer."""
    content = json.dumps(value, ensure_ascii=False).encode("utf-8")
    return Response(content, media_type=JSON)


def error_response(message, status, headers=None):
    """An error as the protocol has it."""
    return Response(
        protocol.error_body(message), status, headers, media_type=JSON
    )


async def show_http_error(request, error):
    """Starlette's own errors, as those of the protocol."""
    messages = {
        404: "There is nothing at this path; see the documentation of the "
        "server, or / for a page.",
        405: f"{quote(request.method)} is not possible here.",
    }
    message = messages.get(error.status_code, str(error.detail))
    return error_response(message, error.status_code, error.headers)


def read_page():
    """The files of the page and their types, by name."""
    files = {}
    for file in (
        importlib.resources.files("bert_tf.server").joinpath("page").iterdir()
    ):
        kind = PAGE_TYPES.get("." + file.name.rpartition(".")[2])
        if kind:
            files[file.name] = (file.read_bytes(), kind)
    # What attention maps in a file have too.
    for name, kind in ((page.PROGRAM, ".js"), (page.STYLE, ".css")):
        files[name] = (page.read(name).encode("utf-8"), PAGE_TYPES[kind])
    return files


# Characters of a path, and of each line of a traceback, in the log.
SHOWN_PATH = 200


async def show_internal_error(request, error):
    """A bug: details are for the log only."""
    return error_response("Internal server error; see the server log.", 500)


def show_exception():
    """The traceback of the current exception, quoted line by line."""
    lines = traceback.format_exc().splitlines()
    return "\n".join("  " + quote(line, SHOWN_PATH)[1:-1] for line in lines)


def describe(tensors):
    """Inputs of a signature, as the page needs them."""
    return {
        name: {
            "dtype": tensor.dtype,
            "shape": tensor.shape,
            "optional": tensor.default is not None,
        }
        for name, tensor in tensors.items()
    }
