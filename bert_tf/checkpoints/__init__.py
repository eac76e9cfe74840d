"""Weights on disk: the original's name-based TensorFlow checkpoints.

Comes in: a path, and variables by name. Goes out: filled variables and a
report, or a file that the original reads as well. A variable's Keras path *is*
its name in the file, so this room need not know about models. Which weights a
task wants is for its caller to say; other formats belong in
`convert_checkpoint.py`.

A checkpoint `model.ckpt-7` is `model.ckpt-7.index` (names, shapes, checksums)
and `model.ckpt-7.data-00000-of-00001` (the numbers). A folder of training has
several, and a text file `checkpoint` that names them. Paths may be anything
that TensorFlow can open, `gs://` too.

How writing stays safe (`write`): both files are first written in full under
other names, `*.unfinished.*`, and flushed to the disk. Renamed to
`*.replacement.*`, the index last, they are the checkpoint from that moment on:
every reader here prefers a replacement. Then they take the place of the old
files, and the replacement is removed, its index first. Whenever the process is
killed, a reader finds the old pair whole or the new one.
"""

import contextlib
import dataclasses
import logging
import os
import re
from concurrent import futures

import numpy as np
import tensorflow as tf

from bert_tf.errors import InputError

INDEX = ".index"
DATA = ".data-00000-of-00001"
STATE_FILE = "checkpoint"
GLOBAL_STEP = "global_step"

_UNFINISHED = ".unfinished"
_REPLACEMENT = ".replacement"
_FILE_SUFFIX = re.compile(r"\.(index|meta|data-\d{5}-of-\d{5})$")
_DATA_SUFFIX = re.compile(r"\.data-(\d{5})-of-(\d{5})$")
_SAVED_NAME = re.compile(r"model\.ckpt-(\d+)$")

# What optimizers and the original's training loop keep beside the weights, by
# the last part of the name or the whole name.
_SLOT_NAMES = re.compile(
    r"(^|/)(adam_[mv]|Adam(_1)?|Momentum|(beta[12]|adam)_power|global_step"
    r"|LAMB(_1)?|lamb_[mv]|AdamWeightDecay\w*|ExponentialMovingAverage"
    r"|loss_scale|good_steps|skipped_steps)$"
)

# How files that are not such checkpoints end, and what to do with them.
_FOREIGN = {
    ".safetensors": "a Hugging Face file: convert it first, "
    "`python -m bert_tf.convert_checkpoint from_hf`",
    ".bin": "a PyTorch file: save it as safetensors, then convert it with "
    "`python -m bert_tf.convert_checkpoint from_hf`",
    ".keras": "a Keras file: open it with `keras.saving.load_model`",
    ".h5": "a Keras file: open it with `keras.saving.load_model`",
    ".zip": "still packed: unzip it first",
}

# Tensors of a checkpoint are read together until they have so many.
BYTES_READ_TOGETHER = 64_000_000

_log = logging.getLogger(__name__)

# TensorFlow's reader raises what pybind makes of its error codes.
_READ_ERRORS = (tf.errors.OpError, IndexError, ValueError, RuntimeError)


def named_weights(model):
    """The variables of a model by the names they have in a checkpoint.

    Args:
        model: anything with `weights` that have a `path`: a `keras.Model`, a
            layer.

    Raises:
        ValueError: two weights have the same path. They would overwrite each
            other in a file; build the second model under another `name`.
    """
    named = {}
    for weight in model.weights:
        if named.setdefault(weight.path, weight) is not weight:
            raise ValueError(
                "Every weight needs a path of its own to be kept in a "
                f"checkpoint. Received two with the path {weight.path!r}"
            )
    return named


# Finding.


