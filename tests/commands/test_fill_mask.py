"""fill_mask as a function and as a command, against NumPy."""

import json
import os

import numpy as np
import pytest
from helpers.language_models import ids, model, numpy_bert, parse

from bert_tf import fill_mask
from bert_tf.data.vocabulary import UnknownTokens
from bert_tf.errors import InputError


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


def test_a_text_without_a_mask_is_rejected():
    with pytest.raises(InputError, match=r"\[MASK\], written so.*text 2, 'b'"):
        list(fill_mask.fill_masks(model(), ["a [MASK]", "b", "[MASK]"]))


# ----------------------------------------------------------------- command line


@pytest.fixture
def loaded_once(monkeypatch):
    monkeypatch.setattr(
        "bert_tf.tasks.pretraining.language_model.LanguageModel",
        lambda *args: model(),
    )


def test_pieces_are_printed_as_text(loaded_once, capsys):
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


def test_pieces_for_a_file_are_written_as_json(loaded_once, tmp_path):
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
def test_an_error_names_the_flag(given, message):
    with pytest.raises(InputError, match=message):
        fill_mask.main(parse(fill_mask, *given))


def test_no_output_is_left_after_an_error(loaded_once, tmp_path):
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


def test_a_text_that_is_mostly_unknown_is_told_once(
    loaded_once, monkeypatch, caplog
):
    fresh = UnknownTokens(model().tokenizer.vocab)
    monkeypatch.setattr(model(), "unknown", fresh)

    fill_mask.main(parse(fill_mask, "--text=ᚠ ᚢ ᚦ [MASK]", "--text=the [MASK]"))

    assert len(warnings := [m for m in caplog.messages if "[UNK]" in m]) == 1
    assert "75 %" in warnings[0]
