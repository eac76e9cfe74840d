"""What a model says of windows, made into answers.

Comes in: a question's windows from `squad.py`, and for each of them what the
model gave its tokens as start and as end of the answer. Goes out: `Prediction`s
with the best answers, and the JSON files that the original writes. The model,
and whether an answer is right, stay outside.

    windows + logits -> Spans of tokens -> Prediction: texts

The text of a span is cut out of the context, by default as the original does
it: the pieces are looked for in the words that they come from, and where that
fails, the answer is those words whole. Windows made with `exact_answers` know
the characters that their pieces were made from, and the text is those.
"""

import json
import logging
import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bert_tf.errors import InputError, quote
from bert_tf.support.files import whole_or_nothing
from bert_tf.tasks.squad.data import SquadExample
from bert_tf.tasks.squad.windows import Window
from bert_tf.tokenization import BasicTokenizer

AUTO = "auto"
"""As a threshold: the one that was chosen on answered questions."""

THRESHOLD_FILE = "null_score_diff_threshold.txt"
"""Keeps it, in the output folder."""

_LOGGER = logging.getLogger(__name__)

NO_SPAN_ODDS = 1000000.0
"""The null odds of a question for which there is no span to answer it.

Above every threshold, so that it stays unanswered; the original, which crashes
there, starts its search for the lowest null score with this number.
"""


class Logits(NamedTuple):
    """What the model says of one window: float32 [S] each, or longer lists."""

    start: NDArray[np.float32]
    end: NDArray[np.float32]


class Span(NamedTuple):
    """Tokens of a window that may be the answer; no window for "no answer"."""

    window: Window | None
    start_index: int
    end_index: int
    start_logit: float
    end_logit: float

    @property
    def score(self) -> float:
        """The sum of both logits."""
        return self.start_logit + self.end_logit


class NBestEntry(NamedTuple):
    """An answer, and how likely it is among those of its question."""

    text: str
    probability: float
    start_logit: float
    end_logit: float


class Prediction(NamedTuple):
    """What is predicted for a question.

    Attributes:
        qas_id: the question's id.
        text: the best answer; in 2.0 the best that is not "", or "" if there
            is no other.
        nbest: the best answers, 1.1's in falling order. In 2.0 "" is among
            them, after the others if it is not one of the best.
        null_odds: by how much the score of "no answer" is above that of
            `text`; None in 1.1.
    """

    qas_id: str
    text: str
    nbest: list[NBestEntry]
    null_odds: float | None = None

    def answer(self, null_score_diff_threshold: float) -> str:
        """The text, or "" where the null odds are above the threshold."""
        if (
            self.null_odds is not None
            and self.null_odds > null_score_diff_threshold
        ):
            return ""
        return self.text


@dataclass(frozen=True)
class AnswerSettings:
    """How answers are chosen; names and defaults of the original's flags.

    Attributes:
        n_best_size: how many starts, ends and answers are looked at.
        max_answer_length: the most word pieces of an answer.
        version_2_with_negative: whether a question may have no answer.
        verbose_logging: log where the original's way cannot find an answer in
            the words it comes from.
    """

    n_best_size: int = 20
    max_answer_length: int = 30
    version_2_with_negative: bool = False
    verbose_logging: bool = False


def best_indexes(logits: NDArray | Sequence[float], count: int) -> list[int]:
    """Where the highest values are, the highest first, then the earlier."""
    order = np.argsort(-np.asarray(logits, np.float64), kind="stable")
    return order[:count].tolist()


def softmax(scores: Sequence[float]) -> list[float]:
    """Probabilities, in Python's floats as the original has them."""
    highest = max(scores, default=0.0)
    powers = [math.exp(score - highest) for score in scores]
    total = sum(powers)
    return [power / total for power in powers]


