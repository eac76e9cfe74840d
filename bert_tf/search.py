r"""Finds the lines of a text that are most similar to queries.

  python -m bert_tf.search --checkpoint=/tmp/sts_output --input_file=lines.txt \
    --text='How old is the park?' --vectors_file=lines.npz

Each line and each query becomes a vector; of all lines those with the highest
cosine are found. --vectors_file keeps the vectors of the lines: the next search
need not compute them. docs/sentences.md tells which models are good at it.
"""

import logging
import os

import numpy as np

from bert_tf.cli import command_line, inference_flags, model_flags
from bert_tf.cli.command_line import FlagSet
from bert_tf.data import packing, text_files, vocabulary
from bert_tf.errors import InputError, count_of
from bert_tf.support import files, startup
from bert_tf.support.progress import counted
from bert_tf.tasks.vectors import lines, nearest, store

with startup.deferred():
    from bert_tf.checkpoints import finding
    from bert_tf.tasks.vectors import task
    from bert_tf.training import start

POOLINGS = [
    name
    for name, pooling in lines.POOLINGS.items()
    if pooling.over_tokens is not None
]
FOLDER_FLAGS = ("max_seq_length", "pooling")
LAST_LAYER = (-1,)

_LOGGER = logging.getLogger(__name__)


def define_flags(values):
    """Defines this command's flags on a `FlagValues`."""
    flags = FlagSet(values)
    flags.string(
        "input_file",
        None,
        "Text to search, one in each line. Files or patterns, separated by "
        "commas; .gz files are decompressed.",
    )
    flags.strings("text", "A query.")
    flags.string(
        "query_file", None, "Instead of --text: files of one query per line."
    )
    flags.integer("top_k", 10, "Lines to find for each query.")
    flags.string(
        "vectors_file",
        None,
        "Keeps the vectors of the lines, as .npz: made if it is not there, "
        "else read, if it was made of the same lines with the same model. "
        "[they are computed each time]",
    )
    flags.choice(
        "pooling",
        "mean",
        POOLINGS,
        "How the vectors of tokens become that of a text. [as in training; "
        "else mean]",
    )
    flags.integer(
        "max_seq_length",
        128,
        "Word pieces of a text; the rest is truncated. [as in training; else "
        "128]",
    )
    inference_flags.define(flags)
    flags.require("input_file")


def main(flags):
    """Runs the command with parsed flags."""
    flags.checkpoint = finding.of_results(flags.checkpoint)
    model_flags.take_folder_settings(
        flags, "features", FOLDER_FLAGS, "checkpoint"
    )
    check_flags(flags)
    queries = read_queries(flags)
    texts, numbers = read_lines(flags)
    encoder = LineEncoder(flags)
    with inference_flags.open_output(flags) as write:
        vectors = find_vectors(flags, encoder, texts, numbers)
        asked = np.stack(list(encoder.encode(queries)))
        found = nearest.search(asked, vectors, flags.top_k)
        encoder.warn()
        for query, (places, cosines) in zip(queries, found, strict=True):
            results = [
                {
                    "line": numbers[place],
                    "cosine": round(float(cosine), 6),
                    "text": texts[place],
                }
                for place, cosine in zip(places, cosines, strict=True)
            ]
            write(show(query, results), {"query": query, "results": results})


def find_vectors(flags, encoder, texts, numbers):
    """The vectors of lines, float32 [N, D]: read, or made and perhaps kept.

    Args:
        flags: parsed `FlagValues`.
        encoder: a `LineEncoder`.
        texts, numbers: of the lines.
    """
    path = flags.vectors_file
    if path is None:
        return np.stack(list(encoder.encode_lines(texts)))
    about = encoder.about(texts)
    vectors = store.read(path, about)
    if vectors is None:
        return store.make(path, about, texts, numbers, encoder.encode_lines)
    _LOGGER.info(
        "Took the vectors of %s from %s.", count_of(len(texts), "line"), path
    )
    return vectors


