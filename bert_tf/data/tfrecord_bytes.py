"""Encodes many records at once as the bytes of a TFRecord file, with NumPy.

Processes that make millions of records so need no TensorFlow. The bytes are
those of protobuf's deterministic mode.

A number takes one to ten bytes in protobuf's wire format. So values are put
into a table of bytes that is wide enough for the largest of them, beside a mask
of the bytes that are used.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

# A record in the file: its length (8 bytes), the checksum of the length (4),
# then the record and its checksum (4).
BEFORE, AFTER = 12, 4

# Wire format: tags of the length-delimited fields 1, 2 and 3.
FIELD_1, FIELD_2, FIELD_3 = b"\x0a", b"\x12", b"\x1a"

# CRC-32C, bits reversed, and the number that TFRecords add to it.
POLYNOMIAL = 0x82F63B78
MASK_DELTA = 0xA282EAD8
BLOCK_BYTES = 1 << 16


class Part(NamedTuple):
    """Rows of bytes, of which only some are used.

    Attributes:
        values: uint8 [R, W], or [1, W] if all rows are equal.
        used: bool [R, W]; None if all bytes are used.
    """

    values: NDArray[np.uint8]
    used: NDArray[np.bool_] | None = None


class Message(NamedTuple):
    """Parts side by side, and the bytes used of each row, [R] or [1]."""

    parts: list[Part]
    size: NDArray[np.int64]


def encode_records(columns: Mapping[str, NDArray]) -> NDArray[np.uint8]:
    """The bytes of a TFRecord file with these records.

    Args:
        columns: {feature: [R, values]}: integers of at least 0, or floats,
            which are stored as float32.

    Raises:
        ValueError: an integer is negative.
    """
    rows = len(next(iter(columns.values())))
    if not rows:
        return np.zeros(0, np.uint8)
    entries = [_entry(name, columns[name]) for name in sorted(columns)]
    example = _field(FIELD_1, _join(entries))
    sizes = np.broadcast_to(example.size, rows)
    lengths = _as_bytes(sizes.astype("<u8"))
    checks = _masked(_checksums(lengths.reshape(-1), np.arange(rows) * 8, 8))
    header = [Part(lengths), Part(_as_bytes(checks))]
    trailer = Part(np.zeros((1, AFTER), np.uint8))
    content = _take_used([*header, *example.parts, trailer], rows)
    ends = np.cumsum(sizes + (BEFORE + AFTER)) - AFTER
    checks = _masked(_checksums(content, ends - sizes, sizes))
    content[ends[:, None] + np.arange(AFTER)] = _as_bytes(checks)
    return content


# ------------------------------------------------------------------- protobuf


def _entry(name: str, values: NDArray) -> Message:
    """One entry of the map of features."""
    if values.dtype.kind == "f":
        content, kind = _whole(_as_bytes(values.astype("<f4"))), FIELD_2
    else:
        content, kind = _varints(values), FIELD_3
    if values.shape[1]:  # A list without values is an empty message.
        content = _field(FIELD_1, content)
    key = _field(FIELD_1, _constant(name.encode()))
    value = _field(FIELD_2, _field(kind, content))
    return _field(FIELD_1, _join([key, value]))


def _field(tag: bytes, content: Message) -> Message:
    return _join([_constant(tag), _varints(content.size[:, None]), content])


def _varints(values: NDArray) -> Message:
    """Seven bits in each byte, the lowest first; the last one is below 128."""
    rows, width = values.shape
    highest = int(values.max(initial=0))
    if values.min(initial=0) < 0:
        raise ValueError(f"Must be at least 0. Received: {values.min()}")
    size = max(1, -(-highest.bit_length() // 7))
    if size == 1:
        return _whole(values.astype(np.uint8))
    table = np.empty((rows, width, size), np.uint8)
    used = np.ones((rows, width, size), bool)
    for place in range(size):
        rest = values >> (7 * place)
        table[:, :, place] = rest & 0x7F
        if place:
            goes_on = rest > 0
            used[:, :, place] = goes_on
            table[:, :, place - 1] |= goes_on.view(np.uint8) << 7
    sizes = used.sum(axis=(1, 2), dtype=np.int64)
    part = Part(table.reshape(rows, -1), used.reshape(rows, -1))
    return Message([part], sizes)


def _constant(content: bytes) -> Message:
    return _whole(np.frombuffer(content, np.uint8)[None])


def _whole(values: NDArray[np.uint8]) -> Message:
    return Message([Part(values)], np.array([values.shape[1]]))


def _join(messages: Sequence[Message]) -> Message:
    parts = [part for message in messages for part in message.parts]
    sizes = [message.size for message in messages]
    return Message(parts, sum(sizes, np.zeros(1, np.int64)))


def _as_bytes(values: NDArray) -> NDArray[np.uint8]:
    """[R, n] or [R] numbers as [R, bytes]."""
    rows = len(values)
    return np.ascontiguousarray(values).view(np.uint8).reshape(rows, -1)


def _take_used(parts: Sequence[Part], rows: int) -> NDArray[np.uint8]:
    """The used bytes of parts side by side, row after row."""
    width = sum(part.values.shape[1] for part in parts)
    values = np.empty((rows, width), np.uint8)
    used = np.ones((rows, width), bool)
    end = 0
    for part in parts:
        start, end = end, end + part.values.shape[1]
        values[:, start:end] = part.values
        if part.used is not None:
            used[:, start:end] = part.used
    return values[used]


# ------------------------------------------------------------------ checksums


@functools.cache
def _crc_of_byte() -> NDArray[np.uint32]:
    """[256] the CRC register after each byte, starting from 0."""
    crc = np.arange(256)
    for _ in range(8):
        crc = (crc >> 1) ^ np.where(crc & 1, POLYNOMIAL, 0)
    return crc.astype(np.uint32)


@functools.cache
def _crc_by_distance(length: int) -> NDArray[np.uint32]:
    """[length * 256] the term of each byte, by the number of bytes after it.

    A CRC is linear: that of a record is the exclusive or of the terms of its
    bytes and of the term of the register's initial value.
    """
    table = _crc_of_byte()
    rows = np.empty((length, 256), np.uint32)
    rows[0] = table
    for distance in range(1, length):
        before = rows[distance - 1]
        rows[distance] = (before >> 8) ^ table[before & 0xFF]
    return rows.reshape(-1)


@functools.cache
def _crc_of_start(length: int) -> NDArray[np.uint32]:
    """[length + 1] the term of the register's initial value, by length."""
    table = _crc_of_byte()
    added = np.empty(length + 1, np.uint32)
    crc = 0xFFFFFFFF
    for size in range(length + 1):
        added[size] = crc
        crc = (crc >> 8) ^ int(table[crc & 0xFF])
    return added


