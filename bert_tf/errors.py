"""The exceptions that entry points turn into one line instead of a traceback.

Every room raises `InputError` for bad flags, files, rows, checkpoints, configs
and vocabularies; anything else that escapes is a bug and keeps its traceback.
"""

import os
from collections.abc import Sequence


class InputError(ValueError):
    """What the caller gave does not fit; says what, where, and what to do."""


class WorkerLost(InputError):
    """Another process of the same work has ended, or cannot be reached."""


class Interrupted(Exception):
    """A signal ended the work after its state was saved."""

    def __init__(self, message, signal_number):
        super().__init__(message)
        self.signal_number = signal_number


def quote(text: str, length: int = 60) -> str:
    """A text as an error message shows it: quoted, and not too long."""
    return repr(text if len(text) <= length else text[: length - 3] + "...")


def count_of(number: int, noun: str) -> str:
    """`1 column`, `2 columns`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def list_folder(folder: str, shown: int = 20) -> str:
    """What lies in a folder, for the message that a file does not."""
    names = sorted(
        name + "/" * os.path.isdir(os.path.join(folder, name))
        for name in os.listdir(folder)
    )
    if not names:
        return "nothing"
    rest = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + rest


def require_positive(name, value):
    """Raises `InputError` for a number that is not above 0."""
    if value < 1:
        raise InputError(f"`{name}` must be above 0. Received: {name}={value}")


def some_of(labels: Sequence[str], shown: int = 20) -> str:
    """The first few of many labels, quoted, and how many more there are."""
    rest = f" and {len(labels) - shown} more" if len(labels) > shown else ""
    return ", ".join(map(quote, labels[:shown])) + rest
