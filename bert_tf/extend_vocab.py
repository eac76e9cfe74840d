r"""Adds words to the vocabulary of a checkpoint, for text of another domain.

  python -m bert_tf.extend_vocab --init_checkpoint=builtin \
    --words=coronavirus,remdesivir --output_dir=BERT_with_words

Writes a new folder. The words replace [unused0], [unused1] and so on or, with
--grow=True, get new rows; each starts as the mean of its former pieces.
Pretrain on text with the words afterwards. Details: docs/extending.md.
"""

import dataclasses

import numpy as np
from absl import logging

from bert_tf import tokenization
from bert_tf.checkpoints import casing
from bert_tf.checkpoints.folder_settings import UNSAID
from bert_tf.checkpoints.names import MASKED_LM_BIAS, WORD_EMBEDDINGS
from bert_tf.cli import command_line, model_flags
from bert_tf.cli.command_line import FlagSet
from bert_tf.data import text_files, vocabulary
from bert_tf.errors import InputError
from bert_tf.support import files, startup

with startup.deferred():
    from bert_tf.checkpoints import folders


def define_flags(values):
    """Defines this script's flags on a `FlagValues`."""
    flags = FlagSet(values)
    model_flags.define_new_folder(flags)
    flags.string("words", None, "New words, separated by commas.")
    flags.string(
        "words_file", None, "A text file of new words, one on each line."
    )
    model_flags.define_casing(flags)
    flags.boolean(
        "grow",
        False,
        "Add new rows for the words instead of replacing [unusedN] tokens.",
    )
    flags.boolean(
        "mean_of_pieces",
        True,
        "Initialize each word with the mean of its pieces. If false, it keeps "
        "the values of the [unusedN] token it replaces.",
    )


def main(flags):
    """Runs the command with parsed flags."""
    lowers, strips, ignore = model_flags.casing(flags)
    new_words = extend(
        flags.init_checkpoint,
        flags.output_dir,
        read_words(flags.words, flags.words_file),
        vocab_file=flags.vocab_file,
        bert_config_file=flags.bert_config_file,
        do_lower_case=lowers,
        strip_accents=strips,
        ignore_folder_settings=ignore,
        grow=flags.grow,
        mean_of_pieces=flags.mean_of_pieces,
    )
    logging.info("*** Written to %s ***", flags.output_dir)
    logging.info(
        "%d new words, ids %d to %d.",
        len(new_words),
        new_words[0].id,
        new_words[-1].id,
    )


def read_words(words, words_file):
    """The words of both flags, blank lines of the file ignored.

    Raises:
        InputError: neither has any, or the file cannot be read.
    """
    found = [word.strip() for word in words.split(",")] if words else []
    if words_file:
        files.require_file("words_file", words_file)
        lines = text_files.read_lines(text_files.whole_files([words_file]))
        found += [line.strip() for line in lines if line.strip()]
    if not found:
        raise InputError(
            "`--words` or `--words_file` must give at least one word. "
            f"Received: --words={words}, --words_file={words_file}"
        )
    return found


def extend(
    init_checkpoint,
    output_dir,
    words,
    *,
    vocab_file=None,
    bert_config_file=None,
    do_lower_case=None,
    strip_accents=None,
    ignore_folder_settings=False,
    grow=False,
    mean_of_pieces=True,
):
    """Writes a folder with a checkpoint that has the words.

    Args:
        init_checkpoint: whatever `checkpoints.find` takes.
        output_dir: a folder that does not exist or is empty; created when all
            of it is written.
        words: the new tokens.
        vocab_file, bert_config_file: None for those beside the checkpoint.
        do_lower_case, strip_accents, ignore_folder_settings: as
            `casing.decide` takes them.
        grow: add new rows instead of replacing `[unusedN]` tokens.
        mean_of_pieces: initialize with the mean of the pieces; else rows keep
            their values.

    Returns:
        The `vocabulary.NewWord`s.

    Raises:
        InputError: a file is missing or does not fit the others, a word cannot
            be added, or the output exists.
    """
    if grow and not mean_of_pieces:
        raise InputError(
            "`--mean_of_pieces` must be true with --grow=True: a new row has "
            "no earlier values to keep."
        )
    folders.check_output(output_dir)
    source = folders.find(init_checkpoint, vocab_file, bert_config_file)
    reader, config = source.reader, source.config
    rows = config.vocab_size
    folders.require_shape(reader, WORD_EMBEDDINGS, (rows, config.hidden_size))
    if MASKED_LM_BIAS in reader:
        folders.require_shape(reader, MASKED_LM_BIAS, (rows,))

    vocab = tokenization.load_vocab(source.vocab_file)
    asked = do_lower_case, strip_accents, ignore_folder_settings
    found = casing.decide(
        vocab, source.vocab_file, reader.path, source.noted, *asked
    )
    new_words = vocabulary.plan_words(
        words,
        vocab,
        tokenization.BasicTokenizer(*found),
        config.vocab_size,
        grow,
    )
    log_words(new_words, vocab)
    with open(source.vocab_file, "rb") as file:
        content = vocabulary.place_words(file.read(), new_words)
    if grow:
        config.vocab_size += len(new_words)
    weights = folders.read_weights(reader)
    if mean_of_pieces:
        for name in (WORD_EMBEDDINGS, MASKED_LM_BIAS):
            if name in weights:
                weights[name] = with_means(weights[name], new_words)
    settings = source.noted.settings
    if do_lower_case is not None or settings.do_lower_case is not UNSAID:
        settings = dataclasses.replace(settings, **found._asdict())
    folders.write(
        output_dir, weights, content, config, source.labels_file, settings
    )
    return new_words


def log_words(new_words, vocab, most=20):
    """Logs the id of each word, and the pieces it was split into before."""
    tokens = {index: token for token, index in vocab.items()}
    for word, place, pieces in new_words[:most]:
        was = " ".join(tokens[piece] for piece in pieces)
        logging.info("  %s: id %d, was %s", word, place, was)
    if len(new_words) > most:
        logging.info("  and %d more", len(new_words) - most)


def with_means(table, new_words):
    """A table with a row for each token, in which new words are means.

    Args:
        table: float array [V, D] or [V].
        new_words: with ids below V, or V, V + 1 and so on.

    Returns:
        Float array of the same dtype, with a row for each id. Means are over
        rows of `table`, in double precision.
    """
    size = max(len(table), *(word.id + 1 for word in new_words))
    extended = np.zeros((size, *table.shape[1:]), table.dtype)
    extended[: len(table)] = table
    for word in new_words:
        pieces = table[list(word.pieces)]
        extended[word.id] = pieces.mean(axis=0, dtype=np.float64)
    return extended


def cli():
    """The console command."""
    command_line.run(define_flags, main, __doc__)


if __name__ == "__main__":
    cli()
