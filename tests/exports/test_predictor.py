"""Predictor, held to the signatures of the SavedModels that it asks."""

import functools
import json
import os
import shutil
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import tensorflow as tf
from helpers.exported import LABELS, call, folder

import bert_tf
from bert_tf.errors import InputError
from bert_tf.exports import predictor
from bert_tf.exports.results import (
    Answer,
    Choice,
    Guesses,
    Label,
    Vectors,
)

pytestmark = pytest.mark.usefixtures("graphs_as_traced")

TEXT = "the quiet museum measured John Smith ."


@functools.cache
def predict(name, batch_size=32):
    return bert_tf.Predictor(folder(name), batch_size)


# -------------------------------------------------------------- what comes back


def test_a_text_gets_its_label():
    got = predict("classifier")(TEXT)
    want = call("classifier", "serve_text", text_a=[TEXT])
    chances = want["probabilities"][0].tolist()
    assert got == Label(
        LABELS[np.argmax(chances)],
        max(chances),
        dict(zip(LABELS, chances)),
        num_cut=0,
    )
    assert predict("classifier").labels == list(LABELS)


@pytest.mark.parametrize("given", [("a", "b c"), (("a", "b c"),)])
def test_a_pair_is_two_texts_or_one_tuple(given):
    got = predict("classifier")(*given)
    want = call("classifier", "serve_text_pair", text_a=["a"], text_b=["b c"])
    assert list(got.probabilities.values()) == want["probabilities"][0].tolist()
    assert got != predict("classifier")("a")


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["span", pytest.param("span_v2", marks=pytest.mark.exhaustive)]
)
def test_a_question_gets_its_answer(name):
    context = "À Kraków, John Smith was born in 1895."
    got = predict(name)("Who was born?", context)
    want = call(
        name, "serve_text", question=["Who was born?"], context=[context]
    )
    text = want["answer"][0].decode()
    null = want.get("null_probability")
    assert got == Answer(
        text,
        want["score"][0],
        want["start"][0] if text else None,
        want["end"][0] if text else None,
        null if null is None else null[0],
    )
    if text:
        assert context[got.start : got.end] == text
    assert text or name == "span_v2"


def test_without_a_question_or_a_context_there_is_no_answer():
    none = Answer("", 0.0, None, None, None)
    assert predict("span")("Who?", "") == none
    assert predict("span")("", TEXT) == none


@pytest.mark.slow
def test_masks_get_their_guesses():
    text = "the [MASK] museum [MASK]"
    got = predict("pretraining")(text)
    want = call("pretraining", "serve_text", text=[text])
    pieces = np.vectorize(bytes.decode)(want["tokens"][0]).tolist()
    assert [[one.piece for one in mask] for mask in got.masks] == pieces
    scores = [[one.probability for one in mask] for mask in got.masks]
    assert scores == want["token_scores"][0].tolist()
    assert got.next_sentence_probability is None


@pytest.mark.slow
def test_a_pair_gets_a_next_sentence_probability():
    got = predict("pretraining")("the museum", "John Smith")
    want = call(
        "pretraining",
        "serve_text_pair",
        text=["the museum"],
        text_b=["John Smith"],
    )
    assert got == Guesses([], want["next_sentence_probability"][0], 0)


def choice_of(context, choices, question=""):
    given = {"question": [question]} if question else {}
    got = call(
        "choices",
        "serve_text_pair" if question else "serve_text",
        context=[context],
        choices=[choices],
        **given,
    )
    chances = got["probabilities"][0].tolist()
    best = int(np.argmax(chances))
    return Choice(best, chances[best], chances, got["num_cut"][0])


@pytest.mark.slow
def test_a_context_and_a_list_of_texts_get_a_choice():
    choices = ["was born .", "wrote the book " * 20]
    predictor = predict("choices")
    want = choice_of(TEXT, choices)
    assert want.num_cut > 0
    assert predictor(TEXT, choices) == want
    assert predictor((TEXT, choices)) == want
    asked = choice_of(TEXT, choices, "Who?")
    assert asked.probabilities != want.probabilities
    assert predictor((TEXT, "Who?"), choices) == asked
    assert predictor((TEXT, "Who?", choices)) == asked


