r"""The files that extract_features writes: JSON lines, npz, TFRecord.

Comes in: `Vectors`, one line after the other, in order. Goes out: a file that
is whole or not there. At no time is more than one line in memory. How vectors
are made is for `extract_features`.

Letters: N lines, T tokens of all lines together ([CLS] and [SEP] among them), t
those of one line, L layers, D the width of a vector.

jsonl: see `feature_extraction.json_line`.

npz, for `numpy.load`, which reads an array when it is asked for:

| array   | every token kept                    | tokens pooled  |
|---------|-------------------------------------|----------------|
| values  | float32 [T, L, D]                   | float32 [N, L, D] |
| offsets | int64 [N + 1]: line i has the rows `offsets[i]:offsets[i + 1]` | - |
| tokens  | str [T], the word pieces            | -              |
| layers  | int64 [L], or those concatenated    | the same       |

tfrecord, one `tf.train.Example` for each line:

| feature | every token kept                    | tokens pooled  |
|---------|-------------------------------------|----------------|
| linex_index | int64, line number from 0       | the same       |
| shape   | int64 [3]: t, L, D                  | int64 [2]: L, D |
| values  | float [t * L * D]                   | float [L * D]  |
| tokens  | bytes [t], UTF-8                    | -              |
| layers  | int64 [L], or those concatenated    | the same       |

With float16, `values` of the npz are float16. A TFRecord has no such type:
there they are one string of bytes, for `tf.io.decode_raw(values, tf.float16)`.
"""

import contextlib
import dataclasses
import os
import shutil
import tempfile
import zipfile

import numpy as np
import tensorflow as tf

from bert_tf.errors import InputError
from bert_tf.support import files
from bert_tf.tasks.vectors.lines import json_line


@dataclasses.dataclass(frozen=True)
class Layout:
    """What is known of the vectors before the first one comes.

    Attributes:
        num_lines: N.
        num_tokens: T.
        shape: (L, D).
        layers: the L layers' numbers; or, concatenated, those of the one.
        keeps_tokens: whether every token has a vector.
        concatenated: whether the layers are one vector.
        longest_token: characters of the longest token there can be.
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


@contextlib.contextmanager
def open_jsonl(path, layout):
    """A context with a function that writes `Vectors` as lines of JSON."""
    names = [list(layout.layers)] if layout.concatenated else layout.layers
    with files.whole_or_nothing(path) as file:
        yield lambda one: file.write(json_line(one, names).encode("ascii"))


@contextlib.contextmanager
def open_npz(path, layout):
    """A context with a function that writes `Vectors` to an .npz file."""
    rows = layout.num_tokens if layout.keeps_tokens else layout.num_lines
    dtype = np.dtype("<f2" if layout.float16 else "<f4")
    token = np.dtype(f"<U{layout.longest_token}")
    # An .npz file has one array after the other: what belongs to the later
    # ones waits beside it, in files without a name.
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
    """An array of an .npz file, to write its bytes into."""
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
    """A context with a function that writes `Vectors` to a TFRecord file."""
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
        # TensorFlow opens the half-written file once more, by its name.
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
    """The numbers as they are stored.

    Raises:
        InputError: one of them is too large for 16 bits.
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


FORMATS = {"jsonl": open_jsonl, "npz": open_npz, "tfrecord": open_tfrecord}
