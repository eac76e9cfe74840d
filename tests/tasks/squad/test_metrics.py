"""SQuAD's metrics, against the official scripts and results by hand."""

import json
import xml.etree.ElementTree

import pytest
from helpers.squad_golden import SQUAD, archive

from bert_tf.errors import InputError
from bert_tf.tasks.squad import data, metrics

SVG = "{http://www.w3.org/2000/svg}"
OFFICIAL = json.loads((SQUAD / "official_metrics.json").read_text())


@pytest.mark.parametrize(
    ("text", "normalized"),
    [
        ("The  Cat's\tmat, an (old) one.", "cats mat old one"),
        ("a", ""),
        ("theatre & Android", "theatre android"),
        ("“The” €5–$6", "“ ” €5–6"),
        ("", ""),
    ],
)
def test_normalizing_drops_case_ascii_punctuation_and_articles(
    text, normalized
):
    assert metrics.normalize_answer(text) == normalized


@pytest.mark.parametrize(
    ("prediction", "answer", "exact", "f1"),
    [
        ("The Broncos!", "broncos", 1, 1),
        ("Denver Broncos", "Broncos", 0, 2 / 3),
        ("a b b c", "b b d", 0, 2 * (2 / 3) * (2 / 3) / (4 / 3)),
        ("x", "y", 0, 0),
        ("the", "a", 1, 0),  # No words are left; 2.0 counts this as 1.
    ],
)
def test_one_answer_is_scored_by_its_words(prediction, answer, exact, f1):
    assert metrics.exact_match(prediction, answer) == exact
    assert metrics.f1(prediction, answer) == pytest.approx(f1)


def test_version_2_counts_two_empty_answers_as_right():
    assert metrics.f1_or_none("", "") == 1
    assert metrics.f1_or_none("the", "a") == 1
    assert metrics.f1_or_none("x", "") == 0
    assert metrics.f1_or_none("", "x") == 0
    assert metrics.f1_or_none("x y", "x") == pytest.approx(2 / 3)


def test_version_1_takes_the_best_answer_and_0_for_missing_ones():
    answers = {"a": ("x y", "x"), "b": ("z",), "c": ("u v",), "d": ("w",)}
    predictions = {"a": "x", "b": "no", "c": "u"}
    results = metrics.evaluate_v1(answers, predictions)
    assert results == pytest.approx(
        {"exact_match": 25.0, "f1": 100 * (1 + 0 + 2 / 3) / 4}
    )


# -------------------------------------------------------------------- SQuAD 2.0


def golden_case(name):
    """Answers, texts as the original wrote them, best texts, null odds."""
    files = json.loads(
        archive("predictions.tar.xz")[f"predictions_{name}.json"]
    )
    nbest = json.loads(files["nbest_predictions.json"])
    texts = {
        qas_id: next(entry["text"] for entry in entries if entry["text"])
        for qas_id, entries in nbest.items()
    }
    examples = data.read_squad_examples(str(SQUAD / "dev-v2.0.json"), False)
    return (
        {example.qas_id: example.answers for example in examples},
        json.loads(files["predictions.json"]),
        texts,
        json.loads(files["null_odds.json"]),
    )


@pytest.mark.parametrize("name", OFFICIAL)
def test_metrics_are_those_of_the_official_script(name):
    answers, predictions, texts, odds = golden_case(name)
    got = {
        "answered_at_0": metrics.evaluate_v2(answers, predictions),
        "all_answered": metrics.evaluate_v2(answers, texts),
        "thresholds": metrics.evaluate_thresholds(answers, texts, odds),
    }
    for part, wanted in OFFICIAL[name].items():
        assert got[part] == pytest.approx(wanted, abs=1e-9)


@pytest.mark.parametrize("name", OFFICIAL)
def test_no_threshold_is_better_than_the_one_chosen(name):
    answers, _, texts, odds = golden_case(name)

    def f1_at(threshold):
        predictions = {
            qas_id: "" if odds[qas_id] > threshold else text
            for qas_id, text in texts.items()
        }
        return metrics.evaluate_v2(answers, predictions)["f1"]

    chosen = metrics.choose_threshold(answers, texts, odds)
    assert f1_at(chosen.threshold) == pytest.approx(chosen.score)
    others = [-1e9, *sorted(set(odds.values()))[::3]]
    assert max(map(f1_at, others)) <= chosen.score + 1e-9


