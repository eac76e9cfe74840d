"""Metrics of predictions: plain NumPy on labels and predictions."""

import math
import statistics
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike


def log_softmax(logits: ArrayLike) -> np.ndarray:
    """Log probabilities over the last axis, float64."""
    logits = np.asarray(logits, np.float64)
    logits = logits - logits.max(axis=-1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))


def sigmoid(logits: ArrayLike) -> np.ndarray:
    """1 / (1 + exp(-x)) of each logit, float64."""
    z = np.asarray(logits, np.float64)
    # exp of a large number would overflow.
    small = np.exp(-np.abs(z))
    return np.where(z < 0, small, 1) / (1 + small)


def entropy(counts: ArrayLike) -> float:
    """That of the shares of some counts or weights, in nats."""
    shares = np.asarray(counts, np.float64)
    shares = shares[shares > 0]
    shares = shares / shares.sum()
    return float(-(shares * np.log(shares)).sum())


def accuracy(labels: ArrayLike, predictions: ArrayLike) -> float:
    """The share of right predictions; NaN without predictions."""
    right = np.asarray(labels) == np.asarray(predictions)
    return float(right.mean()) if right.size else math.nan


def compare_with_teacher(
    logits: np.ndarray, teacher_logits: np.ndarray
) -> dict[str, float]:
    """How near a model's predictions are to those of its teacher.

    Args:
        logits, teacher_logits: [N, L], N at least 1.

    Returns:
        `eval_teacher_agreement`, the share of rows with the same prediction,
        and `eval_teacher_kl`, the mean of sum p_t (log p_t - log p_s).
    """
    of_student, of_teacher = map(log_softmax, (logits, teacher_logits))
    divergence = np.exp(of_teacher) * (of_teacher - of_student)
    return {
        "eval_teacher_agreement": accuracy(
            teacher_logits.argmax(axis=-1), logits.argmax(axis=-1)
        ),
        "eval_teacher_kl": float(divergence.sum(axis=-1).mean()),
    }


def mean_and_deviation(values: Sequence[float]) -> tuple[float, float]:
    """The mean and the sample standard deviation (NaN for a single value)."""
    mean = statistics.fmean(values)
    if len(values) < 2:
        return mean, math.nan
    # `statistics.stdev` raises for NaN.
    squares = sum((value - mean) ** 2 for value in values)
    return mean, math.sqrt(squares / (len(values) - 1))


def confusion_matrix(
    labels: Sequence[int], predictions: Sequence[int], num_labels: int
) -> np.ndarray:
    """Counts [true label, predicted label]."""
    counts = np.zeros((num_labels, num_labels), np.int64)
    np.add.at(counts, (np.asarray(labels), np.asarray(predictions)), 1)
    return counts


def f1(labels: ArrayLike, predictions: ArrayLike, positive: int = 1) -> float:
    """F1 of one label: 2 TP / (2 TP + FP + FN); 0 if it never occurs.

    GLUE's second metric for MRPC, with label 1 as the positive one.
    """
    is_label = np.asarray(labels) == positive
    is_predicted = np.asarray(predictions) == positive
    hits = int((is_label & is_predicted).sum())
    marked = int(is_label.sum() + is_predicted.sum())
    return 2 * hits / marked if marked else 0.0


def f1_and_accuracy(labels: ArrayLike, predictions: ArrayLike) -> float:
    """The mean of F1 and accuracy: GLUE's score of MRPC and QQP."""
    return (f1(labels, predictions) + accuracy(labels, predictions)) / 2


def macro_f1(
    labels: ArrayLike, predictions: ArrayLike, num_labels: int
) -> float:
    """The unweighted mean of the F1 of all labels."""
    scores = [f1(labels, predictions, label) for label in range(num_labels)]
    return float(np.mean(scores))


def matthews_correlation(
    labels: Sequence[int], predictions: Sequence[int], num_labels: int = 2
) -> float:
    """The correlation of labels and predictions, -1 to 1; 0 if undefined.

    GLUE's metric for CoLA.
    """
    counts = confusion_matrix(labels, predictions, num_labels)
    true, predicted = counts.sum(axis=1), counts.sum(axis=0)
    total, right = int(counts.sum()), int(np.trace(counts))
    covariance = right * total - int(true @ predicted)
    spread = math.sqrt(total**2 - int(true @ true)) * math.sqrt(
        total**2 - int(predicted @ predicted)
    )
    return covariance / spread if spread else 0.0


# --------------------------------------------------------------------- numbers


def mean_squared_error(labels: ArrayLike, predictions: ArrayLike) -> float:
    """The mean of the squared differences; NaN without predictions."""
    errors = np.asarray(predictions, np.float64) - np.asarray(labels)
    return float(np.mean(errors**2)) if errors.size else math.nan


def mean_absolute_error(labels: ArrayLike, predictions: ArrayLike) -> float:
    """The mean of the absolute differences; NaN without predictions."""
    errors = np.asarray(predictions, np.float64) - np.asarray(labels)
    return float(np.mean(np.abs(errors))) if errors.size else math.nan


