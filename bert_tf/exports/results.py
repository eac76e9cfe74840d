"""Results of exported models: one class for each head's answer.

`HEADS` says how each head is asked and how its arrays become results.
"""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from bert_tf.exports.folder import heads_of

Outputs = Mapping[str, np.ndarray]
"""Outputs of a text signature for a batch, by name."""


class Label(NamedTuple):
    """The label of a text.

    Attributes:
        label: the most probable label.
        probability: its probability.
        probabilities: those of all labels, by name.
        num_cut: word pieces that did not fit and were not read.
    """

    label: str
    probability: float
    probabilities: dict[str, float]
    num_cut: int


class Value(NamedTuple):
    """The number that is predicted for a text.

    Attributes:
        value: the number.
        num_cut: word pieces that did not fit and were not read.
    """

    value: float
    num_cut: int


class Labels(NamedTuple):
    """The labels of a text, of which any number may hold.

    Attributes:
        labels: those whose scores are at or over their thresholds.
        scores: those of all labels, by name; each is a probability.
        num_cut: word pieces that did not fit and were not read.
    """

    labels: list[str]
    scores: dict[str, float]
    num_cut: int


class Answer(NamedTuple):
    """The answer to a question about a context.

    Attributes:
        text: `context[start:end]`; "" if the question is left unanswered, or
            where question or context has no words.
        score: its probability among all spans of the context; that of "no
            answer" if the question is left unanswered, 0 if there is nothing to
            read.
        start: its first character; None for no answer.
        end: the character after its last one; None for no answer.
        null_probability: of "no answer"; None where every question has one.
    """

    text: str
    score: float
    start: int | None
    end: int | None
    null_probability: float | None


class Candidate(NamedTuple):
    """A piece of the vocabulary; one with ## continues a word."""

    piece: str
    probability: float


class Guesses(NamedTuple):
    """Predictions of a pretrained model.

    Attributes:
        masks: for each [MASK] of the text the best pieces. In a pair, [MASK]s
            that did not fit have none.
        next_sentence_probability: that the second text follows the first; None
            for a single text, and for models without this prediction.
        num_cut: word pieces of a pair that did not fit and were not read.
    """

    masks: list[list[Candidate]]
    next_sentence_probability: float | None
    num_cut: int


class Vectors(NamedTuple):
    """The embedding of a text.

    Attributes:
        embedding: float32 [width] for the whole text, or [tokens, width] if
            the model was exported with a pooling that keeps tokens.
        tokens: in that case these, [CLS] and [SEP] among them; else None.
        num_cut: word pieces that did not fit and were not read.
    """

    embedding: np.ndarray
    tokens: list[str] | None
    num_cut: int


class Entity(NamedTuple):
    """An entity of a text.

    Attributes:
        type: its type.
        text: `text[start:end]`.
        start: its first character.
        end: the character after its last one.
        probability: of the label of its first word.
    """

    type: str
    text: str
    start: int
    end: int
    probability: float


class Tags(NamedTuple):
    """The labels of the words of a text.

    Attributes:
        labels: one for each word, in the scheme of training.
        entities: those that the labels stand for, in order.
        words: what white space divides; a Chinese character is a word.
        probabilities: of the labels.
    """

    labels: list[str]
    entities: list[Entity]
    words: list[str]
    probabilities: list[float]


class Choice(NamedTuple):
    """The choice among texts.

    Attributes:
        choice: the number of the most probable text, from 0.
        probability: its probability.
        probabilities: those of all texts, in their order.
        num_cut: word pieces that did not fit and were not read, of all texts
            together.
    """

    choice: int
    probability: float
    probabilities: list[float]
    num_cut: int


OfOneHead = Label | Value | Labels | Answer | Guesses | Vectors | Tags | Choice

Result = OfOneHead | dict[str, OfOneHead]
"""Of a model with several heads it is a dictionary, by their names."""


def _read_label(arrays: Outputs, row: int, is_pair: bool) -> Label:
    names = [name.decode("utf-8") for name in arrays["labels"][row]]
    chances = arrays["probabilities"][row].tolist()
    return Label(
        arrays["label"][row].decode("utf-8"),
        max(chances),
        dict(zip(names, chances, strict=True)),
        int(arrays["num_cut"][row]),
    )


def _read_value(arrays: Outputs, row: int, is_pair: bool) -> Value:
    return Value(float(arrays["value"][row]), int(arrays["num_cut"][row]))


def _read_labels(
    thresholds: Sequence[float], arrays: Outputs, row: int, is_pair: bool
) -> Labels:
    names = [name.decode("utf-8") for name in arrays["labels"][row]]
    # In float32, in which the thresholds were chosen.
    holds = arrays["scores"][row] >= np.asarray(thresholds, np.float32)
    scores = arrays["scores"][row].tolist()
    return Labels(
        [name for name, one in zip(names, holds, strict=True) if one],
        dict(zip(names, scores, strict=True)),
        int(arrays["num_cut"][row]),
    )


def _read_answer(arrays: Outputs, row: int, is_pair: bool) -> Answer:
    start, end = int(arrays["start"][row]), int(arrays["end"][row])
    null = arrays.get("null_probability")
    return Answer(
        arrays["answer"][row].decode("utf-8"),
        float(arrays["score"][row]),
        None if start < 0 else start,
        None if end < 0 else end,
        None if null is None else float(null[row]),
    )


