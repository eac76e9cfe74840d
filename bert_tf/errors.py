"""The one exception for mistakes that a user can mend.

Every room raises `InputError` for bad flags, files, rows, checkpoints, configs
and vocabularies. Entry points print its message without a traceback
(`command_line.run`); anything else that escapes is a bug and keeps its
traceback. Nothing else belongs here.
"""


class InputError(ValueError):
    """What the caller gave does not fit; says what, where, and what to do."""
