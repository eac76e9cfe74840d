"""From word pieces to the rows of numbers that BERT reads.

Truncates a text or a pair to a length, or splits it into windows; adds [CLS],
[SEP], segment ids and padding.
"""

import dataclasses
import logging
import random
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import Any, NamedTuple

from bert_tf.errors import InputError, count_of
from bert_tf.tokenization import Tokenizer

_LOGGER = logging.getLogger(__name__)

# The original pads with this id whatever the vocabulary calls it.
PADDING_ID = 0

ENCODER_INPUTS = ("input_ids", "input_mask", "segment_ids")
"""The inputs of every model, and the features of records that they are in."""


@dataclasses.dataclass(frozen=True, slots=True)
class InputFeatures:
    """One example as numbers.

    Attributes:
        input_ids: ids of [CLS] A [SEP] (B [SEP]) and padding, S of them.
        input_mask: 1 for each token, 0 for padding.
        segment_ids: 0 for [CLS] A [SEP], 1 for B [SEP], 0 for padding.
        label_id: index of the label in the task's list of labels; of other
            targets what a record has for the label.
        is_real_example: False if it only fills up a batch.
        num_cut: number of truncated tokens; of several windows, the first one
            has that of the whole example.
    """

    input_ids: list[int]
    input_mask: list[int]
    segment_ids: list[int]
    label_id: int | float | list[int] = 0
    is_real_example: bool = True
    num_cut: int = 0


class PaddingInputExample:
    """Takes the place of an example, so that the last batch is full.

    A TPU needs batches of one size. Dropping the last examples would change
    the metrics.
    """


class PackedTokens(NamedTuple):
    """Tokens as BERT reads them, not yet padded."""

    tokens: list[str]
    segment_ids: list[int]


def truncate_seq_pair(
    tokens_a: Sequence[str], tokens_b: Sequence[str], max_length: int
) -> tuple[list[str], list[str]]:
    """Truncates a pair at the ends until it fits: the rule of fine-tuning.

    The longer text loses its last token; of two equally long ones B does. (The
    rule of pretraining data is `truncate_at_random_ends`.)
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
    """Truncates a pair at random ends until it fits: the rule of pretraining.

    The longer text loses a token, of two equally long ones B does; at its start
    or its end with equal probability, to avoid a bias.

    Args:
        length_a: tokens of A.
        length_b: tokens of B.
        max_length: of both together.
        rng: used once for each token that is removed.

    Returns:
        The parts of A and B that are kept.
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
    """[CLS] A [SEP] B [SEP], or [CLS] A [SEP] if there is no B."""
    tokens = ["[CLS]", *tokens_a, "[SEP]"]
    segment_ids = [0] * len(tokens)
    if tokens_b:
        tokens += [*tokens_b, "[SEP]"]
        segment_ids += [1] * (len(tokens_b) + 1)
    return PackedTokens(tokens, segment_ids)


def truncate_and_pack(
    tokens_a: Sequence[str], tokens_b: Sequence[str], max_seq_length: int
) -> PackedTokens:
    """Truncates to `max_seq_length` as fine-tuning does, and packs.

    An empty `tokens_b` means a single sentence, even if there was a second text
    that has no tokens.

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
    """Part of a document: its first piece, and its number of pieces."""

    start: int
    length: int


def split_document(
    num_pieces: int, max_length: int, doc_stride: int
) -> list[DocSpan]:
    """Overlapping spans of at most `max_length`, `doc_stride` apart."""
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
    """For each piece, the number of the span in which it has most context.

    As in the original, this is the span with the greatest minimum of left and
    right context. A hundredth of the span's length decides between equals,
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
    """The part of a text or a pair that BERT reads at once, not yet padded.

    Attributes:
        tokens: [CLS] A [SEP] (B [SEP]).
        segment_ids: 0 for [CLS] A [SEP], 1 for B [SEP].
        owned: the tokens with more context here than in any other window. Those
            of all windows in order are the whole input.
    """

    tokens: list[str]
    segment_ids: list[int]
    owned: slice


