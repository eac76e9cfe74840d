"""Selects the answers to a question from the logits of its windows.

    windows + logits -> TokenSpans -> Prediction: texts -> the original's JSON

The text of a span is cut out of the context, by default as in the original: the
pieces are looked up in the words that they come from, and if they are not found
there, the answer is those words as a whole. In windows made with
`exact_answers`, the answer is the characters that its pieces were made from.
"""

import json
import logging
import math
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

_LOGGER = logging.getLogger(__name__)

# Above every threshold, so that the question stays unanswered. (The original,
# which crashes there, starts its search for the lowest null score with this.)
NO_SPAN_ODDS = 1000000.0
"""The null odds of a question that no span of its windows can answer."""


class Logits(NamedTuple):
    """Logits of one window: float32, at least one for each token."""

    start: NDArray[np.float32]
    end: NDArray[np.float32]


class TokenSpan(NamedTuple):
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
    """An answer and its probability among the n best of its question."""

    text: str
    probability: float
    start_logit: float
    end_logit: float


class Prediction(NamedTuple):
    """The answers predicted for a question.

    Attributes:
        qas_id: the question's id.
        text: the best answer; in 2.0 the best one that is not "", or "" if
            there is no other.
        nbest: the best answers, in descending order for 1.1. For 2.0 they
            include "", at the end if it is not one of the best.
        null_odds: the score of "no answer" minus that of `text`; None for 1.1.
    """

    qas_id: str
    text: str
    nbest: list[NBestEntry]
    null_odds: float | None = None

    def answer(self, null_score_diff_threshold: float) -> str:
        """The text, or "" if the null odds are above the threshold."""
        if (
            self.null_odds is not None
            and self.null_odds > null_score_diff_threshold
        ):
            return ""
        return self.text


@dataclass(frozen=True)
class AnswerSettings:
    """How answers are selected; names and defaults of the original's flags.

    Attributes:
        n_best_size: number of starts, of ends and of answers considered.
        max_answer_length: maximum number of word pieces in an answer.
        version_2_with_negative: whether a question may have no answer.
        verbose_logging: log which answers could not be found in the words that
            they come from.
    """

    n_best_size: int = 20
    max_answer_length: int = 30
    version_2_with_negative: bool = False
    verbose_logging: bool = False


def predict(
    example: SquadExample,
    windows: Sequence[Window],
    logits: Sequence[Logits],
    settings: AnswerSettings,
    basic_tokenizer: BasicTokenizer,
) -> Prediction:
    """Selects the answers of one question.

    If no window has a possible span, the answer is, as in the original, the
    word "empty" for 1.1. For 2.0, where the original crashes, there is none.

    Args:
        example: the question.
        windows: all of its windows.
        logits: those of each window.
        settings: how answers are selected.
        basic_tokenizer: tokenizes as the model does, to find pieces in words.

    Raises:
        InputError: logits that are not finite.
    """
    require_finite(example.qas_id, logits)
    spans: list[TokenSpan] = []
    for window, scores in zip(windows, logits, strict=True):
        spans += find_spans(
            window, scores, settings.n_best_size, settings.max_answer_length
        )
    null = null_span(logits)
    if settings.version_2_with_negative:
        spans.append(null)
    texts: dict[str, TokenSpan] = {}
    for span in sorted(spans, key=lambda span: span.score, reverse=True):
        if len(texts) >= settings.n_best_size:
            break
        text = span_text(span, basic_tokenizer, settings.verbose_logging)
        texts.setdefault(text, span)
    if settings.version_2_with_negative:
        texts.setdefault("", null)
    elif not texts:
        texts["empty"] = TokenSpan(None, 0, 0, 0.0, 0.0)
    probabilities = softmax([span.score for span in texts.values()])
    nbest = [
        NBestEntry(text, probability, span.start_logit, span.end_logit)
        for (text, span), probability in zip(texts.items(), probabilities)
    ]
    if not settings.version_2_with_negative:
        return Prediction(example.qas_id, nbest[0].text, nbest)
    best = next((entry for entry in nbest if entry.text), None)
    if best is None:
        return Prediction(example.qas_id, "", nbest, NO_SPAN_ODDS)
    odds = null.score - best.start_logit - best.end_logit
    return Prediction(example.qas_id, best.text, nbest, odds)


def require_finite(question: str, logits: Iterable[Logits]) -> None:
    """Raises `InputError` with the question for NaN or infinite logits."""
    for starts, ends in logits:
        if not (np.isfinite(starts).all() and np.isfinite(ends).all()):
            raise InputError(
                f"The model's scores for question {quote(question)} must "
                "be finite numbers. Some are not: is the checkpoint damaged, "
                "or from a training that went wrong?"
            )


def find_spans(
    window: Window, logits: Logits, n_best_size: int, max_answer_length: int
) -> list[TokenSpan]:
    """The possible answers in one window, by start, then by end.

    They combine the best starts and the best ends, if both are in the context,
    span at most `max_answer_length` pieces, and no other window has more
    context around the start.
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
        TokenSpan(
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


def null_span(logits: Iterable[Logits]) -> TokenSpan:
    """Of "no answer": the logits of the [CLS] with the lowest sum."""
    lowest = TokenSpan(None, 0, 0, 0.0, 0.0)
    score = NO_SPAN_ODDS
    for starts, ends in logits:
        span = TokenSpan(None, 0, 0, float(starts[0]), float(ends[0]))
        if span.score < score:
            lowest, score = span, span.score
    return lowest


def best_indexes(logits: NDArray | Sequence[float], count: int) -> list[int]:
    """Indexes of the highest values, in descending order; ties by index."""
    order = np.argsort(-np.asarray(logits, np.float64), kind="stable")
    return order[:count].tolist()


def softmax(scores: Sequence[float]) -> list[float]:
    """Probabilities, computed in Python's floats as in the original."""
    highest = max(scores, default=0.0)
    powers = [math.exp(score - highest) for score in scores]
    total = sum(powers)
    return [power / total for power in powers]


def span_text(
    span: TokenSpan,
    basic_tokenizer: BasicTokenizer,
    verbose_logging: bool = False,
) -> str:
    """The text of an answer; "" for "no answer".

    In windows made with `exact_answers`, the characters of the context that the
    pieces were made from; otherwise the original's: see `get_final_text`.
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
    """The part of `orig_text` that became `pred_text`, as in the original.

    Characters of the text and of its tokens are matched by their number, spaces
    not counted. If the numbers differ (a tokenizer that strips accents or
    decomposes letters), or the tokens do not contain `pred_text`, all of
    `orig_text` is returned.

    Args:
        pred_text: joined word pieces.
        orig_text: the words that they come from.
        basic_tokenizer: tokenizes `orig_text` as the model does.
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


def nbest_to_json(nbest: Iterable[NBestEntry]) -> list[dict[str, Any]]:
    """The n-best list of one question, as in nbest_predictions.json."""
    return [entry._asdict() for entry in nbest]


def write_json(path: str, items: Iterable[tuple[str, Any]]) -> None:
    """Writes a JSON object item by item, formatted as in the original.

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
