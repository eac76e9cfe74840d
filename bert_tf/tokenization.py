"""Text to WordPiece tokens and ids, by the rules of google-research/bert.

    text -> words      at whitespace, and around every CJK character
    word -> tokens     control characters dropped, lower-cased, accents
                       stripped, punctuation split off       (BasicTokenizer)
    token -> pieces    longest match in the vocabulary   (WordpieceTokenizer)

The tokens of a word depend on nothing outside the word, so each distinct word
is split once and then remembered. This makes plainly written rules fast.
"""

import functools
import itertools
import logging
import os
import re
import reprlib
import sys
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from bert_tf.errors import InputError

_log = logging.getLogger(__name__)

# Chinese characters (the original's `_is_chinese_char`): each is a word of its
# own. First and last code point of the CJK blocks; later extensions, kana and
# Hangul are not among them: such text is split at spaces.
CJK_RANGES = (
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F),
    (0x2B820, 0x2CEAF),
    (0x2F800, 0x2FA1F),
)

# Characters that end a word: those at which `str.split` splits, except control
# characters (\v, \f, \x1c to \x1f, \x85). The original drops these before it
# splits, so "a\fb" is the word "ab".
SEPARATORS = " \t\n\r\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"

_CJK = "".join(f"{chr(first)}-{chr(last)}" for first, last in CJK_RANGES)
WORD = re.compile(f"[{_CJK}]|[^{SEPARATORS}{_CJK}]+")
_ASCII_TOKEN = re.compile("[0-9A-Za-z]+|[^0-9A-Za-z ]")

# Models recognized by name, and the `do_lower_case` each was trained with.
LOWER_CASES = {
    "uncased_L-12_H-768_A-12": True,
    "uncased_L-24_H-1024_A-16": True,
    "multilingual_L-12_H-768_A-12": True,
    "chinese_L-12_H-768_A-12": True,
    "cased_L-12_H-768_A-12": False,
    "cased_L-24_H-1024_A-16": False,
    "multi_cased_L-12_H-768_A-12": False,
}


class UnknownTokenError(InputError, KeyError):
    """A token, or an id, that the vocabulary does not have."""

    __str__ = Exception.__str__  # KeyError's shows the repr of the message.


class Piece(NamedTuple):
    """A token, and the part of the text it was made from, `text[start:end]`."""

    token: str
    start: int
    end: int


class Tokenizer(Protocol):
    """What tasks need of a tokenizer; `FullTokenizer` is one."""

    def tokenize(self, text: str) -> list[str]:
        """Word pieces of the text."""

    def convert_tokens_to_ids(self, tokens: Sequence[str]) -> list[int]:
        """The id of each word piece."""


def validate_case_matches_checkpoint(
    do_lower_case: bool, init_checkpoint: str | None
) -> None:
    """Refuses a cased model with lower-casing, and an uncased one without.

    As in the original, only the seven models of 2018 are checked, which are
    recognized by the name of the folder of `bert_model.ckpt`.

    Raises:
        InputError: the model's name contradicts `do_lower_case`.
    """
    model = released_model(init_checkpoint)
    if model and LOWER_CASES[model] != bool(do_lower_case):
        raise InputError(
            f"The model {model} needs --do_lower_case={not do_lower_case}, as "
            "it was trained. Received: "
            f"--do_lower_case={bool(do_lower_case)}, "
            f"--init_checkpoint={os.fspath(init_checkpoint or '')}. If the "
            "folder only happens to have this name, rename it, or give "
            "--ignore_folder_settings as well."
        )


def released_model(
    init_checkpoint: str | os.PathLike[str] | None,
) -> str | None:
    """The key of `LOWER_CASES` by which a checkpoint's path ends, or None."""
    path = os.fspath(init_checkpoint or "")
    found = re.search(r"([A-Za-z0-9_-]+)/bert_model\.ckpt", path)
    return found.group(1) if found and found.group(1) in LOWER_CASES else None