def find(path):
    """The prefix of the checkpoint that a path means.

    Args:
        path: a prefix (`uncased_L-2_H-128_A-2/bert_model.ckpt`), one of its
            files, or a folder: of training, then its newest checkpoint is
            meant, or of a released model, then its only one.

    Returns:
        The prefix: what `load` and TensorFlow's own readers take.

    Raises:
        InputError: there is none, or a folder has several and does not say
            which.
    """
    path = os.fspath(path)
    _check_readable(path)
    prefix = _FILE_SUFFIX.sub("", path)
    for candidate in (path, prefix):
        if tf.io.gfile.exists(_current(candidate) + INDEX):
            return candidate
    if tf.io.gfile.isdir(path):
        return _find_in_folder(path)
    if _is_v1(path):
        return path
    raise InputError(_nothing_at(path, prefix))


def latest(folder):
    """The newest whole checkpoint of a training folder.

    The folder's `checkpoint` file says which it has. One that is not whole is
    passed over for the next older one, with a warning.

    Returns:
        Its prefix, or None if the folder holds no training.

    Raises:
        InputError: checkpoints are named, but none of them is whole. Starting
            anew would silently throw away what was trained.
    """
    folder = os.fspath(folder)
    _check_readable(folder)
    named = _named_in_state(folder)
    where = f"{_join(folder, STATE_FILE)} names"
    if named is None:
        named = _saved_in(folder)
        where = f"{folder} has no `{STATE_FILE}` file, but"
        if named:
            _log.warning("%s checkpoints: taking the newest.", where)
    if not named:
        return None
    problems = []
    for prefix in named:
        problem = _problem(prefix)
        if problem is None:
            if problems:
                _log.warning(
                    "Going back to the older checkpoint %s. The newest is not "
                    "whole: %s",
                    prefix,
                    problems[0],
                )
            return prefix
        problems.append(problem)
    older = ", ".join(os.path.basename(prefix) for prefix in named[1:])
    raise InputError(
        f"{where} {len(named)} checkpoint(s), of which none is whole. "
        f"{problems[0]} "
        + (f"The older ones are not whole either: {older}. " if older else "")
        + f"Restore one, or move {folder} away to start anew."
    )


def _find_in_folder(folder):
    newest = latest(folder)
    if newest is not None:
        return newest
    prefixes = _prefixes_in(folder)
    if len(prefixes) == 1:
        return _join(folder, prefixes[0])
    if prefixes:
        raise InputError(
            f"{folder} holds several checkpoints and no `{STATE_FILE}` file "
            f"that says which is meant. Give one of: "
            + ", ".join(_join(folder, prefix) for prefix in prefixes)
        )
    raise InputError(
        f"No checkpoint in the folder {folder}: it needs an .index and a .data "
        f"file. {_what_is_in(folder)}"
    )


def _nothing_at(path, prefix):
    folder = os.path.dirname(path) or "."
    for ending, meaning in _FOREIGN.items():
        if path.endswith(ending) and tf.io.gfile.exists(path):
            return f"{path} is not a TensorFlow checkpoint but {meaning}."
    if tf.io.gfile.exists(path) and path == prefix:
        return f"{path} is not a TensorFlow checkpoint."
    needs = f"it needs {prefix}{INDEX} and {prefix}{DATA}"
    if not tf.io.gfile.isdir(folder):
        return f"No checkpoint at {path}: {needs}, and there is no {folder}."
    return f"No checkpoint at {path}: {needs}. {_what_is_in(folder)}"


def _what_is_in(folder, most=12):
    names = sorted(tf.io.gfile.listdir(folder))
    more = f" and {len(names) - most} more" if len(names) > most else ""
    shown = ", ".join(names[:most]) or "nothing"
    hint = ""
    if any(name.endswith(".safetensors") for name in names):
        hint = f" A .safetensors file is {_FOREIGN['.safetensors']}."
    return f"In {folder} there is: {shown}{more}.{hint}"


def _prefixes_in(folder):
    """Names of the folder's checkpoints, half-written ones left out."""
    names = {
        name.removesuffix(INDEX).removesuffix(_REPLACEMENT)
        for name in tf.io.gfile.listdir(folder)
        if name.endswith(INDEX)
    }
    return sorted(name for name in names if not name.endswith(_UNFINISHED))


