"""The models that google-research/bert released: list, download, verify.

    python -m bert_tf.released_models list
    python -m bert_tf.released_models download BERT-Tiny
    python -m bert_tf.released_models verify uncased_L-2_H-128_A-2

A download results in a folder with bert_config.json, vocab.txt and
bert_model.ckpt.*, all verified.
"""

import argparse
import contextlib
import dataclasses
import json
import math
import os
import sys
from collections.abc import Iterable, Sequence

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
from bert_tf.cli.output import printing
from bert_tf.errors import InputError, printable


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


def _seconds(text: str) -> float:
    with contextlib.suppress(ValueError):
        if 0 < float(text) < 1e6:
            return float(text)
    raise argparse.ArgumentTypeError(f"must be above 0. Received: {text!r}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=COMMAND,
        description="Lists, downloads and verifies the released BERT models.",
        epilog=f"`{COMMAND} download --help` lists the options.",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    listing = commands.add_parser("list", help="all models, or one in detail")
    listing.add_argument("name", nargs="?", help="a name or alias")
    getting = commands.add_parser(
        "download",
        help="download, unpack and verify one",
        description="Downloads a model to DIR/NAME. After an interruption run "
        "the same command again to resume.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = getting.add_argument
    add("name", help="a name or alias, such as BERT-Tiny")
    add("--url", help="another address of the same zip, instead of Google's")
    add("--timeout", type=_seconds, default=60, help="seconds without data")
    add("--retries", type=int, default=5, help="failures in a row")
    add("--keep_zip", action="store_true", help="keep the zip in DIR")
    checking = commands.add_parser(
        "verify", help="check a downloaded one against the registry"
    )
    checking.add_argument("name", metavar="NAME_OR_FOLDER")
    checking.add_argument("--model", help="the model in the folder")
    for command in (getting, checking):
        command.add_argument(
            "--dir",
            type=os.path.expanduser,
            default="checkpoints",
            help="of models",
        )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    args = _parser().parse_args(argv)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    if args.command == "list":
        model = args.name and find_model(args.name)
        print(_details(model) if model else table(released_models()))
    elif args.command == "verify":
        report = verify(args.name, args.model, args.dir)
        print(report)
        return 0 if report.ok else 1
    else:
        fetching = {"timeout": args.timeout, "retries": args.retries}
        path = download(
            args.name, args.dir, args.url, args.keep_zip, **fetching
        )
        print(f"{path} is there, whole and verified.")
    return 0


def cli() -> None:
    """The console command: prints an error without a traceback."""
    try:
        with printing():
            sys.exit(main())
    except (InputError, OSError) as error:
        sys.exit(printable(f"Error: {error}"))
    except KeyboardInterrupt:
        print(
            "Stopped. What has arrived is kept: the same command resumes.",
            file=sys.stderr,
        )
        sys.exit(130)


if __name__ == "__main__":
    cli()
