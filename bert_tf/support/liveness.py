"""Whether the process that wrote a file is still running.

A process number alone does not tell: numbers repeat after a reboot, and the
first process of every container is number 1. So the moment of its start counts
too, and the boot of the machine that it was started in.
"""

import contextlib
import errno
import hashlib
import os
import socket
from typing import NamedTuple

try:
    import fcntl
except ImportError:  # Windows, whose files `flock` cannot lock.
    fcntl = None  # type: ignore[assignment]

# What `flock` fails with where a file system has no locks.
_NO_LOCKS = (
    errno.ENOLCK,
    errno.ENOTSUP,
    errno.EOPNOTSUPP,
    errno.ENOSYS,
    errno.EINVAL,
)


class Process(NamedTuple):
    """One process, among all machines and boots.

    Attributes:
        host: name of its machine or container.
        boot: identifier of the machine's boot, the same in all containers of
            one machine; empty where the system has none.
        space: the process numbers that its number is one of: that of a machine,
            or of a container; empty where the system does not tell.
        number: the process number.
        started: ticks from the boot to its start; empty where unknown.
    """

    host: str
    boot: str
    space: str
    number: int
    started: str


def this_process() -> Process:
    """Describes this process; a fork is another one."""
    number = os.getpid()
    return Process(
        socket.gethostname(), _boot(), _space(), number, _started(number)
    )


def is_same_machine(process: Process) -> bool:
    """Whether a process belongs to this machine, and to its present boot."""
    here = _boot()
    if here and process.boot:
        return process.boot == here
    return process.host == socket.gethostname()


def is_alive(process: Process) -> bool | None:
    """Whether a process is running; None if that cannot be seen from here.

    One of another machine, or of another container, cannot be seen.
    """
    if not is_same_machine(process):
        # The machine was started again, or a container of the same name was.
        # Many machines are called localhost.
        name = socket.gethostname()
        is_own_name = name.partition(".")[0] != "localhost"
        return False if process.host == name and is_own_name else None
    if process.space != _space():
        return None
    if not is_running(process.number):
        return False
    return process.started == _started(process.number)


def is_running(number: int) -> bool:
    """Whether this machine has a process of that number."""
    try:
        os.kill(number, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def incarnation(number: int) -> str:
    """Tells the process of a number from others that had or will have it."""
    text = f"{_boot()} {_started(number)}"
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def lock(descriptor: int) -> bool | None:
    """Locks an open file, until it is closed or the process ends.

    Returns:
        Whether it is locked now; if not, another process or another part of
        this one has done so. None if there are no locks.
    """
    if fcntl is None:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _NO_LOCKS:
            return None
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return False
        raise
    return True


def is_locked(path: str) -> bool:
    """Whether a process has locked a file or a folder."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        return lock(descriptor) is False
    finally:
        os.close(descriptor)


def _boot() -> str:
    return _read("/proc/sys/kernel/random/boot_id").strip()


def _space() -> str:
    with contextlib.suppress(OSError):
        return os.readlink("/proc/self/ns/pid")
    return ""


def _started(number: int) -> str:
    # The name of the program comes before, in parentheses, and may have any
    # character.
    fields = _read(f"/proc/{number}/stat").rpartition(")")[2].split()
    if not fields:
        return ""
    # A process that has ended stays until its parent asks for its exit code.
    return "ended" if fields[0] in "ZX" else fields[19]


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""
