"""Flags of the commands that make pretraining records."""

import dataclasses
import os

from bert_tf.cli import command_line
from bert_tf.errors import InputError
from bert_tf.tasks.pretraining.instances import Settings
from bert_tf.tasks.pretraining.record_files import Options, find_segmenter
from bert_tf.tasks.pretraining.shards import (
    LEAST_SHARD_BYTES,
    SHARD_BYTES,
    SHARDS_TOGETHER,
)


def define(flags):
    """Defines this script's flags on a `FlagValues`."""
    flags.string(
        "input_file",
        None,
        "Text files or patterns such as corpus/*.txt.gz, separated by commas. "
        "The files of a pattern are read in sorted order.",
    )
    flags.string(
        "output_file",
        None,
        "TFRecord file to write, or several, separated by commas: examples "
        "are dealt to them in turn. With shards: how their names start.",
    )
    flags.string(
        "vocab_file", None, "The vocabulary that the model is to have."
    )
    flags.boolean(
        "do_lower_case",
        True,
        "Lower-case the text: true for uncased models, false for cased ones.",
    )
    flags.boolean(
        "do_whole_word_mask", False, "Mask all pieces of a word or none."
    )
    flags.integer("max_seq_length", 128, "Word pieces of an example.")
    flags.integer(
        "max_predictions_per_seq", 20, "The most masked pieces in one."
    )
    flags.integer("random_seed", 12345, "Decides what is drawn.")
    flags.integer(
        "dupe_factor", 10, "How often to go over the text, with other masks."
    )
    flags.number("masked_lm_prob", 0.15, "Share of the pieces to mask.")
    flags.number(
        "short_seq_prob",
        0.1,
        "Share of examples to make shorter than they could be.",
    )

    flags.integer(
        "num_workers",
        None,
        "Cut the text into shards, made by so many processes. [one process, "
        "no shards; with --num_shards, as many as there are cores]",
    )
    flags.integer(
        "num_shards",
        None,
        "Cut the text into so many shards, or fewer where documents are "
        f"longer. [{SHARDS_TOGETHER} or a multiple, each with at most "
        f"{SHARD_BYTES // 1_000_000} MB of text; fewer if that is less than "
        f"{LEAST_SHARD_BYTES // 1_000_000} MB each]",
    )
    flags.string(
        "word_segmenter",
        None,
        "With --do_whole_word_mask: `module:function`, a function of your own "
        "from a sentence to the list of its words, for languages without "
        "spaces. The module is looked for in this folder, too.",
    )
    flags.require("input_file", "output_file", "vocab_file")


def check(flags) -> Options:
    """The options, if the flags make sense.

    Raises:
        InputError: names the flag.
    """
    command_line.require_file("vocab_file", flags.vocab_file)
    names = [field.name for field in dataclasses.fields(Settings)]
    settings = Settings(**{name: flags[name].value for name in names})
    sharded = False
    for name in ("num_workers", "num_shards"):
        if flags[name].value is not None:
            sharded = True
            command_line.require_positive(flags, name)
    outputs = flags.output_file.split(",")
    for path in outputs:
        if not path or "://" in path or os.path.isdir(path):
            raise InputError(
                "`--output_file` must name files on this machine. Received: "
                f"--output_file={flags.output_file}"
            )
    if len(set(outputs)) < len(outputs):
        raise InputError(
            "`--output_file` must not name a file twice. Received: "
            f"--output_file={flags.output_file}"
        )
    if sharded and len(outputs) > 1:
        raise InputError(
            "With --num_workers or --num_shards, `--output_file` is how the "
            "names of all shards start: it must be one. Received: "
            f"--output_file={flags.output_file}"
        )
    if flags.word_segmenter and not flags.do_whole_word_mask:
        raise InputError(
            "`--word_segmenter` says what a whole word is: it needs "
            "--do_whole_word_mask=True."
        )
    options = Options(
        flags.vocab_file, flags.do_lower_case, settings, flags.word_segmenter
    )
    find_segmenter(options.word_segmenter)
    return options
