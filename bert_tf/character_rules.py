"""What the tokenizer does with each character, as tables of numbers.

Comes in: the rules of `tokenization.BasicTokenizer`. Goes out: `CharacterRules`,
for programs that cannot call Python: the graph of `graph_tokenizer.py` does
with them what `BasicTokenizer` does with a `str`. TensorFlow stays outside.

The tables are made by asking Python about every code point, so they are of the
Unicode version of the Python that runs (`unicodedata.unidata_version`).
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
    is_accent,
    is_dropped,
    is_punctuation,
)

# A rule is an int32: a number in the upper bits, and these flags.
PUNCTUATION = 1 << 0  # What it becomes is a token of its own.
MANY = 1 << 1  # It becomes other than one character: see `CharacterRules`.
GONE = 1 << 2  # It becomes nothing.
ACCENT = 1 << 3  # It is gone, but belongs to the character before it.
SEPARATES = 1 << 4  # It is gone, and ends a word.
ALONE = 1 << 5  # It is a word of its own.
CASED = 1 << 6  # For the final sigma: a letter that has a case,
SKIPPED = 1 << 7  # and what may stand between such a letter and the sigma.
MOVES = 1 << 8  # It becomes a mark that has its place among others.
STOPS = 1 << 9  # It is gone, but marks do not move across it.
FLAG_BITS = 10
LENGTH_BITS = 5  # The lower bits of the number, if `MANY`.
BLOCK_BITS = 7

SIGMA = ord("Σ")
FINAL_SIGMA = ord("ς")

# Code points of these categories are left as they are by every rule.
_UNTOUCHED = ("Cn", "Co", "Cs")
_SEPARATOR = re.compile(f"[{SEPARATORS}]")


class CharacterRules(NamedTuple):
    """What becomes of each code point, in blocks of 128 that may be shared.

    The rule of `code` is `rules[blocks[code >> 7] + (code & 127)]`. With
    `number = rule >> 10`, a code point becomes

    - nothing, if the rule has the flag `GONE`;
    - `many[number >> 5:][:number & 31]`, if it has the flag `MANY`;
    - the code point `code + number` otherwise.

    Attributes:
        blocks: int32 [8704], where the block of 128 code points starts.
        rules: int32 [128 times the number of different blocks].
        many: int32, code points in a row; those that are punctuation have
            1 << 21 added.
        marks: int32 [number of marks that move], sorted code points.
        mark_classes: int32, their canonical combining classes.
    """

    blocks: np.ndarray
    rules: np.ndarray
    many: np.ndarray
    marks: np.ndarray
    mark_classes: np.ndarray


PUNCTUATION_IN_MANY = 1 << 21


@functools.cache
def character_rules(do_lower_case: bool) -> CharacterRules:
    """Asks a `BasicTokenizer` about every code point; takes half a second."""
    normalize = BasicTokenizer(do_lower_case).normalize
    rules = np.zeros(sys.maxunicode + 1, np.int32)
    many: list[int] = []
    marks = {}
    for code, char in enumerate(map(chr, range(len(rules)))):
        if unicodedata.category(char) in _UNTOUCHED:
            continue
        became = "" if _SEPARATOR.match(char) else normalize(char)
        flags = _flags(char, became, do_lower_case)
        if len(became) == 1:
            number = ord(became) - code
        elif became:
            number = len(many) << LENGTH_BITS | len(became)
            many += [
                ord(c) + PUNCTUATION_IN_MANY * is_punctuation(c) for c in became
            ]
        else:
            number = 0
        rules[code] = number << FLAG_BITS | flags
        if do_lower_case:
            classes = {ord(c): unicodedata.combining(c) for c in became}
            marks.update({c: n for c, n in classes.items() if n})
    for first, last in CJK_RANGES:
        rules[first : last + 1] |= ALONE
    blocks, rules = _share_blocks(rules)
    return CharacterRules(
        blocks,
        rules,
        np.array(many, np.int32),
        np.array(sorted(marks), np.int32),
        np.array([marks[code] for code in sorted(marks)], np.int32),
    )


def _flags(char, became, do_lower_case):
    """The flags of a character's rule, but for `ALONE`."""
    flags = 0
    if _SEPARATOR.match(char):
        return GONE | SEPARATES
    if not became:
        flags |= GONE
        if not is_dropped(char):
            flags |= ACCENT
    elif len(became) > 1:
        flags |= MANY
    elif is_punctuation(became):
        flags |= PUNCTUATION
    if not do_lower_case:
        return flags
    # What `str.lower` makes of a sigma shows what it thinks of its neighbour.
    if is_dropped(char):
        flags |= SKIPPED
    elif (char + "Σ").lower().endswith("ς"):
        flags |= CASED
    elif ("A" + char + "Σ").lower().endswith("ς"):
        flags |= SKIPPED
    if any(map(unicodedata.combining, became)):
        flags |= MOVES
    if is_accent(char) and not unicodedata.combining(char):
        flags |= STOPS
    return flags


def _share_blocks(values):
    """Keeps one copy of equal blocks; returns where each starts, and them."""
    size = 1 << BLOCK_BITS
    distinct, index = np.unique(
        values.reshape(-1, size), axis=0, return_inverse=True
    )
    starts = index.reshape(-1).astype(np.int32) * size
    return starts, distinct.reshape(-1)
