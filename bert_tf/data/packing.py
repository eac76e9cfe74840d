"""From word pieces to the rows of numbers that BERT reads.

Comes in: one or two lists of word pieces. Goes out: `InputFeatures`, or their
parts for tasks with features of their own. Texts and labels stay outside, in
the task modules; files and TensorFlow in `records.py`.
"""

import dataclasses
import random
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import Any, NamedTuple

from bert_tf.errors import InputError

# The original pads with this id whatever the vocabulary calls it.
PADDING_ID = 0


@dataclasses.dataclass(frozen=True, slots=True)
class InputFeatures:
    """One example as numbers.

    Attributes:
        input_ids: ids of [CLS] A [SEP] (B [SEP]) and padding, S of them.
        input_mask: 1 for each token, 0 for padding.
        segment_ids: 0 for [CLS] A [SEP], 1 for B [SEP], 0 for padding.
        label_id: place of the label in the task's list of labels.
        is_real_example: false for one that only fills up a batch.
        num_cut: tokens that were cut off to make it fit; of several windows,
            the first one tells it of the whole example.
    """

    input_ids: list[int]
    input_mask: list[int]
    segment_ids: list[int]
    label_id: int = 0
    is_real_example: bool = True
    num_cut: int = 0


class PaddingInputExample:
    """Stands where an example would, so that the last batch is full.

    A TPU needs batches of one size. Dropping the rest of a set would change
    its metrics, and `None` would be taken for a mistake.
    """


class PackedTokens(NamedTuple):
    """Tokens as BERT reads them, not yet padded."""

    tokens: list[str]
    segment_ids: list[int]


def truncate_seq_pair(
    tokens_a: Sequence[str], tokens_b: Sequence[str], max_length: int
) -> tuple[list[str], list[str]]:
    """Cuts the ends off a pair until both together fit: the fine-tuning rule.

    The longer one loses its last token; of two equally long ones B does. What
    is short thus stays whole as long as possible. (Pretraining data is cut by
    another rule: `truncate_at_random_ends`.)
    """
    length_a, length_b = len(tokens_a), len(tokens_b)
    while length_a + length_b > max(max_length, 0):
        if length_a > length_b:
            length_a -= 1
        else:
            length_b -= 1
    return list(tokens_a[:length_a]), list(tokens_b[:length_b])


def truncate_at_random_ends(
    length_a: int, length_b: int, max_length: int, rng: random.Random
) -> tuple[slice, slice]:
    """What stays of a pair that is to fit together: the pretraining rule.

    The longer one loses a token, of two equally long ones B does; at its front
    or its end, as a coin says, so that there is no bias to either.

    Args:
        length_a: tokens of A.
        length_b: tokens of B.
        max_length: how many both may have.
        rng: the generator, asked once for each token that goes.
    """
    start_a = start_b = 0
    end_a, end_b = length_a, length_b
    draw = rng.random
    for excess in range(length_a + length_b - max_length, 0, -1):
        left_a = end_a - start_a
        if left_a > max_length + excess - left_a:
            if draw() < 0.5:
                start_a += 1
            else:
                end_a -= 1
        elif draw() < 0.5:
            start_b += 1
        else:
            end_b -= 1
    return slice(start_a, end_a), slice(start_b, end_b)


def pack_tokens(
    tokens_a: Sequence[str], tokens_b: Sequence[str] = ()
) -> PackedTokens:
    """[CLS] A [SEP] B [SEP], or [CLS] A [SEP] where there is no B."""
    tokens = ["[CLS]", *tokens_a, "[SEP]"]
    segment_ids = [0] * len(tokens)
    if tokens_b:
        tokens += [*tokens_b, "[SEP]"]
        segment_ids += [1] * (len(tokens_b) + 1)
    return PackedTokens(tokens, segment_ids)


def truncate_and_pack(
    tokens_a: Sequence[str], tokens_b: Sequence[str], max_seq_length: int
) -> PackedTokens:
    """Packs what fits into `max_seq_length`, as fine-tuning does.

    An empty `tokens_b` means a single sentence, also where there was a second
    text that tokenizes to nothing.

    Raises:
        InputError: `max_seq_length` leaves no room for [CLS] and [SEP].
    """
    special = 3 if tokens_b else 2
    if max_seq_length < special:
        raise InputError(
            f"`max_seq_length` must be at least {special}: [CLS] and [SEP] "
            f"alone take that much. Received: max_seq_length={max_seq_length}"
        )
    room = max_seq_length - special
    if not tokens_b:
        return pack_tokens(tokens_a[:room])
    return pack_tokens(*truncate_seq_pair(tokens_a, tokens_b, room))


class DocSpan(NamedTuple):
    """Part of a document: its first piece, and how many pieces."""

    start: int
    length: int


def split_document(
    num_pieces: int, max_length: int, doc_stride: int
) -> list[DocSpan]:
    """Overlapping parts of at most `max_length`, `doc_stride` apart."""
    spans: list[DocSpan] = []
    start = 0
    while start < num_pieces:
        length = min(num_pieces - start, max_length)
        spans.append(DocSpan(start, length))
        if start + length == num_pieces:
            break
        start += min(length, doc_stride)
    return spans


