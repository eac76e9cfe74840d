"""Reads serialized `tf.train.Example`s without TensorFlow.

Only lists of integers are read, in protobuf's wire format: a message is a
sequence of tags, each with a varint, 4 or 8 bytes, or a length and as many
bytes.
"""

from collections.abc import Collection, Iterator

from bert_tf.errors import InputError

_VARINT, _EIGHT_BYTES, _BYTES, _FOUR_BYTES = 0, 1, 2, 5

_INT64_LIST = 3
"""The number of the field of `tf.train.Feature`."""


def read_integers(
    serialized: bytes, names: Collection[str]
) -> dict[str, list[int]]:
    """The lists of integers of some features.

    Args:
        serialized: a `tf.train.Example`.
        names: of the features.

    Returns:
        Lists by name; an empty one for a feature that is missing, or of another
        type.

    Raises:
        InputError: the bytes are not a `tf.train.Example`.
    """
    found: dict[str, list[int]] = {name: [] for name in names}
    try:
        for features in _messages(serialized, 1):
            for entry in _messages(features, 1):
                key = b"".join(_messages(entry, 1)).decode("utf-8")
                if key not in found:
                    continue
                found[key] = [
                    number
                    for feature in _messages(entry, 2)
                    for numbers in _messages(feature, _INT64_LIST)
                    for number in _integers(numbers)
                ]
    except (IndexError, ValueError) as error:
        raise InputError(
            "An example must be a serialized tf.train.Example. The bytes are "
            "of something else, or damaged."
        ) from error
    return found


def _messages(content: bytes, wanted: int) -> Iterator[bytes]:
    """The values of a field that has a length."""
    for number, value in _fields(content):
        if number == wanted and isinstance(value, bytes):
            yield value


def _integers(numbers: bytes) -> Iterator[int]:
    """The values of an `Int64List`, packed or not."""
    for number, value in _fields(numbers):
        if number != 1:
            continue
        if isinstance(value, int):
            yield _signed(value)
            continue
        place = 0
        while place < len(value):
            one, place = _varint(value, place)
            yield _signed(one)


def _fields(content: bytes) -> Iterator[tuple[int, int | bytes]]:
    """The numbers of fields and their values, in order.

    Raises:
        IndexError, ValueError: it is no message.
    """
    place = 0
    while place < len(content):
        tag, place = _varint(content, place)
        number, kind = tag >> 3, tag & 7
        value: int | bytes
        if kind == _VARINT:
            value, place = _varint(content, place)
        elif kind in (_BYTES, _EIGHT_BYTES, _FOUR_BYTES):
            size = {_EIGHT_BYTES: 8, _FOUR_BYTES: 4}.get(kind)
            if size is None:
                size, place = _varint(content, place)
            value = content[place : place + size]
            if len(value) < size:
                raise IndexError(place)
            place += size
        else:
            raise ValueError(kind)
        if not number:
            raise ValueError(number)
        yield number, value


def _varint(content: bytes, place: int) -> tuple[int, int]:
    """A number of seven bits in each byte, and the place after it."""
    number = 0
    for shift in range(0, 70, 7):
        byte = content[place]
        place += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number & 0xFFFFFFFFFFFFFFFF, place
    raise ValueError(place)


def _signed(number: int) -> int:
    return number - (1 << 64) if number >> 63 else number
