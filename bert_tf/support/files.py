"""Files and folders on this machine that appear whole or not at all.

They are written under another name, `PATH.HOST-PROCESS.incomplete`, and renamed
once all of it is on the disk. What a killed process leaves under such a name is
removed when the same path is written again.
"""

import contextlib
import glob
import os
import shutil
import socket
from collections.abc import Iterator
from typing import BinaryIO

from bert_tf.errors import InputError


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
            with open(name, "wb") as file:
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
    with unfinished(path) as name:
        os.mkdir(name)
        yield name
        os.rename(name, path)


@contextlib.contextmanager
def unfinished(path: str) -> Iterator[str]:
    """A name to write a file or a folder under, for the block to rename.

    What still has that name when the block ends is removed.
    """
    remove_left_overs(path)
    name = unfinished_name(path)
    try:
        yield name
    finally:
        _remove(name)


def remove_left_overs(path: str) -> None:
    """Removes what killed processes of this machine left of a path."""
    for name in glob.glob(unfinished_names(glob.escape(path))):
        if is_left_over(name, path):
            _remove(name)


def unfinished_name(path: str) -> str:
    """The name under which this process writes to a path."""
    return f"{_start(path)}{os.getpid()}{_END}"


def unfinished_names(path: str) -> str:
    """A pattern of the names under which this machine writes to a path."""
    return f"{_start(path)}*{_END}"


def is_left_over(name: str, path: str) -> bool:
    """Whether the process that wrote to a path under this name has ended."""
    process = name.removeprefix(_start(path)).removesuffix(_END)
    return process.isdigit() and not is_running(int(process))


_END = ".incomplete"


def _start(path: str) -> str:
    return f"{path}.{socket.gethostname()}-"


def is_running(process: int) -> bool:
    """Whether this machine has a process of that number."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _remove(path: str) -> None:
    if os.path.isdir(path):
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            os.remove(path)


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
        inputs: {flag: paths of the files to read}.
        flag: the flag that names the outputs.
    """
    for output in filter(os.path.exists, outputs):
        for read, paths in inputs.items():
            for path in filter(os.path.exists, paths):
                if os.path.samefile(output, path):
                    same = path if path == output else f"{output} ({path})"
                    raise InputError(
                        f"`--{flag}` must be another file than `--{read}`. "
                        f"Received: {same} for both"
                    )


def require_utf8(path):
    """Raises `InputError` for a path that TensorFlow cannot write to."""
    try:
        path.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InputError(
            "TensorFlow needs paths in UTF-8. Rename the folder, or take "
            f"another name. Received: {path!a}"
        ) from error


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
