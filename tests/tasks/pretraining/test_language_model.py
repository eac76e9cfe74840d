"""LanguageModel, against NumPy, and NumPy against the original's numbers."""

import functools

import pytest
from helpers.golden import DATA, TINY, read_arrays, read_variables
from helpers.language_models import (
    TEXT,
    assert_close,
    ids,
    model,
    numpy_bert,
)

from bert_tf import checkpoints, fill_mask, score
from bert_tf.data.packing import PackedTokens
from bert_tf.errors import InputError
from bert_tf.tasks.pretraining.cloze import MaskedRow
from bert_tf.tasks.pretraining.language_model import LanguageModel


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
    masked = [MaskedRow(row, 1) for row in rows * 3]  # More than a batch.

    got = list(model().masked_lm_log_probs(masked))

    want = [
        numpy_bert().masked_lm_log_probs(ids(row.tokens), 1) for row in masked
    ]
    assert_close(got, want)


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


def test_missing_heads_are_an_error_when_used(tmp_path):
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
def test_the_masked_lm_head_needs_no_other(start, tmp_path):
    masked_lm = LanguageModel(checkpoint_without(tmp_path, start))

    got = score.score_text(masked_lm, TEXT)

    assert_close(got.log_probs, score.score_text(model(), TEXT).log_probs)
    with pytest.raises(InputError, match=f"no next-sentence head: .*{start}"):
        score.score_pair(masked_lm, "a", "b")


def test_an_incomplete_encoder_is_rejected(tmp_path):
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


def test_a_vocabulary_without_mask_is_rejected(tmp_path):
    folder = checkpoint_without(tmp_path, "cls/")
    text = (folder / "vocab.txt").read_text(encoding="utf-8")
    (folder / "vocab.txt").write_text(text.replace("[MASK]", "[mask]"))
    with pytest.raises(InputError, match=r"the token \[MASK\]"):
        LanguageModel(folder)


@pytest.mark.parametrize("length", [2, 129])
def test_max_seq_length_must_fit_the_positions(length):
    with pytest.raises(InputError, match=f"at most 128.*={length}"):
        LanguageModel(TINY.parent, max_seq_length=length)