class PackedWindows(NamedTuple):
    """A text or a pair in one window, or in several that overlap.

    Attributes:
        windows: at least one.
        num_cut: number of tokens that are in none of them.
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

    If a pair is too long for one window, the longer text (of two equally long
    ones B) is split, and the other one is repeated in each window. That one is
    truncated to half of the room.

    Args:
        tokens_a: the text, or the first of a pair.
        tokens_b: the second one; empty for a single text.
        max_seq_length: the maximum number of tokens in a window.
        doc_stride: distance of the windows' starts, in tokens of the text;
            smaller where windows would leave a gap. None for a single window,
            truncated as by `truncate_and_pack`.

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
    # Ascending, so that the tokens owned by each window are contiguous.
    best = find_max_context(spans, len(text))
    front = 1 if cuts_a else len(kept) + 2
    windows = []
    for number, (start, length) in enumerate(spans):
        part = text[start : start + length]
        packed = pack_tokens(part, kept) if cuts_a else pack_tokens(kept, part)
        # Tokens of every window are owned with the adjacent end of the text.
        first, stop = 0, len(packed.tokens)
        if number > 0:
            first = front + bisect_left(best, number) - start
        if number < len(spans) - 1:
            stop = front + bisect_right(best, number) - start
        windows.append(PackedWindow(*packed, slice(first, stop)))
    return PackedWindows(windows, len(other) - len(kept))


def require_stride(doc_stride: int | None, max_seq_length: int) -> None:
    """Raises `InputError` if windows of a text would leave a gap."""
    room = max_seq_length - 2
    if doc_stride is not None and not 1 <= doc_stride <= room:
        raise InputError(
            f"`--doc_stride` must be at least 1 and at most {room}, which is "
            f"what a window of --max_seq_length={max_seq_length} holds beside "
            f"[CLS] and [SEP]. Received: --doc_stride={doc_stride}"
        )


def pad_to_length(values: Sequence[Any], length: int, padding: Any = 0) -> list:
    """The values, followed by `padding` up to `length`.

    Raises:
        ValueError: there are more than `length` values.
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


def stacked_inputs(
    rows: Sequence[PackedTokens], max_seq_length: int, tokenizer: Tokenizer
) -> dict[str, list[int]]:
    """The `ENCODER_INPUTS` [N x S] of N rows, one after the other."""
    values: dict[str, list[int]] = {name: [] for name in ENCODER_INPUTS}
    for row in rows:
        ids = tokenizer.convert_tokens_to_ids(row.tokens)
        padded = pad_inputs(ids, row.segment_ids, max_seq_length)
        for name, numbers in zip(ENCODER_INPUTS, padded, strict=True):
            values[name] += numbers
    return values


def padding_features(max_seq_length: int) -> InputFeatures:
    """The features of a `PaddingInputExample`: all zeros, and not real."""
    zeros = [0] * max_seq_length
    return InputFeatures(zeros, zeros, zeros, label_id=0, is_real_example=False)


class Truncation:
    """Counts truncated examples and word pieces, for the log."""

    def __init__(self) -> None:
        self.num_examples = 0
        self.num_cut_examples = 0
        self.num_cut = 0

    def add(self, num_cut: int) -> None:
        """Counts one example, given its number of truncated word pieces."""
        self.num_examples += 1
        self.num_cut_examples += num_cut > 0
        self.num_cut += num_cut

    def log(self, max_seq_length: int, advice: str) -> None:
        """Logs one line, a warning with advice if anything was truncated."""
        if not self.num_cut:
            _LOGGER.info(
                "Nothing was cut off: 0 of %d examples, 0 word pieces.",
                self.num_examples,
            )
            return
        _LOGGER.warning(
            "%d of %d examples are longer than max_seq_length=%d: %s cut off. "
            "%s",
            self.num_cut_examples,
            self.num_examples,
            max_seq_length,
            count_of(self.num_cut, "word piece"),
            advice,
        )
