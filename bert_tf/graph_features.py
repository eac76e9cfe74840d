"""From pieces of texts to the rows that BERT reads, inside a TensorFlow graph.

Comes in: ids of word pieces as ragged tensors, one row for each text. Goes out:
rows for the model. It is what `features.py`, `masked_text.py` and `squad.py` do
with lists, for whole batches and as a graph, so that a SavedModel can do it
without Python; the tests hold the two together. How text becomes pieces is for
`graph_tokenizer.py`, what the model says for `graph_answers.py`.

Shape letters: B texts of a batch, W windows over all of them, S tokens of a
row. A size in brackets, [B, (n)], differs from row to row: a RaggedTensor.
"""

from typing import NamedTuple

import tensorflow as tf

from bert_tf.features import PADDING_ID
from bert_tf.models import ENCODER_INPUTS

LENGTH_STEP = 8
"""Rows are padded to a multiple of this: fewer shapes, less to work out anew.

Half of what `feature_extraction.LENGTH_STEP` is: a server computes few rows at
a time, and waits for them.
"""


class Packed(NamedTuple):
    """Rows as BERT reads them, not yet padded.

    Attributes:
        input_ids: int32 [B, (S)], [CLS] A [SEP] or [CLS] A [SEP] B [SEP].
        segment_ids: int32 [B, (S)], 1 for B and its [SEP].
    """

    input_ids: tf.RaggedTensor
    segment_ids: tf.RaggedTensor


def parts(ragged, rows, starts, lengths):
    """Runs of values out of the rows of a ragged tensor.

    Args:
        ragged: [B, (n)].
        rows: int64 [W], which row each run is from.
        starts: int64 [W], its first value there.
        lengths: int64 [W], how many values.

    Returns:
        [W, (lengths)].
    """
    first = tf.gather(ragged.row_starts(), rows) + starts
    places = tf.ragged.range(first, first + lengths)
    return places.with_values(tf.gather(ragged.values, places.values))


def front(ragged, lengths):
    """The first `lengths` values of each row."""
    rows = tf.range(ragged.nrows())
    return parts(ragged, rows, tf.zeros_like(rows), lengths)


def truncated_lengths(lengths_a, lengths_b, room):
    """What `features.truncate_seq_pair` leaves of pairs.

    That rule takes single tokens off the longer text, and off B where both are
    equally long. So either only the longer one is cut, down to what the other
    leaves of the room; or both, down to halves of it, A's the larger.

    Args:
        lengths_a, lengths_b: int64 [B], tokens.
        room: int64 [B], how many both may have.

    Returns:
        What is left of A and of B, int64 [B] each.
    """
    half = room // 2
    left_a = tf.minimum(lengths_a, tf.maximum(room - lengths_b, room - half))
    left_b = tf.minimum(lengths_b, tf.maximum(room - lengths_a, half))
    return left_a, left_b


def truncate(pieces_a, pieces_b, max_seq_length):
    """Cuts texts and pairs to what fits, as `features.truncate_and_pack` does.

    Args:
        pieces_a: int32 [B, (n)], ids of the text, or of the first of a pair.
        pieces_b: the same of the second one; an empty row where there is none.
        max_seq_length: the most tokens of a row, [CLS] and [SEP] included.

    Returns:
        Both, cut, and how many pieces were cut off, int32 [B].
    """
    lengths_a, lengths_b = pieces_a.row_lengths(), pieces_b.row_lengths()
    special = tf.where(lengths_b > 0, 3, 2)
    room = max_seq_length - tf.cast(special, tf.int64)
    left_a, left_b = truncated_lengths(lengths_a, lengths_b, room)
    num_cut = lengths_a - left_a + lengths_b - left_b
    cut_a, cut_b = front(pieces_a, left_a), front(pieces_b, left_b)
    return cut_a, cut_b, tf.cast(num_cut, tf.int32)


