"""Flags of training with a teacher."""

import math
import os
import re

from absl import logging

from bert_tf.checkpoints.names import BEST_FOLDER
from bert_tf.cli import command_line, sweep_flags
from bert_tf.errors import InputError
from bert_tf.support import files
from bert_tf.tasks.teacher_logits import (
    COMPARISONS,
    COMPARISONS_OF_NUMBERS,
    FILES,
    TRAIN,
    Distillation,
    TeacherLogits,
    TransferSet,
)
from bert_tf.training.settings import SWEEP_FOLDER

_LOSS_FLAGS = ("distill_temperature", "distill_weight")

# Folders below --output_dir in which runs are trained.
_OF_RUNS = re.compile(rf"run_\d+|{SWEEP_FOLDER}|{BEST_FOLDER}")


def define(flags, command, transfer):
    """Defines the flags on a `FlagSet`.

    Args:
        flags: a `FlagSet`.
        command: that trains teachers.
        transfer: what a transfer file is, in words.
    """
    flags.string(
        "teacher",
        None,
        f"Learn from a larger model: the output folder of {command} for the "
        "same labels. It reads all texts once, before training. With --do_eval "
        "results compare the two.",
    )
    flags.string(
        "transfer_file",
        None,
        "With --teacher: more texts to learn from, without labels. "
        f"{transfer} They are spread evenly among the training examples, and "
        "epochs go over both.",
    )
    flags.number(
        "distill_temperature",
        1.0,
        "With --teacher: logits of both models are divided by this before they "
        "become probabilities; the loss is multiplied by its square.",
    )
    flags.number(
        "distill_weight",
        1.0,
        "With --teacher: weight of the loss against the teacher; that against "
        "the labels has the rest. Texts of --transfer_file have 1.",
    )


def check(flags):
    """Raises `InputError` for flags that do not fit each other."""
    given = [
        name for name in ("transfer_file", *_LOSS_FLAGS) if flags[name].present
    ]
    if flags.teacher is None:
        for name in given:
            raise InputError(
                f"`--{name}` needs --teacher. Received: "
                f"--{name}={flags[name].value}"
            )
        return
    if not (flags.do_train or flags.do_eval):
        raise InputError(
            "`--teacher` is for training and evaluation: it needs --do_train "
            f"or --do_eval. Received: --teacher={flags.teacher}"
        )
    command_line.require_between(flags, "distill_weight", 0, 1)
    if not 0 < flags.distill_temperature < math.inf:
        raise InputError(
            "`--distill_temperature` must be above 0. Received: "
            f"--distill_temperature={flags.distill_temperature}"
        )
    if flags.transfer_file is not None:
        _check_transfer(flags)
    _check_place(flags)


def _check_transfer(flags):
    if not flags.do_train:
        raise InputError(
            "`--transfer_file` has texts to train on: it needs --do_train. "
            f"Received: --transfer_file={flags.transfer_file}"
        )
    if not files.is_local(flags.transfer_file):
        raise InputError(
            "`--transfer_file` must be on this machine: copy it. Received: "
            f"--transfer_file={flags.transfer_file}"
        )
    files.require_file("transfer_file", flags.transfer_file)


def _check_place(flags):
    """Raises `InputError` for a teacher where the student is written."""
    teacher = flags.teacher
    folder = teacher if os.path.isdir(teacher) else os.path.dirname(teacher)
    output, place = map(os.path.realpath, (flags.output_dir, folder or "."))
    below = os.path.relpath(place, output).split(os.sep)
    if place == output or _OF_RUNS.fullmatch(below[0]):
        raise InputError(
            "`--teacher` must lie elsewhere than the student, which is written "
            f"to --output_dir. Received: --teacher={teacher} "
            f"--output_dir={flags.output_dir}"
        )


def result_names(flags, is_number=False):
    """Names of the results that compare with the teacher; () without one.

    Args:
        flags: parsed `FlagValues`.
        is_number: whether numbers are predicted.
    """
    if flags.teacher is None:
        return ()
    return COMPARISONS_OF_NUMBERS if is_number else COMPARISONS


def require_if_begun(flags, settings):
    """Raises `InputError` for a training that would go on without its teacher.

    Args:
        flags: parsed `FlagValues`.
        settings: `RunSettings`.
    """
    # Imported here, since it loads TensorFlow.
    from bert_tf.checkpoints import finding

    logits = os.path.join(flags.output_dir, FILES.format(name=TRAIN, number=0))
    if (
        settings.do_train
        and flags.teacher is None
        and os.path.exists(logits)
        and finding.has_checkpoints(settings.output_dir)
    ):
        raise InputError(
            f"The training in {settings.output_dir} began with a teacher, "
            f"whose logits are in {logits}: give the same --teacher to go on, "
            "or take another --output_dir."
        )


def noted(flags):
    """Names of the flags that the folder of a training notes."""
    return _LOSS_FLAGS if flags.teacher and flags.do_train else ()


def settings(flags):
    """The `Distillation` of the flags."""
    return Distillation(flags.distill_temperature, flags.distill_weight)


def with_transfer(flags, examples, read):
    """Training examples, with those of --transfer_file.

    Args:
        flags: parsed `FlagValues`.
        examples: those with labels.
        read: function that reads the file.

    Raises:
        InputError: the file has bad rows, or none.
    """
    logging.info("Reading %s.", flags.transfer_file)
    found = TransferSet(examples, read)
    logging.info(
        "%d examples with labels, and %d of %s without.",
        len(examples),
        len(found) - len(examples),
        flags.transfer_file,
    )
    return found


def teacher_logits(flags, settings, teacher, sets):
    """The `TeacherLogits` of a run.

    Args:
        flags: parsed `FlagValues`.
        settings: `RunSettings`.
        teacher: a `Teacher`.
        sets: `tasks.run.Sets`.
    """
    # Imported here, since it loads TensorFlow.
    from bert_tf.checkpoints import finding

    read = {**sets.evaluation, **sets.watched}
    if sets.train is not None:
        read = {TRAIN: sets.train, **read}
    goes_on = settings.do_train and finding.has_checkpoints(settings.output_dir)
    # One folder for all runs of --num_runs and of --sweep.
    folder = flags.output_dir
    if flags.sweep is not None:
        folder = sweep_flags.folder_of_sweep(flags)
    return TeacherLogits(teacher, read, folder, goes_on)
