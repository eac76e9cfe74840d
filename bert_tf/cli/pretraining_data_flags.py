"""Flags of the commands that make pretraining records."""

import dataclasses
import os

from bert_tf.checkpoints import casing
from bert_tf.cli import command_line, model_flags
from bert_tf.errors import InputError
from bert_tf.support import files
from bert_tf.tasks.pretraining.instances import Settings
from bert_tf.tasks.pretraining.record_files import Options, find_segmenter
from bert_tf.tasks.pretraining.shards import (
    LEAST_SHARD_BYTES,
    SHARD_BYTES,
    SHARDS_TOGETHER,
)


def define(flags):
    """Defines the flags on a `FlagSet`."""
    flags.string(
        "input_file",
        None,
        "Text files or patterns such as corpus/*.txt.gz, separated by commas. "
        "The files of a pattern are read in sorted order.",
    )
    flags.string(
        "output_file",
        None,
        "TFRecord file to write, or several, separated by commas, which get "
        "examples in turn. With shards: the prefix of their names.",
    )
    flags.string(
        "vocab_file",
        None,
        "The vocabulary of the model to pretrain: a file, or a folder or the "
        "name of a model with a vocab.txt.",
    )
    model_flags.define_casing(flags, "the vocabulary")
    flags.boolean(
        "do_whole_word_mask", False, "Mask all pieces of a word or none."
    )
    flags.integer("max_seq_length", 128, "Number of word pieces in an example.")
    flags.integer(
        "max_predictions_per_seq", 20, "Maximum number of masked pieces in it."
    )
    flags.integer("random_seed", 12345, "Seed of all random draws.")
    flags.integer(
        "dupe_factor",
        10,
        "Number of passes over the text, with different masks.",
    )
    flags.number("masked_lm_prob", 0.15, "Share of the pieces to mask.")
    flags.number(
        "short_seq_prob",
        0.1,
        "Share of examples that are made shorter on purpose.",
    )

    flags.integer(
        "num_workers",
        None,
        "Split the text into shards, and make them in N processes. [one "
        "process, no shards; with --num_shards, one process per core]",
    )
    flags.integer(
        "num_shards",
        None,
        "Split the text into N shards, or fewer if documents are longer. "
        f"[{SHARDS_TOGETHER} or a multiple, each with at most "
        f"{SHARD_BYTES // 1_000_000} MB of text; fewer if each would have less "
        f"than {LEAST_SHARD_BYTES // 1_000_000} MB]",
    )
    flags.string(
        "word_segmenter",
        None,
        "With --do_whole_word_mask: `module:function`, a function from a "
        "sentence to the list of its words, for languages without spaces. The "
        "module may be in the current folder.",
    )
    flags.require("input_file", "output_file", "vocab_file")


def check(flags) -> Options:
    """The options of the flags.

    Raises:
        InputError: names the flag.
    """
    files.require_file("vocab_file", flags.vocab_file)
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
    if len(set(map(os.path.realpath, outputs))) < len(outputs):
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
    find_segmenter(flags.word_segmenter)
    found = casing.decide_for_file(flags.vocab_file, *model_flags.casing(flags))
    return Options(
        flags.vocab_file,
        found.do_lower_case,
        settings,
        flags.word_segmenter,
        found.strip_accents,
    )
