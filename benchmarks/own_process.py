"""Runs a measurement in a new process, with memory of its own.

A program calls `run` with a job, a dictionary; that starts the same program
with `--job`, which does the job and ends with `answer`. The first process must
not import anything large itself: its memory would count as its children's.
"""

import json
import os
import pathlib
import resource
import signal
import subprocess
import sys


class JobFailed(Exception):
    """A process ended without an answer; `killed` if by a signal."""

    def __init__(self, message, killed):
        super().__init__(message)
        self.killed = killed


def run(program, job):
    """The answer to a job of a new process.

    Args:
        program: the path of a program that knows `--job`.
        job: a dictionary of what JSON can hold.

    Raises:
        JobFailed: the process ended without an answer.
    """
    command = [sys.executable, str(program), f"--job={json.dumps(job)}"]
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "2", **os.environ}
    ended = subprocess.run(
        command, capture_output=True, text=True, encoding="utf-8", env=quiet
    )
    if ended.returncode < 0:
        name = signal.Signals(-ended.returncode).name
        raise JobFailed(f"{job} was ended by {name}", killed=True)
    if ended.returncode:
        raise JobFailed(f"{ended.stderr[-3000:]}\n{job} failed", killed=False)
    return json.loads(ended.stdout.splitlines()[-1])


def answer(values):
    """Prints what the job's process found, for `run` to read."""
    print(json.dumps(values), flush=True)


def peak_bytes(who=resource.RUSAGE_SELF):
    """The most memory that this process has held at once."""
    # Linux counts kilobytes.
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(who).ru_maxrss * unit


def held_bytes():
    """The memory that this process holds now; on Linux only."""
    pages = pathlib.Path("/proc/self/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def processor_seconds():
    """What this process, and those it started that ended, have computed."""
    return sum(os.times()[:4])


def about():
    """The machine and the versions, for the head of a table."""
    from importlib import metadata

    return {
        "cores": os.cpu_count(),
        "python": sys.version.split()[0],
        "tensorflow": metadata.version("tensorflow"),
        "load": round(os.getloadavg()[0], 1),
    }
