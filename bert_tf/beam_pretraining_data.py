r"""Makes the shards of create_pretraining_data on a cluster, with Apache Beam.

  python -m bert_tf.beam_pretraining_data --input_file=/mnt/corpus/*.txt.gz \
    --output_file=/mnt/examples.tfrecord --vocab_file=/mnt/BERT/vocab.txt \
    --do_lower_case=True --max_seq_length=128 --max_predictions_per_seq=20 \
    --masked_lm_prob=0.15 --random_seed=12345 --dupe_factor=5 \
    --runner=FnApiRunner --direct_running_mode=multi_processing \
    --direct_num_workers=2

The flags are those of create_pretraining_data, and so are the files: the same
shards, byte for byte, and the same notes in OUTPUT.json. Either command goes on
where the other was stopped.

--runner and all of Beam's other options go to Beam as they are, --num_workers
among them. Options that only the job server of a runner knows come last, after
`--`. The command above needs no cluster.

Every worker must see the text, the vocabulary and the output's folder under the
same paths, and have bert_tf installed: with Beam's --sdk_container_image,
--requirements_file or --setup_file where it does not run in this environment.
"""

import argparse
import difflib
import functools
import json
import os
import re
import socket
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from absl import flags, logging

from bert_tf.cli import command_line, pretraining_data_flags
from bert_tf.data.text_files import Range
from bert_tf.errors import InputError, Interrupted
from bert_tf.support import files
from bert_tf.tasks.pretraining import shards as pretraining_shards
from bert_tf.tasks.pretraining.instances import Summary
from bert_tf.tasks.pretraining.shards import (
    Notes,
    Options,
    Shard,
)

# What is noted of finished shards: {name of the file: counts}.
Finished = dict[str, dict[str, int]]

MISSING = (
    "Apache Beam is not installed. Install it with\n"
    '  pip install "bert_tf[beam]"\n'
    "or, on this machine alone, use all cores without it: "
    "python -m bert_tf.create_pretraining_data --num_workers=N"
)


def define_flags(values):
    """Defines this script's flags on a `FlagValues`; Beam's are Beam's."""
    pretraining_data_flags.define(command_line.FlagSet(values))
    # Beam has an option of this name. There are shards even without it.
    values.set_default("num_workers", 1)
    values["num_workers"].help = "Passed on to Beam, for runners that take it."


def main(values, beam_arguments: Sequence[str] = ()):
    """Does what the parsed flags ask for, as Beam is told by its arguments."""
    beam_options = parse_beam_options(beam_arguments)
    options = pretraining_data_flags.check(values)
    with pretraining_shards.stopping_at_signals():
        # Workers may have other working directories.
        ranges = [
            part._replace(path=os.path.abspath(part.path))
            for part in pretraining_shards.find_text(values.input_file)
        ]
        vocab = os.path.abspath(options.vocab_file)
        summary = make_shards(
            ranges,
            options._replace(vocab_file=vocab),
            values.random_seed,
            os.path.abspath(values.output_file),
            values.num_shards,
            beam_options,
        )
    if summary:
        pretraining_shards.report(summary)


def make_shards(
    ranges: Sequence[Range],
    options: Options,
    seed: int,
    output: str,
    num_shards: int | None,
    beam_options: Any,
) -> Summary | None:
    """Like `create_pretraining_data.make_shards`, in a Beam pipeline.

    Args:
        ranges: whole files.
        options: how examples are made.
        seed: that those of the shards derive from.
        output: how the names of the shards start.
        num_shards: how many to aim at; None: by their size.
        beam_options: Beam's `PipelineOptions`.

    Returns:
        What all shards are together; None where Beam is not waited for.

    Raises:
        InputError: as there; or Beam cannot run as it is told to, or its
            workers see other folders.
    """
    was_begun = os.path.exists(f"{output}.json")
    shards, notes = pretraining_shards.open_shards(
        ranges, options, seed, output, num_shards
    )
    found = take_single_notes(shards)
    if was_begun:
        notes.add(found)
    todo = notes.missing(shards)
    if todo:
        logging.info("%d of %d shards go to Beam.", len(todo), len(shards))
        if not run_pipeline(todo, options, notes, beam_options):
            logging.info("Later, the same command says what was made.")
            return None
        take_single_notes(shards)
    notes = Notes(notes.path, notes.settings)
    for shard in shards:
        if not notes.has(shard):
            raise InputError(
                f"Beam's job has ended, but {shard.path} is not there as it "
                "was written. If nobody ended the job: all workers must see "
                "the folder of --output_file under this path"
            )
    logging.info("*** Written to output files ***")
    logging.info("  %s-*-of-%05d", output, len(shards))
    return notes.total()


# ------------------------------------------------------------------- pipeline


