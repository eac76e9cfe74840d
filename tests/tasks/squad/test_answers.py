"""Answers from logits, against what the original made of the same logits."""

import json
import logging

import numpy as np
import pytest
from helpers.squad_golden import (
    RUNS,
    archive,
    make_windows,
    read_gzip,
    read_logits,
    tokenizer,
)

from bert_tf.errors import InputError
from bert_tf.tasks.squad import answers
from bert_tf.tasks.squad.answers import AnswerSettings, Logits
from bert_tf.tasks.squad.data import SquadExample
from bert_tf.tasks.squad.windows import WindowMaker
from bert_tf.tokenization import BasicTokenizer

UNITS = read_gzip("units.json.gz")


def predict_all(name):
    """Our predictions for a run of the original's write_predictions."""
    run = RUNS["predictions"][name]
    pairs = make_windows(run["features"])
    settings = AnswerSettings(
        run["n_best_size"],
        run["max_answer_length"],
        run["version_2_with_negative"],
    )
    basic = BasicTokenizer(run["do_lower_case"])
    return [
        answers.predict(example, windows, logits, settings, basic)
        for (example, windows), logits in zip(
            pairs, read_logits(run["logits"], pairs)
        )
    ]


def json_texts(name, folder):
    """What our files hold, by their names in the original."""
    run, predictions = RUNS["predictions"][name], predict_all(name)
    threshold = run["null_score_diff_threshold"]
    items = {
        "predictions.json": [
            (one.qas_id, one.answer(threshold)) for one in predictions
        ],
        "nbest_predictions.json": [
            (one.qas_id, answers.nbest_to_json(one.nbest))
            for one in predictions
        ],
        "null_odds.json": [(one.qas_id, one.null_odds) for one in predictions],
    }
    texts = {}
    for file in run["files"]:
        answers.write_json(str(folder / file), items[file])
        texts[file] = (folder / file).read_text()
    return texts


@pytest.mark.parametrize(
    "name",
    [name for name, run in RUNS["predictions"].items() if not run["error"]],
)
def test_writes_the_files_that_the_original_writes(name, tmp_path):
    golden = json.loads(
        archive("predictions.tar.xz")[f"predictions_{name}.json"]
    )
    texts = json_texts(name, tmp_path)
    assert texts.keys() == golden.keys()
    for file, text in golden.items():
        assert without_probabilities(texts[file]) == without_probabilities(text)
        np.testing.assert_allclose(
            probabilities(texts[file]), probabilities(text), rtol=0, atol=1e-6
        )


def without_probabilities(text):
    lines = text.split("\n")
    return [line for line in lines if '"probability": ' not in line]


def probabilities(text):
    return [
        float(line.split(": ")[1].rstrip(","))
        for line in text.split("\n")
        if '"probability": ' in line
    ]


@pytest.mark.parametrize(
    "name", [name for name, run in RUNS["predictions"].items() if run["error"]]
)
def test_a_question_without_any_span_is_unanswered_where_the_original_crashes(
    name, tmp_path
):
    """Logits that are highest outside the document, in 2.0."""
    predictions = predict_all(name)
    without_span = [one for one in predictions if len(one.nbest) == 1]
    assert without_span
    for one in without_span:
        (entry,) = one.nbest
        assert (entry.text, entry.probability) == ("", 1.0)
        assert one.answer(float("inf")) == one.answer(999999.0) == ""
        assert one.null_odds == 1000000.0
    assert len(json.loads(json_texts_of(predictions, tmp_path))) == 117


def json_texts_of(predictions, folder):
    path = folder / "null_odds.json"
    items = [(one.qas_id, one.null_odds) for one in predictions]
    answers.write_json(str(path), items)
    return path.read_text()


def test_finds_final_texts_as_the_original():
    for case in UNITS["get_final_text"]:
        basic = BasicTokenizer(case["do_lower_case"])
        got = answers.get_final_text(
            case["pred_text"], case["orig_text"], basic
        )
        assert got == case["out"], case


def test_finds_best_indexes_as_the_original():
    for case in UNITS["get_best_indexes"]:
        logits = list(map(float, case["logits"]))
        got = answers.best_indexes(logits, case["n_best_size"])
        assert got == case["out"], case


def test_softmax_is_that_of_the_original():
    for case in UNITS["compute_softmax"]:
        got = answers.softmax(case["scores"])
        np.testing.assert_allclose(got, case["out"], rtol=0, atol=1e-12)


# --------------------------------------------------- questions of our own


def one_window(context, exact_answers=False, do_lower_case=True):
    maker = WindowMaker(
        tokenizer("uncased", do_lower_case), exact_answers=exact_answers
    )
    example = SquadExample("q", "what?", context)
    return example, maker.windows(example)


def peak(window, start, end, height=9.0):
    """Logits that are highest for pieces `start` to `end` of the context."""
    first = len(window.front)
    starts, ends = np.zeros((2, 384), np.float32)
    starts[first + start] = ends[first + end] = height
    return Logits(starts, ends)


