"""Exported encoders, held to the Python model."""

import os

import numpy as np
import pytest
from helpers.exported import call, source
from helpers.reference import (
    PAIRS,
    TEXTS,
    VECTOR_NOISE,
    assert_close,
    python_model,
    rows_of,
    tokenizer,
    window_inputs,
    windows_of,
)

from bert_tf.errors import InputError
from bert_tf.tasks.vectors import lines, served


def test_embeddings_are_those_of_python():
    first, second = zip(*PAIRS)
    got = call("features", "serve_text_pair", text_a=first, text_b=second)
    for row, inputs in enumerate(rows_of(PAIRS, 40)):
        (values,) = python_model("features")(inputs)["values"]
        want = values.mean(0).ravel()
        assert_close(got["embedding"][row], want, VECTOR_NOISE)


@pytest.mark.slow
def test_vectors_of_tokens_come_with_their_tokens():
    got = call("tokens", "serve_text", text_a=TEXTS)
    for row, inputs in enumerate(rows_of([(x, "") for x in TEXTS], 24)):
        (values,) = python_model("tokens")(inputs)["values"]
        (ids,) = inputs["input_ids"].tolist()
        used = len(ids)
        values = values.reshape(used, -1)
        assert_close(got["embedding"][row, :used], values, VECTOR_NOISE)
        tokens = [token.decode() for token in got["tokens"][row]]
        assert tokens[:used] == tokenizer().convert_ids_to_tokens(ids)
        assert not any(tokens[used:])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "over_tokens"),
    [
        pytest.param("features_windows", "mean", marks=pytest.mark.exhaustive),
        ("features_unit", "mean"),
        pytest.param("tokens_windows", None, marks=pytest.mark.exhaustive),
    ],
)
def test_features_read_long_texts_in_windows(name, over_tokens):
    first, second = zip(*PAIRS)
    got = call(name, "serve_text_pair", text_a=first, text_b=second)
    name, _, kind = name.partition("_")
    parts, cut = [], []
    for line, pair in enumerate(PAIRS):
        windows, num_cut = windows_of(*pair)
        cut.append(num_cut)
        for window in windows:
            out = python_model("tokens" if name == "tokens" else "features")(
                window_inputs(window)
            )
            vectors = lines.LineVectors(
                line,
                window.tokens[window.owned],
                out["values"][0, window.owned],
            )
            parts.append(lines.pool_window(vectors, over_tokens))
    want = lines.join_windows(parts, over_tokens)
    for row, vectors in enumerate(want):
        embedding = got["embedding"][row]
        if over_tokens is None:
            used = len(vectors.tokens)
            tokens = [token.decode() for token in got["tokens"][row]]
            assert tokens[:used] == vectors.tokens
            assert not any(tokens[used:]) and not embedding[used:].any()
            embedding = embedding[:used]
        values = vectors.values.reshape(embedding.shape)
        if kind == "unit":
            values = values / np.linalg.norm(values)
        assert_close(embedding, values, VECTOR_NOISE)
    assert got["num_cut"].tolist() == cut


@pytest.mark.slow
def test_embeddings_are_divided_by_their_length():
    rows = {"input_ids": [[2, 7, 3]], "input_mask": [[1, 1, 1]]}
    rows["segment_ids"] = [[0, 0, 0]]
    for signature, inputs in (
        ("serve_text", {"text_a": ["the quiet museum", "a"]}),
        ("serving_default", rows),
    ):
        want = call("features", signature, **inputs)["embedding"]
        want /= np.linalg.norm(want, axis=-1, keepdims=True)
        got = call("features_unit", signature, **inputs)["embedding"]
        np.testing.assert_allclose(got, want, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("features", {"layers": (3,)}, "There is no layer 3"),
        ("features", {"layers": (-4,)}, "There is no layer -4"),
        (
            "features",
            {"layers": (1,), "pooling": "concat_last_4"},
            "not for the pooling concat_last_4",
        ),
        (
            "features",
            {"pooling": "none", "normalize": True},
            "--normalize.*--pooling=none",
        ),
    ],
)
def test_a_model_that_cannot_be_exported_is_refused(
    name, options, message, tmp_path
):
    with pytest.raises(InputError, match=message):
        served.export_features(source(name), str(tmp_path), **options)
    assert os.listdir(tmp_path) == []
