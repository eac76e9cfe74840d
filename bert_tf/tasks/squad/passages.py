"""Finds the answers to a question in several contexts, and ranks both.

The score of a span is its probability among all spans in all contexts, where a
span of overlapping windows counts once: docs/squad.md has the formula. (The
original considers only the 20 best starts and ends of each window, and compares
the answers of one context.)
"""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from bert_tf.errors import InputError, quote
from bert_tf.tasks.squad.answers import (
    Logits,
    TokenSpan,
    null_span,
    require_finite,
)
from bert_tf.tasks.squad.metrics import normalize_answer
from bert_tf.tasks.squad.windows import Window


class Query(NamedTuple):
    """A question and the contexts that may hold its answer."""

    question: str
    contexts: Sequence[str]


class PassageAnswer(NamedTuple):
    """A span of a context, or "no answer".

    Attributes:
        text: `context[start:end]`; "" for "no answer".
        score: its probability among all spans of all contexts and, if questions
            may have none, "no answer".
        start: its first character; None for "no answer".
        end: the character after its last one; None for "no answer".
        context_index: the number of its context, from 0; None for "no answer".
        start_logit: the start logit of its first piece.
        end_logit: the end logit of its last piece.
        null_score: the sum of both logits of "no answer"; None if every
            question has an answer.
    """

    text: str
    score: float
    start: int | None
    end: int | None
    context_index: int | None
    start_logit: float
    end_logit: float
    null_score: float | None = None


class Passage(NamedTuple):
    """A context and the probability that it holds the answer.

    Attributes:
        context_index: the number of the context, from 0.
        score: the sum of the probabilities of all its spans.
        answer: the most probable span.
    """

    context_index: int
    score: float
    answer: PassageAnswer


class Reading(NamedTuple):
    """The answers to a question, and its contexts by rank.

    Attributes:
        answers: the best answers, the best first. No two overlap, or differ in
            case, punctuation and articles only. If the question is left
            unanswered, the first one is "no answer".
        passages: all contexts, the most probable first.
        null_probability: of "no answer"; None if every question has an answer.
    """

    answers: list[PassageAnswer]
    passages: list[Passage]
    null_probability: float | None


def require_text(query: Query) -> None:
    """Raises `InputError` for an empty question or context."""
    if not query.question.strip():
        raise InputError(
            f"`question` must hold text. Received: question={query.question!r}"
        )
    if not query.contexts:
        raise InputError(
            "`contexts` must be at least one text. Received none for the "
            f"question {quote(query.question)}"
        )
    for number, context in enumerate(query.contexts):
        if not context.strip():
            raise InputError(
                "Each context must hold text. Received: "
                f"contexts[{number}]={context!r} for the question "
                f"{quote(query.question)}"
            )


def read(
    question: str,
    windows: Iterable[tuple[Window, Logits]],
    max_answer_length: int = 30,
    num_answers: int = 1,
    null_score_diff_threshold: float | None = None,
) -> Reading:
    """Finds the answers of one question in all its contexts.

    Args:
        question: for error messages.
        windows: all windows of all contexts and their logits. The windows are
            made with `exact_answers`; `example_index` is the number of the
            context.
        max_answer_length: maximum number of word pieces in an answer.
        num_answers: maximum number of answers to return.
        null_score_diff_threshold: the question is left unanswered if the null
            score exceeds that of the best span by more than this. None if every
            question has an answer.

    Raises:
        InputError: logits that are not finite.
    """
    candidates, nulls = [], []
    for window, logits in windows:
        require_finite(question, [logits])
        candidates.append(_Candidates(window, logits, max_answer_length))
        nulls.append(null_span([logits]))
    null = min(nulls, key=lambda span: span.score)
    log_totals = [one.log_total for one in candidates]
    threshold = null_score_diff_threshold
    if threshold is not None:
        log_totals.append(null.score)
    scorer = _Scorer(
        _log_sum_exp(log_totals), None if threshold is None else null.score
    )
    passages = _rank(candidates, scorer)
    answers: list[PassageAnswer] = []
    if (
        threshold is not None
        and null.score - _best_of(candidates).score > threshold
    ):
        answers.append(scorer.answer(null))
    texts: set[str] = set()
    while len(answers) < num_answers:
        span = _best_of(candidates)
        if span.score == -math.inf:
            break
        answer = scorer.answer(span)
        normalized = normalize_answer(answer.text) or answer.text
        if normalized not in texts:
            texts.add(normalized)
            answers.append(answer)
        for one in candidates:
            one.block(answer)
    return Reading(
        answers,
        passages,
        None if threshold is None else scorer.probability(null.score),
    )


