"""One function, many arguments, several processes.

Comes in: a function that makes the work's function, and jobs. Goes out: each
job with its result, as they are done. What the work is stays outside.

The standard library's pools wait for ever when a worker is killed, or leave
workers behind when their owner is.
"""

import contextlib
import multiprocessing
import os
import signal
from collections.abc import Callable, Generator, Iterable, Iterator
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar

from bert_tf.errors import InputError

Job = TypeVar("Job")


def run_jobs(
    prepare: Callable[..., Callable[[Job], Any]],
    arguments: tuple,
    jobs: Iterable[Job],
    num_workers: int,
    seconds: float,
) -> Generator[tuple[Job, Any] | None, None, None]:
    """Does jobs in several processes, each job in one of them.

    Workers start from nothing, so that they hold nothing that they do not
    need. They end with this process, however it ends, and with this iterator.

    Args:
        prepare: called once in each worker; returns what does a job.
        arguments: of `prepare`.
        jobs: are handed out in order.
        num_workers: how many processes.
        seconds: how long to wait at most between two yields.

    Yields:
        (job, result) for a job that is done; None where nothing was done for
        so many seconds.

    Raises:
        InputError: a worker raised it, or was killed.
    """
    context = multiprocessing.get_context("spawn")
    todo = iter(jobs)
    doing: dict[Any, tuple[BaseProcess, Job]] = {}
    started: list[BaseProcess] = []
    try:
        for job in _first(todo, num_workers):
            ours, theirs = context.Pipe()
            worker: BaseProcess = context.Process(
                target=_work, args=(theirs, prepare, arguments), daemon=True
            )
            worker.start()
            started.append(worker)
            # Only the worker may hold it: its end is then seen here.
            theirs.close()
            ours.send(job)
            doing[ours] = (worker, job)
        while doing:
            ready: list[Any] = wait(list(doing), timeout=seconds)
            if not ready:
                yield None
            for connection in ready:
                worker, job = doing.pop(connection)
                yield job, _receive(connection, worker)
                for next_job in _first(todo, 1):
                    connection.send(next_job)
                    doing[connection] = (worker, next_job)
    finally:
        for worker in started:
            worker.terminate()
        for worker in started:
            worker.join()


def _first(things: Iterator[Job], count: int) -> Iterator[Job]:
    for _, thing in zip(range(count), things):
        yield thing


def _receive(connection: Connection, worker: BaseProcess) -> Any:
    try:
        result, error = connection.recv()
    except (EOFError, ConnectionError):
        worker.join()
        code = worker.exitcode or 0
        if code > 0:
            raise RuntimeError(
                f"Worker process {worker.pid} failed; its error is above."
            ) from None
        raise InputError(
            f"Worker process {worker.pid} was ended by signal {-code} before "
            "its work was done. If nobody did that, the machine may be short "
            "of memory: use fewer workers"
        ) from None
    if error is not None:
        raise error
    return result


def _work(connection: Connection, prepare, arguments) -> None:
    """What a worker process does: jobs, until its owner ends."""
    # Ctrl-C reaches all processes of a terminal; the owner decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    do = None
    with contextlib.suppress(EOFError, ConnectionError):
        while True:
            job = connection.recv()
            try:
                do = do or prepare(*arguments)
                result, error = do(job), None
            except InputError as raised:
                result, error = None, raised
            connection.send((result, error))
    os._exit(0)
