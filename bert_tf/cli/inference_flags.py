"""Flags of commands that use a model: the model, texts, the output."""

import contextlib
import json
import os

from absl import logging

from bert_tf.cli import command_line, model_flags
from bert_tf.data import text_files
from bert_tf.errors import InputError
from bert_tf.support import files


def define_model(flags):
    """Defines the flags that name a model."""
    model_flags.define(flags, "checkpoint", required=True)
    model_flags.define_casing(flags)


def check_model(flags):
    """Raises `InputError` if a file of the model does not exist."""
    model_flags.check_files(flags)


def define(flags):
    """Defines the flags for the model, the batch size and the output."""
    define_model(flags)
    flags.integer("batch_size", 32, "Rows in a batch.")
    model_flags.define_padding(flags, True)
    flags.string(
        "output_file",
        None,
        "Write answers as lines of JSON. [they are printed as text]",
    )


def check(flags):
    """Raises `InputError` for invalid flags of `define`, before any work."""
    command_line.require_positive(flags, "batch_size")
    check_model(flags)
    labels = flags.labels_file if "labels_file" in flags else None
    require_other_output(flags, labels_file=[labels] if labels else [])


def require_other_output(flags, output="output_file", **read):
    """Raises `InputError` if the output is a file that the command reads.

    Args:
        flags: parsed `FlagValues`.
        output: the flag that names it.
        **read: paths of input files by flag, besides those of the model.
    """
    if path := flags[output].value:
        read |= model_flags.files_read(flags, "checkpoint")
        files.require_other_file([path], read, output)


@contextlib.contextmanager
def open_output(flags):
    """Opens the output.

    Yields:
        A function that writes one answer, given as text and as a dictionary.
    """
    if not flags.output_file:
        yield lambda text, _: print(text, flush=True)
        return
    folder = os.path.dirname(flags.output_file) or "."
    files.make_folder("output_file", folder)
    with files.whole_or_nothing(flags.output_file) as file:

        def write(_, values):
            line = json.dumps(values, ensure_ascii=False) + "\n"
            # Half of a surrogate pair is written as JSON escapes it.
            file.write(line.encode("utf-8", "backslashreplace"))

        yield write
    logging.info("Wrote %s.", flags.output_file)


def define_texts(flags, length="number of the model's positions"):
    """Defines the flags of `define`, and those for texts.

    Args:
        flags: a `FlagSet`.
        length: the default of --max_seq_length, in words.
    """
    define(flags)
    define_input(flags, length)


def define_input(flags, length):
    """Defines the flags for texts.

    Args:
        flags: a `FlagSet`.
        length: the default of --max_seq_length, in words.
    """
    flags.integer(
        "max_seq_length",
        None,
        f"Maximum number of word pieces in an input. [{length}]",
    )
    flags.strings("text", "A text.")
    flags.string(
        "input_file", None, "Instead of --text: files of one text per line."
    )


def define_labels(flags):
    """Defines --labels_file."""
    flags.string(
        "labels_file",
        None,
        "Names of the labels, one on each line, in the order of their ids. "
        "[labels.txt beside the checkpoint]",
    )


def require_texts(flags, texts):
    """Raises `InputError` if `read_texts` has found none."""
    if not texts:
        raise InputError(
            f"`--input_file` must have at least one line. {flags.input_file} "
            "is empty."
        )


def load_encoder(flags):
    """The model of the flags without its head, as `bert_tf.load` gives it."""
    from bert_tf.checkpoints import finding
    from bert_tf.tasks.vectors import encoder

    lowers, strips, ignore = model_flags.casing(flags)
    return encoder.load(
        finding.of_results(flags.checkpoint),
        flags.vocab_file,
        flags.bert_config_file,
        lowers,
        flags.max_seq_length,
        strips,
        ignore,
    )


def load_language_model(flags):
    """The `LanguageModel` of the flags."""
    from bert_tf.tasks.pretraining.language_model import LanguageModel

    check(flags)
    lowers, strips, ignore = model_flags.casing(flags)
    return LanguageModel(
        flags.checkpoint,
        flags.vocab_file,
        flags.bert_config_file,
        lowers,
        flags.max_seq_length,
        flags.batch_size,
        strips,
        ignore,
        flags.skip_padding,
    )


def read_texts(flags, output="output_file"):
    """Iterates over the texts of `--text` or `--input_file`.

    Args:
        flags: parsed `FlagValues`.
        output: the flag that names the output.

    Raises:
        InputError: neither or both are given, or there is no such file.
    """
    if bool(flags.text) == bool(flags.input_file):
        received = "both" if flags.text else "neither"
        raise InputError(
            "Either `--text` or `--input_file` must be given. Received: "
            f"{received}"
        )
    if flags.text:
        return iter(flags.text)
    paths = text_files.find_files(flags.input_file)
    require_other_output(flags, output, input_file=paths)
    return text_files.read_lines(text_files.whole_files(paths))
