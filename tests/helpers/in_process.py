"""A server's application without sockets, and its model already loaded."""

import asyncio
import contextlib
import functools
import json
import pathlib
import types
from unittest import mock

import numpy as np

from bert_tf.exports import loading
from bert_tf.exports.folder import format_of
from bert_tf.exports.settings import SAVED_MODEL
from bert_tf.server.app import Application, Settings
from bert_tf.server.batching import Batcher
from bert_tf.server.metrics import Metrics
from bert_tf.server.model import ServedModel
from bert_tf.server.protocol import Limits
from helpers import exported
from helpers.running_server import value_of


@functools.cache
def served(name):
    """The `ServedModel` of an export, which is neither loaded nor warmed twice.

    A signature's first run takes seconds: each is run where it is needed.
    """
    path = str(exported.folder(name) / "1")
    with (
        mock.patch.object(loading, "load", lambda _: exported.loaded(name)),
        mock.patch.object(ServedModel, "_warm_up"),
    ):
        return ServedModel(path, 1)


@functools.cache
def plain(name):
    """The `PlainModel` of an ONNX export."""
    from bert_tf.server.plain_model import PlainModel

    return PlainModel(exported.folder(name, format="onnx") / "1", 1)


def call_plain(name, signature, **inputs):
    """As `exported.call`, of an ONNX export."""
    arrays = {
        key: np.array(
            [encode(row) for row in values],
            plain(name)
            .signatures[signature]
            .inputs[key]
            .dtype.replace("string", "object"),
        )
        for key, values in inputs.items()
    }
    return plain(name).run(signature, arrays)


def encode(value):
    """Texts, or lists of them, as UTF-8; numbers and bytes as they are."""
    if isinstance(value, list | tuple):
        return [encode(each) for each in value]
    return value.encode() if isinstance(value, str) else value


def of_folder(path, version):
    """The model of the export that is in a folder, as the command loads one."""
    load = served if format_of(path) == SAVED_MODEL else plain
    return load(pathlib.Path(path).parent.name)


class OneVersion:
    """A `ModelVersions` of a single model."""

    version = 1

    def __init__(self, model):
        self.lent = types.SimpleNamespace(model=model)

    def take(self, version=None):
        return self.lent

    def give_back(self, lent):
        pass


class InProcess:
    """The application as the command makes it, but for versions and sockets.

    Args:
        model: a `ServedModel`.
        limits: fields of `Limits`.
        timeout, batching: of the `Settings`.
        batches: arguments of the `Batcher`.
    """

    def __init__(
        self, model, limits=None, timeout=90.0, batching=True, **batches
    ):
        self.metrics = Metrics()
        self.batcher = Batcher(**batches, watcher=self.metrics)
        self.application = Application(
            OneVersion(model),
            self.batcher,
            self.metrics,
            Settings("model", Limits(**limits or {}), timeout, batching),
        )

    def ask(self, verb, body):
        """Status, headers and JSON of a POST: predict, tokenize, or a path."""
        return asyncio.run(self.ask_in_loop(verb, body))

    def predict(self, body):
        """The JSON of an answer, which must be a success."""
        status, _, content = self.ask("predict", body)
        assert status == 200, content
        return content

    async def ask_in_loop(self, verb, body, leaves=None):
        """As `ask`; several may be awaited at once.

        Args:
            verb, body: of the request.
            leaves: coroutine function that returns when the client hangs up;
                None for a client that waits for its answer.

        Returns:
            None for a client that hung up.
        """
        path = verb if verb[0] == "/" else f"/v1/models/model:{verb}"
        scope = {
            "type": "http",
            "method": "POST",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "root_path": "",
            "headers": [(b"host", b"localhost")],
        }
        messages = [{"type": "http.request", "body": json.dumps(body).encode()}]
        sent = []

        async def receive():
            if messages:
                return messages.pop()
            await (leaves or asyncio.Event().wait)()
            return {"type": "http.disconnect"}

        async def send(message):
            sent.append(message)

        await self.application(scope, receive, send)
        if not sent:
            return None
        headers = {
            name.decode(): value.decode() for name, value in sent[0]["headers"]
        }
        content = b"".join(message.get("body", b"") for message in sent)
        return sent[0]["status"], headers, json.loads(content)

    def metric(self, line):
        """The value of a line of the metrics, 0 if there is none."""
        return value_of(self.metrics.text().decode(), line)


def as_json(value):
    """Texts, or lists in lists of them, as JSON has them."""
    if isinstance(value, list):
        return [as_json(each) for each in value]
    return value.decode()


@contextlib.contextmanager
def answering(model, **options):
    """An `InProcess`, whose batcher is closed in the end."""
    made = InProcess(model, **options)
    try:
        yield made
    finally:
        made.batcher.close(90)
