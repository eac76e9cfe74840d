"""Lines of text files, whole or split into shards of documents.

Files may be compressed (`.gz`).
"""

import glob
import gzip
import os
import zlib
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate, pairwise
from typing import BinaryIO, NamedTuple, cast

from bert_tf.errors import InputError

# Report progress every N lines.
LINES_BETWEEN_REPORTS = 1000
BLOCK = 1 << 20


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


def whole_files(paths: Iterable[str]) -> list[Range]:
    """Each file as one range."""
    return [Range(path, 0, _size(path)) for path in paths]


def read_lines(
    ranges: Iterable[Range], on_bytes: Callable[[int], None] | None = None
) -> Iterator[str]:
    r"""The lines of the ranges, one after the other, without line ends.

    As in TensorFlow's line reader, and so in the original, lines end at \n
    only and every carriage return is dropped, also inside a line.

    Args:
        ranges: parts of files that begin at the start of a line.
        on_bytes: called now and then with the number of bytes read since.

    Raises:
        InputError: a file cannot be read, or a line is not UTF-8.
    """
    for path, start, end in ranges:
        with _open(path) as file:
            file.seek(start)
            place = reported = start
            for count, raw in enumerate(_naming(path, file), start=1):
                if place >= end:
                    break
                if not raw.rstrip(b"\r"):
                    break  # Carriage returns after the last line end.
                try:
                    yield raw.rstrip(b"\n").replace(b"\r", b"").decode("utf-8")
                except UnicodeDecodeError as error:
                    raise _bad_line(path, place, raw, error) from error
                place += len(raw)
                if on_bytes and count % LINES_BETWEEN_REPORTS == 0:
                    on_bytes(place - reported)
                    reported = place
        if on_bytes:
            on_bytes(end - reported)


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
