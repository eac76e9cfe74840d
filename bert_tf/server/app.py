"""The ASGI application: requests in, responses of the REST protocol out.

Besides TensorFlow Serving's protocol at /v1 it serves a page to try the model,
and /healthz, /readyz and /metrics.
"""

# Starlette does the routing: it is small, maintained, widely used, and depends
# only on anyio.

import asyncio
import concurrent.futures
import threading
import time
from typing import NamedTuple

from absl import logging
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from bert_tf import __version__
from bert_tf.errors import InputError, quote
from bert_tf.server import (
    admission,
    inspection,
    protocol,
    questions,
    work,
)
from bert_tf.server import metrics as server_metrics
from bert_tf.server.admission import Hosts
from bert_tf.server.protocol import Limits, RequestError
from bert_tf.server.responses import (
    JSON,
    RAW_SECURITY_HEADERS,
    SHOWN_PATH,
    describe,
    error_response,
    json_response,
    read_page,
    show_exception,
    show_http_error,
    show_internal_error,
)

# What is offered besides the protocol.
OWN = {
    "tokenize": work.tokenize,
    "attention": inspection.attention,
    "neighbours": inspection.neighbours,
}

# Larger bodies and responses are converted in a thread, so that they do not
# block the event loop.
QUICK_BYTES = 32 * 1024
QUICK_VALUES = 4096

# Threads for that, and how many answers of the greatest length may wait.
CONVERTERS = 2
WRITTEN_ANSWERS = 4

# Above it, long requests are refused until clients have read their answers.
UNREAD_BYTES = 256 * 1024 * 1024


class Settings(NamedTuple):
    """Settings of the application.

    Attributes:
        name: of the model, in paths.
        limits: of one request.
        timeout: seconds from a complete request to its response.
        batching: whether requests are computed in common batches.
        hosts: that requests may name.
    """

    name: str
    limits: Limits = Limits()
    timeout: float = 30.0
    batching: bool = True
    hosts: Hosts = Hosts()


