"""What is printed: to an encoding that lacks characters, or a full disk."""

import contextlib
import errno
import os
import pathlib
import signal
import sys
from collections.abc import Iterator

_OF_WRITING = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EIO,
    errno.EBADF,
    errno.EPIPE,
}


@contextlib.contextmanager
def printing() -> Iterator[None]:
    r"""A context around a whole command: what it prints arrives, or it fails.

    Characters that stdout's encoding lacks, and lone surrogates, are printed as
    escapes: `\u4e2d`.

    Raises:
        SystemExit: 1 with a message, stdout cannot be written; 141 without one,
            its reader has closed it, as in `| head`.
    """
    # Python has None for a stream that was closed, and the next file to be
    # opened would get its number.
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:
            mode = "r" if name == "stdin" else "w"
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115
    with contextlib.suppress(AttributeError):  # A test's own.
        sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore
    try:
        try:
            yield
        finally:
            sys.stdout.flush()  # Else Python does, too late for a message.
    except OSError as error:
        # Failures of files are reported by their names elsewhere.
        if error.filename is not None or error.errno not in _OF_WRITING:
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            sys.exit(128 + signal.SIGPIPE)
        print(
            f"{pathlib.Path(sys.argv[0]).stem}: error: Cannot print to stdout: "
            f"{error.strerror}",
            file=sys.stderr,
        )
        sys.exit(1)