def _saved_in(folder):
    """Prefixes `model.ckpt-N` that lie in a folder, the largest N first."""
    if not tf.io.gfile.isdir(folder):
        return []
    matches = [_SAVED_NAME.match(name) for name in _prefixes_in(folder)]
    matches = [match for match in matches if match]
    matches.sort(key=lambda match: int(match[1]), reverse=True)
    return [_join(folder, match[0]) for match in matches]


def _named_in_state(folder):
    """Prefixes that the state file names, newest first; None without one."""
    state = _read_state(folder)
    if state is None:
        return None
    newest, names = state.model_checkpoint_path, _names_of(state)
    # Somebody may have set the newest back by hand: only older ones follow.
    if newest in names:
        names = names[: names.index(newest)]
    return [_in_folder(folder, name) for name in [newest, *reversed(names)]]


def _read_state(folder):
    path = _join(folder, STATE_FILE)
    if not tf.io.gfile.exists(path):
        return None
    try:
        state = tf.train.get_checkpoint_state(folder)  # None if not parsed.
    except (ValueError, tf.errors.OpError):  # Empty, or not UTF-8.
        state = None
    if state is None or not state.model_checkpoint_path:
        raise InputError(
            f"{path} must name checkpoints, as in "
            '`model_checkpoint_path: "model.ckpt-100"`, and cannot be read so. '
            "Mend it, or remove it to take the newest model.ckpt-N in there."
        )
    return state


def _names_of(state):
    return list(dict.fromkeys(state.all_model_checkpoint_paths))


def _in_folder(folder, named):
    """Where a named checkpoint lies: in this folder, if it has one so called.

    Old state files hold absolute paths, wrong once a folder has been moved or
    copied.
    """
    here = _join(folder, os.path.basename(named))
    if tf.io.gfile.exists(_current(here) + INDEX):
        return here
    return named


def _problem(prefix):
    """Why a checkpoint is not whole, or None."""
    try:
        CheckpointReader(prefix).check_data()
    except InputError as error:
        return str(error)
    return None


# Reading.


