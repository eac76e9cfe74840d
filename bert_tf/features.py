"""From word pieces to the rows of numbers that BERT reads.

Comes in: one or two lists of word pieces. Goes out: `InputFeatures`, or their
parts for tasks with features of their own. Texts and labels stay outside, in
the task modules; files and TensorFlow in `records.py`.
"""

import dataclasses
import random
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
    """

    input_ids: list[int]
    input_mask: list[int]
    segment_ids: list[int]
    label_id: int = 0
    is_real_example: bool = True


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


def pad_examples(examples: Sequence[Any], batch_size: int) -> list[Any]:
    """The examples, filled up to a multiple of the batch size."""
    missing = -len(examples) % batch_size
    return [*examples, *(PaddingInputExample() for _ in range(missing))]
