"""What an exported model answers, one class for each kind of answer."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np


class Candidate(NamedTuple):
    """A piece of the vocabulary; one with ## goes on with the word before."""

    piece: str
    probability: float


class Label(NamedTuple):
    """What a classifier says of a text.

    Attributes:
        label: the name of the most probable label.
        probability: how probable it is.
        probabilities: of all labels, by name.
        num_cut: word pieces that did not fit and were not read.
    """

    label: str
    probability: float
    probabilities: dict[str, float]
    num_cut: int


class Answer(NamedTuple):
    """What is found in a context.

    Attributes:
        text: `context[start:end]`; "" if the question is left unanswered, or
            where question or context has no words.
        score: its probability among all spans of the context, as in
            `reading.Answer`; that of "no answer" if it is left unanswered, 0
            if there is nothing to read.
        start: its first character; None for no answer.
        end: the character after its last one; None for no answer.
        null_probability: of "no answer"; None where every question has one.
    """

    text: str
    score: float
    start: int | None
    end: int | None
    null_probability: float | None


class Guesses(NamedTuple):
    """What a pretrained model guesses.

    Attributes:
        masks: for each [MASK] of the text the best pieces, as `fill_mask` has
            them. In a pair, [MASK]s that did not fit have none.
        next_sentence_probability: that the second text follows the first; None
            for a single text, and for models that do not tell.
        num_cut: word pieces of a pair that did not fit and were not read.
    """

    masks: list[list[Candidate]]
    next_sentence_probability: float | None
    num_cut: int


class Vectors(NamedTuple):
    """What the encoder makes of a text.

    Attributes:
        embedding: float32 [width] for the whole text, or [tokens, width] if
            the model was exported with a pooling that keeps tokens.
        tokens: in that case these, [CLS] and [SEP] among them; else None.
        num_cut: word pieces that did not fit and were not read.
    """

    embedding: np.ndarray
    tokens: list[str] | None
    num_cut: int


Result = Label | Answer | Guesses | Vectors


Outputs = Mapping[str, np.ndarray]
