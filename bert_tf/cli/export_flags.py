"""Flags of --do_export, and the export that they describe."""

import os

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
