"""Reads tensors of one checkpoint: one by one, or all ahead in a thread."""

import contextlib
import hashlib
from concurrent import futures

import tensorflow as tf

from bert_tf.checkpoints import finding, storage
from bert_tf.checkpoints.names import INDEX, optimizer_slots
from bert_tf.errors import InputError

BYTES_READ_TOGETHER = 64_000_000
"""Read tensors in groups of about this many bytes."""


class CheckpointReader:
    """An open checkpoint. A tensor is read when it is asked for.

    Args:
        path: whatever `find` takes, or an `Index`.

    Attributes:
        path: its prefix.
        names: sorted names of its tensors.
        shapes: name -> tuple of ints.
        dtypes: name -> name of the dtype, "float32".

    Raises:
        InputError: no checkpoint there, an unreadable index, or an
            object-based one as TensorFlow 2 writes it.
    """

    def __init__(self, path):
        is_open = isinstance(path, storage.Index)
        index = path if is_open else finding.open_index(path)
        self._index, self._stored = index, index.stored
        self._ahead = []  # Futures of what `_restore` returns.
        self.path = index.prefix
        self.shapes, self.dtypes = index.shapes, index.dtypes
        self.names = list(self.shapes)

    def __contains__(self, name):
        return name in self.shapes

    def nbytes(self, names):
        """Size of these tensors in bytes, strings not counted."""
        return self._index.nbytes(names)

    def check_data(self):
        """Checks, once, that the .data files are there and long enough.

        None of them is read: damage inside is found when a tensor is read. A
        V1 file has no others, and all of its tensors are checked.

        Raises:
            InputError: one is missing or too short, or a V1 file is damaged.
        """
        self._index.check_data()

    def digest(self):
        """Tells the tensors from others, by their checksums in the index."""
        index = self._stored + INDEX
        # A V1 file is one file with all of it.
        path = index if tf.io.gfile.exists(index) else self._stored
        with tf.io.gfile.GFile(path, "rb") as file:
            return hashlib.sha256(file.read()).hexdigest()

    def tensor(self, name):
        """One tensor as a NumPy array.

        Raises:
            InputError: its bytes are missing or do not match their checksum.
        """
        # TensorFlow's reader allocates what the index says before it looks at
        # the .data files.
        self._index.check_data()
        try:
            return self._index.reader.get_tensor(name)
        except storage.READ_ERRORS as error:
            raise InputError(
                f"The bytes of `{name}` in {self._stored} are missing or "
                "damaged; copy or download the checkpoint again. TensorFlow "
                f"says: {storage.reason(error)}"
            ) from error

    @contextlib.contextmanager
    def reading_ahead(self):
        """Reads the weights in a thread while a model is built.

        `finite_tensors` then returns what has been read. What is not used by
        the end of the block is dropped. Optimizer slots are not read.
        """
        slots = optimizer_slots(self.names)
        weights = [name for name in self.names if name not in slots]
        pool = futures.ThreadPoolExecutor(1, "weights")
        try:
            self._ahead = [
                pool.submit(self._restore, group)
                for group in self._groups(weights)
            ]
            yield
        finally:
            pool.shutdown(cancel_futures=True)
            self._ahead = []

    def finite_tensors(self, names):
        """Pairs of a name and its tensor, ready to assign to a variable.

        Those that were read ahead come first.

        Raises:
            InputError: as for `tensor`, or a number in one is not finite.
        """
        left = dict.fromkeys(names)
        while self._ahead:
            try:
                read = self._ahead.pop(0).result()
            except storage.READ_ERRORS:
                continue  # Those that are needed are read again below.
            for name, tensor, is_finite in read:
                if name in left:
                    del left[name]
                    self._require_finite(name, is_finite)
                    yield name, tensor
        for group in self._groups(left):
            try:
                read = self._restore(group)
            except storage.READ_ERRORS:
                # Find the damaged one, for the message.
                for name in group:
                    self.tensor(name)
                raise
            for name, tensor, is_finite in read:
                self._require_finite(name, is_finite)
                yield name, tensor

    def _restore(self, names):
        """Triples of a name, its tensor, and whether its numbers are finite.

        Several are read together, since each call reads the index again.
        """
        self._index.check_data()
        with tf.device("CPU:0"):
            tensors = tf.raw_ops.RestoreV2(
                prefix=self._stored,
                tensor_names=names,
                shape_and_slices=[""] * len(names),
                dtypes=[tf.as_dtype(self.dtypes[name]) for name in names],
            )
            return list(zip(names, tensors, map(_is_finite, tensors)))

    def _require_finite(self, name, is_finite):
        if not is_finite:
            raise InputError(
                f"`{name}` in {self.path} holds numbers that are not finite "
                "(NaN or infinite): the training that wrote it had gone wrong. "
                "Use an older checkpoint."
            )

    def _groups(self, names):
        group, size = [], 0
        for name in names:
            group.append(name)
            size += self.nbytes([name])
            if size >= BYTES_READ_TOGETHER:
                yield group
                group, size = [], 0
        if group:
            yield group


def open_reader(path):
    """A `CheckpointReader` of whatever `find` takes; an open one as it is."""
    is_open = isinstance(path, CheckpointReader)
    return path if is_open else CheckpointReader(path)


def open_latest(folder):
    """A `CheckpointReader` of what `latest` finds in a training folder.

    Returns:
        The reader, or None if nothing was trained in the folder.

    Raises:
        InputError: as from `latest`.
    """
    index = finding.latest_index(folder)
    return index and CheckpointReader(index)


def _is_finite(tensor):
    if not tensor.dtype.is_floating:
        return True
    # A sum is quick, and not finite if one of the numbers is not; but it may
    # also overflow where all of them are.
    total = tf.reduce_sum(tensor)
    return bool(
        tf.math.is_finite(total) or tf.reduce_all(tf.math.is_finite(tensor))
    )