def _rank(
    candidates: Iterable["_Candidates"], scorer: "_Scorer"
) -> list[Passage]:
    """All contexts, the most probable first."""
    of_context: dict[int, list[_Candidates]] = {}
    for one in candidates:
        of_context.setdefault(one.window.example_index, []).append(one)
    passages = [
        Passage(
            number,
            scorer.probability(_log_sum_exp([one.log_total for one in some])),
            scorer.answer(_best_of(some)),
        )
        for number, some in of_context.items()
    ]
    return sorted(passages, key=lambda passage: -passage.score)


def _best_of(candidates: Iterable["_Candidates"]) -> TokenSpan:
    return max((one.best for one in candidates), key=lambda span: span.score)


class _Scorer:
    """Turns spans into answers, with one normalizer for all of them."""

    def __init__(self, log_total: float, null_score: float | None):
        self.log_total = log_total
        self.null_score = null_score

    def probability(self, score: float) -> float:
        """The probability of a span, from its logarithm before normalizing."""
        return math.exp(score - self.log_total)

    def answer(self, span: TokenSpan) -> PassageAnswer:
        """A span with its text, place and probability."""
        text, start, end, context_index = "", None, None, None
        if span.window is not None:
            window, document = span.window, span.window.document
            start = document.starts[window.piece(span.start_index)]
            end = document.ends[window.piece(span.end_index)]
            text = document.context[start:end]
            context_index = window.example_index
        return PassageAnswer(
            text,
            self.probability(span.score),
            start,
            end,
            context_index,
            span.start_logit,
            span.end_logit,
            self.null_score,
        )


class _Candidates:
    """The spans of one window, and the best of those that are not blocked.

    Attributes:
        window: the window.
        log_total: logarithm of the sum of exp(score) over all its spans.
        best: the best span; its logits are -inf if all are blocked.
    """

    def __init__(self, window: Window, logits: Logits, max_answer_length: int):
        self.window = window
        self._first = len(window.front)
        context = slice(self._first, self._first + window.span.length)
        # Keep the logits only: the scores of all spans of a long text would
        # take many times the memory.
        self._starts = np.array(logits.start[context], np.float64)
        self._ends = np.array(logits.end[context], np.float64)
        is_max_context = list(window.token_is_max_context.values())
        self._starts[~np.array(is_max_context)] = -math.inf
        self._length = min(max_answer_length, window.span.length)
        self._blocked: list[tuple[int, int]] = []
        scores = self._scores()
        self.log_total = _log_sum_exp(scores)
        self.best = self._find_best(scores)

    def block(self, answer: PassageAnswer) -> None:
        """Excludes the spans that overlap an answer."""
        if answer.start is None or answer.end is None:
            return
        if answer.context_index != self.window.example_index:
            return
        # Compare characters: one Hangul character may be several pieces.
        document, begin = self.window.document, self.window.span.start
        first = bisect_right(document.ends, answer.start) - begin
        last = bisect_left(document.starts, answer.end) - 1 - begin
        if last < 0 or first >= len(self._starts):
            return
        self._blocked.append((first, last))
        self.best = self._find_best(self._scores())

    def _scores(self) -> np.ndarray:
        """Scores [tokens, length] of spans, by first token and length - 1."""
        count = len(self._starts)
        after = np.full(self._length - 1, -math.inf)
        ends = np.lib.stride_tricks.sliding_window_view(
            np.concatenate([self._ends, after]), self._length
        )
        scores = self._starts[:, None] + ends
        first = np.arange(count)[:, None]
        last = first + np.arange(self._length)
        for start, end in self._blocked:
            scores[(first <= end) & (last >= start)] = -math.inf
        return scores

    def _find_best(self, scores: np.ndarray) -> TokenSpan:
        # Among equal scores, the earliest span, then the shortest.
        start, more = divmod(int(scores.argmax()), self._length)
        if scores[start, more] == -math.inf:
            return TokenSpan(self.window, 0, 0, -math.inf, -math.inf)
        return TokenSpan(
            self.window,
            self._first + start,
            self._first + start + more,
            float(self._starts[start]),
            float(self._ends[start + more]),
        )


def _log_sum_exp(values: ArrayLike) -> float:
    """Logarithm of the sum of exp(values), without overflow or underflow."""
    array = np.asarray(values, np.float64)
    highest = float(array.max(initial=-math.inf))
    if highest == -math.inf:
        return highest
    return highest + math.log(float(np.exp(array - highest).sum()))
