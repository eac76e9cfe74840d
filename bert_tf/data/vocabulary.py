"""What goes into a vocabulary: learnt from a text, or added word by word.

Comes in: lines of text, a basic tokenizer, and a function that learns pieces;
or a vocabulary and words that it lacks. Goes out: the tokens of a `vocab.txt`
in their order, and how well they cover the text; or a place for each new word.
The learner itself, files and flags belong to the entry points `learn_vocab.py`
and `extend_vocab.py`; embeddings to the second of them.
"""

import collections
import dataclasses
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from bert_tf.errors import InputError
from bert_tf.tokenization import (
    BasicTokenizer,
    WordpieceTokenizer,
    convert_tokens_to_ids,
)

PADDING = "[PAD]"
UNKNOWN = "[UNK]"
# In the order that they have in the released vocabularies.
SPECIAL_TOKENS = (UNKNOWN, "[CLS]", "[SEP]", "[MASK]")
JOINER = "##"

# Of English text, so many tokens come to each word that is as frequent as the
# rarest of them; and how fast their number falls as they must be more frequent,
# both as logarithms. Where a search starts; its result depends on neither.
TOKENS_PER_WORD = 1.27
SLOPE = -0.6
# From this round on, each halves what is left to search.
ROUNDS_OF_GUESSING = 12

# So many wrong words are named in one message.
MOST_MISTAKES = 10

_UNUSED = re.compile(r"\[unused_?\d+\]$")

WordCounts = Mapping[str, int]


# ------------------------------------------------------------------- learning


def count_words(
    lines: Iterable[str], tokenizer: BasicTokenizer
) -> collections.Counter[str]:
    """How often each word comes; words are what `tokenizer` makes of lines."""
    counts: collections.Counter[str] = collections.Counter()
    for line in lines:
        counts.update(tokenizer.tokenize(line))
    return counts


def choose_characters(
    counts: WordCounts, min_frequency: int, most: int
) -> list[str]:
    """The characters that come at least so often, at most `most`, sorted."""
    occurrences: collections.Counter[str] = collections.Counter()
    for word, count in counts.items():
        for character in word:
            occurrences[character] += count
    frequent = [
        character
        for character, count in occurrences.items()
        if count >= min_frequency
    ]
    frequent.sort(key=lambda character: (-occurrences[character], character))
    return sorted(frequent[:most])


def choose_words(
    counts: WordCounts, characters: Iterable[str], most: int
) -> list[tuple[str, int]]:
    """The words that consist of such characters, the `most` frequent of them.

    Any other word is [UNK], whatever pieces there are. They are sorted by
    their count, equal ones by the alphabet, so that nothing depends on the
    order of the text.
    """
    known = set(characters)
    words = [item for item in counts.items() if known.issuperset(item[0])]
    words.sort(key=lambda item: (-item[1], item[0]))
    return words[:most]


def first_tokens(num_unused: int) -> list[str]:
    """[PAD], then the unused places, then the other special tokens.

    With 99 unused places [UNK] has the id 100, as in the released models.
    """
    unused = [f"[unused{number}]" for number in range(num_unused)]
    return [PADDING, *unused, *SPECIAL_TOKENS]


def character_tokens(
    characters: Iterable[str], tokenizer: BasicTokenizer
) -> list[str]:
    """Each character as a token, and as one that continues a word.

    The second is left out for those that never do: `tokenizer` makes a word of
    its own of each punctuation mark and of each CJK character.
    """
    begin = sorted(characters)
    continue_ = [
        JOINER + character
        for character in begin
        if tokenizer.tokenize("a" + character) == ["a" + character]
    ]
    return begin + continue_


def fit_size(
    learn: Callable[[int], list[str]],
    needed: Sequence[str],
    size: int,
    frequencies: Sequence[int],
    low: int,
) -> list[str]:
    """Exactly `size` tokens: those needed, and the best that can be learnt.

    How many a learner finds depends on how often a piece must occur. Taken is
    the largest number with which it finds enough. Of what is too many then,
    the rarest go, but never one that is needed.

    Args:
        learn: gives a vocabulary, the needed tokens in it, whose pieces occur
            at least so often as its argument says, the rarest last.
        needed: tokens that must be in.
        size: how many to return.
        frequencies: those of the words that pieces are learnt from, falling.
            `learn` is asked for none above the first.
        low: the least that it is asked for.

    Returns:
        The tokens, in the order in which `learn` gave them.

    Raises:
        InputError: there are not so many, or more are needed.
    """
    if len(needed) > size:
        raise InputError(
            f"`--vocab_size` must be at least {len(needed)}: so many places "
            "are taken by special tokens, unused places and single characters. "
            f"Received: --vocab_size={size}. A lower --max_characters or a "
            "higher --min_frequency takes fewer."
        )
    place = min(int(size / TOKENS_PER_WORD), len(frequencies) - 1)
    start = max(low, frequencies[place])
    tokens = _search(learn, size, low, frequencies[0], start)
    if len(tokens) < size:
        raise InputError(
            f"`--vocab_size` must be at most {len(tokens)} for this text: no "
            f"more pieces come {low} times in it. Received: "
            f"--vocab_size={size}. Give more text, or lower --min_frequency."
        )
    must, surplus = set(needed), len(tokens) - size
    kept = []
    for token in reversed(tokens):
        if surplus and token not in must:
            surplus -= 1
        else:
            kept.append(token)
    return kept[::-1]


