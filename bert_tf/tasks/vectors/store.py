"""Keeps the vectors of a file's lines, so that they are computed once.

FILE                   .npz: `vectors` float32 [N, D], `lines` int64 [N], their
                       numbers from 1, and `about`, JSON
FILE.parts/about.json  while it is made
FILE.parts/0.npy, ...  the vectors so far, `LINES_IN_PART` in each
FILE.parts/lock        locked by the process that makes it
"""

import contextlib
import hashlib
import json
import logging
import os
import shutil
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from bert_tf.errors import InputError
from bert_tf.support import files, liveness

LINES_IN_PART = 4096

_LOGGER = logging.getLogger(__name__)

About = Mapping[str, Any]
"""What vectors were made of and with, by name; JSON."""

Encode = Callable[[Sequence[str]], Iterable[np.ndarray]]
"""Yields the vector [D] of each text, in order."""

_READ_ERRORS = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile)


def fingerprint(texts: Iterable[str]) -> str:
    """A hash of texts in their order."""
    found = hashlib.sha256()
    for text in texts:
        found.update(text.encode("utf-8", "surrogatepass") + b"\n")
    return found.hexdigest()


def read(path: str, about: About) -> np.ndarray | None:
    """The vectors in a file; None if there is no such file.

    Args:
        path: of the file.
        about: what they must have been made of and with.

    Raises:
        InputError: the file is damaged, or was made of or with something else;
            names what.
    """
    if not os.path.exists(path):
        return None
    try:
        with np.load(path, allow_pickle=False) as file:
            found = json.loads(str(file["about"]))
            wrong = [name for name in about if found.get(name) != about[name]]
            # Read only if it is of use.
            vectors = file["vectors"] if not wrong else np.zeros((0, 0))
    except _READ_ERRORS as error:
        reason = (
            getattr(error, "strerror", None)
            or "It is damaged or of another kind"
        )
        raise InputError(
            f"{path} must be a file of vectors that `search` has written. "
            f"{reason}: remove it, or give another --vectors_file"
        ) from error
    if wrong:
        differences = "; ".join(
            f"{name}: {_shown(found.get(name))} there, {_shown(about[name])} "
            "here"
            for name in wrong
        )
        raise InputError(
            f"{path} holds vectors of something else: {differences}. Remove "
            "it, or give another --vectors_file"
        )
    if vectors.ndim != 2 or len(vectors) != about["count"]:
        raise InputError(
            f"{path} must hold {about['count']} vectors. It is damaged: remove "
            "it"
        )
    return vectors


def _shown(value: Any) -> str:
    text = str(value)
    return text[:12] if len(text) == hashlib.sha256().digest_size * 2 else text


def make(
    path: str,
    about: About,
    texts: Sequence[str],
    lines: Sequence[int],
    encode: Encode,
) -> np.ndarray:
    """Encodes texts, and writes their vectors to a file, whole or not at all.

    What a killed call has encoded is not encoded again.

    Args:
        path: of the file.
        about: as for `read`.
        texts: N of them.
        lines: their numbers in the text.
        encode: `Encode`.

    Raises:
        InputError: the file cannot be written, or another process makes it.
    """
    folder = f"{path}.parts"
    with _alone(path, folder):
        parts = _encoded(folder, about, texts, encode)
        vectors = np.concatenate(parts)
        with files.whole_or_nothing(path) as file:
            np.savez(
                file,
                vectors=vectors,
                lines=np.array(lines, np.int64),
                about=np.array(json.dumps(dict(about))),
            )
        shutil.rmtree(folder, ignore_errors=True)
    return vectors


@contextlib.contextmanager
def _alone(path: str, folder: str) -> Iterator[None]:
    """Keeps other processes out of a file's parts during the block."""
    lock = os.path.join(folder, "lock")
    try:
        os.makedirs(folder, exist_ok=True)
        file = open(lock, "w")  # noqa: SIM115 (closed by the next `with`)
    except OSError as error:
        raise _not_written(folder, error) from error
    with file:
        # Where there are no locks, do without; a removed one is no lock.
        is_free = liveness.lock(file.fileno()) is not False
        if not (is_free and os.path.exists(lock)):
            raise InputError(
                f"`--vectors_file`: another `search` is writing {path}. Wait "
                "until it has ended, or give another file"
            )
        yield


def _not_written(folder: str, error: OSError) -> InputError:
    return InputError(
        f"`--vectors_file`: {folder} cannot be written: {error.strerror}"
    )


def _encoded(
    folder: str, about: About, texts: Sequence[str], encode: Encode
) -> list[np.ndarray]:
    """The vectors of all texts, in parts; those not there are made."""
    try:
        parts = _parts(folder, about, len(texts))
        done = sum(map(len, parts))
        if done:
            _LOGGER.info(
                "%d of %d lines were encoded before.", done, len(texts)
            )
        waiting: list[np.ndarray] = []
        for vector in encode(texts[done:]):
            waiting.append(vector)
            done += 1
            if len(waiting) == LINES_IN_PART or done == len(texts):
                parts.append(np.stack(waiting))
                _write_part(folder, len(parts) - 1, parts[-1])
                waiting = []
    except OSError as error:
        raise _not_written(folder, error) from error
    return parts


def _parts(folder: str, about: About, count: int) -> list[np.ndarray]:
    """The parts that were written before, if they are of the same texts."""
    path = os.path.join(folder, "about.json")
    try:
        with open(path, encoding="utf-8") as file:
            is_same = json.load(file) == dict(about)
    except (OSError, ValueError):
        is_same = False
    if is_same:
        return list(_whole_parts(folder, count))
    for name in os.listdir(folder):
        if name.endswith(".npy"):
            os.remove(os.path.join(folder, name))
    files.write_text(path, json.dumps(dict(about)))
    return []


def _whole_parts(folder: str, count: int) -> Iterator[np.ndarray]:
    for number, start in enumerate(range(0, count, LINES_IN_PART)):
        part = None
        with contextlib.suppress(*_READ_ERRORS):
            part = np.load(_part(folder, number), allow_pickle=False)
        if part is None or len(part) != min(LINES_IN_PART, count - start):
            return
        yield part


def _part(folder: str, number: int) -> str:
    return os.path.join(folder, f"{number}.npy")


def _write_part(folder: str, number: int, vectors: np.ndarray) -> None:
    with files.whole_or_nothing(_part(folder, number)) as file:
        np.save(file, vectors)
