"""Answers to a question in several texts, and how likely each of them is.

Comes in: the windows of a question over all its contexts, from `squad.py`, and
what the model says of each. Goes out: a `Reading`: the best answers and the
contexts, ranked. The model and files stay outside, in `answer.py`; answers in
SQuAD's files, chosen as the original does, are for `squad_answers.py`.

A span is any run of at most `max_answer_length` pieces of a context. Windows
overlap; a span is looked at only in the window that has most around its first
piece, so that it counts once. Its score is a probability among all the spans of
all windows of all contexts of the question:

    score(span) = exp(start logit + end logit) / Z
    Z = sum of exp(start logit + end logit) over all those spans

For questions that may have no answer, Z has one term more, exp(null score). The
null score is as in the original the lowest of all windows, here those of all
contexts: the sum of both logits of [CLS].

(The original looks among the 20 best starts and ends of each window, and its
probabilities are shares of the 20 best answers of one context.)
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
    Span,
    null_span,
    require_finite,
)
from bert_tf.tasks.squad.metrics import normalize_answer
from bert_tf.tasks.squad.windows import Window


class Query(NamedTuple):
    """A question and the texts that may hold its answer."""

    question: str
    contexts: Sequence[str]


class Answer(NamedTuple):
    """A span of a context, or "no answer".

    Attributes:
        text: `context[start:end]`; "" for "no answer".
        score: its probability among all spans of all contexts, and "no answer"
            if there may be none.
        start: its first character; None for "no answer".
        end: the character after its last one; None for "no answer".
        context_index: which of the contexts, from 0; None for "no answer".
        start_logit: what the model gave its first piece as a start.
        end_logit: what it gave its last piece as an end.
        null_score: the sum of both logits of "no answer"; None where every
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
    """One of the contexts.

    Attributes:
        context_index: which of them, from 0.
        score: the probability that the answer is there: the sum of those of
            all its spans.
        answer: the best of these.
    """

    context_index: int
    score: float
    answer: Answer


class Reading(NamedTuple):
    """What is found in the contexts of a question.

    Attributes:
        answers: the best ones, the best first. No two overlap, and no two are
            the same but for case, punctuation and articles. If the question is
            left unanswered, the first one says so.
        passages: all contexts, the most probable first.
        null_probability: of "no answer"; None where every question has one.
    """

    answers: list[Answer]
    passages: list[Passage]
    null_probability: float | None


