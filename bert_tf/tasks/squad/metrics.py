"""SQuAD's official metrics, and the effect of thresholds on them.

Answers that count as right and predicted texts are given by question id, for
SQuAD 2.0 with the null odds: how much the model prefers "no answer".

A threshold answers the questions whose null odds are not above it. The result
of any threshold therefore follows from a single prediction in which all
questions are answered (`Prediction.text`).
"""

import collections
import math
import re
import string
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from bert_tf.errors import InputError
from bert_tf.support import svg
from bert_tf.tasks.squad.data import SquadExample

Answers = Mapping[str, Sequence[str]]
Texts = Mapping[str, str]
Numbers = Mapping[str, float]

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


# --------------------------------------------------------------- one question


def normalize_answer(text: str) -> str:
    """Lower-cases; drops ASCII punctuation, articles and extra spaces."""
    text = text.lower().translate(_NO_PUNCTUATION)
    return " ".join(_ARTICLES.sub(" ", text).split())


def exact_match(prediction: str, answer: str) -> float:
    """1 if both are equal when normalized, else 0."""
    return float(normalize_answer(prediction) == normalize_answer(answer))


def f1(prediction: str, answer: str) -> float:
    """F1 of the words in both, as in SQuAD 1.1: 0 for two empty texts."""
    predicted = normalize_answer(prediction).split()
    wanted = normalize_answer(answer).split()
    common = collections.Counter(predicted) & collections.Counter(wanted)
    same = sum(common.values())
    if not same:
        return 0.0
    precision, recall = same / len(predicted), same / len(wanted)
    return 2 * precision * recall / (precision + recall)


def f1_or_none(prediction: str, answer: str) -> float:
    """F1 of the words in both, as in SQuAD 2.0: 1 for two empty texts."""
    if not normalize_answer(prediction) and not normalize_answer(answer):
        return 1.0
    return f1(prediction, answer)


# --------------------------------------------------------------- all questions


def why_no_metrics(
    examples: Sequence[SquadExample], version_2_with_negative: bool
) -> str | None:
    """Why predictions cannot be evaluated; None if they can."""
    total = len(examples)
    unknown = sum(example.answers is None for example in examples)
    if unknown:
        return f"{unknown} of {total} questions have no key 'answers'"
    unanswered = sum(not example.answers for example in examples)
    if unanswered == total and not version_2_with_negative:
        return (
            "no question has an answer; --version_2_with_negative=true takes "
            "that for the right answer"
        )
    if unanswered and not version_2_with_negative:
        return (
            f"{unanswered} of {total} questions have no answer, which takes "
            "--version_2_with_negative=true"
        )
    return None


def evaluate_v1(answers: Answers, predictions: Texts) -> dict[str, float]:
    """`exact_match` and `f1` of SQuAD 1.1, in percent.

    Of several right answers the one that fits best counts. A question without a
    prediction counts 0.

    Args:
        answers: right answers by question id, at least one for each.
        predictions: predicted texts by question id.
    """
    exact = words = 0.0
    for qas_id, texts in answers.items():
        if qas_id in predictions:
            predicted = predictions[qas_id]
            exact += max(exact_match(predicted, text) for text in texts)
            words += max(f1(predicted, text) for text in texts)
    total = len(answers)
    return {"exact_match": 100 * exact / total, "f1": 100 * words / total}


class Scores(NamedTuple):
    """Both scores of each question, by id."""

    exact: dict[str, float]
    f1: dict[str, float]


def score_v2(answers: Answers, predictions: Texts) -> Scores:
    """The scores of SQuAD 2.0: "" is right for questions without answers.

    Raises:
        InputError: a question has no prediction.
    """
    scores = Scores({}, {})
    for qas_id, texts in answers.items():
        if qas_id not in predictions:
            raise InputError(
                "Each question must be predicted. There is no prediction for "
                f"{qas_id!r}"
            )
        predicted = predictions[qas_id]
        right = [text for text in texts if normalize_answer(text)] or [""]
        scores.exact[qas_id] = max(
            exact_match(predicted, text) for text in right
        )
        scores.f1[qas_id] = max(f1_or_none(predicted, text) for text in right)
    return scores


def evaluate_v2(answers: Answers, predictions: Texts) -> dict[str, float]:
    """The metrics of SQuAD 2.0, in percent, under their official names.

    `exact`, `f1` and `total`; and the same for the questions with an answer
    (`HasAns_...`) and without (`NoAns_...`), if there are any.

    Args:
        answers: right answers by question id; none for questions that have no
            answer.
        predictions: predicted texts, "" for no answer.
    """
    scores = score_v2(answers, predictions)
    groups = {
        "": list(answers),
        "HasAns_": [qas_id for qas_id in answers if answers[qas_id]],
        "NoAns_": [qas_id for qas_id in answers if not answers[qas_id]],
    }
    results: dict[str, float] = {}
    for prefix, group in groups.items():
        if group:
            for name, values in scores._asdict().items():
                total = sum(values[qas_id] for qas_id in group)
                results[prefix + name] = 100 * total / len(group)
            results[f"{prefix}total"] = len(group)
    return results


# ------------------------------------------------------------------ thresholds


def evaluate_thresholds(
    answers: Answers, predictions: Texts, null_odds: Numbers
) -> dict[str, float]:
    """The metrics at the best thresholds, under their official names.

    `best_exact` and `best_f1` in percent and their thresholds `..._thresh`; if
    any question has an answer, also the average precisions `pr_exact_ap`,
    `pr_f1_ap` and `pr_oracle_ap`. (The official script computes all this from
    the predictions it is given. To evaluate thresholds above the one they were
    made with, give it the best texts, whatever their null odds.)
    """
    scores = score_v2(answers, predictions)
    results: dict[str, float] = {}
    for name, values in scores._asdict().items():
        best = find_best_threshold(answers, predictions, null_odds, values)
        results[f"best_{name}"] = best.score
        results[f"best_{name}_thresh"] = best.threshold
    for name, curve in precision_recall(
        answers, predictions, null_odds
    ).items():
        results[f"pr_{name}_ap"] = curve.average_precision
    return results


