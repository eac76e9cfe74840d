"""Makes pretraining records from text files, in one process or in shards.

A single process writes the original's records to one file or several. For large
text, `make_shards` splits it into shards of whole documents, each with a seed
and a file of its own, and makes several at a time. Which shards are finished is
noted beside them, so that an interrupted run can be resumed.
"""

import contextlib
import dataclasses
import hashlib
import importlib
import json
import math
import multiprocessing
import os
import random
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from absl import logging

from bert_tf.data import text_files, tfrecord_bytes
from bert_tf.data.text_files import Range
from bert_tf.errors import InputError, Interrupted
from bert_tf.support import files, processes
from bert_tf.support.progress import ByteProgress
from bert_tf.tasks.pretraining.instances import (
    BATCH,
    Documents,
    Segmenter,
    Settings,
    Summary,
    check_vocab,
    create_training_instances,
    read_documents,
)
from bert_tf.tokenization import FullTokenizer

# A shard has at most about SHARD_BYTES of text. Their number is a multiple of
# SHARDS_TOGETHER, so that this many workers, or half as many, finish at the
# same time; small texts have fewer shards. It does not depend on the number of
# workers: resuming with more of them must give the same shards.
SHARD_BYTES = 16_000_000
SHARDS_TOGETHER = 16
LEAST_SHARD_BYTES = 1_000_000

# For the progress display: reading text takes as long as making its examples
# READING_COST times, and writing them takes this share of making them.
READING_COST = 3.0
WRITING_SHARE = 0.4

SECONDS_BETWEEN_LOOKS = 0.2


class Options(NamedTuple):
    """What a process needs to make examples from text."""

    vocab_file: str
    do_lower_case: bool
    settings: Settings
    word_segmenter: str | None = None


def find_text(patterns: str) -> list[Range]:
    """The files that `--input_file` names; lists them in the log."""
    paths = text_files.find_files(patterns)
    logging.info("*** Reading from input files ***")
    for path in paths:
        logging.info("  %s", path)
    return text_files.whole_files(paths)


def find_segmenter(name: str | None) -> Segmenter | None:
    """The function that `module:function` names.

    Raises:
        InputError: there is no such module or function.
    """
    if not name:
        return None
    module, _, function = name.partition(":")
    if not module or not function:
        raise InputError(
            "`--word_segmenter` must be module:function. Received: "
            f"--word_segmenter={name}"
        )
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    try:
        found = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise InputError(
            f"`--word_segmenter`: cannot import {name} ({error}). The module "
            "must be installed, or lie in this folder"
        ) from error
    return found


# ---------------------------------------------------------------- one process


def make_files(
    ranges: Sequence[Range],
    options: Options,
    seed: int,
    outputs: Sequence[str],
) -> Summary:
    """Makes the original's records of all the text, in this process.

    Raises:
        InputError: the text has no tokens, or a file cannot be read or written.
    """
    maker = Maker(options)
    for path in outputs:
        _prepare_folder(path)
        files.remove_left_overs(path)
    with ByteProgress(_size(ranges), "Creating") as line:
        reading, writing = maker.split_progress(line.show)
        documents = maker.read(ranges, reading)
        if not len(documents):
            raise InputError(
                "`--input_file` must hold text. There is not one token in "
                + ", ".join(sorted({path for path, *_ in ranges}))
            )
        summary = maker.write(documents, seed, outputs, writing)
    logging.info("*** Writing to output files ***")
    for path in outputs:
        logging.info("  %s", path)
    return summary