def require_text(query: Query) -> None:
    """Raises `InputError` unless there is a question, and contexts to read."""
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
        windows: all windows of all contexts, made with `exact_answers`, their
            `example_index` that of the context; and the logits of each.
        max_answer_length: the most word pieces of an answer.
        num_answers: how many are wanted. There are fewer if the contexts hold
            no more.
        null_score_diff_threshold: the question is left unanswered if the null
            score is above that of the best span by more than this. None if
            every question has an answer.

    Raises:
        InputError: logits that are not numbers.
    """
    candidates, nulls = [], []
    for window, logits in windows:
        require_finite(question, [logits])
        candidates.append(_Candidates(window, logits, max_answer_length))
        nulls.append(null_span([logits]))
    null = min(nulls, key=lambda span: span.score)
    log_totals = [one.log_total for one in candidates]
    may_lack_answer = null_score_diff_threshold is not None
    if may_lack_answer:
        log_totals.append(null.score)
    scorer = _Scorer(
        log_sum_exp(log_totals), null.score if may_lack_answer else None
    )
    passages = _rank(candidates, scorer)
    best = max(candidates, key=lambda one: one.best.score).best
    answers: list[Answer] = []
    if (
        null_score_diff_threshold is not None
        and null.score - best.score > null_score_diff_threshold
    ):
        answers.append(scorer.answer(null))
    texts: set[str] = set()
    while len(answers) < num_answers:
        span = max(candidates, key=lambda one: one.best.score).best
        if span.score == -math.inf:
            break
        answer = scorer.answer(span)
        same = normalize_answer(answer.text) or answer.text
        if same not in texts:
            texts.add(same)
            answers.append(answer)
        for one in candidates:
            one.block(answer)
    return Reading(
        answers,
        passages,
        scorer.probability(null.score) if may_lack_answer else None,
    )


def log_sum_exp(values: ArrayLike) -> float:
    """Log of the sum of exp, also where that is too large or small a number."""
    array = np.asarray(values, np.float64)
    highest = float(array.max(initial=-math.inf))
    if highest == -math.inf:
        return highest
    return highest + math.log(float(np.exp(array - highest).sum()))


def _rank(candidates: Iterable["_Candidates"], scorer: "_Scorer") -> list:
    of_context: dict[int, list[_Candidates]] = {}
    for one in candidates:
        of_context.setdefault(one.window.example_index, []).append(one)
    passages = [
        Passage(
            number,
            scorer.probability(log_sum_exp([one.log_total for one in some])),
            scorer.answer(max(some, key=lambda one: one.best.score).best),
        )
        for number, some in of_context.items()
    ]
    return sorted(passages, key=lambda passage: -passage.score)


class _Scorer:
    """Makes answers of spans, with one normalizer for all of them."""

    def __init__(self, log_total: float, null_score: float | None):
        self.log_total = log_total
        self.null_score = null_score

    def probability(self, score: float) -> float:
        """Of what has this logarithm before it is normalized."""
        return math.exp(score - self.log_total)

    def answer(self, span: Span) -> Answer:
        """A span as the caller gets it."""
        text, start, end, context_index = "", None, None, None
        if span.window is not None:
            window, document = span.window, span.window.document
            start = document.starts[window.piece(span.start_index)]
            end = document.ends[window.piece(span.end_index)]
            text = document.context[start:end]
            context_index = window.example_index
        return Answer(
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
    """The spans of one window, and which of those not blocked is the best.

    Attributes:
        window: the window.
        log_total: logarithm of the sum of exp(score) of all its spans.
        best: the best span; its logits are -inf if there is none any more.
    """

    def __init__(self, window: Window, logits: Logits, max_answer_length: int):
        self.window = window
        self._first = len(window.front)
        context = slice(self._first, self._first + window.span.length)
        # Only the logits are kept: the scores of all spans of a long text
        # would take many times the memory.
        self._starts = np.array(logits.start[context], np.float64)
        self._ends = np.array(logits.end[context], np.float64)
        is_best = list(window.token_is_max_context.values())
        self._starts[~np.array(is_best)] = -math.inf
        self._length = min(max_answer_length, window.span.length)
        self._blocked: list[tuple[int, int]] = []
        scores = self._scores()
        self.log_total = log_sum_exp(scores)
        self.best = self._find_best(scores)

    def block(self, answer: Answer) -> None:
        """Takes what overlaps an answer out of the choice."""
        if answer.start is None or answer.end is None:
            return
        if answer.context_index != self.window.example_index:
            return
        # By characters: one of Hangul can be several pieces.
        document, begin = self.window.document, self.window.span.start
        first = bisect_right(document.ends, answer.start) - begin
        last = bisect_left(document.starts, answer.end) - 1 - begin
        if last < 0 or first >= len(self._starts):
            return
        self._blocked.append((first, last))
        self.best = self._find_best(self._scores())

    def _scores(self) -> np.ndarray:
        """[tokens, length]: of the span from each token, by its length - 1."""
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

    def _find_best(self, scores: np.ndarray) -> Span:
        # Of equal ones the earliest, then the shortest.
        start, more = divmod(int(scores.argmax()), self._length)
        if scores[start, more] == -math.inf:
            return Span(self.window, 0, 0, -math.inf, -math.inf)
        return Span(
            self.window,
            self._first + start,
            self._first + start + more,
            float(self._starts[start]),
            float(self._ends[start + more]),
        )
