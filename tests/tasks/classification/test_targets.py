"""How good logits are, and what is written of them."""

import numpy as np
import pytest
from helpers.numpy_bert import log_softmax

from bert_tf.tasks.classification.targets import OneLabel


@pytest.fixture
def logits(rng):
    return rng.normal(size=(7, 3)).astype(np.float32)


def test_results_are_means_over_real_examples_but_loss_over_batches(logits):
    label_ids = np.array([0, 1, 2, 0, 1, 2, 0])
    is_real = np.array([True] * 5 + [False] * 2)

    found = OneLabel(("a", "b", "c")).evaluate(
        label_ids, logits, is_real, batch_size=4
    )

    losses = -log_softmax(logits)[np.arange(7), label_ids]
    want = {
        "eval_accuracy": np.mean(logits.argmax(1)[:5] == label_ids[:5]),
        "eval_loss": losses[:5].mean(),
        "loss": (losses[:4].mean() + losses[4:].mean()) / 2,
    }
    assert found.results == pytest.approx(want, rel=1e-6)
    assert found.more == {}


def test_metrics_of_the_dataset_see_real_examples_only(logits):
    def metric(label_ids, predictions, num_labels):
        return [label_ids, predictions, num_labels]

    target = OneLabel(("a", "b", "c"), {"eval_mine": metric})
    is_real = np.arange(7) < 2

    more = target.evaluate(np.arange(7) % 3, logits, is_real, 8).more

    predictions = logits[:2].argmax(1).tolist()
    assert more == {"eval_mine": [[0, 1], predictions, 3]}


def test_probabilities_are_the_softmax_in_float32(logits):
    got = OneLabel(("a", "b", "c")).scores(logits)

    assert got.dtype == np.float32
    want = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    np.testing.assert_allclose(got, want, rtol=1e-6)
