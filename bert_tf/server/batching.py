"""Runs queued requests in shared batches.

A free worker takes the request that has waited longest, with all others of the
same kind up to a number of rows. No request waits for others to arrive, and
batches grow only with the load.
"""

import collections
import concurrent.futures
import math
import threading
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from bert_tf.server.protocol import RequestError

Arrays = dict[str, NDArray]
Compute = Callable[[Arrays], Mapping[str, NDArray]]

# Weight of the newest batch in the moving average of the seconds per row.
NEWEST = 0.2
LONGEST_RETRY = 60


class Watcher(Protocol):
    """Is notified of each batch."""

    def ran(self, rows: int, waited: Sequence[float], seconds: float) -> None:
        """Is called after a batch was computed.

        Args:
            rows: of the batch.
            waited: seconds in the queue, of each request.
            seconds: for the computation.
        """


class Job(NamedTuple):
    """A request in the queue.

    Attributes:
        compute: function of the inputs.
        kind: requests of one kind may share a batch; None shares with no other.
        inputs: arrays by name; their first axis is the rows, unless `kind` is
            None.
        rows: number of rows.
        future: of its outputs.
        since: time of arrival.
    """

    compute: Compute
    kind: Hashable
    inputs: Arrays
    rows: int
    future: concurrent.futures.Future
    since: float


class Batcher:
    """A bounded queue, and threads that work on it.

    Args:
        max_batch: rows of a batch. A request with more rows is computed alone.
        max_waiting: rows in the queue; above it, requests are refused.
        num_workers: threads; each computes a batch at a time.
        watcher: is notified of each batch.
    """

    def __init__(
        self,
        max_batch: int = 32,
        max_waiting: int = 512,
        num_workers: int = 1,
        watcher: Watcher | None = None,
    ):
        self.max_batch = max_batch
        self.max_waiting = max_waiting
        self.watcher = watcher
        self._jobs: collections.deque[Job] = collections.deque()
        self._rows = 0
        self._seconds_of_row = 0.0
        self._closed = False
        self._changed = threading.Condition()
        self._workers = [
            threading.Thread(target=self._work, name=f"model-{n}", daemon=True)
            for n in range(num_workers)
        ]
        for worker in self._workers:
            worker.start()

    @property
    def waiting(self) -> int:
        """Rows in the queue."""
        return self._rows

    def submit(
        self, compute: Compute, kind: Hashable, inputs: Arrays, rows: int
    ) -> concurrent.futures.Future:
        """Puts a request into the queue.

        Args:
            compute: function of the inputs, the same for all requests of a
                kind. Its exception becomes that of the future.
            kind: requests of one kind may share a batch; except for the rows,
                their arrays must have equal shapes. None shares with no other.
            inputs: arrays by name.
            rows: their common length.

        Returns:
            A future of the arrays that `compute` returns. Cancelling it removes
            the request, unless it is being computed already.

        Raises:
            RequestError: 503, the queue is full or closed. Has the seconds to
                wait before another try.
        """
        future: concurrent.futures.Future = concurrent.futures.Future()
        job = Job(compute, kind, inputs, rows, future, time.monotonic())
        with self._changed:
            if self._closed:
                raise RequestError("The server is stopping.", 503)
            if self._jobs and self._rows + rows > self.max_waiting:
                self._drop_cancelled()
            if self._jobs and self._rows + rows > self.max_waiting:
                raise RequestError(
                    f"The queue is full: {self._rows} of {self.max_waiting} "
                    "rows wait. Try again.",
                    503,
                    Retry_After=self.seconds_to_wait(),
                )
            self._jobs.append(job)
            self._rows += rows
            self._changed.notify()
        return future

    def seconds_to_wait(self) -> int:
        """Estimated seconds until the queue is done; at least 1."""
        seconds = math.ceil(self._rows * self._seconds_of_row)
        return min(max(seconds, 1), LONGEST_RETRY)

    def close(self, seconds: float | None = None) -> None:
        """Refuses new requests, and returns when the queue is done.

        Args:
            seconds: the longest time to wait for that.
        """
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        until = None if seconds is None else time.monotonic() + seconds
        for worker in self._workers:
            worker.join(until and max(0.0, until - time.monotonic()))

    def _drop_cancelled(self) -> None:
        kept = [job for job in self._jobs if not job.future.cancelled()]
        self._jobs = collections.deque(kept)
        self._rows = sum(job.rows for job in kept)

    def _work(self) -> None:
        while jobs := self._take():
            # Requests of clients that have gone away are not computed.
            jobs = [
                job for job in jobs if job.future.set_running_or_notify_cancel()
            ]
            if jobs:
                self._run(jobs)

    def _take(self) -> list[Job]:
        """The jobs of the next batch; none once the queue is closed."""
        with self._changed:
            while not self._jobs:
                if self._closed:
                    return []
                self._changed.wait()
            first = self._jobs.popleft()
            taken, rows = [first], first.rows
            if first.kind is not None:
                left: collections.deque[Job] = collections.deque()
                for job in self._jobs:
                    fits = rows + job.rows <= self.max_batch
                    if fits and job.kind == first.kind:
                        taken.append(job)
                        rows += job.rows
                    else:
                        left.append(job)
                self._jobs = left
            self._rows -= rows
            return taken

    def _run(self, jobs: Sequence[Job]) -> None:
        began = time.monotonic()
        waited = [began - job.since for job in jobs]
        try:
            outputs = run_together(jobs)
        except BaseException as error:
            if len(jobs) > 1:
                # Retry one by one: only the failing request should fail.
                for job in jobs:
                    self._run([job])
                return
            jobs[0].future.set_exception(error)
            outputs = []
        seconds = time.monotonic() - began
        rows = sum(job.rows for job in jobs)
        mean = self._seconds_of_row or seconds / rows
        self._seconds_of_row = mean + NEWEST * (seconds / rows - mean)
        if self.watcher:
            self.watcher.ran(rows, waited, seconds)
        for job, found in zip(jobs, outputs):
            job.future.set_result(found)


def run_together(jobs: Sequence[Job]) -> list[Arrays]:
    """Computes jobs of one kind as one batch; returns the outputs of each.

    Raises:
        RuntimeError: an output does not have a row for each row of the jobs.
    """
    compute = jobs[0].compute
    if len(jobs) == 1:
        return [dict(compute(jobs[0].inputs))]
    inputs = {
        name: np.concatenate([job.inputs[name] for job in jobs])
        for name in jobs[0].inputs
    }
    outputs = compute(inputs)
    rows = sum(job.rows for job in jobs)
    for name, array in outputs.items():
        if array.ndim == 0 or len(array) != rows:
            raise RuntimeError(
                f"The output {name} must have {rows} rows. It has the shape "
                f"{array.shape}"
            )
    found, start = [], 0
    for job in jobs:
        stop = start + job.rows
        found.append({n: array[start:stop] for n, array in outputs.items()})
        start = stop
    return found