def find_max_context(spans: Sequence[DocSpan], num_pieces: int) -> list[int]:
    """For each piece, the number of the span where most is around it.

    That is, as in the original, where the lesser of what is left and right of
    it is greatest; a hundredth of the span's length decides between equals,
    then the earlier span.
    """
    best_score = [-1.0] * num_pieces
    best_span = [0] * num_pieces
    for number, (start, length) in enumerate(spans):
        for left in range(length):
            score = min(left, length - 1 - left) + 0.01 * length
            if score > best_score[start + left]:
                best_score[start + left] = score
                best_span[start + left] = number
    return best_span


class PackedWindow(NamedTuple):
    """What BERT reads of a text or a pair at once, not yet padded.

    Attributes:
        tokens: [CLS] A [SEP] (B [SEP]).
        segment_ids: 0 for [CLS] A [SEP], 1 for B [SEP].
        owned: the tokens that have more around them here than in any other
            window. Those of all windows in order are the whole input.
    """

    tokens: list[str]
    segment_ids: list[int]
    owned: slice


class PackedWindows(NamedTuple):
    """A text or a pair in one window, or in several that overlap.

    Attributes:
        windows: at least one.
        num_cut: tokens that are in none of them.
    """

    windows: list[PackedWindow]
    num_cut: int


def pack_windows(
    tokens_a: Sequence[str],
    tokens_b: Sequence[str],
    max_seq_length: int,
    doc_stride: int | None = None,
) -> PackedWindows:
    """Packs a text or a pair into windows of at most `max_seq_length`.

    Of a pair that is too long for one window, the longer text is cut into
    parts (of two equally long ones B), and the other one is in each window.
    That one gets half of the room at most; what is over is cut off its end.

    Args:
        tokens_a: the text, or the first of a pair.
        tokens_b: the second one; empty for a single text.
        max_seq_length: the most tokens of a window.
        doc_stride: how far apart windows start, in tokens of the text. They
            leave no gap where they hold less than that. None stands for one
            window with what fits, as `truncate_and_pack` cuts it.

    Raises:
        InputError: `max_seq_length` leaves no room for the texts.
    """
    whole = pack_tokens(tokens_a, tokens_b)
    if doc_stride is None:
        packed = truncate_and_pack(tokens_a, tokens_b, max_seq_length)
        used = len(packed.tokens)
        window = PackedWindow(*packed, slice(0, used))
        return PackedWindows([window], len(whole.tokens) - used)
    if len(whole.tokens) <= max_seq_length:
        window = PackedWindow(*whole, slice(0, len(whole.tokens)))
        return PackedWindows([window], 0)

    least = 5 if tokens_b else 3
    if max_seq_length < least:
        raise InputError(
            f"`max_seq_length` must be at least {least} with `doc_stride`: "
            "[CLS], [SEP] and one token of each text take that much. "
            f"Received: max_seq_length={max_seq_length}"
        )
    room = max_seq_length - (3 if tokens_b else 2)
    cuts_a = len(tokens_a) > len(tokens_b)
    text, other = (tokens_a, tokens_b) if cuts_a else (tokens_b, tokens_a)
    kept = other[: room // 2]
    spans = split_document(len(text), room - len(kept), doc_stride)
    # In order: where a later window is best, no earlier one is further on.
    best = find_max_context(spans, len(text))
    front = 1 if cuts_a else len(kept) + 2
    windows = []
    for number, (start, length) in enumerate(spans):
        part = text[start : start + length]
        packed = pack_tokens(part, kept) if cuts_a else pack_tokens(kept, part)
        # What is in every window goes with the end of the text next to it.
        first, stop = 0, len(packed.tokens)
        if number > 0:
            first = front + bisect_left(best, number) - start
        if number < len(spans) - 1:
            stop = front + bisect_right(best, number) - start
        windows.append(PackedWindow(*packed, slice(first, stop)))
    return PackedWindows(windows, len(other) - len(kept))


def require_stride(doc_stride: int | None, max_seq_length: int) -> None:
    """Raises `InputError` unless windows of a text overlap or touch."""
    room = max_seq_length - 2
    if doc_stride is not None and not 1 <= doc_stride <= room:
        raise InputError(
            f"`--doc_stride` must be at least 1 and at most {room}, which is "
            f"what a window of --max_seq_length={max_seq_length} holds beside "
            f"[CLS] and [SEP]. Received: --doc_stride={doc_stride}"
        )


def pad_to_length(values: Sequence[Any], length: int, padding: Any = 0) -> list:
    """The values, followed by `padding` until there are `length` of them.

    Raises:
        ValueError: there are more than `length` values already.
    """
    if len(values) > length:
        raise ValueError(
            f"Only sequences of at most {length} values can be padded to "
            f"{length}. Received: {len(values)} values"
        )
    return [*values, *[padding] * (length - len(values))]


def pad_inputs(
    input_ids: Sequence[int], segment_ids: Sequence[int], max_seq_length: int
) -> tuple[list[int], list[int], list[int]]:
    """input_ids, input_mask and segment_ids, each of `max_seq_length`."""
    return (
        pad_to_length(input_ids, max_seq_length, PADDING_ID),
        pad_to_length([1] * len(input_ids), max_seq_length),
        pad_to_length(segment_ids, max_seq_length),
    )


def padding_features(max_seq_length: int) -> InputFeatures:
    """What a `PaddingInputExample` becomes: all zeros, and not real."""
    zeros = [0] * max_seq_length
    return InputFeatures(zeros, zeros, zeros, label_id=0, is_real_example=False)
