"""Outputs of a model over a dataset."""

import numpy as np
import pytest
import tensorflow as tf
from helpers.small_training import small_model

from bert_tf.training.prediction import count_rows, predict


@pytest.mark.parametrize("batch_size", [1, 5, 64])
def test_predicts_every_row_in_order_at_any_batch_size(batch_size):
    model = small_model()
    x = np.arange(12 * 4, dtype=np.float32).reshape(12, 4) / 50
    rows = {"x": x, "number": np.arange(12)}
    dataset = tf.data.Dataset.from_tensor_slices(rows).batch(batch_size)

    pairs = list(predict(model, dataset))

    numbers = np.concatenate([features["number"] for features, _ in pairs])
    np.testing.assert_array_equal(numbers, np.arange(12))
    sizes = [count_rows(pair) for pair in pairs]
    assert sizes[0] == min(batch_size, 12)
    assert sum(sizes) == 12
    kernel, bias, out, out_bias = map(np.array, model.weights)
    want = np.tanh(x @ kernel + bias) @ out + out_bias
    got = np.concatenate([outputs["y"] for _, outputs in pairs])
    np.testing.assert_allclose(got, want, atol=1e-6)
