"""How good logits are, and what is written of them."""

import dataclasses
import gzip
import json

import numpy as np
import pytest
from helpers.numpy_bert import log_softmax
from helpers.paths import GOLDEN

from bert_tf.errors import InputError
from bert_tf.tasks.classification import thresholds
from bert_tf.tasks.classification.targets import ManyLabels, Number, OneLabel

MULTILABEL = [
    pytest.param(case, id=case["name"])
    for case in json.loads(
        gzip.decompress((GOLDEN / "metrics/multilabel.json.gz").read_bytes())
    )["cases"]
]


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


# -------------------------------------------------------------- several labels


def logits_of(scores):
    """Logits whose sigmoid is these scores."""
    scores = np.clip(np.array(scores, float), 1e-9, 1 - 1e-9)
    return np.log(scores / (1 - scores))


@pytest.mark.parametrize("case", MULTILABEL)
def test_results_of_several_labels_are_those_of_scikit_learn(case):
    truth = np.array(case["labels"])
    scores = np.array(case["scores"])
    names = tuple("abcdefgh"[: truth.shape[1]])
    target = ManyLabels(names, thresholds=(case["threshold"],) * len(names))

    found = target.evaluate(
        truth, logits_of(scores), np.ones(len(truth), bool), 8
    )

    for name in ("micro_f1", "macro_f1", "subset_accuracy"):
        assert found.more[f"eval_{name}"] == pytest.approx(case[name])
    want = case["auc_macro_of_defined"]
    want = np.nan if want is None else want
    assert found.more["eval_auc"] == pytest.approx(want, nan_ok=True)
    if scores.min() > 0 and scores.max() < 1:  # Else logits are infinite.
        loss = case["binary_cross_entropy_mean"]
        assert found.results["eval_loss"] == pytest.approx(loss, rel=1e-6)
    header, *lines = found.files["eval_per_label.tsv"].splitlines()
    columns = "label support precision recall f1 auc average_precision"
    assert header.split("\t") == [*columns.split(), "best_threshold"]
    for at, line in enumerate(lines):
        name, support, *numbers = line.split("\t")
        assert (name, int(support)) == (names[at], truth[:, at].sum())
        want = [
            *case["per_label_precision_recall_f1"][at],
            case["auc_per_label"][at],
            case["average_precision_per_label"][at],
            case["best_f1_and_threshold_per_label"][at][1],
        ]
        want = [np.nan if one is None else one for one in want]
        np.testing.assert_allclose(
            np.array(numbers, float), want, atol=1e-6, equal_nan=True
        )
    assert found.model_files == {}


def test_chosen_thresholds_give_the_best_f1_and_are_kept():
    truth = np.array([[1, 0], [0, 1], [1, 1], [0, 0]])
    scores = [[0.9, 0.2], [0.4, 0.3], [0.6, 0.1], [0.5, 0.05]]
    logits = logits_of(scores).astype(np.float32)
    target = ManyLabels(("a", "b c"), chooses_thresholds=True)

    target = target.fitted(truth, logits)
    found = target.evaluate(truth, logits, np.ones(4, bool), 8)

    assert found.more["eval_micro_f1"] == pytest.approx(8 / 9)
    text = found.model_files["thresholds.tsv"]
    rows = [line.split("\t") for line in text.splitlines()]
    assert [name for name, _ in rows] == ["a", "b c"]
    np.testing.assert_allclose(
        [float(limit) for _, limit in rows], [0.6, 0.1], rtol=1e-6
    )
    # A score that became a threshold is at it, read back as well.
    kept = dataclasses.replace(
        target, thresholds=tuple(float(limit) for _, limit in rows)
    )
    want = ["a,b c", "b c", "a,b c", ""]
    assert kept.predictions(logits) == target.predictions(logits) == want


@pytest.mark.parametrize("logit", [-1000, -30, 0, 30, 1000])
def test_scores_are_the_sigmoid_and_do_not_overflow(logit):
    with np.errstate(all="raise", under="ignore"):
        got = ManyLabels(("a",)).scores(np.float32([[logit]]))
    want = 1 / (1 + np.exp(np.float128(-logit)))
    assert got.dtype == np.float32
    assert got[0, 0] == np.float32(want)


def test_thresholds_are_read_for_the_same_labels_only(tmp_path):
    path = tmp_path / thresholds.FILE
    path.write_text("a\t0.25\nb\t1e-05\n")
    assert thresholds.find([str(tmp_path / "no"), str(tmp_path)], "ab") == (
        0.25,
        1e-05,
    )
    assert thresholds.find([str(tmp_path / "no")], "ab") is None
    for text, labels, facts in (
        ("a\t0.25\nb\t0.5\n", "ba", ("'b', 'a'", "'a', 'b'")),
        ("a\t0.25\n", "ab", ("'a', 'b'", "It has: 'a'")),
        ("a\t0.25\nb\tx\n", "ab", ("line 2", "'x'")),
        ("a\t0.25\nb\t1.5\n", "ab", ("line 2", "'1.5'")),
    ):
        path.write_text(text)
        with pytest.raises(InputError) as caught:
            thresholds.read(str(path), labels)
        for fact in ("thresholds.tsv", *facts):
            assert fact in str(caught.value)


# --------------------------------------------------------------------- numbers


def test_results_of_numbers_see_real_examples_only():
    logits = np.float32([[1.0], [2.0], [4.0], [99.0]])
    truth = np.float32([1.5, 2.5, 3.0, 0.0])
    is_real = np.array([True, True, True, False])

    found = Number().evaluate(truth, logits, is_real, 2)

    errors = np.array([0.25, 0.25, 1.0, 99.0**2])
    assert found.results == pytest.approx(
        {
            "eval_loss": errors[:3].mean(),
            "loss": (errors[:2].mean() + errors[2:].mean()) / 2,
        }
    )
    assert found.more["eval_mae"] == pytest.approx(2 / 3)
    assert found.more["eval_spearman"] == pytest.approx(1)
    assert "eval_accuracy" not in found.all()
    assert set(found.all()) == set(Number.results)


def test_constant_predictions_are_told_and_have_no_correlation():
    logits = np.full((4, 1), 2.5, np.float32)
    found = Number().evaluate(np.arange(4.0), logits, np.ones(4, bool), 8)
    assert np.isnan(found.more["eval_pearson"])
    assert np.isnan(found.more["eval_pearson_and_spearman"])
    (warning,) = found.warnings
    assert "constant, 2.5" in warning


def test_numbers_are_clipped_in_words_only():
    logits = np.float32([[-0.25], [5.5], [3.14159], [-0.0001]])
    target = Number((0.0, 5.0))
    np.testing.assert_array_equal(target.scores(logits), logits)
    assert target.predictions(logits) == ["0.000", "5.000", "3.142", "0.000"]
    assert Number().predictions(logits)[1] == "5.500"
