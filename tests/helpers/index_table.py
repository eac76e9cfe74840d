"""Writes what TensorFlow never does: an index that is right by its checksums.

And TFRecords in the same way.
"""

import functools
import struct

from tensorflow.core.protobuf import tensor_bundle_pb2


@functools.cache
def _crc_table():
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = (byte >> 1) ^ 0x82F63B78 if byte & 1 else byte >> 1
        table.append(byte)
    return table


def checksum(content):
    """The masked CRC-32C."""
    table, crc = _crc_table(), 0xFFFFFFFF
    for byte in content:
        crc = table[(crc ^ byte) & 255] ^ (crc >> 8)
    crc ^= 0xFFFFFFFF
    masked = ((crc >> 15) | (crc << 17)) + 0xA282EAD8
    return struct.pack("<I", masked & 0xFFFFFFFF)


def record(content, length=None):
    """One TFRecord, which may lie about its length."""
    header = struct.pack("<Q", len(content) if length is None else length)
    return header + checksum(header) + content + checksum(content)


def number(value):
    """Seven bits in each byte."""
    found = b""
    while value > 127:
        found += bytes([value & 127 | 128])
        value >>= 7
    return found + bytes([value])


def block(pairs):
    """The content of one block, without shared beginnings of keys."""
    found, starts = b"", []
    for key, value in pairs:
        starts.append(len(found))
        found += number(0) + number(len(key)) + number(len(value)) + key + value
    starts = starts or [0]
    return found + struct.pack(f"<{len(starts) + 1}I", *starts, len(starts))


def table(pairs, handle=None):
    """A table of sorted pairs; `handle` lies about where its block is."""
    found = b""

    def add(content):
        nonlocal found
        place = len(found)
        found += content + b"\0" + checksum(content + b"\0")
        return number(place) + number(len(content))

    data = add(block(pairs))
    meta = add(block([]))
    index = add(block([(pairs[-1][0] + b"z", handle or data)]))
    footer = (meta + index).ljust(40, b"\0")
    return found + footer + bytes.fromhex("57fb808b247547db")


def entry(shape, dtype=1, size=None, slices=(), **fields):
    """One tensor of zeros, by default of float32."""
    if size is None:
        size = 4
        for length in shape:
            size *= length
    if 0 <= size <= 4096:
        crc = checksum(bytes(size))
        fields["crc32c"] = int.from_bytes(crc, "little")
    made = tensor_bundle_pb2.BundleEntryProto(
        dtype=dtype, size=max(size, -1) & (2**63 - 1), **fields
    )
    for length in shape:
        made.shape.dim.add(size=length)
    for extents in slices:
        part = made.slices.add()
        for start, length in extents:
            part.extent.add(start=start, length=length)
    return made.SerializeToString()


def header(num_shards=1):
    """What the first key, "", says."""
    made = tensor_bundle_pb2.BundleHeaderProto(num_shards=num_shards)
    made.version.producer = 1
    return made.SerializeToString()


def write_checkpoint(prefix, entries, num_shards=1, data=b"\0" * 4096):
    """Writes an index of these entries by name, and a .data file."""
    pairs = [(b"", header(num_shards)), *sorted(entries.items())]
    with open(f"{prefix}.index", "wb") as file:
        file.write(table(pairs))
    with open(f"{prefix}.data-00000-of-00001", "wb") as file:
        file.write(data)
