"""Makes files of pretraining records from text files, in one process."""

import contextlib
import importlib
import os
import random
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from absl import logging

from bert_tf.data import text_files, tfrecord_bytes, vocabulary
from bert_tf.data.text_files import Range
from bert_tf.errors import InputError, Interrupted
from bert_tf.support import files
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

# For the progress display: reading text takes as long as making its examples
# READING_COST times, and writing them takes this share of making them.
READING_COST = 3.0
WRITING_SHARE = 0.4


class Options(NamedTuple):
    """What a process needs to make examples from text."""

    vocab_file: str
    do_lower_case: bool
    settings: Settings
    word_segmenter: str | None = None
    strip_accents: bool | None = None


def find_text(patterns: str) -> list[Range]:
    """The files that `--input_file` names; lists them in the log."""
    paths = text_files.find_files(patterns)
    logging.info("*** Reading from input files ***")
    for path in paths:
        logging.info("  %s", path)
    return text_files.whole_files(paths)


def require_other_files(
    outputs: Iterable[str], ranges: Iterable[Range], options: Options
) -> None:
    """Raises `InputError` if a file to write is among those to read."""
    inputs = [path for path, *_ in ranges]
    files.require_other_file(
        outputs, {"input_file": inputs, "vocab_file": [options.vocab_file]}
    )


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
    require_other_files(outputs, ranges, options)
    maker = Maker(options)
    for path in outputs:
        prepare_folder(path)
        files.remove_left_overs(path)
    with ByteProgress(size_of(ranges), "Creating") as line:
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
            options.vocab_file, options.do_lower_case, options.strip_accents
        )
        check_vocab(self.tokenizer.vocab, options.vocab_file)
        self.segmenter = find_segmenter(options.word_segmenter)

    def read(
        self, ranges: Sequence[Range], on_progress: Callable[[float], Any]
    ) -> Documents:
        """Tokenizes text; calls `on_progress` with the share that is done."""
        size = max(size_of(ranges), 1)
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


def prepare_folder(path: str) -> None:
    """Makes the folder of an output file, unless it is there."""
    try:
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    except OSError as error:
        raise InputError(
            f"Cannot make the folder of --output_file={path}: {error.strerror}"
        ) from error


def size_of(ranges: Iterable[Range]) -> int:
    """The number of bytes in ranges of text."""
    return sum(end - start for _, start, end in ranges)


def report(summary: Summary) -> None:
    """Logs a summary, and warns of text that makes poor examples."""
    logging.info("%s.", summary)
    if summary.cut_tokens:
        logging.warning(
            "At least %s of %s tokens are cut off in each pass, because %s "
            "longer than max_seq_length: the text should have one sentence in "
            "each line.",
            f"{summary.cut_tokens:,}",
            f"{summary.tokens:,}",
            "1 line is"
            if summary.long_sentences == 1
            else f"{summary.long_sentences:,} lines are",
        )
    vocabulary.warn_of_unknown(summary.unknown_tokens, summary.tokens)
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
