"""What is learned and how it is scored."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from bert_tf.tasks import metrics


def evaluate(
    batches: Iterable[tuple[Mapping[str, np.ndarray], np.ndarray]],
) -> dict[str, Any]:
    """The original's numbers, exact over all examples.

    Args:
        batches: pairs of features, of which `label_ids` [B] and
            `is_real_example` [B] are used, and logits [B, L]. Examples with
            `is_real_example` 0 only fill up their batch.

    Returns:
        `eval_accuracy` and `eval_loss` over examples; `loss`, the plain mean
        of the batches' losses; `labels` and `predictions` as lists.
    """
    batch_losses, losses = [], []
    labels: list[int] = []
    predictions: list[int] = []
    for batch, logits in batches:
        real = batch["is_real_example"] == 1
        label_ids = batch["label_ids"]
        rows = np.arange(len(label_ids))
        loss = -metrics.log_softmax(logits)[rows, label_ids]
        batch_losses.append(loss.mean())
        losses.extend(loss[real])
        labels.extend(label_ids[real])
        predictions.extend(logits[real].argmax(axis=-1))
    return {
        "eval_accuracy": metrics.accuracy(labels, predictions),
        "eval_loss": float(np.mean(losses)),
        "loss": float(np.mean(batch_losses)),
        "labels": labels,
        "predictions": predictions,
    }


def task_metrics(
    task_name: str,
    labels: Sequence[int],
    predictions: Sequence[int],
    num_labels: int,
) -> dict[str, float]:
    """The task's official metric where it is not accuracy, by its name.

    F1 of label 1 for MRPC and Matthews' correlation for CoLA, as in GLUE; the
    mean of every label's F1 for users' own data.
    """
    name = task_name.lower()
    if name == "mrpc":
        return {"eval_f1": metrics.f1(labels, predictions)}
    if name == "cola":
        correlation = metrics.matthews_correlation(labels, predictions)
        return {"eval_matthews_correlation": correlation}
    if name == "tsv":
        score = metrics.macro_f1(labels, predictions, num_labels)
        return {"eval_macro_f1": score}
    return {}