def answer_of(context, start, end, exact_answers):
    example, (window,) = one_window(context, exact_answers)
    prediction = answers.predict(
        example,
        [window],
        [peak(window, start, end)],
        AnswerSettings(),
        BasicTokenizer(True),
    )
    return prediction.text


@pytest.mark.parametrize(
    ("context", "start", "end", "original", "exact"),
    [
        # An accent of its own, a format character and Hangul: characters and
        # tokens cannot be counted off against each other.
        ("(cafe\u0301) noir.", 1, 1, "(cafe\u0301)", "cafe\u0301"),
        ("pre\u00adfix-free.", 0, 0, "pre\u00adfix-free.", "pre\u00adfix"),
        ("서울은 크다.", 0, 4, "서울은", "서울"),
        ("a  wide   gap.", 0, 2, "a wide gap", "a  wide   gap"),
        ("(1895-1943).", 1, 1, "1895", "1895"),
    ],
)
def test_exact_answers_are_the_characters_of_their_pieces(
    context, start, end, original, exact
):
    assert answer_of(context, start, end, exact_answers=False) == original
    assert answer_of(context, start, end, exact_answers=True) == exact
    assert exact in context


def test_without_windows_the_answer_is_empty_or_none():
    example, windows = one_window("\u200b")  # No piece, so no window.
    assert windows == []
    basic = BasicTokenizer(True)
    old = answers.predict(example, [], [], AnswerSettings(), basic)
    assert old.text == "empty"  # As the original has it.
    assert old.nbest == [("empty", 1.0, 0.0, 0.0)]
    settings = AnswerSettings(version_2_with_negative=True)
    new = answers.predict(example, [], [], settings, basic)
    assert (new.text, new.null_odds) == ("", 1000000.0)
    assert new.nbest == [("", 1.0, 0.0, 0.0)]


def test_the_best_window_wins_and_a_start_counts_where_it_has_most_context():
    maker = WindowMaker(tokenizer("uncased", True), 16, 4, 2)
    example = SquadExample("q", "what?", "a b c d e f g h i j k l m n o")
    windows = maker.windows(example)
    assert [window.span for window in windows] == [(0, 11), (4, 11)]
    # Piece 5, "f", has more around it in the first window than in the second.
    first, second = peak(windows[0], 5, 6, 2.0), peak(windows[1], 1, 2, 8.0)
    prediction = answers.predict(
        example, windows, [first, second], AnswerSettings(1), BasicTokenizer()
    )
    assert [entry.text for entry in prediction.nbest] == ["f g"]
    assert prediction.nbest[0].start_logit == 2.0


def test_a_question_is_unanswered_above_the_threshold_only():
    example, (window,) = one_window("one two three")
    logits = peak(window, 1, 1, 5.0)
    logits.start[0], logits.end[0] = 6.0, 5.5
    prediction = answers.predict(
        example,
        [window],
        [logits],
        AnswerSettings(version_2_with_negative=True),
        BasicTokenizer(True),
    )
    assert prediction.text == "two"
    assert prediction.nbest[0].text == ""
    assert prediction.null_odds == 11.5 - 10.0
    assert prediction.answer(1.5) == "two"
    assert prediction.answer(1.4) == ""


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_an_error_for_infinite_logits_names_the_question(bad):
    example, (window,) = one_window("one two three")
    logits = peak(window, 1, 1)
    logits.end[7] = bad
    with pytest.raises(InputError, match=r"question 'q' must be finite"):
        answers.predict(
            example, [window], [logits], AnswerSettings(), BasicTokenizer(True)
        )


def test_verbose_logging_tells_why_an_answer_is_all_of_its_words(caplog):
    caplog.set_level(logging.INFO)
    basic = BasicTokenizer(True)
    for verbose in (False, True):
        for pred_text in ("x", "cafe"):
            answers.get_final_text(pred_text, "cafe\u0301", basic, verbose)
    assert [record.getMessage() for record in caplog.records] == [
        "Unable to find text: 'x' in 'cafe\u0301'",
        "Length not equal after stripping spaces: 'cafe' in 'cafe\u0301'",
    ]


@pytest.mark.parametrize(
    "content",
    [{}, {"a": 1.5}, {"ä\ud83d": [{"x": "\u2028", "y": []}], "b": {}, "c": ""}],
)
def test_json_is_written_as_python_writes_it(content, tmp_path):
    path = tmp_path / "x.json"
    answers.write_json(str(path), content.items())
    assert path.read_text() == json.dumps(content, indent=4) + "\n"


def test_a_half_written_file_is_not_left_behind(tmp_path):
    def items():
        yield "a", 1
        raise RuntimeError

    with pytest.raises(RuntimeError):
        answers.write_json(str(tmp_path / "x.json"), items())
    assert not list(tmp_path.iterdir())
