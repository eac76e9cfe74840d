"""Whether a model lower-cases text and strips accents.

In this order: what the caller says, what the folder notes, what the vocabulary
and the name of a released model tell. Contradictions are errors.
"""

import os
from collections.abc import Iterable
from typing import NamedTuple

from absl import logging

from bert_tf import tokenization
from bert_tf.checkpoints.folder_settings import (
    NOTHING,
    TEXT,
    Noted,
    contradiction,
    noted_in,
    shown,
)
from bert_tf.checkpoints.names import PREFIX
from bert_tf.errors import InputError, quote


class Casing(NamedTuple):
    """What is done to text; as in `tokenization.BasicTokenizer`."""

    do_lower_case: bool
    strip_accents: bool | None = None

    @property
    def strips(self) -> bool:
        """Whether accents are stripped."""
        stripping = self.strip_accents
        return self.do_lower_case if stripping is None else stripping


class Capitals(NamedTuple):
    """The words of a vocabulary whose letters have a case.

    Attributes:
        words: number of such tokens, without pieces and special tokens.
        capitals: those that lower-casing changes.
    """

    words: int
    capitals: list[str]

    @property
    def is_cased(self) -> bool:
        """Whether the vocabulary is certainly that of a cased model.

        In the released cased models a third of the words have a capital, in
        vocabularies learned from novels 8 to 12 %, in uncased ones none.
        """
        long = sum(len(word) > 1 for word in self.capitals)
        return bool(self.capitals) and (
            len(self.capitals) >= self.words / 5
            or (long >= 50 and long >= self.words / 20)
        )

    def describe(self) -> str:
        """The words with capitals, for messages."""
        if not self.capitals:
            return "no word with a capital letter"
        long = [word for word in self.capitals if len(word) > 1]
        first = ", ".join(map(quote, (long or self.capitals)[:3]))
        return (
            f"{len(self.capitals):,} of {self.words:,} words with a capital "
            f"letter, such as {first}"
        )


def count_capitals(vocab: Iterable[str]) -> Capitals:
    """Finds the words with capital letters among tokens.

    Pieces (`##Ab`) and tokens in brackets, such as [CLS] and <S>, are none.
    """
    words, capitals = 0, []
    for token in vocab:
        is_special = token[:1] + token[-1:] in ("[]", "<>")
        lower = token.lower()
        # Without a case: numbers, Chinese, Arabic and others.
        if is_special or token.startswith("##") or lower == token.upper():
            continue
        words += 1
        if lower != token:
            capitals.append(token)
    return Capitals(words, capitals)


def decide(
    vocab: Iterable[str],
    vocab_file: str | os.PathLike[str],
    checkpoint: str | os.PathLike[str] | None = None,
    noted: Noted = NOTHING,
    do_lower_case: bool | None = None,
    strip_accents: bool | None = None,
    ignore_folder_settings: bool = False,
) -> Casing:
    """The casing of a model; logs what was assumed.

    Args:
        vocab: its tokens.
        vocab_file: where they were read.
        checkpoint: a prefix or a folder, whose name may be that of a released
            model; None without a model.
        noted: what binds of its bert_tf.json.
        do_lower_case, strip_accents: what the caller asks for; None for what
            the folder, the vocabulary and the name tell.
        ignore_folder_settings: whether what the caller asks for wins.

    Raises:
        InputError: what the caller asks for contradicts the folder, the name or
            the vocabulary; or the last two contradict each other.
    """
    said = noted.settings.only((TEXT,)).said()
    given = {"do_lower_case": do_lower_case, "strip_accents": strip_accents}
    given = {name: value for name, value in given.items() if value is not None}
    lowers = said.get("do_lower_case")
    if do_lower_case is not None:
        if lowers is None and not ignore_folder_settings:
            _check(do_lower_case, count_capitals(vocab), vocab_file, checkpoint)
        lowers = do_lower_case
    elif lowers is None:
        lowers = _assume(count_capitals(vocab), vocab_file, checkpoint)
    if said and not ignore_folder_settings:
        was = Casing(
            said.get("do_lower_case", lowers), said.get("strip_accents")
        )
        noted_values = {"do_lower_case": was.do_lower_case}
        if "strip_accents" in said:
            noted_values["strip_accents"] = was.strips
        wrong = {
            name: value
            for name, value in given.items()
            if noted_values.get(name, value) != value
        }
        if wrong:
            raise contradiction(noted.path, wrong, noted_values)
        if "strip_accents" in said:
            strip_accents = None  # The same in effect, perhaps spelled so.
    if strip_accents is None:
        strip_accents = said.get("strip_accents")
    return Casing(lowers, strip_accents)


