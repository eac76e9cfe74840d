"""Turns examples into features: tokens, windows, truncation."""

import dataclasses
from collections.abc import Iterable, Iterator, Sequence

from bert_tf.data.packing import (
    InputFeatures,
    PackedWindows,
    PaddingInputExample,
    pack_windows,
    pad_inputs,
    padding_features,
)
from bert_tf.errors import InputError, count_of, some_of
from bert_tf.tasks.classification.data import InputExample
from bert_tf.tasks.classification.target import Target
from bert_tf.tasks.classification.targets import OneLabel
from bert_tf.tokenization import Tokenizer, require_special_tokens


def pack_example(
    example: InputExample,
    max_seq_length: int,
    tokenizer: Tokenizer,
    doc_stride: int | None = None,
) -> PackedWindows:
    """Tokenizes an example, and truncates it or splits it into windows."""
    tokens_a = tokenizer.tokenize(example.text_a)
    tokens_b = tokenizer.tokenize(example.text_b) if example.text_b else []
    return pack_windows(tokens_a, tokens_b, max_seq_length, doc_stride)


def convert_single_example(
    example: InputExample | PaddingInputExample,
    labels: Sequence[str],
    max_seq_length: int,
    tokenizer: Tokenizer,
) -> InputFeatures:
    """The features of one example, padded to `max_seq_length`.

    Raises:
        InputError: its label is none of `labels`.
    """
    target = OneLabel(tuple(labels))
    return convert_to_windows(example, target, max_seq_length, tokenizer)[0]


def convert_to_windows(
    example: InputExample | PaddingInputExample,
    target: Target,
    max_seq_length: int,
    tokenizer: Tokenizer,
    doc_stride: int | None = None,
) -> list[InputFeatures]:
    """The features of each window of one example, with the example's label.

    Args:
        example: a text or a pair, or a placeholder that pads a batch.
        target: a `Target`, with its labels.
        max_seq_length: S of the features.
        tokenizer: a `Tokenizer`.
        doc_stride: distance between windows, in word pieces; None truncates
            long texts.

    Raises:
        InputError: its label is none of the target's.
    """
    if isinstance(example, PaddingInputExample):
        return [padding_example(target, max_seq_length)]
    try:
        label = target.encode(example.label)
    except ValueError as error:
        raise InputError(
            f"The label of {example.guid} must be one of "
            f"{some_of(target.labels)}. Received: label={example.label!r}"
        ) from error
    packed = pack_example(example, max_seq_length, tokenizer, doc_stride)
    converted = []
    for number, window in enumerate(packed.windows):
        input_ids = tokenizer.convert_tokens_to_ids(window.tokens)
        converted.append(
            InputFeatures(
                *pad_inputs(input_ids, window.segment_ids, max_seq_length),
                label_id=label,
                num_cut=0 if number else packed.num_cut,
            )
        )
    return converted


def padding_example(target: Target, max_seq_length: int) -> InputFeatures:
    """The features of a placeholder, with the blank label of a target."""
    return dataclasses.replace(
        padding_features(max_seq_length), label_id=target.encode(target.blank)
    )


def convert_examples(
    examples: Sequence[InputExample | PaddingInputExample],
    labels: Sequence[str],
    max_seq_length: int,
    tokenizer: Tokenizer,
) -> Iterator[InputFeatures]:
    """Yields the features of each example.

    Args:
        examples: of a `Dataset`, possibly padded.
        labels: in the order of their ids.
        max_seq_length: S of the features.
        tokenizer: a `Tokenizer`.

    Raises:
        InputError: at once, if the vocabulary lacks [CLS], [SEP] or [UNK].
    """
    windows = convert_examples_to_windows(
        examples, OneLabel(tuple(labels)), max_seq_length, tokenizer
    )
    return (only for (only,) in windows)


def convert_examples_to_windows(
    examples: Sequence[InputExample | PaddingInputExample],
    target: Target,
    max_seq_length: int,
    tokenizer: Tokenizer,
    doc_stride: int | None = None,
) -> Iterator[list[InputFeatures]]:
    """Yields the windows of each example, as `convert_to_windows`.

    Raises:
        InputError: at once, if the vocabulary lacks [CLS], [SEP] or [UNK].
    """
    require_special_tokens(tokenizer)
    return (
        convert_to_windows(
            example, target, max_seq_length, tokenizer, doc_stride
        )
        for example in examples
    )


def require_token_types(
    type_vocab_size: int, examples: Iterable[InputExample]
) -> None:
    """Raises InputError for a pair of texts if there is one token type."""
    if type_vocab_size > 1:
        return
    for example in examples:
        if example.text_b:
            raise InputError(
                "For pairs of texts the model must have two token types. "
                f"`type_vocab_size` of its config is {type_vocab_size}, and "
                f"{example.guid} is a pair"
            )


def describe_example(
    example: InputExample,
    target: Target,
    max_seq_length: int,
    tokenizer: Tokenizer,
    doc_stride: int | None = None,
) -> str:
    """An example and its features, for the log."""
    windows, cut = pack_example(example, max_seq_length, tokenizer, doc_stride)
    first = windows[0]
    features = convert_to_windows(
        example, target, max_seq_length, tokenizer, doc_stride
    )[0]
    used = len(first.tokens)
    ids = " ".join(map(str, features.input_ids[:used]))
    lines = [
        f"guid: {example.guid}",
        f"text_a: {_on_one_line(example.text_a)}",
        f"text_b: {_on_one_line(example.text_b)}" if example.text_b else "",
        f"windows: {len(windows)}, doc_stride={doc_stride}; of the first one:"
        if len(windows) > 1
        else "",
        f"tokens: {' '.join(first.tokens)}",
        f"input_ids: {ids}",
        f"segment_ids: {first.segment_ids.count(0)} times 0, "
        f"{first.segment_ids.count(1)} times 1",
        f"length: {used} of max_seq_length={max_seq_length}"
        + (f"; {count_of(cut, 'token')} cut off" if cut else ""),
        # Test sets have any label in its place, as the original has it.
        ""
        if example.guid.startswith("test")
        else f"label: {target.describe(example.label)}",
    ]
    return "\n".join(line for line in lines if line)


def _on_one_line(text: str) -> str:
    return "\\n".join(text.splitlines())


def truncation_advice(doc_stride: int | None) -> str:
    """What helps against truncated texts."""
    if doc_stride is None:
        return "A higher max_seq_length loses less, --doc_stride nothing."
    return "The shorter text of a pair has half of a window at most."
