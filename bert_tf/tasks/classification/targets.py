"""Targets of classification: one label, or several labels.

A target decides how a cell is read, what a record holds, the loss, the metrics,
and what is written about predictions.
"""

import collections
import dataclasses
import itertools
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from bert_tf.errors import InputError
from bert_tf.tasks import metrics, pictures, report
from bert_tf.tasks.classification import cells, thresholds
from bert_tf.tasks.classification.numbers import Number
from bert_tf.tasks.classification.target import (
    CLASS,
    MULTI,
    NUMBER,
    Target,
    mean_losses,
)
from bert_tf.tasks.labels import infer_labels
from bert_tf.tasks.task import Evaluation

Ids = Sequence[int]
Metric = Callable[[Ids, Ids, int], float]
"""A function of true label ids, predicted ones, and the number of labels."""

# The original's results in eval_results.txt, besides the step.
RESULTS = ("eval_accuracy", "eval_loss", "loss")

# Ways to combine the logits of a text's windows, for each label.
WINDOW_POOLINGS: Mapping[str, Callable[..., np.ndarray]] = {
    "mean": np.mean,
    "max": np.max,
}

_LOGGER = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class OneLabel:
    """Each text has one of several labels.

    Attributes:
        labels: in the order of their ids.
        metrics: results besides accuracy, by their names in eval_results.txt.
        weights: of each label in the training loss; None for 1.
    """

    labels: tuple[str, ...] = ()
    metrics: Mapping[str, Metric] = dataclasses.field(default_factory=dict)
    weights: tuple[float, ...] | None = None

    label_type: ClassVar[str] = CLASS
    wrong_measure: ClassVar[str] = "probability"
    record_shape: ClassVar[tuple[int, ...]] = ()
    record_dtype: ClassVar[str] = "int64"

    @property
    def num_outputs(self) -> int:
        return len(self.labels)

    @property
    def results(self) -> tuple[str, ...]:
        return (*RESULTS, *self.metrics)

    @property
    def blank(self) -> str:
        return self.labels[0]

    def read(self, values):
        return cells.read_label("label_col", values["label_col"])

    def names_in(self, label):
        return (label,)

    def learned(self, found):
        return self.with_labels(infer_labels(list(found)))

    def with_labels(self, labels):
        return dataclasses.replace(self, labels=tuple(labels))

    def balanced_weights(self, found):
        rows = collections.Counter(found)
        counts = [rows[label] for label in self.labels]
        _require_rows(self.labels, counts)
        return tuple(len(found) / (len(counts) * count) for count in counts)

    def with_weights(self, weights):
        return dataclasses.replace(self, weights=tuple(weights))

    def encode(self, label):
        return self.labels.index(label)

    def describe(self, label):
        return f"{label} (id {self.encode(label)})"

    def losses(self, logits, label_ids):
        # Loads Keras, which reading and evaluating do without.
        from bert_tf import heads

        _, losses = (
            heads.classification_loss(logits, label_ids)
            if self.weights is None
            else heads.weighted_classification_loss(
                logits, label_ids, self.weights
            )
        )
        return losses

    def teacher_losses(self, logits, teacher_logits, temperature):
        from bert_tf import heads

        return heads.soft_cross_entropy(logits, teacher_logits, temperature)

    def chance_loss(self, found):
        rows = collections.Counter(found)
        weights = self.weights or (1.0,) * len(self.labels)
        shares = [
            weight * rows[label] / len(found)
            for label, weight in zip(self.labels, weights)
        ]
        return sum(shares) * metrics.entropy(shares)

    def fitted(self, label_ids, logits):
        return self

    def evaluate(self, label_ids, logits, is_real, batch_size):
        scores = metrics.log_softmax(logits)
        losses = -scores[np.arange(len(logits)), label_ids]
        probabilities = np.exp(scores[is_real])
        truth = label_ids[is_real].tolist()
        predictions = logits[is_real].argmax(axis=-1).tolist()
        return Evaluation(
            {
                "eval_accuracy": metrics.accuracy(truth, predictions),
                **mean_losses(losses, is_real, batch_size),
            },
            {
                name: metric(truth, predictions, len(self.labels))
                for name, metric in self.metrics.items()
            },
            pictures.report_one_label(
                self.labels, label_ids[is_real], probabilities
            ),
            warnings=[
                *report.only_prediction(
                    self.names(truth),
                    self.names(predictions),
                    ", --class_weights=balanced if labels differ in frequency",
                ),
                *report.missing_predictions(
                    self.names(truth), self.names(predictions)
                ),
            ],
        )

    def compare(self, logits, teacher_logits):
        return metrics.compare_with_teacher(logits, teacher_logits)

    def wrong_confidence(self, label_ids, logits):
        scores = metrics.log_softmax(logits)
        return report.wrong_confidence(label_ids, np.exp(scores))

    def scores(self, logits):
        """Probabilities, float32 [N, L]."""
        return np.exp(metrics.log_softmax(logits)).astype(np.float32)

    def predictions(self, logits):
        return self.names(logits.argmax(axis=-1))

    def columns(self, logits):
        best = self.scores(logits).max(axis=-1)
        return [("label", self.predictions(logits)), ("probability", best)]

    def names(self, label_ids):
        return [self.labels[at] for at in label_ids]


