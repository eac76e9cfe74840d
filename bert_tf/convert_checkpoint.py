r"""Checkpoints to and from other programs, and without optimizer slots.

  python -m bert_tf.convert_checkpoint to_hf CHECKPOINT --output=FOLDER
  python -m bert_tf.convert_checkpoint from_hf FOLDER --output=FOLDER
  python -m bert_tf.convert_checkpoint from_other PATH --output=FOLDER
  python -m bert_tf.convert_checkpoint strip CHECKPOINT --output=FOLDER

Numbers stay the same; their kernels are transposed. Only BERT can be converted.
"""

from bert_tf.checkpoints import named
from bert_tf.checkpoints.hugging_face import HEADS
from bert_tf.cli import subcommands
from bert_tf.cli.command_line import FlagSet
from bert_tf.cli.subcommands import Subcommand
from bert_tf.support import startup

with startup.deferred():
    from bert_tf.checkpoints import (
        from_hugging_face,
        stripping,
        to_hugging_face,
    )
    from bert_tf.checkpoints import (
        from_other as from_others,
    )

COMMAND = "python -m bert_tf.convert_checkpoint"


def _define_output(flags, meaning):
    flags.string("output", None, meaning)
    flags.require("output")
    flags.boolean("overwrite", False, "Overwrite files that are there.")


def _define_head(flags):
    flags.choice(
        "head",
        "auto",
        ("auto", *HEADS),
        "The head on the encoder; auto: the one in the file.",
    )
    flags.boolean(
        "allow_unused", False, "Leave out unknown tensors instead of failing."
    )


def define_to_hf(values):
    """Defines the flags of `to_hf` on a `FlagValues`."""
    flags = FlagSet(values)
    _define_output(flags, "Folder to write.")
    for name, file in (
        ("bert_config_file", "bert_config.json"),
        ("vocab_file", "vocab.txt"),
        ("labels_file", "labels.txt"),
    ):
        flags.string(name, None, f"[{file} beside the checkpoint]")
    flags.string(
        "hidden_act",
        None,
        "transformers' name of the activation. [that of the function in the "
        "config]",
    )
    as_noted = "[as bert_tf.json beside the checkpoint has it"
    flags.boolean(
        "do_lower_case",
        None,
        "Whether their tokenizer lower-cases. "
        f"{as_noted}; else false if a fifth of the vocabulary's words have a "
        "capital letter, or 50 longer ones and a twentieth]",
    )
    flags.boolean(
        "strip_accents",
        None,
        "Whether their tokenizer removes accents. "
        f"{as_noted}; else as it lower-cases]",
    )
    flags.boolean(
        "ignore_folder_settings",
        False,
        "--do_lower_case and --strip_accents win where bert_tf.json, the name "
        "or the vocabulary contradicts them.",
    )
    _define_head(flags)


def define_from_hf(values):
    """Defines the flags of `from_hf` on a `FlagValues`."""
    flags = FlagSet(values)
    _define_output(flags, "Folder to write.")
    flags.string(
        "hidden_act",
        None,
        "bert_tf's name of the activation: `gelu` for models that the original "
        "trained, although transformers computes those with its own `gelu`, "
        "here `gelu_exact`. [that of the function in config.json]",
    )
    flags.boolean(
        "ignore_layer_norm_eps",
        False,
        "Convert although their layer_norm_eps is not 1e-12.",
    )
    flags.boolean(
        "ignore_tokenizer_settings",
        False,
        "Convert although their tokenizer makes other tokens than BERT's.",
    )
    _define_head(flags)


def define_from_other(values):
    """Defines the flags of `from_other` on a `FlagValues`."""
    flags = FlagSet(values)
    _define_output(flags, "Folder to write.")
    for name, file in (
        ("bert_config_file", "bert_config.json"),
        ("vocab_file", "vocab.txt"),
    ):
        flags.string(
            name,
            None,
            f"[what the program keeps, or {file} beside the weights]",
        )
    flags.string(
        "hidden_act",
        None,
        "bert_tf's name of the activation. [that of the function that the "
        "program computes]",
    )
    as_told = "[as the files tell; else commands judge by the vocabulary]"
    flags.boolean(
        "do_lower_case", None, f"Whether texts are lower-cased. {as_told}"
    )
    flags.boolean(
        "strip_accents", None, f"Whether accents are removed. {as_told}"
    )
    _define_head(flags)


def define_strip(values):
    """Defines the flags of `strip` on a `FlagValues`."""
    flags = FlagSet(values)
    _define_output(
        flags,
        "Folder to write; or, with `.ckpt` in its name, the prefix of the new "
        "checkpoint.",
    )
    flags.boolean(
        "without_head",
        False,
        "Keep the encoder only, for --init_checkpoint of other tasks: no head, "
        "no labels, and nothing that the folder notes of its task.",
    )


def to_hf(flags, checkpoint):
    """Converts a checkpoint to a Hugging Face folder."""
    _print(
        to_hugging_face.to_hf, named.resolve(checkpoint), flags, define_to_hf
    )


def from_hf(flags, folder):
    """Converts a Hugging Face folder to a checkpoint."""
    _print(from_hugging_face.from_hf, folder, flags, define_from_hf)


def from_other(flags, path):
    """Converts what another program wrote to a checkpoint."""
    _print(from_others.from_other, path, flags, define_from_other)


def strip(flags, checkpoint):
    """Writes a checkpoint without what only its training needs."""
    _print(stripping.strip, named.resolve(checkpoint), flags, define_strip)


def _print(work, source, flags, define):
    """Prints the report of a function that has an argument for each flag."""
    given = {name: flags[name].value for name in subcommands.names(define)}
    print(work(source, given.pop("output"), **given))


COMMANDS = {
    "to_hf": Subcommand(
        f"""The original's format -> a Hugging Face folder.

  {COMMAND} to_hf CHECKPOINT --output=FOLDER

CHECKPOINT is a prefix, an .index file, a folder, or the name of a model.
""",
        define_to_hf,
        to_hf,
        "CHECKPOINT",
    ),
    "from_hf": Subcommand(
        f"""A Hugging Face folder -> the original's format.

  {COMMAND} from_hf HF_FOLDER --output=FOLDER

HF_FOLDER has config.json, model.safetensors, pytorch_model.bin or tf_model.h5,
and vocab.txt or tokenizer.json.
""",
        define_from_hf,
        from_hf,
        "HF_FOLDER",
    ),
    "from_other": Subcommand(
        f"""Of other Keras and TensorFlow programs -> the original's format.

  {COMMAND} from_other PATH --output=FOLDER

PATH is a checkpoint or training folder of tf-models, a SavedModel of TF-Hub, a
preset of keras-hub, or an .h5 file of keras-bert or bert4keras.
""",
        define_from_other,
        from_other,
        "PATH",
    ),
    "strip": Subcommand(
        f"""Weights only: without optimizer slots and step.

  {COMMAND} strip CHECKPOINT --output=FOLDER

CHECKPOINT is a prefix, an .index file, a folder, or the name of a model. What
lies beside it (config, vocabulary, labels, bert_tf.json) is copied.
""",
        define_strip,
        strip,
        "CHECKPOINT",
    ),
}


def cli():
    """The console command."""
    subcommands.run(COMMANDS, __doc__)


if __name__ == "__main__":
    cli()
