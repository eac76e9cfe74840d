"""One training at a time in a folder: a lock that no ended process keeps.

`training.lock` in the folder says who trains there: JSON with host, boot and
process, and a heartbeat, a number that changes every few seconds. The process
also holds an operating-system lock on the file, which ends with it. Where that
lock says nothing (another machine, a file system without locks), the heartbeat
is watched, so that no two clocks are compared. docs/training.md has the rules.
"""

import contextlib
import dataclasses
import datetime
import errno
import json
import os
import threading
import time
import uuid
from collections.abc import Iterator

from absl import logging

from bert_tf.errors import InputError
from bert_tf.support import liveness
from bert_tf.support.liveness import Process

FILE_NAME = "training.lock"
INTERVAL = 10.0
"""Seconds between two heartbeats."""
MISSED = 6
"""A training elsewhere is taken for ended after this many intervals."""

# Errors of what a file system cannot do.
_UNSUPPORTED = (errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)

_held: dict[str, "_Lock"] = {}


@contextlib.contextmanager
def alone(
    folder: str, interval: float = INTERVAL, missed: int = MISSED
) -> Iterator[None]:
    """Keeps other trainings out of a folder during the block.

    Args:
        folder: must exist. One in a bucket (`gs://`) is not locked,
            and neither is the local folder of its other files.
        interval: seconds between two heartbeats.
        missed: intervals without a heartbeat after which a training that cannot
            be seen from here is taken for ended.

    Raises:
        InputError: another training is at work there; says which.
    """
    if "://" in folder:
        logging.info(
            "%s is not locked, as it is in a bucket: start one training in it "
            "at a time.",
            folder,
        )
        yield
        return
    lock = _Lock(folder, interval, missed)
    if not lock.acquire():
        yield
        return
    _held[os.path.realpath(folder)] = lock
    try:
        yield
    finally:
        _held.pop(os.path.realpath(folder), None)
        lock.release()


def require_held(folder: str) -> None:
    """Raises `InputError` if the lock of this process was taken over.

    A process that was stopped for long, such as a suspended job, may find
    another one in its folder. Without a lock there is nothing to check.
    """
    other = find_successor(folder)
    if other:
        raise InputError(
            f"Another training has taken over {folder}: {other}. This process "
            "had missed its heartbeats, as one does that is suspended. It "
            "writes nothing more."
        )


def find_successor(folder: str) -> "_Owner | None":
    """Who has taken over the lock of this process; None for nobody."""
    lock = _held.get(os.path.realpath(folder))
    return lock.find_successor() if lock else None


@dataclasses.dataclass(frozen=True)
class _Owner:
    """Who wrote the file. `token` differs between two trainings."""

    process: Process
    since: str
    token: str

    @classmethod
    def read(cls, content: bytes) -> "_Owner | None":
        """The owner in a file's content; None if it has none."""
        try:
            values = json.loads(content)
            names = ("host", "boot", "space", "process", "started")
            process = Process(*(values[name] for name in names))
            if not isinstance(process.number, int):
                return None
            return cls(process, str(values["since"]), values["token"])
        except (ValueError, KeyError, TypeError, RecursionError):
            return None

    def content(self, heartbeat: int) -> bytes:
        """What the file holds. Its size stays the same from beat to beat."""
        process = self.process
        values = {
            "host": process.host,
            "boot": process.boot,
            "space": process.space,
            "process": process.number,
            "started": process.started,
            "since": self.since,
            "token": self.token,
            "heartbeat": f"{heartbeat:012}",
        }
        return (json.dumps(values, indent=1) + "\n").encode()

    def __str__(self) -> str:
        process = self.process
        mine = " (this one)" if process == liveness.this_process() else ""
        return (
            f"process {process.number}{mine} on host {process.host}, since "
            f"{self.since}"
        )


class _NoSuchFileError(Exception):
    """The file cannot be opened, as its file system has none of this kind."""


