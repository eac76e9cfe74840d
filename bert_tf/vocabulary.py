"""What goes into a vocabulary: words counted, characters chosen, exact sizes.

Comes in: lines of text, a basic tokenizer, and a function that learns pieces.
Goes out: the tokens of a `vocab.txt` in their order, and how well they cover
the text. The learner itself, files and flags belong to the entry points;
checkpoints to `checkpoints.py`.
"""

import collections
import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping, Sequence

from bert_tf.errors import InputError
from bert_tf.tokenization import BasicTokenizer, WordpieceTokenizer

PADDING = "[PAD]"
UNKNOWN = "[UNK]"
# In the order that they have in the released vocabularies.
SPECIAL_TOKENS = (UNKNOWN, "[CLS]", "[SEP]", "[MASK]")
JOINER = "##"

# A search ends with up to this share of tokens too many; they are cut off.
MOST_SURPLUS = 0.01
# After so many rounds each one halves what is left to search.
ROUNDS_OF_GUESSING = 8

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
    low: int,
    high: int,
) -> list[str]:
    """Exactly `size` tokens: those needed, and the best that can be learnt.

    How many a learner finds depends on how often a piece must occur. Looked
    for is a number with which it finds a few too many (`MOST_SURPLUS`) or, if
    there is no such number, the largest with which it finds enough. Of what is
    too many the rarest go, but never one that is needed.

    Args:
        learn: gives a vocabulary, the needed tokens in it, whose pieces occur
            at least so often as its argument says, the rarest last.
        needed: tokens that must be in.
        size: how many to return.
        low: the least that `learn` may be asked for, at least 1.
        high: the most.

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
    tokens = _search(learn, size, low, high)
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
    learn: Callable[[int], list[str]], wanted: int, low: int, high: int
) -> list[str]:
    """What `learn` gives that is just long enough, or the longest."""
    aim = max(wanted * (1 + MOST_SURPLUS / 2), 1.0)
    enough: list[str] | None = None
    too_few: list[str] = []
    tried: list[tuple[float, float]] = []
    # The first guess: Zipf's law, by which the n-th word comes high / n times.
    threshold = min(max(low, round(high / aim)), high)
    while low <= high:
        tokens = learn(threshold)
        if len(tokens) >= wanted:
            enough, low = tokens, threshold + 1
            if len(tokens) <= wanted * (1 + MOST_SURPLUS):
                break
        else:
            too_few, high = tokens, threshold - 1
        tried.append((math.log(threshold), math.log(max(len(tokens), 1))))
        if len(tried) < ROUNDS_OF_GUESSING:
            guess = _guess(tried, math.log(aim))
        else:
            guess = math.log(low * max(high, 1)) / 2
        threshold = min(max(low, round(math.exp(guess))), high)
    return too_few if enough is None else enough


def _guess(tried: Sequence[tuple[float, float]], aim: float) -> float:
    """Where a falling line through the last two points comes down to `aim`."""
    x, y = tried[-1]
    slope = -1.0
    if len(tried) > 1 and tried[-2][0] != x:
        before = tried[-2]
        slope = min((y - before[1]) / (x - before[0]), -0.1)
    return min(x + (aim - y) / slope, x + 5)


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
