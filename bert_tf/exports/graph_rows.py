"""Packs the word pieces of texts into rows for BERT, inside a TensorFlow graph.

Pieces are ragged tensors of ids, one row for each text. The rules are those of
the Python functions that pack lists of pieces, here for whole batches, so that
a SavedModel needs no Python; tests compare the two.

Shape letters: B texts of a batch, W windows over all of them, S tokens of a
row. A size in brackets, [B, (n)], differs from row to row: a RaggedTensor.
"""

from typing import NamedTuple

import tensorflow as tf

from bert_tf.data.grouping import LENGTH_STEP
from bert_tf.data.packing import PADDING_ID
from bert_tf.models import ENCODER_INPUTS


class Rows(NamedTuple):
    """The content of each row: [CLS] A [SEP], or [CLS] A [SEP] B [SEP].

    A and B are runs of pieces of a text and of its second text; B may be empty.

    Attributes: int64 [W] each.
        texts: the row's text in the batch.
        starts_a, lengths_a: the first piece of A, and their number.
        starts_b, lengths_b: the same of B.
    """

    texts: tf.Tensor
    starts_a: tf.Tensor
    lengths_a: tf.Tensor
    starts_b: tf.Tensor
    lengths_b: tf.Tensor

    @property
    def lengths(self):
        """Tokens of each row, int64 [W]."""
        # There is a last [SEP] only if there is a B.
        end = tf.cast(self.lengths_b > 0, tf.int64)
        return self.lengths_a + self.lengths_b + end + 2

    def part(self, first, last):
        """The rows from `first` up to, not including, `last`."""
        return Rows(*(values[first:last] for values in self))


class Special(NamedTuple):
    """Ids of the special tokens of rows."""

    cls: int
    sep: int