def run_pipeline(
    todo: Sequence[Shard], options: Options, notes: Notes, beam_options: Any
) -> bool:
    """Makes shards in a Beam pipeline, and notes that they are finished.

    Returns:
        Whether it has ended; if not, Beam was told not to wait.

    Raises:
        InputError: Beam cannot run as it is told to, or a worker raised it.
    """
    import apache_beam as beam
    from apache_beam.options.pipeline_options import StandardOptions

    try:
        pipeline = beam.Pipeline(options=beam_options)
    except (ImportError, ValueError) as error:
        raise InputError(f"Beam cannot start: {error}") from error
    # Without the shuffle, one worker could be given all of them. The last two
    # steps need nobody to wait for the job.
    (
        pipeline
        | "Plan" >> beam.Create(todo)
        | "Spread" >> beam.Reshuffle()
        | "Make" >> beam.Map(make_shard, options, notes.path)
        | "Collect" >> beam.CombineGlobally(merge)
        | "Note" >> beam.Map(add_to_notes, notes.path, notes.settings)
    )
    result = None
    try:
        result = pipeline.run()
        if beam_options.view_as(StandardOptions).no_wait_until_finish:
            return False
        result.wait_until_finish()
    except Interrupted:
        if result:
            result.cancel()
        raise
    except Exception as error:
        mistake = find_mistake(error)
        if not mistake:
            raise
        raise InputError(mistake) from error
    return True


def find_mistake(error: Exception) -> str | None:
    """What an `InputError` in a worker said; runners pass it on as text."""
    found = re.search(
        r"\bInputError: (.*?)(?: \[while running '.*'\])?$",
        f"{type(error).__name__}: {error}",
        re.MULTILINE,
    )
    return found and found[1]


def make_shard(shard: Shard, options: Options, notes_path: str) -> Finished:
    """Makes a shard in a worker of Beam's, just as a local worker would.

    Raises:
        InputError: as there, or the worker sees other folders.
    """
    if not os.path.exists(notes_path):
        raise InputError(
            f"The worker on {socket.gethostname()} does not see {notes_path}: "
            "all workers must see the folders of --output_file, --input_file "
            "and --vocab_file under the same paths"
        )
    # Threads of one process would share a core, and need the memory of many.
    with _one_at_a_time:
        files.remove_left_overs(shard.path)
        finished = pretraining_shards.note_of(shard, _prepare(options)(shard))
    # If the job is stopped, the next one finds it here.
    files.write_text(single_note(shard), json.dumps(finished))
    return finished


_one_at_a_time = threading.Lock()


@functools.lru_cache(maxsize=1)
def _prepare(options: Options) -> Callable[[Shard], Summary]:
    """Once for each process, not for each shard."""
    return pretraining_shards.prepare_worker(options, {})


def merge(finished: Iterable[Finished]) -> Finished:
    """All notes in one."""
    return dict(item for one in finished for item in one.items())


def add_to_notes(finished: Finished, path: str, settings: dict) -> None:
    """Adds to OUTPUT.json what all workers have made."""
    Notes(path, settings).add(finished)


def single_note(shard: Shard) -> str:
    """Where a worker notes its shard, OUTPUT.00003.json: no pattern of shards.

    One file for all would need a lock that other machines respect.
    """
    start, _, _ = shard.path.rpartition("-of-")
    output, _, number = start.rpartition("-")
    return f"{output}.{number}.json"


def take_single_notes(shards: Iterable[Shard]) -> Finished:
    """Reads and removes what workers noted of single shards."""
    finished: Finished = {}
    for path in map(single_note, shards):
        if os.path.exists(path):
            with open(path, encoding="utf-8") as file:
                finished |= json.load(file)
            os.remove(path)
    return finished


# --------------------------------------------------------------- command line


def split_arguments(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Parts a command line into our flags and Beam's options.

    After `--` everything is Beam's.

    Raises:
        InputError: Beam is not installed; or there is an option that neither
            knows, or one of Beam's with a value that it cannot have.
    """
    end = arguments.index("--") if "--" in arguments else len(arguments)
    checked, unchecked = list(arguments[:end]), list(arguments[end + 1 :])
    if any(one.startswith(("--help", "-h")) for one in checked):
        return checked, []  # Beam would show its own help, and end.
    parsers: list[argparse.ArgumentParser] = []
    parse_beam_options([]).get_all_options(add_extra_args_fn=parsers.append)
    [parser] = parsers
    parser.exit_on_error = False
    try:
        _, ours = parser.parse_known_args(checked)
    except argparse.ArgumentError as error:
        raise InputError(f"Beam's {error}") from error
    check_names(ours, parser)
    rest, beams = list(ours), []
    for argument in checked:
        if rest and argument == rest[0]:
            rest.pop(0)
        else:
            beams.append(argument)
    return ours, beams + unchecked


def check_names(arguments: Iterable[str], parser) -> None:
    """Looks for flags that are not ours, and for what may be meant.

    Raises:
        InputError: there is one.
    """
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
    argv[1:], beams = split_arguments(argv[1:])
    command_line.run(define_flags, lambda values: main(values, beams), __doc__)


if __name__ == "__main__":
    # Under its own name, so that workers can import what they are to do.
    from bert_tf import beam_pretraining_data

    beam_pretraining_data.cli()