def require_special_tokens(
    tokenizer: Tokenizer, vocab_file: str = "`vocab_file`"
) -> None:
    """Raises `InputError` if a special token of examples has no id.

    Args:
        tokenizer: the one that will make the examples.
        vocab_file: the name of its vocabulary in the error.
    """
    for token in ("[CLS]", "[SEP]", "[UNK]"):
        try:
            tokenizer.convert_tokens_to_ids([token])
        except KeyError as error:
            raise InputError(
                f"The vocabulary must have the token {token}. {vocab_file} has "
                "not: is it the vocab.txt of the checkpoint?"
            ) from error


def convert_to_unicode(text: str | bytes) -> str:
    """Returns `text` as `str`; bytes that are not UTF-8 are left out.

    Raises:
        InputError: `text` is neither `str` nor `bytes`.
    """
    if isinstance(text, str):
        return text
    if isinstance(text, bytes):
        return text.decode("utf-8", "ignore")
    raise InputError(
        f"Text must be str or bytes. Received: {reprlib.repr(text)} of type "
        f"{type(text).__name__}"
    )


def printable_text(text: str | bytes) -> str:
    """Returns `text` as `str`, for printing and logging."""
    return convert_to_unicode(text)


def load_vocab(vocab_file: str | os.PathLike[str]) -> dict[str, int]:
    """Reads a vocabulary: one token per line, the first line has id 0.

    Whitespace around tokens and all carriage returns are ignored. As in the
    original, a blank line is the token "" and takes an id, a repeated token
    keeps its place but gets the later id, and a byte-order mark becomes part of
    the first token. Each of these must be a mistake, so it is logged as a
    warning.

    Raises:
        InputError: the file cannot be read, or is not UTF-8.
    """
    try:
        with open(os.fspath(vocab_file), "rb") as reader:
            content = reader.read()
    except (OSError, TypeError, ValueError) as error:
        raise InputError(
            "The vocabulary must be a local file with one token per line. "
            f"Received: vocab_file={vocab_file!r}, which cannot be read: "
            f"{error}"
        ) from error
    try:
        text = content.decode("utf-8").replace("\r", "")
    except UnicodeDecodeError as error:
        number = content.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"{vocab_file}, line {number}: the vocabulary must be UTF-8. "
            f"Received: byte 0x{content[error.start]:02x} ({error.reason}). "
            "Save the file as UTF-8."
        ) from error
    lines = text.split("\n")
    if not lines[-1]:
        lines.pop()
    _warn_of_oddities(vocab_file, lines)
    return {sys.intern(line.strip()): i for i, line in enumerate(lines)}


def _warn_of_oddities(vocab_file, lines):
    """Logs the first line, and the number of lines, of each likely mistake."""
    tokens = [line.strip() for line in lines]
    last = {token: index for index, token in enumerate(tokens)}
    oddities = {
        "starts with a byte-order mark": [
            line.startswith("\ufeff") for line in lines[:1]
        ],
        # Two released vocabularies have U+2028 alone on a line: not blank.
        "is blank": [not line.strip(" \t") for line in lines],
        "has a token that is repeated later": [
            token != "" and index < last[token]
            for index, token in enumerate(tokens)
        ],
    }
    for oddity, holds in oddities.items():
        if any(holds):
            text = "%s: line %d %s (lines of this kind: %d)"
            first = holds.index(True) + 1
            _log.warning(text, vocab_file, first, oddity, sum(holds))


def convert_by_vocab(
    vocab: Mapping, items: Iterable, name: str = "the vocabulary"
) -> list:
    """Looks up every item; errors call the vocabulary `name`.

    Raises:
        UnknownTokenError: an item is missing (an `InputError` and, as in the
            original, a `KeyError`).
    """
    try:
        return list(map(vocab.__getitem__, items))
    except KeyError as error:
        raise UnknownTokenError(
            f"Every item must be one of the {len(vocab)} entries of {name}. "
            f"Received: {error.args[0]!r}. Take tokens from a tokenizer with "
            "this vocabulary, and ids from a model with it."
        ) from None


