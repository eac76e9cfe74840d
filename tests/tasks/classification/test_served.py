"""Exported classifiers, held to the Python model."""

import os

import numpy as np
import pytest
from helpers.exported import LABELS, call, source
from helpers.reference import (
    PAIRS,
    TEXTS,
    assert_close,
    python_model,
    rows_of,
    softmax,
    tokenizer,
    window_inputs,
    windows_of,
)

from bert_tf.errors import InputError
from bert_tf.tasks.classification import served


def test_a_classifier_gives_texts_what_python_gives_them():
    got = call("classifier", "serve_text", text_a=TEXTS)
    pairs = [(text, "") for text in TEXTS]
    assert_classified(got, pairs)


def test_a_classifier_gives_pairs_what_python_gives_them():
    first, second = zip(*PAIRS)
    got = call("classifier", "serve_text_pair", text_a=first, text_b=second)
    assert_classified(got, PAIRS)


def test_a_classifier_reads_long_texts_in_windows():
    name = "classifier_windows"
    first, second = zip(*PAIRS)
    got = call(name, "serve_text_pair", text_a=first, text_b=second)
    most = 0
    for row, (text_a, text_b) in enumerate(PAIRS):
        windows, num_cut = windows_of(text_a, text_b)
        most = max(most, len(windows))
        logits = np.mean(
            [
                python_model("classifier")(inputs)["logits"][0]
                for inputs in map(window_inputs, windows)
            ],
            axis=0,
        )
        assert_close(got["probabilities"][row], softmax(logits))
        assert got["num_cut"][row] == num_cut
    assert most > 4  # More than are computed at once.


def assert_classified(got, pairs):
    for row, inputs in enumerate(rows_of(pairs, 40)):
        (logits,) = python_model("classifier")(inputs)["logits"]
        assert_close(got["probabilities"][row], softmax(logits))
        names = [name.decode() for name in got["labels"][row]]
        assert tuple(names) == LABELS
        assert got["label"][row].decode() == LABELS[logits.argmax()]
        count = sum(len(tokenizer().tokenize(text)) for text in pairs[row])
        special = 3 if all(map(tokenizer().tokenize, pairs[row])) else 2
        if not tokenizer().tokenize(pairs[row][0]) and pairs[row][1]:
            special = 3
        left = inputs["input_ids"].shape[1] - special
        assert got["num_cut"][row] == count - left


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("features", {"labels": LABELS}, "no head to classify"),
        (
            "classifier",
            {"labels": ["a", "b"]},
            "as many labels as .* has classes, 3. Received: 2, a, b",
        ),
        ("classifier", {}, r"no labels\.txt.*--labels_file"),
    ],
)
def test_a_model_that_cannot_be_exported_is_refused(
    name, options, message, tmp_path
):
    with pytest.raises(InputError, match=message):
        served.export_classifier(source(name), str(tmp_path), **options)
    assert os.listdir(tmp_path) == []
