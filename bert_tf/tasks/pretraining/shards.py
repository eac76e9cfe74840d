"""Makes pretraining records of large text in shards, several at a time.

Text is split into shards of whole documents. Each shard has a seed and a file
of its own. Finished shards are noted beside them, so that an interrupted run
can be resumed.
"""

import contextlib
import dataclasses
import hashlib
import json
import math
import multiprocessing
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from absl import logging

from bert_tf.data import text_files
from bert_tf.data.text_files import Range
from bert_tf.errors import InputError
from bert_tf.support import files, processes
from bert_tf.support.progress import ByteProgress
from bert_tf.tasks.pretraining.instances import Summary
from bert_tf.tasks.pretraining.record_files import (
    Maker,
    Options,
    prepare_folder,
    require_other_files,
    size_of,
)

# A shard has at most about SHARD_BYTES of text. Their number is a multiple of
# SHARDS_TOGETHER, so that this many workers, or half as many, finish at the
# same time; small texts have fewer shards. It does not depend on the number of
# workers: resuming with more of them must give the same shards.
SHARD_BYTES = 16_000_000
SHARDS_TOGETHER = 16
LEAST_SHARD_BYTES = 1_000_000

SECONDS_BETWEEN_LOOKS = 0.2


class Shard(NamedTuple):
    """Part of the text and the file for its examples."""

    number: int
    ranges: list[Range]
    seed: int
    path: str


def make_shards(
    ranges: Sequence[Range],
    options: Options,
    seed: int,
    output: str,
    num_workers: int | None,
    num_shards: int | None,
) -> Summary:
    """Makes the records of each shard in several processes.

    Finished shards are noted in OUTPUT.json and not made again.

    Args:
        ranges: whole files.
        options: how examples are made.
        seed: the seeds of the shards derive from it.
        output: prefix of the shards' names.
        num_workers: number of processes; None for the number of cores.
        num_shards: number of shards to aim at; None to choose it by size.

    Raises:
        InputError: there are shards of a run with other settings.
    """
    shards, notes = open_shards(ranges, options, seed, output, num_shards)
    todo = notes.missing(shards)
    count = min(num_workers or os.cpu_count() or 1, len(todo))
    logging.info("%d shards, %d workers.", len(shards), count)
    sizes = [size_of(shard.ranges) for shard in shards]
    # Workers write the share that they have done of each shard.
    shares = multiprocessing.get_context("spawn").RawArray("d", len(shards))
    for shard in shards:
        shares[shard.number] = 1.0
    for shard in todo:
        shares[shard.number] = 0.0

    def done():
        return sum(map(lambda a, b: a * b, sizes, shares)) / sum(sizes)

    results = processes.run_jobs(
        prepare_worker, (options, shares), todo, count, SECONDS_BETWEEN_LOOKS
    )
    try:
        with (
            ByteProgress(sum(sizes), "Creating", done()) as line,
            contextlib.closing(results),
        ):
            for finished in results:
                if finished:
                    notes.add(note_of(*finished))
                line.show(done())
    finally:
        for shard in todo:
            files.remove_left_overs(shard.path)
    logging.info("*** Written to output files ***")
    logging.info("  %s-*-of-%05d", output, len(shards))
    return notes.total()


def open_shards(
    ranges: Sequence[Range],
    options: Options,
    seed: int,
    output: str,
    num_shards: int | None,
) -> tuple[list[Shard], "Notes"]:
    """Plans the shards and opens the notes of an earlier run.

    Raises:
        InputError: as from `make_shards`, or an error that would stop every
            worker.
    """
    shards = plan_shards(ranges, output, seed, num_shards)
    if not shards:
        raise InputError("`--input_file` must hold text: all files are empty")
    require_other_files(
        [f"{output}.json", *(shard.path for shard in shards)], ranges, options
    )
    prepare_folder(output)
    Maker(options)  # Raises before processes are started.
    notes = Notes(f"{output}.json", describe(ranges, options, seed, num_shards))
    for path in [notes.path, *(shard.path for shard in shards)]:
        files.remove_left_overs(path)
    return shards, notes


def plan_shards(
    ranges: Sequence[Range], output: str, seed: int, num_shards: int | None
) -> list[Shard]:
    """Splits text into shards; the same arguments give the same shards."""
    count = num_shards or count_shards(size_of(ranges))
    parts = text_files.plan_shards(ranges, count)
    return [
        Shard(
            number,
            part,
            shard_seed(seed, number),
            f"{output}-{number:05}-of-{len(parts):05}",
        )
        for number, part in enumerate(parts)
    ]


