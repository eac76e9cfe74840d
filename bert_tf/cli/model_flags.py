"""The original's flags that several of its scripts have, and what is checked.

Comes in: a `FlagValues`. Goes out: definitions; an `InputError` for a value
that makes no sense; and what the flags name, the config and the tokenizer. Any
other flag is defined where it is used: in its script, in `training_flags` what
the original did not have, in `loading` for commands that only use a model.
"""

import math

from bert_tf import checkpoints, tokenization
from bert_tf.cli import command_line, training_flags
from bert_tf.errors import InputError
from bert_tf.modeling import BertConfig


def define_config(flags):
    """Defines the flag that names the model's config."""
    flags.string("bert_config_file", None, "The model's bert_config.json.")
    flags.require("bert_config_file")


def define_lower_case(flags):
    """Defines the flag that says how text is read."""
    flags.boolean(
        "do_lower_case",
        True,
        "Lower-case the text: true for uncased models, false for cased ones.",
    )


def define_text(flags):
    """Defines the flags of scripts that read text for a model."""
    define_config(flags)
    flags.string("vocab_file", None, "The vocabulary of the checkpoint.")
    flags.require("vocab_file")
    define_lower_case(flags)


def define_training(flags):
    """Defines the flags of scripts that train."""
    flags.string(
        "output_dir",
        None,
        "Folder for checkpoints and results. If it has a checkpoint, that one "
        "is continued.",
    )
    flags.require("output_dir")
    flags.string(
        "init_checkpoint",
        None,
        "Weights to start from: a prefix such as BERT/bert_model.ckpt, or a "
        "folder.",
    )
    flags.number("learning_rate", 5e-5, "Where the learning rate decays from.")
    flags.integer("save_checkpoints_steps", 1000, "Steps between checkpoints.")
    flags.integer(
        "iterations_per_loop",
        1000,
        "The most steps in one call of the compiled loop.",
    )
    training_flags.define_tpu_flags(flags)
    # Not the original's, but in all of these scripts.
    flags.integer("seed", None, "Makes a run repeatable; drawn when not given.")


def define_epochs(flags, what):
    """Defines the flags of scripts that count epochs.

    Args:
        values: a `FlagValues`.
        what: what an epoch goes over, in words.
    """
    flags.number("num_train_epochs", 3.0, f"How often to go over {what}.")
    flags.number("warmup_proportion", 0.1, "Share of the steps that warm up.")


def read_config(values):
    """The model's `BertConfig`.

    Raises:
        InputError: the file is not there, or not a config.
    """
    command_line.require_file("bert_config_file", values.bert_config_file)
    return BertConfig.from_json_file(values.bert_config_file)


def check_text(values):
    """The model's `BertConfig`, if the flags of `define_text` make sense.

    Raises:
        InputError: a file is not there, or the model needs the other case.
    """
    tokenization.validate_case_matches_checkpoint(
        values.do_lower_case, values.init_checkpoint
    )
    config = read_config(values)
    command_line.require_file("vocab_file", values.vocab_file)
    return config


def load_tokenizer(values, config):
    """The `FullTokenizer` that the flags of `define_text` describe.

    Raises:
        InputError: the vocabulary does not fit the config, or lacks a token
            that examples are made with.
    """
    tokenizer = tokenization.FullTokenizer(
        values.vocab_file, do_lower_case=values.do_lower_case
    )
    checkpoints.check_vocab(
        config.vocab_size, values.vocab_file, values.bert_config_file
    )
    tokenization.require_special_tokens(tokenizer, values.vocab_file)
    return tokenizer


def require_positions(values, config, advice=""):
    """Raises `InputError` if a model has no positions for --max_seq_length.

    Args:
        values: parsed `FlagValues`.
        config: the model's `BertConfig`.
        advice: what to do besides lowering it, as a sentence.
    """
    if values.max_seq_length > config.max_position_embeddings:
        raise InputError(
            f"Cannot use sequence length {values.max_seq_length} because the "
            "BERT model was only trained up to sequence length "
            f"{config.max_position_embeddings}: lower --max_seq_length."
            + (f" {advice}" if advice else "")
        )


def check_training(values):
    """Raises `InputError` for a bad value of `define_training`'s flags."""
    command_line.require_positive(
        values,
        "train_batch_size",
        "save_checkpoints_steps",
        "iterations_per_loop",
    )
    command_line.require_between(values, "learning_rate", 0, math.inf)
    if values.seed is not None:
        command_line.require_between(values, "seed", 0, 2**32 - 1)


def check_epochs(values):
    """Raises `InputError` for a bad value of `define_epochs`' flags."""
    command_line.require_between(values, "num_train_epochs", 0, math.inf)
    command_line.require_between(values, "warmup_proportion", 0, 1)


def define_new_folder(flags):
    """Defines the flags that name the folder to read and the one to make.

    Args:
        flags: `absl.flags`.
        values: a `FlagValues`.
    """
    flags.string(
        "init_checkpoint",
        None,
        "The checkpoint to extend: its prefix, or its folder.",
    )
    flags.string(
        "output_dir", None, "The folder to make, with the new checkpoint."
    )
    flags.string(
        "vocab_file",
        None,
        "The checkpoint's vocabulary. [vocab.txt beside it]",
    )
    flags.string(
        "bert_config_file",
        None,
        "The checkpoint's config. [bert_config.json beside it]",
    )
    flags.require("init_checkpoint", "output_dir")
