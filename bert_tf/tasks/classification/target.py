"""The protocol of a target: what a classifier predicts for a text."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Protocol

import numpy as np

from bert_tf.checkpoints.folder_settings import LABEL_TYPES
from bert_tf.tasks.task import Evaluation

Label = str | float | tuple[str, ...]
"""What an example has: one label, a number, or the labels that hold."""

CLASS, NUMBER, MULTI = LABEL_TYPES


class Target(Protocol):
    """What a classifier predicts for a text.

    Attributes:
        label_type: one of `LABEL_TYPES`.
        labels: their names in the order of their ids; empty before they are
            learned, and for a number.
        num_outputs: logits of a text, L.
        record_shape, record_dtype: of the record's feature `label_ids`.
        results: names of the results of `evaluate`.
        wrong_measure: what `wrong_confidence` returns, in a word.
        blank: the label of examples that have none.
    """

    label_type: ClassVar[str]
    wrong_measure: ClassVar[str]

    @property
    def labels(self) -> tuple[str, ...]: ...
    @property
    def num_outputs(self) -> int: ...
    @property
    def record_shape(self) -> tuple[int, ...]: ...
    @property
    def record_dtype(self) -> str: ...
    @property
    def results(self) -> tuple[str, ...]: ...
    @property
    def blank(self) -> Label: ...

    def read(self, values: Mapping[str, Any]) -> Label:
        """The label of a row; raises `BadValue`.

        Args:
            values: the row's cells by role; those whose role starts with
                `label_col` are read.
        """

    def names_in(self, label: Label) -> tuple[str, ...]:
        """The names of labels in the label of a row."""

    def learned(self, found: Iterable[Label]) -> "Target":
        """The same target with the labels of a training file."""

    def with_labels(self, labels: Sequence[str]) -> "Target":
        """The same target with these labels."""

    def balanced_weights(self, found: Sequence[Label]) -> tuple[float, ...]:
        """The weights of --class_weights=balanced for a training file."""

    def with_weights(self, weights: Sequence[float]) -> "Target":
        """The same target with a weight for each label in the training loss."""

    def encode(self, label: Label | None) -> int | float | list[int]:
        """What a record holds; raises ValueError for an unknown label."""

    def describe(self, label: Label | None) -> str:
        """A label, for the log."""

    def losses(self, logits, label_ids):
        """The training loss of each example: a float32 tensor [B].

        Args:
            logits: float tensor [B, L].
            label_ids: tensor [B, *record_shape].
        """

    def teacher_losses(self, logits, teacher_logits, temperature):
        """The same against a teacher's logits, a float32 tensor [B].

        Args:
            logits, teacher_logits: float tensors [B, L].
            temperature: divides logits before they become probabilities.
        """

    def chance_loss(self, found: Sequence[Label]) -> float:
        """The training loss of the best answer that is the same for all.

        Args:
            found: the labels of the training file.
        """

    def fitted(self, label_ids: np.ndarray, logits: np.ndarray) -> "Target":
        """The same target with what is chosen on evaluated examples.

        Args:
            label_ids, logits: as in `evaluate`, of real examples only.
        """

    def evaluate(
        self,
        label_ids: np.ndarray,
        logits: np.ndarray,
        is_real: np.ndarray,
        batch_size: int,
    ) -> Evaluation:
        """Evaluates logits.

        Args:
            label_ids: [N, *record_shape], the true ones, in the order of the
                file.
            logits: float [N, L].
            is_real: bool [N], false for padding of the last batch.
            batch_size: for `loss`.

        Returns:
            Means over all real examples; `loss` is the mean of the batches'
            mean losses, as in the original.
        """

    def compare(
        self, logits: np.ndarray, teacher_logits: np.ndarray
    ) -> dict[str, float]:
        """How near predictions are to those of a teacher: results by name.

        Args:
            logits, teacher_logits: float [N, L].
        """

    def wrong_confidence(
        self, label_ids: np.ndarray, logits: np.ndarray
    ) -> np.ndarray:
        """The probability of what is wrongly predicted, 0 where nothing is.

        Of several labels, that of the most confident mistake; of numbers, how
        far they are off.

        Args:
            label_ids, logits: as in `evaluate`, of real examples only.

        Returns:
            float [N].
        """

    def names(self, label_ids: Iterable[Any]) -> list[str]:
        """The labels of rows in words, as in `predictions`.

        Args:
            label_ids: what `encode` returns for each.
        """

    def scores(self, logits: np.ndarray) -> np.ndarray:
        """What test_results.tsv has of each text, float32 [N, columns]."""

    def predictions(self, logits: np.ndarray) -> list[str]:
        """The prediction for each text in words, one line each."""

    def columns(
        self, logits: np.ndarray
    ) -> Sequence[tuple[str, Sequence[Any] | np.ndarray]]:
        """Names and values of the columns of test_predictions.tsv."""


def mean_losses(
    losses: np.ndarray, is_real: np.ndarray, batch_size: int
) -> dict[str, float]:
    """`eval_loss` and `loss` of the losses of examples [N]."""
    starts = range(0, len(losses), batch_size)
    means = [losses[at : at + batch_size].mean() for at in starts]
    return {
        "eval_loss": float(np.mean(losses[is_real])),
        "loss": float(np.mean(means)),
    }
