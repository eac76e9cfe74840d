"""Turns examples of multiple choice into features: a row for each choice."""

from collections.abc import Mapping, Sequence

from bert_tf.data import packing
from bert_tf.data.packing import PackedTokens
from bert_tf.errors import InputError, count_of
from bert_tf.tasks.choices.data import ChoiceExample
from bert_tf.tokenization import Tokenizer


def pack_choices(
    example: ChoiceExample, max_seq_length: int, tokenizer: Tokenizer
) -> tuple[list[PackedTokens], int]:
    """[CLS] context [SEP] question choice [SEP] for each choice.

    The longer side of each pair is truncated at its end.

    Returns:
        The rows, and the number of tokens that are in none of them, of all
        choices together.
    """
    context = tokenizer.tokenize(example.context)
    rows, num_cut = [], 0
    for text in example.second_texts():
        pieces = tokenizer.tokenize(text)
        rows.append(packing.truncate_and_pack(context, pieces, max_seq_length))
        whole = packing.pack_tokens(context, pieces)
        num_cut += len(whole.tokens) - len(rows[-1].tokens)
    return rows, num_cut


def choice_values(
    rows: Sequence[PackedTokens],
    label: int,
    max_seq_length: int,
    tokenizer: Tokenizer,
) -> Mapping[str, list[int]]:
    """The values of a record: `ENCODER_INPUTS` [N x S] and `label_ids`."""
    values = packing.stacked_inputs(rows, max_seq_length, tokenizer)
    return {**values, "label_ids": [label]}


def require_token_types(type_vocab_size: int, config: str) -> None:
    """Raises `InputError` unless the model tells context and choice apart.

    Args:
        type_vocab_size: of its config.
        config: the config, in words.
    """
    if type_vocab_size < 2:
        raise InputError(
            "Multiple choice needs a model with two token types. "
            f"`type_vocab_size` of {config} is {type_vocab_size}"
        )


def describe_example(
    example: ChoiceExample, max_seq_length: int, tokenizer: Tokenizer
) -> str:
    """An example and the tokens of its choices, for the log."""
    rows, cut = pack_choices(example, max_seq_length, tokenizer)
    lines = [
        f"guid: {example.guid}",
        *(
            f"choice {number}: {' '.join(row.tokens)}"
            for number, row in enumerate(rows)
        ),
        f"lengths: {', '.join(str(len(row.tokens)) for row in rows)} of "
        f"max_seq_length={max_seq_length}"
        + (f"; {count_of(cut, 'token')} cut off" if cut else ""),
        f"label: choice {example.label}",
    ]
    return "\n".join(lines)
