"""Runs jobs in several processes.

The pools of the standard library hang when a worker is killed, or leave workers
running when their parent is.
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
    """Runs each job in one of several processes.

    Workers are spawned, so that they share no memory with this process. They
    exit when this process or the iterator does.

    Args:
        prepare: called once in each worker; returns the function of a job.
        arguments: of `prepare`.
        jobs: are started in order.
        num_workers: number of processes.
        seconds: maximum time between two yields.

    Yields:
        (job, result) for a finished job; None if none finished in this time.

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
            # With no other copy open, the worker's exit closes the connection.
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
            "its work was done. If you did not do that, the machine may be "
            "short of memory: use fewer workers"
        ) from None
    if error is not None:
        raise error
    return result


def _work(connection: Connection, prepare, arguments) -> None:
    """The main loop of a worker: runs jobs until its parent exits."""
    # Ctrl-C reaches all processes of a terminal; the parent handles it.
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
