"""Metrics against numbers worked by hand."""

import math

import numpy as np
import pytest

from bert_tf.tasks import metrics

# Label 1: 4 found, 1 missed, 2 wrongly given. Label 0: 3 found.
LABELS = [1, 1, 1, 1, 1, 0, 0, 0, 0, 0]
PREDICTIONS = [1, 1, 1, 1, 0, 1, 1, 0, 0, 0]


def test_accuracy_is_the_share_of_right_ones():
    assert metrics.accuracy(LABELS, PREDICTIONS) == 0.7


def test_accuracy_of_nothing_is_not_a_number():
    assert math.isnan(metrics.accuracy([], []))


def test_confusion_matrix_has_a_row_for_each_true_label():
    counts = metrics.confusion_matrix(LABELS, PREDICTIONS, 3)
    assert counts.tolist() == [[3, 2, 0], [1, 4, 0], [0, 0, 0]]


def test_f1_is_that_of_label_1():
    # Precision 4/6, recall 4/5: 2 * 2/3 * 4/5 / (2/3 + 4/5) = 8/11.
    assert metrics.f1(LABELS, PREDICTIONS) == 8 / 11


def test_f1_of_another_label():
    # Precision 3/4, recall 3/5: 2 * 3/4 * 3/5 / (3/4 + 3/5) = 2/3.
    assert metrics.f1(LABELS, PREDICTIONS, positive=0) == 2 / 3


def test_f1_is_0_where_a_label_is_never_found_or_never_occurs():
    assert metrics.f1([1, 0], [0, 1]) == 0.0
    assert metrics.f1([0, 0], [0, 0]) == 0.0


def test_macro_f1_counts_every_label_the_same():
    want = (8 / 11 + 2 / 3) / 2
    assert metrics.macro_f1(LABELS, PREDICTIONS, 2) == pytest.approx(want)
    want = (8 / 11 + 2 / 3 + 0) / 3
    assert metrics.macro_f1(LABELS, PREDICTIONS, 3) == pytest.approx(want)


def test_matthews_correlation_of_two_labels():
    # (4 * 3 - 2 * 1) / sqrt((4 + 2) * (4 + 1) * (3 + 2) * (3 + 1))
    want = 10 / math.sqrt(6 * 5 * 5 * 4)
    got = metrics.matthews_correlation(LABELS, PREDICTIONS)
    assert got == pytest.approx(want, abs=1e-15)


def test_matthews_correlation_goes_from_minus_1_to_1():
    assert metrics.matthews_correlation([0, 1, 1], [0, 1, 1]) == 1.0
    assert metrics.matthews_correlation([0, 1, 1], [1, 0, 0]) == -1.0


def test_matthews_correlation_is_0_where_one_label_is_always_given():
    assert metrics.matthews_correlation([0, 1, 1], [1, 1, 1]) == 0.0
    assert metrics.matthews_correlation([1, 1, 1], [0, 1, 1]) == 0.0


def test_matthews_correlation_of_many_examples_does_not_overflow():
    labels, predictions = LABELS * 100_000, PREDICTIONS * 100_000
    want = 10 / math.sqrt(6 * 5 * 5 * 4)
    got = metrics.matthews_correlation(labels, predictions)
    assert got == pytest.approx(want, abs=1e-12)


def test_log_softmax_is_normalized_and_keeps_differences():
    got = metrics.log_softmax([[0.0, math.log(3)], [1e4, 1e4]])
    want = [[math.log(0.25), math.log(0.75)], [math.log(0.5)] * 2]
    np.testing.assert_allclose(got, want, atol=1e-12)


def test_log_softmax_of_distant_logits_stays_finite():
    got = metrics.log_softmax(np.array([1000, 0, -1000], np.float32))
    assert got.tolist() == [0.0, -1000.0, -2000.0]


def test_deviation_is_that_of_a_sample(rng):
    values = rng.normal(size=7).tolist()
    mean, deviation = metrics.mean_and_deviation(values)
    assert mean == pytest.approx(np.mean(values))
    assert deviation == pytest.approx(np.std(values, ddof=1))


def test_a_single_value_has_no_deviation():
    mean, deviation = metrics.mean_and_deviation([0.5])
    assert mean == 0.5 and math.isnan(deviation)
