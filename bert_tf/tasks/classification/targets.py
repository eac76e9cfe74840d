"""What a classifier learns of each text, and how good its outputs are."""

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np

from bert_tf.tasks import metrics
from bert_tf.tasks.classification.datasets import Metric

# What the original writes into eval_results.txt, but for the step.
RESULTS = ("eval_accuracy", "eval_loss", "loss")

# How the logits of a text's windows become one, for each label.
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
        """How good logits are.

        Args:
            label_ids: int [N], the true ones, in the order of the file.
            logits: float [N, L].
            is_real: bool [N], false for what fills up the last batch.
            batch_size: of the original's evaluation.

        Returns:
            The original's results, exact over all real examples, but for
            `loss`, the plain mean of the batches' losses; and the dataset's
            metrics.
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
        """Float32 [N, L], as the original writes them."""
        return np.exp(metrics.log_softmax(logits)).astype(np.float32)