ANSWERS = {"a": ("x",), "b": (), "c": ("y z",), "d": ()}
TEXTS = {"a": "x", "b": "u", "c": "y", "d": "v"}
ODDS = {"a": -3.0, "c": -1.0, "b": 0.5, "d": 2.0}


def test_thresholds_are_those_computed_by_hand():
    # Answered one by one: a is right, c half right, b and d are wrong.
    results = metrics.evaluate_thresholds(ANSWERS, TEXTS, ODDS)
    assert results == pytest.approx(
        {
            "best_exact": 75.0,
            "best_exact_thresh": -3.0,
            "best_f1": 100 * (2 + 1 + 2 / 3) / 4,
            "best_f1_thresh": -1.0,
            "pr_exact_ap": 50.0,
            "pr_f1_ap": 100 * (0.5 + (1 + 2 / 3) / 2 * (2 / 3) / 2),
            "pr_oracle_ap": 100.0,
        }
    )
    chosen = metrics.choose_threshold(ANSWERS, TEXTS, ODDS)
    assert chosen == pytest.approx((-1.0, 100 * (2 + 1 + 2 / 3) / 4))


def test_questions_of_equal_odds_are_answered_together():
    odds = {"a": 1.0, "b": 1.0, "c": 1.0, "d": 1.0}
    scores = metrics.score_v2(ANSWERS, TEXTS)
    official = metrics.find_best_threshold(ANSWERS, TEXTS, odds, scores.f1)
    assert official.score > 50  # As if "a" alone could be answered.
    chosen = metrics.choose_threshold(ANSWERS, TEXTS, odds)
    assert chosen.threshold < 1.0 and chosen.score == 50
    curve = metrics.precision_recall(ANSWERS, TEXTS, odds)["exact"]
    assert (curve.precisions, curve.recalls) == ([1.0, 0.25], [0.0, 0.5])


def test_groups_without_questions_are_left_out():
    with_answers = metrics.evaluate_v2({"a": ("x",)}, {"a": "x"})
    assert set(with_answers) == {
        "exact", "f1", "total", "HasAns_exact", "HasAns_f1", "HasAns_total",
    }  # fmt: skip
    without = metrics.evaluate_v2({"a": ()}, {"a": ""})
    assert without["NoAns_f1"] == 100 and "HasAns_f1" not in without
    assert metrics.precision_recall({"a": ()}, {"a": ""}, {"a": 0}) == {}


def test_an_error_names_a_question_without_prediction():
    with pytest.raises(InputError, match="no prediction for 'b'"):
        metrics.evaluate_v2({"a": (), "b": ()}, {"a": ""})


def test_the_diagram_is_an_svg_with_each_curve_in_steps():
    curves = metrics.precision_recall(ANSWERS, TEXTS, ODDS)
    picture = metrics.draw_precision_recall(curves)
    root = xml.etree.ElementTree.fromstring(picture)
    paths = [path.get("d") for path in root.iter(f"{SVG}path")]
    # From recall 0 at precision 1 to recall 0.5 still there; then, with all
    # answered, down to 1/4. The picture is 480 wide and 360 high.
    curve = next(one for one in paths if one.startswith("M60.0 20.0H300.0"))
    assert curve.startswith("M60.0 20.0H300.0V20.0H300.0V200.0")
    assert curve.endswith("V290.0")
    texts = "".join(root.itertext())
    for text in ("Recall", "Precision", "exact match, average precision 50.00"):
        assert text in texts


# ------------------------------------------------------------- large real data


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "exact", "f1"),
    [
        ("bert_ensemble", 86.2062, 92.1956),
        ("logistic_baseline", 40.1419, 50.9815),
    ],
)
def test_real_predictions_have_their_published_numbers(
    name, exact, f1, shared_folder
):
    folder = shared_folder / "data" / "squad"
    examples = data.read_squad_examples(str(folder / "dev-v1.1.json"), False)
    path = folder / "predictions_v1.1" / f"{name}.json"
    results = metrics.evaluate_v1(
        {example.qas_id: example.answers for example in examples},
        json.loads(path.read_text()),
    )
    assert round(results["exact_match"], 4) == exact
    assert round(results["f1"], 4) == f1
