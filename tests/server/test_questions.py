"""Embeddings and reranking: bodies of other servers' clients, and answers."""

import base64
import json
import types

import numpy as np
import pytest
from helpers import in_process, small_models

from bert_tf.exports.interface import Signature, Tensor
from bert_tf.server import questions
from bert_tf.server.model import ServedModel
from bert_tf.server.protocol import Limits, RequestError

TEXTS = Tensor("string", (None,))
LIMITS = Limits(instances=4, text_chars=20)
TEXT, PAIR = "serve_text", "serve_text_pair"


def version(head, outputs=(), **about):
    """What questions need of a model, which has a piece for each word."""
    both = {"text_a": TEXTS, "text_b": TEXTS}
    outputs = {name: Tensor("float32", shape) for name, shape in outputs}
    return types.SimpleNamespace(
        about={"head": head, **about} if head else {},
        signatures={
            TEXT: Signature({"text_a": TEXTS}, outputs),
            PAIR: Signature(both, outputs),
        },
        count_pieces=lambda text: len(text.split()),
    )


VECTORS = version("features", [("embedding", (None, 2))], pooling="mean")
OF_TOKENS = version(
    "features", [("embedding", (None, None, 2))], pooling="none"
)
NUMBER = version("classifier", label_type="number")
LABELS = version("classifier", label_type="class", labels=["no", "yes"])
SEVERAL = version("classifier", label_type="multi", labels=["a", "b"])
SPANS = version("span")
OTHER = version("")


def read(verb, served_model, /, **body):
    content = json.dumps(body).encode()
    return questions.READERS[verb](served_model, "mine", content, LIMITS)


def answer(question, **outputs):
    arrays = {name: np.array(x) for name, x in outputs.items()}
    return json.loads(question.write(arrays))


EMBEDDING = np.array([[0.1, -0.25], [3, 4]], np.float32)


def test_embeddings_are_answered_as_openai_does():
    asked = read("embeddings", VECTORS, model="mine", input=["a b", "Ä"])
    assert asked.signature_name == TEXT
    assert asked.inputs["text_a"].tolist() == [b"a b", "Ä".encode()]
    assert answer(asked, embedding=EMBEDDING, num_cut=[1, 0]) == {
        "object": "list",
        "data": [
            {"object": "embedding", "index": 0, "embedding": [0.1, -0.25]},
            {"object": "embedding", "index": 1, "embedding": [3.0, 4.0]},
        ],
        "model": "mine",
        # Words, and [CLS] and [SEP] of both; one word was cut off.
        "usage": {"prompt_tokens": 6, "total_tokens": 6},
    }


def test_one_text_may_come_alone_and_vectors_as_base64():
    asked = read(
        "embeddings",
        VECTORS,
        input="a",
        encoding_format="base64",
        dimensions=2,
        user="me",
    )
    (one,) = answer(asked, embedding=EMBEDDING[:1])["data"]
    got = np.frombuffer(base64.b64decode(one["embedding"]), "<f4")
    np.testing.assert_array_equal(got, EMBEDDING[0])


def test_documents_are_ranked_by_their_cosine():
    asked = read(
        "rerank",
        VECTORS,
        query="q",
        documents=["x", {"text": "y z"}, "w"],
        top_n=2,
        return_documents=True,
    )
    assert asked.signature_name == TEXT
    assert asked.inputs["text_a"].tolist() == [b"q", b"x", b"y z", b"w"]
    vectors = np.array([[2, 0], [0, 3], [5, 0], [1, 1]], np.float32)
    assert answer(asked, embedding=vectors) == {
        "results": [
            {
                "index": 1,
                "relevance_score": 1.0,
                "document": {"text": "y z"},
            },
            {
                "index": 2,
                "relevance_score": pytest.approx(np.sqrt(0.5), abs=1e-6),
                "document": {"text": "w"},
            },
        ],
        "model": "mine",
        "usage": {"prompt_tokens": 13, "total_tokens": 13},
    }


@pytest.mark.parametrize(
    ("model", "label", "outputs"),
    [
        (NUMBER, None, {"value": [0.5, 2.0, 0.5]}),
        (LABELS, "yes", {"probabilities": [[0.5, 0.5], [0, 2], [0.5, 0.5]]}),
        (SEVERAL, "a", {"scores": [[0.5, 1], [2, 1], [0.5, 1]]}),
    ],
)
def test_documents_are_ranked_by_a_model_of_pairs(model, label, outputs):
    label = {"label": label} if label else {}
    documents = ["x", "y z", "w"]
    asked = read("rerank", model, query="q", documents=documents, **label)
    assert asked.signature_name == PAIR
    assert asked.inputs["text_a"].tolist() == [b"q"] * 3
    assert asked.inputs["text_b"].tolist() == [b"x", b"y z", b"w"]
    found = answer(asked, **outputs)
    # Equal ones stay in their order.
    assert found["results"] == [
        {"index": 1, "relevance_score": 2.0},
        {"index": 0, "relevance_score": 0.5},
        {"index": 2, "relevance_score": 0.5},
    ]
    # 3 queries of 3 pieces and 4 words, each with a [SEP].
    assert found["usage"]["total_tokens"] == 3 * 3 + 4 + 3


