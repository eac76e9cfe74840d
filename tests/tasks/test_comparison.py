"""Comparing the results of an export with those of the Python model."""

import numpy as np
import pytest

from bert_tf.errors import InputError
from bert_tf.exports.results import (
    Answer,
    Candidate,
    Choice,
    Guesses,
    Label,
    Labels,
    Tags,
    Value,
    Vectors,
)
from bert_tf.tasks import comparison
from bert_tf.tasks.comparison import Timed


def test_lines_become_texts_pairs_and_choices(tmp_path):
    path = tmp_path / "texts.txt"
    path.write_text("a\n\n b ||| c \n", encoding="utf-8")
    assert comparison.read_texts(path, "classifier") == [("a",), ("b", "c")]
    path.write_text("a ||| b ||| c\n")
    assert comparison.read_texts(path, "choices") == [("a", ["b", "c"])]


@pytest.mark.parametrize(
    ("head", "content", "words"),
    [
        ("classifier", b"a\na ||| b ||| c\n", ["line 2", "3 parts"]),
        ("span", b"a question\n", ["line 1", "question ||| its context"]),
        ("tokens", b"a ||| b\n", ["line 1", "one text"]),
        ("choices", b"a ||| b\n", ["line 1", "a choice ||| another one"]),
        ("features", b"\n \n", ["no text"]),
        ("features", b"\xff\n", ["UTF-8"]),
    ],
)
def test_other_lines_are_refused(tmp_path, head, content, words):
    path = tmp_path / "texts.txt"
    path.write_bytes(content)
    with pytest.raises(InputError) as error:
        comparison.read_texts(str(path), head)
    for word in ["--check", "texts.txt", *words]:
        assert word in str(error.value)


def test_a_missing_file_is_an_error(tmp_path):
    with pytest.raises(InputError, match="--check"):
        comparison.read_texts(str(tmp_path / "none"), "tokens")


@pytest.mark.parametrize(
    ("one", "other", "apart", "labels"),
    [
        (
            Label("a", 0.75, {"a": 0.75, "b": 0.25}, 0),
            Label("b", 0.5, {"a": 0.5, "b": 0.5}, 0),
            0.25,
            ("a", "b"),
        ),
        (Value(1.5, 0), Value(-1.0, 0), 2.5, None),
        (
            Labels(["a"], {"a": 0.5}, 0),
            Labels([], {"a": 0.25}, 0),
            0.25,
            (["a"], []),
        ),
        (
            Answer("x", 0.5, 0, 1, None),
            Answer("x", 0.5, 4, 5, None),
            0,
            (("x", 0), ("x", 4)),
        ),
        (
            Guesses([[Candidate("a", 0.5)]], 0.5, 0),
            Guesses([[Candidate("b", 0.5)]], 0.0, 0),
            0.5,
            (["a"], ["b"]),
        ),
        (
            Vectors(np.array([1.0, 2.0]), None, 0),
            Vectors(np.array([1.0, 4.0]), None, 0),
            2.0,
            None,
        ),
        (
            Tags(["O"], [], ["w"], [0.5]),
            Tags(["B"], [], ["w"], [0.75]),
            0.25,
            (["O"], ["B"]),
        ),
        (Choice(0, 0.5, [0.5], 0), Choice(1, 1, [1.0], 0), 0.5, (0, 1)),
    ],
)
def test_differences_are_found_in_every_kind_of_result(
    one, other, apart, labels
):
    found = comparison.compare([one, one], [one, other])
    assert found.largest == pytest.approx(apart)
    assert found.labels == ([] if labels is None else [(2, *labels)])
    assert found.line == (2 if apart else 1)
    same = comparison.compare([one], [one])
    assert same == (0.0, 1, [])


def test_what_is_no_number_is_the_largest_difference():
    rows = [Value(float("nan"), 0), Value(0.0, 0)]
    found = comparison.compare(rows, [Value(0.0, 0)] * 2)
    assert np.isnan(found.largest) and found.line == 1


def test_the_report_names_what_differs():
    results = [Value(0.0, 0)] * 4
    difference = comparison.Difference(0.5, 3, [(3, "a", "b")])
    timed = [
        ("this export", Timed(results, 0.4), 9.0),
        ("Python model", Timed(results, 0.8), 36.5),
    ]
    text = comparison.report("texts.txt", "onnx, int8", difference, timed)
    assert text.splitlines() == [
        "texts: 4 of texts.txt",
        "format: onnx, int8",
        "largest difference: 0.5 (text 3)",
        "different labels: 1",
        "this export: 100 ms a text, 9.0 MB",
        "Python model: 200 ms a text, 36.5 MB",
        "text 3: 'a', Python model 'b'",
    ]
