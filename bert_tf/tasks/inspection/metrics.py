"""Numbers about attention and about vectors, in NumPy.

Shape letters: L layers, N heads, S tokens of a text; D width of a vector.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

CLS, SEP = "[CLS]", "[SEP]"

# Rows of a matrix of cosines that are in memory at once.
ROWS_AT_ONCE = 512


# ------------------------------------------------------------------- attention


class LayerSummary(NamedTuple):
    """Where a layer looks, means over its heads and over tokens.

    Attributes:
        entropy: of the weights of a token, in bits: 0 for one token that has
            all of it, log2 S for S equal weights.
        cls: the weight of [CLS].
        sep: that of all [SEP] together.
        itself: that of the token itself.
        previous: that of the token before; over tokens that have one.
        next: that of the token after; over tokens that have one.
    """

    entropy: float
    cls: float
    sep: float
    itself: float
    previous: float
    next: float


class Summary:
    """Adds up attention maps, for means over the tokens of all of them."""

    def __init__(self) -> None:
        self.sums: NDArray | float = 0.0  # [L, 6]
        self.counts = np.zeros(6)

    def add(self, tokens: Sequence[str], weights: NDArray) -> None:
        """Adds a text.

        Args:
            tokens: its S tokens.
            weights: float [L, N, S, S].
        """
        entropy = entropies(weights)
        cls, sep = (
            weights[..., [token == name for token in tokens]].sum(-1)
            for name in (CLS, SEP)
        )
        diagonals = [
            np.diagonal(weights, offset, axis1=-2, axis2=-1)
            for offset in (0, -1, 1)
        ]
        kinds = [entropy, cls, sep, *diagonals]  # Each [L, N, S].
        self.sums = self.sums + np.stack(
            [kind.sum((1, 2), dtype=np.float64) for kind in kinds], axis=1
        )
        self.counts += [kind.shape[1] * kind.shape[2] for kind in kinds]

    def layers(self) -> list[LayerSummary]:
        """The means of each layer."""
        means = self.sums / np.maximum(self.counts, 1)
        return [LayerSummary(*layer) for layer in np.asarray(means).tolist()]


def entropies(weights: NDArray) -> NDArray:
    """-sum p log2 p over the last axis, in bits."""
    logs = np.log2(np.maximum(weights, np.finfo(np.float32).tiny))
    return -(weights * logs).sum(-1)


# --------------------------------------------------------------------- vectors


class Nearest(NamedTuple):
    """The nearest candidates of each vector, the nearest first.

    Attributes:
        places: int [Q, K], numbers of the candidates.
        cosines: float [Q, K].
        mean: the mean cosine of all pairs of a vector and a candidate that is
            not itself; 0 if there is no pair.
    """

    places: NDArray
    cosines: NDArray
    mean: float


def unit(vectors: NDArray) -> NDArray:
    """Vectors [N, D] as float32 of length 1; zeros stay zeros."""
    vectors = np.asarray(vectors, np.float32)
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / np.where(lengths == 0, np.float32(1), lengths)


def cosines(vectors: NDArray) -> NDArray:
    """The cosines of all pairs of vectors, [N, N] of [N, D]."""
    vectors = unit(vectors)
    return vectors @ vectors.T


def nearest(
    vectors: NDArray, candidates: NDArray, own: Sequence[int], top_k: int
) -> Nearest:
    """Finds the nearest candidates by cosine; of equal ones, the first.

    Args:
        vectors: float [Q, D].
        candidates: float [C, D].
        own: for each vector the number of the candidate that it is itself,
            which is not among the results; -1 for none.
        top_k: how many to find; fewer if there are fewer.
    """
    asked, offered = unit(vectors), unit(candidates)
    places = np.asarray(own)
    has_own = places >= 0
    count = max(min(top_k, len(offered) - int(has_own.any())), 0)
    found = np.zeros((len(asked), count), np.int64)
    values = np.zeros((len(asked), count))
    total = pairs = 0.0
    for start in range(0, len(asked), ROWS_AT_ONCE):
        rows = slice(start, start + ROWS_AT_ONCE)
        block = asked[rows] @ offered.T
        inside = np.flatnonzero(has_own[rows])
        mine = inside, places[rows][inside]
        total += block.sum(dtype=np.float64) - block[mine].sum()
        pairs += block.size - len(inside)
        block[mine] = -np.inf
        for row, line in enumerate(block, start):
            found[row] = _largest(line, count)
            values[row] = line[found[row]]
    return Nearest(found, values, float(total / pairs) if pairs else 0.0)


def _largest(values: NDArray, count: int) -> NDArray:
    """Places of the largest values, in order; of equal ones, the first."""
    if not count:
        return np.zeros(0, np.int64)
    # All that are as large as the last one of them, in order of place.
    least = np.partition(values, len(values) - count)[len(values) - count]
    chosen = np.flatnonzero(values >= least)
    return chosen[np.argsort(-values[chosen], kind="stable")][:count]
