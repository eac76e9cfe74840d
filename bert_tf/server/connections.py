"""Connections that end: what a server needs of HTTP that uvicorn leaves out.

Comes in: an ASGI application and how patient to be. Goes out: uvicorn, with
deadlines for clients that send or read slowly, a limit of connections, errors
as JSON, and an end at which every accepted request is answered. What requests
are about is for the application.

uvicorn and h11 were chosen because both are small, kept up, and plain Python:
they bring click and nothing to compile. uvicorn sets a time only for what
passes between two requests, and refuses in plain text; hence this room.
"""

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

# How often connections are looked at. Deadlines are that exact.
LOOK_SECONDS = 0.5

# Of the request line and the headers together.
HEADER_BYTES = 16 * 1024

# A client that has less than this taken off its hands within the time for
# reading does not read.
LEAST_READ_BYTES = 64 * 1024

# Connections above the limit that still are told so; more are cut at once.
REFUSED_CONNECTIONS = 64

# At the end, how long connections stay open for requests that were under way
# when the signal came, and are then told to come again.
LAST_SECONDS = 0.5


class Patience(NamedTuple):
    """How long, and for how many, a server waits.

    Attributes:
        connections: that may be open at once.
        request_seconds: from the first byte of a request to its last, and from
            the beginning of a connection to its first request.
        answer_seconds: in which a client must read on.
        idle_seconds: between two requests on one connection.
        drain_seconds: at the end, for the requests under way.
    """

    connections: int = 512
    request_seconds: float = 20.0
    answer_seconds: float = 30.0
    idle_seconds: float = 15.0
    drain_seconds: float = 30.0


class Connection(H11Protocol):
    """One client's connection, with deadlines.

    `HttpServer` makes a subclass that has its `patience` and `tell`.
    """

    patience = Patience()
    refuse_all: Any = None

    @staticmethod
    def tell(reason: str) -> None:
        """Is told when a connection is cut."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        # Of the request that is arriving; a client that connects shall send.
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
        """Stops the clock once a request is there, and no other has begun."""
        begun = self.conn.their_state is h11.SEND_BODY or (
            self.conn.their_state is h11.IDLE and self.conn.trailing_data[0]
        )
        if not begun:
            self.receiving_since = None
        elif self.receiving_since is None:
            self.receiving_since = time.monotonic()

    def send_400_response(self, msg: str) -> None:
        limit = HEADER_BYTES // 1024
        self._refuse(
            400,
            "This is not an HTTP/1.1 request, or its headers are longer than "
            f"{limit} KiB.",
        )

    def look(self, now: float) -> None:
        """Cuts the connection if its client has been too slow."""
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
        """Answers what never becomes a request of the application's."""
        if self.transport.is_closing():
            return
        cycle = self.cycle
        if cycle and cycle.response_started and not cycle.response_complete:
            self.transport.abort()
            return
        # In the other states its answer is out, and only the rest of the
        # request is missing.
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
    """uvicorn with deadlines, that ends without leaving a request unanswered.

    Args:
        application: an ASGI application with an attribute `draining`, set at
            the end, an attribute `under_way`, the number of requests that it
            is working on, and a method `refuse`, an application for
            connections above the limit.
        patience: how long to wait for whom.
        tell: function of a reason why a connection is cut.
    """

    def __init__(self, application, patience=Patience(), tell=None):  # noqa: B008
        self.application = application
        self.patience = patience
        self.signal: int | None = None
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
                h11_max_incomplete_event_size=HEADER_BYTES,
                timeout_keep_alive=patience.idle_seconds,
            )
        )

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self.server_state.connections)

    async def main_loop(self) -> None:
        """Runs until the signal, and looks at connections meanwhile."""
        looking = asyncio.ensure_future(self._look())
        try:
            await super().main_loop()
        finally:
            looking.cancel()

    async def shutdown(
        self, sockets: list[socket.socket] | None = None
    ) -> None:
        """Answers what was accepted, refuses what comes, then closes."""
        self.application.draining = True
        looking = asyncio.ensure_future(self._look())
        until = time.monotonic() + self.patience.drain_seconds
        await asyncio.sleep(LAST_SECONDS)
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
            await asyncio.sleep(LOOK_SECONDS)
            now = time.monotonic()
            for connection in list(self.server_state.connections):
                connection.look(now)  # type: ignore[union-attr]

    unanswered = 0

    def handle_exit(self, sig: int, frame: Any) -> None:
        """Begins to end at the first signal, and ends at the second."""
        if self.should_exit:
            self.force_exit = True
        self.signal = sig
        self.should_exit = True

    @contextlib.contextmanager
    def capture_signals(self):
        """Handles SIGINT and SIGTERM; where they end, it is for the caller."""
        try:
            before = {
                number: signal.signal(number, self.handle_exit)
                for number in (signal.SIGINT, signal.SIGTERM)
            }
        except ValueError:  # Only the main thread may; a test runs in another.
            before = {}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