def pearson(labels: ArrayLike, predictions: ArrayLike) -> float:
    """The linear correlation, -1 to 1.

    NaN if either is constant, or for fewer than two rows.
    """
    columns = [np.asarray(x, np.float64) for x in (labels, predictions)]
    if len(columns[0]) < 2 or any(np.ptp(column) == 0 for column in columns):
        return math.nan
    a, b = (column - column.mean() for column in columns)
    # Norms one by one: the product of the squares may be too small or large.
    return float((a / np.linalg.norm(a)) @ (b / np.linalg.norm(b)))


def spearman(labels: ArrayLike, predictions: ArrayLike) -> float:
    """The correlation of ranks, -1 to 1; NaN as for `pearson`."""
    return pearson(mean_ranks(labels), mean_ranks(predictions))


def mean_ranks(values: ArrayLike) -> np.ndarray:
    """The rank of each value [N], from 1; equal ones share their mean rank."""
    _, inverse, counts = np.unique(
        np.asarray(values), return_inverse=True, return_counts=True
    )
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[inverse]


def unit(vectors: np.ndarray) -> np.ndarray:
    """Vectors [..., D] divided by their lengths; zeros stay zeros."""
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / np.maximum(length, 1e-12)


# -------------------------------------------------------------- several labels


class LabelScores(NamedTuple):
    """How well one label is predicted; precision, recall, F1 are 0 for 0/0.

    Attributes:
        support: the rows that have the label.
        auc, average_precision: NaN where they are not defined.
        best_threshold: the highest score with the highest F1 of all thresholds.
    """

    support: int
    precision: float
    recall: float
    f1: float
    auc: float
    average_precision: float
    best_threshold: float


def score_label(
    truth: np.ndarray, scores: np.ndarray, threshold: float
) -> LabelScores:
    """The `LabelScores` of one label.

    Args:
        truth: [N], 1 where a row has the label, else 0.
        scores: float [N]; predicted where a score is at or over the threshold.
        threshold: of the scores' precision.
    """
    found = scores >= threshold
    hits, predicted = int((truth * found).sum()), int(found.sum())
    support = int(truth.sum())
    return LabelScores(
        support,
        hits / predicted if predicted else 0.0,
        hits / support if support else 0.0,
        f1(truth, found),
        roc_auc(truth, scores),
        average_precision(truth, scores),
        best_threshold(truth, scores)[1],
    )


def micro_f1(labels: np.ndarray, predictions: np.ndarray) -> float:
    """F1 over all labels of all rows, each 0 or 1 [N, L]."""
    return f1(labels.ravel(), predictions.ravel())


def subset_accuracy(labels: np.ndarray, predictions: np.ndarray) -> float:
    """The share of rows with all labels [N, L] right; NaN without rows."""
    right = (labels == predictions).all(axis=1)
    return float(right.mean()) if right.size else math.nan


def roc_auc(truth: ArrayLike, scores: ArrayLike) -> float:
    """The probability that a positive row has a higher score than another.

    Args:
        truth: [N], 1 for positive rows, else 0.
        scores: [N]; ties count half.

    Returns:
        NaN unless there are both kinds of rows.
    """
    is_positive = np.asarray(truth) == 1
    positives = int(is_positive.sum())
    negatives = is_positive.size - positives
    if not positives or not negatives:
        return math.nan
    ranks = mean_ranks(scores)[is_positive].sum()
    wins = ranks - positives * (positives + 1) / 2
    return float(wins / (positives * negatives))


def average_precision(truth: ArrayLike, scores: ArrayLike) -> float:
    """The sum of precisions, weighted by the recall each threshold adds.

    Returns:
        NaN without a positive row.
    """
    hits, found, _ = _counts_at_thresholds(truth, scores)
    if not hits.size or not hits[-1]:
        return math.nan
    return float(np.sum(np.diff(hits, prepend=0) / hits[-1] * (hits / found)))


def best_threshold(truth: ArrayLike, scores: ArrayLike) -> tuple[float, float]:
    """The highest F1, and the highest of the scores that give it.

    Rows with scores at or over the threshold are positive. NaN without rows.
    """
    hits, found, thresholds = _counts_at_thresholds(truth, scores)
    if not hits.size:
        return math.nan, math.nan
    scored = 2 * hits / (found + hits[-1])
    best = int(scored.argmax())
    return float(scored[best]), float(thresholds[best])


def _counts_at_thresholds(
    truth: ArrayLike, scores: ArrayLike
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each distinct score, the highest first, as a threshold.

    Returns:
        Positive rows at or over it, all rows at or over it, and the score.
    """
    distinct, inverse, counts = np.unique(
        np.asarray(scores), return_inverse=True, return_counts=True
    )
    positives = np.bincount(
        inverse, weights=np.asarray(truth), minlength=distinct.size
    )
    hits = np.cumsum(positives[::-1])
    return hits, np.cumsum(counts[::-1]), distinct[::-1]