class CheckpointReader:
    """An open checkpoint. Tensors are read when asked for, one at a time.

    Args:
        path: whatever `find` takes.

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
        self.path = find(path)
        self._stored = _current(self.path)
        self._ahead = []  # Futures of what `_restore` returns.
        try:
            self._reader = tf.compat.v1.train.NewCheckpointReader(self._stored)
        except _READ_ERRORS as error:
            raise InputError(
                f"{self._stored}{INDEX} is damaged or not a checkpoint's "
                f"index; copy it again. TensorFlow says: {_reason(error)}"
            ) from error
        shapes = self._reader.get_variable_to_shape_map()
        dtypes = self._reader.get_variable_to_dtype_map()
        self.names = sorted(shapes)
        self.shapes = {name: tuple(shapes[name]) for name in self.names}
        self.dtypes = {name: dtypes[name].name for name in self.names}
        if "_CHECKPOINTABLE_OBJECT_GRAPH" in self.shapes:
            raise InputError(
                f"{self.path} is an object-based checkpoint, as TensorFlow 2 "
                "writes them (tf.train.Checkpoint, save_weights). Needed is a "
                "name-based one with names like "
                "`bert/embeddings/word_embeddings`, as the released ones are. "
                f"It has, for example: {_some(self.names)}"
            )

    def __contains__(self, name):
        return name in self.shapes

    def tensor(self, name):
        """One tensor as a NumPy array.

        Raises:
            InputError: its bytes are missing or do not match their checksum.
        """
        try:
            return self._reader.get_tensor(name)
        except _READ_ERRORS as error:
            raise InputError(
                f"The bytes of `{name}` in {self._stored} are missing or "
                "damaged; copy or download the checkpoint again. TensorFlow "
                f"says: {_reason(error)}"
            ) from error

    @contextlib.contextmanager
    def reading_ahead(self):
        """A thread reads the weights in here, while a model is built.

        What it has read is there for `finite_tensors`; what nobody asked for
        is forgotten at the end. Optimizer slots are not read.
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
        """Pairs of a name and its tensor, which a variable can take as it is.

        Those that were read ahead come first.

        Raises:
            InputError: as for `tensor`, or a number in one is not finite.
        """
        left = dict.fromkeys(names)
        while self._ahead:
            try:
                read = self._ahead.pop(0).result()
            except _READ_ERRORS:
                continue  # It is read again below, if it is wanted.
            for name, tensor, is_finite in read:
                if name in left:
                    del left[name]
                    self._require_finite(name, is_finite)
                    yield name, tensor
        for group in self._groups(left):
            try:
                read = self._restore(group)
            except _READ_ERRORS:
                # Says which one it is.
                for name in group:
                    self.tensor(name)
                raise
            for name, tensor, is_finite in read:
                self._require_finite(name, is_finite)
                yield name, tensor

    def _restore(self, names):
        """Triples of a name, its tensor, and whether its numbers are finite.

        Several are read together, since each time the index is read again.
        """
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

    def nbytes(self, names):
        """How many bytes these tensors take, those of strings not counted."""
        total = 0
        for name in names:
            itemsize = tf.as_dtype(self.dtypes[name]).size or 0
            total += itemsize * int(np.prod(self.shapes[name], dtype=np.int64))
        return total

    def check_data(self):
        """Looks whether the .data file is there and as long as the index says.

        Quick: reads none of it. Damage inside shows when a tensor is read.

        Raises:
            InputError: it is missing or too short.
        """
        if not tf.io.gfile.exists(self._stored + INDEX):
            return  # A V1 file: index and data in one.
        files = _data_files(self._stored)
        if not files:
            raise InputError(
                f"{self._stored}{DATA} is missing: {self._stored}{INDEX} only "
                "lists the names, the weights are in the .data file. Copy it "
                "beside the index."
            )
        count = int(_DATA_SUFFIX.search(files[0])[2])
        if len(files) < count:
            raise InputError(
                f"{self._stored} has {count} .data files, of which only these "
                f"are there: {', '.join(map(os.path.basename, files))}"
            )
        found = sum(tf.io.gfile.stat(file).length for file in files)
        needed = self.nbytes(self.names)
        if found < needed:
            raise InputError(
                f"{files[0]} is cut short: {self._stored}{INDEX} needs "
                f"{needed:,} bytes. Received: {found:,} bytes. Copy or "
                f"download it again.{_pointer_hint(files[0], found)}"
            )


@dataclasses.dataclass(frozen=True)
class LoadReport:
    """What `load` did.

    Attributes:
        path: prefix of the checkpoint.
        matched: names of variables that were read from it.
        missing: names of variables it does not have.
        drawn: those of the missing ones that were drawn anew; the others kept
            the values that they had.
        unused: names in the file that no variable has, but for the slots.
        slots: the same for the optimizer's slots and `global_step`.
    """

    path: str
    matched: list[str]
    missing: list[str]
    drawn: list[str]
    unused: list[str]
    slots: list[str]

    def summary(self):
        """Several lines for the log; every missing and unused name is in."""
        lines = [f"Read {len(self.matched)} variables from {self.path}."]
        drawn = set(self.drawn)
        kept = [name for name in self.missing if name not in drawn]
        for title, names in (
            ("Not in the file, initialized at random", self.drawn),
            ("Not in the file, keeping their initial values", kept),
            ("In the file, but not used here", self.unused),
        ):
            if names:
                lines.append(f"{title} ({len(names)}):")
                lines += [f"  {name}" for name in names]
        if self.slots:
            lines.append(
                f"Left aside: {len(self.slots)} optimizer slots and counters."
            )
        return "\n".join(lines)