class Maker:
    """Makes files of examples, with the tokenizer loaded once."""

    def __init__(self, options: Options):
        self.options = options
        self.tokenizer = FullTokenizer(
            options.vocab_file, do_lower_case=options.do_lower_case
        )
        check_vocab(self.tokenizer.vocab, options.vocab_file)
        self.segmenter = find_segmenter(options.word_segmenter)

    def read(
        self, ranges: Sequence[Range], on_progress: Callable[[float], Any]
    ) -> Documents:
        """Tokenizes text; calls `on_progress` with the share that is done."""
        size = max(_size(ranges), 1)
        done = 0

        def count(num_bytes):
            nonlocal done
            done += num_bytes
            on_progress(done / size)

        return read_documents(
            text_files.read_lines(ranges, count),
            self.tokenizer,
            self.options.settings.do_whole_word_mask,
            self.segmenter,
        )

    def write(
        self,
        documents: Documents,
        seed: int,
        outputs: Sequence[str],
        on_progress: Callable[[float], Any],
    ) -> Summary:
        """Makes the examples of a text and writes them to files in turn.

        Args:
            documents: the text.
            seed: that of the random generator.
            outputs: paths of the files.
            on_progress: called with the share that is done.
        """
        instances, order = create_training_instances(
            documents,
            self.options.settings,
            random.Random(seed),
            lambda share: on_progress((1 - WRITING_SHARE) * share),
        )
        written = 0
        for turn, path in enumerate(outputs):
            with files.whole_or_nothing(path) as file:
                for numbers in _batches(order[turn :: len(outputs)]):
                    columns = instances.features(numbers)
                    file.write(tfrecord_bytes.encode_records(columns).data)
                    written += len(numbers)
                    left = 1 - written / len(order)
                    on_progress(1 - WRITING_SHARE * left)
        return instances.summary()

    def split_progress(self, on_progress: Callable[[float], Any]):
        """Two progress functions, for `read` and `write`, from a single one."""
        reading = READING_COST / (
            READING_COST + self.options.settings.dupe_factor
        )
        return (
            lambda share: on_progress(reading * share),
            lambda share: on_progress(reading + (1 - reading) * share),
        )


def _batches(numbers: Sequence[int]) -> Iterator[np.ndarray]:
    for start in range(0, len(numbers), BATCH):
        yield np.array(numbers[start : start + BATCH], np.int64)


def _prepare_folder(path):
    try:
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    except OSError as error:
        raise InputError(
            f"Cannot make the folder of --output_file={path}: {error.strerror}"
        ) from error


def _size(ranges):
    return sum(end - start for _, start, end in ranges)


# --------------------------------------------------------------------- shards


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
    sizes = [_size(shard.ranges) for shard in shards]
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
    _prepare_folder(output)
    Maker(options)  # Raises before processes are started.
    notes = Notes(f"{output}.json", describe(ranges, options, seed, num_shards))
    for path in [notes.path, *(shard.path for shard in shards)]:
        files.remove_left_overs(path)
    return shards, notes


def plan_shards(
    ranges: Sequence[Range], output: str, seed: int, num_shards: int | None
) -> list[Shard]:
    """Splits text into shards; the same arguments give the same shards."""
    count = num_shards or count_shards(_size(ranges))
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
        except (ValueError, KeyError, TypeError) as error:
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
        notes = {"settings": self.settings, "finished": self.finished}
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
            total += Summary(*(note[name] for name in names))
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
    return {
        "input_file": inputs,
        "vocab_file": vocab,
        "do_lower_case": options.do_lower_case,
        **dataclasses.asdict(options.settings),
        "word_segmenter": options.word_segmenter,
        "random_seed": seed,
        "num_shards": num_shards or count_shards(_size(ranges)),
    }


# ------------------------------------------------------- the end of a command


def report(summary: Summary) -> None:
    """Logs a summary, and warns of documents that are alone in their text."""
    logging.info("%s.", summary)
    if summary.documents == 1:
        logging.warning(
            "There is only one document: blank lines should separate "
            "documents, so that a random next sentence comes from another."
        )
    elif summary.lone_documents:
        logging.warning(
            "%d shards hold one document each, where every random next "
            "sentence comes from that same document. Fewer --num_shards, and "
            "so larger shards, give better examples.",
            summary.lone_documents,
        )


@contextlib.contextmanager
def stopping_at_signals() -> Iterator[None]:
    """Makes Ctrl-C and SIGTERM raise `Interrupted`.

    Incomplete files are then removed on the way out.
    """

    def stop(signal_number, frame):
        raise Interrupted(
            "Stopped. Files that have their name are whole; with shards, the "
            "same command makes the others.",
            signal_number,
        )

    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, stop) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before):
            signal.signal(number, handler)