def find_spans(
    window: Window, logits: Logits, n_best_size: int, max_answer_length: int
) -> list[Span]:
    """What may be the answer in one window, by start, then by end.

    Among the best starts and the best ends: those in the context, at most
    `max_answer_length` pieces apart, and the start where no other window has
    more around it.
    """
    first = len(window.front)
    end_of_context = first + window.span.length
    is_max_context = window.token_is_max_context
    starts = [
        index
        for index in best_indexes(logits.start, n_best_size)
        if is_max_context.get(index, False)
    ]
    ends = [
        index
        for index in best_indexes(logits.end, n_best_size)
        if first <= index < end_of_context
    ]
    return [
        Span(
            window,
            start,
            end,
            float(logits.start[start]),
            float(logits.end[end]),
        )
        for start in starts
        for end in ends
        if start <= end < start + max_answer_length
    ]


def null_span(logits: Iterable[Logits]) -> Span:
    """No answer: both logits of [CLS], of the window where they are lowest."""
    lowest = Span(None, 0, 0, 0.0, 0.0)
    score = NO_SPAN_ODDS
    for one in logits:
        span = Span(None, 0, 0, float(one.start[0]), float(one.end[0]))
        if span.score < score:
            lowest, score = span, span.score
    return lowest


def predict(
    example: SquadExample,
    windows: Sequence[Window],
    logits: Sequence[Logits],
    settings: AnswerSettings,
    basic_tokenizer: BasicTokenizer,
) -> Prediction:
    """Chooses the answers of one question.

    Where no window has a span to choose, the answer is, as in the original,
    the word "empty" in 1.1; in 2.0, where the original crashes, there is none.

    Args:
        example: the question.
        windows: all of its windows.
        logits: of each window.
        settings: how to choose.
        basic_tokenizer: with the model's case, to find pieces in words.

    Raises:
        InputError: logits that are not numbers.
    """
    require_finite(example.qas_id, logits)
    spans: list[Span] = []
    for window, scores in zip(windows, logits, strict=True):
        spans += find_spans(
            window, scores, settings.n_best_size, settings.max_answer_length
        )
    null = null_span(logits)
    if settings.version_2_with_negative:
        spans.append(null)
    texts: dict[str, Span] = {}
    for span in sorted(spans, key=lambda span: span.score, reverse=True):
        if len(texts) >= settings.n_best_size:
            break
        text = span_text(span, basic_tokenizer, settings.verbose_logging)
        texts.setdefault(text, span)
    if settings.version_2_with_negative:
        texts.setdefault("", null)
    elif not texts:
        texts["empty"] = Span(None, 0, 0, 0.0, 0.0)
    chances = softmax([span.score for span in texts.values()])
    nbest = [
        NBestEntry(text, chance, span.start_logit, span.end_logit)
        for (text, span), chance in zip(texts.items(), chances)
    ]
    if not settings.version_2_with_negative:
        return Prediction(example.qas_id, nbest[0].text, nbest)
    best = next((entry for entry in nbest if entry.text), None)
    if best is None:
        return Prediction(example.qas_id, "", nbest, NO_SPAN_ODDS)
    odds = null.score - best.start_logit - best.end_logit
    return Prediction(example.qas_id, best.text, nbest, odds)


def require_finite(question: str, logits: Iterable[Logits]) -> None:
    """Raises `InputError`, naming the question, for NaN or infinity."""
    for one in logits:
        if not (np.isfinite(one.start).all() and np.isfinite(one.end).all()):
            raise InputError(
                f"The model's scores for question {quote(question)} must "
                "be finite numbers. Some are not: is the checkpoint damaged, "
                "or from a training that went wrong?"
            )


def span_text(
    span: Span, basic_tokenizer: BasicTokenizer, verbose_logging: bool = False
) -> str:
    """The text of an answer; "" for "no answer".

    If the window was made with `exact_answers`, the characters of the context
    that the pieces were made from, whatever the tokenizer made of them.
    Otherwise what the original returns: see `get_final_text`.
    """
    if span.window is None:
        return ""
    window, document = span.window, span.window.document
    first, last = window.piece(span.start_index), window.piece(span.end_index)
    if document.starts:
        return document.context[document.starts[first] : document.ends[last]]
    words = document.word_of_piece
    orig_text = " ".join(document.words[words[first] : words[last] + 1])
    text = " ".join(document.pieces[first : last + 1])
    text = text.replace(" ##", "").replace("##", "")
    return get_final_text(
        " ".join(text.split()),
        orig_text,
        basic_tokenizer,
        verbose_logging,
    )


