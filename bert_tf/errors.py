"""The exceptions that commands report in one line, and wording for messages.

`InputError` is raised for bad flags, files, rows, checkpoints, configs and
vocabularies. Any other exception is a bug and keeps its traceback.
"""

import os
import re
from collections.abc import Sequence


class InputError(ValueError):
    """Bad input; the message tells what, where, and what to do about it."""


class WorkerLost(InputError):
    """Another process of the same run has ended, or cannot be reached."""


class Interrupted(Exception):
    """A signal stopped the run after its state was saved."""

    def __init__(self, message, signal_number):
        super().__init__(message)
        self.signal_number = signal_number


def quote(text: str, length: int = 60) -> str:
    """Quotes a text for an error message, and shortens it if it is long."""
    return repr(text if len(text) <= length else text[: length - 3] + "...")


# Control characters but line ends and tabs, what reverses the direction of
# text, and halves of surrogate pairs, which stand for bytes that are not UTF-8.
_UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


def printable(text: str) -> str:
    r"""A message without characters that would act on a terminal.

    They come from names of files, headers of servers and the like, and are
    replaced by their escapes, such as `\x1b`.
    """
    return _UNPRINTABLE.sub(
        lambda found: found[0].encode("unicode_escape").decode("ascii"), text
    )


def count_of(number: int, noun: str) -> str:
    """A number and its noun: `1 column`, `2 columns`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def list_folder(folder: str, shown: int = 20) -> str:
    """The content of a folder, for the message that a file is missing."""
    names = sorted(
        name + "/" * os.path.isdir(os.path.join(folder, name))
        for name in os.listdir(folder)
    )
    if not names:
        return "nothing"
    rest = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + rest


def some_of(texts: Sequence[str], shown: int = 20) -> str:
    """The first few of many texts, quoted, and the number of others."""
    rest = f" and {len(texts) - shown} more" if len(texts) > shown else ""
    return ", ".join(map(quote, texts[:shown])) + rest


def require_positive(name: str, value: int) -> None:
    """Raises `InputError` for a number that is not above 0."""
    if value < 1:
        raise InputError(f"`{name}` must be above 0. Received: {name}={value}")
