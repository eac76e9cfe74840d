"""Counters and timings of the server, in Prometheus' format."""

from collections.abc import Callable, Sequence

import prometheus_client as prometheus
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4

SECONDS = (
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30,
)  # fmt: skip
ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """Metrics of one server; docs/server.md lists them."""

    def __init__(self) -> None:
        # All counters would have the same: the start of the server.
        prometheus.disable_created_metrics()
        self.registry = prometheus.CollectorRegistry()
        prometheus.ProcessCollector(registry=self.registry)
        prometheus.PlatformCollector(registry=self.registry)
        self._requests = prometheus.Counter(
            "bert_tf_requests",
            "Requests with a response.",
            ["verb", "status"],
            registry=self.registry,
        )
        self._seconds = self._histogram(
            "bert_tf_request_seconds",
            "Seconds from the head of a request to the end of its response.",
            SECONDS,
            ["verb"],
        )
        self._abandoned = prometheus.Counter(
            "bert_tf_requests_abandoned",
            "Requests whose client went away before the response.",
            registry=self.registry,
        )
        self._waits = self._histogram(
            "bert_tf_queue_seconds",
            "Seconds of a request in the queue.",
            SECONDS,
        )
        self._runs = self._histogram(
            "bert_tf_run_seconds", "Seconds of one run of the model.", SECONDS
        )
        self._rows = self._histogram(
            "bert_tf_batch_rows", "Rows in one run of the model.", ROWS
        )
        self._shared = self._histogram(
            "bert_tf_batch_requests", "Requests in one run of the model.", ROWS
        )
        self._loads = prometheus.Counter(
            "bert_tf_version_loads",
            "Attempts to load a version of the model.",
            ["result"],
            registry=self.registry,
        )
        self._cut = prometheus.Counter(
            "bert_tf_connections_cut",
            "Connections that were cut: too slow, or above the limit.",
            ["reason"],
            registry=self.registry,
        )

    def _histogram(self, name, text, buckets, labels=()):
        return prometheus.Histogram(
            name, text, labels, buckets=buckets, registry=self.registry
        )

    def watch(self, name: str, text: str, read: Callable[[], float]) -> None:
        """Adds a gauge.

        Args:
            name: without the prefix "bert_tf_".
            text: its description.
            read: returns the current number.
        """
        gauge = prometheus.Gauge(
            f"bert_tf_{name}", text, registry=self.registry
        )
        gauge.set_function(read)

    def answered(self, verb: str, status: int, seconds: float) -> None:
        """Counts a response."""
        self._requests.labels(verb, str(status)).inc()
        self._seconds.labels(verb).observe(seconds)

    def abandoned(self) -> None:
        """Counts a client that went away before its response."""
        self._abandoned.inc()

    def cut(self, reason: str) -> None:
        """Counts a connection that was cut."""
        self._cut.labels(reason).inc()

    def loaded(self, version: int, succeeded: bool) -> None:
        """Counts a version that was loaded, or failed to load."""
        self._loads.labels("loaded" if succeeded else "failed").inc()

    def ran(self, rows: int, waited: Sequence[float], seconds: float) -> None:
        """Counts a batch; see `batching.Watcher`."""
        self._runs.observe(seconds)
        self._rows.observe(rows)
        self._shared.observe(len(waited))
        for wait in waited:
            self._waits.observe(wait)

    def text(self) -> bytes:
        """All metrics, in Prometheus' text format."""
        return prometheus.generate_latest(self.registry)
