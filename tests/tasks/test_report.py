"""Reports of predictions against numbers counted by hand."""

import numpy as np
import pytest

from bert_tf.tasks import report
from bert_tf.tasks.task import Evaluation, merge

LABELS = ("cat", "not a cat", "dog", "0")
# True and predicted: "dog" is never predicted, "0" is never there.
TRUTH = np.array([0, 0, 0, 1, 1, 2])
PREDICTED = [0, 0, 1, 1, 0, 3]


def probabilities(predicted, confidence):
    """Probabilities [N, 4] whose highest ones are these."""
    rest = (1 - np.array(confidence)) / 3
    rows = np.tile(rest[:, None], (1, 4))
    rows[np.arange(len(predicted)), predicted] = confidence
    return rows


CONFIDENCE = [0.95, 0.85, 0.6, 0.75, 0.8, 0.55]
REPORT = report.report_one_label(
    LABELS, TRUTH, probabilities(PREDICTED, CONFIDENCE)
).splitlines()


def lines_of(label, lines):
    """What follows the label in the lines that begin with its name."""
    return [
        line[len(label) :].split()
        for line in lines
        if line.startswith(f"{label}  ")
    ]


@pytest.mark.parametrize(
    ("label", "scores", "counts"),
    [
        # cat: 2 of 3 predictions right, 2 of 3 rows found.
        ("cat", "0.667 0.667 0.667 3", "2 1 0 0"),
        ("not a cat", "0.500 0.500 0.500 2", "1 1 0 0"),
        ("dog", "0.000 0.000 0.000 1", "0 0 0 1"),
        ("0", "0.000 0.000 0.000 0", "0 0 0 0"),
    ],
)
def test_a_label_has_its_scores_and_its_row_of_the_confusion_matrix(
    label, scores, counts
):
    assert lines_of(label, REPORT) == [scores.split(), counts.split()]


def test_only_lines_of_labels_begin_at_the_margin():
    at_margin = [line for line in REPORT if line[:1].strip()]

    assert len(at_margin) == 2 * len(LABELS)


def test_precision_and_recall_are_of_their_own_sides():
    # True: 4 a, 1 b. Predicted: 2 a (both right), 3 b (1 right).
    truth, predicted = np.array([0, 0, 0, 0, 1]), [0, 0, 1, 1, 1]
    shares = np.eye(2)[predicted]

    lines = report.report_one_label("ab", truth, shares).splitlines()

    assert lines_of("a", lines)[0] == ["1.000", "0.500", "0.667", "4"]
    assert lines_of("b", lines)[0] == ["0.333", "1.000", "0.500", "1"]


def test_bins_hold_their_upper_edge_and_not_their_lower_one():
    confidence = np.array([0.1, 0.3, 0.30001, 0.7, 0.70001, 1.0])

    bins = report.reliability(confidence, np.ones(6, bool))

    assert [one.rows for one in bins] == [1, 0, 1, 1, 0, 0, 1, 1, 0, 1]


def test_expected_calibration_error_is_the_mean_gap_weighted_by_rows():
    # 0.9 to 1.0: four rows, mean 0.95, three right; 0.6 to 0.7: one, wrong.
    confidence = np.array([0.92, 0.94, 0.96, 0.98, 0.65])
    is_right = np.array([True, True, False, True, False])

    bins = report.reliability(confidence, is_right)

    assert bins[9] == pytest.approx((0.9, 1.0, 4, 0.95, 0.75))
    assert bins[6] == pytest.approx((0.6, 0.7, 1, 0.65, 0.0))
    found = report.expected_calibration_error(bins)
    assert found == pytest.approx(4 / 5 * 0.2 + 1 / 5 * 0.65)


def test_the_reliability_table_is_in_the_report():
    (error,) = (line for line in REPORT if "expected error" in line)
    # Each row is alone in its bin, but 0.75 and 0.8 share one.
    gaps = [0.05, 0.15, 0.6, 0.55, 2 * abs(0.775 - 0.5)]
    assert f"{sum(gaps) / 6:.3f}" in error
    rows = [line.split() for line in REPORT if " to " in line]
    assert rows[7] == ["0.7", "to", "0.8", "2", "0.775", "0.500"]
    assert rows[0] == ["0.0", "to", "0.1", "0", "-", "-"]
    assert len(rows) == 10


