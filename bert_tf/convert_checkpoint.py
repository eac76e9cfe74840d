r"""Checkpoints to and from Hugging Face's folders, and without optimizer slots.

    python -m bert_tf.convert_checkpoint to_hf CHECKPOINT --output FOLDER
    python -m bert_tf.convert_checkpoint from_hf FOLDER --output FOLDER
    python -m bert_tf.convert_checkpoint strip CHECKPOINT --output FOLDER

Numbers stay the same; their kernels are transposed. Only BERT can be converted.
"""

import argparse
import os
import sys
from collections.abc import Callable

from bert_tf.checkpoints import named
from bert_tf.checkpoints.hugging_face import HEADS
from bert_tf.cli.output import printing
from bert_tf.errors import InputError, printable
from bert_tf.support import startup

with startup.deferred():
    from bert_tf.checkpoints import (
        from_hugging_face,
        stripping,
        to_hugging_face,
    )

COMMAND = "python -m bert_tf.convert_checkpoint"


def _true_or_false(text):
    if text.lower() not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"true or false. Received: {text!r}")
    return text.lower() == "true"


def _parser():
    parser = argparse.ArgumentParser(
        prog=COMMAND,
        description="Converts BERT checkpoints to and from Hugging Face's "
        "folders, and strips optimizer slots.",
    )
    commands = parser.add_subparsers(dest="command", required=True)

    to = commands.add_parser(
        "to_hf", help="original's format -> Hugging Face folder"
    )
    to.add_argument("checkpoint", help="prefix, .index file or folder")
    for flag, name in (
        ("--bert_config_file", ""),
        ("--vocab_file", ""),
        ("--labels_file", "labels.txt "),
    ):
        to.add_argument(
            flag,
            type=os.path.expanduser,
            help=f"default: {name}beside the checkpoint",
        )
    to.add_argument(
        "--hidden_act",
        help="transformers' name; default: the same function as in the config",
    )
    to.add_argument(
        "--do_lower_case",
        type=_true_or_false,
        help="for their tokenizer; default: as bert_tf.json beside the "
        "checkpoint has it, else false if a fifth of the vocabulary's words "
        "have a capital letter, or 50 longer ones and a twentieth",
    )
    to.add_argument(
        "--strip_accents",
        type=_true_or_false,
        help="for their tokenizer; default: as bert_tf.json beside the "
        "checkpoint has it, else as it lower-cases",
    )
    to.add_argument(
        "--ignore_folder_settings",
        action="store_true",
        help="--do_lower_case and --strip_accents win where bert_tf.json, the "
        "name or the vocabulary contradicts them",
    )

    back = commands.add_parser(
        "from_hf", help="Hugging Face folder -> original's format"
    )
    back.add_argument(
        "folder",
        help="with config.json, model.safetensors or pytorch_model.bin, and "
        "vocab.txt or tokenizer.json",
    )
    back.add_argument(
        "--hidden_act",
        help="bert_tf's name; default: the same function as in config.json. "
        "`gelu` for models that the original trained, although transformers "
        "computes those with its own `gelu`, here `gelu_exact`",
    )
    back.add_argument(
        "--ignore_layer_norm_eps",
        action="store_true",
        help="convert although their layer_norm_eps is not 1e-12",
    )
    back.add_argument(
        "--ignore_tokenizer_settings",
        action="store_true",
        help="convert although their tokenizer makes other tokens than BERT's",
    )

    bare = commands.add_parser(
        "strip", help="weights only: without optimizer slots and step"
    )
    bare.add_argument("checkpoint", help="prefix, .index file or folder")
    for command in (to, back):
        command.add_argument(
            "--head",
            choices=["auto", *HEADS],
            default="auto",
            help="the head on the encoder; default: the one in the file",
        )
        command.add_argument(
            "--allow_unused",
            action="store_true",
            help="leave out unknown tensors instead of failing",
        )
    for command, meaning in (
        (to, "folder"),
        (back, "folder"),
        (bare, "folder, or a prefix with .ckpt in its name"),
    ):
        command.add_argument(
            "--output", type=os.path.expanduser, required=True, help=meaning
        )
        command.add_argument("--overwrite", action="store_true")
    return parser


def main(argv=None):
    """Runs one command and prints its report.

    Raises:
        InputError: as from the function of that command.
    """
    options = vars(_parser().parse_args(argv))
    commands: dict[str, Callable[..., object]] = {
        "to_hf": to_hugging_face.to_hf,
        "from_hf": from_hugging_face.from_hf,
        "strip": stripping.strip,
    }
    work = commands[options.pop("command")]
    source = options.pop("folder" if "folder" in options else "checkpoint")
    if work is not from_hugging_face.from_hf:
        source = named.resolve(source)
    print(work(source, options.pop("output"), **options))


def cli():
    """The console command: an `InputError` is one line and the exit code 1."""
    try:
        with printing():
            main()
    except (InputError, OSError) as error:
        message = str(error)
        if isinstance(error, OSError) and error.filename:
            message = f"{error.strerror}: {error.filename}"
        print(
            f"convert_checkpoint: error: {printable(message)}", file=sys.stderr
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(cli())
