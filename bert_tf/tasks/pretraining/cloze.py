"""Text with [MASK] in it, and copies of a text with one word piece masked.

Comes in: text, or its word pieces. Goes out: `Query`s, rows for BERT that each
ask for one piece. The model that answers is in `language_model.py`; masking for
training in `masking.py`.

A text that is longer than the model takes is not cut: each piece is asked for
in the window around it.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from bert_tf.data.packing import pack_tokens
from bert_tf.tokenization import FullTokenizer, Piece, Tokenizer

MASK = "[MASK]"


class Query(NamedTuple):
    """A row for BERT, and the place in it that is asked for.

    Attributes:
        tokens: [CLS] pieces [SEP].
        position: of the masked piece among them.
    """

    tokens: list[str]
    position: int


def tokenize(text: str, tokenizer: Tokenizer) -> list[str]:
    """The word pieces of a text in which each `[MASK]` stands for one piece.

    The tokenizer alone would make `[ mask ]` of it. What follows a [MASK]
    without a space begins a word: `play[MASK]` and `play [MASK]` are the same.
    """
    pieces = []
    for part in text.split(MASK):
        pieces += [*tokenizer.tokenize(part), MASK]
    return pieces[:-1]


def align(text: str, tokenizer: FullTokenizer) -> list[Piece]:
    """The pieces of `tokenize`, and where in the text each comes from."""
    pieces, start = [], 0
    for part in text.split(MASK):
        for token, first, last in tokenizer.tokenize_with_offsets(part):
            pieces.append(Piece(token, start + first, start + last))
        end = start + len(part) + len(MASK)
        pieces.append(Piece(MASK, start + len(part), end))
        start = end
    return pieces[:-1]


def ask_for_masks(pieces: Sequence[str], max_seq_length: int) -> list[Query]:
    """A query for each [MASK], with all the others left masked."""
    return [
        _query(pieces, place, max_seq_length)
        for place, piece in enumerate(pieces)
        if piece == MASK
    ]


def ask_for_each(pieces: Sequence[str], max_seq_length: int) -> Iterator[Query]:
    """A query for each piece but the [MASK]s, with it alone masked."""
    for place, piece in enumerate(pieces):
        if piece != MASK:
            yield _query(pieces, place, max_seq_length)


def _query(pieces: Sequence[str], place: int, max_seq_length: int) -> Query:
    """Masks a place, in the window around it, as far as there is room."""
    room = max_seq_length - 2
    start = max(0, min(place - room // 2, len(pieces) - room))
    position = place - start + 1
    tokens = pack_tokens(pieces[start : start + room]).tokens
    tokens[position] = MASK
    return Query(tokens, position)