def test_several_labels_have_scores_and_counts_each():
    truth = np.array([[1, 0], [1, 1], [0, 0], [0, 1]])
    found = np.array([[1, 0], [0, 0], [1, 0], [0, 0]])

    lines = report.report_many_labels("ab", truth, found).splitlines()

    assert lines_of("a", lines) == [
        ["0.500", "0.500", "0.500", "2"],
        ["1", "1", "1", "1"],
    ]
    assert lines_of("b", lines) == [
        ["0.000", "0.000", "0.000", "2"],
        ["0", "0", "2", "2"],
    ]


def table(confidence, texts, **columns):
    count = len(confidence)
    names = {key: ["x"] * count for key in ("truth", "predicted", "guids")}
    text = report.mistakes_table(
        np.array(confidence), {"text_a": texts}, **{**names, **columns}
    )
    header, *rows = text.splitlines()
    assert header.split("\t") == [
        *("text_a", "label", "predicted_label", "probability", "row", "guid")
    ]
    return [row.split("\t") for row in rows]


def test_mistakes_are_the_most_confident_ones_with_their_rows():
    shares = probabilities(PREDICTED, CONFIDENCE)

    rows = table(
        report.wrong_confidence(TRUTH, shares),
        list("abcdef"),
        truth=[LABELS[at] for at in TRUTH],
        predicted=[LABELS[at] for at in PREDICTED],
        guids=[f"dev-{at}" for at in range(2, 8)],
    )

    assert rows == [
        ["e", "not a cat", "cat", "0.800000", "5", "dev-6"],
        ["c", "cat", "not a cat", "0.600000", "3", "dev-4"],
        ["f", "dog", "0", "0.550000", "6", "dev-7"],
    ]


def test_twenty_mistakes_are_shown_and_ties_keep_the_order_of_the_file():
    rows = table([0.5] * 15 + [0.9] * 15, list(map(str, range(30))))

    assert [row[0] for row in rows] == list(
        map(str, [*range(15, 30), *range(5)])
    )


def test_texts_stay_in_their_cell():
    text = "a\tb\nc\rd\\n\u2028e\x0bf\x85"

    ((cell, *_),) = table([0.9], [text])

    assert cell == "a\\tb\\nc\\rd\\\\n\\u2028e\\x0bf\\x85"
    assert cell.encode("latin-1").decode("unicode_escape") == text


def test_a_single_prediction_is_warned_of_unless_it_is_the_only_label():
    (found,) = report.only_prediction(["a", "b", "a"], ["a"] * 3, "")

    assert "All 3 rows" in found and "'a'" in found and "2 of them" in found
    assert "--learning_rate" in found
    assert report.only_prediction(["a", "a"], ["a", "a"], "") == []
    assert report.only_prediction(["a", "b"], ["b", "a"], "") == []


def test_each_label_is_warned_of_that_ten_rows_have_and_no_prediction():
    truth = ["a"] * 30 + ["b"] * 10 + ["c"] * 9
    predicted = ["a"] * 39 + ["d"] * 10

    (found,) = report.missing_predictions(truth, predicted)

    assert "'b'" in found and "10 of 49" in found
    assert report.missing_predictions(truth, ["b"] * 2 + ["a"] * 47) == []
    assert report.missing_predictions(truth, ["a"] * 49) == []  # Told before.


def test_each_set_has_its_own_report_and_warnings():
    sets = {
        name: Evaluation({}, files={report.REPORT: name}, warnings=["all one"])
        for name in ("eval", "eval_mm")
    }

    merged = merge(sets, {})

    assert merged.files == {
        "eval_report.txt": "eval",
        "eval_mm_report.txt": "eval_mm",
    }
    assert merged.warnings == ["all one", "eval_mm: all one"]