def _read_guesses(arrays: Outputs, row: int, is_pair: bool) -> Guesses:
    scores = arrays["token_scores"][row].tolist()
    masks = [
        [
            Candidate(piece.decode("utf-8"), score)
            for piece, score in zip(pieces, of_mask)
        ]
        for pieces, of_mask in zip(arrays["tokens"][row], scores)
        if of_mask[0] > 0  # Else it is padding, to the text with most masks.
    ]
    follows = arrays.get("next_sentence_probability")
    return Guesses(
        masks,
        float(follows[row]) if is_pair and follows is not None else None,
        int(arrays["num_cut"][row]),
    )


def _read_vectors(arrays: Outputs, row: int, is_pair: bool) -> Vectors:
    embedding, tokens = arrays["embedding"][row], None
    if "tokens" in arrays:
        tokens = [one.decode("utf-8") for one in arrays["tokens"][row] if one]
        embedding = embedding[: len(tokens)]
    # A view would keep the whole batch in memory.
    return Vectors(embedding.copy(), tokens, int(arrays["num_cut"][row]))


def _read_tags(arrays: Outputs, row: int, is_pair: bool) -> Tags:
    # Behind the last word or entity of a text there is padding, "".
    labels = [one.decode("utf-8") for one in arrays["labels"][row] if one]
    words = [one.decode("utf-8") for one in arrays["words"][row][: len(labels)]]
    entities = zip(
        (text.decode("utf-8") for text in arrays["entity_types"][row]),
        (text.decode("utf-8") for text in arrays["entity_texts"][row]),
        arrays["entity_starts"][row].tolist(),
        arrays["entity_ends"][row].tolist(),
        arrays["entity_probabilities"][row].tolist(),
        strict=True,
    )
    return Tags(
        labels,
        [Entity(*entity) for entity in entities if entity[2] >= 0],
        words,
        arrays["probabilities"][row][: len(labels)].tolist(),
    )


def _read_choice(arrays: Outputs, row: int, is_pair: bool) -> Choice:
    chances = arrays["probabilities"][row].tolist()
    return Choice(
        int(arrays["choice"][row]),
        max(chances),
        chances,
        int(arrays["num_cut"][row]),
    )


def _read_several(
    heads: Mapping[str, "Head"], arrays: Outputs, row: int, is_pair: bool
) -> dict[str, Any]:
    return {
        name: head.read(_OfHead(name, arrays), row, is_pair)
        for name, head in heads.items()
    }


def named_outputs(
    of_heads: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    """What several heads have by name, as one dictionary: `HEAD/NAME`."""
    return {
        f"{head}/{name}": value
        for head, outputs in of_heads.items()
        for name, value in outputs.items()
    }


def outputs_of(name: str, arrays: Outputs) -> dict[str, np.ndarray]:
    """Those of one of several heads, by the names it has for them alone."""
    prefix = f"{name}/"
    return {
        key.removeprefix(prefix): array
        for key, array in arrays.items()
        if key.startswith(prefix)
    }


class _OfHead(Mapping[str, np.ndarray]):
    """What `outputs_of` returns, where it is asked for each row: no copy."""

    def __init__(self, name: str, arrays: Outputs):
        self._name, self._arrays = name, arrays

    def __getitem__(self, key: str) -> np.ndarray:
        return self._arrays[f"{self._name}/{key}"]

    def __iter__(self) -> Iterator[str]:
        return iter(outputs_of(self._name, self._arrays))

    def __len__(self) -> int:
        return len(outputs_of(self._name, self._arrays))


class Head(NamedTuple):
    """The text signatures of a head, as a program outside uses them.

    Attributes:
        inputs: names of the first text and the second one; "" for none.
        read: function of the outputs for a batch, the number of a row, and
            whether the row is a pair; returns the row's result.
        needs_both: whether serve_text takes both texts. Otherwise it takes the
            first, and serve_text_pair both.
        per_mask: outputs [B, M, ...], padded to the text with the most [MASK]s
            of the batch.
        choices: the input [B, N] that takes a list of texts for each row; ""
            for none. Outputs are as long.
    """

    inputs: tuple[str, str]
    read: Callable[[Outputs, int, bool], Result]
    needs_both: bool = False
    per_mask: frozenset[str] = frozenset()
    choices: str = ""


HEADS: Mapping[str, Head] = {
    "classifier": Head(("text_a", "text_b"), _read_label),
    "span": Head(("question", "context"), _read_answer, needs_both=True),
    "pretraining": Head(
        ("text", "text_b"),
        _read_guesses,
        per_mask=frozenset({"tokens", "token_scores"}),
    ),
    "features": Head(("text_a", "text_b"), _read_vectors),
    "tokens": Head(("text", ""), _read_tags),
    "choices": Head(("context", "question"), _read_choice, choices="choices"),
    # What is read is up to its heads, see `head_of`.
    "several": Head(("text_a", "text_b"), functools.partial(_read_several, {})),
}
"""By the head's name in assets/bert_tf.json."""


def head_of(settings: Mapping[str, Any]) -> Head:
    """The head of an exported model, by its assets/bert_tf.json."""
    head = HEADS[settings["head"]]
    if several := heads_of(settings):
        heads = {name: head_of(own) for name, own in several.items()}
        return head._replace(read=functools.partial(_read_several, heads))
    # Models exported before there were others have one label.
    label_type = settings.get("label_type")
    if label_type == "number":
        return head._replace(read=_read_value)
    if label_type == "multi":
        thresholds = settings["thresholds"]
        return head._replace(read=functools.partial(_read_labels, thresholds))
    return head
