"""What bert_tf exports, served: heads, signatures, alone and at once."""

import asyncio
import base64
import pathlib

import numpy as np
import pytest
import tensorflow as tf
from helpers import exported, in_process

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("graphs_as_traced"),
]

TEXTS = [
    "Who wrote the book?",
    "the quiet museum measured John Smith . " * 30,
    "Très bien — 東京 Ὀδυσσεύς! 😀",
    "It [MASK] a [MASK] museum.",
    "a",
]
SECOND = TEXTS[::-1]


def columns_of(model, name, signature):
    """Inputs for a signature of a `ServedModel`, as lists by name."""
    names = set(model.signatures[signature].inputs)
    if signature == "serving_default":
        rows = {"input_ids": [[2, 9, 8, 3], [2, 7, 3, 0]]}
        rows["input_mask"] = [[1, 1, 1, 1], [1, 1, 1, 0]]
        rows["segment_ids"] = [[0, 0, 1, 1], [0, 0, 0, 0]]
        rows["masked_lm_positions"] = [[1, 2], [1, 0]]
        if name == "choices":
            # Two choices of each row, which begin with [CLS].
            rows["input_ids"] = [[4, 9, 8, 3], [4, 7, 3, 0]]
            rows = {key: [row, row[::-1]] for key, row in rows.items()}
        return {key: rows[key] for key in names}
    if signature == "serve_examples":
        made = []
        keys = columns_of(model, name, "serving_default")
        for row in zip(*keys.values()):
            example = tf.train.Example()
            for key, values in zip(keys, row):
                feature = example.features.feature[key]
                feature.int64_list.value.extend(np.ravel(values))
            made.append(example.SerializeToString())
        return {"examples": made}
    if signature.endswith("serve_words"):
        return {"words": [["the", "quiet museum"], ["John", ""]]}
    if name == "choices":
        columns = {"context": tuple(TEXTS), "question": tuple(SECOND)}
        # Two equal ones would share the highest probability.
        choices = [[f"{text} river", "a", "the museum"] for text in SECOND]
        return {key: columns.get(key, choices) for key in names}
    first = names - {"text_b", "context"}
    return {
        **dict.fromkeys(first, tuple(TEXTS)),
        **dict.fromkeys(names - first, tuple(SECOND)),
    }


def to_json(values):
    return [
        {"b64": base64.b64encode(each).decode()}
        if isinstance(each, bytes)
        else each
        for each in values
    ]


HEADS = [
    "classifier",
    "span_v2",
    "pretraining",
    "features",
    "tokens",
    "ner",
    "choices",
    "several",
]


def marks(kind, name):
    """Of two exports of several heads, and of vectors, one is enough here."""
    left = [("tf", "several"), ("tf", "tokens"), ("onnx", "tokens")]
    return pytest.mark.exhaustive if (kind, name) in left else ()


@pytest.fixture(
    scope="module",
    params=[
        pytest.param((kind, name), id=f"{kind}-{name}", marks=marks(kind, name))
        for name in HEADS
        for kind in ("tf", "onnx")
    ],
)
def served(request):
    """A head's name, its model, a server of it, and what it must return."""
    kind, name = request.param
    if kind == "tf":
        model, call = in_process.served(name), exported.call
    else:
        model, call = in_process.plain(name), in_process.call_plain
    with in_process.answering(model) as server:
        yield name, model, server, call


def assert_same(got, wanted):
    assert set(got) == set(wanted)
    for key, want in wanted.items():
        if want.dtype == object:
            assert got[key] == in_process.as_json(want.tolist()), key
        else:
            found = np.reshape(got[key], want.shape)  # Of a text without masks.
            np.testing.assert_allclose(found, want, rtol=1e-5, atol=1e-6)


def test_every_signature_gives_what_the_model_gives(served):
    name, model, server, call = served
    assert len(model.signatures) >= 3
    for signature in model.signatures:
        columns = columns_of(model, name, signature)
        wanted = call(
            name, signature, **{k: list(v) for k, v in columns.items()}
        )
        inputs = {key: to_json(values) for key, values in columns.items()}
        body = {"signature_name": signature, "inputs": inputs}
        got = server.predict(body)["outputs"]
        if len(wanted) == 1:
            got = {next(iter(wanted)): got}
        assert_same(got, wanted)
        rows = [dict(zip(inputs, row)) for row in zip(*inputs.values())]
        body = {"signature_name": signature, "instances": rows}
        rows = server.predict(body)["predictions"]
        if len(wanted) > 1:
            rows = {key: [row[key] for row in rows] for key in wanted}
        else:
            rows = {next(iter(wanted)): rows}
        assert_same(rows, wanted)


def test_batched_texts_get_the_same_results_as_alone(served):
    name, model, server, call = served
    columns = columns_of(model, name, "serve_text")
    wanted = [
        call(name, "serve_text", **{k: [v] for k, v in zip(columns, row)})
        for row in zip(*columns.values())
    ]
    rows = [dict(zip(columns, row)) for row in zip(*columns.values())]

    def ask(row):
        body = {"signature_name": "serve_text", "instances": [row]}
        return server.ask_in_loop("predict", body)

    async def ask_at_once():
        return await asyncio.gather(*map(ask, rows * 6))

    for (status, _, content), want in zip(
        asyncio.run(ask_at_once()), wanted * 6
    ):
        assert status == 200, content
        (row,) = content["predictions"]
        if len(want) == 1:
            row = {next(iter(want)): row}
        assert_same({key: [value] for key, value in row.items()}, want)


def test_pieces_are_those_of_the_vocabulary(served):
    _, _, server, _ = served
    status, _, found = server.ask("tokenize", {"instances": TEXTS})
    assert status == 200
    vocab = pathlib.Path(exported.BESIDE["vocab_file"]).read_text().split("\n")
    for text, pieces in zip(TEXTS, found["predictions"]):
        assert pieces
        for piece in pieces:
            assert vocab[piece["id"]] == piece["token"]
            assert 0 <= piece["start"] < piece["end"] <= len(text)
