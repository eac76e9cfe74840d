"""Runs queued requests in shared batches.

A free worker takes the request that has waited longest, with all others of the
same kind up to a number of rows. No request waits for others to arrive, and
batches grow only with the load. A long request is computed in parts, between
which others get their turn. What is longer than a batch and has no parts, such
as one text of many windows, has a thread of its own: others are computed beside
it.
"""

import collections
import concurrent.futures
import contextlib
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

# Bytes up to which all texts are of one size.
SHORT_TEXT = 64

# What exports pad texts and integers with, by the kind of their dtype.
PADDING: dict[str, bytes | int] = {"O": b"", "i": -1}

# The thread for what is longer than a batch.
LONG = "model-long"


class Watcher(Protocol):
    """Is notified of each batch."""

    def ran(self, rows: int, waited: Sequence[float], seconds: float) -> None:
        """Is called after a batch was computed.

        Args:
            rows: of the batch.
            waited: seconds in the queue, of each request.
            seconds: for the computation.
        """


class Part(NamedTuple):
    """Rows of a request that are computed at once.

    Attributes:
        rows: their numbers.
        cost: of all of them.
        size: of the texts in them, as `sizes_of` tells it.
    """

    rows: NDArray
    cost: int
    size: int


class Job:
    """A request in the queue.

    Args:
        compute: function of the inputs.
        kind: requests of one kind may share a batch; None shares with no other.
        inputs: arrays by name; their first axis is the rows, unless `kind` is
            None.
        parts: the rows to compute, in order.

    Attributes:
        future: of its outputs.
        since: time of arrival.
        cost: of all parts that are not taken.
        found: outputs of each part, None where they are not known yet.
    """

    def __init__(
        self,
        compute: Compute,
        kind: Hashable,
        inputs: Arrays,
        parts: Sequence[Part],
    ):
        self.compute, self.kind, self.inputs = compute, kind, inputs
        self.parts = parts
        self.future: concurrent.futures.Future = concurrent.futures.Future()
        self.since = time.monotonic()
        self.found: list[Arrays | None] = [None] * len(parts)
        self.cost = sum(part.cost for part in parts)
        self._next = 0

    @property
    def next_cost(self) -> int:
        """The cost of the part that `take` takes."""
        return self.parts[self._next].cost

    @property
    def next_kind(self) -> tuple[Hashable, int]:
        """What is equal for parts that may share a batch."""
        return self.kind, self.parts[self._next].size

    def take(self) -> "Taken":
        """Takes the next part."""
        self.cost -= self.next_cost
        self._next += 1
        return Taken(self, self._next - 1)


class Taken(NamedTuple):
    """A part of a job that is being computed."""

    job: Job
    number: int

    @property
    def cost(self) -> int:
        """Its cost."""
        return self.job.parts[self.number].cost

    @property
    def inputs(self) -> Arrays:
        """The inputs of its rows."""
        if len(self.job.parts) == 1:
            return self.job.inputs
        rows = self.job.parts[self.number].rows
        return {name: array[rows] for name, array in self.job.inputs.items()}


