"""uvicorn with deadlines, a limit of connections, and a graceful shutdown.

Adds what uvicorn lacks: a deadline for a request to arrive and for a client to
read its response, errors as JSON, and a shutdown that answers every accepted
request.
"""

# uvicorn and h11 are small, maintained and plain Python. Of their alternatives,
# hypercorn has a timeout for each read, which a client that sends byte by byte
# never reaches, and neither a limit of connections nor a deadline for readers;
# granian has no timeouts for requests, and runs the application in processes of
# its own.

import asyncio
import contextlib
import json
import signal
import socket
import time
from typing import Any, NamedTuple

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from bert_tf.server.admission import HEAD_BYTES

# The least progress of a reader within its time.
LEAST_READ_BYTES = 64 * 1024

# Connections above the limit that are answered with 503; further ones are
# closed without a response.
REFUSED_CONNECTIONS = 64


class Patience(NamedTuple):
    """Limits of connections.

    Attributes:
        connections: open at once.
        request_seconds: from the first byte of a request to its last, and from
            the start of a connection to its first request.
        answer_seconds: without progress of a client that reads a response.
        idle_seconds: between two requests on one connection.
        drain_seconds: in a shutdown, for requests in progress.
        last_seconds: in a shutdown, in which connections stay open for requests
            that were being sent when the signal came; they are refused with
            503.
        look_seconds: between checks of all connections: the precision of
            deadlines.
    """

    connections: int = 512
    request_seconds: float = 20.0
    answer_seconds: float = 30.0
    idle_seconds: float = 15.0
    drain_seconds: float = 30.0
    last_seconds: float = 0.5
    look_seconds: float = 0.5


