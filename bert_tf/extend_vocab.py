"""Adds words to the vocabulary of a checkpoint, for text of another field.

  python -m bert_tf.extend_vocab --init_checkpoint=BERT/bert_model.ckpt \
    --words=coronavirus,remdesivir --output_dir=BERT_with_words

Writes a new folder with bert_model.ckpt, vocab.txt and bert_config.json. The
words take the places of [unused0], [unused1] and so on, or, with --grow=True,
new rows at the end of the embedding table. All other tokens keep their ids,
and all other weights their values.

A new word starts as the mean of the pieces that it was split into before, in
the word embeddings and in the bias of the masked-LM output: what the model
knew about them is where learning goes on. Then pretrain for a while on text
with the words in (run_pretraining --init_checkpoint).

The optimizer's slots and the step are left out: training starts anew with
another vocabulary. Mind that pieces are matched greedily: with the token
`corona`, `coronation` begins with it as well.
"""

import numpy as np
from absl import logging

from bert_tf import tokenization
from bert_tf.checkpoints import folders
from bert_tf.cli import command_line, model_flags
from bert_tf.cli.command_line import FlagSet
from bert_tf.data import text_files, vocabulary
from bert_tf.errors import InputError

# The variables with a row for each token.
EMBEDDINGS = "bert/embeddings/word_embeddings"
OUTPUT_BIAS = "cls/predictions/output_bias"


def define_flags(values):
    """Defines this script's flags on a `FlagValues`."""
    flags = FlagSet(values)
    model_flags.define_new_folder(flags)
    flags.string("words", None, "New words, separated by commas.")
    flags.string(
        "words_file", None, "A text file of new words, one in each line."
    )
    flags.boolean(
        "do_lower_case",
        True,
        "Whether the model lower-cases text: true for uncased models, false "
        "for cased ones.",
    )
    flags.boolean(
        "grow",
        False,
        "Give the words new rows at the end, not the [unusedN] places.",
    )
    flags.boolean(
        "mean_of_pieces",
        True,
        "Start each word as the mean of its pieces. If false, it starts as "
        "what its [unusedN] place holds.",
    )


def main(flags):
    """Does what the parsed flags ask for."""
    new_words = extend(
        flags.init_checkpoint,
        flags.output_dir,
        read_words(flags.words, flags.words_file),
        vocab_file=flags.vocab_file,
        bert_config_file=flags.bert_config_file,
        do_lower_case=flags.do_lower_case,
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
    """The words of both flags; blank lines of the file do not count.

    Raises:
        InputError: neither has any, or the file cannot be read.
    """
    found = [word.strip() for word in words.split(",")] if words else []
    if words_file:
        command_line.require_file("words_file", words_file)
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
    do_lower_case=True,
    grow=False,
    mean_of_pieces=True,
):
    """Writes a folder with a checkpoint whose vocabulary has the words.

    Args:
        init_checkpoint: whatever `checkpoints.find` takes.
        output_dir: a folder that is not there, or empty. It appears when all
            of it is written.
        words: the new tokens.
        vocab_file, bert_config_file: looked for beside the checkpoint when
            None.
        do_lower_case: whether the model lower-cases text.
        grow: new rows, instead of the `[unusedN]` places.
        mean_of_pieces: start as the mean of the pieces; else rows stay.

    Returns:
        The `vocabulary.NewWord`s.

    Raises:
        InputError: a file is missing or fits no other, a word cannot be added,
            or the output is there.
    """
    if grow and not mean_of_pieces:
        raise InputError(
            "`--mean_of_pieces` must be true with --grow=True: a new row has "
            "nothing that it could stay as."
        )
    folders.check_output(output_dir)
    source = folders.find(init_checkpoint, vocab_file, bert_config_file)
    reader, config = source.reader, source.config
    tokenization.validate_case_matches_checkpoint(do_lower_case, reader.path)
    rows = config.vocab_size
    folders.require_shape(reader, EMBEDDINGS, (rows, config.hidden_size))
    if OUTPUT_BIAS in reader:
        folders.require_shape(reader, OUTPUT_BIAS, (rows,))

    vocab = tokenization.load_vocab(source.vocab_file)
    new_words = vocabulary.plan_words(
        words,
        vocab,
        tokenization.BasicTokenizer(do_lower_case),
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
        for name in (EMBEDDINGS, OUTPUT_BIAS):
            if name in weights:
                weights[name] = with_means(weights[name], new_words)
    folders.write(output_dir, weights, content, config, source.labels_file)
    return new_words


def log_words(new_words, vocab, most=20):
    """Says where words go, and what each was split into before."""
    tokens = {index: token for token, index in vocab.items()}
    for word, place, pieces in new_words[:most]:
        was = " ".join(tokens[piece] for piece in pieces)
        logging.info("  %s: id %d, was %s", word, place, was)
    if len(new_words) > most:
        logging.info("  and %d more", len(new_words) - most)


def with_means(table, new_words):
    """A table with a row for each token, in which new words start as means.

    Args:
        table: float array [V, D] or [V].
        new_words: their ids are below V, or V, V + 1 and so on.

    Returns:
        Float array of the same dtype, with the rows that are new. Each mean is
        computed in double precision, from the rows of `table`.
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