def load(variables, path, *, initializer=None, expect=None):
    """Fills variables from a checkpoint by their exact names.

    Everything is checked before the first variable is touched, save for the
    checksums of the bytes and NaN: those are seen as each is read.

    Args:
        variables: mapping of names to Keras or TensorFlow variables, such as
            `named_weights(model)`. Optimizer slots and `global_step` are
            read like the rest when they are in there.
        path: whatever `find` takes, or a `CheckpointReader`.
        initializer: draws those that the file lacks and that hold NaN since
            they were made inside `layers.weights_to_come()`: a function of
            shape and dtype.
        expect: names that the file must have; `expect=variables` for all.

    Returns:
        A `LoadReport`.

    Raises:
        InputError: naming file and variable: another shape or dtype, a missing,
            short or damaged file, an expected name missing, no name in common,
            numbers that are not finite, or missing ones to be drawn and no
            `initializer`.
    """
    is_open = isinstance(path, CheckpointReader)
    reader = path if is_open else CheckpointReader(path)
    matched = [name for name in variables if name in reader]
    missing = [name for name in variables if name not in reader]
    for name in matched:
        _check_fits(name, variables[name], reader)
    _check_expected(expect or (), reader)
    if not matched:
        raise InputError(
            f"None of the names in {reader.path} is the name of a variable. "
            f"Needed, for example: {_some(variables)}. "
            f"Received: {_some(reader.names)}"
        )
    to_draw = [name for name in missing if _holds_nan(variables[name])]
    if to_draw and initializer is None:
        raise InputError(
            f"{reader.path} must have all weights of this model, but lacks "
            f"{len(to_draw)}: {_some(to_draw)}"
        )
    reader.check_data()

    for name, tensor in reader.finite_tensors(matched):
        variables[name].assign(tensor)
    for name in to_draw:
        variable = variables[name]
        variable.assign(initializer(tuple(variable.shape), variable.dtype))
        if _holds_nan(variable):
            raise ValueError(
                f"`initializer` filled `{name}` with NaN: call `load` outside "
                "of `weights_to_come()`."
            )
    left = [name for name in reader.names if name not in variables]
    slots = optimizer_slots(reader.names)
    return LoadReport(
        path=reader.path,
        matched=matched,
        missing=missing,
        drawn=to_draw,
        unused=[name for name in left if name not in slots],
        slots=[name for name in left if name in slots],
    )


def global_step(path):
    """The step that a checkpoint was saved at, or None if it does not say."""
    reader = CheckpointReader(path)
    return int(reader.tensor(GLOBAL_STEP)) if GLOBAL_STEP in reader else None


def optimizer_slots(names):
    """Those names that belong to an optimizer or count steps: a set.

    They are known by their last part (`adam_m`), or because they stand under
    the name of another variable (`output_bias/adam_m`), as no weight does.
    """
    known = set(names)
    return {
        name
        for name in known
        if _SLOT_NAMES.search(name) or name.rpartition("/")[0] in known
    }


def _check_fits(name, variable, reader):
    want, found = tuple(variable.shape), reader.shapes[name]
    if want != found:
        raise InputError(
            f"`{name}` must have the shape {list(want)}. {reader.path} has "
            f"{list(found)}. {_shape_hint(name)}"
        )
    dtype = tf.as_dtype(variable.dtype).name
    if dtype != reader.dtypes[name]:
        raise InputError(
            f"`{name}` must be {dtype}. {reader.path} has it as "
            f"{reader.dtypes[name]}."
        )


def _shape_hint(name):
    last = name.rpartition("/")[2]
    if name in ("output_weights", "output_bias"):
        return "The checkpoint was trained with another number of labels."
    if last == "position_embeddings":
        return "Another `max_position_embeddings` in the config?"
    if last == "word_embeddings" or name == "cls/predictions/output_bias":
        return "Another `vocab_size` in the config, hence another vocabulary?"
    return "The config is of another model."


def _check_expected(expect, reader):
    absent = [name for name in expect if name not in reader]
    if absent:
        raise InputError(
            f"{reader.path} lacks {len(absent)} needed variables: "
            f"{_some(absent)}. It has: {_some(reader.names)}"
        )


def _holds_nan(variable):
    dtype = tf.as_dtype(variable.dtype)
    if not dtype.is_floating:
        return False
    # See `layers.weights_to_come`.
    row = variable[:1] if len(variable.shape) else variable
    return bool(tf.reduce_any(tf.math.is_nan(_tensor(row))))


