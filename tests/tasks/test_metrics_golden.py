"""Metrics against those of scikit-learn and SciPy, on the same numbers."""

import gzip
import json
import math

import numpy as np
import pytest
from helpers.paths import GOLDEN

from bert_tf.tasks import metrics, report


def cases(name):
    path = GOLDEN / "metrics" / f"{name}.json.gz"
    found = json.loads(gzip.decompress(path.read_bytes()))["cases"]
    return [pytest.param(case, id=case["name"]) for case in found]


def assert_close(got, want, tolerance=1e-12):
    """None in a golden file stands for a number that is not defined."""
    if want is None:
        assert math.isnan(got)
    else:
        assert got == pytest.approx(want, rel=tolerance, abs=tolerance)


@pytest.mark.parametrize("case", cases("classification"))
def test_scores_of_one_label(case):
    truth, given = case["labels"], case["predictions"]
    count = case["num_labels"]

    assert_close(metrics.accuracy(truth, given), case["accuracy"])
    got = metrics.macro_f1(truth, given, count)
    assert_close(got, case["macro_f1_all_labels"])
    got = metrics.matthews_correlation(truth, given, count)
    assert_close(got, case["matthews_correlation"], 1e-9)
    confusion = metrics.confusion_matrix(truth, given, count)
    assert confusion.tolist() == case["confusion"]
    for got, want in zip(report.count_labels(confusion), case["per_label"]):
        scores = [got.precision, got.recall, got.f1]
        assert scores == pytest.approx(want, abs=1e-12)
    if count == 2:
        assert_close(metrics.f1(truth, given), case["f1"])
        got = metrics.f1_and_accuracy(truth, given)
        assert_close(got, case["accuracy_and_f1"])


@pytest.mark.parametrize("case", cases("regression"))
def test_scores_of_numbers(case):
    truth, given = case["labels"], case["predictions"]
    tolerance = 1e-7 if case["name"] == "large_offset" else 1e-9

    assert_close(metrics.pearson(truth, given), case["pearson"], tolerance)
    assert_close(metrics.spearman(truth, given), case["spearman"], tolerance)
    assert_close(metrics.mean_squared_error(truth, given), case["mse"])
    assert_close(metrics.mean_absolute_error(truth, given), case["mae"])
    ranks = metrics.mean_ranks(given).tolist()
    assert ranks == case["ranks_of_predictions"]


@pytest.mark.parametrize("case", cases("multilabel"))
def test_scores_of_several_labels(case):
    truth, scores = np.array(case["labels"]), np.array(case["scores"])
    found = scores >= case["threshold"]

    assert_close(metrics.micro_f1(truth, found), case["micro_f1"])
    got = metrics.subset_accuracy(truth, found)
    assert_close(got, case["subset_accuracy"])
    counts = report.count_many_labels(truth, found)
    each = [
        metrics.score_label(truth[:, at], scores[:, at], case["threshold"])
        for at in range(truth.shape[1])
    ]
    assert_close(np.mean([one.f1 for one in each]), case["macro_f1"])
    for at, one in enumerate(each):
        want = case["per_label_precision_recall_f1"][at]
        assert one.support == truth[:, at].sum()
        for found_one in (one, counts[at]):
            got = [found_one.precision, found_one.recall, found_one.f1]
            assert got == pytest.approx(want, abs=1e-12)
        assert_close(one.auc, case["auc_per_label"][at], 1e-9)
        want = case["average_precision_per_label"][at]
        assert_close(one.average_precision, want, 1e-9)
        best, threshold = case["best_f1_and_threshold_per_label"][at]
        assert one.best_threshold == threshold
        got = metrics.best_threshold(truth[:, at], scores[:, at])
        assert_close(got[0], best)
        assert got[1] == threshold


def test_nothing_has_no_score():
    for metric in (metrics.mean_squared_error, metrics.mean_absolute_error):
        assert math.isnan(metric([], []))
    assert all(map(math.isnan, metrics.best_threshold([], [])))
    assert math.isnan(metrics.average_precision([], []))