Q = {"query": "q", "documents": ["a"]}


@pytest.mark.parametrize(
    ("verb", "model", "body", "status", "facts"),
    [
        ("embeddings", VECTORS, {}, 400, ["input", "null"]),
        ("embeddings", VECTORS, {"input": []}, 400, ["an empty list"]),
        ("embeddings", VECTORS, {"input": [1, 2]}, 400, ["input[0]", "1"]),
        ("embeddings", VECTORS, {"input": ["a", ["b"]]}, 400, ["input[1]"]),
        ("embeddings", VECTORS, {"input": {"b64": "YQ=="}}, 400, ["input"]),
        ("embeddings", VECTORS, {"input": "\ud800"}, 400, ["surrogate"]),
        ("embeddings", VECTORS, {"input": "a" * 21}, 413, ["input[0]", "20"]),
        ("embeddings", VECTORS, {"input": ["a"] * 5}, 413, ["input", "4 rows"]),
        ("embeddings", VECTORS, {"input": "a", "x": 1}, 400, ["'x'", "user"]),
        (
            "embeddings",
            VECTORS,
            {"input": "a", "model": "gpt"},
            404,
            ["'gpt'", "'mine'"],
        ),
        ("embeddings", VECTORS, {"input": "a", "model": 1}, 400, ["model"]),
        (
            "embeddings",
            VECTORS,
            {"input": "a", "encoding_format": "int8"},
            400,
            ["base64", "'int8'"],
        ),
        (
            "embeddings",
            VECTORS,
            {"input": "a", "dimensions": 1},
            400,
            ["dimensions", "2"],
        ),
        ("embeddings", OF_TOKENS, {"input": "a"}, 400, ["pooling=none"]),
        ("embeddings", SPANS, {"input": "a"}, 400, ["head span", "features"]),
        ("embeddings", OTHER, {"input": "a"}, 400, ["no head", "features"]),
        ("rerank", VECTORS, {"documents": ["a"]}, 400, ["query"]),
        ("rerank", VECTORS, {"query": "q"}, 400, ["documents"]),
        ("rerank", VECTORS, {**Q, "query": "a" * 21}, 413, ["query", "20"]),
        ("rerank", VECTORS, {**Q, "documents": "a"}, 400, ["documents"]),
        (
            "rerank",
            VECTORS,
            {**Q, "documents": ["a", {"title": "b"}]},
            400,
            ["documents[1]"],
        ),
        ("rerank", VECTORS, {**Q, "top_n": 0}, 400, ["top_n", "0"]),
        ("rerank", VECTORS, {**Q, "top_n": True}, 400, ["top_n", "true"]),
        ("rerank", VECTORS, {**Q, "return_documents": 1}, 400, ["true or"]),
        ("rerank", VECTORS, {**Q, "label": "yes"}, 400, ["label", "vectors"]),
        ("rerank", NUMBER, {**Q, "label": "yes"}, 400, ["label", "number"]),
        ("rerank", LABELS, Q, 400, ["label", "'no', 'yes'"]),
        ("rerank", LABELS, {**Q, "label": "maybe"}, 400, ["'maybe'"]),
        ("rerank", SPANS, Q, 400, ["head span", "/v1/rerank"]),
        ("rerank", OTHER, Q, 400, ["no head"]),
    ],
)
def test_what_cannot_be_answered_is_named(verb, model, body, status, facts):
    with pytest.raises(RequestError) as error:
        read(verb, model, **body)
    assert error.value.status == status
    for fact in facts:
        assert fact in str(error.value), str(error.value)


# ------------------------------------------------------------- in the server


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    return ServedModel(
        small_models.save(small_models.Vectors(), folder / "1", pooling="mean"),
        1,
    )


def test_the_server_answers_and_counts_both_paths(served):
    with in_process.answering(served, limits={"instances": 4}) as server:
        status, _, found = server.ask(
            "/v1/embeddings", {"model": "model", "input": ["good bad", "bad"]}
        )
        assert status == 200
        vectors = [one["embedding"] for one in found["data"]]
        assert vectors == [[1.0, 1.0], [1.0, 0.0]]
        assert found["usage"]["prompt_tokens"] == 7
        body = {"query": "good", "documents": ["bad", "good good", "good bad"]}
        status, _, found = server.ask("/v1/Rerank/", body)
        assert status == 200
        assert [one["index"] for one in found["results"]] == [1, 2, 0]
        status, _, found = server.ask("/v1/embeddings", {"input": ["good"] * 5})
        assert status == 413 and "4 rows" in found["error"]
        for verb, code, count in (
            ("embeddings", 200, 1),
            ("embeddings", 413, 1),
            ("rerank", 200, 1),
        ):
            line = "bert_tf_requests_total"
            line += f'{{status="{code}",verb="{verb}"}}'
            assert server.metric(line) == count


def test_texts_of_several_requests_are_computed_together(served):
    question = questions.read_embeddings(
        served, "model", b'{"input": "good"}', Limits()
    )
    assert isinstance(served.kind(TEXT, question.inputs), tuple)
