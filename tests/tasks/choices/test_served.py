"""Exported multiple choice, held to the Python model."""

import re

import numpy as np
import pytest
import tensorflow as tf
from helpers import exported
from helpers.exported import call, source
from helpers.reference import (
    as_examples,
    assert_close,
    python_model,
    random_rows,
    softmax,
    tokenizer,
    wanted_of_rows,
)

from bert_tf import models
from bert_tf.errors import InputError
from bert_tf.tasks.choices import served
from bert_tf.tasks.choices.data import ChoiceExample
from bert_tf.tasks.choices.rows import choice_values, pack_choices

pytestmark = pytest.mark.slow

EXAMPLES = [
    ("the quiet museum", "Who wrote", ("the book?", "", "Très bien 東京")),
    ("John Smith was born . " * 9, "", ("in 1895.", "the book " * 40, "a")),
    ("", "the book " * 40, ("a", "b", "a")),
    ("", "", ("", "x", "\u200b")),
]


def python_numbers(examples):
    """Probabilities and cut pieces, without a graph."""
    found = []
    for context, question, choices in examples:
        example = ChoiceExample("", context, question, choices)
        packed, num_cut = pack_choices(example, 24, tokenizer())
        values = choice_values(packed, 0, 24, tokenizer())
        rows = {
            name: np.array(values[name], np.int32).reshape(1, -1, 24)
            for name in models.ENCODER_INPUTS
        }
        (logits,) = python_model("choices")(rows)["logits"]
        found.append((softmax(logits), num_cut))
    return map(np.stack, zip(*found))


def test_texts_get_what_python_gives_them():
    contexts, questions, choices = zip(*EXAMPLES)

    got = call(
        "choices",
        "serve_text_pair",
        context=contexts,
        question=questions,
        choices=choices,
    )

    probabilities, num_cut = python_numbers(EXAMPLES)
    assert_close(got["probabilities"], probabilities)
    assert got["num_cut"].tolist() == num_cut.tolist()
    best = probabilities.argmax(axis=1)
    assert got["choice"].tolist() == best.tolist() and len(set(best)) > 1


def test_without_a_question_the_choice_is_the_second_text():
    contexts, _, choices = zip(*EXAMPLES)
    got = call("choices", "serve_text", context=contexts, choices=choices)
    probabilities, _ = python_numbers([(c, "", x) for c, _, x in EXAMPLES])
    assert_close(got["probabilities"], probabilities)


def test_rows_and_records_get_what_python_gives_them(rng):
    rows = random_rows(rng, "choices")
    want = wanted_of_rows("choices", rows)
    for got in (
        call("choices", "serving_default", **rows),
        call("choices", "serve_examples", examples=as_examples(rows)),
    ):
        assert got.keys() == want.keys() == {"logits", "probabilities"}
        for name, value in want.items():
            assert_close(got[name], value, atol=5e-6)


def test_a_batch_may_be_empty():
    got = call(
        "choices",
        "serve_text",
        context=np.array([], object).astype("S1"),
        choices=np.empty((0, 3), "S1"),
    )
    assert got["probabilities"].shape == (0, 3)


@pytest.mark.parametrize(
    ("signature", "inputs", "message"),
    [
        (
            "serve_text",
            {"context": ["a", "b"], "choices": [["x", "y"]]},
            "as many of choices as of context",
        ),
        (
            "serve_text",
            {"context": ["a"], "choices": np.empty((1, 0), "S1")},
            "at least one choice",
        ),
        (
            "serving_default",
            {
                name: np.ones((1, 0, 3), np.int32)
                for name in models.ENCODER_INPUTS
            },
            "at least one choice",
        ),
        (
            "serving_default",
            {
                name: np.ones((1, 2, 129), np.int32)
                for name in models.ENCODER_INPUTS
            },
            "128 positions",
        ),
    ],
)
def test_what_is_no_choice_is_refused(signature, inputs, message):
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        call("choices", signature, **inputs)


@pytest.mark.parametrize("broken", ["other lengths", "no [CLS]", "two [CLS]"])
def test_records_of_another_form_are_refused(rng, broken):
    rows = random_rows(rng, "choices")
    cls = rows["input_ids"][0, 0, 0]
    if broken == "no [CLS]":
        rows["input_ids"][:, :, 0] = 7
    elif broken == "two [CLS]":
        rows["input_ids"][0, 0, 2] = cls
    examples = as_examples(rows)
    if broken == "other lengths":
        examples = examples[:1] + as_examples(
            {name: x[:1, :, :20] for name, x in rows.items()}
        )
    with pytest.raises(
        tf.errors.InvalidArgumentError, match=re.escape("[CLS]")
    ):
        call("choices", "serve_examples", examples=examples)


@pytest.mark.parametrize(
    ("name", "fact"), [("classifier", "has 3"), ("features", "lacks")]
)
def test_another_head_is_refused(name, fact, tmp_path):
    with pytest.raises(InputError, match=f"{fact}.*run_multiple_choice"):
        served.export_choices(source(name), str(tmp_path / "model"))
    assert not (tmp_path / "model").exists()


def test_the_folder_says_what_it_is():
    path = exported.folder("choices") / "1" / "assets"
    assert '"head": "choices"' in (path / "bert_tf.json").read_text()
