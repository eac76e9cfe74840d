"""Masks one word piece at a time, for a model to guess from its context.

Texts contain [MASK], or each of their pieces is masked in turn. If a text is
longer than the model's inputs, a piece is guessed from the window around it.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from bert_tf.data.packing import pack_tokens
from bert_tf.tokenization import FullTokenizer, Piece, Tokenizer

MASK = "[MASK]"


class MaskedRow(NamedTuple):
    """An input of BERT and the position to predict.

    Attributes:
        tokens: [CLS] pieces [SEP].
        position: the place of the masked piece among them.
    """

    tokens: list[str]
    position: int


def tokenize(text: str, tokenizer: Tokenizer) -> list[str]:
    """The word pieces of a text; each `[MASK]` in it stands for one piece.

    The tokenizer alone would split it into `[ mask ]`. Spaces around it make no
    difference: `play[MASK]` and `play [MASK]` are the same.
    """
    pieces = []
    for part in text.split(MASK):
        pieces += [*tokenizer.tokenize(part), MASK]
    return pieces[:-1]


def align(text: str, tokenizer: FullTokenizer) -> list[Piece]:
    """The pieces of `tokenize` with their places in the text."""
    pieces, start = [], 0
    for part in text.split(MASK):
        for token, first, last in tokenizer.tokenize_with_offsets(part):
            pieces.append(Piece(token, start + first, start + last))
        end = start + len(part) + len(MASK)
        pieces.append(Piece(MASK, start + len(part), end))
        start = end
    return pieces[:-1]


def rows_of_masks(
    pieces: Sequence[str], max_seq_length: int
) -> list[MaskedRow]:
    """A row for each [MASK], with all others left masked."""
    return [
        _mask(pieces, place, max_seq_length)
        for place, piece in enumerate(pieces)
        if piece == MASK
    ]


def rows_of_pieces(
    pieces: Sequence[str], max_seq_length: int
) -> Iterator[MaskedRow]:
    """Yields a row for each piece but the [MASK]s, with that piece masked."""
    for place, piece in enumerate(pieces):
        if piece != MASK:
            yield _mask(pieces, place, max_seq_length)


def window_around(place: int, count: int, max_seq_length: int) -> slice:
    """The pieces around one of `count` that fit the model together."""
    room = max_seq_length - 2
    start = max(0, min(place - room // 2, count - room))
    return slice(start, start + room)


def _mask(pieces: Sequence[str], place: int, max_seq_length: int) -> MaskedRow:
    """Masks a piece in the window around it that fits the model."""
    window = window_around(place, len(pieces), max_seq_length)
    position = place - window.start + 1
    tokens = pack_tokens(pieces[window]).tokens
    tokens[position] = MASK
    return MaskedRow(tokens, position)