@pytest.mark.slow
def test_examples_of_many_numbers_of_choices_come_back_in_order():
    choices = ["born", "in", "the book", "of"]
    examples = [
        (f"the {'museum ' * n}", choices[: 2 + 2 * (n % 2)]) for n in range(7)
    ]
    got = list(predict("choices", 3)(examples))
    for found, example in zip(got, examples, strict=True):
        want = choice_of(*example)
        assert found.choice == want.choice
        np.testing.assert_allclose(
            found.probabilities, want.probabilities, atol=1e-6
        )


@pytest.mark.slow
@pytest.mark.parametrize(
    "given",
    ["a", ("a",), ("a", "b"), ("a", ["b"]), ("a", "b", "c"), ("a", [1, 2]), ()],
)
def test_what_is_no_list_of_choices_is_refused(given):
    with pytest.raises(InputError):
        predict("choices")(given)


def test_a_text_gets_one_vector():
    got = predict("features")(TEXT * 20)
    want = call("features", "serve_text", text_a=[TEXT * 20])
    assert isinstance(got, Vectors) and got.tokens is None
    np.testing.assert_array_equal(got.embedding, want["embedding"][0])
    assert got.num_cut == want["num_cut"][0] > 0


@pytest.mark.slow
def test_tokens_get_a_vector_each():
    got = predict("tokens")("a b")
    want = call("tokens", "serve_text", text_a=["a b"])
    assert got.tokens == ["[CLS]", "a", "b", "[SEP]"]
    np.testing.assert_array_equal(got.embedding, want["embedding"][0, :4])


# ------------------------------------------------------------------- many texts


@pytest.mark.slow
def test_many_texts_keep_their_order_and_results():
    rng = np.random.default_rng(1)
    texts = [f"{number} " + "a " * rng.integers(0, 60) for number in range(83)]
    few_at_once = predict("features", batch_size=2)
    got = list(few_at_once(text for text in texts))
    want = call("features", "serve_text", text_a=texts)
    assert len(got) == 83
    for row, one in enumerate(got):
        np.testing.assert_allclose(
            one.embedding, want["embedding"][row], rtol=0, atol=5e-6
        )


def test_few_long_texts_have_a_batch_of_their_own(monkeypatch):
    model = predict("classifier")
    sizes = []
    run = model._run

    def note(rows):
        sizes.append(len(rows))
        return run(rows)

    monkeypatch.setattr(model, "_run", note)
    texts = ["museum"] * 62
    texts[7:7] = ["the museum " * 30] * 2
    got = list(model(texts))
    assert sizes == [2, 32, 30]
    assert [one.num_cut > 0 for one in got] == [
        number in (7, 8) for number in range(64)
    ]


@pytest.mark.slow
def test_masks_of_texts_in_one_batch_stay_apart():
    texts = ["[MASK] " * count for count in (1, 0, 3, 2)]
    got = list(predict("pretraining")([*texts, ("[MASK]", "b")]))
    assert [len(one.masks) for one in got] == [1, 0, 3, 2, 1]
    follows = [one.next_sentence_probability is None for one in got]
    assert follows == [True, True, True, True, False]


def test_texts_are_read_a_bounded_number_of_batches_ahead():
    read = []

    def endless():
        while True:
            read.append(None)
            yield "a"

    results = predict("classifier", batch_size=2)(endless())
    assert read == []
    for _ in range(40):
        next(results)
    assert len(read) <= 40 + 2 * predictor.BATCHES_AHEAD


def test_no_texts_give_no_results():
    assert list(predict("classifier")([])) == []


def test_a_bad_text_among_many_raises_when_it_is_reached():
    results = predict("classifier", batch_size=2)(iter(["a"] * 32 + [7]))
    assert sum(1 for _ in zip(range(32), results)) == 32
    with pytest.raises(InputError, match="Received: 7 of type int"):
        next(results)


# --------------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("classifier", 7, "must be a str.*Received: 7 of type int"),
        ("classifier", b"a", "must be a str.*of type bytes"),
        ("classifier", ("a", None), r"must be a str.*\('a', None\)"),
        ("classifier", ("a", "b", "c"), "takes one text or two at a time"),
        ("classifier", (), "takes one text or two at a time"),
        ("classifier", "\ud800", "without lone surrogates"),
        ("span", "Who?", "takes a question and a context"),
        ("span", ("Who?",), "takes a question and a context"),
    ],
)
def test_inputs_that_are_not_texts_are_refused(name, given, message):
    with pytest.raises(InputError, match=message):
        predict(name)(given)


