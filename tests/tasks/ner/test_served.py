"""Exported token models, held to windows and model in Python."""

import numpy as np
import pytest
import tensorflow as tf
from helpers import exported
from helpers.exported import TOKEN_LABELS, call, folder, source
from helpers.reference import (
    python_model,
    python_tags,
    softmax,
    token_probabilities,
)

import bert_tf
from bert_tf.errors import InputError
from bert_tf.tasks.ner import schemes, served

TEXTS = [
    "the quiet museum measured John Smith .",
    "",
    "\u200b",
    "Très bien — 東京 Ὀδυσσεύς! \u200b naïve",
    "John Smith wrote the book of the museum " * 9,
    "unaffable " * 3 + "x" * 150 + " the end",
]


def assert_same(got, want):
    assert got.words == want.words
    assert got.labels == want.labels
    np.testing.assert_allclose(got.probabilities, want.probabilities, atol=1e-6)
    assert [e[:4] for e in got.entities] == [e[:4] for e in want.entities]
    np.testing.assert_allclose(
        [entity.probability for entity in got.entities],
        [entity.probability for entity in want.entities],
        atol=1e-6,
    )


@pytest.mark.slow
def test_labels_and_entities_are_those_of_python():
    predict = bert_tf.Predictor(folder("ner"))
    results = list(predict(TEXTS))

    for text, result in zip(TEXTS, results, strict=True):
        assert_same(result, python_tags(text))
    assert sum(len(result.entities) for result in results) > 5
    assert len(results[4].labels) == 72
    assert_same(predict(TEXTS[3]), python_tags(TEXTS[3]))


@pytest.mark.slow
def test_given_words_are_labelled_as_they_are():
    rows = [["the", "quiet museum", "\u200b"], ["John"], [], ["a", "", "b"] * 9]
    width = max(map(len, rows))
    table = [row + [""] * (width - len(row)) for row in rows]

    got = call("ner", "serve_words", words=table)

    for number, row in enumerate(rows):
        shares = token_probabilities(row)
        labels = [TOKEN_LABELS[index] for index in shares.argmax(-1)]
        found = [label.decode() for label in got["labels"][number]]
        assert found == labels + [""] * (width - len(row))
        np.testing.assert_allclose(
            got["probabilities"][number][: len(row)],
            shares.max(-1, initial=0),
            atol=1e-6,
        )
        entities = schemes.find_entities(labels)
        count = len(entities)
        starts = got["entity_starts"][number]
        ends = got["entity_ends"][number]
        texts = [text.decode() for text in got["entity_texts"][number]]
        places = list(zip(starts.tolist(), ends.tolist()))
        assert places[:count] == [entity[1:] for entity in entities]
        assert set(places[count:]) <= {(-1, -1)}
        assert texts[:count] == [
            " ".join(row[first:end]) for _, first, end in entities
        ]


@pytest.mark.slow
def test_ids_give_the_logits_of_each_token():
    rng = np.random.default_rng(1)
    rows = {
        "input_ids": rng.integers(5, 1000, (2, 9)).astype("int32"),
        "input_mask": np.array([[1] * 9, [1] * 5 + [0] * 4], "int32"),
        "segment_ids": np.zeros((2, 9), "int32"),
    }

    got = call("ner", "serving_default", **rows)

    # What is computed at padding depends on whether it is skipped.
    is_token = rows["input_mask"] == 1
    want = python_model("ner")(rows)["logits"][is_token]
    np.testing.assert_allclose(got["logits"][is_token], want, atol=1e-5)
    np.testing.assert_allclose(
        got["probabilities"][is_token], softmax(want), atol=1e-6
    )
    assert set(got) == {"logits", "probabilities"}


@pytest.mark.slow
def test_bytes_that_are_no_text_are_refused():
    with pytest.raises(tf.errors.InvalidArgumentError, match="UTF-8"):
        call("ner", "serve_text", text=[b"a \xff b"])


@pytest.mark.slow
def test_the_folder_knows_labels_and_scheme():
    predict = bert_tf.Predictor(folder("ner"))

    assert predict.labels == list(TOKEN_LABELS)
    assert predict.head == "tokens"
    assert predict.settings["scheme"] == "IOB2"
    labels = folder("ner") / "1" / "assets" / "labels.txt"
    assert labels.read_text() == "B-PER\nI-PER\nO\n"


@pytest.mark.slow
def test_a_pair_is_refused():
    with pytest.raises(InputError, match="takes one text"):
        bert_tf.Predictor(folder("ner"))("a", "b")


@pytest.mark.parametrize(
    ("checkpoint", "labels", "named"),
    [
        ("pretraining", TOKEN_LABELS, ("run_ner", "output_weights")),
        ("ner", ("B-PER", "O"), ("3", "2, B-PER, O")),
        ("ner", None, ("labels.txt",)),
    ],
)
def test_a_checkpoint_without_such_a_head_is_named(
    tmp_path, checkpoint, labels, named
):
    with pytest.raises(InputError) as caught:
        served.export_tokens(source(checkpoint), str(tmp_path), labels)

    assert exported.CHECKPOINTS[checkpoint] in str(caught.value)
    for fact in named:
        assert fact in str(caught.value)
    # A flag of another head.
    assert "task_name" not in str(caught.value)