def _checksums(
    content: NDArray[np.uint8], starts: NDArray, sizes: NDArray | int
) -> NDArray[np.uint32]:
    """CRC-32C of each `content[start:start + size]`, in ascending order."""
    ends = starts + sizes
    # A power of two, so that few tables are computed and kept.
    longest = 1 << int(np.max(ends - starts) - 1).bit_length()
    added = _crc_by_distance(longest)
    sums = np.empty(len(starts), np.uint32)
    # A block's intermediate results fit in the processor's cache.
    block = max(1, BLOCK_BYTES // longest)
    for first in range(0, len(starts), block):
        some = slice(first, first + block)
        begin, end = starts[some], ends[some]
        place = np.repeat(
            (end - 1 - begin[0]).astype(np.int32),
            np.diff(end, prepend=begin[0]),
        )
        place -= np.arange(len(place), dtype=np.int32)
        place <<= 8
        place += content[begin[0] : end[-1]]
        # Every second sum is over the bytes between two records: its places,
        # which may be out of range, do not matter.
        borders = np.stack([begin, end], axis=1).reshape(-1)[:-1] - begin[0]
        terms = added.take(place, mode="clip")
        sums[some] = np.bitwise_xor.reduceat(terms, borders)[::2]
    return ~(sums ^ _crc_of_start(longest)[ends - starts])


def _masked(crc: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """The CRC as a TFRecord stores it, rotated and shifted."""
    rotated = (crc >> np.uint32(15)) | (crc << np.uint32(17))
    return (rotated + np.uint32(MASK_DELTA)).astype("<u4")
