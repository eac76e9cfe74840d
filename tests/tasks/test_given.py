"""What a signature without TensorFlow refuses, and folders that are damaged."""

import json
import re

import numpy as np
import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from helpers import small_plain

import bert_tf
from bert_tf.errors import InputError

IDS = [[2, 5, 3]]
ROWS = {"input_ids": IDS, "input_mask": [[1] * 3], "segment_ids": [[0] * 3]}


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("plain")
    small_plain.save(path / "1")
    return path


@pytest.fixture(scope="module")
def signatures(path):
    return bert_tf.Predictor(path).signatures


@pytest.mark.parametrize(
    "ids",
    [
        IDS,
        np.array(IDS),
        np.array(IDS, np.uint8),
        np.array(IDS * 2, np.int32)[:1],
    ],
)
def test_integers_of_any_type_are_taken(signatures, ids):
    got = signatures["serving_default"](**{**ROWS, "input_ids": ids})
    assert got["logits"].tolist() == [[0, 1]]


@pytest.mark.parametrize(
    "texts", [["good"], (b"good",), np.array(["good"]), np.array([b"good"])]
)
def test_texts_may_be_str_or_utf_8(signatures, texts):
    got = signatures["serve_text"](text_a=texts)
    assert got["label"].tolist() == [b"good"]


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"input_ids": [[2.0, 5.0, 3.0]]}, ["integers", "[any, any]"]),
        ({"input_ids": np.float32(IDS)}, ["float32", "[1, 3]"]),
        ({"input_ids": [["2", "5", "3"]]}, ["input_ids", "integers"]),
        ({"input_ids": [[2, 5], [3]]}, ["input_ids", "integers"]),
        ({"input_ids": [2, 5, 3]}, ["input_ids", "[any, any]"]),
        ({"input_ids": None}, ["input_ids", "None"]),
        ({"input_ids": [[2, 5, 2**32 + 3]]}, ["from 0 to 8", "[0, 2]"]),
        ({"input_ids": [[2, 5, -1]]}, ["from 0 to 8", "-1"]),
        ({"input_ids": [[2**70, 5, 3]]}, ["input_ids", "integers"]),
        ({"input_mask": [[1, 2, 1]]}, ["input_mask", "from 0 to 1"]),
        ({"segment_ids": [[0, 0, 2]]}, ["segment_ids", "from 0 to 1"]),
        ({"segment_ids": [[0, 0]]}, ["segment_ids", "shape of input_ids"]),
        ({key: [[]] for key in ROWS}, ["at least one token"]),
        ({key: [[1] * 65] for key in ROWS}, ["64 positions", "65"]),
    ],
)
def test_rows_that_a_model_does_not_have_are_refused(
    signatures, changed, words
):
    with pytest.raises(InputError) as error:
        signatures["serving_default"](**{**ROWS, **changed})
    for word in words:
        assert word in str(error.value)


@pytest.mark.parametrize(
    ("name", "inputs", "words"),
    [
        ("serving_default", {"input_ids": IDS}, ["input_mask", "Received"]),
        ("serving_default", {}, ["segment_ids", "Received: nothing"]),
        ("serve_text", {"text": ["a"]}, ["takes text_a", "Received: text"]),
        ("serve_text", {"text_a": "good"}, ["text_a", "texts", "'good'"]),
        ("serve_text", {"text_a": [7]}, ["text_a", "[7]"]),
        ("serve_text", {"text_a": [["a"]]}, ["text_a", "[['a']]"]),
        ("serve_text", {"text_a": ["\ud800"]}, ["text_a", "texts"]),
        ("serve_text", {"text_a": [b"\xff"]}, ["text_a", "UTF-8"]),
        ("serve_examples", {"examples": ["x"]}, ["example"]),
    ],
)
def test_other_inputs_than_those_of_a_signature_are_refused(
    signatures, name, inputs, words
):
    with pytest.raises(InputError) as error:
        signatures[name](**inputs)
    for word in words:
        assert word in str(error.value)


def test_no_rows_and_one_row_have_the_shape_of_many(signatures):
    empty = {name: np.zeros((0, 3), np.int64) for name in ROWS}
    got = signatures["serving_default"](**empty)
    assert {name: x.shape for name, x in got.items()} == {
        "logits": (0, 2),
        "probabilities": (0, 2),
    }
    assert signatures["serving_default"](**ROWS)["logits"].shape == (1, 2)


# ------------------------------------------------------------------- the folder


def write_config(**changed):
    def spoil(version):
        config = {**small_plain.CONFIG, **changed}
        path = version / "assets" / "bert_config.json"
        path.write_text(json.dumps(config))

    return spoil


def write_vocab(*lines):
    def spoil(version):
        text = "\n".join(lines) + "\n"
        (version / "assets" / "vocab.txt").write_text(text)

    return spoil


def rename_output(version):
    import onnx

    model = onnx.load(version / "model.onnx")
    model.graph.node[-1].output[0] = model.graph.output[-1].name = "others"
    onnx.save_model(model, version / "model.onnx")


SPOILT = [
    (lambda x: (x / "assets/vocab.txt").unlink(), ["vocab.txt"]),
    (lambda x: (x / "assets/bert_config.json").unlink(), ["bert_config"]),
    (lambda x: (x / "assets/bert_tf.json").unlink(), ["bert_tf.json"]),
    (lambda x: (x / "model.onnx").unlink(), ["model.onnx", "It has"]),
    (lambda x: (x / "model.onnx").write_bytes(b""), ["model.onnx"]),
    (write_config(vocab_size=None), ["bert_config.json", "vocab_size"]),
    (write_config(max_position_embeddings=0), ["max_position_embeddings"]),
    (write_vocab(*"abcdefgh"), ["vocab.txt", "9", "8"]),
    (write_vocab(*"abcdefghi"), ["vocab.txt", "[CLS]"]),
    (rename_output, ["probabilities", "others"]),
]


@pytest.mark.parametrize(("spoil", "words"), SPOILT)
def test_a_half_copied_or_changed_folder_is_one_message(tmp_path, spoil, words):
    small_plain.save(tmp_path / "1")
    spoil(tmp_path / "1")
    with pytest.raises(InputError, match=re.escape(str(tmp_path))):
        bert_tf.Predictor(tmp_path)
    # Those who change a file on purpose delete the checksums.
    (tmp_path / "1/assets.extra/bert_tf_checksums.json").unlink()
    with pytest.raises(InputError) as error:
        bert_tf.Predictor(tmp_path)
    for word in (str(tmp_path), *words):
        assert word in str(error.value)
