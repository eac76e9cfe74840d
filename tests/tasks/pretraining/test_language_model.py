"""fill_mask and score, held to NumPy, and NumPy to the original's numbers."""

import functools
import json
import os
import re

import numpy as np
import pytest
from absl import flags as absl_flags
from helpers.golden import DATA, TINY, read_arrays, read_config, read_variables
from helpers.numpy_bert import NumpyBert

from bert_tf import (
    checkpoints,
    fill_mask,
    score,
)
from bert_tf.cli import command_line
from bert_tf.data.packing import PackedTokens
from bert_tf.errors import InputError
from bert_tf.tasks.pretraining.cloze import Query
from bert_tf.tasks.pretraining.language_model import LanguageModel

# Noise that the original has itself, with log probabilities down to -39.
LOG_PROB_NOISE = 3e-5

TEXT = "the quiet museum measured John Smith ."


@functools.cache
def model():
    return LanguageModel(TINY.parent, batch_size=4)


@functools.cache
def numpy_bert():
    heads = read_config(TINY.parent).num_attention_heads
    return NumpyBert(read_variables(TINY), heads)


def ids(tokens):
    return model().tokenizer.convert_tokens_to_ids(tokens)


def assert_close(got, want):
    np.testing.assert_allclose(got, want, rtol=0, atol=LOG_PROB_NOISE)


# --------------------------------------------------- the original's own numbers


def golden_rows():
    """Rows of the case `base`, padding cut off, and what came out."""
    path = DATA / "forward" / "forward.npz"
    x, out = read_arrays(path, "base/in/"), read_arrays(path, "base/out/")
    rows, num_predictions = x["masked_lm_positions"].shape
    words = out["masked_lm_log_probs"].reshape(rows, num_predictions, -1)
    for row in range(rows):
        length = int(x["input_mask"][row].sum())
        assert x["input_mask"][row, :length].all()
        yield (
            x["input_ids"][row, :length].tolist(),
            x["segment_ids"][row, :length].tolist(),
            x["masked_lm_positions"][row].tolist(),
            words[row],
            out["next_sentence_log_probs"][row],
        )


def test_numpy_computes_what_the_original_did():
    for input_ids, segment_ids, positions, words, pairs in golden_rows():
        for position, want in zip(positions, words):
            if position < len(input_ids):
                got = numpy_bert().masked_lm_log_probs(
                    input_ids, position, segment_ids
                )
                assert_close(got, want)
        got = numpy_bert().next_sentence_log_probs(input_ids, segment_ids)
        assert_close(got, pairs)


def test_next_sentence_log_probs_are_the_originals():
    rows = list(golden_rows())
    pairs = [
        PackedTokens(model().tokenizer.convert_ids_to_tokens(row[0]), row[1])
        for row in rows
    ]
    got = list(model().next_sentence_log_probs(pairs))
    assert_close(got, [row[-1] for row in rows])


def test_masked_lm_log_probs_are_those_of_numpy_for_every_row():
    rows = [["[CLS]", "a", "b", "[SEP]"], ["[CLS]", "[MASK]", "[SEP]"]]
    queries = [Query(row, 1) for row in rows * 3]  # More than a batch.

    got = list(model().masked_lm_log_probs(queries))

    want = [
        numpy_bert().masked_lm_log_probs(ids(query.tokens), 1)
        for query in queries
    ]
    assert_close(got, want)


# -------------------------------------------------------------------- fill_mask


def test_the_best_pieces_are_those_of_numpy():
    text = "the [MASK] museum measured [MASK] ."
    tokens = ["[CLS]", *text.split(), "[SEP]"]

    masks = fill_mask.fill_mask(model(), text, top_k=7)

    for position, candidates in zip((2, 5), masks, strict=True):
        want = numpy_bert().masked_lm_log_probs(ids(tokens), position)
        best = np.argsort(-want)[:7]
        names = model().tokenizer.convert_ids_to_tokens(best.tolist())
        assert [one.piece for one in candidates] == names
        probabilities = [one.probability for one in candidates]
        np.testing.assert_allclose(probabilities, np.exp(want[best]), rtol=1e-4)


def test_all_pieces_together_have_probability_1():
    ((*candidates,),) = fill_mask.fill_mask(model(), "[MASK]", top_k=9999)
    assert len(candidates) == 1027
    assert abs(sum(one.probability for one in candidates) - 1) < 1e-9


