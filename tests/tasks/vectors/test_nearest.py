"""The nearest vectors are those of a full sort."""

import numpy as np
import pytest

from bert_tf.errors import InputError
from bert_tf.tasks import metrics
from bert_tf.tasks.vectors import nearest


def full_sort(scores, count):
    """Places by falling score, equal ones by place."""
    return sorted(range(len(scores)), key=lambda at: (-scores[at], at))[:count]


@pytest.mark.parametrize("count", [1, 10, 999, 1000, 5000])
@pytest.mark.parametrize("values", [3, 50, 10**6])
def test_the_highest_scores_are_those_of_a_full_sort(rng, count, values):
    # With few values most scores are ties, also at the last place.
    scores = rng.integers(0, values, 1000).astype(np.float32)
    assert nearest.top_k(scores, count).tolist() == full_sort(scores, count)


def test_queries_are_searched_in_blocks(rng, monkeypatch):
    monkeypatch.setattr(nearest, "NUMBERS_TOGETHER", 3000)
    vectors = metrics.unit(rng.normal(size=(800, 16)).astype(np.float32))
    vectors[500:520] = vectors[100]  # Lines of equal text.
    queries = np.concatenate([vectors[:9], vectors[100:101]])
    found = list(nearest.search(queries, vectors, 12))
    assert len(found) == 10
    for query, (places, cosines) in zip(queries, found):
        want = vectors.astype(np.float64) @ query
        np.testing.assert_allclose(cosines, want[places], atol=1e-6)
        np.testing.assert_allclose(
            np.sort(want)[::-1][:12], want[places], atol=1e-6
        )
        assert (np.diff(cosines) <= 0).all()
    equal = found[9][0][np.isclose(found[9][1], 1, atol=1e-6)]
    assert equal[0] == 100 and set(equal[1:]) <= set(range(500, 520))


def test_no_lines_are_found_for_no_query_and_none_of_none():
    nothing = np.zeros((0, 4), np.float32)
    some = np.ones((2, 4), np.float32) / 2
    assert list(nearest.search(nothing, some, 3)) == []
    (found,) = nearest.search(some[:1], nothing, 3)
    assert found[0].size == found[1].size == 0
    with pytest.raises(InputError, match="top_k"):
        next(nearest.search(some, some, 0))
