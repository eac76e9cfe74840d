r"""Makes the shards of create_pretraining_data on a cluster, with Apache Beam.

  python -m bert_tf.beam_pretraining_data --input_file=/mnt/corpus/*.txt.gz \
    --output_file=/mnt/examples.tfrecord --vocab_file=/mnt/BERT/vocab.txt \
    --runner=FnApiRunner --direct_running_mode=multi_processing \
    --direct_num_workers=2

--runner and all other options of Beam are passed on to it; those of a runner's
job server come last, after `--`. docs/pretraining.md has what workers need.
"""

import argparse
import difflib
import os
import re
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from absl import flags

from bert_tf.cli import command_line, pretraining_data_flags
from bert_tf.errors import InputError
from bert_tf.tasks.pretraining import beam_shards, record_files

MISSING = (
    "Apache Beam is not installed. Install it with\n"
    '  pip install "bert_tf[beam]"\n'
    "or, on this machine alone, use all cores without it: "
    "python -m bert_tf.create_pretraining_data --num_workers=N"
)


def define_flags(values):
    """Defines this command's flags, without Beam's, on a `FlagValues`."""
    pretraining_data_flags.define(command_line.FlagSet(values))
    # Beam has an option of this name. Any number makes shards, even if it is
    # not given.
    values.set_default("num_workers", 1)
    values["num_workers"].help = "Passed on to Beam, for runners that use it."


def main(values, beam_arguments: Sequence[str] = ()):
    """Runs the command with parsed flags and Beam's arguments."""
    beam_options = parse_beam_options(beam_arguments)
    options = pretraining_data_flags.check(values)
    with record_files.stopping_at_signals():
        # Workers may have other working directories.
        ranges = [
            part._replace(path=os.path.abspath(part.path))
            for part in record_files.find_text(values.input_file)
        ]
        vocab = os.path.abspath(options.vocab_file)
        summary = beam_shards.make_shards(
            ranges,
            options._replace(vocab_file=vocab),
            values.random_seed,
            os.path.abspath(values.output_file),
            values.num_shards,
            beam_options,
        )
    if summary:
        record_files.report(summary)


def split_arguments(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Splits a command line into our flags and Beam's options.

    Everything after `--` is Beam's.

    Raises:
        InputError: Beam is not installed, an option is unknown to both, or
            Beam rejects the value of one of its options.
    """
    end = arguments.index("--") if "--" in arguments else len(arguments)
    checked, unchecked = list(arguments[:end]), list(arguments[end + 1 :])
    if any(one.startswith(("--help", "-h")) for one in checked):
        return checked, []  # Beam would show its own help and exit.
    parsers: list[argparse.ArgumentParser] = []
    parse_beam_options([]).get_all_options(add_extra_args_fn=parsers.append)
    [parser] = parsers
    parser.exit_on_error = False
    try:
        _, ours = parser.parse_known_args(checked)
    except argparse.ArgumentError as error:
        raise InputError(f"Beam's {error}") from error
    check_names(ours, parser)
    rest, of_beam = list(ours), []
    for argument in checked:
        if rest and argument == rest[0]:
            rest.pop(0)
        else:
            of_beam.append(argument)
    return ours, of_beam + unchecked


def check_names(arguments: Iterable[str], parser) -> None:
    """Raises `InputError` for an unknown flag, with similar names."""
    own = flags.FlagValues()
    define_flags(own)
    known = {*own, *flags.FLAGS}
    options = re.findall(r"--(\w+)", parser.format_help())
    for argument in arguments:
        name = argument.partition("=")[0].lstrip("-")
        if not argument.startswith("--") or known & {
            name,
            name.removeprefix("no"),
        }:
            continue
        similar = difflib.get_close_matches(name, {*known, *options})
        meant = " or ".join(f"--{one}" for one in similar)
        raise InputError(
            f"Neither bert_tf nor Beam knows --{name}. "
            + (f"Do you mean {meant}? " if meant else "")
            + "Options that only a job server knows come last, after ` -- `"
        )


def parse_beam_options(arguments: Sequence[str]) -> Any:
    """Beam's `PipelineOptions`.

    Raises:
        InputError: Beam is not installed.
    """
    try:
        from apache_beam.options.pipeline_options import PipelineOptions
    except ImportError as error:
        raise InputError(MISSING) from error
    return PipelineOptions(list(arguments))


def cli():
    """The console command."""
    command_line.finish(_run, sys.argv)


def _run(argv):
    argv[1:], beam_arguments = split_arguments(argv[1:])
    command_line.run(
        define_flags, lambda values: main(values, beam_arguments), __doc__
    )


if __name__ == "__main__":
    cli()
