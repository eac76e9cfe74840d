"""Words to the windows that a model reads, inside a TensorFlow graph.

Does what `windows.WindowMaker` does, for whole batches, so that a SavedModel
needs no Python; tests compare them. Shape letters: B texts, N words of all
texts, W windows over all of them, L labels.
"""

from typing import NamedTuple

import tensorflow as tf

from bert_tf.exports import graph_rows
from bert_tf.exports.signature import DEVICE
from bert_tf.tasks.ner.windows import UNKNOWN, stride_of


class WordWindows(NamedTuple):
    """What a model reads of texts.

    Attributes:
        words: int32 [N, (n)], the ids of each word's pieces; none for a word
            of control characters, say.
        pieces: int32 [B, (n)], those of each text, where a word without pieces
            has [UNK].
        rows: `graph_rows.Rows` of `pieces`.
        is_asked: bool [W, (lengths)], true at the first piece of each word, in
            one window.
    """

    words: tf.RaggedTensor
    pieces: tf.RaggedTensor
    rows: graph_rows.Rows
    is_asked: tf.RaggedTensor


def of_words(served, words, splits):
    """The `WordWindows` of words.

    Args:
        served: a `signature.Served`.
        words: string [N].
        splits: int64 [B + 1], where the words of each text begin.
    """
    ids = served.tokenize(words)
    pieces = _with_unknown(ids, served.rules.id_of(UNKNOWN))
    ends = pieces.row_splits
    is_first = tf.scatter_nd(
        ends[:-1, None],
        tf.ones_like(ends[:-1]),
        tf.shape(pieces.values, tf.int64),
    )
    texts = tf.RaggedTensor.from_row_splits(
        pieces.values, tf.gather(ends, splits), validate=False
    )
    num_pieces = texts.row_lengths()
    length = served.rules.max_seq_length
    windows = graph_rows.split_documents(
        num_pieces,
        tf.zeros_like(num_pieces) + (length - 2),
        stride_of(length),
    )
    owned = graph_rows.find_max_context(windows, num_pieces)
    starts = tf.gather(texts.row_starts(), windows.rows)
    places = (starts + windows.starts)[:, None] + tf.ragged.range(
        windows.lengths
    )
    is_asked = owned.with_values(
        owned.values & (tf.gather(is_first, places.values) == 1)
    )
    zeros = tf.zeros_like(windows.rows)
    rows = graph_rows.Rows(
        windows.rows, windows.starts, windows.lengths, zeros, zeros
    )
    return WordWindows(ids, texts, rows, is_asked)


def logits(served, windows, widths, widths_of_rows=None):
    """The logits of words, in their order, and those of rows.

    Args:
        served: a `signature.Served`.
        windows: `WordWindows`.
        widths: the number of logits, L, by the name of the model's output for
            tokens.
        widths_of_rows: the same of outputs for rows.

    Returns:
        float32 [N, L] by name, and float32 [W, L] by name.
    """
    widths_of_rows = widths_of_rows or {}

    def logits_of(first, last):
        rows = windows.rows.part(first, last)
        inputs = served.fill(rows, (windows.pieces, windows.pieces[:, :0]))
        found = served.forward(inputs)
        asked = windows.is_asked[first:last]
        of_words = [at_asked(found[name], asked) for name in widths]
        return of_words + [found[name] for name in widths_of_rows]

    found = graph_rows.in_chunks(
        logits_of,
        tf.size(windows.rows.texts, tf.int64),
        served.plain.rows_at_once,
        [
            tf.TensorSpec([None, width], tf.float32)
            for width in (*widths.values(), *widths_of_rows.values())
        ],
    )
    of_words, of_rows = found[: len(widths)], found[len(widths) :]
    return dict(zip(widths, of_words)), dict(zip(widths_of_rows, of_rows))


def at_asked(logits, is_asked):
    """The logits of words, [n, L].

    Args:
        logits: of windows, [W, S, L].
        is_asked: bool [W, (lengths)].
    """
    with tf.device(DEVICE):
        asked = is_asked.to_tensor(False)
    # Behind [CLS].
    logits = logits[:, 1 : tf.shape(asked)[1] + 1]
    return tf.boolean_mask(logits, asked)


class WholeTexts(NamedTuple):
    """Windows of words, among which is a row for each text.

    Attributes:
        windows: `WordWindows`.
        rows: int64 [B], the row of each text that classifiers read.
        num_cut: int32 [B], the number of its pieces that are not in that row.
    """

    windows: WordWindows
    rows: tf.Tensor
    num_cut: tf.Tensor


def with_whole_texts(served, windows, splits):
    """Adds rows for those texts whose first window is not what is needed.

    A classifier reads the first pieces of a text, as the first window has them;
    but no [UNK] for a word that has no pieces, and texts without words.

    Args:
        served: a `signature.Served`.
        windows: the `WordWindows` of texts.
        splits: int64 [B + 1], where the words of each text begin.

    Returns:
        `WholeTexts`.
    """
    pieces = tf.RaggedTensor.from_row_splits(
        windows.words.values,
        tf.gather(windows.words.row_splits, splits),
        validate=False,
    )
    own, num_cut = graph_rows.truncate(
        pieces, pieces[:, :0], served.rules.max_seq_length
    )
    count = pieces.nrows()
    is_other = windows.pieces.row_lengths() != pieces.row_lengths()
    is_other |= pieces.row_lengths() == 0
    others = tf.squeeze(tf.where(is_other), 1)
    added = graph_rows.Rows(*(tf.gather(values, others) for values in own))
    # Both kinds of pieces in one table, those of whole texts behind.
    added = added._replace(texts=added.texts + count)
    rows = graph_rows.Rows(
        *(tf.concat(both, 0) for both in zip(windows.rows, added))
    )
    first = tf.searchsorted(windows.rows.texts, tf.range(count), "left")
    behind = tf.size(windows.rows.texts, tf.int64) - 1
    behind += tf.cumsum(tf.cast(is_other, tf.int64))
    asked = windows.is_asked
    nothing = tf.fill([tf.size(others)], asked.row_splits[-1])
    asked = tf.RaggedTensor.from_row_splits(
        asked.values, tf.concat([asked.row_splits, nothing], 0), validate=False
    )
    together = WordWindows(
        windows.words,
        tf.concat([windows.pieces, pieces], axis=0),
        rows,
        asked,
    )
    found = tf.where(is_other, behind, tf.cast(first, tf.int64))
    return WholeTexts(together, found, num_cut)


def _with_unknown(ids, unknown):
    """Ids of each word, int32 [N, (n)]; [UNK] where there are none."""
    lacks = tf.cast(ids.row_lengths() == 0, tf.int64)
    filler = tf.RaggedTensor.from_row_lengths(
        tf.fill([tf.reduce_sum(lacks)], unknown), lacks, validate=False
    )
    return tf.concat([ids, filler], axis=1)