def fill(rows, pieces_a, pieces_b, special, max_seq_length):
    """Rows as the model's inputs.

    Args:
        rows: `Rows`.
        pieces_a: int32 [B, (n)], ids of the texts.
        pieces_b: the same of the second ones.
        special: `Special`.
        max_seq_length: the most tokens of a row.

    Returns:
        int32 [W, S] by name. S is the length of the longest row, rounded up to
        `grouping.LENGTH_STEP` but at most `max_seq_length`.
    """
    # Not 0, even without rows.
    longest = tf.reduce_max(tf.concat([[1], rows.lengths], axis=0))
    length = -(-longest // LENGTH_STEP) * LENGTH_STEP
    places = tf.range(tf.minimum(length, max_seq_length))
    # All possible tokens in one vector: the pieces come last.
    pool = tf.concat(
        [[PADDING_ID, *special], pieces_a.values, pieces_b.values], axis=0
    )
    padding, cls, sep = tf.unstack(tf.range(3, dtype=tf.int64))
    offset_a = tf.constant(3, tf.int64)
    offset_b = offset_a + tf.size(pieces_a.values, tf.int64)
    first_a = tf.gather(pieces_a.row_starts(), rows.texts) + rows.starts_a
    first_b = tf.gather(pieces_b.row_starts(), rows.texts) + rows.starts_b
    # The places of [SEP]; without a B the second one lies behind the row.
    middle = (rows.lengths_a + 1)[:, None]
    end = middle + rows.lengths_b[:, None] + 1
    in_a, in_b = places < middle, (places > middle) & (places < end)
    source = tf.where(in_a, (offset_a + first_a - 1)[:, None] + places, sep)
    source = tf.where(
        in_b,
        (offset_b + first_b)[:, None] + places - middle - 1,
        source,
    )
    source = tf.where(places == 0, cls, source)
    is_token = places < rows.lengths[:, None]
    source = tf.where(is_token, source, padding)
    columns = (
        tf.gather(pool, source),
        tf.cast(is_token, tf.int32),
        tf.cast(is_token & (places > middle), tf.int32),
    )
    return dict(zip(ENCODER_INPUTS, columns))


def truncated_lengths(lengths_a, lengths_b, room):
    """The lengths of pairs after `packing.truncate_seq_pair`.

    That function removes single tokens from the longer text, and from B where
    both are equally long. So either only the longer one is truncated, to what
    the other one leaves of the room; or both, to halves of it, A's the larger.

    Args:
        lengths_a, lengths_b: int64 [B], tokens.
        room: int64 [B], the most tokens of both together.

    Returns:
        The lengths of A and of B, int64 [B] each.
    """
    half = room // 2
    left_a = tf.minimum(lengths_a, tf.maximum(room - lengths_b, room - half))
    left_b = tf.minimum(lengths_b, tf.maximum(room - lengths_a, half))
    return left_a, left_b


def truncate(pieces_a, pieces_b, max_seq_length):
    """A row for each text or pair, as `packing.truncate_and_pack` makes it.

    Args:
        pieces_a: int32 [B, (n)], ids of the text, or of the first of a pair.
        pieces_b: the same of the second one; an empty row where there is none.
        max_seq_length: the most tokens of a row, [CLS] and [SEP] included.

    Returns:
        `Rows`, and the number of pieces that were cut off, int32 [B].
    """
    lengths_a, lengths_b = pieces_a.row_lengths(), pieces_b.row_lengths()
    room = max_seq_length - 2 - tf.cast(lengths_b > 0, tf.int64)
    left_a, left_b = truncated_lengths(lengths_a, lengths_b, room)
    num_cut = lengths_a - left_a + lengths_b - left_b
    texts = tf.range(pieces_a.nrows())
    start = tf.zeros_like(texts)
    rows = Rows(texts, start, left_a, start, left_b)
    return rows, tf.cast(num_cut, tf.int32)


# ------------------------------------------------------ rows that callers made


def parse_examples(serialized, names):
    """Features of serialized `tf.train.Example`s, one row for each.

    Args:
        serialized: string [B].
        names: of the features, lists of int64.

    Returns:
        Ragged int32 [B, (n)] by name; an empty row where an example lacks the
        feature.
    """
    schema = {
        name: tf.io.RaggedFeature(tf.int64, row_splits_dtype=tf.int64)
        for name in names
    }
    parsed = tf.io.parse_example(serialized, schema)
    last = tf.int32.max
    # A cast would make other numbers of larger ones.
    checks = [
        check_between(name, parsed[name].values, -last - 1, last)
        for name in names
    ]
    with tf.control_dependencies(checks):
        return {name: tf.cast(parsed[name], tf.int32) for name in names}


def check_between(name, values, first, last, wanted=None):
    """Asserts, at run time, that integers are in a range.

    Args:
        name: of the input, for the message.
        values: integers of any shape.
        first, last: the range; numbers or scalar tensors.
        wanted: words for the range.
    """
    is_bad = (values < first) | (values > last)
    # The first of them only: flat, so that a batch is not mistaken for places
    # in the graph where messages are shortened.
    found = tf.boolean_mask(values, is_bad)[:1]
    place = tf.reshape(tf.where(is_bad)[:1], [-1])
    wanted = wanted or f"from {first} to {last}"
    return tf.debugging.Assert(
        tf.logical_not(tf.reduce_any(is_bad)),
        [f"{name} must be {wanted}. Received:", found, "at", place],
    )


def encoder_rows(features):
    """`input_ids`, `input_mask` and `segment_ids` [B, S] of parsed examples.

    Rows that are shorter than the longest one are padded.

    Raises:
        InvalidArgumentError: at run time, for an example without input_ids, or
            whose three features are of different lengths.
    """
    ids = features["input_ids"]
    with tf.control_dependencies(
        [
            tf.debugging.assert_positive(
                ids.row_lengths(),
                "Each example must have the feature input_ids, a list of "
                "int64. Their lengths:",
                summarize=64,
            )
        ]
    ):
        rows = {"input_ids": ids.to_tensor(PADDING_ID)}
    for name in ENCODER_INPUTS[1:]:
        check = tf.debugging.assert_equal(
            features[name].row_lengths(),
            ids.row_lengths(),
            f"In each example {name} must be as long as input_ids. The lengths "
            f"of {name}, and those of input_ids:",
            summarize=64,
        )
        with tf.control_dependencies([check]):
            rows[name] = features[name].to_tensor(0)
    return rows


def checked(inputs, config):
    """The model's inputs, checked.

    Args:
        inputs: int32 tensors [..., S] by name.
        config: the model's `BertConfig`.

    Raises:
        InvalidArgumentError: at run time, for an id that is not in the
            vocabulary, a mask that is neither 0 nor 1, a segment that the model
            does not have, tensors of different shapes, rows without tokens, or
            more tokens than positions.
    """
    # On a GPU, an id that is out of range is clamped without an error.
    lasts = (config.vocab_size - 1, 1, config.type_vocab_size - 1)
    ids, longest = inputs["input_ids"], config.max_position_embeddings
    checks = [
        check_between(name, inputs[name], 0, last)
        for name, last in zip(ENCODER_INPUTS, lasts, strict=True)
    ]
    checks += [
        tf.debugging.assert_positive(
            tf.shape(ids)[-1],
            "input_ids must have at least one token in each row. Tokens in a "
            "row:",
        ),
        tf.debugging.assert_less_equal(
            tf.shape(ids)[-1],
            longest,
            f"The model has {longest} positions. Tokens in a row:",
        ),
    ]
    checks += [
        tf.debugging.assert_equal(
            tf.shape(inputs[name]),
            tf.shape(ids),
            f"{name} must have the shape of input_ids. Their shapes:",
        )
        for name in ENCODER_INPUTS[1:]
    ]
    with tf.control_dependencies(checks):
        return {name: tf.identity(value) for name, value in inputs.items()}


# --------------------------------------------------------------------- windows


class Windows(NamedTuple):
    """Overlapping parts of the texts of a batch, in order.

    Attributes:
        rows: int64 [W], the window's text in the batch.
        starts: int64 [W], its first piece in the text.
        lengths: int64 [W], its number of pieces.
    """

    rows: tf.Tensor
    starts: tf.Tensor
    lengths: tf.Tensor


def split_documents(num_pieces, room, doc_stride, least=0):
    """Does `packing.split_document` for a batch.

    Args:
        num_pieces: int64 [B], pieces of each text.
        room: int64 [B], the most pieces of a window of it; above 0.
        doc_stride: distance between the starts of windows.
        least: number of windows of a text without pieces, 0 or 1.

    Returns:
        `Windows`.
    """
    # Windows shorter than the stride must leave no gap between them.
    step = tf.minimum(room, tf.cast(doc_stride, tf.int64))
    more = tf.maximum(num_pieces - room, 0)
    count = -(-more // step) + tf.cast(num_pieces > -least, tf.int64)
    numbers = tf.ragged.range(count)
    rows = numbers.value_rowids()
    starts = numbers.values * tf.gather(step, rows)
    left = tf.gather(num_pieces, rows) - starts
    return Windows(rows, starts, tf.minimum(left, tf.gather(room, rows)))


def find_max_context(windows, num_pieces):
    """Whether a window has the most context of a piece among all windows.

    Does `packing.find_max_context` for a batch, with the same arithmetic.

    Args:
        windows: `Windows`.
        num_pieces: int64 [B], pieces of each text.

    Returns:
        bool [W, (lengths)], true in exactly one window for each piece.
    """
    offsets = tf.ragged.range(windows.lengths)
    number = offsets.value_rowids()
    length = tf.gather(windows.lengths, number)
    left = offsets.values
    around = tf.minimum(left, length - 1 - left)
    # In double precision, as in Python, so that the same scores are equal.
    score = tf.cast(around, tf.float64) + 0.01 * tf.cast(length, tf.float64)
    first = tf.cumsum(num_pieces, exclusive=True)
    place = tf.gather(tf.gather(first, windows.rows) + windows.starts, number)
    total = tf.reduce_sum(num_pieces)
    best = tf.math.unsorted_segment_max(score, place + left, total)
    is_best = score == tf.gather(best, place + left)
    # Of equal ones the earlier window.
    none = tf.cast(tf.shape(windows.rows)[0], tf.int64)
    owner = tf.math.unsorted_segment_min(
        tf.where(is_best, number, none), place + left, total
    )
    return offsets.with_values(tf.gather(owner, place + left) == number)


class PairWindows(NamedTuple):
    """Rows for all windows of a batch of texts or pairs.

    Attributes:
        rows: `Rows`, at least one of each text.
        is_owned: bool [W, (S)], whether the window has the most context of a
            token. Those of all windows make up the whole text, in order.
        num_cut: int32 [B], pieces that are in no window.
    """

    rows: Rows
    is_owned: tf.RaggedTensor
    num_cut: tf.Tensor


def pair_windows(pieces_a, pieces_b, max_seq_length, doc_stride):
    """Does `packing.pack_windows` for a batch: long texts are not truncated.

    Args:
        pieces_a, pieces_b: int32 [B, (n)], ids.
        max_seq_length: the most tokens of a row, at least 5.
        doc_stride: distance between the starts of windows.

    Returns:
        `PairWindows`.
    """
    lengths_a, lengths_b = pieces_a.row_lengths(), pieces_b.row_lengths()
    room = max_seq_length - 2 - tf.cast(lengths_b > 0, tf.int64)
    cuts_a = lengths_a > lengths_b
    longer = tf.maximum(lengths_a, lengths_b)
    other = tf.minimum(lengths_a, lengths_b)
    fits = longer + other <= room
    kept = tf.where(fits, other, tf.minimum(other, room // 2))
    windows = split_documents(longer, room - kept, doc_stride, least=1)

    texts, starts, lengths = windows
    of_a, of_other = tf.gather(cuts_a, texts), tf.gather(kept, texts)
    zero = tf.zeros_like(starts)
    rows = Rows(
        texts,
        tf.where(of_a, starts, zero),
        tf.where(of_a, lengths, of_other),
        tf.where(of_a, zero, starts),
        tf.where(of_a, of_other, lengths),
    )
    # Tokens of the text that every window repeats belong to the window at the
    # adjacent end of the long text.
    before = tf.where(of_a, zero + 1, of_other + 2)
    behind = rows.lengths - before - lengths
    is_last = starts + lengths == tf.gather(longer, texts)
    is_owned = tf.concat(
        [
            _repeated(starts == 0, before),
            find_max_context(windows, longer),
            _repeated(is_last, behind),
        ],
        axis=1,
    )
    return PairWindows(rows, is_owned, tf.cast(other - kept, tf.int32))


def _repeated(values, lengths):
    """Repeats the value of each row `lengths` times."""
    return tf.RaggedTensor.from_row_lengths(
        tf.repeat(values, lengths), lengths, validate=False
    )


# ----------------------------------------------------------------- in chunks


def in_chunks(compute, total, size, outputs):
    """Calls a function for a few rows at a time, and joins the results.

    This bounds the memory of the computation.

    Args:
        compute: function of the first row and the one after the last, int64,
            that returns tensors [rows or another number, ...].
        total: int64, number of rows.
        size: rows of a chunk.
        outputs: a `TensorSpec` for each of its results.

    Returns:
        The results, joined along their first axis.
    """
    count = tf.cast(-(-total // size), tf.int32)
    arrays = [
        tf.TensorArray(
            spec.dtype, count, element_shape=spec.shape, infer_shape=False
        )
        for spec in outputs
    ]

    def step(chunk, *arrays):
        first = tf.cast(chunk, tf.int64) * size
        found = compute(first, tf.minimum(first + size, total))
        written = [
            array.write(chunk, one)
            for array, one in zip(arrays, found, strict=True)
        ]
        return chunk + 1, *written

    _, *arrays = tf.while_loop(
        lambda chunk, *_: chunk < count,
        step,
        (0, *arrays),
        parallel_iterations=1,
    )
    return [array.concat() for array in arrays]