class _Lock:
    """The lock of one folder, for one training of this process."""

    def __init__(self, folder: str, interval: float, missed: int) -> None:
        self.folder = folder
        self.path = os.path.join(folder, FILE_NAME)
        self.interval = interval
        self.missed = missed
        now = datetime.datetime.now().astimezone()
        self.owner = _Owner(
            liveness.this_process(),
            now.isoformat(" ", timespec="seconds"),
            uuid.uuid4().hex,
        )
        self._file = -1
        self._locked: bool | None = None
        self._watched = False
        self._beats = 0
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    # ------------------------------------------------------------- acquiring

    def acquire(self) -> bool:
        """Takes the lock; False if this file system cannot have one.

        Raises:
            InputError: another training has it, or the file cannot be written.
        """
        try:
            while not self._try():
                pass
        except _NoSuchFileError:
            logging.warning("No lock is possible in %s.", self.folder)
            return False
        except OSError as error:
            self._close()
            raise InputError(
                f"`--output_dir`: {self.path}, which keeps other trainings "
                f"out, cannot be written: {error.strerror}."
            ) from error
        except BaseException:
            self._close()
            raise
        if self._locked is None:
            logging.info(
                "%s is on a file system without locks: only the heartbeat in "
                "%s keeps other trainings out.",
                self.folder,
                FILE_NAME,
            )
        # A fork must not hold the lock when this process has ended.
        os.register_at_fork(after_in_child=self._close)
        self._thread = threading.Thread(
            target=self._beat_until_end, name="training.lock", daemon=True
        )
        self._thread.start()
        return True

    def _try(self) -> bool:
        """One attempt; False to start over, since the file has changed."""
        try:
            is_new, is_ours = self._open()
        except OSError as error:
            if error.errno in _UNSUPPORTED:
                raise _NoSuchFileError from error
            raise
        self._locked = liveness.lock(self._file)
        content = b"" if is_new else _read(self.path)
        if content is None or (self._locked and not self._is_in_place()):
            return self._give_up()  # Its owner has just removed it.
        is_free = not content and (
            self._locked or (is_new and self._locked is None)
        )
        if not is_free and not self._has_ended(content):
            return self._give_up()
        if not (is_free or self._locked) or not is_ours:
            # Another file gets the name: the old one may be locked still, or
            # belong to another user.
            self._put_aside(content)
            return self._give_up()
        self._write()
        if self._watched:
            # Another training may have watched, and written, as well.
            time.sleep(min(2.0, self.interval / 2))
        if successor := self.find_successor():
            self._refuse(successor)
        return self._is_in_place() or self._give_up()

    def _give_up(self) -> bool:
        self._close()
        return False

    def _open(self) -> tuple[bool, bool]:
        """Opens the file; returns whether it is new, and may be written."""
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        try:
            self._file = os.open(self.path, flags | os.O_EXCL, 0o666)
            return True, True
        except FileExistsError:
            pass
        try:
            self._file = os.open(self.path, flags, 0o666)
        except PermissionError:
            self._file = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
            return False, False
        return False, True

    def _has_ended(self, content: bytes) -> bool:
        """Whether the training of a content has ended.

        Returns:
            False if the file has changed so that one must look again.

        Raises:
            InputError: it is at work.
        """
        owner = _Owner.read(content)
        if owner is None:
            return self._watch(content, "A training that cannot be identified")
        alive = self._is_alive(owner)
        if alive:
            self._refuse(owner)
        if alive is None:
            return self._watch(content, f"The training of {owner}", owner)
        if self._locked is False:
            # It may have been taken a moment ago, and not be written yet.
            time.sleep(min(1.0, self.interval))
            if _read(self.path) != content:
                return False
        logging.info(
            "The training of %s has ended without removing its lock in %s: "
            "this training takes over.",
            owner,
            self.folder,
        )
        return True

    def _is_alive(self, owner: _Owner) -> bool | None:
        """Whether the owner is running; None if it must be watched."""
        if not liveness.is_same_machine(owner.process):
            alive = liveness.is_alive(owner.process)
            return None if self._locked is False else alive
        if self._locked:
            # On one machine the operating system's lock decides.
            return False
        alive = liveness.is_alive(owner.process)
        return True if alive is None and self._locked is False else alive

    def _watch(
        self, content: bytes, name: str, owner: _Owner | None = None
    ) -> bool:
        """Waits for a heartbeat; True if there was none, False if it ended.

        Raises:
            InputError: there was one.
        """
        seconds = self.missed * self.interval
        self._watched = True
        logging.info(
            "%s in %s cannot be seen from here. If it is still running, there "
            "is a heartbeat in %s every %g s: waiting for it, for at most "
            "%g s.",
            name,
            self.folder,
            FILE_NAME,
            self.interval,
            seconds,
        )
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            time.sleep(min(1.0, self.interval / 4))
            now = _read(self.path)
            if now is None:
                self._watched = False
                return False
            if now != content and now:
                self._refuse(_Owner.read(now) or owner)
        logging.warning(
            "%s has missed %d heartbeats and is taken for ended: this training "
            "takes over %s.",
            name,
            self.missed,
            self.folder,
        )
        return True

    def _refuse(self, owner: _Owner | None) -> None:
        name = owner or "an unknown process"
        raise InputError(
            f"`--output_dir`: {self.folder} has a training at work: {name}. "
            "Wait until it ends, end it, or take another folder; evaluating, "
            "predicting and exporting there are possible meanwhile. A training "
            f"that is lost with its machine needs no cleaning up: after "
            f"{self.missed} missed heartbeats, one every {self.interval:g} s, "
            "the next one takes over."
        )

    def _put_aside(self, content: bytes) -> None:
        """Removes the file of a training that has ended, and no other one."""
        aside = f"{self.path}.{self.owner.token}"
        with contextlib.suppress(FileNotFoundError):
            os.rename(self.path, aside)
            if _read(aside) != content:
                # Another process was quicker; this is its file.
                # Without it, as where there are no hard links, that process
                # finds the next owner's file, and writes nothing more.
                with contextlib.suppress(OSError):
                    os.link(aside, self.path)
            os.remove(aside)

    # --------------------------------------------------------------- holding

    def _write(self) -> None:
        content = self.owner.content(self._beats)
        os.pwrite(self._file, content, 0)
        os.ftruncate(self._file, len(content))
        try:
            os.fsync(self._file)
        except OSError as error:
            if error.errno not in _UNSUPPORTED:
                raise

    def _beat_until_end(self) -> None:
        while not self._ended.wait(self.interval):
            # A full disk or a lost connection must not end the training.
            with contextlib.suppress(OSError):
                if self._is_in_place() and not self.find_successor():
                    self._beats += 1
                    self._write()

    def find_successor(self) -> _Owner | None:
        """Who has taken over the lock; None if nobody has."""
        content = _read(self.path)
        owner = _Owner.read(content) if content else None
        if owner is None or owner.token == self.owner.token:
            return None
        return owner

    def release(self) -> None:
        """Ends the heartbeat and removes the file."""
        if os.getpid() != self.owner.process.number:
            return
        self._ended.set()
        if self._thread:
            self._thread.join()
        with contextlib.suppress(OSError):
            if self._is_in_place() and not self.find_successor():
                os.remove(self.path)
        self._close()

    def _is_in_place(self) -> bool:
        """Whether the open file still has its name."""
        try:
            named = os.stat(self.path)
        except FileNotFoundError:
            return False
        return os.path.samestat(os.fstat(self._file), named)

    def _close(self) -> None:
        file, self._file = self._file, -1
        if file >= 0:
            os.close(file)


def _read(path: str) -> bytes | None:
    """The content of the file; None if it is not there, b"" if unreadable."""
    try:
        with open(path, "rb") as file:
            return file.read(10_000)
    except FileNotFoundError:
        return None
    except OSError:
        return b""
