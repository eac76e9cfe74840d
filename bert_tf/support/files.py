"""Files on this machine that are either whole or not there.

Comes in: a path and a text, or whoever writes into a file. Goes out: a file
under its name once all of it is on the disk. Checkpoints, and TFRecords that
may lie in a bucket, have their own way, in their rooms.
"""

import contextlib
import glob
import os
import socket
from collections.abc import Iterator
from typing import BinaryIO

from bert_tf.errors import InputError


def write_text(path: str, text: str) -> None:
    """Writes UTF-8 text; whoever reads sees the old file or the new one.

    Raises:
        InputError: it cannot be written; what was there before still is.
    """
    with whole_or_nothing(path) as file:
        file.write(text.encode("utf-8"))


@contextlib.contextmanager
def whole_or_nothing(path: str) -> Iterator[BinaryIO]:
    """A file to write into, that gets its name once the block is done.

    Raises:
        InputError: it cannot be written; what was there before still is.
    """
    half_written = f"{_half_written(path)}{os.getpid()}.incomplete"
    try:
        with open(half_written, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(half_written, path)
    except OSError as error:
        raise InputError(f"Cannot write {path}: {error.strerror}") from error
    finally:
        with contextlib.suppress(OSError):
            os.remove(half_written)


def remove_left_overs(path: str) -> None:
    """Removes what killed processes of this machine left of the file."""
    start = _half_written(path)
    for name in glob.glob(f"{glob.escape(start)}*.incomplete"):
        process = name[len(start) : -len(".incomplete")]
        if process.isdigit() and not is_running(int(process)):
            with contextlib.suppress(OSError):
                os.remove(name)


def is_running(process: int) -> bool:
    """Whether this machine has a process of that number."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _half_written(path: str) -> str:
    return f"{path}.{socket.gethostname()}-"


def make_folder(flag, path):
    """Makes the folder that a flag names, unless it is there.

    Raises:
        InputError: it cannot be made; names the flag.
    """
    try:
        os.makedirs(path, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"`--{flag}`: the folder {path!r} cannot be made: {error.strerror}."
        ) from error
