"""Writes, checks and reads TFRecord files; batches are `tf.data` datasets.

A kind of record is described by a `Schema`: names, shapes and dtypes.
"""

import contextlib
import dataclasses
import functools
import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import tensorflow as tf
from absl import logging
from google.protobuf.message import DecodeError

from bert_tf.data import grouping, record_frames
from bert_tf.errors import InputError
from bert_tf.support.files import (
    is_left_over,
    is_local,
    require_utf8,
    unfinished_name,
    unfinished_names,
)

CHECKED_AHEAD = 1 << 30
"""Where records end is checked before the start in this number of bytes, and in
the other files when each of them is opened."""

SHUFFLE_BUFFER = 100
"""Number of records from which the next one is drawn, as in the original."""

# Control flow in a dataset's functions depends on no tensor. To convert them
# takes half a second in each process.
_as_it_is = tf.autograph.experimental.do_not_convert


# -------------------------------------------------------------------- schemas


@dataclasses.dataclass(frozen=True)
class Feature:
    """One named entry of a record.

    Attributes:
        shape: without the batch; () for one number.
        dtype: "int64" or "float32", as stored. Integers are read as int32.
        length_flag: the flag that sets the length of its last axis. Features
            with that of `input_mask` are trimmed with it.
        holds_token_ids: whether its values index the vocabulary.
        below: its values must be from 0 to `below - 1`; None for any.
        below_reason: why, for error messages, and what to do.
        of_tokens_by: the feature that weights its values, which are columns and
            must be those of tokens where their weight is not 0. None for any.
    """

    shape: tuple[int, ...]
    dtype: str = "int64"
    length_flag: str | None = None
    holds_token_ids: bool = False
    below: int | None = None
    below_reason: str = ""
    of_tokens_by: str | None = None

    @property
    def length(self) -> int:
        """Number of its values in a record."""
        return math.prod(self.shape)

    def limit(self, vocab_size: int | None) -> int | None:
        """What its values must be below; None for any."""
        return vocab_size if self.holds_token_ids else self.below


Schema = Mapping[str, Feature]
Values = Mapping[str, Sequence[int] | Sequence[float]]


# -------------------------------------------------------------------- writing


def encode(values: Values, schema: Schema) -> bytes:
    """One serialized `tf.train.Example`; the same values give the same bytes.

    Raises:
        ValueError: the values do not match the schema.
    """
    if values.keys() != schema.keys():
        raise ValueError(
            f"A record must have the features {sorted(schema)}. "
            f"Received: {sorted(values)}"
        )
    example = tf.train.Example()
    for name, feature in schema.items():
        if len(values[name]) != feature.length:
            raise ValueError(
                f"The feature {name} must have {feature.length} values. "
                f"Received: {len(values[name])}"
            )
        entry = example.features.feature[name]
        if feature.dtype == "int64":
            entry.int64_list.value.extend(values[name])
        else:
            entry.float_list.value.extend(values[name])
    return example.SerializeToString(deterministic=True)


def write_records(
    path: str,
    records: Iterable[Values],
    schema: Schema,
    vocab_size: int | None = None,
) -> int:
    """Writes a TFRecord file, which gets its name when it is complete.

    Args:
        path: of the file; an existing one is replaced.
        records: {feature name: values} of each record.
        vocab_size: if given, token ids must be below it.

    Returns:
        The number of records.

    Raises:
        InputError: the model has no embedding for a token id, another value is
            out of range, or the file cannot be written.
    """
    written = 0
    with (
        _whole_or_nothing(path) as incomplete,
        tf.io.TFRecordWriter(incomplete) as writer,
    ):
        for values in records:
            bad = _find_bad_value(values, schema, vocab_size)
            if bad:
                raise InputError(f"{path}, record {written + 1}: {bad}")
            writer.write(encode(values, schema))
            written += 1
    return written


@contextlib.contextmanager
def _whole_or_nothing(path: str) -> Iterator[str]:
    """A name to write to; the file is renamed at the end of the block.

    TensorFlow does it, since the file may be in a bucket.
    """
    name = unfinished_name(path)
    require_utf8(path)
    try:
        for left in tf.io.gfile.glob(unfinished_names(path)):
            if is_left_over(left, path):
                tf.io.gfile.remove(left)
        yield name
        tf.io.gfile.rename(name, path, overwrite=True)
    except tf.errors.OpError as error:
        reason = error.message.removeprefix(f"{name}; ")
        raise InputError(f"Cannot write {path}: {reason}") from error
    finally:
        if tf.io.gfile.exists(name):
            tf.io.gfile.remove(name)