@dataclasses.dataclass(frozen=True)
class ManyLabels:
    """Each text has any number of the labels.

    Attributes:
        labels: in the order of their ids.
        separator: between names of labels, in cells and in predictions.
        reads_flags: whether a cell may have a list of 0 and 1, one for each
            label, in place of names, even if there are labels called so.
        threshold: of each label's score, at or over which it is predicted;
            empty for 0.5.
        chooses_thresholds: whether evaluation chooses them, for the best F1 of
            each label.
        keeps_thresholds: whether a training keeps those that were given.
        weights: of the loss where a label holds; None for 1.
    """

    labels: tuple[str, ...] = ()
    separator: str = ","
    reads_flags: bool = False
    thresholds: tuple[float, ...] = ()
    chooses_thresholds: bool = False
    keeps_thresholds: bool = False
    weights: tuple[float, ...] | None = None

    label_type: ClassVar[str] = MULTI
    wrong_measure: ClassVar[str] = "probability"
    record_dtype: ClassVar[str] = "int64"
    blank: ClassVar[tuple[str, ...]] = ()
    results: ClassVar[tuple[str, ...]] = (
        "eval_loss",
        "loss",
        "eval_auc",
        "eval_macro_f1",
        "eval_micro_f1",
        "eval_subset_accuracy",
    )

    @property
    def num_outputs(self) -> int:
        return len(self.labels)

    @property
    def record_shape(self) -> tuple[int, ...]:
        return (len(self.labels),)

    def read(self, values):
        if "label_col" in values:
            reads_flags = self.reads_flags or not {"0", "1"} & {*self.labels}
            return cells.read_labels(
                "label_col",
                values["label_col"],
                self.separator,
                (self.labels if reads_flags else None) or None,
            )
        flags = (
            cells.read_flag(
                f"label_cols, {label}", values[cells.label_role(at)]
            )
            for at, label in enumerate(self.labels)
        )
        return tuple(label for label, holds in zip(self.labels, flags) if holds)

    def names_in(self, label):
        return label

    def learned(self, found):
        rows = list(found)
        names = {name for row in rows for name in row}
        target = self
        if not self.labels:
            target = self.with_labels(infer_labels(sorted(names)))
        lacking = [name for name in target.labels if name not in names]
        if names and lacking:
            _LOGGER.warning(
                "No row of the training file has the label %s",
                ", ".join(map(repr, lacking)),
            )
        return target

    def with_labels(self, labels):
        return dataclasses.replace(self, labels=tuple(labels))

    def balanced_weights(self, found):
        counts = [sum(name in row for row in found) for name in self.labels]
        _require_rows(self.labels, counts)
        return tuple((len(found) - count) / count for count in counts)

    def with_weights(self, weights):
        return dataclasses.replace(self, weights=tuple(weights))

    def encode(self, label):
        unknown = set(label) - set(self.labels)
        if unknown:
            raise ValueError(f"unknown labels: {unknown}")
        return [int(name in label) for name in self.labels]

    def describe(self, label):
        return f"{self.separator.join(label) or 'none'} ({self.encode(label)})"

    def losses(self, logits, label_ids):
        from bert_tf import heads

        _, losses = heads.multi_label_loss(
            logits, label_ids, weights=self.weights
        )
        return losses

    def teacher_losses(self, logits, teacher_logits, temperature):
        from bert_tf import heads

        return heads.soft_binary_cross_entropy(
            logits, teacher_logits, temperature
        )

    def chance_loss(self, found):
        weights = self.weights or (1.0,) * len(self.labels)
        losses = []
        for label, weight in zip(self.labels, weights):
            holds = sum(label in row for row in found) / len(found)
            shares = [weight * holds, 1 - holds]
            losses.append(sum(shares) * metrics.entropy(shares))
        return float(np.mean(losses))

    @property
    def thresholds_in_force(self) -> tuple[float, ...]:
        """The threshold of each label."""
        return self.thresholds or (0.5,) * len(self.labels)

    @property
    def threshold_files(self) -> dict[str, str]:
        """The content of thresholds.tsv by its name."""
        return {
            thresholds.FILE: thresholds.to_text(
                self.labels, self.thresholds_in_force
            )
        }

    def fitted(self, label_ids, logits):
        if not self.chooses_thresholds:
            return self
        scores = self.scores(logits)
        chosen = (
            metrics.best_threshold(label_ids[:, at], scores[:, at])[1]
            for at in range(len(self.labels))
        )
        return dataclasses.replace(self, thresholds=tuple(chosen))

    def evaluate(self, label_ids, logits, is_real, batch_size):
        z = logits.astype(np.float64)
        losses = np.maximum(z, 0) - z * label_ids
        losses = (losses + np.log1p(np.exp(-np.abs(z)))).mean(axis=1)
        truth, scores = label_ids[is_real], self.scores(logits[is_real])
        found = self._holds(scores)
        limits = np.asarray(self.thresholds_in_force, np.float32)
        each = [
            metrics.score_label(truth[:, at], scores[:, at], limits[at])
            for at in range(len(self.labels))
        ]
        areas = [one.auc for one in each if not np.isnan(one.auc)]
        return Evaluation(
            mean_losses(losses, is_real, batch_size),
            {
                "eval_micro_f1": metrics.micro_f1(truth, found),
                "eval_macro_f1": float(np.mean([one.f1 for one in each])),
                "eval_subset_accuracy": metrics.subset_accuracy(truth, found),
                "eval_auc": float(np.mean(areas)) if areas else np.nan,
            },
            files={
                "eval_per_label.tsv": report.table_of_labels(self.labels, each),
                **pictures.report_many_labels(self.labels, truth, found),
            },
            model_files=self.threshold_files if self.chooses_thresholds else {},
            warnings=report.only_prediction(
                self.names(truth),
                self.names(found),
                ", --class_weights=balanced, or --threshold=auto",
            ),
        )

    def compare(self, logits, teacher_logits):
        # Each label is a choice between two: it holds, or does not.
        return metrics.compare_with_teacher(
            *(
                np.stack([x, np.zeros_like(x)], -1).reshape(-1, 2)
                for x in (logits, teacher_logits)
            )
        )

    def wrong_confidence(self, label_ids, logits):
        scores = self.scores(logits)
        found = self._holds(scores)
        sure = np.where(found, scores, 1 - scores)
        return np.where(found != label_ids, sure, 0).max(axis=1)

    def names(self, label_ids):
        return [
            self.separator.join(itertools.compress(self.labels, row))
            for row in label_ids
        ]

    def _holds(self, scores):
        # In float32, so that a score that became a threshold is at it.
        return scores >= np.asarray(self.thresholds_in_force, np.float32)

    def scores(self, logits):
        """The sigmoid of logits, float32 [N, L]."""
        return metrics.sigmoid(logits).astype(np.float32)

    def predictions(self, logits):
        return self.names(self._holds(self.scores(logits)))

    def columns(self, logits):
        names = self.predictions(logits)
        return [("labels", names), *zip(self.labels, self.scores(logits).T)]


def make_target(label_type: str, **fields: Any) -> Target:
    """The target of a label type, with these fields."""
    kinds: Mapping[str, Callable[..., Target]] = {
        CLASS: OneLabel,
        NUMBER: Number,
        MULTI: ManyLabels,
    }
    return kinds[label_type](**fields)


def _require_rows(labels: Sequence[str], counts: Sequence[int]) -> None:
    lacking = [label for label, count in zip(labels, counts) if not count]
    if lacking:
        raise InputError(
            "`--class_weights=balanced` needs rows of each label in the "
            f"training file. It has none of {', '.join(map(repr, lacking))}"
        )
