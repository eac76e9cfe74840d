"""Metrics of predictions: plain NumPy on labels and predictions."""

import math
import statistics
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike


def log_softmax(logits: ArrayLike) -> np.ndarray:
    """Log probabilities over the last axis, float64."""
    logits = np.asarray(logits, np.float64)
    logits = logits - logits.max(axis=-1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))


def accuracy(labels: ArrayLike, predictions: ArrayLike) -> float:
    """The share of right predictions; NaN without predictions."""
    right = np.asarray(labels) == np.asarray(predictions)
    return float(right.mean()) if right.size else math.nan


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