def test_a_signature_is_tensorflows_and_refuses_ids_as_an_error_of_ours():
    signature = predict("classifier").signatures["serving_default"]
    rows = {"input_ids": [[4, 5]], "input_mask": [[1, 1]]}
    rows |= {"segment_ids": [[0, 0]]}
    tensors = {name: tf.constant(x) for name, x in rows.items()}
    np.testing.assert_array_equal(
        signature(**tensors)["logits"],
        call("classifier", "serving_default", **rows)["logits"],
    )
    assert set(signature.structured_outputs) == {"logits", "probabilities"}

    with pytest.raises(InputError, match=r"segment_ids .*: 2 at \[0, 1\]"):
        signature(**{**tensors, "segment_ids": tf.constant([[0, 2]])})
    with pytest.raises(InputError, match=r"cannot compute this.*shape"):
        signature(**{**tensors, "segment_ids": tf.constant([[0]])})


def test_a_batch_size_of_0_is_refused():
    with pytest.raises(InputError, match="`batch_size` must be above 0"):
        bert_tf.Predictor(folder("classifier"), 0)


# ------------------------------------------------------------------- the folder


@pytest.mark.slow
def test_the_newest_version_is_taken_unless_one_is_named(tmp_path):
    for name in ("2", "10", "9", "11.incomplete", "x"):
        shutil.copytree(folder("classifier") / "1", tmp_path / name)
    newest = bert_tf.Predictor(tmp_path)
    assert newest.path == str(tmp_path / "10")
    assert bert_tf.Predictor(tmp_path / "9").path == str(tmp_path / "9")
    assert newest(TEXT) == predict("classifier")(TEXT)


def test_a_folder_without_a_model_is_an_error(tmp_path):
    with pytest.raises(InputError, match=r"There is no folder .*nowhere"):
        bert_tf.Predictor(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"saved_model\.pb.*It has: nothing"):
        bert_tf.Predictor(tmp_path)
    (tmp_path / "3").mkdir()
    with pytest.raises(InputError, match=r"3 must have a saved_model\.pb"):
        bert_tf.Predictor(tmp_path)
    (tmp_path / "3" / "saved_model.pb").touch()
    with pytest.raises(InputError, match=r"written by bert_tf.*bert_tf\.json"):
        bert_tf.Predictor(tmp_path)


# --------------------------------------------------------------------- start-up

WITHOUT_KERAS = """
    import os, sys
    import bert_tf

    assert "tensorflow" not in sys.modules
    predict = bert_tf.Predictor(sys.argv[1])
    label = predict("a text").label
    assert "keras" not in sys.modules
    assert "TF_USE_LEGACY_KERAS" not in os.environ

    # Whoever wants Keras still gets today's.
    import tensorflow as tf
    assert tf.keras.__version__.startswith("3.")
    from bert_tf import models
    print(label)
"""


@pytest.mark.slow
def test_a_predictor_loads_no_keras_and_leaves_it_available():
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            textwrap.dedent(WITHOUT_KERAS),
            str(folder("classifier")),
        ],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == predict("classifier")("a text").label


def test_other_names_are_still_missing_from_the_package():
    with pytest.raises(AttributeError, match="no attribute 'Predicter'"):
        _ = bert_tf.Predicter


@pytest.mark.slow
def test_results_can_be_written_as_json():
    made = [predict("classifier")(TEXT), predict("span")("Who?", TEXT)]
    made.append(predict("pretraining")("[MASK]"))
    for one in made:
        assert json.loads(json.dumps(one._asdict()))


def test_an_unknown_head_is_named(tmp_path):
    (tmp_path / "saved_model.pb").touch()
    (tmp_path / "assets").mkdir()
    about = '{"format": 1, "head": "other", "labels": null}'
    (tmp_path / "assets" / "bert_tf.json").write_text(about)
    with pytest.raises(InputError, match=r"classifier.*'other'"):
        bert_tf.Predictor(tmp_path)