def _find_bad_value(
    values: Values, schema: Schema, vocab_size: int | None
) -> str:
    for name, feature in schema.items():
        limit = feature.limit(vocab_size)
        if limit is None or not values[name]:
            continue
        lowest, highest = min(values[name]), max(values[name])
        if lowest >= 0 and highest < limit:
            continue
        found = lowest if lowest < 0 else highest
        if feature.holds_token_ids:
            return (
                f"{name} must hold token ids from 0 to {limit - 1}, as "
                f"vocab_size={limit} of the model's config says. It holds "
                f"{found}: the vocabulary is not that of the model"
            )
        return (
            f"{name} must hold numbers from 0 to {limit - 1}. It holds {found}"
            + (f": {feature.below_reason}" if feature.below_reason else "")
        )
    for name, feature in schema.items():
        if feature.of_tokens_by is None:
            continue
        tokens = {i for i, mask in enumerate(values["input_mask"]) if mask}
        for column, weight in zip(
            values[name], values[feature.of_tokens_by], strict=True
        ):
            if weight and column not in tokens:
                return (
                    f"{name} must hold columns of tokens, where input_mask is "
                    f"1. It holds {column}: with --skip_padding=false padding "
                    "is computed too, as the original does"
                )
    return ""


# ------------------------------------------------------------------- checking


def check_records(
    files: Sequence[str],
    schema: Schema,
    vocab_size: int | None = None,
    whole: bool = False,
) -> None:
    """Checks that files hold records of a schema.

    Args:
        vocab_size: if given, token ids must be below it.
        whole: check every record, not only the first of each file.

    Raises:
        InputError: a record does not match the schema; names file, record
            number from 1, and feature. Or a file is missing, truncated or no
            TFRecord file, or all files are empty.
    """
    are_empty, left = [], CHECKED_AHEAD
    for path in files:
        number = 0
        left -= _size(path)
        most = None if whole or left >= 0 else 1
        for number, serialized in enumerate(_serialized(path, most), start=1):
            fault = _find_fault(serialized, schema, vocab_size)
            if fault:
                raise InputError(f"{path}, record {number}: {fault}")
            if not whole:
                break
        if not number:
            are_empty.append(path)
    if len(are_empty) == len(files):
        raise InputError(
            f"{', '.join(are_empty)} must hold records. It has none"
        )
    for path in are_empty:
        logging.warning("%s holds no records.", path)


@contextlib.contextmanager
def naming_bad_records(
    files: Sequence[str], schema: Schema, vocab_size: int | None = None
) -> Iterator[None]:
    """Replaces TensorFlow's error about a bad record by one that names it.

    To be used around a loop over batches: TensorFlow's error names neither the
    file nor the record.

    Raises:
        InputError: as by `check_records`, if it finds the reason.
    """
    try:
        yield
    except (
        tf.errors.InvalidArgumentError,
        tf.errors.DataLossError,
        tf.errors.NotFoundError,
        UnicodeDecodeError,  # Out of a message with a name that is not UTF-8.
    ):
        check_records(files, schema, vocab_size, whole=True)
        raise


def _size(path: str) -> int:
    if not is_local(path) and tf.io.gfile.exists(path):
        return tf.io.gfile.stat(path).length
    return os.path.getsize(path) if os.path.isfile(path) else 0


def _serialized(path: str, most: int | None = None) -> Iterator[bytes]:
    """The records of a file, of which `most` are checked beforehand."""
    name = os.fsencode(path)  # A str would be encoded as strict UTF-8.
    # tf.io.gfile.exists raises for a missing name that is not UTF-8.
    exists = os.path.exists if is_local(path) else tf.io.gfile.exists
    if not exists(path):
        raise InputError(f"There is no file {path}: it must hold records")
    if tf.io.gfile.isdir(name):
        raise InputError(f"{path} must be a file of records, but is a folder")
    if path.endswith(".json") and record_frames.find_fault(path, most):
        raise InputError(
            f"{path} cannot be read: it is the list of the shards beside it: "
            "leave it out"
        )
    require_frames(path, most)
    number = 0
    try:
        for serialized in tf.data.TFRecordDataset(name).as_numpy_iterator():
            number += 1
            yield serialized
    except tf.errors.OpError as error:
        reason = (
            "it is truncated or damaged there"
            if number
            else "is it a TFRecord file, and not compressed?"
        )
        raise InputError(
            f"{path} cannot be read after record {number}: {reason} "
            f"({_reason(error)})"
        ) from error