def get_final_text(
    pred_text: str,
    orig_text: str,
    basic_tokenizer: BasicTokenizer,
    verbose_logging: bool = False,
) -> str:
    """The part of `orig_text` that became `pred_text`, the original's way.

    Characters of the text and of its tokens are counted, spaces left out: the
    fifth of one is taken for the fifth of the other. Where there are not
    equally many (a tokenizer that strips accents or takes letters apart), or
    the tokens do not hold `pred_text`, all of `orig_text` is returned.

    Args:
        pred_text: joined word pieces.
        orig_text: the words that they come from.
        basic_tokenizer: made those pieces' tokens.
        verbose_logging: log why all of `orig_text` is returned.
    """

    def everything(reason: str) -> str:
        if verbose_logging:
            _LOGGER.info("%s: '%s' in '%s'", reason, pred_text, orig_text)
        return orig_text

    tok_text = " ".join(basic_tokenizer.tokenize(orig_text))
    start = tok_text.find(pred_text)
    if start < 0 or not pred_text:
        return everything("Unable to find text")
    places = [place for place, char in enumerate(orig_text) if char != " "]
    if len(places) != len(tok_text) - tok_text.count(" "):
        return everything("Length not equal after stripping spaces")
    if pred_text[0] == " " or pred_text[-1] == " ":
        return everything("Couldn't map start or end position")
    last = start + len(pred_text) - 1
    first_char = places[start - tok_text.count(" ", 0, start)]
    last_char = places[last - tok_text.count(" ", 0, last)]
    return orig_text[first_char : last_char + 1]


# ---------------------------------------------------------------------- files


def write_json(path: str, items: Iterable[tuple[str, Any]]) -> None:
    """Writes an object as the original's files have it, item by item.

    Raises:
        InputError: the file cannot be written.
    """
    with whole_or_nothing(path) as file:
        before = "{\n"
        for key, value in items:
            text = json.dumps({key: value}, indent=4)
            file.write(f"{before}{text[2:-2]}".encode())
            before = ",\n"
        file.write(b"{}\n" if before == "{\n" else b"\n}\n")


def nbest_to_json(nbest: Iterable[NBestEntry]) -> list[dict[str, Any]]:
    """The n-best list of one question, as nbest_predictions.json has it."""
    return [entry._asdict() for entry in nbest]


def check_threshold(
    version_2_with_negative: bool, threshold: float | str
) -> None:
    """Raises `InputError` for one that is no number, or without effect."""
    name = "null_score_diff_threshold"
    if not isinstance(threshold, str) and math.isnan(threshold):
        raise InputError(
            f"`{name}` must be a number or {AUTO}. Received: {name}={threshold}"
        )
    if threshold and not version_2_with_negative:
        raise InputError(
            f"`{name}` has a meaning only with version_2_with_negative=True: "
            "without it all questions are answered. Received: "
            f"{name}={threshold}"
        )


def find_threshold(threshold: float | str, checkpoint: str) -> float:
    """The threshold as a number, "auto" being what run_squad kept.

    Raises:
        InputError: it kept none beside the checkpoint, or no number.
    """
    if not isinstance(threshold, str):
        return threshold
    path = os.path.join(os.path.dirname(checkpoint), THRESHOLD_FILE)
    if not os.path.isfile(path):
        raise InputError(
            f"`null_score_diff_threshold={AUTO}` needs {path}, which "
            "is not there: bert_tf.run_squad writes it when it predicts, with "
            "the same flag, a file that has right answers. Or give a number."
        )
    return read_threshold(path)


def read_threshold(path: str) -> float:
    """The threshold that an earlier prediction chose.

    Raises:
        InputError: the file holds no number.
    """
    with open(path, encoding="utf-8", errors="replace") as file:
        text = file.read().strip()
    try:
        threshold = float(text)
    except ValueError:
        threshold = math.nan
    if math.isnan(threshold):
        raise InputError(
            f"{path} must hold a number, as a prediction with "
            f"--null_score_diff_threshold={AUTO} writes it. It has: "
            f"{text[:60]!r}"
        )
    logging.info("Taking the threshold %s from %s.", threshold, path)
    return threshold
