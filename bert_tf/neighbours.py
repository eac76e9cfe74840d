r"""Finds where else a word is used in the same sense.

  python -m bert_tf.neighbours --checkpoint=builtin --word=bank \
    --input_file=lines.txt --top_k=3

Prints each line that has the word, and below it the lines in which its vector
is nearest; then what its one vector in the embedding table is near to, whatever
the line. docs/inspection.md has more, and the same in Python.
"""

import contextlib
import os
from typing import NamedTuple

import numpy as np
from absl import logging

from bert_tf import errors
from bert_tf.cli import command_line, inference_flags, model_flags
from bert_tf.cli.command_line import FlagSet
from bert_tf.data.vocabulary import UnknownTokens
from bert_tf.errors import InputError, count_of
from bert_tf.support import files, startup
from bert_tf.tasks.inspection import data, metrics
from bert_tf.tasks.inspection.data import Word

with startup.deferred():
    from bert_tf import models
    from bert_tf.tasks.inspection import model as inside

AGAINST = ("word", "words")

# The most texts whose cosines are printed as a matrix.
MOST_IN_A_MATRIX = 12


class Neighbour(NamedTuple):
    """A word near to an occurrence.

    Attributes:
        word: a `Word`, with `text`, `line` and `position`, both from 0.
        cosine: of the two vectors.
        relative: how much it is above the mean of all pairs.
    """

    word: Word
    cosine: float
    relative: float


class Neighbours(NamedTuple):
    """The occurrences of a word and what is near to them.

    Attributes:
        occurrences: a `Word` for each, in the order of the text.
        vectors: float32 [N, D], those of the occurrences.
        nearest: for each occurrence a list of `Neighbour`s, the nearest first.
        mean: the mean cosine of all pairs.
        without_context: the pieces whose rows of the embedding table are
            nearest to the word's, and their cosines.
    """

    occurrences: list[Word]
    vectors: np.ndarray
    nearest: list[list[Neighbour]]
    mean: float
    without_context: list[tuple[str, float]]


def find_neighbours(
    model, word, lines, layer=-1, top_k=10, against="word", batch_size=32
):
    """Finds a word in lines, and for each occurrence the nearest other ones.

    Args:
        model: what `bert_tf.load` returns.
        word: str, one word; case counts as it does for the model.
        lines: iterable of str.
        layer: 0 for the embedding output, 1 for the output of the first layer,
            -1 for that of the last one.
        top_k: how many neighbours.
        against: "word" compares with the other occurrences of the word,
            "words" with all other words of all lines.
        batch_size: the most lines that are computed together.

    Returns:
        `Neighbours`.

    Raises:
        InputError: it is not one word of the vocabulary's pieces, or is in no
            line; or another argument is out of range.
    """
    if against not in AGAINST:
        raise InputError(
            f"`against` must be one of {', '.join(AGAINST)}. Received: "
            f"against={against!r}"
        )
    errors.require_positive("top_k", top_k)
    errors.require_positive("batch_size", batch_size)
    layer = data.find_layer(layer, model.config.num_hidden_layers)
    word = data.read_word(word, model.tokenizer)
    found = data.find(
        lines, word, model.tokenizer, model.max_seq_length, against == "words"
    )
    vectors = _vectors_of(model, found, layer, batch_size)
    own = [i for i, one in enumerate(found.words) if one.text == word]
    near = metrics.nearest(vectors[own], vectors, own, top_k)
    return Neighbours(
        [found.words[i] for i in own],
        vectors[own],
        [
            [
                Neighbour(found.words[i], cosine, cosine - near.mean)
                for i, cosine in zip(*of_one)
            ]
            for of_one in zip(near.places.tolist(), near.cosines.tolist())
        ],
        near.mean,
        without_context(model, word, top_k),
    )


def _vectors_of(model, found, layer, batch_size):
    """The vectors of `data.Found` words, float32 [words, D]."""
    unknown = UnknownTokens(model.tokenizer.vocab)
    for row in found.rows:
        unknown.add(row.input_ids)
    unknown.warn()
    return data.gather(
        found.rows,
        len(found.words),
        model.config.hidden_size,
        inside.hidden_function(model.model, layer),
        batch_size,
        model.max_seq_length,
    )


def without_context(model, word, top_k=10):
    """The pieces whose rows of the embedding table are nearest to a word's.

    A word of several pieces has the mean of their rows. Its own pieces are left
    out.

    Args:
        model: what `bert_tf.load` returns.
        word: one word, as the tokenizer has it.
        top_k: how many pieces.

    Returns:
        A list of pieces and their cosines, the nearest first.
    """
    pieces = model.tokenizer.wordpiece_tokenizer.split_words([word])
    ids = model.tokenizer.convert_tokens_to_ids(pieces)
    table = inside.word_embeddings(model.model)
    near = metrics.nearest(
        table[ids].mean(0, keepdims=True), table, [-1], top_k + len(ids)
    )
    return [
        (model.tokenizer.inv_vocab.get(i, f"[id {i}]"), cosine)
        for i, cosine in zip(near.places[0].tolist(), near.cosines[0].tolist())
        if i not in ids
    ][:top_k]