class Batcher:
    """A bounded queue, and threads that work on it.

    Args:
        max_batch: cost of a batch. A row that costs more is computed alone, in
            a thread for such rows.
        max_waiting: cost of the queue; above it, requests are refused. A long
            request counts as one batch, for others wait no longer than that.
        num_workers: other threads; each computes a batch at a time.
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
        self._seconds_of_row = 0.0
        self._closed = False
        self._changed = threading.Condition()
        names = [f"model-{n}" for n in range(num_workers)]
        self._workers = [
            threading.Thread(
                target=self._work, args=(name == LONG,), name=name, daemon=True
            )
            for name in [*names, LONG]
        ]
        for worker in self._workers:
            worker.start()

    @property
    def waiting(self) -> int:
        """Cost of the queue."""
        with self._changed:
            return sum(map(self._weight, self._jobs))

    def _weight(self, job: Job) -> int:
        return min(job.cost, self.max_batch)

    def submit(
        self,
        compute: Compute,
        kind: Hashable,
        inputs: Arrays,
        costs: Sequence[int],
    ) -> concurrent.futures.Future:
        """Puts a request into the queue.

        Args:
            compute: function of the inputs, the same for all requests of a
                kind. Its exception becomes that of the future.
            kind: requests of one kind may share a batch; except for the rows,
                their arrays must have equal shapes. None shares with no other,
                and is computed whole.
            inputs: arrays by name.
            costs: of each row, at least 1.

        Returns:
            A future of the arrays that `compute` returns. Cancelling it removes
            the request, or what is left of it.

        Raises:
            RequestError: 503, the queue is full or closed. Has the seconds to
                wait before another try.
        """
        most = math.inf if kind is None else self.max_batch
        sizes = sizes_of(inputs, len(costs))
        job = Job(compute, kind, inputs, split(costs, most, sizes))
        with self._changed:
            if self._closed:
                raise RequestError("The server is stopping.", 503)
            waiting = self.waiting
            if waiting and waiting + self._weight(job) > self.max_waiting:
                raise RequestError(
                    f"The queue is full: {waiting} of {self.max_waiting} "
                    "windows wait. Try again.",
                    503,
                    Retry_After=self.seconds_to_wait(),
                )
            self._jobs.append(job)
            self._changed.notify_all()
        job.future.add_done_callback(lambda _: self._remove(job))
        return job.future

    def seconds_to_wait(self) -> int:
        """Estimated seconds until the queue is done; at least 1."""
        with self._changed:
            cost = sum(job.cost for job in self._jobs)
        seconds = math.ceil(cost * self._seconds_of_row)
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

    def _remove(self, job: Job) -> None:
        """Takes what is left of a cancelled or failed request off the queue."""
        with self._changed:
            with contextlib.suppress(ValueError):
                self._jobs.remove(job)
            # A worker may wait for the end of a closed queue.
            self._changed.notify_all()

    def _work(self, is_long: bool) -> None:
        while taken := self._take(is_long):
            # Requests of clients that have gone away are not computed.
            taken = [each for each in taken if self._is_wanted(each)]
            if taken:
                self._run(taken)

    def _is_wanted(self, taken: Taken) -> bool:
        future = taken.job.future
        if taken.number + 1 == len(taken.job.parts):
            return not future.done() and future.set_running_or_notify_cancel()
        return not future.done()

    def _take(self, is_long: bool) -> list[Taken]:
        """The next batch; none once the queue is closed.

        Args:
            is_long: whether it is for the thread of what is longer than one.
        """

        def first_job() -> Job | None:
            of_mine = (
                job
                for job in self._jobs
                if (job.next_cost > self.max_batch) == is_long
            )
            return next(of_mine, None)

        with self._changed:
            while not (first := first_job()):
                if self._closed and not self._jobs:
                    return []
                self._changed.wait()
            self._jobs.remove(first)
            jobs, cost = [first], first.next_cost
            kind = first.next_kind
            if first.kind is not None and not is_long:
                left: collections.deque[Job] = collections.deque()
                for job in self._jobs:
                    fits = cost + job.next_cost <= self.max_batch
                    if fits and job.next_kind == kind:
                        jobs.append(job)
                        cost += job.next_cost
                    else:
                        left.append(job)
                self._jobs = left
            taken = [job.take() for job in jobs]
            for job in jobs:
                # Others get their turn before its next part.
                if job.cost and not job.future.done():
                    self._jobs.append(job)
            self._changed.notify_all()
            return taken

    def _run(self, taken: Sequence[Taken]) -> None:
        began = time.monotonic()
        waited = [began - each.job.since for each in taken if each.number == 0]
        try:
            outputs = run_together(taken)
        except BaseException as error:
            if len(taken) > 1:
                # Retry one by one: only the failing request should fail.
                for each in taken:
                    self._run([each])
                return
            # It may have been cancelled in between.
            with contextlib.suppress(concurrent.futures.InvalidStateError):
                taken[0].job.future.set_exception(error)
            outputs = []
        seconds = time.monotonic() - began
        cost = sum(each.cost for each in taken)
        mean = self._seconds_of_row or seconds / cost
        self._seconds_of_row = mean + NEWEST * (seconds / cost - mean)
        if self.watcher:
            self.watcher.ran(cost, waited, seconds)
        for each, found in zip(taken, outputs):
            self._finish(each, found)

    def _finish(self, taken: Taken, found: Arrays) -> None:
        job = taken.job
        with self._changed:
            job.found[taken.number] = found
            parts = [part for part in job.found if part is not None]
        if len(parts) == len(job.parts):
            rows = np.concatenate([part.rows for part in job.parts])
            with contextlib.suppress(concurrent.futures.InvalidStateError):
                job.future.set_result(join(parts, rows))


def size_of(length: int) -> int:
    """What is equal for texts of similar length.

    They are between the same two powers of two, so that short ones are not
    padded to long ones.

    Args:
        length: in bytes; up to `SHORT_TEXT` all are alike.
    """
    return (max(length, SHORT_TEXT) - 1).bit_length()


def sizes_of(inputs: Arrays, count: int) -> list[int]:
    """The `size_of` the longest text of each row; equal if there are none."""
    sizes = [0] * count
    for array in inputs.values():
        if array.dtype == object and array.shape[:1] == (count,):
            rows = array.reshape(count, math.prod(array.shape[1:]))
            longest = (max(map(len, row), default=0) for row in rows)
            sizes = list(map(max, sizes, map(size_of, longest)))
    return sizes


def split(
    costs: Sequence[int], most: float, sizes: Sequence[int]
) -> list[Part]:
    """Rows in parts that cost at most `most`, or have one row only.

    If there are several parts, each has texts of one size, the longest first:
    if memory is short, it fails early.

    Args:
        costs: of the rows.
        most: cost of a part.
        sizes: of the rows, of `sizes_of`.
    """
    rows = range(len(costs))
    if sum(costs) <= most or len(rows) < 2:
        size = max(sizes, default=0)
        return [Part(np.array(rows, int), max(sum(costs), 1), size)]
    parts: list[Part] = []
    for size in sorted(set(sizes), reverse=True):
        taken: list[int] = []
        cost = 0
        for row in rows:
            if sizes[row] != size:
                continue
            if taken and cost + costs[row] > most:
                parts.append(Part(np.array(taken), cost, size))
                taken, cost = [], 0
            taken.append(row)
            cost += costs[row]
        parts.append(Part(np.array(taken), cost, size))
    return parts


def join(parts: Sequence[Arrays], rows: NDArray) -> Arrays:
    """Outputs of the parts of a request, in the order of its rows.

    Where their shapes differ, by the number of [MASK]s or of entities, they are
    padded as exports pad them: with "", 0.0 and -1.

    Args:
        parts: outputs of each.
        rows: the numbers of their rows, one part after the other.
    """
    if len(parts) == 1:
        return parts[0]
    joined, places = {}, np.argsort(rows)
    for name in parts[0]:
        arrays = [part[name] for part in parts]
        shape = np.max([array.shape[1:] for array in arrays], axis=0)
        padding = PADDING.get(arrays[0].dtype.kind, 0)
        padded = [
            np.pad(
                array,
                [(0, 0), *((0, int(n)) for n in shape - array.shape[1:])],
                constant_values=padding,
            )
            if array.ndim > 1
            else array
            for array in arrays
        ]
        joined[name] = np.concatenate(padded)[places]
    return joined


def run_together(taken: Sequence[Taken]) -> list[Arrays]:
    """Computes parts of jobs of one kind as one batch; the outputs of each.

    Raises:
        RuntimeError: an output does not have a row for each row of the parts.
    """
    compute = taken[0].job.compute
    if len(taken) == 1 and len(taken[0].job.parts) == 1:
        return [dict(compute(taken[0].inputs))]
    given = [each.inputs for each in taken]
    inputs = {
        name: np.concatenate([one[name] for one in given]) for name in given[0]
    }
    outputs = compute(inputs)
    sizes = [len(each.job.parts[each.number].rows) for each in taken]
    for name, array in outputs.items():
        if array.ndim == 0 or len(array) != sum(sizes):
            raise RuntimeError(
                f"The output {name} must have {sum(sizes)} rows. It has the "
                f"shape {array.shape}"
            )
    found, start = [], 0
    for size in sizes:
        stop = start + size
        found.append({n: array[start:stop] for n, array in outputs.items()})
        start = stop
    return found
