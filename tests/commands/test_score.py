"""score as functions and as a command, against NumPy."""

import json
import re

import numpy as np
import pytest
from helpers.language_models import (
    TEXT,
    assert_close,
    ids,
    model,
    numpy_bert,
    parse,
)

from bert_tf import score
from bert_tf.data.vocabulary import UnknownTokens
from bert_tf.errors import InputError


def numpy_text_score(tokens):
    """The sum of log probabilities, each piece masked in its turn."""
    found = []
    for position in range(1, len(tokens) - 1):
        masked = [*tokens]
        masked[position] = "[MASK]"
        log_probs = numpy_bert().masked_lm_log_probs(ids(masked), position)
        found.append(log_probs[ids(tokens)[position]])
    return found


def test_a_text_is_scored_as_numpy_scores_it():
    pieces = model().tokenizer.tokenize(TEXT)
    want = numpy_text_score(["[CLS]", *pieces, "[SEP]"])

    got = score.score_text(model(), TEXT)

    assert len(pieces) > 4  # More than a batch.
    assert got.pieces == pieces
    assert_close(got.log_probs, want)
    total = np.sum(want)
    np.testing.assert_allclose(got.pseudo_log_likelihood, total, rtol=1e-6)
    perplexity = np.exp(-total / len(pieces))
    np.testing.assert_allclose(got.perplexity, perplexity, rtol=1e-4)


def test_many_texts_are_scored_as_each_by_itself():
    texts = ["a", TEXT, "", "b c", "\u200b", "[MASK]"]
    together = list(score.score_texts(model(), texts))
    alone = [score.score_text(model(), text) for text in texts]
    for one, other in zip(together, alone, strict=True):
        assert one.pieces == other.pieces
        assert_close(one.log_probs, other.log_probs)
    assert [one.perplexity is None for one in together] == [
        text in ("", "\u200b", "[MASK]") for text in texts
    ]


def test_a_mask_in_a_text_is_context_and_not_scored():
    got = score.score_text(model(), "the [MASK] museum")

    row = ["[CLS]", "the", "[MASK]", "[MASK]", "[SEP]"]
    assert got.pieces == ["the", "museum"]
    want = numpy_bert().masked_lm_log_probs(ids(row), 3)[ids(["museum"])[0]]
    assert_close(got.log_probs[1], want)


def test_a_text_of_any_length_is_scored_whole():
    got = score.score_text(model(), "the quiet museum . " * 50)
    assert len(got.log_probs) == 200
    # In the middle the windows differ in nothing but where they begin.
    words = ["the", "quiet", "museum", "."] * 50
    tokens = ["[CLS]", *words[100 - 63 : 100 + 63], "[SEP]"]
    tokens[64] = "[MASK]"
    want = numpy_bert().masked_lm_log_probs(ids(tokens), 64)[ids(["the"])[0]]
    assert_close(got.log_probs[100], want)


def test_a_pair_is_scored_as_numpy_scores_it():
    got = score.score_pair(model(), "The museum.", "John Smith")

    tokens = ["[CLS]", "the", "museum", ".", "[SEP]"]
    tokens += ["john", "smith", "[SEP]"]
    want = numpy_bert().next_sentence_log_probs(ids(tokens), [0] * 5 + [1] * 3)
    assert got.num_cut == 0
    np.testing.assert_allclose(
        got.next_sentence_probability, np.exp(want[0]), rtol=1e-4
    )


def test_a_long_pair_is_truncated_and_the_loss_counted():
    got = score.score_pair(model(), "a " * 100, "b " * 30)
    assert got.num_cut == 5
    same = score.score_pair(model(), "a " * 95, "b " * 30)
    assert same.num_cut == 0
    assert got.next_sentence_probability == pytest.approx(
        same.next_sentence_probability, abs=1e-6
    )
    assert "5 word pieces cut off" in got.show()


def test_a_pair_with_an_empty_text_is_rejected():
    with pytest.raises(InputError, match="Both texts"):
        score.score_pair(model(), "a", "\u200b")


# ----------------------------------------------------------------- command line


@pytest.fixture
def loaded_once(monkeypatch):
    monkeypatch.setattr(
        "bert_tf.tasks.pretraining.language_model.LanguageModel",
        lambda *args: model(),
    )


def test_texts_and_pairs_are_scored_in_order(loaded_once, tmp_path, caplog):
    caplog.set_level("INFO")
    lines = ["a", "a ||| b", TEXT, "", "b ||| a", f"{'a ' * 200} ||| b"]
    (tmp_path / "in").write_text("\n".join(lines) + "\n")

    score.main(
        parse(
            score,
            f"--input_file={tmp_path / 'in'}",
            f"--output_file={tmp_path / 'out'}",
        )
    )

    rows = (tmp_path / "out").read_text().splitlines()
    rows = [json.loads(row) for row in rows]
    assert [row["text"] for row in rows] == lines
    kinds = ["next_sentence_probability" in row for row in rows]
    assert kinds == [False, True, False, False, True, True]
    texts = [score.score_text(model(), line) for line in ("a", TEXT)]
    for row, text in zip((rows[0], rows[2]), texts):
        assert row["perplexity"] == pytest.approx(text.perplexity, rel=1e-4)
        assert_close(row["log_probs"], text.log_probs)
        assert row["pieces"] == text.pieces
    assert rows[3]["perplexity"] is None
    assert rows[1]["next_sentence_probability"] == pytest.approx(
        score.score_pair(model(), "a", "b").next_sentence_probability, abs=1e-6
    )
    assert rows[5]["num_cut"] == 76
    every = [x for text in texts for x in text.log_probs]
    (together,) = re.findall(
        rf"together: perplexity (\S+), {len(every)} word pieces", caplog.text
    )
    assert float(together) == pytest.approx(np.exp(-np.mean(every)), rel=1e-4)
    assert "1 pairs were cut to 128 word pieces" in caplog.text


def test_scores_are_printed_as_text(loaded_once, capsys):
    score.main(parse(score, "--text=a", "--text=a ||| b", "--text="))
    one = score.score_text(model(), "a")
    pair = score.score_pair(model(), "a", "b")
    assert capsys.readouterr().out == (
        f"a\n  perplexity {one.perplexity:.4f}, pseudo-log-likelihood "
        f"{one.pseudo_log_likelihood:.4f}, 1 pieces\n"
        f"a ||| b\n  follows: {pair.next_sentence_probability:.4f}\n"
        "\n  no word pieces\n"
    )


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "Either.*Received: neither"),
        (["--text=a", "--input_file=x"], "Either.*Received: both"),
        (["--input_file=nowhere.txt"], "--input_file.*nowhere.txt"),
        (["--text=a", "--batch_size=0"], "--batch_size.*above 0"),
        (["--text=a", "--vocab_file=no.txt"], "--vocab_file.*no.txt"),
        (["--text=a", "--checkpoint=no"], "No checkpoint at no"),
    ],
)
def test_an_error_names_the_flag(given, message):
    with pytest.raises(InputError, match=message):
        score.main(parse(score, *given))


def test_a_text_that_is_mostly_unknown_is_told_once(
    loaded_once, monkeypatch, caplog
):
    fresh = UnknownTokens(model().tokenizer.vocab)
    monkeypatch.setattr(model(), "unknown", fresh)

    score.main(parse(score, "--text=ᚠ ᚢ ᚦ", "--text=the"))

    assert len(warnings := [m for m in caplog.messages if "[UNK]" in m]) == 1
    assert "75 %" in warnings[0]