class Application:
    """An ASGI application that serves one model.

    Args:
        versions: a `ModelVersions` of `ServedModel`s.
        batcher: a `Batcher`.
        metrics: a `Metrics`.
        settings: a `Settings`.

    Attributes:
        draining: set when the server shuts down: new requests are refused.
        under_way: number of requests to predict or tokenize in progress.
    """

    def __init__(self, versions, batcher, metrics, settings):
        self.versions = versions
        self.batcher = batcher
        self.metrics = metrics
        self.settings = settings
        self.draining = False
        self.under_way = 0
        # Bytes of answers that clients have not read.
        self.unread = lambda: 0
        self._files = read_page()
        self._lock = threading.Lock()
        # Values of the answers that are being written.
        self._written = 0
        self._converters = concurrent.futures.ThreadPoolExecutor(
            CONVERTERS, "convert"
        )
        metrics.watch(
            "waiting_rows", "Windows in the queue.", lambda: batcher.waiting
        )
        metrics.watch(
            "version", "The current version.", lambda: versions.version
        )
        metrics.watch(
            "requests_under_way",
            "Requests to predict or tokenize in progress.",
            lambda: self.under_way,
        )
        self._routes = Starlette(
            routes=[
                Route("/v1/{rest:path}", _Protocol(self)),
                Route("/healthz", self._health),
                Route("/readyz", self._readiness),
                Route("/metrics", self._metrics),
                Route("/page/about.json", self._about),
                Route("/", self._page),
                Route("/page/{file}", self._page),
            ],
            exception_handlers={
                HTTPException: show_http_error,
                Exception: show_internal_error,
            },
        )

    async def __call__(self, scope, receive, send):
        """Answers and counts a request; during shutdown, closes connections."""
        if scope["type"] != "http":
            return
        began = time.monotonic()
        sent = {"status": 0}
        scope["verb"] = "other"

        async def send_on(message):
            if message["type"] == "http.response.start":
                sent["status"] = message["status"]
                headers = message.setdefault("headers", [])
                headers += RAW_SECURITY_HEADERS
                if self.draining:
                    headers.append((b"connection", b"close"))
            await send(message)

        try:
            try:
                scope = admission.with_path(scope)
                admission.check(scope, self.settings.hosts)
            except RequestError as error:
                response = error_response(
                    str(error), error.status, error.headers
                )
                await response(scope, receive, send_on)
            else:
                await self._routes(scope, receive, send_on)
        except asyncio.CancelledError:  # The time for shutdown is over.
            if not sent["status"]:
                response = error_response(
                    "The server stopped before the answer.", 503
                )
                await response(scope, receive, send_on)
        except Exception:
            # A request may have any characters, its paths as well as the
            # messages of exceptions: none reaches the log as it is.
            logging.error(
                "%s %s\n%s",
                quote(scope["method"]),
                quote(scope["path"], SHOWN_PATH),
                show_exception(),
            )
        finally:
            if sent["status"]:
                seconds = time.monotonic() - began
                verb, status = scope["verb"], sent["status"]
                self.metrics.answered(verb, status, seconds)

    async def refuse(self, scope, receive, send):
        """Answers on a connection above the limit."""
        limit = "as many connections as it may have"
        response = error_response(f"The server has {limit}. Try again.", 503)
        response.headers["retry-after"] = "1"
        response.headers["connection"] = "close"
        await response(scope, receive, send)

    # ------------------------------------------------------------ the protocol

    async def answer(self, request):
        """The response to a request of TensorFlow Serving's protocol.

        Raises:
            RequestError: the request is refused.
            ClientDisconnect: the client has gone away.
        """
        target = protocol.parse_path(request.method, request.scope["path"])
        request.scope["verb"] = target.verb
        if target.verb not in protocol.OF_TEXTS:
            questions.require_model(target.name, self.settings.name)
        if target.verb == "status":
            statuses = self.versions.statuses(target.version)
            return Response(protocol.status_body(statuses), media_type=JSON)
        if target.verb == "metadata":
            with self.versions.borrow(target.version) as model:
                body = protocol.metadata_body(
                    target.name, model.version, model.signature_def
                )
            return Response(body, media_type=JSON)
        if self.draining:
            raise RequestError("The server is stopping.", 503, Retry_After=1)
        self.under_way += 1
        try:
            body = await self._read(request)
            until = time.monotonic() + self.settings.timeout
            if encoding := request.headers.get("content-encoding"):
                body = await self._unpack(body, encoding, until)
            is_own = target.verb in OWN
            compute = self._answer_own if is_own else self._ask
            return await compute(target, body, request, until)
        finally:
            self.under_way -= 1

    async def _read(self, request):
        """The body of a request, as it was sent.

        Raises:
            RequestError: 413, it is too long; 415, it is compressed by other
                means than gzip.
        """
        limit = self.settings.limits.body_bytes
        encodings = request.headers.getlist("content-encoding")
        encoding = ", ".join(encodings).lower() or "identity"
        if encoding not in ("identity", "gzip", "x-gzip"):
            raise RequestError(
                "The body may be compressed with gzip, and not otherwise. "
                f"Received: Content-Encoding {quote(encoding)}",
                415,
            )
        # h11 has checked that it is a number.
        if int(request.headers.get("content-length", 0)) > limit:
            raise protocol.too_long(limit)
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > limit:
                raise protocol.too_long(limit)
        return bytes(body)

    async def _unpack(self, body, encoding, until):
        if encoding.lower() == "identity":
            return body
        limit = self.settings.limits.body_bytes
        return await self._do(
            lambda: protocol.unpack(body, limit), until, False
        )

    async def _ask(self, target, body, request, until):
        """The response to a request that the model computes."""
        lent = self.versions.take(target.version)
        try:
            model, limits = lent.model, self.settings.limits
            is_quick = len(body) <= QUICK_BYTES

            def prepare():
                read = questions.READERS[target.verb]
                asked = read(model, self.settings.name, body, limits)
                name, inputs = asked.signature_name, asked.inputs
                # Alone: in a batch the place would be another one.
                model.check(inputs)
                # Before they are computed: they may not fit into memory.
                protocol.limit_values(model.least_values(name, inputs), limits)
                spent = model.costs(name, inputs, limits.windows)
                # What was read is much larger than the arrays made of it.
                return asked, spent, model.kind(name, inputs)

            asked, spent, kind = await self._do(prepare, until, is_quick)
            compute = model.compute(asked.signature_name)
            if not isinstance(kind, tuple):
                compute = work.Limited(compute, limits)
            if kind is not None and not self.settings.batching:
                kind = object()  # Equal to no other.
            future = self.batcher.submit(compute, kind, asked.inputs, spent)
        except BaseException:
            self.versions.give_back(lent)
            raise
        future.add_done_callback(lambda _: self.versions.give_back(lent))
        outputs = await self._wait(future, request, until)
        size = sum(array.size for array in outputs.values())
        answer = await self._do(
            lambda: asked.write(model.cut(outputs)),
            until,
            is_quick and size <= QUICK_VALUES,
            min(size, limits.answer_values),  # More are refused.
        )
        return Response(answer, media_type=JSON)

    async def _answer_own(self, target, body, request, until):
        """The response to a request that the protocol does not have."""
        make, limits = OWN[target.verb], self.settings.limits
        lent = self.versions.take(target.version)
        try:
            job = await self._do(
                lambda: make(body, lent.model, limits),
                until,
                len(body) <= QUICK_BYTES,
            )
            future = self.batcher.submit(
                job.compute, object(), job.inputs, job.costs
            )
        except BaseException:
            self.versions.give_back(lent)
            raise
        future.add_done_callback(lambda _: self.versions.give_back(lent))
        found = await self._wait(future, request, until)
        answer = await self._do(lambda: job.write(found), until, False)
        return Response(answer, media_type=JSON)

    async def _do(self, make, until, is_quick, size=0):
        """The result of `make`, computed in a thread unless it is quick.

        Args:
            make: function of nothing.
            until: time at which the answer must be ready.
            is_quick: whether it does not hold up other requests.
            size: number of values of the answer that it writes.

        Raises:
            RequestError: 503, it is too late, or too much is being written or
                has not been read yet.
        """
        if is_quick:
            return make()
        most = WRITTEN_ANSWERS * self.settings.limits.answer_values
        if self._written + size > most or self.unread() > UNREAD_BYTES:
            raise RequestError(
                "Too many long answers are being written and read. Try again.",
                503,
                Retry_After=1,
            )
        with self._lock:
            self._written += size
        future = self._converters.submit(make)
        future.add_done_callback(lambda _: self._written_by(size))
        result = asyncio.wrap_future(future)
        try:
            left = max(0.0, until - time.monotonic())
            return await asyncio.wait_for(result, left)
        except TimeoutError as error:
            raise self._too_late() from error

    def _written_by(self, size):
        with self._lock:
            self._written -= size

    async def _wait(self, future, request, until):
        """The future's result, unless it is too late or the client is gone."""
        result = asyncio.wrap_future(future)
        # After the whole body, the next message is that the client has gone.
        gone = asyncio.ensure_future(request.receive())
        try:
            await asyncio.wait(
                {result, gone},
                timeout=max(0.0, until - time.monotonic()),
                return_when=asyncio.FIRST_COMPLETED,
            )
            if result.done():
                return result.result()
            if gone.done():
                raise ClientDisconnect
            raise self._too_late()
        finally:
            result.cancel()
            gone.cancel()

    def _too_late(self):
        return RequestError(
            f"The answer was not ready within {self.settings.timeout:g} "
            "seconds: too many requests wait, or this one is too long.",
            503,
            Retry_After=self.batcher.seconds_to_wait(),
        )

    # -------------------------------------------------- about the server itself

    async def _health(self, request):
        """Liveness: always 200."""
        request.scope["verb"] = "health"
        return json_response({"status": "ok"})

    async def _readiness(self, request):
        """Readiness: 200 while requests are accepted."""
        request.scope["verb"] = "health"
        if self.draining:
            return error_response("The server is stopping.", 503)
        return json_response(
            {"status": "ready", "version": self.versions.version}
        )

    async def _metrics(self, request):
        request.scope["verb"] = "metrics"
        return Response(
            self.metrics.text(),
            headers={"content-type": server_metrics.CONTENT_TYPE},
        )

    async def _about(self, request):
        """The model's settings and signatures, for the page."""
        request.scope["verb"] = "page"
        with self.versions.borrow() as model:
            return json_response(
                {
                    "name": self.settings.name,
                    "version": model.version,
                    "server": __version__,
                    "about": model.about,
                    "signatures": {
                        name: {
                            "inputs": describe(signature.inputs),
                            "outputs": describe(signature.outputs),
                        }
                        for name, signature in model.signatures.items()
                    },
                    "max_text_chars": self.settings.limits.text_chars,
                    "max_texts": self.settings.limits.instances,
                    "layers": model.config.get("num_hidden_layers"),
                }
            )

    async def _page(self, request):
        request.scope["verb"] = "page"
        name = request.path_params.get("file", "index.html")
        if name not in self._files:
            raise HTTPException(404)
        content, kind = self._files[name]
        return Response(content, headers={"content-type": kind})


class _Protocol:
    """`Application.answer` as an ASGI application, for every method."""

    def __init__(self, application):
        self.application = application

    async def __call__(self, scope, receive, send):
        request = Request(scope, receive)
        try:
            response = await self.application.answer(request)
        except ClientDisconnect:
            self.application.metrics.abandoned()
            return
        except RequestError as error:
            response = error_response(str(error), error.status, error.headers)
        except InputError as error:
            response = error_response(str(error), 400)
        await response(scope, receive, send)
