"""Rows for the [MASK]s of texts, inside a TensorFlow graph.

Shape letters: as in `exports.graph_rows`.
"""

from typing import NamedTuple

import tensorflow as tf

from bert_tf.exports import graph_rows


class MaskRows(NamedTuple):
    """Rows for the [MASK]s of a batch of texts, R of them.

    Attributes:
        rows: `graph_rows.Rows`.
        positions: int32 [R, (P)], the tokens to predict.
        num_masks: int64 [B], number of [MASK]s to predict of each text, in
            order, over all of its rows.
        has_extra: bool [B], whether [CLS] is predicted before them. It is in
            texts with a second one, so that each of these has a row.
        is_pair: bool [B], whether both texts of a pair have a piece.
        num_cut: int32 [B], pieces of a pair that were cut off.
    """

    rows: graph_rows.Rows
    positions: tf.RaggedTensor
    num_masks: tf.Tensor
    has_extra: tf.Tensor
    is_pair: tf.Tensor
    num_cut: tf.Tensor


def mask_rows(pieces_a, pieces_b, max_seq_length, mask_id):
    """Rows for all [MASK]s, as `cloze.ask_for_masks` makes them.

    A text that is too long is not truncated: each [MASK] is predicted in the
    window around it. [MASK]s with the same window share a row. A pair is one
    row, truncated to fit.

    Args:
        pieces_a: int32 [B, (n)], ids of the text, or of the first of a pair.
        pieces_b: the same of the second one; an empty row where there is none.
        max_seq_length: the most tokens of a row.
        mask_id: the id of [MASK].

    Returns:
        `MaskRows`.
    """
    has_b = pieces_b.row_lengths() > 0
    is_pair = has_b & (pieces_a.row_lengths() > 0)
    cut, num_cut = graph_rows.truncate(pieces_a, pieces_b, max_seq_length)
    used_a = tf.where(has_b, cut.lengths_a, pieces_a.row_lengths())
    # Places in B are counted on from those in A.
    masks = tf.concat(
        [
            _find(pieces_a, mask_id, used_a, tf.zeros_like(used_a)),
            _find(pieces_b, mask_id, cut.lengths_b, used_a),
        ],
        axis=1,
    )
    first = tf.ragged.boolean_mask(cut.texts[:, None], has_b[:, None])
    asked = tf.concat([tf.zeros_like(first) - 1, masks], axis=1)
    text, place = asked.value_rowids(), asked.values
    of_pair, length = tf.gather(has_b, text), tf.gather(used_a, text)
    room = tf.constant(max_seq_length - 2, tf.int64)
    start = tf.minimum(place - room // 2, length - room)
    start = tf.where(of_pair, tf.zeros_like(start), tf.maximum(start, 0))
    # In B, there is one more [SEP] before it.
    in_b = tf.cast(of_pair & (place >= length), tf.int64)
    position = place - start + 1 + in_b

    # Positions in the same window are neighbours.
    is_new = tf.concat(
        [
            tf.ones([tf.minimum(tf.size(text), 1)], tf.bool),
            (text[1:] != text[:-1]) | (start[1:] != start[:-1]),
        ],
        axis=0,
    )
    row_of_each = tf.cumsum(tf.cast(is_new, tf.int64)) - 1
    texts = tf.boolean_mask(text, is_new)
    starts = tf.boolean_mask(start, is_new)
    left = tf.gather(used_a, texts) - starts
    rows = graph_rows.Rows(
        texts,
        starts,
        tf.minimum(left, room),
        tf.zeros_like(starts),
        tf.gather(cut.lengths_b, texts),
    )
    positions = tf.RaggedTensor.from_value_rowids(
        tf.cast(position, tf.int32),
        row_of_each,
        tf.size(texts, tf.int64),
        validate=False,
    )
    return MaskRows(
        rows,
        positions,
        masks.row_lengths(),
        has_b,
        is_pair,
        tf.where(has_b, num_cut, 0),
    )


def _find(pieces, wanted, used, offsets):
    """The places of an id among the first `used` pieces of each row."""
    places = tf.ragged.range(pieces.row_lengths())
    is_wanted = (pieces == wanted) & (places < used[:, None])
    return tf.ragged.boolean_mask(places + offsets[:, None], is_wanted)
