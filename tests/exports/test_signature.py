"""Signatures of all heads: rows of ids, and texts that they refuse."""

import pytest
import tensorflow as tf
from helpers import exported
from helpers.exported import call
from helpers.reference import (
    HEADS,
    as_examples,
    assert_close,
    random_rows,
    wanted_of_rows,
)

from bert_tf import models


@pytest.mark.parametrize("name", exported.parameters(HEADS))
def test_numbers_and_examples_give_what_the_python_model_gives(name, rng):
    rows = random_rows(rng, name)
    want = wanted_of_rows(name, rows)

    default = call(name, "serving_default", **rows)
    from_examples = call(name, "serve_examples", examples=as_examples(rows))

    assert default.keys() == from_examples.keys() == want.keys()
    for key in want:
        assert_close(default[key], want[key])
        assert_close(from_examples[key], want[key])


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"input_ids": [[5, 1027]]}, "input_ids must be from 0 to 1026.*1027"),
        ({"input_ids": [[-1, 5]]}, "input_ids must be from 0 to 1026.*-1"),
        ({"input_mask": [[1, 7]]}, r"input_mask must be from 0 to 1.*7.*0 1"),
        ({"input_mask": [[-1, 1]]}, "input_mask must be from 0 to 1.*-1"),
        ({"segment_ids": [[0, 5]]}, "segment_ids must be from 0 to 1.*5"),
        ({"segment_ids": [[-2, 0]]}, "segment_ids must be from 0 to 1.*-2"),
        (
            {key: [[]] for key in models.ENCODER_INPUTS},
            "input_ids must have at least one token",
        ),
        ({"input_mask": [[1]]}, "input_mask must have the shape of input_ids"),
        (
            {key: [[0] * 129] for key in models.ENCODER_INPUTS},
            "The model has 128 positions",
        ),
    ],
)
def test_rows_that_do_not_fit_are_refused(changed, message):
    rows = {key: [[0, 1]] for key in models.ENCODER_INPUTS}
    rows = {
        key: tf.constant(value, tf.int32, [1, len(value[0])])
        for key, value in {**rows, **changed}.items()
    }
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        call("classifier", "serving_default", **rows)


@pytest.mark.parametrize(
    ("feature", "value"),
    [
        ("input_ids", 2000),
        ("input_ids", 2**32 + 5),
        ("input_ids", -(2**63)),
        ("input_mask", 2),
        ("input_mask", 2**32 + 1),
        ("segment_ids", 2**40),
    ],
)
def test_examples_that_do_not_fit_are_refused(feature, value):
    example = tf.train.Example()
    for key in models.ENCODER_INPUTS:
        values = [0, value if key == feature else 1]
        example.features.feature[key].int64_list.value.extend(values)
    with pytest.raises(
        tf.errors.InvalidArgumentError, match=rf"{feature} must be.*\D{value}\D"
    ):
        call(
            "classifier",
            "serve_examples",
            examples=[example.SerializeToString()],
        )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("positions", "message"),
    [
        ([[2]], "masked_lm_positions must be below the length.*2"),
        ([[-1]], "masked_lm_positions must be below the length.*-1"),
        ([[0], [1]], "masked_lm_positions for each row"),
    ],
)
def test_positions_that_do_not_fit_are_refused(positions, message):
    rows = {key: [[0, 1]] for key in models.ENCODER_INPUTS}
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        call(
            "pretraining",
            "serving_default",
            **rows,
            masked_lm_positions=positions,
        )


@pytest.mark.slow
def test_no_texts_give_no_answers():
    nothing = tf.constant([], tf.string)
    for name, inputs in (
        ("classifier", ("text_a",)),
        ("span", ("question", "context")),
        ("pretraining", ("text",)),
        ("features", ("text_a",)),
    ):
        got = call(name, "serve_text", **dict.fromkeys(inputs, nothing))
        assert {len(values) for values in got.values()} == {0}


def test_text_that_is_not_utf8_is_refused():
    with pytest.raises(tf.errors.InvalidArgumentError, match="must be UTF-8"):
        call("classifier", "serve_text", text_a=["fine", b"caf\xe9"])


def test_a_pair_needs_both_texts():
    with pytest.raises(
        tf.errors.InvalidArgumentError, match="as many of text_b as of text_a"
    ):
        call("classifier", "serve_text_pair", text_a=["a", "b"], text_b=["c"])
