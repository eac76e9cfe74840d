"""Answers of `Reader`, against the original's predictions and NumPy."""

import json
import unicodedata

import numpy as np
import pytest
from helpers.golden import TINY, read_config, read_variables
from helpers.numpy_bert import NumpyBert
from helpers.squad_golden import (
    READER_FILES,
    SQUAD,
    WINDOW_SETTINGS,
    archive,
    contexts,
    load_reader,
    reader,
    tokenizer,
)

from bert_tf.errors import InputError
from bert_tf.tasks.squad import data
from bert_tf.tasks.squad.passages import Query
from bert_tf.tasks.squad.reader import Reader
from bert_tf.tasks.squad.windows import WindowMaker

CHECKPOINT = SQUAD / "checkpoint" / "model.ckpt"


def test_the_best_answer_to_one_text_is_what_the_original_predicts():
    """A run of the original whose n-best lists hold all spans there are."""
    examples = [
        example
        for example in data.read_squad_examples(
            str(SQUAD / "dev-v2.0.json"), is_training=False
        )
        if example.question_text.strip()
    ]
    files = archive("end_to_end/predictions.tar.xz")
    predictions = json.loads(files["v2.0_predictions.json"])
    null_odds = json.loads(files["v2.0_null_odds.json"])
    like_the_run = load_reader(
        max_answer_length=4,
        version_2_with_negative=True,
        null_score_diff_threshold=-0.5,
        batch_size=3,
    )

    readings = like_the_run.read_all(
        Query(one.question_text, [one.context]) for one in examples
    )

    unanswered = same = 0
    for example, got in zip(examples, readings, strict=True):
        best = got.passages[0].answer
        odds = best.null_score - best.start_logit - best.end_logit
        assert odds == pytest.approx(null_odds[example.qas_id], abs=1e-4)
        (first,) = got.answers
        want = predictions[example.qas_id]
        assert bool(first.text) == bool(want)
        # Where pieces are no text, the original returns whole words, and of
        # the k's in "Kraków" always the first.
        assert simple(first.text) in simple(want)
        unanswered += not first.text
        same += first.text == want
    assert (unanswered, len(examples)) == (5, 115)
    assert same > 90


def simple(text):
    text = unicodedata.normalize("NFD", text.lower())
    return "".join(c for c in text if unicodedata.category(c) != "Mn")


def test_scores_are_shares_of_all_windows_as_numpy_computes_them():
    variables = read_variables(CHECKPOINT)
    bert = NumpyBert(variables, read_config(TINY.parent).num_attention_heads)
    weights = variables["cls/squad/output_weights"].astype(np.float64)
    bias = variables["cls/squad/output_bias"].astype(np.float64)
    maker = WindowMaker(
        tokenizer("tiny", True), **WINDOW_SETTINGS, exact_answers=True
    )
    question, powers, shares = "Who was born?", {}, [0.0] * 4
    for number, context in enumerate(contexts()):
        example = data.SquadExample("q", question, context)
        for window in maker.windows(example):
            document, first = window.document, len(window.front)
            output = bert.layers(window.input_ids, window.segment_ids)[-1]
            starts, ends = np.exp(output @ weights.T + bias).T
            last = first + window.span.length
            for token in range(first, last):
                if not window.token_is_max_context[token]:
                    continue
                for other in range(token, min(token + 5, last)):
                    begin = document.starts[window.piece(token)]
                    end = document.ends[window.piece(other)]
                    place = number, begin, end
                    # One character may be several pieces.
                    power = starts[token] * ends[other]
                    powers[place] = max(power, powers.get(place, 0.0))
                    shares[number] += power
    total = sum(shares)
    order = sorted(powers, key=lambda place: -powers[place])

    got = reader().read(question, contexts(), num_answers=6)

    best = got.answers[0]
    assert (best.context_index, best.start, best.end) == order[0]
    scores = [one.score for one in got.answers]
    assert len(scores) == 6 and scores == sorted(scores, reverse=True)
    for one in got.answers:
        assert one.text == contexts()[one.context_index][one.start : one.end]
        share = powers[one.context_index, one.start, one.end] / total
        assert one.score == pytest.approx(share, rel=1e-3)
    for one in got.passages:
        share = shares[one.context_index] / total
        assert one.score == pytest.approx(share, rel=1e-3)


def test_questions_in_one_batch_are_answered_as_if_asked_alone():
    long, *_, short = contexts()
    queries = [
        Query("Who?", [short]),
        Query("When was he born?", [long, short]),
        Query("Where?", [short, "He lived in New York."]),
    ] * 2
    few_at_once = load_reader(max_answer_length=5, batch_size=2)

    together = list(reader().read_all(queries, num_answers=2))

    assert len(together) == 6
    for query, got in zip(queries, together):
        alone = few_at_once.answer(query.question, query.contexts, 2)
        assert [one[2:5] for one in got.answers] == [one[2:5] for one in alone]
        np.testing.assert_allclose(
            [one.score for one in got.answers],
            [one.score for one in alone],
            rtol=1e-3,
        )


def test_a_context_may_be_given_by_itself():
    text = contexts()[-1]
    assert reader().answer("Who?", text) == reader().answer("Who?", [text])


def test_a_truncated_question_is_logged(caplog):
    reader().answer("who " * 30, "John Smith")
    assert "first 24 of 30 word pieces" in caplog.text


# ------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("question", "texts", "message"),
    [
        ("", "x", "`question` must hold text"),
        ("\u200b", "x", "`question` must hold words"),
        ("who?", [], "at least one text"),
        ("who?", ["x", " "], r"contexts\[1\]=' '"),
        ("who?", ["x", "\u200b"], r"hold words.*contexts\[1\].*'who\?'"),
    ],
)
def test_an_empty_question_or_context_is_rejected(question, texts, message):
    with pytest.raises(InputError, match=message):
        reader().answer(question, texts)


def test_at_least_one_answer_must_be_requested():
    with pytest.raises(InputError, match=r"`num_answers`.*above 0.*=0"):
        reader().answer("who?", "x", 0)


def test_a_checkpoint_without_the_head_is_rejected():
    with pytest.raises(
        InputError, match=r"no head.*lacks cls/squad/.*bert_tf\.run_squad"
    ):
        Reader(TINY.parent)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"max_answer_length": 0}, "`max_answer_length` must be above 0"),
        ({"batch_size": 0}, "`batch_size` must be above 0"),
        ({"doc_stride": 0}, "`doc_stride` must be above 0"),
        ({"max_seq_length": 129}, "at most 128"),
        ({"max_query_length": 125}, "greater than max_query_length"),
        ({"null_score_diff_threshold": 1.0}, "only with version_2"),
        ({"null_score_diff_threshold": "auto"}, "only with version_2"),
        (
            {
                "null_score_diff_threshold": float("nan"),
                "version_2_with_negative": True,
            },
            "must be a number or auto",
        ),
        (
            {
                "null_score_diff_threshold": "auto",
                "version_2_with_negative": True,
            },
            r"needs .*null_score_diff_threshold\.txt, which is not there",
        ),
        ({"vocab_file": None}, r"no vocab\.txt.*`--vocab_file`"),
    ],
)
def test_bad_arguments_are_rejected_before_the_weights_are_read(
    arguments, message, monkeypatch
):
    monkeypatch.delattr("bert_tf.checkpoints.inference.load_model")
    with pytest.raises(InputError, match=message):
        Reader(CHECKPOINT, **{**READER_FILES, **WINDOW_SETTINGS, **arguments})