def define_flags(values):
    """Defines this command's flags on a `FlagValues`."""
    flags = FlagSet(values)
    inference_flags.define_model(flags)
    inference_flags.define_input(flags, "as in training; else 128")
    flags.string("word", None, "The word to look for.")
    flags.integer(
        "layer",
        -1,
        "Whose output the vectors are: 0 for the embeddings, 1 for the first "
        "layer, -1 for the last one.",
    )
    flags.integer("top_k", 10, "Number of neighbours of each occurrence.")
    flags.choice(
        "against",
        "word",
        AGAINST,
        "What to compare with: the word elsewhere, or all words of the lines.",
    )
    flags.string("save", None, "File for the vectors of the word: vectors.npz.")
    flags.integer("batch_size", 32, "Lines in a batch.")
    model_flags.define_padding(flags, True)
    flags.require("word")


def main(flags):
    """Runs the command with parsed flags."""
    check_flags(flags)
    lines = list(inference_flags.read_texts(flags, "save"))
    inference_flags.require_texts(flags, lines)
    model = inference_flags.load_encoder(flags)
    if flags.skip_padding:
        models.skip_padding(model.model)
    with open_output(flags.save) as save:
        found = find_neighbours(
            model,
            flags.word,
            lines,
            flags.layer,
            flags.top_k,
            flags.against,
            flags.batch_size,
        )
        save(found)
    if flags.save:
        logging.info("Wrote %s.", flags.save)
    layer = data.find_layer(flags.layer, model.config.num_hidden_layers)
    for text in show(found, lines, layer, model.config.num_hidden_layers):
        print(text)
    if flags.text and 2 <= len(found.occurrences) <= MOST_IN_A_MATRIX:
        print(show_matrix(found))
    print(show_without_context(found))


def check_flags(flags):
    """Raises `InputError` for invalid flags, before any work."""
    command_line.require_positive(flags, "top_k", "batch_size")
    inference_flags.check_model(flags)
    inference_flags.require_other_output(flags, "save")
    if flags.save is not None and (
        not flags.save.endswith(".npz") or not files.is_local(flags.save)
    ):
        raise InputError(
            "`--save` must name a file on this machine that ends in .npz. "
            f"Received: --save={flags.save}"
        )


@contextlib.contextmanager
def open_output(path):
    """A context with a function that saves `Neighbours`; None for no file.

    The entries are `vectors` float32 [N, D] of the occurrences, `lines` and
    `positions` int64 [N]: the line, and the word in it, both from 0.
    """
    if path is None:
        yield lambda _: None
        return
    files.make_folder("save", os.path.dirname(path) or ".")
    with files.whole_or_nothing(path) as file:

        def save(found):
            np.savez(
                file,
                vectors=found.vectors,
                lines=np.array([one.line for one in found.occurrences]),
                positions=np.array([one.position for one in found.occurrences]),
            )

        yield save


def show(found, lines, layer, num_layers):
    """Yields the occurrences with their neighbours, as text.

    Args:
        found: `Neighbours`.
        lines: all lines of the text.
        layer: the layer of the vectors, from 0 for the embedding output.
        num_layers: those of the model.
    """
    words = found.occurrences
    place = f"layer {layer} of {num_layers}" if layer else "the embeddings"
    yield (
        f"{words[0].text}: {count_of(len(words), 'occurrence')}, vectors of "
        f"{place}"
    )
    if not any(found.nearest):
        yield "There is nothing else to compare it with."
    else:
        yield (
            f"Mean cosine of all pairs: {found.mean:.4f}. Below: cosines, and "
            "by how much they exceed it."
        )
    for one, nearest in zip(words, found.nearest):
        yield f"\n{show_place(one, lines)}"
        for word, cosine, relative in nearest:
            name = "" if word.text == one.text else f"{word.text}  "
            yield (
                f"  {cosine:7.4f}  {relative:+.4f}  {name}"
                f"{show_place(word, lines)}"
            )


def show_place(word, lines):
    """The line of a word, and where that is."""
    line = " ".join(lines[word.line].split())
    return f"{line}  [line {word.line + 1}, word {word.position + 1}]"


def show_matrix(found):
    """The cosines of all pairs of occurrences as a table."""
    cosines = metrics.cosines(found.vectors)
    names = [f"{one.line + 1}.{one.position + 1}" for one in found.occurrences]
    width = max(7, *map(len, names))
    lines = ["\nCosines, by line and word:"]
    lines.append(" " * width + "".join(f"  {name:>{width}}" for name in names))
    for name, row in zip(names, cosines):
        numbers = "".join(f"  {cosine:{width}.4f}" for cosine in row)
        lines.append(f"{name:>{width}}{numbers}")
    return "\n".join(lines)


def show_without_context(found):
    """What the word is near to in the embedding table."""
    word = found.occurrences[0].text
    lines = [
        f"\nWithout context, {word} has one vector whatever the line, with a "
        "cosine of 1 to itself. Nearest rows of word_embeddings:"
    ]
    lines += [f"  {cosine:7.4f}  {piece}" for piece, cosine in found[-1]]
    return "\n".join(lines)


def cli():
    """The console command."""
    command_line.run(define_flags, main, __doc__)


if __name__ == "__main__":
    cli()