def pack(pieces_a, pieces_b, cls_id, sep_id):
    """[CLS] A [SEP] B [SEP], or [CLS] A [SEP] where B is empty.

    Args:
        pieces_a, pieces_b: int32 [B, (n)], ids.
        cls_id, sep_id: ids of the two special tokens.

    Returns:
        `Packed`.
    """
    rows = pieces_a.nrows()
    lengths_a, lengths_b = pieces_a.row_lengths(), pieces_b.row_lengths()
    ones = tf.ones([rows], tf.int64)
    # The last [SEP] is there if B is.
    ends = tf.cast(lengths_b > 0, tf.int64)
    input_ids = tf.concat(
        [
            _repeated(cls_id, ones),
            pieces_a,
            _repeated(sep_id, ones),
            pieces_b,
            _repeated(sep_id, ends),
        ],
        axis=1,
    )
    segment_ids = tf.concat(
        [_repeated(0, lengths_a + 2), _repeated(1, lengths_b + ends)], axis=1
    )
    return Packed(input_ids, segment_ids)


def _repeated(value, lengths):
    """An int32 value so often in each row."""
    values = tf.fill([tf.reduce_sum(lengths)], tf.constant(value, tf.int32))
    return tf.RaggedTensor.from_row_lengths(values, lengths, validate=False)


