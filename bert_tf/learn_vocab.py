r"""Learns a WordPiece vocabulary from text, for pretraining from scratch.

  python -m bert_tf.learn_vocab --input_file=corpus/*.txt \
    --output_file=vocab.txt --vocab_size=8192 --do_lower_case=True

Needs tensorflow-text: pip install 'bert-tf[vocab]'. Use the same
--do_lower_case with create_pretraining_data. Details: docs/extending.md.
"""

import os

from absl import logging

from bert_tf import tokenization
from bert_tf.cli import command_line
from bert_tf.cli.command_line import FlagSet
from bert_tf.data import text_files, vocabulary
from bert_tf.data.vocabulary import JOINER
from bert_tf.errors import InputError
from bert_tf.support import files
from bert_tf.support.progress import ByteProgress


def define_flags(values):
    """Defines this script's flags on a `FlagValues`."""
    flags = FlagSet(values)
    flags.string(
        "input_file",
        None,
        "Text files or patterns such as corpus/*.txt.gz, separated by commas.",
    )
    flags.string(
        "output_file", None, "The vocabulary to write, such as vocab.txt."
    )
    flags.integer(
        "vocab_size",
        None,
        "Exact number of tokens, and of rows in the embedding table; multiples "
        "of 8 are fastest.",
    )
    flags.boolean(
        "do_lower_case",
        True,
        "Lower-case the text, for an uncased model.",
    )
    flags.boolean(
        "strip_accents",
        None,
        "Remove accents from letters. [as --do_lower_case]",
    )
    flags.integer(
        "num_unused",
        99,
        "Number of tokens [unused0], [unused1], ..., which extend_vocab can "
        "replace by words later. The released models have 99 before [UNK].",
    )
    flags.integer(
        "min_frequency",
        10,
        "Minimum frequency of a character or a piece. The actual minimum of "
        "pieces follows from --vocab_size; this is its lower bound.",
    )
    flags.integer(
        "max_characters",
        1000,
        "Maximum number of characters; the rarest are left out.",
    )
    flags.integer(
        "max_words",
        1_000_000,
        "Learn from the N most frequent distinct words.",
    )
    flags.require("input_file", "output_file", "vocab_size")


def main(flags):
    """Runs the command with the parsed flags."""
    check_flags(flags)
    learner = import_learner()
    tokenizer = tokenization.BasicTokenizer(
        flags.do_lower_case, flags.strip_accents
    )
    paths = text_files.find_files(flags.input_file)
    files.require_other_file([flags.output_file], {"input_file": paths})
    counts = count_files(paths, tokenizer)
    tokens = learn(
        learner,
        counts,
        tokenizer,
        flags.vocab_size,
        flags.num_unused,
        flags.min_frequency,
        flags.max_characters,
        flags.max_words,
    )
    files.write_text(flags.output_file, "".join(f"{t}\n" for t in tokens))
    logging.info(
        "*** Written: %s, %d tokens ***", flags.output_file, len(tokens)
    )
    logging.info("The text: %s.", vocabulary.measure(counts, tokens))


def check_flags(flags):
    """Raises `InputError` for invalid flags."""
    command_line.require_positive(
        flags, "vocab_size", "min_frequency", "max_characters", "max_words"
    )
    if flags.num_unused < 0:
        raise InputError(
            "`--num_unused` must be at least 0. Received: "
            f"--num_unused={flags.num_unused}"
        )
    path = flags.output_file
    if "://" in path or os.path.isdir(path) or not os.path.basename(path):
        raise InputError(
            "`--output_file` must name a file on this machine. Received: "
            f"--output_file={path}"
        )
    files.make_folder("output_file", os.path.dirname(path) or ".")


def import_learner():
    """The module of tensorflow-text that learns pieces.

    Raises:
        InputError: it is not installed, or is for another TensorFlow.
    """
    import tensorflow as tf

    try:
        from tensorflow_text.tools.wordpiece_vocab import (
            wordpiece_tokenizer_learner_lib,
        )
    except (ImportError, tf.errors.OpError) as error:
        reason = str(error).split("\n")[0]
        raise InputError(
            "Learning a vocabulary needs the package tensorflow-text of the "
            f"same version as TensorFlow ({tf.__version__}): "
            f"pip install 'bert-tf[vocab]'. The import failed: {reason}"
        ) from error
    return wordpiece_tokenizer_learner_lib


def count_files(paths, tokenizer):
    """Counts the words of text files.

    Raises:
        InputError: a file cannot be read, or there are no words.
    """
    ranges = text_files.whole_files(paths)
    size = sum(end for _, _, end in ranges)
    done = 0
    with ByteProgress(size, "Counting words") as line:

        def note(num_bytes):
            nonlocal done
            done += num_bytes
            line.show(done / size)

        lines = text_files.read_lines(ranges, note if size else None)
        counts = vocabulary.count_words(lines, tokenizer)
    if not counts:
        raise InputError(
            "`--input_file` must hold text. There is not one word in "
            + ", ".join(paths)
        )
    logging.info(
        "%s words, %s distinct, in %.1f MB.",
        f"{counts.total():,}",
        f"{len(counts):,}",
        size / 1e6,
    )
    return counts


def learn(
    learner,
    counts,
    tokenizer,
    vocab_size,
    num_unused,
    min_frequency,
    max_characters,
    max_words,
):
    """The tokens of a vocabulary, in their order.

    Args:
        learner: of `import_learner`.
        counts: {word: frequency}.
        tokenizer: the `BasicTokenizer` that made the words.
        vocab_size, num_unused, min_frequency, max_characters, max_words: the
            values of the flags.

    Raises:
        InputError: the text does not have enough pieces or words.
    """
    characters = vocabulary.choose_characters(
        counts, min_frequency, max_characters
    )
    words = vocabulary.choose_words(counts, characters, max_words)
    if not words or words[0][1] < min_frequency:
        raise InputError(
            "`--min_frequency` must be lower for this text: no word occurs "
            f"that often. Received: --min_frequency={min_frequency}"
        )
    logging.info(
        "%d characters; learning from %s distinct words.",
        len(characters),
        f"{len(words):,}",
    )
    first = vocabulary.first_tokens(num_unused)
    singles = vocabulary.character_tokens(characters, tokenizer)
    # The learner also returns ##c for characters that continue no word.
    impossible = {f"{JOINER}{c}" for c in characters} - set(singles)

    def learn_with(threshold):
        pieces = learner.learn(
            words,
            vocab_size=vocab_size,
            reserved_tokens=first,
            lower_thresh=threshold,
            upper_thresh=threshold,
            max_input_tokens=-1,
            max_unique_chars=len(characters),
            joiner=JOINER,
        )
        found = dict.fromkeys([*first, *characters, *pieces, *singles])
        tokens = [token for token in found if token not in impossible]
        logging.info(
            "With pieces that occur %d times: %s tokens.",
            threshold,
            f"{len(tokens):,}",
        )
        return tokens

    return vocabulary.fit_size(
        learn_with,
        [*first, *singles],
        vocab_size,
        [count for _, count in words],
        max(min_frequency, words[-1][1]),
    )


def cli():
    """The console command."""
    command_line.run(define_flags, main, __doc__)


if __name__ == "__main__":
    cli()
