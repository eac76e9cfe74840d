"""Flags that name a model: the same in all commands."""

import glob
import os

from bert_tf.checkpoints import names
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


def define_casing(flags, beside="the checkpoint"):
    """Defines --do_lower_case, --strip_accents and --ignore_folder_settings.

    Args:
        flags: a `FlagSet`.
        beside: where bert_tf.json is, in words.
    """
    flags.boolean(
        "do_lower_case",
        True,
        "Lower-case the text: true for uncased models, false for cased ones. "
        f"[as the model was trained: what bert_tf.json beside {beside} has, "
        "else whether the vocabulary has capital letters]",
    )
    flags.boolean(
        "strip_accents",
        None,
        "Remove accents from letters. [as the model was trained, which for "
        "models of the original is as --do_lower_case]",
    )
    flags.boolean(
        "ignore_folder_settings",
        False,
        f"bert_tf.json beside {beside} notes how the model was trained. Flags "
        "that are not given take its values; one that contradicts it is an "
        "error, and so is a --do_lower_case that contradicts the vocabulary. "
        "With this, flags that are given win: to use another length, for "
        "example.",
    )


def casing(values):
    """--do_lower_case, --strip_accents and --ignore_folder_settings.

    Those that are not given are None, and false.
    """
    lowers = values["do_lower_case"]
    return (
        lowers.value if lowers.present else None,
        values.strip_accents,
        values.ignore_folder_settings,
    )


def define_padding(flags, default, more=""):
    """Defines --skip_padding.

    Args:
        flags: a `FlagSet`.
        default: whether padding is skipped.
        more: what else there is to say about it in this command.
    """
    flags.boolean(
        "skip_padding",
        default,
        f"Compute the encoder at tokens only, not at padding. {more}"
        f"{' ' * bool(more)}false: compute padding too, as the original does.",
    )


def take_folder_settings(
    values,
    head,
    names,
    checkpoint="init_checkpoint",
    output_dir=None,
    trains=False,
):
    """Sets flags that are not given to what the model's folder notes.

    Casing is not among them: it is decided where the vocabulary is read.

    Args:
        values: parsed `FlagValues`.
        head: what the command does, as in `FolderSettings`; None for what any
            model does.
        names: of the flags; the folder calls its settings so as well.
        checkpoint: name of the flag for the checkpoint.
        output_dir: the folder of a run, which may be resumed there.
        trains: whether the command trains.

    Returns:
        What the folder notes, a `Noted`.

    Raises:
        InputError: a given flag contradicts the folder, and not
            --ignore_folder_settings.
    """
    # Imported here, since it loads TensorFlow.
    from bert_tf.checkpoints import finding

    noted = finding.find_noted(values[checkpoint].value, output_dir, trains)
    given = {name: values[name].value for name in names if values[name].present}
    found = noted.resolve(head, names, given, values.ignore_folder_settings)
    for name, value in found.items():
        values[name].value = value
    return noted


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
        *casing(values),
    )


def check_files(values):
    """Raises `InputError` if a given vocabulary or config does not exist."""
    for name in ("vocab_file", "bert_config_file"):
        if values[name].value:
            files.require_file(name, values[name].value)


def files_read(values, checkpoint="init_checkpoint"):
    """{flag: the files of the model that a command reads}.

    Args:
        values: parsed `FlagValues`.
        checkpoint: name of the flag for the checkpoint.
    """
    path = values[checkpoint].value or ""
    folder = path if os.path.isdir(path) else os.path.dirname(path) or "."
    patterns = ["*.data-?????-of-?????", f"*{names.INDEX}"]
    patterns += [names.VOCAB, names.CONFIG, names.STATE_FILE]
    patterns += [names.LABELS_FILE, names.SETTINGS_FILE]
    beside = os.path.join(glob.escape(folder), "")
    found = [path for name in patterns for path in glob.glob(beside + name)]
    given = {
        name: [values[name].value]
        for name in ("vocab_file", "bert_config_file")
        if values[name].value
    }
    return {**given, checkpoint: found}


def define_new_folder(flags):
    """Defines the flags that name the model to read and the new folder."""
    define(flags, purpose="The model to extend", required=True)
    flags.string(
        "output_dir", None, "The folder to create for the new checkpoint."
    )
    flags.require("output_dir")
