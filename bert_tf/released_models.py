"""The models that google-research/bert released: list, download, verify.

  python -m bert_tf.released_models list
  python -m bert_tf.released_models download BERT-Tiny
  python -m bert_tf.released_models verify uncased_L-2_H-128_A-2

A download results in a folder with bert_config.json, vocab.txt and
bert_model.ckpt.*, all verified.
"""

import dataclasses
import json
import math
import signal
import sys
from collections.abc import Iterable

from bert_tf.checkpoints import named
from bert_tf.checkpoints.names import CONFIG, checkpoint_shapes
from bert_tf.checkpoints.released import (
    COMMAND,
    ReleasedModel,
    download,
    find_model,
    registry_folder,
    released_models,
    verify,
)
from bert_tf.cli import subcommands
from bert_tf.cli.command_line import FlagSet
from bert_tf.cli.subcommands import Subcommand
from bert_tf.errors import InputError, Interrupted


def table(models: Iterable[ReleasedModel]) -> str:
    """A text table of models, with a line of headings."""
    heads = ("NAME", "PARAMETERS", "CASE", "TOKENS", "DATE", "HERE")
    rows = [(*heads, "ALSO CALLED"), _builtin_row()]
    for model in models:
        size, tokens = model.parameters / 1e6, model.vocab_tokens
        case = "uncased" if model.do_lower_case else "cased"
        is_here = "yes" if named.here(model.name) else "no"
        row = (model.name, f"{size:.1f}M", case, str(tokens), model.released)
        rows.append((*row, is_here, model.aliases[0]))
    widths = [max(map(len, column)) for column in zip(*rows)]
    return "\n".join(
        "  ".join(map(str.ljust, row, widths)).rstrip() for row in rows
    )


def _builtin_row() -> tuple[str, ...]:
    folder = registry_folder() / named.BUILTIN
    config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    size = sum(map(math.prod, checkpoint_shapes(config).values())) / 1e6
    tokens = str(config["vocab_size"])
    here = ("2026", "yes", "this project's own, for tests and examples")
    return (named.BUILTIN, f"{size:.1f}M", "uncased", tokens, *here)


def _details(model: ReleasedModel) -> str:
    more = {"parameters": model.parameters, "data_bytes": model.data_bytes}
    return json.dumps(dataclasses.asdict(model) | more, indent=2)


def define_list(values):
    """Defines no flags: `list` has none."""


def define_download(values):
    """Defines the flags of `download` on a `FlagValues`."""
    flags = FlagSet(values)
    _define_dir(flags)
    flags.string(
        "url", None, "Another address of the same zip, instead of Google's."
    )
    flags.number("timeout", 60.0, "Seconds without data until it is retried.")
    flags.integer("retries", 5, "Number of failures in a row to go on after.")
    flags.boolean("keep_zip", False, "Keep the zip in DIR.")


def define_verify(values):
    """Defines the flags of `verify` on a `FlagValues`."""
    flags = FlagSet(values)
    _define_dir(flags)
    flags.string("model", None, "The model in the folder.")


def _define_dir(flags):
    flags.string("dir", "checkpoints", "Folder of models.")


def show(flags, name):
    """Prints the table of all models, or one model in detail."""
    model = name and find_model(name)
    print(_details(model) if model else table(released_models()))


def fetch(flags, name):
    """Downloads a model.

    Raises:
        InputError: there is no such model, or it cannot be downloaded.
        Interrupted: after Ctrl-C.
    """
    if not 0 < flags.timeout < 1e6:
        raise InputError(
            "`--timeout` must be a number of seconds above 0. Received: "
            f"--timeout={flags.timeout}"
        )
    more = {"timeout": flags.timeout, "retries": flags.retries}
    try:
        path = download(name, flags.dir, flags.url, flags.keep_zip, **more)
    except KeyboardInterrupt:
        raise Interrupted(
            "Stopped. What has arrived is kept: the same command resumes.",
            signal.SIGINT,
        ) from None
    print(f"{path} is there, whole and verified.")


def check(flags, name):
    """Verifies a model; exits with code 1 if a file is not the released one."""
    report = verify(name, flags.model, flags.dir)
    print(report)
    if not report.ok:
        sys.exit(1)


COMMANDS = {
    "list": Subcommand(
        f"""All models, or one in detail.

  {COMMAND} list
  {COMMAND} list BERT-Tiny
""",
        define_list,
        show,
        "[NAME]",
    ),
    "download": Subcommand(
        f"""Downloads, unpacks and verifies one.

  {COMMAND} download BERT-Tiny

The model's folder is DIR/NAME. After an interruption the same command resumes.
""",
        define_download,
        fetch,
        "NAME",
    ),
    "verify": Subcommand(
        f"""Checks a downloaded one against the registry.

  {COMMAND} verify BERT-Tiny
  {COMMAND} verify FOLDER --model=BERT-Tiny
""",
        define_verify,
        check,
        "NAME_OR_FOLDER",
    ),
}


def cli():
    """The console command."""
    subcommands.run(COMMANDS, __doc__)


if __name__ == "__main__":
    cli()