def _is_finite(tensor):
    if not tensor.dtype.is_floating:
        return True
    # A sum is quick, and not finite if a number is not; it could also be that
    # finite ones add up to too much.
    total = tf.reduce_sum(tensor)
    return bool(
        tf.math.is_finite(total) or tf.reduce_all(tf.math.is_finite(tensor))
    )


def _tensor(value):
    return tf.convert_to_tensor(value)


def _data_files(prefix):
    folder, name = os.path.split(prefix)
    pattern = re.compile(re.escape(name) + _DATA_SUFFIX.pattern)
    names = sorted(tf.io.gfile.listdir(folder or "."))
    return [_join(folder, file) for file in names if pattern.match(file)]


def _check_readable(path):
    try:
        path.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InputError(
            "TensorFlow needs paths in UTF-8. Rename the folder. Received: "
            f"{path!a}"
        ) from error
    # Its reader takes a path for a pattern, and these find no file.
    if "[" in path or "\\" in path:
        raise InputError(
            "TensorFlow cannot read checkpoints from a path with `[` or a "
            f"backslash in it. Rename the folder. Received: {path}"
        )


def _is_v1(path):
    """Whether it is a checkpoint of before 2017: one file, a sorted table."""
    if not tf.io.gfile.exists(path) or tf.io.gfile.stat(path).length < 48:
        return False
    with tf.io.gfile.GFile(path, "rb") as file:
        file.seek(tf.io.gfile.stat(path).length - 8)
        return file.read(8) == bytes.fromhex("57fb808b247547db")


def _pointer_hint(path, length):
    if length > 1000:
        return ""
    with tf.io.gfile.GFile(path, "rb") as file:
        is_pointer = file.read(30).startswith(b"version https://git-lfs")
    return " It is a Git LFS pointer: run `git lfs pull`." if is_pointer else ""


# Checking against the files that lie beside.


def check_config(config, path, config_file="the config"):
    """Compares a config's sizes with a checkpoint's shapes.

    Args:
        config: a `BertConfig`.
        path: whatever `find` takes.
        config_file: what to call the config in an error.

    Raises:
        InputError: they differ; names the key, both values and both files.
    """
    reader = CheckpointReader(path)
    layer = re.compile(r"bert/encoder/layer_(\d+)/")
    layers = [int(m[1]) for m in map(layer.match, reader.names) if m]
    stored = {"num_hidden_layers": max(layers) + 1} if layers else {}
    for key, name, axis in (
        ("vocab_size", "embeddings/word_embeddings", 0),
        ("hidden_size", "embeddings/word_embeddings", 1),
        ("type_vocab_size", "embeddings/token_type_embeddings", 0),
        ("max_position_embeddings", "embeddings/position_embeddings", 0),
        ("intermediate_size", "encoder/layer_0/intermediate/dense/bias", 0),
    ):
        shape = reader.shapes.get(f"bert/{name}", ())
        if len(shape) > axis:
            stored[key] = shape[axis]
    wrong = {k: v for k, v in stored.items() if getattr(config, k) != v}
    if wrong:
        differences = ", ".join(
            f"{key}={getattr(config, key)} where the checkpoint has {value}"
            for key, value in wrong.items()
        )
        raise InputError(
            f"{config_file} does not fit the checkpoint {reader.path}: "
            f"{differences}. Use the bert_config.json that came with the "
            "checkpoint."
        )


