"""Checks what a checkpoint's index says, before TensorFlow reads it.

TensorFlow ends the process at a shape, a dtype or a place that cannot be. Only
sizes are compared here; whether the bytes are right is TensorFlow's checksums'.
"""

import dataclasses
import io
import math
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
    parts, wholes = {}, {}
    for key, value in found:
        name = _name(key)
        entry = _parsed(tensor_bundle_pb2.BundleEntryProto, value, name)
        _check_entry(name, entry, shards)
        if entry.slices:
            wholes[key.decode("utf-8", "replace")] = entry
            continue
        if key.startswith(PART):
            parts[key] = entry
        end = entry.offset + entry.size
        needed[entry.shard_id] = max(needed.get(entry.shard_id, 0), end)
    for name, entry in wholes.items():
        for part in entry.slices:
            _check_part(name, entry, part, parts.get(_part_key(name, part)))
    return Bundle(shards, needed)


_VALUES = {
    "float_val": "FLOAT",
    "double_val": "DOUBLE",
    "int_val": "INT8 INT16 INT32 UINT8 UINT16 QINT8 QINT16 QINT32 QUINT8",
    "int64_val": "INT64",
    "bool_val": "BOOL",
    "half_val": "HALF BFLOAT16",
    "string_val": "STRING",
}
_FIELDS = {
    types_pb2.DataType.Value(f"DT_{name}"): field
    for field, names in _VALUES.items()
    for name in names.split()
}
"""Where a tensor of a V1 checkpoint has its values, by dtype."""


def check_v1(file: BinaryIO, length: int) -> None:
    """Checks what a checkpoint of before 2017 says of its tensors.

    Args:
        file: open for reading; only its beginning and its end are read.
        length: of the file, in bytes.

    Raises:
        DamagedTable: it cannot be right.
    """
    for tensor in _v1_header(entries(file, length)):
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


def check_v1_data(file: BinaryIO, length: int) -> None:
    """Checks that the tensors of such a checkpoint have all of their values.

    TensorFlow copies as many as the header says, whatever there is.

    Args:
        file: of which `check_v1` has passed the header; all of it is read.
        length: of the file, in bytes.

    Raises:
        DamagedTable: there are more or fewer.
    """
    found = entries(file, length)
    wanted = {
        _part_key(tensor.name, part): (tensor, part)
        for tensor in _v1_header(found)
        for part in tensor.slice
    }
    for key, value in found:
        if key not in wanted:
            continue  # Not looked up.
        tensor, part = wanted[key]
        name = quote(tensor.name, NAME)
        saved = _parsed(saved_tensor_slice_pb2.SavedTensorSlices, value, name)
        field = _FIELDS.get(tensor.type)
        if field is None:
            raise DamagedTable(f"{name} has the dtype {tensor.type}")
        has = len(getattr(saved.data.data, field))
        needs = math.prod(_lengths(part, tensor.shape))
        if has != needs:
            raise DamagedTable(
                f"{name} has {has:,} values instead of {needs:,}"
            )


def _v1_header(found):
    key, value = next(found, (None, b""))
    if key != b"":
        raise DamagedTable("it does not start with a header")
    kind = saved_tensor_slice_pb2.SavedTensorSlices
    return _parsed(kind, value, "the header").meta.tensor


def _part_key(name, part):
    """The key of a part, in TensorFlow's code that sorts as its numbers do."""
    text = name.encode().replace(b"\0", b"\0\xff")
    numbers = [
        number
        for extent in part.extent
        for number in (
            extent.start,
            extent.length if extent.HasField("length") else -1,
        )
    ]
    count = len(part.extent)
    head = bytes([1, count]) if count else b"\0"
    return b"\0" + text + b"\0\x01" + head + b"".join(map(_signed, numbers))


def _signed(number):
    """A whole number with its length in its first bits."""
    size = (~number if number < 0 else number).bit_length() // 7 + 1
    bits = 8 * size
    header = ((1 << size) - 1) << (bits - size)
    return ((number ^ header) & ((1 << bits) - 1)).to_bytes(size, "big")


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


def _check_part(name, whole, part, entry):
    """TensorFlow copies as many values as the whole says its part has."""
    lengths = _lengths(part, whole.shape)
    if entry is None:
        raise DamagedTable(f"{quote(name, NAME)} lacks a part {lengths}")
    has = [dim.size for dim in entry.shape.dim]
    if has != lengths or entry.dtype != whole.dtype:
        raise DamagedTable(
            f"a part of {quote(name, NAME)} has the shape {has} instead of "
            f"{lengths}, or another dtype"
        )


def _lengths(part, shape):
    """The shape of a part; an extent without a length is all of its side."""
    return [
        extent.length if extent.HasField("length") else dim.size
        for extent, dim in zip(part.extent, shape.dim)
    ]


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
    lengths = _lengths(part, shape)
    for extent, dim, length in zip(part.extent, shape.dim, lengths):
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
