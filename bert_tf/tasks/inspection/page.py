"""Attention maps as one HTML file, which needs no network.

The program and the style are those that the server's page uses too.
"""

import base64
import contextlib
import importlib.resources
import json
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from bert_tf.support import files
from bert_tf.tasks.inspection.rows import AttentionMap

PROGRAM, STYLE = "attention.js", "attention.css"

# A weight of 1, in 16 bits.
ONE = 65535

BYTES = 8 / 3
"""Of a number of a map in the file: 16 bits in base64."""


def read(name: str) -> str:
    """A file of the page."""
    folder = importlib.resources.files("bert_tf.tasks.inspection")
    return folder.joinpath("page", name).read_text(encoding="utf-8")


@contextlib.contextmanager
def open_page(path: str, num_layers: int, num_heads: int) -> Iterator[Callable]:
    """A context with a function that writes `AttentionMap`s to a page.

    Args:
        path: the file; an existing one is replaced at the end.
        num_layers, num_heads: of the model.
    """
    whole = read("map.html").replace("/*STYLE*/", read(STYLE))
    before, after = whole.replace("/*PROGRAM*/", read(PROGRAM)).split(
        "<!--DATA-->\n"
    )

    with files.whole_or_nothing(path) as file:

        def write(kind: str, name: str, content: str) -> None:
            line = f'<script type="{kind}" class="{name}">{content}</script>\n'
            file.write(line.encode("utf-8"))

        def add(one: AttentionMap) -> None:
            about = {"tokens": one.tokens, "segments": one.segment_ids}
            write("application/json", "text", _json(about))
            for weights in one.weights:
                numbers = np.rint(weights * ONE).astype("<u2").tobytes()
                write(
                    "text/plain", "weights", base64.b64encode(numbers).decode()
                )

        file.write(before.encode("utf-8"))
        about = {"layers": num_layers, "heads": num_heads}
        write("application/json", "model", _json(about))
        yield add
        file.write(after.encode("utf-8"))


def _json(value: Any) -> str:
    """JSON that ends no element of HTML."""
    return json.dumps(value).replace("<", "\\u003c")
