"""Lines of text files, whole or split into shards of documents.

Files may be compressed (`.gz`).
"""

import functools
import glob
import gzip
import logging
import os
import re
import zlib
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate, pairwise
from typing import BinaryIO, NamedTuple, cast

from bert_tf.errors import InputError, count_of

# Report progress every N lines.
LINES_BETWEEN_REPORTS = 1000
BLOCK = 1 << 20

_LOGGER = logging.getLogger(__name__)

# How files that are no UTF-8 text begin; the longer beginnings first.
_OTHER_BEGINNINGS = (
    (b"\xff\xfe\x00\x00", "UTF-32"),
    (b"\x00\x00\xfe\xff", "UTF-32"),
    (b"\xff\xfe", "UTF-16"),
    (b"\xfe\xff", "UTF-16"),
    (b"\x1f\x8b", "gzip"),
    (b"PK\x03\x04", "zip"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\x00", "xz"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
)
BEGINNING = 4096

_GLUED = re.compile(rb"\S\r+\S")


class Range(NamedTuple):
    """Part of a file: its bytes from `start` up to, not including, `end`.

    Of a compressed file, bytes of its content.
    """

    path: str
    start: int
    end: int


def find_files(patterns: str, flag: str = "input_file") -> list[str]:
    """The files that match comma-separated patterns, sorted for each pattern.

    A comma also stands for itself, where a pattern without it matches nothing.

    Raises:
        InputError: a pattern matches nothing, or a folder.
    """
    parts = patterns.split(",")
    for pattern in parts:
        if "://" in pattern:
            raise InputError(
                f"`--{flag}` must name files on this machine: copy them, or "
                f"mount the bucket. Received: {pattern}"
            )
    files = _match_parts(tuple(parts))
    if files is None:
        missing = next(part for part in parts if not _match(part))
        hint = " (commas separate files)" if len(parts) > 1 else ""
        raise InputError(
            f"`--{flag}` must name files that exist. Nothing matches "
            f"{missing!r}{hint}"
        )
    for path in files:
        if os.path.isdir(path):
            raise InputError(
                f"`--{flag}` must name files, but {path} is a folder. "
                f"For all files in it: {os.path.join(path, '*')}"
            )
    return files


def _match_parts(parts: tuple[str, ...]) -> list[str] | None:
    """What parts of a comma-separated list match, the fewest joined to one.

    None if there is no way to split them into patterns that all match.
    """
    # For the parts from each place on; the last place first.
    found: list[list[str] | None] = [None] * len(parts) + [[]]
    for start in reversed(range(len(parts))):
        for stop in range(start + 1, len(parts) + 1):
            rest = found[stop]
            if rest is not None:
                matches = _match(",".join(parts[start:stop]))
                if matches:
                    found[start] = matches + rest
                    break
    return found[0]


def _match(pattern: str) -> list[str]:
    """The files of one pattern, sorted."""
    matches = sorted(glob.glob(pattern))
    if not matches and os.path.exists(pattern):
        return [pattern]  # A name with brackets and the like.
    return matches


def require_text(path: str, beginning: bytes) -> None:
    r"""Raises `InputError` for another encoding, or a file that is compressed.

    Args:
        path: of the file, for the message.
        beginning: its first `BEGINNING` bytes, or all of them.
    """
    marks = (k for mark, k in _OTHER_BEGINNINGS if beginning.startswith(mark))
    kind = next(marks, None)
    if kind is None:
        # Text of ASCII in UTF-16 is valid UTF-8; every other byte is NUL.
        if beginning.count(0) * 5 < len(beginning) * 2 or len(beginning) < 8:
            return
        kind = "UTF-16 without a byte-order mark"
    if kind.startswith("UTF"):
        encoding = kind.split()[0]
        raise InputError(
            f"{path} must be UTF-8 text, but is {kind}: save it as UTF-8, for "
            f"example with `iconv -f {encoding} -t UTF-8`"
        )
    raise InputError(
        f"{path} must be UTF-8 text, but is compressed with {kind}: "
        "decompress it"
        + (" or, for plain text, name it .gz" if kind == "gzip" else "")
    )


def require_line_ends(path: str, first_line: bytes) -> None:
    r"""Raises `InputError` if only bare carriage returns end lines.

    All of the file would be one line, and words at line ends would be glued
    together.
    """
    if not first_line.endswith(b"\n") and b"\r" in first_line.rstrip(b"\r"):
        raise InputError(
            f"The lines of {path} must end with \\n or \\r\\n, but the file "
            "has only bare carriage returns (\\r), which would make it one "
            "line: save it with Unix or Windows line ends, for example with "
            r"`tr '\r' '\n'`. (To read it as one line, as the original does: "
            r"`tr -d '\r'`.)"
        )


def whole_files(paths: Iterable[str]) -> list[Range]:
    """Each file as one range."""
    return [Range(path, 0, _size(path)) for path in paths]


def read_lines(
    ranges: Iterable[Range], on_bytes: Callable[[int], None] | None = None
) -> Iterator[str]:
    r"""The lines of the ranges, one after the other, without line ends.

    As in TensorFlow's line reader, and so in the original, lines end at \n
    only and every carriage return is dropped, also inside a line, of which a
    warning tells.

    Args:
        ranges: parts of files that begin at the start of a line.
        on_bytes: called now and then with the number of bytes read since.

    Raises:
        InputError: a file cannot be read, is not UTF-8 text, or has carriage
            returns for line ends.
    """
    for path, start, end in ranges:
        with _open(path) as file:
            if start == 0:
                [beginning] = _naming(path, map(file.read, [BEGINNING]))
                require_text(path, beginning)
            file.seek(start)
            place = reported = start
            glued: list[int] = []
            for count, raw in enumerate(_naming(path, file), start=1):
                if place >= end:
                    break
                if not raw.rstrip(b"\r"):
                    break  # Carriage returns after the last line end.
                if b"\r" in raw:
                    if start == 0 and count == 1:
                        require_line_ends(path, raw)
                    if _GLUED.search(raw):
                        glued.append(count)
                try:
                    yield raw.rstrip(b"\n").replace(b"\r", b"").decode("utf-8")
                except UnicodeDecodeError as error:
                    raise _bad_line(path, place, raw, error) from error
                place += len(raw)
                if on_bytes and count % LINES_BETWEEN_REPORTS == 0:
                    on_bytes(place - reported)
                    reported = place
        if glued:
            _warn_of_glued(path, len(glued), glued[0] if start == 0 else 0)
        if on_bytes:
            on_bytes(end - reported)


@functools.cache  # Once for each file: some commands read them twice.
def _warn_of_glued(path: str, count: int, first: int) -> None:
    _LOGGER.warning(
        "%s in %s %s a carriage return between two words, which the original "
        "removes: they become one word%s. To keep them apart: `tr '\\r' ' '`.",
        count_of(count, "line"),
        path,
        "has" if count == 1 else "have",
        f" (first in line {first})" if first else "",
    )


def plan_shards(files: Sequence[Range], count: int) -> list[list[Range]]:
    """Splits text into at most `count` shards of similar size.

    Each shard begins with a document. As in the original, only blank lines end
    a document: the last one of a file continues in the next file. Documents
    longer than a shard are not split, so there may be fewer shards.

    Args:
        files: whole files, in order.
        count: the wanted number of shards.
    """
    # Start of each file in the whole text, and the end of the text.
    begins = [0, *accumulate(file.end for file in files)]
    total = begins[-1]
    borders = [0]
    for number in range(1, count):
        wanted = total * number // count
        if wanted > borders[-1]:
            borders.append(_next_document(files, begins, wanted))
    borders = sorted({*borders, total})
    return [
        [
            Range(
                file.path,
                max(first - begin, 0),
                min(last - begin, file.end),
            )
            for file, begin in zip(files, begins)
            if first < begin + file.end and begin < last
        ]
        for first, last in pairwise(borders)
    ]


def _next_document(
    files: Sequence[Range], begins: Sequence[int], wanted: int
) -> int:
    """The offset of the first document that begins after `wanted`."""
    number = bisect_right(begins, wanted) - 1
    offset = wanted - begins[number]
    after_blank = False
    for file, begin in zip(files[number:], begins[number:]):
        with _open(file.path) as reader:
            if offset:
                # The line that contains `offset` belongs to the shard before.
                reader.seek(offset - 1)
                offset += len(reader.readline()) - 1
            for raw in _naming(file.path, reader):
                blank = not raw.decode("utf-8", errors="replace").strip()
                if after_blank and not blank:
                    return begin + offset
                after_blank |= blank and bool(raw.rstrip(b"\r"))
                offset += len(raw)
        offset = 0
    return begins[-1]


def _open(path: str) -> BinaryIO:
    try:
        if path.endswith(".gz"):
            return cast(BinaryIO, gzip.open(path, "rb"))
        return open(path, "rb")
    except OSError as error:
        raise InputError(f"Cannot read {path}: {error.strerror}") from error


def _naming(path: str, file: Iterable[bytes]) -> Iterator[bytes]:
    """The lines of a file; errors name it."""
    try:
        yield from file
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(
            f"Cannot read {path}: {error}. Is the file cut off, or not what "
            "its name says?"
        ) from error


def _size(path: str) -> int:
    """The size of a file's text in bytes."""
    if not path.endswith(".gz"):
        return os.path.getsize(path)
    with _open(path) as file:
        blocks = iter(lambda: file.read(BLOCK), b"")
        return sum(map(len, _naming(path, blocks)))


def _bad_line(
    path: str, place: int, raw: bytes, error: UnicodeDecodeError
) -> InputError:
    """The error for text that is not UTF-8; counts lines up to it."""
    with _open(path) as file:
        line = 1
        while place > 0 and (block := file.read(min(place, BLOCK))):
            line += block.count(b"\n")
            place -= len(block)
    byte = raw.replace(b"\r", b"")[error.start]
    return InputError(
        f"{path}, line {line}: must be UTF-8 text, but holds the byte "
        f"0x{byte:02x} ({error.reason}). Save the file as UTF-8, for example "
        "with `iconv -f LATIN1 -t UTF-8`"
    )
