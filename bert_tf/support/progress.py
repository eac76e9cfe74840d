"""Shows the progress of long work: on a terminal, or as lines in the log."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from absl import logging

T = TypeVar("T")

# Between lines: often enough to see them move, rarely enough to read a log.
SECONDS_ON_TERMINAL = 0.2
SECONDS_IN_LOG = 30.0


def counted(
    things: Iterable[T],
    total: int,
    label: str,
    size: Callable[[T], int] | None = None,
) -> Iterator[T]:
    """Passes things on, and shows how many examples they have been so far.

    Args:
        things: examples, or batches of them.
        total: number of examples in all of them.
        label: what is being done, "Writing train.tf_record".
        size: number of examples in a thing; None for one.
    """
    done = 0
    with _Display() as display:
        for thing in things:
            done = min(done + (size(thing) if size else 1), total)
            if done == total:
                display.clear()  # The last one may be all that is asked for.
            yield thing
            is_cleared = done == total and display.is_terminal
            if display.is_due() and not is_cleared:
                rate = done / display.seconds
                left = format_seconds((total - done) / rate)
                display.write(
                    f"{label}: {done}/{total}, {rate:.1f}/s, {left} left"
                )


class _Display:
    """Where progress is shown, and when the next line is due."""

    def __init__(self) -> None:
        self.is_terminal = sys.stderr.isatty()
        self.every = SECONDS_ON_TERMINAL if self.is_terminal else SECONDS_IN_LOG
        self.began = self.shown = self.now = time.monotonic()

    def __enter__(self):
        return self

    def __exit__(self, *error) -> None:
        self.clear()

    def clear(self) -> None:
        """Removes the line from the terminal."""
        if self.is_terminal:
            show_line("")

    def is_due(self) -> bool:
        """Looks at the clock: whether it is time for a line."""
        self.now = time.monotonic()
        return self.now - self.shown >= self.every

    @property
    def seconds(self) -> float:
        """From the start to the last look at the clock."""
        return self.now - self.began

    def write(self, text: str) -> None:
        """Shows a line; the next one is due some time after it."""
        self.shown = self.now
        if self.is_terminal:
            show_line(text)
        else:
            logging.info("%s", text)


class ByteProgress(_Display):
    """Shows how much of a text is done: MB, MB/s and the time left.

    Args:
        num_bytes: of the whole text.
        label: what is being done, "Counting words".
        done: the share that was done before, in [0, 1].
    """

    def __init__(self, num_bytes: int, label: str, done: float = 0.0):
        super().__init__()
        self.num_bytes = num_bytes
        self.label = label
        self.first = done

    def show(self, share: float) -> None:
        """Shows that a share of the text is done, if a line is due."""
        if not self.is_due() or share <= self.first:
            return
        size = self.num_bytes / 1e6
        rate = size * (share - self.first) / self.seconds
        left = format_seconds(size * (1 - share) / rate)
        self.write(
            f"{self.label}: {size * share:.1f}/{size:.1f} MB, "
            f"{rate:.2f} MB/s, {left} left"
        )


def show_line(text: str) -> None:
    """Replaces the last line of the terminal; an empty text clears it."""
    sys.stderr.write(f"\r\x1b[2K{text}")
    sys.stderr.flush()


def format_seconds(seconds: float) -> str:
    """Formats a duration for people: `42 s`, `3:05 min`, `2:10 h`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, whole = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes}:{whole:02} min"
    return f"{minutes // 60}:{minutes % 60:02} h"
