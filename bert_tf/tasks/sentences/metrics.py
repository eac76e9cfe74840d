"""How well the vectors of pairs agree with scores, and find each other."""

import numpy as np

from bert_tf.tasks import metrics

# Rows of a matrix of cosines that are computed together.
ROWS_TOGETHER = 1024

# Vectors of equal texts differ by this, where their batches differ.
_ROUNDING = 1e-6


def cosines(vectors: np.ndarray) -> np.ndarray:
    """The cosine of each pair, float64 [N], of vectors [N, 2, D]."""
    both = metrics.unit(vectors.astype(np.float64))
    return (both[:, 0] * both[:, 1]).sum(axis=-1)


def correlations(scores: np.ndarray, found: np.ndarray) -> dict[str, float]:
    """The results of cosines [N] against scores [N], by name."""
    return {
        "eval_pearson": metrics.pearson(scores, found),
        "eval_spearman": metrics.spearman(scores, found),
    }


def retrieval_accuracy(vectors: np.ndarray) -> float:
    """The share of first texts whose own second text is the most similar one.

    Among the second texts of all pairs; as similar as another one is enough.

    Args:
        vectors: float [N, 2, D].
    """
    first, second = np.moveaxis(metrics.unit(vectors), 1, 0)
    right = 0
    for start in range(0, len(first), ROWS_TOGETHER):
        found = first[start : start + ROWS_TOGETHER] @ second.T
        own = found[np.arange(len(found)), np.arange(len(found)) + start]
        right += int((own >= found.max(axis=1) - _ROUNDING).sum())
    return right / len(first)
