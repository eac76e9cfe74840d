"""Files and folders on this machine that appear whole or not at all.

They are written under another name, `PATH.HOST-PROCESS.START.incomplete`, and
renamed once all of it is on the disk. What a killed process leaves under such a
name is removed when the same path is written again; START tells the process
from a later one of the same number.
"""

import contextlib
import glob
import os
import re
import resource
import shutil
import socket
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from typing import BinaryIO

from bert_tf.errors import InputError
from bert_tf.support import liveness


def write_text(path: str, text: str) -> None:
    """Writes UTF-8 text; readers see the old file or the new one.

    Raises:
        InputError: it cannot be written; what was there before still is.
    """
    with whole_or_nothing(path) as file:
        file.write(text.encode("utf-8"))


def copy(source: str, target: str) -> None:
    """Copies a file, unless source and target are the same one.

    Raises:
        InputError: it cannot be written; what was there before still is.
    """
    if os.path.exists(target) and os.path.samefile(source, target):
        return
    with open(source, "rb") as file, whole_or_nothing(target) as written:
        shutil.copyfileobj(file, written)


@contextlib.contextmanager
def whole_or_nothing(path: str) -> Iterator[BinaryIO]:
    """A file to write into, which gets its name when the block is done.

    Raises:
        InputError: it cannot be written; what was there before still is.
    """
    try:
        with unfinished(path) as name:
            # A link of that name is not followed.
            with open(name, "xb") as file:
                _lock(file.fileno())
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(name, path)
    except OSError as error:
        raise InputError(f"Cannot write {path}: {error.strerror}") from error


@contextlib.contextmanager
def whole_folder(path: str) -> Iterator[str]:
    """A folder to write into, which gets its name when the block is done.

    Raises:
        OSError: it cannot be written, or there is a folder with files.
    """
    path = os.path.abspath(path)
    with unfinished_folder(path) as name:
        yield name
        os.rename(name, path)


@contextlib.contextmanager
def unfinished_folder(path: str) -> Iterator[str]:
    """A folder to write into, for the block to rename.

    What still has that name when the block ends is removed.
    """
    with unfinished(path) as name:
        os.mkdir(name)
        descriptor = os.open(name, os.O_RDONLY)
        try:
            _lock(descriptor)
            yield name
        finally:
            os.close(descriptor)


@contextlib.contextmanager
def unfinished(path: str) -> Iterator[str]:
    """A name to write a file or a folder under, for the block to rename.

    What still has that name when the block ends is removed.
    """
    remove_left_overs(path)
    name = unfinished_name(path)
    if not liveness.is_locked(name):
        _remove(name)
    try:
        yield name
    finally:
        _remove(name)


@contextlib.contextmanager
def temporary_folder(purpose: str) -> Iterator[str]:
    """A folder for the block, in the system's folder for such (`TMPDIR`).

    Those of the same purpose that killed processes left are removed.
    """
    start = os.path.join(tempfile.gettempdir(), f"bert_tf_{purpose}.")
    for name in glob.glob(f"{glob.escape(start)}*{_END}"):
        path, _, _ = name.rpartition(f".{socket.gethostname()}-")
        if path and is_left_over(name, path):
            _remove(name)
    folder = tempfile.mkdtemp(
        prefix=os.path.basename(start), suffix=unfinished_name("")
    )
    try:
        yield folder
    finally:
        _remove(folder)


def _lock(descriptor: int) -> None:
    # It tells processes of other containers, whose numbers are not seen here,
    # that this one is alive. Without locks, the numbers alone decide.
    with contextlib.suppress(OSError):
        liveness.lock(descriptor)


def remove_left_overs(path: str) -> None:
    """Removes what killed processes of this machine left of a path."""
    for name in glob.glob(unfinished_names(glob.escape(path))):
        if is_left_over(name, path):
            _remove(name)


def unfinished_name(path: str) -> str:
    """The name under which this process writes to a path."""
    number = os.getpid()
    return f"{_start(path)}{number}.{liveness.incarnation(number)}{_END}"


