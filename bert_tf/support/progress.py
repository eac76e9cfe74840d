"""How far long work has come: a line on a terminal, now and then one in a log.

Comes in: an iterable and how many things it will give. Goes out: the same
things. What the work is stays outside.
"""

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from absl import logging

T = TypeVar("T")

# Between lines: often enough to see it move, rare enough to read a log.
SECONDS_ON_TERMINAL = 0.2
SECONDS_IN_LOG = 30.0


def counted(
    things: Iterable[T],
    total: int,
    label: str,
    size: Callable[[T], int] | None = None,
) -> Iterator[T]:
    """Passes things on and shows how many there were.

    Args:
        things: what is worked on, one after the other.
        total: how many examples they are together.
        label: what is done to them, "Writing train.tf_record".
        size: how many examples a thing is, for batches; None where it is one.
    """
    is_terminal = sys.stderr.isatty()
    every = SECONDS_ON_TERMINAL if is_terminal else SECONDS_IN_LOG
    began = shown = time.monotonic()
    done = 0
    try:
        for thing in things:
            yield thing
            done = min(done + (size(thing) if size else 1), total)
            now = time.monotonic()
            if now - shown < every:
                continue
            shown = now
            rate = done / (now - began)
            text = (
                f"{label}: {done}/{total}, {rate:.1f}/s, "
                f"{format_seconds((total - done) / rate)} left"
            )
            if is_terminal:
                show_line(text)
            else:
                logging.info("%s", text)
    finally:
        if is_terminal:
            show_line("")


class ByteProgress:
    """How much of the text is done: MB, MB/s and the time left."""

    def __init__(self, num_bytes: int, label: str, done: float = 0.0):
        self.num_bytes = num_bytes
        self.label = label
        self.is_terminal = sys.stderr.isatty()
        self.began = self.shown = time.monotonic()
        self.first = done

    def __enter__(self) -> "ByteProgress":
        return self

    def __exit__(self, *error) -> None:
        if self.is_terminal:
            show_line("")

    def show(self, share: float) -> None:
        """Shows it, if the last time was long enough ago."""
        now = time.monotonic()
        every = SECONDS_ON_TERMINAL if self.is_terminal else SECONDS_IN_LOG
        if now - self.shown < every or share <= self.first:
            return
        self.shown = now
        size = self.num_bytes / 1e6
        rate = size * (share - self.first) / (now - self.began)
        left = format_seconds(size * (1 - share) / rate)
        text = (
            f"{self.label}: {size * share:.1f}/{size:.1f} MB, "
            f"{rate:.2f} MB/s, {left} left"
        )
        if self.is_terminal:
            show_line(text)
        else:
            logging.info("%s", text)


def show_line(text: str) -> None:
    """Replaces the last line of the terminal; an empty text clears it."""
    sys.stderr.write(f"\r\x1b[2K{text}")
    sys.stderr.flush()


def format_seconds(seconds: float) -> str:
    """Seconds as people read them: `42 s`, `3:05 min`, `2:10 h`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, whole = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes}:{whole:02} min"
    return f"{minutes // 60}:{minutes % 60:02} h"
