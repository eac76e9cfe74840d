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


def logits(served, windows, widths):
    """The logits of words, in their order.

    Args:
        served: a `signature.Served`.
        windows: their `WordWindows`.
        widths: the number of logits, L, by the name of the model's output.

    Returns:
        float32 [N, L] by name.
    """

    def logits_of(first, last):
        rows = windows.rows.part(first, last)
        inputs = served.fill(rows, (windows.pieces, windows.pieces[:, :0]))
        found = served.forward(inputs)
        asked = windows.is_asked[first:last]
        return [at_asked(found[name], asked) for name in widths]

    found = graph_rows.in_chunks(
        logits_of,
        tf.size(windows.rows.texts, tf.int64),
        served.plain.rows_at_once,
        [tf.TensorSpec([None, width], tf.float32) for width in widths.values()],
    )
    return dict(zip(widths, found))


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


def _with_unknown(ids, unknown):
    """Ids of each word, int32 [N, (n)]; [UNK] where there are none."""
    lacks = tf.cast(ids.row_lengths() == 0, tf.int64)
    filler = tf.RaggedTensor.from_row_lengths(
        tf.fill([tf.reduce_sum(lacks)], unknown), lacks, validate=False
    )
    return tf.concat([ids, filler], axis=1)
