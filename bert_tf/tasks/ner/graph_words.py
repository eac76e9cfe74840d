"""Words of texts, and entities of words, inside a TensorFlow graph.

Does what `schemes.find_entities` and the tokenizer's division into words do,
for whole batches, so that a SavedModel needs no Python; tests compare them.
Shape letters: B texts, N words of all texts, E entities of all texts.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

import tensorflow as tf

from bert_tf.tasks.ner import schemes
from bert_tf.tokenization import CJK_RANGES, SEPARATORS


class Words(NamedTuple):
    """The words of texts, one after the other.

    Attributes:
        words: string [N].
        splits: int64 [B + 1], where the words of each text begin.
        starts, ends: int64 [N], characters of the text, end exclusive.
        byte_starts, byte_ends: the same in bytes.
    """

    words: tf.Tensor
    splits: tf.Tensor
    starts: tf.Tensor
    ends: tf.Tensor
    byte_starts: tf.Tensor
    byte_ends: tf.Tensor


class Entities(NamedTuple):
    """The entities of texts, one after the other.

    Attributes:
        splits: int64 [B + 1], where the entities of each text begin.
        firsts, lasts: int64 [E], their first and last words among the N.
        types: string [E].
    """

    splits: tf.Tensor
    firsts: tf.Tensor
    lasts: tf.Tensor
    types: tf.Tensor


def split_words(texts):
    """The words of texts: a Chinese character, or what white space divides.

    Args:
        texts: string [B], UTF-8.

    Returns:
        `Words`.
    """
    decoded, offsets = tf.strings.unicode_decode_with_offsets(
        texts, "UTF-8", errors="replace"
    )
    codes, offsets = decoded.values, tf.cast(offsets.values, tf.int64)
    row = decoded.value_rowids()
    spaces = re.compile(f"[{SEPARATORS}]")
    separators = [c for c in range(0x10000) if spaces.match(chr(c))]
    is_space = tf.reduce_any(codes[:, None] == separators, axis=1)
    is_chinese = tf.reduce_any(
        [(codes >= first) & (codes <= last) for first, last in CJK_RANGES],
        axis=0,
    )
    is_end = row[1:] != row[:-1]
    breaks = is_space | is_chinese
    after = breaks[:-1] | is_end | is_chinese[1:]
    # Between each character and the next one, and at both ends.
    one = tf.ones([tf.minimum(tf.size(codes), 1)], tf.bool)
    begins = ~is_space & tf.concat([one, after], axis=0)
    after = breaks[1:] | is_end | is_chinese[:-1]
    finishes = ~is_space & tf.concat([after, one], axis=0)
    first = tf.squeeze(tf.where(begins), 1)
    last = tf.squeeze(tf.where(finishes), 1)
    text = tf.gather(row, first)
    base = tf.gather(decoded.row_starts(), text)
    # Where the next character begins, or the text ends.
    size = tf.gather(tf.strings.length(texts), row)
    stop = tf.where(
        tf.concat([is_end, one], axis=0),
        tf.cast(size, tf.int64),
        tf.concat([offsets[1:], tf.cast(one, tf.int64)], axis=0),
    )
    byte_starts, byte_ends = tf.gather(offsets, first), tf.gather(stop, last)
    words = tf.strings.substr(
        tf.gather(texts, text), byte_starts, byte_ends - byte_starts
    )
    return Words(
        words,
        _splits_of(text, tf.size(texts, tf.int64)),
        first - base,
        last + 1 - base,
        byte_starts,
        byte_ends,
    )


def given_words(words):
    """The words of a table, without what stands behind the last one of a row.

    Args:
        words: string [B, W]; "" behind the last one.

    Returns:
        string [N], and int64 [B + 1], where the words of each row begin.
    """
    numbers = tf.range(1, tf.shape(words, tf.int64)[1] + 1)
    lengths = tf.reduce_max(
        tf.where(words != "", numbers, 0), axis=1, keepdims=True
    )
    lengths = tf.maximum(lengths[:, 0], 0)
    ragged = tf.RaggedTensor.from_tensor(words, lengths)
    return ragged.values, ragged.row_splits


def find_entities(label_ids, splits, labels: Sequence[str]):
    """The entities that labels stand for, by conlleval's rule.

    Args:
        label_ids: int [N], of the words.
        splits: int64 [B + 1], where the words of each text begin.
        labels: their names.

    Returns:
        `Entities`.
    """
    scheme = schemes.scheme_of_model(labels)
    parts = [_tag_and_type(label, scheme) for label in labels]
    kinds = sorted({kind for _, kind in parts})
    tags = tf.constant(["OBIES".index(tag) for tag, _ in parts])
    numbers = tf.constant([kinds.index(kind) for _, kind in parts])
    tag, kind = tf.gather(tags, label_ids), tf.gather(numbers, label_ids)
    count = tf.size(label_ids, tf.int64)
    row = tf.searchsorted(splits[1:], tf.range(count), "right", tf.int64)
    outside, begin, _, end, single = range(5)

    # A word goes on with the entity of the word before it.
    before, after = tag[:-1], tag[1:]
    goes_on = (
        (row[1:] == row[:-1])
        & (before != outside)
        & (before != end)
        & (before != single)
        & (after != outside)
        & (after != begin)
        & (after != single)
        & (kind[1:] == kind[:-1])
    )
    no = tf.zeros([tf.minimum(tf.size(label_ids), 1)], tf.bool)
    is_inside = tag != outside
    firsts = is_inside & ~tf.concat([no, goes_on], axis=0)
    lasts = is_inside & ~tf.concat([goes_on, no], axis=0)
    firsts = tf.squeeze(tf.where(firsts), 1)
    lasts = tf.squeeze(tf.where(lasts), 1)
    texts = tf.size(splits, tf.int64) - 1
    return Entities(
        _splits_of(tf.gather(row, firsts), texts),
        firsts,
        lasts,
        tf.gather(tf.constant(kinds, tf.string), tf.gather(kind, firsts)),
    )


def _tag_and_type(label, scheme):
    if scheme == schemes.NO_SCHEME and label != schemes.OUTSIDE:
        return "S", label
    return schemes.split_label(label)


def _splits_of(rows, count):
    """The row splits of ascending row numbers."""
    lengths = tf.math.unsorted_segment_sum(tf.ones_like(rows), rows, count)
    return tf.concat([[0], tf.cumsum(lengths)], axis=0)