def _search(
    learn: Callable[[int], list[str]],
    size: int,
    low: int,
    high: int,
    start: int,
) -> list[str]:
    """What `learn` gives for the largest number that makes it long enough.

    If there is none, what it gives for the lowest.
    """
    enough: list[str] | None = None
    too_few: list[str] = []
    tried: list[tuple[float, float]] = []
    threshold = start
    while low <= high:
        tokens = learn(threshold)
        if len(tokens) >= size:
            enough, low = tokens, threshold + 1
        else:
            too_few, high = tokens, threshold - 1
        tried.append((math.log(threshold), math.log(len(tokens))))
        if len(tried) < ROUNDS_OF_GUESSING:
            guess = _guess(tried, math.log(size))
        else:
            guess = math.log(low * max(high, 1)) / 2
        threshold = min(max(low, round(math.exp(guess))), high)
    return too_few if enough is None else enough


def _guess(tried: Sequence[tuple[float, float]], aim: float) -> float:
    """Where the line through the last two points comes down to `aim`."""
    x, y = tried[-1]
    slope = SLOPE
    if len(tried) > 1:
        before_x, before_y = tried[-2]
        slope = (y - before_y) / (x - before_x)
    # Near each other, points may lie on a line that leads far away.
    return x + (aim - y) / min(max(slope, 4 * SLOPE), SLOPE / 4)


@dataclasses.dataclass(frozen=True)
class Coverage:
    """How a vocabulary fits a text.

    Attributes:
        words: how many words the text has.
        distinct: how many different ones.
        unknown: how many of the words are [UNK].
        pieces: how many pieces the words have together, [UNK] among them.
    """

    words: int
    distinct: int
    unknown: int
    pieces: int

    def __str__(self) -> str:
        return (
            f"{self.words:,} words, {self.distinct:,} distinct; "
            f"{self.unknown / self.words:.4%} of the words are [UNK]; "
            f"{self.pieces / self.words:.3f} pieces per word"
        )


def measure(counts: WordCounts, tokens: Iterable[str]) -> Coverage:
    """Splits each word of a text into the pieces of a vocabulary."""
    vocab = {token: index for index, token in enumerate(tokens)}
    tokenizer = WordpieceTokenizer(vocab)
    unknown = pieces = 0
    for word, count in counts.items():
        split = tokenizer.split_word(word)
        pieces += count * len(split)
        unknown += count * (split == (UNKNOWN,))
    return Coverage(sum(counts.values()), len(counts), unknown, pieces)


# ------------------------------------------------------------------ extending


class NewWord(NamedTuple):
    """A word that is to become a token.

    Attributes:
        word: the token.
        id: its place in the vocabulary, and its row in the table.
        pieces: the ids of what it was split into before.
    """

    word: str
    id: int
    pieces: tuple[int, ...]


def plan_words(
    words: Sequence[str],
    vocab: Mapping[str, int],
    tokenizer: BasicTokenizer,
    num_rows: int,
    grow: bool,
) -> list[NewWord]:
    """Gives each word a place.

    Args:
        words: none of them a token yet.
        vocab: what `load_vocab` returns.
        tokenizer: that of the model; a word has to come out of it as it is.
        num_rows: how many tokens there are, as lines of the file.
        grow: place them after the last token, instead of in `[unusedN]`s.

    Raises:
        InputError: naming the words: one could never be met in a text, is there
            already or comes twice; or there are too few unused places.
    """
    _check_words(words, vocab, tokenizer)
    places = sorted(vocab[token] for token in vocab if _UNUSED.match(token))
    if grow:
        places = list(range(num_rows, num_rows + len(words)))
    elif len(places) < len(words):
        raise InputError(
            f"{len(words)} words need as many unused places, and the "
            f"vocabulary has {len(places)} ([unused0] and so on). Give fewer "
            "words, or let the embedding table grow: --grow=True"
        )
    pieces = WordpieceTokenizer(vocab)
    return [
        NewWord(
            word,
            place,
            tuple(convert_tokens_to_ids(vocab, pieces.split_word(word))),
        )
        for word, place in zip(words, places)
    ]


def _check_words(
    words: Sequence[str],
    vocab: Mapping[str, int],
    tokenizer: BasicTokenizer,
) -> None:
    mistakes = []
    seen = set()
    longest = WordpieceTokenizer(vocab).max_input_chars_per_word
    for word in words:
        became = tokenizer.tokenize(word)
        if became != [word]:
            parts = " ".join(map(repr, became)) or "nothing"
            mistakes.append(f"{word!r} becomes {parts}")
        elif word in vocab:
            mistakes.append(f"{word!r} is a token already, id {vocab[word]}")
        elif word in seen:
            mistakes.append(f"{word!r} is given twice")
        elif len(word) > longest:
            mistakes.append(
                f"{word[:20]!r}... has more than {longest} characters, and "
                "such words are always [UNK]"
            )
        seen.add(word)
    if mistakes:
        more = len(mistakes) - MOST_MISTAKES
        raise InputError(
            "Every word must be new, and one that the tokenizer (with "
            f"--do_lower_case={tokenizer.do_lower_case}) neither splits nor "
            "changes: a text could have no other. Received: "
            + "; ".join(mistakes[:MOST_MISTAKES])
            + (f"; and {more} more" if more > 0 else "")
        )


def place_words(content: bytes, new_words: Iterable[NewWord]) -> bytes:
    """A vocabulary file's content with the words in; other lines stay.

    Args:
        content: of the old file; its last line may lack the line end.
        new_words: in the order of their ids, where these are after the last.
    """
    lines = content.removesuffix(b"\n").split(b"\n")
    for word, place, _ in new_words:
        if place == len(lines):
            lines.append(b"")
        lines[place] = word.encode("utf-8")
    return b"\n".join(lines) + b"\n"
