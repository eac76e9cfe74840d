"""The rules of `BasicTokenizer` for each character, as tables of numbers.

With them, programs that cannot call Python, such as a TensorFlow graph, can do
what `BasicTokenizer` does. The tables are made by applying it to every code
point, so they have the Unicode version of the running Python
(`unicodedata.unidata_version`).
"""

import functools
import re
import sys
import unicodedata
from typing import NamedTuple

import numpy as np

from bert_tf.tokenization import (
    CJK_RANGES,
    SEPARATORS,
    BasicTokenizer,
    is_dropped,
    is_punctuation,
)

# A rule is an int32: these flags, and a number in the bits above them.
SINGLE = 1 << 0  # Its replacement is a token of its own.
ENDS_WORD = 1 << 1  # Neither neighbour belongs to its word.
MANY = 1 << 2  # It is replaced by more than one character.
GONE = 1 << 3  # It is removed.
ACCENT = 1 << 4  # It is removed, but belongs to the character before it.
CASED = 1 << 5  # For the final sigma: a letter that has a case,
SKIPPED = 1 << 6  # and characters allowed between such a letter and the sigma.
MOVES = 1 << 7  # Its replacement has marks that are sorted among others.
STOPS = 1 << 8  # It is removed, but no mark is sorted across it.
FLAG_BITS = 9
LENGTH_BITS = 5  # The lower bits of the number, if `MANY`.
BLOCK_BITS = 7
# Added to code points in `many`, where there are no flags, for `SINGLE`.
SINGLE_CODE = 1 << 21

SPACE = ord(" ")
SIGMA = ord("Σ")
FINAL_SIGMA = ord("ς")

# Unicode categories that no rule changes.
_UNTOUCHED = ("Cn", "Co", "Cs")
_SEPARATOR = re.compile(f"[{SEPARATORS}]")


class CharacterRules(NamedTuple):
    """The rule of each code point, in blocks of 128 that may be shared.

    The rule of `code` is `rules[blocks[code >> 7] + (code & 127)]`. With
    `number = rule >> 9`, a code point is

    - removed, if the rule has the flag `GONE`;
    - replaced by `many[number >> 5:][:number & 31]`, if it has the flag `MANY`;
    - replaced by the code point `code + number` otherwise; separators of words
      become a space.

    Attributes:
        blocks: int32 [8704], the start of each block of 128 code points.
        rules: int32 [128 times the number of different blocks].
        many: int32, code points, plus `SINGLE_CODE` if they are tokens.
        marks: int32, the marks that are sorted, as sorted code points.
        mark_classes: int32, their canonical combining classes.
    """

    blocks: np.ndarray
    rules: np.ndarray
    many: np.ndarray
    marks: np.ndarray
    mark_classes: np.ndarray


@functools.cache
def character_rules(do_lower_case: bool, strips: bool) -> CharacterRules:
    """Applies a `BasicTokenizer` to every code point; takes half a second.

    Args:
        do_lower_case: whether it lower-cases.
        strips: whether it strips accents.
    """
    normalize = BasicTokenizer(do_lower_case, strips).normalize
    rules = np.zeros(sys.maxunicode + 1, np.int32)
    many: list[int] = []
    marks: dict[str, int] = {}
    for code, char in enumerate(map(chr, range(len(rules)))):
        if unicodedata.category(char) in _UNTOUCHED:
            continue
        became = " " if _SEPARATOR.match(char) else normalize(char)
        number = 0
        if len(became) == 1:
            number = ord(became) - code
        elif became:
            number = len(many) << LENGTH_BITS | len(became)
            many += [ord(c) + SINGLE_CODE * is_punctuation(c) for c in became]
        flags = _flags(char, became, do_lower_case, strips)
        rules[code] = number << FLAG_BITS | flags
        if strips:
            marks.update((c, unicodedata.combining(c)) for c in became)
    for first, last in CJK_RANGES:
        rules[first : last + 1] |= SINGLE | ENDS_WORD
    moving = sorted(mark for mark in marks if marks[mark])
    blocks, rules = _share_blocks(rules)
    return CharacterRules(
        blocks,
        rules,
        np.array(many, np.int32),
        np.array(list(map(ord, moving)), np.int32),
        np.array([marks[mark] for mark in moving], np.int32),
    )


def _flags(char, became, do_lower_case, strips):
    """The flags of a character's rule, except those of CJK characters."""
    if became == " ":
        return SINGLE | ENDS_WORD
    flags = 0
    if not became:
        flags |= GONE if is_dropped(char) else GONE | ACCENT
    elif len(became) > 1:
        flags |= MANY
    elif is_punctuation(became):
        flags |= SINGLE
    if do_lower_case:
        # The form of a lower-cased sigma tells the kind of its neighbour.
        if is_dropped(char):
            flags |= SKIPPED
        elif (char + "Σ").lower().endswith("ς"):
            flags |= CASED
        elif ("A" + char + "Σ").lower().endswith("ς"):
            flags |= SKIPPED
    if not strips:
        return flags
    decomposed = unicodedata.normalize("NFD", char)
    if any(map(unicodedata.combining, became)):
        flags |= MOVES
    if flags & ACCENT and not all(map(unicodedata.combining, decomposed)):
        flags |= STOPS
    return flags


def _share_blocks(values):
    """Keeps one copy of equal blocks; returns their starts, and the blocks."""
    size = 1 << BLOCK_BITS
    distinct, index = np.unique(
        values.reshape(-1, size), axis=0, return_inverse=True
    )
    starts = index.reshape(-1).astype(np.int32) * size
    return starts, distinct.reshape(-1)
