"""Reads the sorted table of keys and values that a checkpoint's index is.

The format is LevelDB's. TensorFlow's own reader allocates what a length in the
file says, so every length and place is compared with the file here first.
Checksums are left to TensorFlow.
"""

import struct
from collections.abc import Iterator
from typing import BinaryIO

MAGIC = bytes.fromhex("57fb808b247547db")
FOOTER = 48
TRAILER = 5  # Of a block: one byte for its compression, four of a checksum.
PLAIN, SNAPPY = 0, 1

# Snappy makes at most 64 bytes of 3.
MOST_SNAPPY = 22


class DamagedTable(ValueError):
    """What is wrong with a table, as the end of a sentence."""


def entries(file: BinaryIO, length: int) -> Iterator[tuple[bytes, bytes]]:
    """The keys and values of a table, in order.

    Args:
        file: open for reading.
        length: of the file, in bytes.

    Raises:
        DamagedTable: a length or a place in it cannot be.
    """
    if length < FOOTER:
        raise DamagedTable(f"it has {length} bytes, fewer than its end needs")
    footer = _read(file, length - FOOTER, FOOTER)
    if not footer.endswith(MAGIC):
        raise DamagedTable("it does not end as a table does")
    _, _, place = _handle(footer, 0)
    start, size, _ = _handle(footer, place)
    before = None
    for _, handle in _block(file, length, start, size):
        start, size, _ = _handle(handle, 0)
        for key, value in _block(file, length, start, size):
            if before is not None and key <= before:
                raise DamagedTable("its keys are not in order")
            before = key
            yield key, value


def _block(file, length, start, size):
    if start + size + TRAILER > length - FOOTER:
        raise DamagedTable(
            f"a block is said to end at byte {start + size + TRAILER:,} of "
            f"{length - FOOTER:,}"
        )
    content = _read(file, start, size + 1)
    content, compression = content[:-1], content[-1]
    if compression == SNAPPY:
        content = _unpack(content)
    elif compression != PLAIN:
        raise DamagedTable(f"a block has the unknown compression {compression}")
    return _entries_of(content)


def _entries_of(block):
    if len(block) < 4:
        raise DamagedTable("a block is empty")
    (count,) = struct.unpack("<I", block[-4:])
    end = len(block) - 4 * (count + 1)
    if end < 0:
        raise DamagedTable(f"a block has {count:,} places to start from")
    starts = struct.unpack(f"<{count}I", block[end:-4])
    if any(start > end for start in starts):
        raise DamagedTable("a place to start from lies outside of its block")
    key, place = b"", 0
    while place < end:
        shared, place = _number(block, place)
        added, place = _number(block, place)
        size, place = _number(block, place)
        if shared > len(key) or place + added + size > end:
            raise DamagedTable("an entry reaches beyond the end of its block")
        key = key[:shared] + block[place : place + added]
        yield key, block[place + added : place + added + size]
        place += added + size


def _read(file, start, size):
    file.seek(start)
    content = file.read(size)
    if len(content) != size:
        raise DamagedTable("it ends too early")
    return content


def _handle(content, place):
    """Where a block starts, its size, and where the next handle is."""
    start, place = _number(content, place)
    size, place = _number(content, place)
    return start, size, place


def _number(content, place):
    """A number of seven bits in each byte, and the place after it."""
    number = 0
    for shift in range(0, 64, 7):
        if place >= len(content):
            break
        byte = content[place]
        place += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, place
    raise DamagedTable("a number in it does not end")


def _unpack(packed):
    """What Snappy made smaller."""
    length, place = _number(packed, 0)
    if length > MOST_SNAPPY * len(packed):
        raise DamagedTable(f"a block is said to unpack to {length:,} bytes")
    found = bytearray()
    while place < len(packed):
        tag = packed[place]
        kind, size, place = tag & 3, (tag >> 2) + 1, place + 1
        more = (size - 60 if size > 60 else 0, 1, 2, 4)[kind]
        number = int.from_bytes(packed[place : place + more], "little")
        place += more
        if kind == 0:
            size = number + 1 if more else size
            found += packed[place : place + size]
            place += size
        else:
            if kind == 1:
                size, number = (tag >> 2 & 7) + 4, number | tag >> 5 << 8
            if not 0 < number <= len(found):
                raise DamagedTable("a block cannot be unpacked")
            while size:
                some = found[len(found) - number :][:size]
                found += some
                size -= len(some)
        if place > len(packed) or len(found) > length:
            raise DamagedTable("a block cannot be unpacked")
    if len(found) != length:
        raise DamagedTable("a block cannot be unpacked")
    return bytes(found)
