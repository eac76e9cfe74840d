"""Checks where the records of a TFRecord file begin and end.

TensorFlow's reader allocates what a record's length says, and takes the
beginning of a header at the end of a file for the end. Only headers are read
here; records and their checksums are TensorFlow's.
"""

import mmap
import os
import struct
from collections.abc import Callable
from typing import BinaryIO

from bert_tf.data.tfrecord_bytes import AFTER, BEFORE, MASK_DELTA, POLYNOMIAL


def find_fault(path: str, most: int | None = None) -> str:
    """What is wrong with a file's records, or "".

    Args:
        path: a file that is read as it is; another one, such as a pipe, is not
            looked at.
        most: the number of records to look at; None for all.
    """
    if not os.path.isfile(path) or not os.path.getsize(path):
        return ""
    with (
        open(path, "rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
    ):
        size_at = struct.Struct("<Q").unpack_from
        return _find(
            lambda place: size_at(content, place)[0],
            lambda place: content[place : place + BEFORE],
            len(content),
            most,
        )


def find_fault_in(file: BinaryIO, length: int, most: int | None = None) -> str:
    """As `find_fault`, for an open file of `length` bytes, as in a bucket."""

    def head_at(place: int) -> bytes:
        file.seek(place)
        return file.read(BEFORE)

    return _find(
        lambda place: struct.unpack_from("<Q", head_at(place))[0],
        head_at,
        length,
        most,
    )


def _find(
    size_at: Callable[[int], int],
    head_at: Callable[[int], bytes],
    length: int,
    most: int | None,
) -> str:
    place = number = 0
    while place + BEFORE <= length and number != most:
        place += size_at(place) + BEFORE + AFTER
        number += 1
    if place == length or (number == most and place < length):
        return ""
    return _describe(head_at, length)


def _describe(head_at: Callable[[int], bytes], length: int) -> str:
    """The fault of a file that has one."""
    place = number = 0
    while place + BEFORE <= length:
        head = head_at(place)
        (size,) = struct.unpack_from("<Q", head)
        if head[8:] != _checksum(head[:8]):
            return _after(
                number, "the checksum of the next one's length is wrong"
            )
        left = length - place - BEFORE - AFTER
        if size > left:
            return _after(
                number,
                f"the next one says that it is {size:,} bytes long, the file "
                f"has {max(left, 0):,} left",
            )
        place += size + BEFORE + AFTER
        number += 1
    return _after(
        number, f"{length - place} bytes follow, fewer than a record's header"
    )


def _after(number: int, reason: str) -> str:
    what = (
        "it is truncated or damaged there"
        if number
        else "is it a TFRecord file, and not compressed?"
    )
    return f"cannot be read after record {number}: {what} ({reason})"


def _checksum(content: bytes) -> bytes:
    crc = 0xFFFFFFFF
    for byte in content:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ POLYNOMIAL if crc & 1 else crc >> 1
    crc ^= 0xFFFFFFFF
    masked = ((crc >> 15) | (crc << 17)) + MASK_DELTA
    return struct.pack("<I", masked & 0xFFFFFFFF)