def check_vocab(vocab_size, vocab_file, config_file="the config"):
    """Compares the number of lines of a vocab.txt with a `vocab_size`.

    Args:
        vocab_size: int, rows of the word embedding table.
        vocab_file: path of a vocabulary, one token for each line.
        config_file: what to call the config in an error.

    Raises:
        InputError: they differ.
    """
    if vocab_size is None:
        raise InputError(
            f"{config_file} must have a vocab_size: how many lines the "
            f"vocabulary has. Received: none, for {vocab_file}."
        )
    try:
        with tf.io.gfile.GFile(vocab_file, "rb") as file:
            text = file.read()
    except tf.errors.OpError as error:
        raise InputError(
            f"The vocabulary cannot be read: {vocab_file}: {_reason(error)}"
        ) from error
    lines = text.count(b"\n") + (not text.endswith(b"\n") and text != b"")
    if lines == vocab_size:
        return
    effect = (
        "tokens of the last lines would have no embedding"
        if lines > vocab_size
        else "the last embeddings would stand for no token"
    )
    raise InputError(
        f"{vocab_file} must have as many lines as the vocab_size of "
        f"{config_file}, {vocab_size}. Received: {lines} lines, so that "
        f"{effect}. Use the vocab.txt that came with the checkpoint."
    )


# Writing.


def write(prefix, values):
    """Writes one checkpoint, whole or not at all.

    Killed at any moment, it leaves what was there before or the new one.

    Args:
        prefix: its path without `.index`; the folder is made.
        values: mapping of names to variables, tensors or arrays. Stored are
            float32 and int64, as in the original: other floats and integers
            are converted.

    Raises:
        InputError: it cannot be written, the disk is full say. What was there
            before still is.
    """
    prefix = os.fspath(prefix)
    _check_readable(prefix)
    names = sorted(values)
    with _reporting(prefix):
        tf.io.gfile.makedirs(os.path.dirname(prefix) or ".")
        _settle(prefix)
        try:
            with tf.device("CPU:0"):
                tf.raw_ops.SaveV2(
                    prefix=prefix + _UNFINISHED,
                    tensor_names=names,
                    shape_and_slices=[""] * len(names),
                    tensors=[_storable(name, values[name]) for name in names],
                )
            _flush(prefix + _UNFINISHED + DATA)
            _flush(prefix + _UNFINISHED + INDEX)
        except Exception:
            _remove_files(prefix + _UNFINISHED)
            raise
        # The index last: from then on the replacement counts.
        for end in (DATA, INDEX):
            _rename(prefix + _UNFINISHED + end, prefix + _REPLACEMENT + end)
        _settle(prefix)


def save(folder, step, values, keep=5):
    """Adds `model.ckpt-STEP` to a training folder, and drops the oldest.

    First the checkpoint is written, then the `checkpoint` file that names it,
    then older ones go. Leftovers of killed writes are cleared away.

    Args:
        folder: made if it is not there.
        step: int, kept in the file as `global_step`.
        values: mapping of names to variables, tensors or arrays.
        keep: how many to keep of those that the `checkpoint` file names; None
            for all. Others in the folder are left alone.

    Returns:
        The new checkpoint's prefix.

    Raises:
        InputError: it cannot be written. What was there before still is.
    """
    folder = os.fspath(folder)
    prefix = _join(folder, f"model.ckpt-{step}")
    with _reporting(prefix):
        _clear_leftovers(folder)
    write(prefix, {**values, GLOBAL_STEP: np.int64(step)})

    state = _read_state(folder)
    older = [] if state is None else _names_of(state)
    older = [_in_folder(folder, old) for old in older]
    named = [old for old in older if old != prefix] + [prefix]
    kept = named[-keep:] if keep else named
    with _reporting(_join(folder, STATE_FILE)):
        _write_state(folder, [_relative(path, folder) for path in kept])
    for old in named[: len(named) - len(kept)]:
        if _relative(old, folder) != old:  # One elsewhere is not ours.
            _delete(old)
    return prefix


@contextlib.contextmanager
def _reporting(path):
    """Says in our words that a path could not be written."""
    try:
        yield
    except (tf.errors.OpError, OSError) as error:
        raise InputError(
            f"{path} could not be written: {_reason(error)}. The checkpoints "
            "that were there before are untouched."
        ) from error


