"""The nearest of many vectors: exact, in NumPy."""

from collections.abc import Iterator

import numpy as np

from bert_tf.errors import require_positive

NUMBERS_TOGETHER = 1 << 24
"""Most cosines that are computed together: 64 MB of them."""


def top_k(scores: np.ndarray, count: int) -> np.ndarray:
    """The places of the highest scores [N], the highest first.

    Of equal scores the first one comes first. The same as the beginning of a
    stable sort of all, in linear time.

    Args:
        scores: float [N], without NaN.
        count: the number of places, if there are as many.
    """
    if count < len(scores):
        least = np.partition(scores, len(scores) - count)[-count]
        places = np.flatnonzero(scores >= least)
    else:
        places = np.arange(len(scores))
    order = np.argsort(-scores[places], kind="stable")[:count]
    return places[order]


def search(
    queries: np.ndarray, vectors: np.ndarray, count: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields the nearest vectors of each query: their places and cosines.

    Args:
        queries: float32 [Q, D], each of length 1.
        vectors: float32 [N, D], the same.
        count: the most that are found for a query.
    """
    require_positive("top_k", count)
    together = max(1, NUMBERS_TOGETHER // max(len(vectors), 1))
    for start in range(0, len(queries), together):
        scores = queries[start : start + together] @ vectors.T
        for row in scores:
            places = top_k(row, count)
            yield places, row[places]
