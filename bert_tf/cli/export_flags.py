"""Flags of --do_export, and the export that they describe."""

import os

from bert_tf import checkpoints
from bert_tf.checkpoints import names
from bert_tf.errors import InputError
from bert_tf.exports.export import Source, check_output


def define(flags, beside="output_dir"):
    """Defines the flags of scripts that export what they have just used.

    Args:
        values: a `FlagValues`.
        beside: the flag that says where the script writes.
    """
    flags.boolean(
        "do_export",
        False,
        "In the end, export the checkpoint as a SavedModel that takes text.",
    )
    flags.string(
        "export_dir",
        None,
        "With --do_export: the folder to make the next version in. [export, in "
        f"the folder of --{beside}]",
    )


def find_export_dir(flags, folder):
    """The folder to export to, once it is there; None without --do_export.

    Args:
        flags: what `define_flags` has defined.
        folder: the script's own.

    Raises:
        InputError: it cannot be made, or the flags do not go together.
    """
    if not flags.do_export:
        if flags.export_dir:
            raise InputError(
                "`--export_dir` has a meaning only with --do_export. Received: "
                f"--export_dir={flags.export_dir}"
            )
        return None
    path = flags.export_dir or os.path.join(folder, "export")
    check_output(path, "export_dir")
    return path


def source_of(flags, checkpoint):
    """The `Source` that flags tell of which all scripts have.

    Args:
        flags: parsed `FlagValues`.
        checkpoint: of the `Source`.
    """
    return Source(
        checkpoint,
        flags.vocab_file,
        flags.bert_config_file,
        flags.do_lower_case,
        flags.max_seq_length,
    )


def source_of_run(flags, start):
    """The `Source` of `checkpoint_of_run`."""
    return source_of(flags, checkpoint_of_run(flags, start))


def checkpoint_of_run(flags, start):
    """What a run has written, or else what it has started from.

    With --keep_best that is the best, as for its other results.

    Raises:
        InputError: all weights are random.
    """
    prefix = None
    if flags.keep_best is not None:
        best = os.path.join(flags.output_dir, names.BEST_FOLDER)
        prefix = checkpoints.latest(best)
    prefix = prefix or checkpoints.latest(flags.output_dir) or start.prefix
    if prefix is None:
        raise InputError(
            "`--do_export` needs a checkpoint: give --init_checkpoint, or "
            f"--do_train. {flags.output_dir} has none."
        )
    return prefix
