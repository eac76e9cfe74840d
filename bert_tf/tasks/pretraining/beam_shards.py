"""Makes the shards of pretraining records in an Apache Beam pipeline.

The files and notes are those that `shards.make_shards` makes, so that either
can resume what the other began. Beam is imported only when it is needed.
"""

import functools
import json
import os
import re
import socket
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from absl import logging

from bert_tf.data.text_files import Range
from bert_tf.errors import InputError, Interrupted
from bert_tf.support import files
from bert_tf.tasks.pretraining.instances import Summary
from bert_tf.tasks.pretraining.record_files import (
    Options,
    require_other_files,
)
from bert_tf.tasks.pretraining.shards import (
    Notes,
    Shard,
    note_of,
    open_shards,
    prepare_worker,
)

# Notes of finished shards: {name of the file: counts}.
Finished = dict[str, dict[str, int]]


def make_shards(
    ranges: Sequence[Range],
    options: Options,
    seed: int,
    output: str,
    num_shards: int | None,
    beam_options: Any,
) -> Summary | None:
    """Like `shards.make_shards`, in a Beam pipeline.

    Args:
        ranges: whole files.
        options: how examples are made.
        seed: the seeds of the shards derive from it.
        output: prefix of the shards' names.
        num_shards: number of shards to aim at; None to choose it by size.
        beam_options: Beam's `PipelineOptions`.

    Returns:
        The summary of all shards; None if Beam is not to wait for the job.

    Raises:
        InputError: as from `shards.make_shards`; or Beam rejects the options,
            or its workers do not see the same folders.
    """
    was_begun = os.path.exists(f"{output}.json")
    shards, notes = open_shards(ranges, options, seed, output, num_shards)
    require_other_files(map(single_note, shards), ranges, options)
    found = take_single_notes(shards)
    if was_begun:
        notes.add(found)
    todo = notes.missing(shards)
    if todo:
        logging.info("%d of %d shards go to Beam.", len(todo), len(shards))
        if not run_pipeline(todo, options, notes, beam_options):
            logging.info("To see the results later, run the same command.")
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


def run_pipeline(
    todo: Sequence[Shard], options: Options, notes: Notes, beam_options: Any
) -> bool:
    """Makes shards in a Beam pipeline and adds them to the notes.

    Returns:
        Whether the job has ended; if not, Beam was told not to wait for it.

    Raises:
        InputError: Beam rejects the options, or a worker raised it.
    """
    import apache_beam as beam
    from apache_beam.options.pipeline_options import StandardOptions

    try:
        pipeline = beam.Pipeline(options=beam_options)
    except (ImportError, ValueError) as error:
        raise InputError(f"Beam cannot start: {error}") from error
    # Without the reshuffle, a single worker could get all shards. The last two
    # steps update the notes even if this process does not wait for the job.
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
        message = find_input_error(error)
        if not message:
            raise
        raise InputError(message) from error
    return True


def find_input_error(error: Exception) -> str | None:
    """The message of a worker's `InputError`, which runners pass on as text."""
    found = re.search(
        r"\bInputError: (.*?)(?: \[while running '.*'\])?$",
        f"{type(error).__name__}: {error}",
        re.MULTILINE,
    )
    return found and found[1]


def make_shard(shard: Shard, options: Options, notes_path: str) -> Finished:
    """Makes a shard in a Beam worker, in the same way as a local worker.

    Raises:
        InputError: as from a local worker; or this one sees other folders.
    """
    if not os.path.exists(notes_path):
        raise InputError(
            f"The worker on {socket.gethostname()} does not see {notes_path}: "
            "all workers must see the folders of --output_file, --input_file "
            "and --vocab_file under the same paths"
        )
    # Threads of one process would share a core and need the memory of many.
    with _one_at_a_time:
        files.remove_left_overs(shard.path)
        finished = note_of(shard, _prepare(options)(shard))
    # If the job is stopped, the next one finds this note.
    files.write_text(single_note(shard), json.dumps(finished))
    return finished


_one_at_a_time = threading.Lock()


# Prepares once for each process rather than for each shard.
@functools.lru_cache(maxsize=1)
def _prepare(options: Options) -> Callable[[Shard], Summary]:
    return prepare_worker(options, {})


def merge(finished: Iterable[Finished]) -> Finished:
    """Merges notes into one dictionary."""
    return dict(item for one in finished for item in one.items())


def add_to_notes(finished: Finished, path: str, settings: dict) -> None:
    """Adds the shards of all workers to OUTPUT.json."""
    Notes(path, settings).add(finished)


# A single file for all workers would need a lock that works across machines.
def single_note(shard: Shard) -> str:
    """The file for a worker's note of one shard: OUTPUT.00003.json.

    The name does not match the pattern of shards, OUTPUT-*.
    """
    start, _, _ = shard.path.rpartition("-of-")
    output, _, number = start.rpartition("-")
    return f"{output}.{number}.json"


def take_single_notes(shards: Iterable[Shard]) -> Finished:
    """Reads and removes the workers' notes of single shards."""
    finished: Finished = {}
    for path in map(single_note, shards):
        if os.path.exists(path):
            with open(path, encoding="utf-8") as file:
                finished |= json.load(file)
            os.remove(path)
    return finished
