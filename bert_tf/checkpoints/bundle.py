"""Checks what a checkpoint's index says, before TensorFlow reads it.

TensorFlow ends the process at a shape, a dtype or a place that cannot be. Only
sizes are compared here; whether the bytes are right is TensorFlow's checksums'.
"""

import dataclasses
import io
from typing import BinaryIO

from google.protobuf.message import DecodeError
from tensorflow.core.framework import types_pb2
from tensorflow.core.protobuf import tensor_bundle_pb2
from tensorflow.core.util import saved_tensor_slice_pb2

from bert_tf.checkpoints.table import MOST_SNAPPY, DamagedTable, entries
from bert_tf.errors import quote

MOST_DIMENSIONS = 254
LARGEST = 2**63 - 1
NAME = 200  # The longest name in a message.

# Keys of the parts of a tensor that is stored in parts start with this byte.
PART = b"\0"

_BYTES = {
    1: "BOOL INT8 UINT8 QINT8 QUINT8 INT4 UINT4 INT2 UINT2 FLOAT8_E5M2 "
    "FLOAT8_E4M3FN FLOAT8_E4M3FNUZ FLOAT8_E4M3B11FNUZ FLOAT8_E5M2FNUZ "
    "FLOAT4_E2M1FN",
    2: "INT16 UINT16 QINT16 QUINT16 BFLOAT16 HALF",
    4: "FLOAT INT32 UINT32 QINT32",
    8: "DOUBLE INT64 UINT64 COMPLEX64",
    16: "COMPLEX128",
}
_ITEMSIZES = {
    number: size
    for size, names in _BYTES.items()
    for name, number in types_pb2.DataType.items()
    if name.removeprefix("DT_") in names.split()
}
# Each value has a length of its own.
_COUNTED = {types_pb2.DT_STRING, types_pb2.DT_VARIANT}


@dataclasses.dataclass(frozen=True)
class Bundle:
    """What an index needs of the .data files.

    Attributes:
        num_shards: number of .data files.
        needed: bytes that each must have at least, by its number from 0.
    """

    num_shards: int
    needed: dict[int, int]


def check_index(content: bytes) -> Bundle:
    """Checks an index of today's format.

    Args:
        content: of the .index file.

    Raises:
        DamagedTable: it cannot be right.
    """
    found = entries(io.BytesIO(content), len(content))
    key, value = next(found, (None, b""))
    if key != b"":
        raise DamagedTable("it does not start with a header")
    header = _parsed(tensor_bundle_pb2.BundleHeaderProto, value, "the header")
    shards = header.num_shards
    if not 0 < shards < 100_000:
        raise DamagedTable(f"it says that there are {shards} .data files")
    needed: dict[int, int] = {}
    in_parts, wholes = 0, {}
    for key, value in found:
        name = _name(key)
        entry = _parsed(tensor_bundle_pb2.BundleEntryProto, value, name)
        size = _check_entry(name, entry, shards)
        if entry.slices:
            wholes[name] = size
            continue
        in_parts += entry.size if key.startswith(PART) else 0
        end = entry.offset + entry.size
        needed[entry.shard_id] = max(needed.get(entry.shard_id, 0), end)
    for name, size in wholes.items():
        if size > in_parts:
            raise DamagedTable(
                f"{name} has {size:,} bytes, its parts {in_parts:,}"
            )
    return Bundle(shards, needed)


def check_v1(file: BinaryIO, length: int) -> None:
    """Checks what a checkpoint of before 2017 says of its tensors.

    Args:
        file: open for reading; only its beginning and its end are read.
        length: of the file, in bytes.

    Raises:
        DamagedTable: it cannot be right.
    """
    key, value = next(entries(file, length), (None, b""))
    if key != b"":
        raise DamagedTable("it does not start with a header")
    kind = saved_tensor_slice_pb2.SavedTensorSlices
    for tensor in _parsed(kind, value, "the header").meta.tensor:
        name = quote(tensor.name, NAME)
        values = _check_shape(name, tensor.shape)
        if tensor.type not in _ITEMSIZES and tensor.type not in _COUNTED:
            raise DamagedTable(f"{name} has the dtype {tensor.type}")
        # A value takes at least one byte, before Snappy.
        if values > MOST_SNAPPY * length:
            raise DamagedTable(
                f"{name} has {values:,} values, the file {length:,} bytes"
            )
        for part in tensor.slice:
            _check_slice(name, part, tensor.shape)


def _check_entry(name, entry, shards):
    values = _check_shape(name, entry.shape)
    if not 0 <= entry.shard_id < shards:
        raise DamagedTable(
            f"{name} is said to be in .data file {entry.shard_id} of {shards}"
        )
    if entry.offset < 0 or entry.size < 0:
        raise DamagedTable(
            f"{name} is said to start at byte {entry.offset} and to have "
            f"{entry.size}"
        )
    itemsize = _ITEMSIZES.get(entry.dtype)
    if itemsize is None and entry.dtype not in _COUNTED:
        raise DamagedTable(f"{name} has the dtype {entry.dtype}")
    size = values * (itemsize or 1)
    if size > LARGEST or entry.offset + entry.size > LARGEST:
        raise DamagedTable(f"{name} has {values:,} values")
    for part in entry.slices:
        _check_slice(name, part, entry.shape)
    is_right = entry.size == size if itemsize else entry.size >= size
    if not is_right and not entry.slices:
        raise DamagedTable(
            f"{name} has {values:,} values, which are not {entry.size:,} bytes"
        )
    return size


def _check_shape(name, shape):
    """Raises for a shape that cannot be; returns its number of values."""
    sizes = [dim.size for dim in shape.dim]
    if shape.unknown_rank or len(sizes) > MOST_DIMENSIONS:
        raise DamagedTable(f"{name} has {len(sizes)} dimensions")
    values, largest = 1, 1
    for size in sizes:
        # TensorFlow multiplies in this order, and ends where it overflows.
        values, largest = values * size, largest * max(size, 1)
        if size < 0 or largest > LARGEST:
            raise DamagedTable(f"{name} has the shape {sizes}")
    return values


def _check_slice(name, part, shape):
    if len(part.extent) != len(shape.dim):
        raise DamagedTable(
            f"a part of {name} has {len(part.extent)} dimensions"
        )
    for extent, dim in zip(part.extent, shape.dim):
        # Without a length it is all of the dimension.
        length = extent.length if extent.HasField("length") else dim.size
        if extent.start < 0 or not 0 <= length <= dim.size - extent.start:
            raise DamagedTable(f"a part of {name} lies outside of it")


def _name(key):
    if key.startswith(PART):
        return f"the part {key[:NAME]!r}"
    try:
        return quote(key.decode("utf-8"), NAME)
    except UnicodeDecodeError:
        raise DamagedTable(f"the name {key[:NAME]!r} is not UTF-8") from None


def _parsed(kind, value, what):
    try:
        return kind.FromString(value)
    except DecodeError as error:
        raise DamagedTable(f"{what} cannot be parsed") from error