def _reason(error: tf.errors.OpError) -> str:
    """TensorFlow's message without the node of its graph."""
    return re.sub(r"\{\{.*?\}\} ?| \[Op:.*", "", str(error.message))


def require_frames(path: str, most: int | None = None) -> None:
    """Raises `InputError` for a file whose records' lengths cannot be.

    Args:
        most: the number of records to look at; None for all.
    """
    if is_local(path):
        fault = record_frames.find_fault(path, most)
    else:
        found = tf.io.gfile.stat(path)
        fault = _remote_fault(path, found.length, found.mtime_nsec, most)
    if fault:
        raise InputError(f"{path} {fault}")


@functools.cache  # Not again in each epoch: it reads a good part of the file.
def _remote_fault(path: str, length: int, changed: int, most: int | None):
    with tf.io.gfile.GFile(path, "rb") as file:
        return record_frames.find_fault_in(file, length, most)


def _find_fault(
    serialized: bytes, schema: Schema, vocab_size: int | None
) -> str:
    try:
        entries = tf.train.Example.FromString(serialized).features.feature
    except DecodeError:
        return f"must be a tf.train.Example, is {serialized[:20]!r}..."
    values = {}
    for name, feature in schema.items():
        if name not in entries:
            has = ", ".join(sorted(entries)) or "nothing"
            return (
                f"must have the feature {name}. It has {has}: was the file "
                "made for another task?"
            )
        wanted = "int64_list" if feature.dtype == "int64" else "float_list"
        kind = entries[name].WhichOneof("kind")
        if kind != wanted:
            return f"{name} must be a {wanted}, is a {kind}"
        values[name] = list(getattr(entries[name], kind).value)
        if len(values[name]) != feature.length:
            flag, has = (
                feature.length_flag,
                f"It has length {len(values[name])}",
            )
            if not flag:
                return f"{name} must have length {feature.length}. {has}"
            rows = feature.length // feature.shape[-1]
            return (
                f"{name} must have length {feature.length}, as "
                f"{f'{rows} rows of ' if rows > 1 else ''}"
                f"{flag}={feature.shape[-1]} requires. {has}: give the {flag} "
                "that the file was made with, or make the file again"
            )
    return _find_bad_value(values, schema, vocab_size)


# -------------------------------------------------------------------- reading


def training_batches(
    files: Sequence[str],
    schema: Schema,
    batch_size: int,
    seed: int,
    start_step: int = 0,
    vocab_size: int | None = None,
    files_at_once: int = 1,
    bucket_by_length: bool = False,
) -> tf.data.Dataset:
    """Endless batches for training: repeat, shuffle, drop the remainder.

    Order and buffer are the original's. The same seed gives the same stream
    (together with that of `tf.random.set_seed`, if it was called), and a stream
    with `start_step=n` continues exactly where another one was after n batches.
    Skipped records are read, but not parsed.

    Args:
        batch_size: records per step, on all devices together.
        seed: determines the order.
        start_step: number of batches to skip.
        vocab_size: if given, token ids must be below it.
        files_at_once: with 1, files are read one after the other, in the given
            order; with more, this number of them is interleaved, in an order
            that is drawn for each epoch.
        bucket_by_length: batch examples of similar length, padded to the
            longest. `grouping.BATCHES_AHEAD` batches are read ahead, sorted by
            length, and shuffled.

    Returns:
        A dataset of {name: int32 or float32 [B, ...]}.
    """
    names = [os.fsencode(path) for path in files]
    if files_at_once == 1:
        records = _in_order(names).repeat()
    else:
        turns = tf.data.Dataset.from_tensor_slices(names)
        turns = turns.shuffle(len(names), seed=seed).repeat()
        records = turns.interleave(
            _open_checked,
            cycle_length=min(files_at_once, len(names)),
        )
    records = records.shuffle(
        SHUFFLE_BUFFER, seed=seed, reshuffle_each_iteration=False
    )
    if bucket_by_length:
        return _bucketed(
            records, schema, batch_size, seed, start_step, vocab_size
        )
    records = records.skip(start_step * batch_size)
    records = records.batch(batch_size, drop_remainder=True)
    return _parsed(records, schema, vocab_size)


