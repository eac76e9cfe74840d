"""Entropy and shares of attention, and nearest vectors."""

import json

import numpy as np
import pytest
from helpers.golden import DATA

from bert_tf.tasks.inspection import metrics

BANK = json.loads((DATA / "inspection" / "bank.json").read_text())


def test_a_summary_is_the_mean_over_tokens_and_heads_of_all_texts(rng):
    texts = [
        ["[CLS]", "a", "b", "[SEP]"],
        ["[CLS]", "a", "[SEP]", "c", "d", "[SEP]"],
    ]
    summary = metrics.Summary()
    rows = []  # For each layer those of both texts.
    for tokens in texts:
        weights = rng.random((2, 3, len(tokens), len(tokens)))
        weights /= weights.sum(-1, keepdims=True)
        summary.add(tokens, weights.astype(np.float32))
        rows.append((tokens, weights))

    for layer, got in enumerate(summary.layers()):
        found = {name: [] for name in got._fields}
        for tokens, weights in rows:
            for head in weights[layer]:
                for i, row in enumerate(head):
                    found["entropy"].append(-(row * np.log2(row)).sum())
                    found["cls"].append(row[0])
                    found["itself"].append(row[i])
                    found["sep"].append(
                        sum(p for p, t in zip(row, tokens) if t == "[SEP]")
                    )
                    if i:
                        found["previous"].append(row[i - 1])
                    if i + 1 < len(row):
                        found["next"].append(row[i + 1])
        for name, values in found.items():
            assert getattr(got, name) == pytest.approx(np.mean(values), 1e-5)


@pytest.mark.parametrize(
    ("row", "bits"),
    [([1, 0, 0, 0], 0), ([0.25] * 4, 2), ([0.5, 0.25, 0.25, 0], 1.5)],
)
def test_entropy_counts_bits(row, bits):
    assert metrics.entropies(np.array(row)) == pytest.approx(bits)


@pytest.mark.parametrize("layer", BANK["nearest"])
def test_the_nearest_banks_are_those_of_transformers(layer):
    cosines = np.array(BANK["cosine"][layer])
    values, directions = np.linalg.eigh(cosines)
    vectors = directions * np.sqrt(np.maximum(values, 0))

    got = metrics.nearest(vectors, vectors, range(10), 1)

    np.testing.assert_allclose(metrics.cosines(vectors), cosines, atol=2e-5)
    # Of equal ones, which layer 0 has, either may come first.
    best = cosines[range(10), BANK["nearest"][layer]]
    chosen = cosines[range(10), got.places[:, 0]]
    np.testing.assert_allclose(chosen, best, atol=2e-5)
    others = cosines[~np.eye(10, dtype=bool)]
    assert got.mean == pytest.approx(others.mean(), abs=1e-5)


def test_the_nearest_are_those_of_a_full_sort_and_the_first_of_equal_ones(rng):
    offered = rng.integers(-1, 2, (700, 3)).astype(np.float32)  # Many alike.
    own = [*range(600), -1]
    asked = np.concatenate([offered[:600], [[1.0, 2.0, 3.0]]])

    got = metrics.nearest(asked, offered, own, 5)

    for row, itself in enumerate(own):
        cosines = metrics.unit(offered) @ metrics.unit(asked)[row]
        # Sums are rounded differently in products of other sizes.
        order = np.argsort(-np.round(cosines, 5), kind="stable")
        want = [i for i in order if i != itself][:5]
        near = np.round(cosines[got.places[row]], 5)
        np.testing.assert_array_equal(near, np.round(cosines[want], 5))
        assert itself not in got.places[row]


def test_there_are_no_more_neighbours_than_candidates(rng):
    vectors = rng.normal(size=(3, 4))
    assert metrics.nearest(vectors, vectors, range(3), 9).places.shape == (3, 2)
    alone = metrics.nearest(vectors[:1], vectors[:1], [0], 9)
    assert alone.places.shape == (1, 0) and alone.mean == 0