def convert_tokens_to_ids(
    vocab: Mapping[str, int], tokens: Iterable[str]
) -> list[int]:
    """Returns the id of each token; `UnknownTokenError` where there is none."""
    return convert_by_vocab(vocab, tokens)


def convert_ids_to_tokens(
    inv_vocab: Mapping[int, str], ids: Iterable[int]
) -> list[str]:
    """Returns the token of each id; `UnknownTokenError` where there is none."""
    return convert_by_vocab(inv_vocab, ids)


def whitespace_tokenize(text: str) -> list[str]:
    """Splits at whitespace of any kind."""
    return text.split()


def is_dropped(char: str) -> bool:
    """Whether `char` is dropped: NUL, U+FFFD, control and format."""
    return char in "\0\ufffd" or unicodedata.category(char) in ("Cc", "Cf")


@functools.lru_cache(maxsize=1 << 12)
def is_punctuation(char: str) -> bool:
    """Whether `char` is a token of its own.

    In ASCII, everything but letters, digits, space and control characters, even
    what Unicode calls symbols ($, +, ^, ...). Elsewhere only what Unicode calls
    punctuation: the euro sign is not.
    """
    if char.isascii():
        return char.isprintable() and not char.isalnum() and char != " "
    return unicodedata.category(char).startswith("P")


def is_accent(char: str) -> bool:
    """Whether `char` is a mark without a width of its own (category Mn)."""
    return unicodedata.category(char) == "Mn"


class WordCache(dict):
    """Remembers `split(word)` for frequent words.

    Words longer than `LONGEST_WORD`, which are seldom repeated, are not kept,
    and a word that does not occur while `MOST_WORDS` others do is forgotten.
    (A `FullTokenizer` takes 23 MB after ten megabytes of English, and at most
    65 MB.) Threads may share a cache.
    """

    MOST_WORDS = 1 << 16
    LONGEST_WORD = 32

    def __init__(self, split: Callable[[str], tuple[Any, ...]]):
        super().__init__()
        self.split = split
        self.older: dict[str, tuple[Any, ...]] = {}

    def __missing__(self, word: str) -> tuple[Any, ...]:
        parts = self.older.get(word)
        if parts is None:
            parts = self.split(word)
        if len(word) <= self.LONGEST_WORD:
            if len(self) >= self.MOST_WORDS:
                self.older = dict(self)
                self.clear()
            self[word] = parts
        return parts

    def __reduce__(self):
        return type(self), (self.split,)  # Pickled empty.