def _storable(name, value):
    tensor = _tensor(value)
    if tensor.dtype.is_floating:
        return tf.cast(tensor, tf.float32)
    if tensor.dtype.is_integer:
        return tf.cast(tensor, tf.int64)
    raise ValueError(
        f"`{name}` must be of floats or integers. Received: "
        f"dtype={tensor.dtype.name}"
    )


def _current(prefix):
    """The prefix of the files that count: those of a finished replacement."""
    if tf.io.gfile.exists(prefix + _REPLACEMENT + INDEX):
        return prefix + _REPLACEMENT
    return prefix


def _settle(prefix):
    """Puts a replacement in place, and clears what a killed write left."""
    # First of all: an unfinished file may be a second name of the replacement.
    _remove_files(prefix + _UNFINISHED)
    if tf.io.gfile.exists(prefix + _REPLACEMENT + INDEX):
        for end in (DATA, INDEX):
            _link(prefix + _REPLACEMENT + end, prefix + _UNFINISHED + end)
            _rename(prefix + _UNFINISHED + end, prefix + end)
        for file in _data_files(prefix):
            if not file.endswith(DATA):  # What was replaced had several.
                tf.io.gfile.remove(file)
        tf.io.gfile.remove(prefix + _REPLACEMENT + INDEX)
    _remove_files(prefix + _REPLACEMENT)
    # Renaming one name of a file to another name of it does nothing.
    _remove_files(prefix + _UNFINISHED)


def _clear_leftovers(folder):
    if not tf.io.gfile.isdir(folder):
        return
    marked = re.compile(rf"(.+)({_UNFINISHED}|{_REPLACEMENT})\.(index|data-)")
    matches = map(marked.match, tf.io.gfile.listdir(folder))
    for name in {match[1] for match in matches if match}:
        _settle(_join(folder, name))


def _write_state(folder, names):
    state = tf.compat.v1.train.generate_checkpoint_state_proto(
        folder, names[-1], names
    )
    path = _join(folder, STATE_FILE)
    with tf.io.gfile.GFile(path + _UNFINISHED, "w") as file:
        file.write(str(state))
    _flush(path + _UNFINISHED)
    _rename(path + _UNFINISHED, path)


def _relative(path, folder):
    """The path seen from a folder that it lies in, else the path itself."""
    start = _join(folder, "")
    return path.removeprefix(start) if start else path


def _delete(prefix):
    # The index first: without it the rest is no checkpoint.
    if tf.io.gfile.exists(prefix + INDEX):
        tf.io.gfile.remove(prefix + INDEX)
    for file in [*_data_files(prefix), prefix + ".meta"]:
        if tf.io.gfile.exists(file):
            tf.io.gfile.remove(file)


def _remove_files(prefix):
    """Removes `PREFIX.*`: for the names that only this room gives."""
    folder, name = os.path.split(prefix)
    if not tf.io.gfile.isdir(folder or "."):
        return
    for file in tf.io.gfile.listdir(folder or "."):
        if file.startswith(name + "."):
            tf.io.gfile.remove(_join(folder, file))


def _is_local(path):
    return "://" not in path


def _flush(path):
    if _is_local(path):
        with open(path, "rb") as file:
            os.fsync(file.fileno())


def _rename(source, target):
    tf.io.gfile.rename(source, target, overwrite=True)
    if _is_local(target):
        folder = os.open(os.path.dirname(target) or ".", os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _link(source, target):
    """A second name for a file, or a copy where there is no such thing."""
    if _is_local(source):
        try:
            os.link(source, target)
            return
        except OSError:
            pass
    tf.io.gfile.copy(source, target, overwrite=True)
    _flush(target)


def _join(folder, name):
    return os.path.join(folder, name) if folder else name


def _reason(error):
    """A message's first line, without TensorFlow's nodes and passing files."""
    line = str(error).strip().split("\n")[0]
    inner = r"\{\{.*?\}\} | \[Op:.*|\S*\.unfinished\S*; "
    return re.sub(inner, "", line).rstrip(". ")


def _some(names, most=4):
    names = list(names)
    more = f" ({len(names) - most} more)" if len(names) > most else ""
    return ", ".join(names[:most]) + more
