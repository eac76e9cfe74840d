"""Turns pairs of texts into features: a row for each text."""

from bert_tf.data import packing
from bert_tf.data.packing import PackedTokens
from bert_tf.errors import count_of
from bert_tf.tasks.sentences.data import PairExample
from bert_tf.tokenization import Tokenizer


def pack_texts(
    example: PairExample, max_seq_length: int, tokenizer: Tokenizer
) -> tuple[list[PackedTokens], int]:
    """[CLS] text [SEP] for both texts.

    Returns:
        The rows, and the number of tokens that are in none of them, of both
        texts together.
    """
    rows, num_cut = [], 0
    for text in (example.text_a, example.text_b):
        pieces = tokenizer.tokenize(text)
        rows.append(packing.truncate_and_pack(pieces, (), max_seq_length))
        num_cut += len(pieces) + 2 - len(rows[-1].tokens)
    return rows, num_cut


def describe_example(
    example: PairExample,
    label: str,
    max_seq_length: int,
    tokenizer: Tokenizer,
) -> str:
    """An example and the tokens of its texts, for the log."""
    rows, cut = pack_texts(example, max_seq_length, tokenizer)
    names = ("text_a", "text_b")
    lines = [
        f"guid: {example.guid}",
        *(f"{n}: {' '.join(row.tokens)}" for n, row in zip(names, rows)),
        f"lengths: {', '.join(str(len(row.tokens)) for row in rows)} of "
        f"max_seq_length={max_seq_length}"
        + (f"; {count_of(cut, 'token')} cut off" if cut else ""),
        f"label: {label}",
    ]
    return "\n".join(lines)
