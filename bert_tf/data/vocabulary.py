"""Makes vocabularies: learns one from a text, or adds words to one."""

import collections
import dataclasses
import logging
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
# In the order of the released vocabularies.
SPECIAL_TOKENS = (UNKNOWN, "[CLS]", "[SEP]", "[MASK]")
JOINER = "##"

# Where the search for a threshold starts; its result depends on neither. In
# English text a vocabulary has this many tokens per word that is as frequent as
# its rarest token, and the logarithm of its size falls with the logarithm of
# the threshold by this slope.
TOKENS_PER_WORD = 1.27
SLOPE = -0.6
# From this round on the search is binary.
ROUNDS_OF_GUESSING = 12

# An error lists at most this many wrong words.
MOST_MISTAKES = 10

_UNUSED = re.compile(r"\[unused_?\d+\]$")

_LOGGER = logging.getLogger(__name__)

WordCounts = Mapping[str, int]


# ------------------------------------------------------------------- learning


def count_words(
    lines: Iterable[str], tokenizer: BasicTokenizer
) -> collections.Counter[str]:
    """Counts the words that `tokenizer` finds in lines of text."""
    counts: collections.Counter[str] = collections.Counter()
    for line in lines:
        counts.update(tokenizer.tokenize(line))
    return counts


def choose_characters(
    counts: WordCounts, min_frequency: int, most: int
) -> list[str]:
    """The `most` frequent characters above a minimum frequency, sorted."""
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
    """The `most` frequent words that consist of the given characters.

    Any other word is [UNK] with every vocabulary. Words are sorted by their
    count and then alphabetically: the order of the text has no influence.
    """
    known = set(characters)
    words = [item for item in counts.items() if known.issuperset(item[0])]
    words.sort(key=lambda item: (-item[1], item[0]))
    return words[:most]


def first_tokens(num_unused: int) -> list[str]:
    """[PAD], then the unused tokens, then the other special tokens.

    With 99 unused tokens [UNK] has the id 100, as in the released models.
    """
    unused = [f"[unused{number}]" for number in range(num_unused)]
    return [PADDING, *unused, *SPECIAL_TOKENS]


def character_tokens(
    characters: Iterable[str], tokenizer: BasicTokenizer
) -> list[str]:
    """Each character as a token, and as one that continues a word.

    Only the first for punctuation marks and CJK characters, each of which is a
    word of its own to `tokenizer`.
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
    """Learns exactly `size` tokens, including those that are needed.

    Finds the largest threshold with which `learn` returns enough tokens, and
    then drops the rarest of the surplus ones.

    Args:
        learn: returns a vocabulary, given the minimum frequency of a piece. It
            includes the needed tokens; the rarest pieces come last.
        needed: tokens that must be included.
        size: number of tokens to return.
        frequencies: of the words that pieces are learned from, descending. The
            first one is the largest threshold tried.
        low: the smallest threshold tried.

    Returns:
        The tokens, in the order of `learn`.

    Raises:
        InputError: fewer than `size` tokens can be learned, or more are needed.
    """
    if len(needed) > size:
        raise InputError(
            f"`--vocab_size` must be at least {len(needed)}, the number of "
            "special tokens, unused tokens and single characters. "
            f"Received: --vocab_size={size}. A lower --max_characters or a "
            "higher --min_frequency takes fewer."
        )
    place = min(int(size / TOKENS_PER_WORD), len(frequencies) - 1)
    start = max(low, frequencies[place])
    tokens = _search(learn, size, low, frequencies[0], start)
    if len(tokens) < size:
        raise InputError(
            f"`--vocab_size` must be at most {len(tokens)} for this text: no "
            f"more pieces occur {low} times in it. Received: "
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
    """The result of `learn` with the largest threshold that is low enough.

    If none gives enough tokens, the result with the lowest.
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
    """Where the line through the last two points reaches `aim`."""
    x, y = tried[-1]
    slope = SLOPE
    if len(tried) > 1:
        before_x, before_y = tried[-2]
        slope = (y - before_y) / (x - before_x)
    # The line through two close points may lead far away.
    return x + (aim - y) / min(max(slope, 4 * SLOPE), SLOPE / 4)


@dataclasses.dataclass(frozen=True)
class Coverage:
    """How well a vocabulary covers a text.

    Attributes:
        words: number of words in the text.
        distinct: number of distinct words.
        unknown: number of words that are [UNK].
        pieces: number of pieces of all words, including [UNK].
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
    """Measures how well a vocabulary covers the words of a text."""
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
    """A word that becomes a token.

    Attributes:
        word: the token.
        id: its line in the vocabulary and its row in the embedding table.
        pieces: ids of the pieces into which it was split before.
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
    """Assigns an id to each word.

    Args:
        words: that are no tokens yet.
        vocab: the result of `load_vocab`.
        tokenizer: of the model; it must leave the words unchanged.
        num_rows: number of lines in the vocabulary file.
        grow: append the words, instead of replacing `[unusedN]` tokens.

    Raises:
        InputError: a word cannot occur in a tokenized text, is a token already,
            or is given twice; or there are too few unused tokens.
    """
    _check_words(words, vocab, tokenizer)
    places = sorted(vocab[token] for token in vocab if _UNUSED.match(token))
    if grow:
        places = list(range(num_rows, num_rows + len(words)))
    elif len(places) < len(words):
        raise InputError(
            f"{len(words)} words need as many unused tokens, and the "
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
            "Every word must be new, and the tokenizer with "
            f"--do_lower_case={tokenizer.do_lower_case} must not split or "
            "change it. Received: "
            + "; ".join(mistakes[:MOST_MISTAKES])
            + (f"; and {more} more" if more > 0 else "")
        )


def place_words(content: bytes, new_words: Iterable[NewWord]) -> bytes:
    """The content of a vocabulary file with the words added.

    Args:
        content: of the old file; its last line may lack the line end.
        new_words: in the order of their ids.
    """
    lines = content.removesuffix(b"\n").split(b"\n")
    for word, place, _ in new_words:
        if place == len(lines):
            lines.append(b"")
        lines[place] = word.encode("utf-8")
    return b"\n".join(lines) + b"\n"


# ------------------------------------------------------------------- checking


class UnknownTokens:
    """Counts [UNK] among the tokens of texts, to warn where most are.

    Args:
        vocab: the result of `load_vocab`.

    Attributes:
        unknown: number of tokens that are [UNK].
        total: number of tokens, special ones such as [CLS] not counted.
    """

    def __init__(self, vocab: Mapping[str, int]):
        self.unknown = self.total = 0
        self._unknown = vocab.get(UNKNOWN)
        others = (PADDING, *SPECIAL_TOKENS)
        self._others = [
            vocab[token]
            for token in others
            if token in vocab and token != UNKNOWN
        ]

    def add(self, ids: list[int]) -> None:
        """Counts the ids of some tokens, without padding."""
        self.unknown += ids.count(self._unknown)  # type: ignore[arg-type]
        self.total += len(ids) - sum(map(ids.count, self._others))

    def warn(self, source: str = "the text") -> bool:
        """`warn_of_unknown`; returns whether it did."""
        return warn_of_unknown(self.unknown, self.total, source)


def warn_of_unknown(unknown: int, total: int, source: str = "the text") -> bool:
    """Warns if more than half of the tokens of a text are [UNK].

    Returns:
        Whether they are.
    """
    if unknown * 2 <= total:
        return False
    _LOGGER.warning(
        "%.0f %% of the word pieces of %s are [UNK]: does the vocabulary fit "
        "its language, and --do_lower_case the vocabulary?",
        100 * unknown / total,
        source,
    )
    return True
