"""Targets of classification: how logits are evaluated and written."""

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np

from bert_tf.tasks import metrics
from bert_tf.tasks.classification.data import Metric

# The original's results in eval_results.txt, besides the step.
RESULTS = ("eval_accuracy", "eval_loss", "loss")

# Ways to combine the logits of a text's windows, for each label.
WINDOW_POOLINGS: Mapping[str, Callable[..., np.ndarray]] = {
    "mean": np.mean,
    "max": np.max,
}


@dataclasses.dataclass(frozen=True)
class OneLabel:
    """Each text has one of several labels.

    Attributes:
        labels: in the order of their ids.
        metrics: of `datasets.Dataset`.
    """

    labels: tuple[str, ...]
    metrics: Mapping[str, Metric] = dataclasses.field(default_factory=dict)

    def evaluate(
        self,
        label_ids: np.ndarray,
        logits: np.ndarray,
        is_real: np.ndarray,
        batch_size: int,
    ) -> tuple[dict[str, float], dict[str, float]]:
        """Evaluates logits.

        Args:
            label_ids: int [N], the true ones, in the order of the file.
            logits: float [N, L].
            is_real: bool [N], false for padding of the last batch.
            batch_size: for `loss`.

        Returns:
            The original's results, means over all real examples (`loss` is the
            mean of the batches' mean losses); and the data set's metrics.
        """
        losses = -metrics.log_softmax(logits)[np.arange(len(logits)), label_ids]
        truth = label_ids[is_real].tolist()
        predictions = logits[is_real].argmax(axis=-1).tolist()
        batches = range(0, len(losses), batch_size)
        results = {
            "eval_accuracy": metrics.accuracy(truth, predictions),
            "eval_loss": float(np.mean(losses[is_real])),
            "loss": float(
                np.mean([losses[i : i + batch_size].mean() for i in batches])
            ),
        }
        more = {
            name: metric(truth, predictions, len(self.labels))
            for name, metric in self.metrics.items()
        }
        return results, more

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        """The softmax of logits, float32 [N, L]."""
        return np.exp(metrics.log_softmax(logits)).astype(np.float32)