def evaluation_batches(
    files: Sequence[str],
    schema: Schema,
    batch_size: int,
    vocab_size: int | None = None,
    drop_remainder: bool = False,
    num_batches: int | None = None,
    group_by_length: bool = False,
) -> tf.data.Dataset:
    """All records once and in order; the last batch may be smaller.

    Args:
        files: TFRecord files, read one after the other.
        batch_size: records per batch (a maximum with `group_by_length`).
        vocab_size: if given, token ids must be below it.
        drop_remainder: for devices that need batches of one size. The number of
            records should be a multiple of it.
        num_batches: if given, the number of full batches to return, which
            repeat the records if necessary.
        group_by_length: batch records of similar length, padded to the longest.
            The feature `grouping.PLACE` then tells their order.

    Returns:
        A dataset of {name: int32 or float32 [B, ...]}.
    """
    records = _in_order([os.fsencode(path) for path in files])
    if group_by_length:
        return _grouped(records, schema, batch_size, vocab_size)
    if num_batches is None:
        batches = records.batch(batch_size, drop_remainder=drop_remainder)
    else:
        batches = records.repeat().batch(batch_size, drop_remainder=True)
        batches = batches.take(num_batches)
    return _parsed(batches, schema, vocab_size)


def trim_batches(batches: tf.data.Dataset, schema: Schema) -> tf.data.Dataset:
    """Batches without the columns that are padding in all of their rows."""
    return _for_devices(batches.map(_as_it_is(lambda x: _trimmed(x, schema))))


def _in_order(files: Sequence[bytes]) -> tf.data.Dataset:
    """The records of all files, one file after the other."""
    return tf.data.Dataset.from_tensor_slices(files).flat_map(_open_checked)


@_as_it_is
def _open_checked(path: tf.Tensor) -> tf.data.Dataset:
    """The records of a file, whose lengths are checked first."""

    def check(path: bytes) -> bytes:
        require_frames(os.fsdecode(path))
        return path

    checked = tf.numpy_function(check, [path], tf.string)
    return tf.data.TFRecordDataset(tf.ensure_shape(checked, []))


def _grouped(
    records: tf.data.Dataset,
    schema: Schema,
    batch_size: int,
    vocab_size: int | None,
) -> tf.data.Dataset:
    """All records, some batches at a time, the longest records first."""

    @_as_it_is
    def sort(
        places: tf.Tensor, serialized: tf.Tensor
    ) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        features = parse_batch(serialized, schema, vocab_size)
        features = _by_length({**features, grouping.PLACE: places})
        lengths = _lengths(features)
        (sizes,) = tf.numpy_function(
            lambda lengths: [np.array(grouping.cut(lengths, batch_size))],
            [lengths],
            [tf.int64],
        )
        return features, tf.ensure_shape(sizes, [None])

    @_as_it_is
    def split(
        features: dict[str, tf.Tensor], sizes: tf.Tensor
    ) -> tf.data.Dataset:
        starts = tf.cumsum(sizes, exclusive=True)

        @_as_it_is
        def cut(start: tf.Tensor, size: tf.Tensor) -> dict[str, tf.Tensor]:
            return {
                name: x[start : start + size] for name, x in features.items()
            }

        return tf.data.Dataset.from_tensor_slices((starts, sizes)).map(cut)

    windows = records.enumerate().batch(grouping.BATCHES_AHEAD * batch_size)
    batches = windows.map(sort).prefetch(1).flat_map(split)
    return trim_batches(batches, schema)