class Setting:
    """An attribute of a `WordSplitter`; setting it clears the caches."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, splitter: Any, owner: type | None = None) -> Any:
        return self if splitter is None else vars(splitter)[self.name]

    def __set__(self, splitter: Any, value: Any) -> None:
        vars(splitter)[self.name] = value
        splitter.clear_caches()


class WordSplitter:
    """What the two tokenizers share: a `split_word`, and its cache."""

    def clear_caches(self) -> None:
        """Forgets all words that were split."""
        self._cache = WordCache(self.split_word)

    def split_word(self, word: str) -> tuple[str, ...]:
        raise NotImplementedError

    def split_words(self, words: Iterable[str]) -> list[str]:
        """Returns what `split_word` makes of each word, in one list."""
        found = map(self._cache.__getitem__, words)
        return list(itertools.chain.from_iterable(found))


class BasicTokenizer(WordSplitter):
    """Splits text into words and punctuation, and normalizes them.

    Args:
        do_lower_case: lower-case the text.
        strip_accents: remove accents and other marks (é becomes e, Hangul
            single jamo). None means as `do_lower_case`, like the original.
    """

    do_lower_case = Setting()
    strip_accents = Setting()

    def __init__(
        self, do_lower_case: bool = True, strip_accents: bool | None = None
    ):
        if strip_accents not in (None, True, False):
            raise InputError(
                "`strip_accents` must be True, False or None (as "
                f"`do_lower_case`). Received: strip_accents={strip_accents!r}"
            )
        self.do_lower_case = do_lower_case
        self.strip_accents = strip_accents

    def tokenize(self, text: str | bytes) -> list[str]:
        """Returns the tokens of `text`."""
        text = convert_to_unicode(text)
        if text.isascii() and text.isprintable():
            # Nothing to drop or strip, and lower-casing is letter by letter.
            text = text.lower() if self.do_lower_case else text
            return _ASCII_TOKEN.findall(text)
        return self.split_words(WORD.findall(text))

    def align(
        self, text: str | bytes
    ) -> Iterator[tuple[str, Sequence[int], Sequence[int]]]:
        """Yields each token, and for its characters the starts and the ends.

        The i-th character of the token was made from `text[starts[i]:ends[i]]`.
        """
        for match in WORD.finditer(convert_to_unicode(text)):
            word = match.group()
            starts, ends = self._align_word(word, match.start())
            first = 0
            for token in self._cache[word]:
                last = first + len(token)
                yield token, starts[first:last], ends[first:last]
                first = last

    def split_word(self, word: str) -> tuple[str, ...]:
        """Returns the tokens of one word (no whitespace; CJK alone)."""
        word = self.normalize(word)
        if word.isalnum():
            return (word,)
        spaced = (f" {c} " if is_punctuation(c) else c for c in word)
        return tuple("".join(spaced).split())

    def normalize(self, word: str) -> str:
        """Drops characters, lower-cases and strips accents, in this order."""
        if not word.isprintable() or "\ufffd" in word:
            word = "".join(c for c in word if not is_dropped(c))
        if self.do_lower_case:
            word = word.lower()
        stripping = self.strip_accents
        if self.do_lower_case if stripping is None else stripping:
            word = unicodedata.normalize("NFD", word)
            if not word.isalnum():
                word = "".join(c for c in word if not is_accent(c))
        return word

    def _align_word(self, word, start):
        """Returns starts and ends for the characters of `normalize(word)`.

        The number of characters that one becomes does not depend on its
        neighbours (a final sigma is still one), so each is normalized alone. A
        stripped accent belongs to the character before it.
        """
        places = range(start, start + len(word))
        if word.isascii() and word.isprintable():
            return places, range(start + 1, start + len(word) + 1)
        starts, ends = [], []
        for place, char in zip(places, word):
            became = self.normalize(char)
            starts += [place] * len(became)
            ends += [place + 1] * len(became)
            if not became and ends and not is_dropped(char):
                ends[-1] = place + 1
        return starts, ends


class WordpieceTokenizer(WordSplitter):
    """Splits tokens into the longest pieces that the vocabulary has.

    Args:
        vocab: the result of `load_vocab`, or any container of tokens. Results
            are remembered: do not modify it, assign another.
        unk_token: the token for words that pieces do not cover.
        max_input_chars_per_word: a longer word is `unk_token`.
    """

    vocab = Setting()
    unk_token = Setting()
    max_input_chars_per_word = Setting()

    def __init__(
        self,
        vocab: Mapping[str, int],
        unk_token: str = "[UNK]",
        max_input_chars_per_word: int = 200,
    ):
        self.vocab = vocab
        self.unk_token = unk_token
        self.max_input_chars_per_word = max_input_chars_per_word

    def tokenize(self, text: str | bytes) -> list[str]:
        """Returns the pieces of whitespace-separated tokens.

        "unaffable" becomes ["un", "##aff", "##able"].
        """
        return self.split_words(convert_to_unicode(text).split())

    def find_ids(self, words: Iterable[str]) -> Iterator[int]:
        """Yields the ids of the pieces of each word of a `BasicTokenizer`.

        The vocabulary must be a mapping; `UnknownTokenError` if it lacks the
        token for unknown words.
        """
        found = map(self._ids.__getitem__, words)
        return itertools.chain.from_iterable(found)

    def clear_caches(self) -> None:
        super().clear_caches()
        self._ids = WordCache(self._find_ids)
        vars(self).pop("_longest_token", None)

    def _find_ids(self, word: str) -> tuple[int, ...]:
        return tuple(convert_by_vocab(self.vocab, self.split_word(word)))

    @functools.cached_property
    def _longest_token(self) -> int:
        return max(map(len, self.vocab), default=0)

    def split_word(self, word: str) -> tuple[str, ...]:
        """Returns the pieces of one token, greedily from the left."""
        if word.split() != [word]:  # Not one of `BasicTokenizer`'s.
            return tuple(self.tokenize(word))
        if len(word) > self.max_input_chars_per_word:
            return (self.unk_token,)
        vocab, longest = self.vocab, self._longest_token
        pieces: list[str] = []
        rest, shortest = word, 1
        while len(rest) >= shortest:
            for end in range(min(len(rest), longest), shortest - 1, -1):
                if rest[:end] in vocab:
                    break
            else:
                return (self.unk_token,)
            pieces.append(sys.intern(rest[:end]))  # `load_vocab`'s own string.
            rest, shortest = "##" + rest[end:], len("##") + 1
        return tuple(pieces)


class FullTokenizer:
    """Text to the pieces of a vocabulary file, and to ids and back.

    Args:
        vocab_file: path of a `vocab.txt`.
        do_lower_case: lower-case the text, for the uncased models, and strip
            accents unless `strip_accents` is False.
        strip_accents: strip accents, independently of lower-casing; None, for
            all released models, means as `do_lower_case`.
    """

    def __init__(
        self,
        vocab_file: str | os.PathLike[str],
        do_lower_case: bool = True,
        strip_accents: bool | None = None,
    ):
        self.vocab_file = vocab_file
        self.vocab = load_vocab(vocab_file)
        self.inv_vocab = {index: token for token, index in self.vocab.items()}
        self.basic_tokenizer = BasicTokenizer(do_lower_case, strip_accents)
        self.wordpiece_tokenizer = WordpieceTokenizer(self.vocab)

    def tokenize(self, text: str | bytes) -> list[str]:
        """Returns the pieces of `text`."""
        tokens = self.basic_tokenizer.tokenize(text)
        return self.wordpiece_tokenizer.split_words(tokens)

    def tokenize_with_offsets(self, text: str | bytes) -> list[Piece]:
        """Returns the pieces of `text` with their spans.

        The tokens are those of `tokenize`. `text[start:end]` are the characters
        of the piece, with stripped accents, and control characters between
        them; for [UNK] it is the whole word. Pieces of one character (Hangul
        jamo) have the same span. Spans in `bytes` are those in
        `convert_to_unicode(text)`.
        """
        found = []
        for token, starts, ends in self.basic_tokenizer.align(text):
            pieces = self.wordpiece_tokenizer.split_words([token])
            if len(pieces) == 1:  # All of the token, however long [UNK] is.
                found.append(Piece(pieces[0], starts[0], ends[-1]))
                continue
            first = 0
            for piece in pieces:
                last = first + len(piece) - len("##" if first else "")
                found.append(Piece(piece, starts[first], ends[last - 1]))
                first = last
        return found

    def convert_tokens_to_ids(self, tokens: Iterable[str]) -> list[int]:
        """Returns the id of each token; `UnknownTokenError` if it has none."""
        return convert_by_vocab(self.vocab, tokens, str(self.vocab_file))

    def convert_ids_to_tokens(self, ids: Iterable[int]) -> list[str]:
        """Returns the token of each id; `UnknownTokenError` if it has none."""
        return convert_by_vocab(self.inv_vocab, ids, str(self.vocab_file))
