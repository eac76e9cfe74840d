"""The exceptions that entry points turn into one line instead of a traceback.

Every room raises `InputError` for bad flags, files, rows, checkpoints, configs
and vocabularies; anything else that escapes is a bug and keeps its traceback.
"""


class InputError(ValueError):
    """What the caller gave does not fit; says what, where, and what to do."""


class WorkerLost(InputError):
    """Another process of the same work has ended, or cannot be reached."""


class Interrupted(Exception):
    """A signal ended the work after its state was saved."""

    def __init__(self, message, signal_number):
        super().__init__(message)
        self.signal_number = signal_number
