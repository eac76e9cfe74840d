"""The picture of an evaluation, against what it was drawn of."""

import re
import xml.etree.ElementTree

import numpy as np
import pytest

from bert_tf.support import svg
from bert_tf.tasks import pictures
from bert_tf.tasks.report import LabelCounts

NAMES = "{http://www.w3.org/2000/svg}"
LABELS = ("cat", "a label with a very long name that nobody can read", "犬")
TRUTH = np.array([0, 0, 0, 0, 1, 1, 2])
PREDICTED = [0, 0, 0, 1, 1, 2, 2]


def one_hot(predicted, num_labels, confidence=0.9):
    rest = (1 - confidence) / (num_labels - 1)
    rows = np.full((len(predicted), num_labels), rest)
    rows[np.arange(len(predicted)), predicted] = confidence
    return rows


def read(text):
    return xml.etree.ElementTree.fromstring(text)


def tips(root):
    """What is shown where one points at a rectangle."""
    rects = root.iter(f"{NAMES}rect")
    return {
        tip.text: rect
        for rect in rects
        if (tip := rect.find(f"{NAMES}title")) is not None
    }


def texts(root):
    return [found.text for found in root.iter(f"{NAMES}text")]


def test_each_cell_of_the_confusion_matrix_says_its_rows():
    drawn = read(pictures.draw_one_label(LABELS, TRUTH, one_hot(PREDICTED, 3)))

    cells = {
        tip: rect for tip, rect in tips(drawn).items() if tip[:4] == "true"
    }
    assert set(cells) == {
        "true cat, predicted cat: 3 rows, 75.0 %",
        f"true cat, predicted {LABELS[1]}: 1 rows, 25.0 %",
        f"true {LABELS[1]}, predicted {LABELS[1]}: 1 rows, 50.0 %",
        f"true {LABELS[1]}, predicted 犬: 1 rows, 50.0 %",
        "true 犬, predicted 犬: 1 rows, 100.0 %",
    }
    right, wrong, half, also_half, all_right = cells.values()
    places = [(float(r.get("x")), float(r.get("y"))) for r in cells.values()]
    # The rows are the true labels.
    assert places[0][1] == places[1][1] < places[2][1] < places[4][1]
    assert places[0][0] < places[1][0] == places[2][0] < places[3][0]
    depth = [float(one.get("fill-opacity")) for one in (wrong, half, all_right)]
    assert depth == sorted(depth)
    assert right.get("class") != wrong.get("class") == also_half.get("class")
    assert "3" in texts(drawn)


def test_the_reliability_diagram_has_the_accuracy_of_each_bin():
    confidence = np.array([0.95, 0.95, 0.95, 0.95, 0.65])
    rows = np.stack([confidence, 1 - confidence], axis=1)

    drawn = read(
        pictures.draw_one_label(("a", "b"), np.array([0, 0, 0, 1, 1]), rows)
    )

    bins = {k: rect for k, rect in tips(drawn).items() if k[:4] != "true"}
    assert set(bins) == {
        "0.9 to 1.0: 4 rows, confidence 0.950, accuracy 0.750",
        "0.6 to 0.7: 1 rows, confidence 0.650, accuracy 0.000",
    }
    # (4 |0.75 - 0.95| + |0 - 0.65|) / 5.
    assert any("0.290" in text for text in texts(drawn))
    dots = list(drawn.iter(f"{NAMES}circle"))
    assert len(dots) == 2


def test_of_many_labels_those_with_most_mistakes_are_shown():
    labels = [f"label {at}" for at in range(60)]
    truth = np.repeat(np.arange(60), 4)
    predicted = truth.copy()
    # Each of the labels 30 to 49 is taken for the next one of them.
    for at in range(30, 50):
        predicted[4 * at] = 30 + (at - 29) % 20

    drawn = read(pictures.draw_one_label(labels, truth, one_hot(predicted, 60)))

    found = [one for one in texts(drawn) if one.startswith("label ")]
    # Each beside its row and below its column.
    wanted = [f"label {at}" for at in range(30, 50)]
    assert found[::2] == found[1::2] == wanted
    assert any("20 of 60 labels" in text for text in texts(drawn))


@pytest.mark.parametrize("num_labels", [1, 2, 3, 8, 20, 150])
def test_every_text_lies_in_the_picture(num_labels):
    labels = [f"标签 {at} " + "long " * (at % 9) for at in range(num_labels)]
    truth = np.arange(5000) % num_labels
    rows = np.random.default_rng(0).dirichlet(np.ones(num_labels), 5000)

    root = read(pictures.draw_one_label(labels, truth, rows))

    _, _, width, height = map(float, root.get("viewBox").split())
    for found in root.iter(f"{NAMES}text"):
        x, y = float(found.get("x")), float(found.get("y"))
        length = svg.width_of(found.text, float(found.get("font-size", 12)))
        before = {"start": 0, "middle": 0.5, "end": 1}[found.get("text-anchor")]
        ends = np.array([-before * length, (1 - before) * length])
        turned = re.match(r"rotate\((-?\d+)", found.get("transform", ""))
        angle = np.radians(float(turned[1])) if turned else 0
        across, down = x + ends * np.cos(angle), y + ends * np.sin(angle)
        assert across.min() >= 0 and across.max() <= width, found.text
        assert down.min() >= 0 and down.max() <= height, found.text


def test_bars_of_labels_are_as_long_as_their_f1():
    # F1: 2 x 8 / (16 + 1 + 3), 0, 1.
    counts = [LabelCounts(8, 1, 3), LabelCounts(0, 0, 4), LabelCounts(5, 0, 0)]

    root = read(pictures.draw_label_scores(LABELS, counts, "Scores"))

    bars = [r for r in root.iter(f"{NAMES}rect") if r.get("x")]
    lengths = [float(one.get("width")) for one in bars]
    assert lengths == pytest.approx([240, 0, 300], abs=0.1)
    found = texts(root)
    at = found.index("cat")
    assert found[at + 1 : at + 5] == ["0.800", "0.889", "0.727", "11"]


def test_points_of_numbers_lie_where_truth_and_prediction_say():
    truth, predicted = np.array([0.0, 1, 4]), np.array([0.0, 2, 4])

    root = read(pictures.draw_numbers(truth, predicted))

    places = [
        (float(one.get("cx")), float(one.get("cy")))
        for one in root.iter(f"{NAMES}circle")
    ]
    (left, bottom), (x, y), (right, top) = places
    assert (x - left) / (right - left) == pytest.approx(1 / 4, abs=0.01)
    assert (bottom - y) / (bottom - top) == pytest.approx(2 / 4, abs=0.01)
    assert any("Pearson 0.961" in text for text in texts(root))


@pytest.mark.parametrize(
    ("truth", "predicted", "points"),
    [
        ([1.0, 1.0], [1.0, 1.0], 2),
        ([1.0, 2.0], [np.nan, np.inf], 0),
        ([0.0], [3e38], 1),
        (np.arange(5000.0), np.arange(5000.0), 1667),
    ],
)
def test_numbers_without_a_spread_or_beyond_measure_can_be_drawn(
    truth, predicted, points
):
    with np.errstate(all="ignore"):
        root = read(pictures.draw_numbers(np.array(truth), np.array(predicted)))

    assert len(list(root.iter(f"{NAMES}circle"))) == points