def pad(packed, max_seq_length):
    """Rows as tensors: the model's inputs by name, int32 [B, S].

    S is the length of the longest row, rounded up to `LENGTH_STEP` but at most
    `max_seq_length`.
    """
    lengths = tf.cast(packed.input_ids.row_lengths(), tf.int32)
    # Not 0 for a batch without rows either.
    longest = tf.reduce_max(tf.concat([[1], lengths], axis=0))
    length = -(-longest // LENGTH_STEP) * LENGTH_STEP
    length = tf.minimum(length, max_seq_length)
    shape = tf.stack([-1, tf.cast(length, tf.int64)])
    columns = (
        packed.input_ids.to_tensor(PADDING_ID, shape=shape),
        tf.sequence_mask(lengths, length, tf.int32),
        packed.segment_ids.to_tensor(0, shape=shape),
    )
    return dict(zip(ENCODER_INPUTS, columns))


# --------------------------------------------------- rows that come as numbers


def parse_examples(serialized, names):
    """Features of serialized `tf.train.Example`s, one row for each.

    Args:
        serialized: string [B].
        names: which features, lists of int64.

    Returns:
        Ragged int32 [B, (n)] by name; an empty row where an example lacks the
        feature.
    """
    schema = {
        name: tf.io.RaggedFeature(tf.int64, row_splits_dtype=tf.int64)
        for name in names
    }
    parsed = tf.io.parse_example(serialized, schema)
    return {name: tf.cast(parsed[name], tf.int32) for name in names}


def encoder_rows(features):
    """`input_ids`, `input_mask` and `segment_ids` [B, S] of parsed examples.

    Rows that are shorter than the longest one are padded.

    Raises:
        InvalidArgumentError: when it runs: an example without input_ids, or
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
    """The model's inputs, which the caller made, once they fit it.

    On a GPU an id that is out of range would become another one in silence.

    Args:
        inputs: int32 tensors [B, S] by name.
        config: the model's `BertConfig`.

    Raises:
        InvalidArgumentError: when it runs: an id that is not in the vocabulary,
            tensors of different shapes, or more tokens than positions.
    """
    ids = inputs["input_ids"]
    last, longest = config.vocab_size - 1, config.max_position_embeddings
    checks = [
        tf.debugging.Assert(
            tf.reduce_all((ids >= 0) & (ids <= last)),
            [f"input_ids must be from 0 to {last}. Received:", ids],
            summarize=64,
        ),
        tf.debugging.assert_less_equal(
            tf.shape(ids)[1],
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
        rows: int64 [W], the text that a window is of.
        starts: int64 [W], its first piece there.
        lengths: int64 [W], how many pieces it has.
    """

    rows: tf.Tensor
    starts: tf.Tensor
    lengths: tf.Tensor


def split_documents(num_pieces, room, doc_stride, least=0):
    """Does `features.split_document` for a batch.

    Args:
        num_pieces: int64 [B], pieces of each text.
        room: int64 [B], how many a window of it holds; above 0.
        doc_stride: how far apart windows start.
        least: how many windows a text without pieces has, 0 or 1.

    Returns:
        `Windows`.
    """
    # A window that holds less than the stride leaves no gap behind it.
    step = tf.minimum(room, tf.cast(doc_stride, tf.int64))
    more = tf.maximum(num_pieces - room, 0)
    count = -(-more // step) + tf.cast(num_pieces > -least, tf.int64)
    numbers = tf.ragged.range(count)
    rows = numbers.value_rowids()
    starts = numbers.values * tf.gather(step, rows)
    left = tf.gather(num_pieces, rows) - starts
    return Windows(rows, starts, tf.minimum(left, tf.gather(room, rows)))


def find_max_context(windows, num_pieces):
    """Whether a window has more around a piece of it than any other has.

    Does what `features.find_max_context` does, with its numbers.

    Args:
        windows: `Windows`.
        num_pieces: int64 [B], pieces of each text.

    Returns:
        bool [W, (lengths)]. Of the places of a text exactly one window has it.
    """
    offsets = tf.ragged.range(windows.lengths)
    number = offsets.value_rowids()
    length = tf.gather(windows.lengths, number)
    left = offsets.values
    around = tf.minimum(left, length - 1 - left)
    # As Python computes it, in double precision, so that equals are equal.
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


class PackedWindows(NamedTuple):
    """Rows for all windows of a batch of texts or pairs.

    Attributes:
        packed: the rows, `Packed`.
        texts: int64 [W], the text that a row is of; each has at least one.
        is_owned: bool [W, (S)], whether no other window has more around a
            token. Those of all windows of a text are the whole of it, in order.
        num_cut: int32 [B], pieces that are in no window.
    """

    packed: Packed
    texts: tf.Tensor
    is_owned: tf.RaggedTensor
    num_cut: tf.Tensor


def pack_windows(
    pieces_a, pieces_b, max_seq_length, doc_stride, cls_id, sep_id
):
    """Does `features.pack_windows` for a batch: nothing long is cut off.

    Args:
        pieces_a, pieces_b: int32 [B, (n)], ids.
        max_seq_length: the most tokens of a row, at least 5.
        doc_stride: how far apart windows start.
        cls_id, sep_id: ids of the two special tokens.

    Returns:
        `PackedWindows`.
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
    of_a, kept_here = tf.gather(cuts_a, texts), tf.gather(kept, texts)
    zero = tf.zeros_like(starts)
    packed = pack(
        parts(
            pieces_a,
            texts,
            tf.where(of_a, starts, zero),
            tf.where(of_a, lengths, kept_here),
        ),
        parts(
            pieces_b,
            texts,
            tf.where(of_a, zero, starts),
            tf.where(of_a, kept_here, lengths),
        ),
        cls_id,
        sep_id,
    )
    # What is in every window goes with the end of the text next to it.
    before = tf.where(of_a, zero + 1, kept_here + 2)
    behind = packed.input_ids.row_lengths() - before - lengths
    is_last = starts + lengths == tf.gather(longer, texts)
    is_owned = tf.concat(
        [
            _repeated_each(starts == 0, before),
            find_max_context(windows, longer),
            _repeated_each(is_last, behind),
        ],
        axis=1,
    )
    return PackedWindows(
        packed, texts, is_owned, tf.cast(other - kept, tf.int32)
    )


def _repeated_each(values, lengths):
    """A value for each row, so often in it."""
    return tf.RaggedTensor.from_row_lengths(
        tf.repeat(values, lengths), lengths, validate=False
    )


# ----------------------------------------------------------------------- masks


class MaskRows(NamedTuple):
    """Rows that ask for the [MASK]s of a batch of texts, R of them.

    Attributes:
        packed: the rows, `Packed`.
        positions: int32 [R, (P)], the tokens that are asked for.
        texts: int64 [R], the text that a row is of.
        num_masks: int64 [B], how many [MASK]s of each text are asked for, in
            order, over all of its rows.
        has_extra: bool [B], whether the text is asked for its [CLS] before
            them. Texts with a second one are, so that there is a row of each.
        is_pair: bool [B], whether both texts of a pair have a piece.
        num_cut: int32 [B], pieces of a pair that were cut off.
    """

    packed: Packed
    positions: tf.RaggedTensor
    texts: tf.Tensor
    num_masks: tf.Tensor
    has_extra: tf.Tensor
    is_pair: tf.Tensor
    num_cut: tf.Tensor


def mask_rows(pieces_a, pieces_b, max_seq_length, cls_id, sep_id, mask_id):
    """Rows for all [MASK]s, as `masked_text.ask_for_masks` makes them.

    A text that is too long is not cut: each [MASK] is asked for in the window
    around it. [MASK]s with the same window share a row. A pair is one row, cut
    to what fits.

    Args:
        pieces_a: int32 [B, (n)], ids of the text, or of the first of a pair.
        pieces_b: the same of the second one; an empty row where there is none.
        max_seq_length: the most tokens of a row.
        cls_id, sep_id, mask_id: ids of special tokens.

    Returns:
        `MaskRows`.
    """
    has_b = pieces_b.row_lengths() > 0
    is_pair = has_b & (pieces_a.row_lengths() > 0)
    cut_a, cut_b, num_cut = truncate(pieces_a, pieces_b, max_seq_length)
    texts = tf.range(pieces_a.nrows())
    used = tf.where(has_b, cut_a.row_lengths(), pieces_a.row_lengths())
    pieces_a = front(pieces_a, used)
    pieces = tf.concat([pieces_a, cut_b], axis=1)

    places = tf.ragged.range(pieces.row_lengths())
    masks = tf.ragged.boolean_mask(places, pieces == mask_id)
    first = tf.ragged.boolean_mask(texts[:, None], has_b[:, None])
    asked = tf.concat([tf.zeros_like(first) - 1, masks], axis=1)
    text, place = asked.value_rowids(), asked.values
    of_pair, length = tf.gather(has_b, text), tf.gather(used, text)
    room = tf.constant(max_seq_length - 2, tf.int64)
    start = tf.minimum(place - room // 2, length - room)
    start = tf.where(of_pair, tf.zeros_like(start), tf.maximum(start, 0))
    # In B, one [SEP] more is before it.
    in_b = tf.cast(of_pair & (place >= length), tf.int64)
    position = place - start + 1 + in_b

    # What asks for the same window stands together.
    is_new = tf.concat(
        [
            tf.ones([tf.minimum(tf.size(text), 1)], tf.bool),
            (text[1:] != text[:-1]) | (start[1:] != start[:-1]),
        ],
        axis=0,
    )
    row_of_each = tf.cumsum(tf.cast(is_new, tf.int64)) - 1
    row_text = tf.boolean_mask(text, is_new)
    row_start = tf.boolean_mask(start, is_new)
    left = tf.gather(used, row_text) - row_start
    packed = pack(
        parts(pieces_a, row_text, row_start, tf.minimum(left, room)),
        parts(
            cut_b,
            row_text,
            tf.zeros_like(row_start),
            tf.gather(cut_b.row_lengths(), row_text),
        ),
        cls_id,
        sep_id,
    )
    positions = tf.RaggedTensor.from_value_rowids(
        tf.cast(position, tf.int32),
        row_of_each,
        tf.size(row_text, tf.int64),
        validate=False,
    )
    return MaskRows(
        packed,
        positions,
        row_text,
        masks.row_lengths(),
        has_b,
        is_pair,
        tf.where(has_b, num_cut, 0),
    )


# ------------------------------------------------------------- a few at a time


def in_chunks(compute, total, size, outputs):
    """Calls a function for some rows after the others, and joins the results.

    What it needs on its way is then bounded, however many rows there are.

    Args:
        compute: function of the first row and the one after the last, int64,
            that returns tensors [rows or another number, ...].
        total: int64, how many rows there are.
        size: how many at a time.
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