def test_a_mask_far_inside_a_long_text_is_guessed_from_around_it():
    words = ["the", "quiet", "museum", "."] * 100
    words[201] = "[MASK]"

    ((best, *_),) = fill_mask.fill_mask(model(), " ".join(words), top_k=1)

    # 126 of 400 pieces have room, 63 of them before the mask.
    tokens = ["[CLS]", *words[201 - 63 : 201 + 63], "[SEP]"]
    want = numpy_bert().masked_lm_log_probs(ids(tokens), 64)
    assert best.piece == model().tokenizer.inv_vocab[int(want.argmax())]
    np.testing.assert_allclose(best.probability, np.exp(want.max()), rtol=1e-4)


def test_a_text_without_a_mask_is_refused():
    with pytest.raises(InputError, match=r"\[MASK\], written so.*text 2, 'b'"):
        list(fill_mask.fill_masks(model(), ["a [MASK]", "b", "[MASK]"]))


# ------------------------------------------------------------------------ score


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


def test_a_pair_that_is_too_long_is_cut_and_says_so():
    got = score.score_pair(model(), "a " * 100, "b " * 30)
    assert got.num_cut == 5
    same = score.score_pair(model(), "a " * 95, "b " * 30)
    assert same.num_cut == 0
    assert got.next_sentence_probability == pytest.approx(
        same.next_sentence_probability, abs=1e-6
    )
    assert "5 word pieces cut off" in got.show()


def test_a_pair_with_an_empty_text_is_refused():
    with pytest.raises(InputError, match="Both texts"):
        score.score_pair(model(), "a", "\u200b")


# ------------------------------------------------------------------ checkpoints


@functools.cache
def variables_of_tiny():
    return read_variables(TINY)


def checkpoint_without(folder, start):
    values = {
        name: value
        for name, value in variables_of_tiny().items()
        if not name.startswith(start)
    }
    checkpoints.write(folder / "bert_model.ckpt", values)
    for name in ("vocab.txt", "bert_config.json"):
        (folder / name).write_bytes((TINY.parent / name).read_bytes())
    return folder


def test_random_heads_never_answer(tmp_path):
    encoder = LanguageModel(checkpoint_without(tmp_path, "cls/"))

    with pytest.raises(
        InputError,
        match=r"no masked-LM head: it lacks.*cls/predictions/.*as pre",
    ):
        fill_mask.fill_mask(encoder, "[MASK]")
    with pytest.raises(InputError, match="no masked-LM head"):
        score.score_text(encoder, "a")
    with pytest.raises(
        InputError,
        match=r"no next-sentence head: it lacks.*cls/seq_relationship",
    ):
        score.score_pair(encoder, "a", "b")


@pytest.mark.parametrize("start", ["cls/seq_relationship", "bert/pooler"])
def test_the_masked_lm_head_answers_alone(start, tmp_path):
    masked_lm = LanguageModel(checkpoint_without(tmp_path, start))

    got = score.score_text(masked_lm, TEXT)

    assert_close(got.log_probs, score.score_text(model(), TEXT).log_probs)
    with pytest.raises(InputError, match=f"no next-sentence head: .*{start}"):
        score.score_pair(masked_lm, "a", "b")


def test_an_encoder_that_is_not_whole_is_refused(tmp_path):
    folder = checkpoint_without(tmp_path, "bert/encoder/layer_1/output/dense")
    with pytest.raises(
        InputError, match=r"lacks 2 needed .*layer_1/output/dense"
    ):
        LanguageModel(folder)


def test_a_missing_vocabulary_says_which_flag_names_it(tmp_path):
    folder = checkpoint_without(tmp_path, "cls/")
    (folder / "vocab.txt").unlink()
    with pytest.raises(InputError, match=r"no vocab.txt.*`--vocab_file`"):
        LanguageModel(folder)
    LanguageModel(folder, vocab_file=TINY.parent / "vocab.txt")


def test_a_vocabulary_without_mask_is_refused(tmp_path):
    folder = checkpoint_without(tmp_path, "cls/")
    text = (folder / "vocab.txt").read_text(encoding="utf-8")
    (folder / "vocab.txt").write_text(text.replace("[MASK]", "[mask]"))
    with pytest.raises(InputError, match=r"the token \[MASK\]"):
        LanguageModel(folder)


