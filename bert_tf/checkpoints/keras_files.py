"""Weights in HDF5 files, as Keras 2 and Keras 3 write them.

Reads names, shapes and arrays; builds no layers and runs no code of a file.
"""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import h5py
import ml_dtypes
import numpy as np

from bert_tf.errors import InputError

H5_ERRORS = (
    OSError,
    KeyError,
    RuntimeError,
    ValueError,
    TypeError,
    AttributeError,
    IndexError,
    OverflowError,
    RecursionError,
)
"""What h5py raises for damaged files."""

_POINTER = b"version https://git-lfs"


class H5File:
    """The arrays of an HDF5 file, which are read one at a time.

    Args:
        path: of the file.

    Attributes:
        path: the same.
        shapes: by the paths of arrays inside, such as
            `layers/dense/vars/0`, in the order of the file.

    Raises:
        InputError: it cannot be read, or keeps arrays in other files.
    """

    def __init__(self, path: str):
        self.path = path
        self.shapes: dict[str, tuple[int, ...]] = {}
        with self._open() as file:
            self._collect(file, "")

    def _collect(self, group, prefix):
        for name in group:
            place = f"{prefix}{name}"
            link = group.get(name, getlink=True)
            item = None if isinstance(link, h5py.ExternalLink) else group[name]
            if isinstance(item, h5py.Group):
                self._collect(item, f"{place}/")
            elif (
                not isinstance(item, h5py.Dataset)
                or item.external
                or item.is_virtual
            ):
                # Such a file could make another one pass for weights.
                raise InputError(
                    f"{self.path} must hold its arrays itself. `{place}` is "
                    "kept elsewhere."
                )
            else:
                self.shapes[place] = tuple(item.shape or ())

    def read(self, name: str) -> np.ndarray:
        """An array; floats as float32.

        Raises:
            InputError: it is damaged, or holds no numbers.
        """
        with self._open() as file:
            dataset = file[name]
            value = np.asarray(dataset[()])
            if dataset.attrs.get("dtype") == "bfloat16":  # Keras' own way.
                value = value.view(ml_dtypes.bfloat16).astype(np.float32)
        if value.dtype.kind not in "biuf":
            raise InputError(
                f"`{name}` in {self.path} must hold numbers. It holds "
                f"{value.dtype}."
            )
        is_float = value.dtype.kind == "f"
        return value.astype(np.float32, copy=False) if is_float else value

    def attributes(self, name: str = "/") -> Mapping[str, Any]:
        """The attributes of a group, with texts as `str`."""
        with self._open() as file:
            attributes = file[name].attrs
            return {key: _plain(attributes[key]) for key in attributes}

    def names(self, group: str, key: str) -> list[str]:
        """An attribute of names, which Keras 2 splits where it is long.

        The parts are `weight_names0`, `weight_names1`, and so on.
        """
        found = self.attributes(group)
        parts = [found.get(key, [])]
        while f"{key}{len(parts) - 1}" in found:
            parts.append(found[f"{key}{len(parts) - 1}"])
        return [str(name) for part in parts for name in part]

    @contextlib.contextmanager
    def _open(self) -> Iterator[h5py.File]:
        try:
            with h5py.File(self.path, "r") as file:
                yield file
        except InputError:
            raise
        except H5_ERRORS as error:
            hint = ""
            with contextlib.suppress(OSError), open(self.path, "rb") as file:
                if file.read(len(_POINTER)) == _POINTER:
                    hint = " It is a Git LFS pointer: run `git lfs pull`."
            reason = str(error).strip().split("\n")[0][:200]
            raise InputError(
                f"{self.path} is damaged or not an HDF5 file; copy or download "
                f"it again.{hint} {reason}"
            ) from error


def _plain(value):
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, np.ndarray):
        return [_plain(item) for item in value.tolist()]
    return value