def decide_for_file(
    vocab_file: str,
    do_lower_case: bool | None = None,
    strip_accents: bool | None = None,
    ignore_folder_settings: bool = False,
) -> Casing:
    """The casing of a vocabulary without a checkpoint; as `decide`.

    What binds is the bert_tf.json beside the vocabulary.
    """
    # Whoever uses the vocabulary reads it again, and warns of what is odd.
    with open(vocab_file, encoding="utf-8", errors="replace") as file:
        tokens = [line.strip() for line in file]
    return decide(
        tokens,
        vocab_file,
        None,
        noted_in(os.path.dirname(vocab_file)),
        do_lower_case,
        strip_accents,
        ignore_folder_settings,
    )


def load_tokenizer(
    vocab_file: str,
    checkpoint: str | os.PathLike[str] | None = None,
    noted: Noted = NOTHING,
    do_lower_case: bool | None = None,
    strip_accents: bool | None = None,
    ignore_folder_settings: bool = False,
) -> tokenization.FullTokenizer:
    """The tokenizer of a model; its arguments are those of `decide`.

    Raises:
        InputError: as `decide`, or the vocabulary lacks a special token.
    """
    tokenizer = tokenization.FullTokenizer(vocab_file)
    basic = tokenizer.basic_tokenizer
    basic.do_lower_case, basic.strip_accents = decide(
        tokenizer.vocab,
        vocab_file,
        checkpoint,
        noted,
        do_lower_case,
        strip_accents,
        ignore_folder_settings,
    )
    tokenization.require_special_tokens(tokenizer, vocab_file)
    return tokenizer


def casing_of(tokenizer: tokenization.FullTokenizer) -> Casing:
    """The casing of a tokenizer."""
    basic = tokenizer.basic_tokenizer
    return Casing(basic.do_lower_case, basic.strip_accents)


def _name_of(checkpoint):
    """The path by which the original recognizes its models."""
    path = os.fspath(checkpoint or "")
    return os.path.join(path, PREFIX) if os.path.isdir(path) else path


def _check(do_lower_case, found, vocab_file, checkpoint):
    """Compares what the caller asks for with the name and the vocabulary."""
    tokenization.validate_case_matches_checkpoint(
        do_lower_case, _name_of(checkpoint)
    )
    if do_lower_case and found.is_cased:
        raise InputError(
            f"{vocab_file} is the vocabulary of a cased model: it has "
            f"{found.describe()}. With --do_lower_case=true no text ever gets "
            "these. Give --do_lower_case=false, or --ignore_folder_settings as "
            "well if the model was trained with lower-cased text all the same."
        )
    if do_lower_case and found.capitals:
        logging.warning(
            "%s has %s, which no text gets with --do_lower_case=true.",
            vocab_file,
            found.describe(),
        )
    if not do_lower_case and found.words and not found.capitals:
        logging.warning(
            "%s has %s: with --do_lower_case=false words with capitals become "
            "[UNK] or small pieces.",
            vocab_file,
            found.describe(),
        )


def _assume(found, vocab_file, checkpoint):
    """The casing that vocabulary and name tell."""
    lowers = not found.is_cased
    model = tokenization.released_model(_name_of(checkpoint))
    if model is not None and tokenization.LOWER_CASES[model] != lowers:
        right = tokenization.LOWER_CASES[model]
        raise InputError(
            f"By its name, {model} needs --do_lower_case={right}, as it was "
            f"trained, but {vocab_file} has {found.describe()}. Give "
            f"--do_lower_case={right}; or --do_lower_case={not right} "
            "--ignore_folder_settings, if the folder only happens to have this "
            "name."
        )
    if not lowers:
        advice = " With --do_lower_case=true no text ever gets these."
    elif found.capitals:
        advice = " No text gets these: a cased model needs "
        advice += "--do_lower_case=false."
    else:
        advice = ""
    logging.log(
        logging.WARNING if found.capitals else logging.INFO,
        "Assuming --do_lower_case=%s: %s has %s.%s",
        shown(lowers),
        vocab_file,
        found.describe(),
        advice,
    )
    return lowers