@pytest.mark.parametrize("length", [2, 129])
def test_max_seq_length_must_fit_the_positions(length):
    with pytest.raises(InputError, match=f"at most 128.*={length}"):
        LanguageModel(TINY.parent, max_seq_length=length)


# ----------------------------------------------------------------- command line


def parse(script, *arguments):
    values = absl_flags.FlagValues()
    script.define_flags(values)
    given = [f"--checkpoint={TINY.parent}", *arguments]
    command_line.parse(values, ["script", *given])
    return values


@pytest.fixture
def loaded_once(monkeypatch):
    monkeypatch.setattr(
        "bert_tf.tasks.pretraining.language_model.LanguageModel",
        lambda *args: model(),
    )


def test_fill_mask_prints_answers_for_people(loaded_once, capsys):
    fill_mask.main(
        parse(fill_mask, "--text=a [MASK]", "--text=[MASK][MASK]", "--top_k=2")
    )

    (a,), (b, c) = (
        fill_mask.fill_mask(model(), text, 2)
        for text in ("a [MASK]", "[MASK][MASK]")
    )
    rows = {
        id(x): "".join(f"\n  {p.probability:8.4f}  {p.piece}" for p in x)
        for x in (a, b, c)
    }
    assert capsys.readouterr().out == (
        f"a [MASK]{rows[id(a)]}\n"
        f"[MASK][MASK]\n  [MASK] 1{rows[id(b)]}\n  [MASK] 2{rows[id(c)]}\n"
    )


def test_fill_mask_writes_json_of_a_file(loaded_once, tmp_path):
    (tmp_path / "in").write_text("é [MASK]\n[MASK]\n", encoding="utf-8")

    fill_mask.main(
        parse(
            fill_mask,
            f"--input_file={tmp_path / 'in'}",
            f"--output_file={tmp_path / 'new' / 'out'}",
        )
    )

    text = (tmp_path / "new" / "out").read_text(encoding="utf-8")
    first, second = map(json.loads, text.splitlines())
    assert first["text"] == "é [MASK]"
    (candidates,) = second["masks"]
    assert len(candidates) == 5
    assert candidates[0] == {
        "piece": fill_mask.fill_mask(model(), "[MASK]")[0][0].piece,
        "probability": pytest.approx(
            fill_mask.fill_mask(model(), "[MASK]")[0][0].probability, rel=1e-5
        ),
    }


def test_score_answers_texts_and_pairs_in_order(loaded_once, tmp_path, caplog):
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


def test_score_prints_answers_for_people(loaded_once, capsys):
    score.main(parse(score, "--text=a", "--text=a ||| b", "--text="))
    one = score.score_text(model(), "a")
    pair = score.score_pair(model(), "a", "b")
    assert capsys.readouterr().out == (
        f"a\n  perplexity {one.perplexity:.4f}, pseudo-log-likelihood "
        f"{one.pseudo_log_likelihood:.4f}, 1 pieces\n"
        f"a ||| b\n  follows: {pair.next_sentence_probability:.4f}\n"
        "\n  no word pieces\n"
    )


@pytest.mark.parametrize("script", [fill_mask, score])
@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "Either.*Received: neither"),
        (["--text=[MASK]", "--input_file=x"], "Either.*Received: both"),
        (["--input_file=nowhere.txt"], "--input_file.*nowhere.txt"),
        (["--text=[MASK]", "--batch_size=0"], "--batch_size.*above 0"),
        (["--text=[MASK]", "--vocab_file=no.txt"], "--vocab_file.*no.txt"),
        (["--text=[MASK]", "--checkpoint=no"], "No checkpoint at no"),
    ],
)
def test_mistakes_are_named(script, given, message):
    with pytest.raises(InputError, match=message):
        script.main(parse(script, *given))


def test_an_answer_that_fails_leaves_no_file(loaded_once, tmp_path):
    (tmp_path / "in").write_text("[MASK]\n" * 9 + "nothing to fill\n")
    with pytest.raises(InputError, match="text 10, 'nothing to fill'"):
        fill_mask.main(
            parse(
                fill_mask,
                f"--input_file={tmp_path / 'in'}",
                f"--output_file={tmp_path / 'out'}",
            )
        )
    assert os.listdir(tmp_path) == ["in"]
