"""Flags that name a model: the same in all commands."""

from bert_tf.support import files
from bert_tf.training.settings import ModelFiles


def define(flags, checkpoint="init_checkpoint", purpose=None, required=False):
    """Defines the flags that name a model.

    Args:
        flags: a `FlagSet`.
        checkpoint: name of the flag for the checkpoint, `init_checkpoint` as
            in the original's commands, or `checkpoint`.
        purpose: the beginning of its help text.
        required: whether the checkpoint is required.
    """
    flags.string(
        checkpoint,
        None,
        (purpose or "The model")
        + ": a folder with its checkpoint, or a prefix such as "
        "BERT/bert_model.ckpt.",
    )
    flags.string("vocab_file", None, "The vocabulary. [vocab.txt beside it]")
    flags.string(
        "bert_config_file",
        None,
        "The model's config. [bert_config.json beside it]",
    )
    if required:
        flags.require(checkpoint)


def define_lower_case(flags):
    """Defines --do_lower_case."""
    flags.boolean(
        "do_lower_case",
        True,
        "Lower-case the text: true for uncased models, false for cased ones.",
    )


def model_files(values, checkpoint="init_checkpoint"):
    """The `ModelFiles` that the flags name.

    Args:
        values: parsed `FlagValues`.
        checkpoint: name of the flag for the checkpoint.
    """
    return ModelFiles(
        values[checkpoint].value,
        values.vocab_file,
        values.bert_config_file,
        values.do_lower_case if "do_lower_case" in values else True,
    )


def check_files(values):
    """Raises `InputError` if a given vocabulary or config does not exist."""
    for name in ("vocab_file", "bert_config_file"):
        if values[name].value:
            files.require_file(name, values[name].value)


def define_new_folder(flags):
    """Defines the flags that name the model to read and the new folder."""
    define(flags, purpose="The model to extend", required=True)
    flags.string(
        "output_dir", None, "The folder to create for the new checkpoint."
    )
    flags.require("output_dir")