def count_shards(num_bytes: int) -> int:
    """The default number of shards for text of this size."""
    times = math.ceil(num_bytes / (SHARDS_TOGETHER * SHARD_BYTES))
    most = max(1, num_bytes // LEAST_SHARD_BYTES)
    return min(SHARDS_TOGETHER * times, most)


def shard_seed(random_seed: int, number: int) -> int:
    """The seed of a shard: 32 bits of the SHA-256 of "seed,number".

    A run on the text of the shard alone, with this as `--random_seed`, makes
    the records of the shard.
    """
    digest = hashlib.sha256(f"{random_seed},{number}".encode()).digest()
    return int.from_bytes(digest[:4], "big")


def prepare_worker(options: Options, shares) -> Callable[[Shard], Summary]:
    """Returns the function that makes a shard in a worker process.

    Args:
        options: how examples are made.
        shares: receives the share that is done of each shard, by its number.
    """
    maker = Maker(options)

    def make(shard: Shard) -> Summary:
        def note(share):
            shares[shard.number] = share

        reading, writing = maker.split_progress(note)
        documents = maker.read(shard.ranges, reading)
        return maker.write(documents, shard.seed, [shard.path], writing)

    return make


# ---------------------------------------------------------------------- notes


class Notes:
    """OUTPUT.json: the settings of a run, and which shards are finished."""

    def __init__(self, path: str, settings: dict[str, Any]):
        self.path = path
        self.finished: dict[str, dict[str, int]] = {}
        self.settings = settings
        if os.path.exists(path):
            self._read()
        self._write()

    def _read(self) -> None:
        try:
            with open(self.path, encoding="utf-8") as file:
                notes = json.load(file)
            before, self.finished = notes["settings"], notes["finished"]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise InputError(
                f"{self.path} must hold the notes of an earlier run, but "
                f"cannot be read ({error!r}). Remove it, and all is made again"
            ) from error
        other = [
            name
            for name in self.settings
            if before.get(name) != self.settings[name]
        ]
        if other:
            raise InputError(
                f"{self.path} is of a run with another "
                f"{' and '.join(f'`{name}`' for name in other)}. To keep its "
                "shards, give the same flags or another --output_file; to "
                "make all of them again, remove that file"
            )

    def _write(self) -> None:
        finished = dict(sorted(self.finished.items()))  # In any order.
        notes = {"settings": self.settings, "finished": finished}
        files.write_text(self.path, json.dumps(notes, indent=1) + "\n")

    def has(self, shard: Shard) -> bool:
        """Whether the shard's file is there, with its size when finished."""
        note = self.finished.get(os.path.basename(shard.path))
        return (
            note is not None
            and os.path.exists(shard.path)
            and os.path.getsize(shard.path) == note["bytes"]
        )

    def missing(self, shards: Sequence[Shard]) -> list[Shard]:
        """The shards that are not finished."""
        missing = [shard for shard in shards if not self.has(shard)]
        if len(missing) < len(shards):
            logging.info(
                "%d of %d shards are finished already.",
                len(shards) - len(missing),
                len(shards),
            )
        return missing

    def add(self, finished: Mapping[str, dict[str, int]]) -> None:
        """Adds finished shards, each as returned by `note_of`."""
        self.finished |= finished
        self._write()

    def total(self) -> Summary:
        """The sum of the summaries of all finished shards."""
        names = [field.name for field in dataclasses.fields(Summary)]
        total = Summary()
        for note in self.finished.values():
            total += Summary(*(note.get(name, 0) for name in names))
        return total


def note_of(shard: Shard, summary: Summary) -> dict[str, dict[str, int]]:
    """The note of a finished shard, under the name of its file."""
    counts = dataclasses.asdict(summary)
    size = os.path.getsize(shard.path)
    name = os.path.basename(shard.path)
    return {name: {"bytes": size, "seed": shard.seed, **counts}}


def describe(
    ranges: Sequence[Range],
    options: Options,
    seed: int,
    num_shards: int | None,
) -> dict[str, Any]:
    """Everything that determines the content of the shards."""
    with open(options.vocab_file, "rb") as file:
        vocab = hashlib.file_digest(file, "sha256").hexdigest()
    inputs = []
    for path, _, end in ranges:
        changed = os.stat(path).st_mtime_ns
        inputs.append([os.path.abspath(path), end, changed])
    # Shards without this key are finished as they were begun.
    accents = {"strip_accents": options.strip_accents}
    return {
        "input_file": inputs,
        "vocab_file": vocab,
        "do_lower_case": options.do_lower_case,
        **({} if options.strip_accents is None else accents),
        **dataclasses.asdict(options.settings),
        "word_segmenter": options.word_segmenter,
        "random_seed": seed,
        "num_shards": num_shards or count_shards(size_of(ranges)),
    }
