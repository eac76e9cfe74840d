"""Thresholds of several labels: thresholds.tsv beside a checkpoint.

One line for each label, in the order of labels.txt: its name, a tab, and the
score at or over which it is predicted.
"""

import logging
import math
import os
from collections.abc import Iterable, Sequence

import numpy as np

from bert_tf.checkpoints.names import THRESHOLDS_FILE as FILE
from bert_tf.errors import InputError, quote, some_of

AUTO = "auto"
"""Stands for thresholds chosen in evaluation, or kept by it."""

_LOGGER = logging.getLogger(__name__)


def to_text(labels: Sequence[str], thresholds: Sequence[float]) -> str:
    """The content of a file."""
    pairs = zip(labels, thresholds, strict=True)
    return "".join(f"{label}\t{np.float32(one)!s}\n" for label, one in pairs)


def find(
    folders: Iterable[str], labels: Sequence[str]
) -> tuple[float, ...] | None:
    """The thresholds of the first folder that has some.

    Raises:
        InputError: they are not those of these labels.
    """
    for folder in folders:
        path = os.path.join(folder, FILE)
        if os.path.isfile(path):
            return read(path, labels)
    return None


def require_none(folders: Iterable[str]) -> None:
    """Raises `InputError` if folders to train in keep thresholds."""
    paths = [os.path.join(folder, FILE) for folder in folders]
    old = [path for path in paths if os.path.isfile(path)]
    if old:
        raise InputError(
            f"{' and '.join(old)}: thresholds of an earlier checkpoint, which "
            "later runs would use with the one trained now. Give "
            f"`--threshold={AUTO}` to choose them again, or a number, or "
            "remove the file"
        )


def read(path: str, labels: Sequence[str]) -> tuple[float, ...]:
    """The thresholds of a file.

    Raises:
        InputError: it cannot be read, has other labels, or no numbers.
    """
    try:
        with open(path, encoding="utf-8-sig") as file:
            lines = file.read().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"Cannot read {path}: {error}") from error
    parts = [line.rpartition("\t") for line in lines]
    names = tuple(name for name, _, _ in parts)
    if names != tuple(labels):
        raise InputError(
            f"{path} must have a line for each label, in the order of "
            f"labels.txt: {some_of(labels)}. It has: {some_of(names)}"
        )
    found = tuple(
        _number(path, at, text) for at, (_, _, text) in enumerate(parts, 1)
    )
    _LOGGER.info("Taking the thresholds of %s.", path)
    return found


def _number(path: str, line: int, text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 <= number <= 1:
        raise InputError(
            f"{path}, line {line}: found {quote(text)}; expected a threshold "
            "from 0 to 1"
        )
    return number
