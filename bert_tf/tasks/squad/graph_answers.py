"""Selects answer spans from start and end logits, in a TensorFlow graph.

Finds the best span of each window, then that of each question with its
probability, by the same formulas as in Python; tests compare the two.

Shape letters: B questions, W windows over all of them, C pieces of the longest
part of a context in a window, S tokens of a row.
"""

from typing import NamedTuple

import tensorflow as tf

_NONE = float("-inf")


class WindowBest(NamedTuple):
    """The spans of each window.

    Attributes:
        log_total: float64 [W], logarithm of the sum of exp(score) over all its
            spans.
        score: float64 [W], of the best span, the sum of both logits.
        start: int64 [W], that span's first piece in the window.
        length: int64 [W], its number of pieces.
        null_score: float64 [W], the sum of both logits of [CLS].
    """

    log_total: tf.Tensor
    score: tf.Tensor
    start: tf.Tensor
    length: tf.Tensor
    null_score: tf.Tensor

    @staticmethod
    def specs():
        """A `TensorSpec` for each field."""
        kinds = (tf.float64, tf.float64, tf.int64, tf.int64, tf.float64)
        return [tf.TensorSpec([None], kind) for kind in kinds]


def best_in_windows(
    start_logits, end_logits, first, lengths, is_owned, max_answer_length
):
    """The best span of each window, and the total of all of its spans.

    Args:
        start_logits, end_logits: float32 [W, S].
        first: int64 [W], the first token of the context.
        lengths: int64 [W], number of its pieces.
        is_owned: bool [W, C], the pieces at which a span may start; false
            after the last one.
        max_answer_length: the most pieces of a span.

    Returns:
        `WindowBest`. Sums are in double precision, as in Python.

    Raises:
        InvalidArgumentError: at run time, for logits that are not finite.
    """
    message = (
        "The model's scores must be finite numbers: is the checkpoint damaged, "
        "or from a training that went wrong?"
    )
    start_logits, end_logits = (
        tf.cast(tf.debugging.check_numerics(logits, message), tf.float64)
        for logits in (start_logits, end_logits)
    )
    width = tf.shape(is_owned, tf.int64)[1]
    places = tf.range(width)
    tokens = tf.minimum(
        first[:, None] + places, tf.shape(start_logits, tf.int64)[1] - 1
    )
    is_there = places < lengths[:, None]
    starts = tf.gather(start_logits, tokens, batch_dims=1)
    starts = tf.where(is_owned & is_there, starts, _NONE)  # [W, C]
    ends = tf.gather(end_logits, tokens, batch_dims=1)
    ends = tf.where(is_there, ends, _NONE)
    ends = tf.pad(ends, [[0, 0], [0, max_answer_length - 1]], "CONSTANT", _NONE)
    span = tf.range(max_answer_length, dtype=tf.int64)
    ends = tf.gather(ends, places[:, None] + span, axis=1)
    scores = starts[:, :, None] + ends  # [W, C, max_answer_length]
    scores = tf.reshape(scores, [-1, width * max_answer_length])
    score = tf.reduce_max(scores, axis=1)
    # Of equal scores the earliest span, then the shortest.
    numbers = tf.range(width * max_answer_length)
    best = tf.reduce_min(
        tf.where(scores == score[:, None], numbers, tf.int64.max), axis=1
    )
    return WindowBest(
        tf.reduce_logsumexp(scores, axis=1),
        score,
        best // max_answer_length,
        best % max_answer_length + 1,
        start_logits[:, 0] + end_logits[:, 0],
    )


class Best(NamedTuple):
    """The answer to each question; 0 where its context has no window.

    Attributes:
        is_answered: bool [B], whether there is one.
        probability: float64 [B], of the answer among all spans of all windows
            (and "no answer", where that is possible). Of "no answer" where a
            question is left unanswered.
        first: int64 [B], the answer's first piece in the context.
        last: int64 [B], its last piece.
        null_probability: float64 [B], of "no answer"; None where every question
            has an answer.
    """

    is_answered: tf.Tensor
    probability: tf.Tensor
    first: tf.Tensor
    last: tf.Tensor
    null_probability: tf.Tensor | None


def best_of_questions(found, windows, num_questions, threshold=None):
    """Selects the best window of each question.

    Args:
        found: `WindowBest` of all windows.
        windows: `graph_rows.Windows`.
        num_questions: int64, B.
        threshold: a question is left unanswered if the null score exceeds that
            of the best span by more than this. None if every question has an
            answer.

    Returns:
        `Best`.
    """
    rows = windows.rows
    has_windows = tf.math.bincount(
        tf.cast(rows, tf.int32),
        minlength=tf.cast(num_questions, tf.int32),
        dtype=tf.int64,
    )
    has_windows = has_windows > 0

    def per_question(reduce, values):
        return reduce(values, rows, num_questions)

    score = per_question(tf.math.unsorted_segment_max, found.score)
    # Of equal scores the earlier window.
    count = tf.shape(rows, tf.int64)[0]
    is_best = found.score == tf.gather(score, rows)
    window = per_question(
        tf.math.unsorted_segment_min,
        tf.where(is_best, tf.range(count), count - 1),
    )
    window = tf.where(has_windows, window, 0)
    log_totals = [_log_sum_exp(found.log_total, rows, num_questions)]
    null = per_question(tf.math.unsorted_segment_min, found.null_score)
    is_answered = has_windows
    if threshold is not None:
        log_totals.append(null)
        threshold = tf.constant(threshold, tf.float64)
        is_answered &= ~(null - score > threshold)
    log_total = tf.reduce_logsumexp(tf.stack(log_totals), axis=0)

    def of_window(values):
        # There may be no window at all.
        values = tf.concat([values, tf.zeros([1], values.dtype)], axis=0)
        return tf.where(has_windows, tf.gather(values, window), 0)

    first = of_window(windows.starts + found.start)
    last = first + of_window(found.length) - 1
    null_probability = None
    if threshold is not None:
        null_probability = tf.where(has_windows, tf.exp(null - log_total), 0.0)
        score = tf.where(is_answered, score, null)
    probability = tf.where(has_windows, tf.exp(score - log_total), 0.0)
    return Best(is_answered, probability, first, last, null_probability)


def _log_sum_exp(values, rows, num_rows):
    highest = tf.math.unsorted_segment_max(values, rows, num_rows)
    powers = tf.exp(values - tf.gather(highest, rows))
    return highest + tf.math.log(
        tf.math.unsorted_segment_sum(powers, rows, num_rows)
    )
