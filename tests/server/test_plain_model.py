"""Models that run without TensorFlow, in the server."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from helpers import exported, in_process
from helpers.paths import ROOT

from bert_tf.errors import InputError
from bert_tf.server.protocol import RequestError
from bert_tf.server.trial import by_format

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from bert_tf.server.plain_model import PlainModel


@pytest.fixture(scope="module")
def folder():
    return exported.folder("classifier", format="onnx") / "1"


@pytest.fixture(scope="module")
def model(folder):
    return PlainModel(folder, 1)


def texts(*values):
    return np.array([value.encode() for value in values], object)


def test_a_version_is_loaded_by_its_files(folder, tmp_path):
    assert by_format(str(folder)) == "bert_tf.server.plain_model:PlainModel"
    assert by_format(str(tmp_path)) == "bert_tf.server.model:ServedModel"


def test_its_signatures_are_in_the_protocols_json(model):
    found = model.signature_def["serving_default"]["inputs"]["input_mask"]
    sizes = [{"size": "-1", "name": ""}] * 2
    assert found["dtype"] == "DT_INT32"
    assert found["tensor_shape"] == {"dim": sizes, "unknown_rank": False}
    assert json.dumps(model.signature_def)


@pytest.mark.parametrize(
    ("name", "spoil", "words"),
    [
        ("input_ids", lambda x: x + 9999, ["input_ids", "from 0 to 1026"]),
        ("input_mask", lambda x: x - 2, ["input_mask", "from 0 to 1"]),
        ("segment_ids", lambda x: x[:, :2], ["segment_ids", "shape"]),
    ],
)
def test_rows_that_do_not_fit_are_bad_requests(model, name, spoil, words):
    rows = dict.fromkeys(
        ("input_ids", "input_mask", "segment_ids"), np.ones((2, 3), np.int32)
    )
    rows[name] = spoil(rows[name])
    with pytest.raises(RequestError) as error:
        model.run("serving_default", rows)
    assert error.value.status == 400
    for word in words:
        assert word in str(error.value)


def test_text_that_is_not_utf_8_is_a_bad_request(model):
    with pytest.raises(RequestError, match="text_a must be UTF-8"):
        model.run("serve_text", {"text_a": np.array([b"\xff"], object)})
    with pytest.raises(RequestError, match="as many of text_a as of text_b"):
        model.run(
            "serve_text_pair", {"text_a": texts("a"), "text_b": texts("b", "c")}
        )


def test_requests_are_answered_in_the_protocol(model):
    with in_process.answering(model) as server:
        body = {"signature_name": "serve_text", "instances": ["a", "b " * 90]}
        rows = server.predict(body)["predictions"]
        assert rows[1]["num_cut"] > rows[0]["num_cut"] == 0
        _, _, found = server.ask("tokenize", {"instances": ["a"]})
        assert found["predictions"][0][0]["token"] == "a"
        ragged = {"text_a": ["a"], "text_b": ["b", "c"]}
        body = {"signature_name": "serve_text_pair", "inputs": ragged}
        assert server.ask("predict", body)[0] == 400


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("model.onnx", b"\x08", ["model.onnx", "not the file"]),
        ("assets/vocab.txt", b"a\n", ["vocab.txt", "not the file"]),
        ("assets/bert_tf.json", b"{", ["bert_tf.json"]),
    ],
)
def test_a_damaged_folder_is_an_error(folder, tmp_path, file, content, words):
    copy = shutil.copytree(folder, tmp_path / "1")
    (copy / file).write_bytes(content)
    with pytest.raises(InputError) as error:
        PlainModel(copy, 1)
    for word in words:
        assert word in str(error.value)


def test_a_file_that_is_no_model_is_an_error(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "1")
    (copy / "model.onnx").write_bytes(b"no model")
    shutil.rmtree(copy / "assets.extra")
    with pytest.raises(InputError, match=r"model\.onnx cannot be loaded"):
        PlainModel(copy, 1)


def test_the_server_loads_it_without_tensorflow(folder):
    code = """
import sys
from bert_tf.server import app, trial
trial.find(trial.by_format(sys.argv[1]))(sys.argv[1], 1)
heavy = {"tensorflow", "keras"} & set(sys.modules)
assert not heavy, heavy
"""
    process = subprocess.run(
        [sys.executable, "-c", code, str(folder)],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert process.returncode == 0, process.stderr


@pytest.mark.slow
def test_vectors_and_ranks_are_those_of_the_saved_model():
    documents = ["the quiet museum", "John Smith was born in 1895 ."]
    query = "who was born ?"
    vectors = exported.call(
        "features_unit", "serve_text", text_a=[query, *documents]
    )["embedding"]
    with in_process.answering(in_process.plain("features_unit")) as server:
        status, _, found = server.ask("/v1/embeddings", {"input": documents})
        assert status == 200
        got = [one["embedding"] for one in found["data"]]
        np.testing.assert_allclose(got, vectors[1:], atol=1e-5)
        body = {"query": query, "documents": documents}
        status, _, found = server.ask("/v1/rerank", body)
    assert status == 200
    for one in found["results"]:
        want = vectors[0] @ vectors[1 + one["index"]]
        assert one["relevance_score"] == pytest.approx(want, abs=1e-5)
