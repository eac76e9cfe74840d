"""What the server counts and times, as Prometheus reads it.

Comes in: what happened. Goes out: the text of /metrics. What is worth counting
is decided here; that it happened is noticed elsewhere.
"""

from collections.abc import Callable, Sequence

import prometheus_client as prometheus
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4

SECONDS = (
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30,
)  # fmt: skip
ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """Counters of one server; see `docs/server.md` for what each means."""

    def __init__(self) -> None:
        # When a counter began is the same for all: when the server did.
        prometheus.disable_created_metrics()
        self.registry = prometheus.CollectorRegistry()
        prometheus.ProcessCollector(registry=self.registry)
        prometheus.PlatformCollector(registry=self.registry)
        self._requests = prometheus.Counter(
            "bert_tf_requests",
            "Requests that were answered.",
            ["verb", "status"],
            registry=self.registry,
        )
        self._seconds = self._histogram(
            "bert_tf_request_seconds",
            "From the head of a request to the end of its answer.",
            SECONDS,
            ["verb"],
        )
        self._abandoned = prometheus.Counter(
            "bert_tf_requests_abandoned",
            "Requests whose client went away before the answer.",
            registry=self.registry,
        )
        self._waits = self._histogram(
            "bert_tf_queue_seconds", "Of a request in the queue.", SECONDS
        )
        self._runs = self._histogram(
            "bert_tf_run_seconds", "Of one run of the model.", SECONDS
        )
        self._rows = self._histogram(
            "bert_tf_batch_rows", "Rows in one run of the model.", ROWS
        )
        self._shared = self._histogram(
            "bert_tf_batch_requests", "Requests in one run of the model.", ROWS
        )
        self._loads = prometheus.Counter(
            "bert_tf_version_loads",
            "Versions of the model that were loaded, or could not be.",
            ["result"],
            registry=self.registry,
        )
        self._cut = prometheus.Counter(
            "bert_tf_connections_cut",
            "Connections that were cut: slow, or one too many.",
            ["reason"],
            registry=self.registry,
        )

    def _histogram(self, name, text, buckets, labels=()):
        return prometheus.Histogram(
            name, text, labels, buckets=buckets, registry=self.registry
        )

    def watch(self, name: str, text: str, read: Callable[[], float]) -> None:
        """Shows a number that is read whenever somebody looks.

        Args:
            name: without the "bert_tf_" in front.
            text: what it is.
            read: function that returns it.
        """
        gauge = prometheus.Gauge(
            f"bert_tf_{name}", text, registry=self.registry
        )
        gauge.set_function(read)

    def answered(self, verb: str, status: int, seconds: float) -> None:
        """A request was answered."""
        self._requests.labels(verb, str(status)).inc()
        self._seconds.labels(verb).observe(seconds)

    def abandoned(self) -> None:
        """A client went away before its answer."""
        self._abandoned.inc()

    def cut(self, reason: str) -> None:
        """A connection was cut."""
        self._cut.labels(reason).inc()

    def loaded(self, version: int, succeeded: bool) -> None:
        """A version was loaded, or could not be."""
        self._loads.labels("loaded" if succeeded else "failed").inc()

    def ran(self, rows: int, waited: Sequence[float], seconds: float) -> None:
        """The model computed a batch; see `batching.Watcher`."""
        self._runs.observe(seconds)
        self._rows.observe(rows)
        self._shared.observe(len(waited))
        for wait in waited:
            self._waits.observe(wait)

    def text(self) -> bytes:
        """All of it, in Prometheus' text format."""
        return prometheus.generate_latest(self.registry)
