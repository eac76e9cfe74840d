"""Writes the vectors of lines to files: JSON lines, npz or TFRecord.

Lines are written one by one, so that memory does not grow with their number. A
file is complete or not there. The formats are described in docs/vectors.md; N
is the number of lines, T that of all their tokens, t that of the tokens of one
line, L the number of layers and D the width of a vector.
"""

import contextlib
import dataclasses
import os
import shutil
import tempfile
import zipfile

import numpy as np
import tensorflow as tf
from absl import logging

from bert_tf.errors import InputError
from bert_tf.support import files
from bert_tf.support.progress import counted
from bert_tf.tasks.vectors.lines import FORMATS, json_line


@dataclasses.dataclass(frozen=True)
class FileLayout:
    """The size and kind of the vectors in a file.

    Attributes:
        num_lines: N.
        num_tokens: T.
        shape: (L, D).
        layers: the numbers of the L layers, or of those concatenated to one.
        keeps_tokens: whether every token has a vector.
        concatenated: whether the layers are concatenated.
        longest_token: number of characters in the longest token possible.
        float16: whether numbers are stored in 16 bits.
    """

    num_lines: int
    num_tokens: int
    shape: tuple[int, int]
    layers: tuple[int, ...]
    keeps_tokens: bool
    concatenated: bool
    longest_token: int
    float16: bool = False


def write_vectors(path, file_format, layout, vectors, source):
    """Writes the vectors of all lines.

    Args:
        path: the file; an existing one is replaced at the end.
        file_format: one of `lines.FORMATS`.
        layout: a `FileLayout`.
        vectors: the `LineVectors` of each line, in order.
        source: the name of the input, for error messages.

    Raises:
        InputError: the file cannot be written, a number does not fit, or the
            number of lines or tokens is not that of `layout`.
    """
    num_lines = num_tokens = 0
    with WRITERS[file_format](path, layout) as write:
        for one in counted(vectors, layout.num_lines, "Extracting features"):
            write(one)
            num_lines += 1
            num_tokens += len(one.tokens)
        if (num_lines, num_tokens) != (layout.num_lines, layout.num_tokens):
            raise InputError(
                f"{source} had {layout.num_lines} lines and "
                f"{layout.num_tokens} word pieces at first, and then "
                f"{num_lines} and {num_tokens}: it must not change meanwhile."
            )
    logging.info("Wrote the features of %d lines to %s.", num_lines, path)


@contextlib.contextmanager
def open_jsonl(path, layout):
    """A context with a function that writes `LineVectors` as lines of JSON."""
    names = [list(layout.layers)] if layout.concatenated else layout.layers
    with files.whole_or_nothing(path) as file:
        yield lambda one: file.write(json_line(one, names).encode("ascii"))


@contextlib.contextmanager
def open_npz(path, layout):
    """A context with a function that writes `LineVectors` to an .npz file."""
    rows = layout.num_tokens if layout.keeps_tokens else layout.num_lines
    dtype = np.dtype("<f2" if layout.float16 else "<f4")
    token = np.dtype(f"<U{layout.longest_token}")
    # An .npz file holds one array after the other. Tokens and offsets wait in
    # temporary files until `values` is complete.
    beside = os.path.dirname(path) or "."
    with (
        files.whole_or_nothing(path) as file,
        zipfile.ZipFile(file, "w") as archive,
        tempfile.TemporaryFile(dir=beside) as tokens,
        tempfile.TemporaryFile(dir=beside) as offsets,
    ):
        end = 0
        offsets.write(np.array([0], "<i8").tobytes())

        with _member(archive, "values", dtype, (rows, *layout.shape)) as values:

            def add(one):
                nonlocal end
                values.write(_stored(one, dtype).tobytes())
                if layout.keeps_tokens:
                    end += len(one.tokens)
                    tokens.write(np.array(one.tokens, token).tobytes())
                    offsets.write(np.array([end], "<i8").tobytes())

            yield add
        if layout.keeps_tokens:
            _copy(offsets, archive, "offsets", "<i8", layout.num_lines + 1)
            _copy(tokens, archive, "tokens", token, layout.num_tokens)
        layers = np.array(layout.layers, "<i8")
        with _member(archive, "layers", "<i8", layers.shape) as member:
            member.write(layers.tobytes())


def _member(archive, name, dtype, shape):
    """Opens an array of an .npz file, to write its bytes into."""
    member = archive.open(f"{name}.npy", "w", force_zip64=True)
    np.lib.format.write_array_header_2_0(
        member,
        {
            "descr": np.lib.format.dtype_to_descr(np.dtype(dtype)),
            "fortran_order": False,
            "shape": shape,
        },
    )
    return member


def _copy(source, archive, name, dtype, length):
    source.seek(0)
    with _member(archive, name, dtype, (length,)) as member:
        shutil.copyfileobj(source, member)


@contextlib.contextmanager
def open_tfrecord(path, layout):
    """A context with a function that writes `LineVectors` to a TFRecord."""
    dtype = np.dtype("<f2" if layout.float16 else "<f4")

    def add(one):
        example = tf.train.Example()
        feature = example.features.feature
        values = _stored(one, dtype)
        feature["linex_index"].int64_list.value.append(one.line)
        feature["shape"].int64_list.value.extend(values.shape)
        feature["layers"].int64_list.value.extend(layout.layers)
        if layout.float16:
            feature["values"].bytes_list.value.append(values.tobytes())
        else:
            numbers = values.reshape(-1).tolist()
            feature["values"].float_list.value.extend(numbers)
        if layout.keeps_tokens:
            tokens = [token.encode() for token in one.tokens]
            feature["tokens"].bytes_list.value.extend(tokens)
        with _naming(path):
            writer.write(example.SerializeToString(deterministic=True))

    with files.whole_or_nothing(path) as file:
        # TensorFlow opens the incomplete file once more, by its name.
        with _naming(path):
            writer = tf.io.TFRecordWriter(file.name)
        yield add
        with _naming(path):
            writer.close()


@contextlib.contextmanager
def _naming(path):
    try:
        yield
    except tf.errors.OpError as error:
        raise InputError(f"Cannot write {path}: {error.message}") from error


def _stored(one, dtype):
    """The numbers in the type that is stored.

    Raises:
        InputError: a number is too large for 16 bits.
    """
    with np.errstate(over="ignore"):
        values = one.values.astype(dtype)
    if not np.isfinite(values).all():
        largest = np.abs(one.values).max()
        raise InputError(
            f"Line {one.line + 1} of the input gives the number {largest:g}; "
            f"{dtype.name} goes up to {np.finfo(dtype).max:g}."
            + (" Leave out --float16." if dtype.itemsize == 2 else "")
        )
    return values


WRITERS = dict(zip(FORMATS, (open_jsonl, open_npz, open_tfrecord), strict=True))
