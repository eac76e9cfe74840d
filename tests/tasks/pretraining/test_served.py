"""Exported heads of pretraining, held to `fill_mask` and `score`."""

import os

import numpy as np
import pytest
from helpers import exported
from helpers.exported import call, source
from helpers.reference import (
    PAIRS,
    assert_close,
    language_model,
    python_model,
    softmax,
    tokenizer,
)

from bert_tf import fill_mask, score
from bert_tf.checkpoints import inference
from bert_tf.errors import InputError
from bert_tf.tasks.pretraining import served


@pytest.mark.slow
def test_guesses_are_those_of_fill_mask():
    texts = [
        "the [MASK] museum measured [MASK] .",
        "[MASK]",
        "play[MASK][MASK]Très[MASK]ΟΔΟΣ[MASK]",
        "a b c " * 20 + "[MASK]" + " d e f" * 20 + " [MASK] [MASK] g h",
        "[mask] [MASK ] [MASK]]",
    ]
    got = call("pretraining", "serve_text", text=[*texts, "no mask", ""])

    most = 0
    for row, text in enumerate(texts):
        masks = fill_mask.fill_mask(language_model(), text, exported.TOP_K)
        most = max(most, len(masks))
        for number, candidates in enumerate(masks):
            pieces = got["tokens"][row, number]
            assert [x.decode() for x in pieces] == [c.piece for c in candidates]
            scores = got["token_scores"][row, number]
            # Other rows in the batch, another order of the sums.
            assert_close(scores, [c.probability for c in candidates], 5e-6)
        assert not any(got["tokens"][row, len(masks) :].ravel())
        assert not got["token_scores"][row, len(masks) :].any()
    assert got["tokens"].shape == (len(texts) + 2, most, exported.TOP_K)
    assert not any(got["tokens"][-2:].ravel())
    assert not got["next_sentence_probability"].any()


@pytest.mark.slow
def test_next_sentence_probabilities_are_those_of_score():
    pairs = [pair for pair in PAIRS if all(map(tokenizer().tokenize, pair))]
    want = list(score.score_pairs(language_model(), pairs))
    first, second = zip(*pairs, ("a", ""), ("", "b"))

    got = call("pretraining", "serve_text_pair", text=first, text_b=second)

    chances = [one.next_sentence_probability for one in want]
    assert_close(got["next_sentence_probability"], [*chances, 0, 0])
    cut = [one.num_cut for one in want]
    assert got["num_cut"].tolist() == [*cut, 0, 0]


@pytest.mark.slow
def test_masks_of_a_pair_are_guessed_where_they_stand():
    got = call(
        "pretraining",
        "serve_text_pair",
        text=["the [MASK] museum", "[MASK]"],
        text_b=["[MASK] Smith", ""],
    )
    tokens = "[CLS] the [MASK] museum [SEP] [MASK] smith [SEP]"
    ids = tokenizer().convert_tokens_to_ids(tokens.split())
    inputs = inference.encoder_inputs([(ids, [0] * 5 + [1] * 3)], 8)
    logits = python_model("pretraining")(
        {**inputs, "masked_lm_positions": [[2, 5]]}
    )["masked_lm_logits"][0]
    chances = np.sort(softmax(logits), -1)[:, ::-1]
    assert_close(got["token_scores"][0], chances[:, : exported.TOP_K])
    best = tokenizer().convert_ids_to_tokens(logits.argmax(-1).tolist())
    assert [x.decode() for x in got["tokens"][0, :, 0]] == best
    (alone,) = fill_mask.fill_mask(language_model(), "[MASK]", 1)
    assert got["tokens"][1, 0, 0].decode() == alone[0].piece


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("classifier", {}, "cls/predictions/"),
        ("pretraining", {"top_k": 0}, "at least 1"),
        ("pretraining", {"top_k": 1028}, "at most 1027"),
    ],
)
def test_a_model_that_cannot_be_exported_is_refused(
    name, options, message, tmp_path
):
    with pytest.raises(InputError, match=message):
        served.export_pretraining(source(name), str(tmp_path), **options)
    assert os.listdir(tmp_path) == []
