"""A server in this process, and ways to talk to it."""

import asyncio
import contextlib
import http.client
import json
import socket
import threading
import time

from absl import flags

from bert_tf import serve

WAIT = 90


class Running:
    """A server that runs in a thread, as the command makes it.

    Args:
        folder: of the model.
        name: of the model.
        options: flags of the command.
    """

    def __init__(self, folder, name, **options):
        values = flags.FlagValues()
        serve.define_flags(values)
        # Trials take seconds: they have tests of their own.
        options = {"port": 0, "poll_seconds": 0.1, "no_trial": True, **options}
        values(["serve", *(f"--{key}={each}" for key, each in options.items())])
        serve.check_flags(values)
        self.name = name
        self.server, self.listening = serve.make_server(
            values, name, str(folder)
        )
        # Deadlines are shorter and shutdowns quicker than the command's.
        self.server.patience = self.server.patience._replace(
            last_seconds=0.05, look_seconds=0.1
        )
        self.application = self.server.application
        self.address = self.listening.getsockname()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()
        wait_until(lambda: self.server.started)

    def _run(self):
        asyncio.run(self.server.serve([self.listening]))

    def stop(self):
        """Ends it as a signal would."""
        self.server.should_exit = True
        self.thread.join(WAIT)
        assert not self.thread.is_alive()
        self.application.versions.close()
        self.application.batcher.close(WAIT)

    def ask(self, method, path, body=None, headers=None, connection=None):
        """Status, headers and body of an answer; JSON is read."""
        if body is not None and not isinstance(body, bytes | str):
            body = json.dumps(body)
        own = connection or self.connect()
        own.request(method, path, body, headers or {})
        response = own.getresponse()
        content = response.read()
        if not connection:
            own.close()
        if response.getheader("content-type") == "application/json":
            content = json.loads(content)
        return response.status, response.headers, content

    def connect(self):
        """An HTTP connection that may be used again and again."""
        return http.client.HTTPConnection(*self.address[:2], timeout=WAIT)

    def predict(self, body, connection=None, version=None):
        """What is answered, which must be a success."""
        place = f"/versions/{version}" if version else ""
        path = f"/v1/models/{self.name}{place}:predict"
        status, _, content = self.ask("POST", path, body, None, connection)
        assert status == 200, content
        return content

    def send(self, *parts, pause=0.0):
        """All that comes back for raw bytes; pauses between the parts."""
        with self.raw() as sock:
            # A server may hang up before it has read all.
            with contextlib.suppress(ConnectionError):
                for part in parts:
                    sock.sendall(part)
                    time.sleep(pause)
            return read_all(sock)

    def raw(self):
        """A connected socket."""
        return socket.create_connection(self.address[:2], timeout=WAIT)

    def metric_of_runs(self):
        """How often the model ran, also once the server has ended."""
        text = self.application.metrics.text().decode()
        return value_of(text, "bert_tf_run_seconds_count")

    def metric(self, line):
        """The value of a line of /metrics, 0 if there is none."""
        _, _, text = self.ask("GET", "/metrics")
        return value_of(text.decode(), line)


def value_of(text, line):
    """The value of a line of metrics, 0 if there is none."""
    for found in text.splitlines():
        name, _, value = found.rpartition(" ")
        if name == line:
            return float(value)
    return 0.0


def read_all(sock):
    """What a socket gives until the other side closes it."""
    parts = []
    with contextlib.suppress(ConnectionError):
        while part := sock.recv(65536):
            parts.append(part)
    return b"".join(parts)


def wait_until(condition):
    """Returns when the condition holds, and fails if it never does."""
    until = time.monotonic() + WAIT
    while not condition():
        assert time.monotonic() < until, "it did not come to pass"
        time.sleep(0.02)