def unfinished_names(path: str) -> str:
    """A pattern of the names under which this machine writes to a path."""
    return f"{_start(path)}*{_END}"


def is_left_over(name: str, path: str) -> bool:
    """Whether the process that wrote to a path under this name has ended."""
    process = name.removeprefix(_start(path)).removesuffix(_END)
    found = _PROCESS.fullmatch(process)
    if not found:
        return False
    number, start = int(found[1]), found[2]
    if liveness.is_running(number) and (
        start is None or start == liveness.incarnation(number)
    ):
        return False
    return not is_local(name) or not liveness.is_locked(name)


_END = ".incomplete"

# Version 0.1 left out the start.
_PROCESS = re.compile(r"([0-9]+)(?:\.([0-9a-f]{8}))?")


def _start(path: str) -> str:
    return f"{path}.{socket.gethostname()}-"


def _remove(path: str) -> None:
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            os.remove(path)


def is_local(path: str) -> bool:
    """Whether a path is on this machine, and not in a bucket (`gs://`)."""
    return "://" not in path


def require_file(flag, path):
    """Raises `InputError` unless the file that a flag names can be opened."""
    if not os.path.isfile(path):
        kind = "is a folder" if os.path.isdir(path) else "does not exist"
        raise InputError(f"`--{flag}`: the file {path} {kind}.")


def require_other_file(outputs, inputs, flag="output_file"):
    """Raises `InputError` if a file to write is among those to read.

    Links count as the file that they lead to.

    Args:
        outputs: paths of the files to write; they need not exist.
        inputs: {flag: paths of the files to read}. A name in capitals is that
            of an argument without a flag.
        flag: the flag that names the outputs.
    """
    for read, output, path in overwritten(outputs, inputs):
        same = path if path == output else f"{output} ({path})"
        name = read if read.isupper() else f"--{read}"
        raise InputError(
            f"`--{flag}` must be another file than `{name}`. "
            f"Received: {same} for both"
        )


def overwritten(
    outputs: Iterable[str], inputs: Mapping[str, Iterable[str]]
) -> Iterator[tuple[str, str, str]]:
    """Finds files to write that are files to read, also through links.

    Yields:
        The flag that names the input, the path to write, and the path to read.
    """
    written: dict[tuple[int, int], str] = {}
    for output in filter(os.path.exists, outputs):
        found = os.stat(output)
        written.setdefault((found.st_dev, found.st_ino), output)
    for name, paths in inputs.items():
        for path in filter(os.path.exists, paths) if written else ():
            found = os.stat(path)
            same = written.get((found.st_dev, found.st_ino))
            if same is not None and not os.path.isdir(path):
                yield name, same, path


def require_utf8(path):
    """Raises `InputError` for a path that TensorFlow cannot write to."""
    try:
        os.fspath(path).encode("utf-8")
    except UnicodeEncodeError as error:
        raise InputError(
            "TensorFlow needs paths in UTF-8. Rename the folder, or take "
            f"another name. Received: {os.fspath(path)!a}"
        ) from error


def require_room(folder: str, num_bytes: int, what: str) -> None:
    """Raises `InputError` if a file of this size cannot be written.

    Args:
        folder: where it is to be; it exists.
        num_bytes: of the file.
        what: the file, in words.
    """
    if not is_local(folder):
        return
    free = shutil.disk_usage(folder).free
    largest, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    if largest != resource.RLIM_INFINITY and largest < num_bytes:
        reason = f"a file of this process may have {largest:,} at most"
    elif free < num_bytes:
        reason = f"its file system has {free:,} left"
    else:
        return
    raise InputError(
        f"There is no room in {folder} for {what}: it takes {num_bytes:,} "
        f"bytes, and {reason}. Make room, or take another folder."
    )


def make_folder(flag, path):
    """Creates the folder that a flag names, unless it exists.

    Raises:
        InputError: it cannot be created; names the flag.
    """
    try:
        os.makedirs(path, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"`--{flag}`: the folder {path!r} cannot be made: {error.strerror}."
        ) from error
