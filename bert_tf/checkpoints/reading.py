"""Fills variables from a checkpoint by their exact names."""

import dataclasses

import tensorflow as tf

from bert_tf.checkpoints.names import (
    CLASSIFIER,
    GLOBAL_STEP,
    MASKED_LM_BIAS,
    POSITION_EMBEDDINGS,
    WORD_EMBEDDINGS,
    optimizer_slots,
)
from bert_tf.checkpoints.reader import open_reader
from bert_tf.checkpoints.storage import some
from bert_tf.errors import InputError


@dataclasses.dataclass(frozen=True)
class LoadReport:
    """What `load` did.

    Attributes:
        path: prefix of the checkpoint.
        matched: names of variables that were read from it.
        missing: names of variables it does not have.
        drawn: those of the missing ones that were initialized anew; the others
            keep their values.
        unused: names in the file that no variable has, without the slots.
        slots: the same for the optimizer's slots and `global_step`.
    """

    path: str
    matched: list[str]
    missing: list[str]
    drawn: list[str]
    unused: list[str]
    slots: list[str]

    def summary(self):
        """Several lines for the log, with what is missing and unused."""
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
                lines += [f"  {name}" for name in self._joined(names)]
        if self.slots:
            lines.append(
                f"{len(self.slots)} more values there are the step and the "
                "optimizer's."
            )
        return "\n".join(lines)

    def _joined(self, names):
        """Names, those of a scope of which nothing was read as one."""
        read = {name.partition("/")[0] for name in self.matched}
        scopes = [name.partition("/")[:2] for name in names]
        told = [
            f"{scope}/..." if slash and scope not in read else name
            for name, (scope, slash) in zip(names, scopes)
        ]
        return list(dict.fromkeys(told))


def load(variables, path, *, initializer=None, expect=None):
    """Fills variables from a checkpoint by their exact names.

    Everything is checked before the first variable is assigned, but for the
    checksums of the bytes and NaN: those are found as each tensor is read.

    Args:
        variables: mapping of names to Keras or TensorFlow variables, such as
            `named_weights(model)`. Optimizer slots and `global_step` are read
            like the rest if they are among them.
        path: whatever `find` takes, or a `CheckpointReader`.
        initializer: function of shape and dtype. Initializes variables that
            the file lacks and that hold NaN, since they were created inside
            `layers.weights_to_come()`.
        expect: names that the file must have; `expect=variables` for all.

    Returns:
        A `LoadReport`.

    Raises:
        InputError: naming file and variable: another shape or dtype, a missing,
            short or damaged file, an expected name missing, no name in common,
            numbers that are not finite, or missing variables that need an
            `initializer`.
    """
    reader = open_reader(path)
    matched = [name for name in variables if name in reader]
    missing = [name for name in variables if name not in reader]
    for name in matched:
        _check_fits(name, variables[name], reader)
    _check_expected(expect or (), reader)
    if not matched:
        raise InputError(
            f"None of the names in {reader.path} is the name of a variable. "
            f"Needed, for example: {some(variables)}. "
            f"Received: {some(reader.names)}"
        )
    to_draw = [name for name in missing if _holds_nan(variables[name])]
    if to_draw and initializer is None:
        raise InputError(
            f"{reader.path} must have all weights of this model, but lacks "
            f"{len(to_draw)}: {some(to_draw)}"
        )
    reader.check_data()

    for name, tensor in reader.finite_tensors(matched):
        variables[name].assign(tensor)
    for name in to_draw:
        _initialize(name, variables[name], initializer)
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
    """The step at which a checkpoint was saved; None if it has none.

    Args:
        path: whatever `find` takes, or a `CheckpointReader`.
    """
    reader = open_reader(path)
    return int(reader.tensor(GLOBAL_STEP)) if GLOBAL_STEP in reader else None


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
    # Not the whole name: a model may have another first scope than `bert`.
    last = name.rpartition("/")[2]
    if name in CLASSIFIER:
        return (
            "The checkpoint was trained with another number of labels. To "
            "train another head on its encoder, `convert_checkpoint strip "
            "--without_head`."
        )
    if last == POSITION_EMBEDDINGS.rpartition("/")[2]:
        return "Another `max_position_embeddings` in the config?"
    if last == WORD_EMBEDDINGS.rpartition("/")[2] or name == MASKED_LM_BIAS:
        return "Another `vocab_size` in the config, hence another vocabulary?"
    return "The config is of another model."


def _check_expected(expect, reader):
    absent = [name for name in expect if name not in reader]
    if absent:
        raise InputError(
            f"{reader.path} lacks {len(absent)} needed variables: "
            f"{some(absent)}. It has: {some(reader.names)}"
        )


def _initialize(name, variable, initializer):
    variable.assign(initializer(tuple(variable.shape), variable.dtype))
    if _holds_nan(variable):
        raise ValueError(
            f"`initializer` filled `{name}` with NaN: call `load` outside "
            "of `weights_to_come()`."
        )


def _holds_nan(variable):
    if not tf.as_dtype(variable.dtype).is_floating:
        return False
    # `layers.weights_to_come` fills the first row only.
    row = variable[:1] if len(variable.shape) else variable
    return bool(tf.reduce_any(tf.math.is_nan(tf.convert_to_tensor(row))))