class Threshold(NamedTuple):
    """A threshold of null odds and the resulting score, in percent."""

    threshold: float
    score: float


def find_best_threshold(
    answers: Answers, predictions: Texts, null_odds: Numbers, scores: Numbers
) -> Threshold:
    """The best threshold as the official script computes it.

    Unlike `choose_threshold`, it reports 0 for "no question is answered",
    whatever the odds, may separate questions with equal odds, and counts any
    text as wrong where there is no answer, "." as well.

    Args:
        answers, predictions, null_odds: by question id.
        scores: one of `score_v2(answers, predictions)`.
    """
    total = float(sum(not texts for texts in answers.values()))
    best = Threshold(0.0, total)
    for qas_id in sorted(answers, key=null_odds.__getitem__):
        if answers[qas_id]:
            total += scores[qas_id]
        elif predictions[qas_id]:
            total -= 1
        if total > best.score:
            best = Threshold(null_odds[qas_id], total)
    return Threshold(best.threshold, 100 * best.score / len(answers))


def choose_threshold(
    answers: Answers, predictions: Texts, null_odds: Numbers
) -> Threshold:
    """The lowest threshold that gives the best F1 on these questions."""
    answered = score_v2(answers, predictions).f1
    unanswered = score_v2(answers, dict.fromkeys(answers, "")).f1
    gained: dict[float, float] = collections.defaultdict(float)
    for qas_id, odds in null_odds.items():
        gained[odds] += answered[qas_id] - unanswered[qas_id]
    total = sum(unanswered.values())
    # Below all odds, no question is answered.
    best = Threshold(math.nextafter(min(gained), -math.inf), total)
    for odds in sorted(gained):
        total += gained[odds]
        if total > best.score:
            best = Threshold(odds, total)
    return Threshold(best.threshold, 100 * best.score / len(answers))


class PrecisionRecall(NamedTuple):
    """A precision-recall curve, from no question answered to all of them.

    Attributes:
        precisions: share of right answers among those given, from 0 to 1.
        recalls: share of right answers among the questions that have one.
        average_precision: the area under the curve, in percent.
    """

    precisions: list[float]
    recalls: list[float]
    average_precision: float


def precision_recall(
    answers: Answers, predictions: Texts, null_odds: Numbers
) -> dict[str, PrecisionRecall]:
    """The curves of `exact`, `f1` and `oracle`; none without any answer.

    The oracle finds every right answer: its curve evaluates the null odds
    alone.
    """
    if not any(answers.values()):
        return {}
    scores = score_v2(answers, predictions)
    oracle = {qas_id: float(bool(texts)) for qas_id, texts in answers.items()}
    return {
        "exact": _curve(answers, scores.exact, null_odds),
        "f1": _curve(answers, scores.f1, null_odds),
        "oracle": _curve(answers, oracle, null_odds),
    }


def _curve(
    answers: Answers, scores: Numbers, null_odds: Numbers
) -> PrecisionRecall:
    ordered = sorted(answers, key=null_odds.__getitem__)
    with_answer = sum(map(bool, answers.values()))
    precisions, recalls = [1.0], [0.0]
    area = right = 0.0
    for answered, qas_id in enumerate(ordered, start=1):
        if answers[qas_id]:
            right += scores[qas_id]
        is_last = answered == len(ordered)
        if is_last or null_odds[qas_id] != null_odds[ordered[answered]]:
            precision, recall = right / answered, right / with_answer
            area += precision * (recall - recalls[-1])
            precisions.append(precision)
            recalls.append(recall)
    return PrecisionRecall(precisions, recalls, 100 * area)


# ------------------------------------------------------------------ the diagram

_NAMES = {
    "exact": "exact match",
    "f1": "F1",
    "oracle": "oracle (has an answer or not)",
}
_AXES = svg.Axes(60, 20, 480, 360)


def draw_precision_recall(curves: Mapping[str, PrecisionRecall]) -> str:
    """An SVG diagram of the curves that `precision_recall` returns."""
    tenths = [tenth / 10 for tenth in range(0, 11, 2)]
    form = "{:.1f}".format
    parts = _AXES.draw("Recall", "Precision", tenths, tenths, form)
    x = _AXES.left + 12
    for row, (name, curve) in enumerate(curves.items()):
        y, color = _AXES.bottom - 60 + 18 * row, svg.SERIES[row]
        words = (
            f"{_NAMES[name]}, average precision {curve.average_precision:.2f}"
        )
        parts += [
            svg.path(_steps(curve), color),
            svg.path(f"M{x:g} {y - 4:g}h24", color),
            svg.text(x + 32, y, words, "start"),
        ]
    width, height = _AXES.right + 20, _AXES.bottom + 50
    return svg.document(width, height, "Precision and recall", parts)


def _steps(curve: PrecisionRecall) -> str:
    """A path in steps: each precision holds up to the next recall."""
    last = _AXES.place(curve.recalls[0], curve.precisions[0])
    path = f"M{last[0]} {last[1]}"
    for recall, precision in zip(curve.recalls[1:], curve.precisions[1:]):
        point = _AXES.place(recall, precision)
        if point != last:
            path += f"H{point[0]}V{point[1]}"
            last = point
    return path
