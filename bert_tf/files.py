"""Small files that are either whole or not there.

Comes in: a path and a text. Goes out: a file under its name once all of it is
on the disk. TFRecords and checkpoints have their own way, in their rooms.
"""

import contextlib
import os

from bert_tf.errors import InputError


def write_text(path: str, text: str) -> None:
    """Writes UTF-8 text; whoever reads sees the old file or the new one.

    Raises:
        InputError: it cannot be written; what was there before still is.
    """
    half_written = f"{path}.{os.getpid()}.incomplete"
    try:
        with open(half_written, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(half_written, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.remove(half_written)
        raise InputError(f"Cannot write {path}: {error.strerror}") from error