def check_flags(flags):
    """Raises `InputError` for invalid flags, before any work."""
    command_line.require_positive(flags, "top_k")
    inference_flags.check(flags)
    if bool(flags.text) == bool(flags.query_file):
        received = "both" if flags.text else "neither"
        raise InputError(
            "Either `--text` or `--query_file` must be given. Received: "
            f"{received}"
        )
    paths = text_files.find_files(flags.input_file)
    read = {"input_file": paths}
    if flags.query_file:
        read["query_file"] = text_files.find_files(
            flags.query_file, "query_file"
        )
    inference_flags.require_other_output(flags, **read)
    path = flags.vectors_file
    if path is None:
        return
    if not path or not files.is_local(path) or os.path.isdir(path):
        raise InputError(
            "`--vectors_file` must name a file on this machine. Received: "
            f"--vectors_file={path}"
        )
    outputs = [path]
    if flags.output_file:
        read["output_file"] = [flags.output_file]
    read |= model_flags.files_read(flags, "checkpoint")
    files.require_other_file(outputs, read, "vectors_file")
    files.make_folder("vectors_file", os.path.dirname(path) or ".")


def read_queries(flags):
    """The queries that hold a text.

    Raises:
        InputError: there is none.
    """
    given = flags.text
    if not given:
        paths = text_files.find_files(flags.query_file, "query_file")
        given = list(text_files.read_lines(text_files.whole_files(paths)))
    found = [query for query in given if query.strip()]
    if not found:
        received = "--text=" if flags.text else f"an empty {flags.query_file}"
        raise InputError(
            "`--text` or `--query_file` must hold a query. Received: "
            f"{received}"
        )
    if len(given) > len(found):
        _LOGGER.info(
            "%d of %d queries have no text, and are left out.",
            len(given) - len(found),
            len(given),
        )
    return found


def read_lines(flags):
    """The lines that hold a text, and their numbers from 1.

    Raises:
        InputError: there is none.
    """
    paths = text_files.find_files(flags.input_file)
    texts, numbers, count = [], [], 0
    for count, line in enumerate(
        text_files.read_lines(text_files.whole_files(paths)), start=1
    ):
        if line.strip():
            texts.append(line)
            numbers.append(count)
    if not texts:
        raise InputError(
            f"`--input_file` must hold a text. {flags.input_file} has none"
        )
    if count > len(texts):
        _LOGGER.info(
            "%s without a text left out.",
            count_of(count - len(texts), "line"),
        )
    return texts, numbers


class LineEncoder:
    """Makes vectors of length 1 with the checkpoint of the flags."""

    def __init__(self, flags):
        opened = start.open_model(model_flags.model_files(flags, "checkpoint"))
        start.require_positions(opened.config, flags.max_seq_length)
        pooling = lines.POOLINGS[flags.pooling]
        self.flags, self.tokenizer = flags, opened.tokenizer
        self.truncation = packing.Truncation()
        self.unknown = vocabulary.UnknownTokens(opened.tokenizer.vocab)
        self.extractor = task.Extractor(
            opened.config,
            flags.checkpoint,
            opened.tokenizer,
            pooling.layers or LAST_LAYER,
            pooling,
            strategy=None,
            max_seq_length=flags.max_seq_length,
            batch_size=flags.batch_size,
            skip_padding=flags.skip_padding,
            normalize=True,
        )

    def about(self, texts):
        """What vectors of these texts depend on, as `store` keeps it."""
        basic = self.tokenizer.basic_tokenizer
        return {
            "model": self.extractor.fingerprint(),
            "vocabulary": store.fingerprint(self.tokenizer.vocab),
            "do_lower_case": basic.do_lower_case,
            "strip_accents": basic.strip_accents,
            "max_seq_length": self.flags.max_seq_length,
            "pooling": self.flags.pooling,
            "count": len(texts),
            "lines": store.fingerprint(texts),
        }

    def encode_lines(self, texts):
        """As `encode`, and shows progress."""
        return counted(self.encode(texts), len(texts), "Encoding")

    def encode(self, texts):
        """Yields the vector of each text, in order."""
        if not texts:
            return
        examples = lines.examples_of(
            ((text, "") for text in texts),
            self.tokenizer,
            self.flags.max_seq_length,
        )
        for one in self.extractor.extract(map(self._counted, examples)):
            yield one.values[0]

    def _counted(self, example):
        self.truncation.add(example.num_cut)
        self.unknown.add(example.input_ids)
        return example

    def warn(self):
        """Warns of what was not read of the texts."""
        self.unknown.warn()
        if self.truncation.num_cut:
            self.truncation.log(
                self.flags.max_seq_length,
                "A higher --max_seq_length loses less.",
            )


def show(query, results):
    """A query and what was found, as text."""
    shown = [" ".join(query.splitlines())]
    shown += [
        f"  {one['cosine']:7.4f}  line {one['line']}: {one['text']}"
        for one in results
    ]
    return "\n".join(shown)


def cli():
    """The console command."""
    command_line.run(define_flags, main, __doc__)


if __name__ == "__main__":
    cli()