class Connection(H11Protocol):
    """One client's connection, with deadlines.

    `HttpServer` makes a subclass with its `patience` and `tell`.
    """

    patience = Patience()
    refuse_all: Any = None

    @staticmethod
    def tell(reason: str) -> None:
        """Is called with the reason when a connection is cut."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        # Start of the request that is arriving, or of the connection.
        self.receiving_since: float | None = time.monotonic()
        self.has_sent = False
        self._unread = 0
        self._unread_since = time.monotonic()
        count = len(self.connections)
        if count > self.patience.connections + REFUSED_CONNECTIONS:
            self.tell("limit")
            transport.abort()
        elif count > self.patience.connections:
            self.tell("limit")
            self.app = self.refuse_all

    def data_received(self, data: bytes) -> None:
        self.has_sent = True
        if self.receiving_since is None:
            self.receiving_since = time.monotonic()
        super().data_received(data)
        self._note_arrival()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._note_arrival()

    def _note_arrival(self) -> None:
        """Stops the clock once a request is complete and no other has begun."""
        begun = self.conn.their_state is h11.SEND_BODY or (
            self.conn.their_state is h11.IDLE and self.conn.trailing_data[0]
        )
        if not begun:
            self.receiving_since = None
        elif self.receiving_since is None:
            self.receiving_since = time.monotonic()

    def send_400_response(self, msg: str) -> None:
        limit = HEAD_BYTES // 1024
        self._refuse(
            400,
            "This is not an HTTP/1.1 request, or its headers are longer than "
            f"{limit} KiB.",
        )

    def look(self, now: float) -> None:
        """Cuts the connection if its client is too slow."""
        since = self.receiving_since
        if since is not None and now - since > self.patience.request_seconds:
            self.receiving_since = None
            if self.has_sent:
                self.tell("slow request")
                self._refuse(
                    408,
                    "The request did not arrive within "
                    f"{self.patience.request_seconds:g} seconds.",
                )
            else:
                self.transport.close()
        unread = self.transport.get_write_buffer_size()
        if not unread or unread <= self._unread - LEAST_READ_BYTES:
            self._unread, self._unread_since = unread, now
        elif unread > self._unread:
            self._unread = unread
        if unread and now - self._unread_since > self.patience.answer_seconds:
            self.tell("slow reader")
            self.transport.abort()

    def _refuse(self, status: int, message: str) -> None:
        """Responds to what does not become a request to the application."""
        if self.transport.is_closing():
            return
        cycle = self.cycle
        if cycle and cycle.response_started and not cycle.response_complete:
            self.transport.abort()
            return
        # In other states the response was sent before the request was complete.
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            body = json.dumps({"error": message}).encode()
            self.transport.write(
                b"HTTP/1.1 %d %s\r\n"
                b"content-type: application/json\r\n"
                b"content-length: %d\r\n"
                b"connection: close\r\n\r\n%s"
                % (status, _PHRASES[status], len(body), body)
            )
        self.transport.close()


_PHRASES = {400: b"Bad Request", 408: b"Request Timeout"}


class HttpServer(uvicorn.Server):
    """uvicorn with deadlines, and a shutdown that answers all requests.

    Args:
        application: an ASGI application with an attribute `draining`, set in a
            shutdown, an attribute `under_way`, the number of its requests in
            progress, an attribute `unread`, set to a function that returns the
            bytes of answers that clients have not read, and a method `refuse`,
            an ASGI application for connections above the limit.
        patience: a `Patience`.
        tell: called with the reason when a connection is cut.

    Attributes:
        signal: the number of the signal that ended the server, or None.
        unanswered: number of requests without a response at the end.
    """

    def __init__(self, application, patience=Patience(), tell=None):  # noqa: B008
        self.application = application
        application.unread = lambda: self.unread
        self.patience = patience
        self.signal: int | None = None
        self.unanswered = 0
        members = {"patience": patience, "refuse_all": application.refuse}
        if tell:
            members["tell"] = staticmethod(tell)
        super().__init__(
            uvicorn.Config(
                application,
                http=type("Connection", (Connection,), members),
                loop="asyncio",
                ws="none",
                lifespan="off",
                log_config=None,
                log_level="error",
                access_log=False,
                proxy_headers=False,
                server_header=False,
                h11_max_incomplete_event_size=HEAD_BYTES,
                timeout_keep_alive=patience.idle_seconds,
            )
        )

    @property
    def connections(self) -> int:
        """Number of open connections."""
        return len(self.server_state.connections)

    @property
    def unread(self) -> int:
        """Bytes that clients have not taken off the server's hands."""
        return sum(
            connection.transport.get_write_buffer_size()  # type: ignore
            for connection in self.server_state.connections
        )

    async def main_loop(self) -> None:
        """Runs until the signal, and checks connections meanwhile."""
        looking = asyncio.ensure_future(self._look())
        try:
            await super().main_loop()
        finally:
            looking.cancel()

    async def shutdown(
        self, sockets: list[socket.socket] | None = None
    ) -> None:
        """Finishes accepted requests, refuses new ones, then closes."""
        self.application.draining = True
        looking = asyncio.ensure_future(self._look())
        until = time.monotonic() + self.patience.drain_seconds
        await asyncio.sleep(self.patience.last_seconds)
        while self.application.under_way and not self.force_exit:
            if time.monotonic() > until:
                break
            await asyncio.sleep(0.05)
        looking.cancel()
        self.unanswered = self.application.under_way
        left = max(1.0, until - time.monotonic())
        self.config.timeout_graceful_shutdown = left  # type: ignore[assignment]
        await super().shutdown(sockets)

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(self.patience.look_seconds)
            now = time.monotonic()
            for connection in list(self.server_state.connections):
                connection.look(now)  # type: ignore[union-attr]

    def handle_exit(self, sig: int, frame: Any) -> None:
        """Starts the shutdown at the first signal; exits at the second."""
        if self.should_exit:
            self.force_exit = True
        self.signal = sig
        self.should_exit = True

    @contextlib.contextmanager
    def capture_signals(self):
        """Handles SIGINT and SIGTERM, without raising them again at the end."""
        try:
            before = {
                number: signal.signal(number, self.handle_exit)
                for number in (signal.SIGINT, signal.SIGTERM)
            }
        except ValueError:  # Not in the main thread, as in tests.
            before = {}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