def _bucketed(
    records: tf.data.Dataset,
    schema: Schema,
    batch_size: int,
    seed: int,
    start_step: int,
    vocab_size: int | None,
) -> tf.data.Dataset:
    """Endless batches for training, from endless records."""
    ahead = grouping.BATCHES_AHEAD
    first, used = divmod(start_step, ahead)
    windows = records.skip(first * ahead * batch_size)
    windows = windows.batch(ahead * batch_size, drop_remainder=True)

    @_as_it_is
    def sort(number: tf.Tensor, serialized: tf.Tensor) -> dict[str, tf.Tensor]:
        features = _by_length(parse_batch(serialized, schema, vocab_size))
        draws = tf.random.stateless_uniform((ahead,), tf.stack([seed, number]))
        order = tf.argsort(draws)
        batches = {
            name: tf.reshape(x, (ahead, batch_size, *x.shape[1:]))
            for name, x in features.items()
        }
        return {name: tf.gather(x, order) for name, x in batches.items()}

    windows = windows.enumerate(first).map(sort).prefetch(1)
    batches = windows.flat_map(tf.data.Dataset.from_tensor_slices).skip(used)
    return trim_batches(batches, schema)


def _by_length(features: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """The rows of a window of records, the longest first."""
    order = tf.argsort(-_lengths(features), stable=True)
    return {name: tf.gather(x, order) for name, x in features.items()}


def _lengths(features: dict[str, tf.Tensor]) -> tf.Tensor:
    """Columns of each record up to the last one in use, int32 [B].

    The number of its tokens, of several rows that of the longest; more only in
    records of other programs: with tokens behind padding, or predictions there.
    """
    mask = features["input_mask"]
    numbers = tf.range(1, tf.shape(mask)[-1] + 1)
    lengths = tf.reduce_max(
        tf.where(mask != 0, numbers, 0), axis=list(range(1, mask.shape.rank))
    )
    positions = features.get("masked_lm_positions")
    if positions is None:
        return lengths
    return tf.maximum(lengths, tf.reduce_max(positions, axis=-1) + 1)


def _trimmed(
    features: dict[str, tf.Tensor], schema: Schema
) -> dict[str, tf.Tensor]:
    """A batch without the columns that are padding in all rows."""
    of_tokens = schema["input_mask"]
    longest = tf.reduce_max(_lengths(features))
    step = grouping.LENGTH_STEP
    # At least one, also of rows that only fill up a batch.
    steps = tf.maximum((longest + step - 1) // step, 1)
    length = tf.minimum(steps * step, of_tokens.shape[-1])
    return {
        name: x[..., :length]
        if name in schema and schema[name].length_flag == of_tokens.length_flag
        else x
        for name, x in features.items()
    }


def _parsed(
    batches: tf.data.Dataset, schema: Schema, vocab_size: int | None
) -> tf.data.Dataset:
    return _for_devices(
        batches.map(
            _as_it_is(lambda x: parse_batch(x, schema, vocab_size)),
            num_parallel_calls=tf.data.AUTOTUNE,
            deterministic=True,
        )
    )


def _for_devices(batches: tf.data.Dataset) -> tf.data.Dataset:
    options = tf.data.Options()
    # Each worker reads everything and takes its share of each batch. Sharding
    # by file would make batches depend on the number of workers.
    policy = tf.data.experimental.AutoShardPolicy.DATA
    options.experimental_distribute.auto_shard_policy = policy
    return batches.prefetch(tf.data.AUTOTUNE).with_options(options)


def parse_batch(
    serialized: tf.Tensor, schema: Schema, vocab_size: int | None = None
) -> dict[str, tf.Tensor]:
    """Serialized records, string [B], as {name: int32 or float32 [B, ...]}."""
    wanted = {
        name: tf.io.FixedLenFeature(feature.shape, feature.dtype)
        for name, feature in schema.items()
    }
    parsed = tf.io.parse_example(serialized, wanted)
    for name, feature in schema.items():
        # On accelerators an id out of range is clamped without an error.
        limit = feature.limit(vocab_size)
        if limit is not None:
            fits = (parsed[name] >= 0) & (parsed[name] < limit)
            message = f"{name} holds a number that is not below {limit}"
            tf.debugging.Assert(tf.reduce_all(fits), [message])
        if feature.of_tokens_by is not None:
            is_token = tf.gather(
                parsed["input_mask"], parsed[name], axis=1, batch_dims=1
            )
            fits = (is_token != 0) | (parsed[feature.of_tokens_by] == 0)
            message = f"{name} holds a column that is padding"
            tf.debugging.Assert(tf.reduce_all(fits), [message])
    # Integers are stored as int64, but a TPU computes with int32.
    return {
        name: tf.cast(x, tf.int32) if x.dtype == tf.int64 else x
        for name, x in parsed.items()
    }
