"""Exports that run without TensorFlow, held to the SavedModels of the heads."""

import functools
import json
import os
import re
import subprocess
import sys
import urllib.request

import numpy as np
import pytest
from helpers.exported import EXPORT, call, folder
from helpers.paths import ROOT

import bert_tf
from bert_tf.exports.results import Label
from bert_tf.tasks.predictor import open_inference

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

TEXTS = [
    "the quiet museum measured John Smith .",
    "",
    "À Kraków, 東京 " * 9,
    "a \x00 b",
    "who wrote the book ? [MASK]",
    "[MASK] the [MASK] museum " + "of the " * 20 + "[MASK]",
    " \t",
]
SECOND = ["a dog", "it", "", "b", "it was " * 20 + "[MASK]", "", "x"]
CHOICES = [["born .", "in " * 30]] * 3 + [["", "the museum was"]] * 4
TABLE = [
    ["John", "", "Smith", ""],
    ["", "", "", ""],
    ["a\u200d", "b", ".", "d"],
]

INPUTS = {
    "classifier": {"text_a": TEXTS, "text_b": SECOND},
    "features": {"text_a": TEXTS, "text_b": SECOND},
    "pretraining": {"text": TEXTS, "text_b": SECOND},
    "span": {"question": SECOND, "context": TEXTS},
    "tokens": {"text": TEXTS},
    "several": {"text_a": TEXTS, "text_b": SECOND, "text": TEXTS},
    "choices": {
        "context": TEXTS,
        # Longer ones would leave no room for the choices.
        "question": [text[:6] for text in SECOND],
        "choices": CHOICES,
    },
}
# Each head, one with windows and one with several labels; of several heads each
# is compared with its own model, in tests/tasks/test_several.py.
ALL = {*INPUTS, "ner", "classifier_windows", "multi", "span_v2"} - {"several"}


def with_kinds(names):
    """Names and formats, of which the quick run has one."""
    for name in sorted(names):
        marks = pytest.mark.slow if name in ALL else pytest.mark.exhaustive
        yield pytest.param(name, "onnx", marks=marks if name != QUICK else ())
        yield pytest.param(name, "openvino", marks=pytest.mark.exhaustive)


QUICK = "classifier"
NAMES = list(with_kinds(EXPORT))
HEADS = list(with_kinds({*INPUTS, "ner"}))


@functools.cache
def plain(name, kind):
    pytest.importorskip(kind)
    return open_inference(str(folder(name, format=kind) / "1"))


def given(model, signature):
    """Inputs of a signature of texts, as `bytes`."""
    head = model.settings["head"]
    if signature.endswith("serve_words"):
        columns = {"words": TABLE}
    else:
        wanted = model.functions[signature].signature.inputs
        columns = {key: INPUTS[head][key] for key in wanted}
    return {key: encode(column) for key, column in columns.items()}


def encode(value):
    if isinstance(value, str):
        return value.encode()
    return [encode(one) for one in value]


def compare(got, want):
    assert set(got) == set(want)
    for key in want:
        wanted = np.asarray(want[key])
        if wanted.dtype == object:
            assert got[key].tolist() == wanted.tolist(), key
        else:
            assert got[key].dtype == wanted.dtype, key
            # Logits of random models are not of the order of 1.
            scale = np.abs(wanted).max(initial=1)
            np.testing.assert_allclose(
                got[key], wanted, rtol=0, atol=1e-5 * scale, err_msg=key
            )


@pytest.mark.parametrize(("name", "kind"), NAMES)
def test_texts_give_what_the_saved_model_gives(name, kind):
    model = plain(name, kind)
    signatures = [one for one in model.functions if "text" in one]
    signatures += [one for one in model.functions if "words" in one]
    for signature in signatures:
        inputs = given(model, signature)
        got = model.run(signature, inputs)
        want = call(name, signature, **inputs)
        if "embedding" in got and got["embedding"].ndim == 3:
            # Behind the last token there is padding.
            length = got["embedding"].shape[1]
            is_token = got["tokens"] != b""
            for key in ("embedding", "tokens"):
                want[key] = want[key][:, :length]
                got[key] = got[key].copy()
                got[key][~is_token] = want[key][~is_token]
        compare(got, want)


def rows_of(name, rng):
    """Rows of ids of one length, the last of which has padding."""
    shape = (3, 2, 11) if name == "choices" else (3, 11)
    rows = {
        "input_ids": rng.integers(0, 377, shape, np.int32),
        "input_mask": np.ones(shape, np.int32),
        "segment_ids": rng.integers(0, 2, shape, np.int32),
    }
    rows["input_mask"][-1, ..., 7:] = 0
    if name == "pretraining":
        rows["masked_lm_positions"] = rng.integers(0, 7, (3, 4), np.int32)
    return rows


@pytest.mark.parametrize(("name", "kind"), HEADS)
def test_rows_of_ids_give_what_the_saved_model_gives(name, kind, rng):
    model = plain(name, kind)
    rows = rows_of(name, rng)
    want = call(name, "serving_default", **rows)
    if model.settings["head"] in ("tokens", "several"):
        # At padding there is the head's bias, which has no meaning.
        want = {key: x.copy() for key, x in want.items()}
        for key in model.token_outputs():
            want[key][-1, 7:] = 0
    spec = model.functions["serving_default"].signature.outputs
    assert set(spec) == set(want)
    for key, tensor in spec.items():
        sizes = zip(tensor.shape, want[key].shape, strict=True)
        assert all(size in (None, found) for size, found in sizes)
    compare(model.run("serving_default", rows), want)
    # Among longer ones, and more than are computed at once.
    got = model.run(
        "serving_default", {key: among_others(x) for key, x in rows.items()}
    )
    for key in got:
        got[key] = got[key][PLACES]
        if key in model.token_outputs():
            behind = got[key][:, 11:]
            assert model.reads_padding or not behind.any()
            got[key] = got[key][:, :11]
    compare(got, want)


PLACES = [12, 25, 38]


def among_others(rows):
    """Three rows, at their `PLACES` among rows of 20 tokens."""
    length = rows.shape[-1]
    longest = 20 if length == 11 else length  # Positions stay as many.
    wide = np.ones((39, *rows.shape[1:-1], longest), np.int32)
    wide[PLACES] = 0
    wide[PLACES, ..., :length] = rows
    return wide


@pytest.mark.parametrize(
    ("name", "kind"), with_kinds({*INPUTS, "ner", "multi"})
)
def test_no_rows_give_no_rows(name, kind):
    model = plain(name, kind)
    for signature, function in model.functions.items():
        shape = [0, 2, 3] if signature == "serving_default" else [0, 0, 0]
        inputs = {
            key: np.zeros(
                shape[: len(tensor.shape)],
                np.int32 if tensor.dtype == "int32" else object,
            )
            for key, tensor in function.signature.inputs.items()
        }
        got = model.run(signature, inputs)
        assert set(got) == set(function.signature.outputs)
        assert all(len(values) == 0 for values in got.values())


ALONE = """
import sys
import bert_tf
predict = bert_tf.Predictor(sys.argv[1])
print(predict("the quiet museum"))
print(*(one.label for one in predict(["a", ("b", "c")] * 9)), file=sys.stderr)
heavy = {"tensorflow", "keras", "google"} & set(sys.modules)
assert not heavy, heavy
"""


def test_predicting_loads_neither_tensorflow_nor_keras():
    path = folder("classifier", format="onnx")
    process = subprocess.run(
        [sys.executable, "-c", ALONE, str(path)],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert process.returncode == 0, process.stderr
    want = bert_tf.Predictor(path)
    assert process.stdout == f"{want('the quiet museum')}\n"
    labels = [want("a").label, want("b", "c").label] * 9
    assert process.stderr.split("\n")[0] == " ".join(labels)


FIRST_ANSWER = """
import sys, time
began = time.monotonic()
import bert_tf
print(bert_tf.Predictor(sys.argv[1])("the quiet museum"))
print(f"{time.monotonic() - began:.2f} s to the first answer", file=sys.stderr)
assert ("tensorflow" in sys.modules) == ("saved_model" in sys.argv[1])
"""


@pytest.mark.slow
def test_an_environment_without_tensorflow_gives_the_same():
    alone = os.environ.get("BERT_TF_ONNX_PYTHON")
    if not alone:
        pytest.skip("run_scripts/test_without_tensorflow.sh sets it up")
    found = []
    for python, kind in ((sys.executable, "saved_model"), (alone, "onnx")):
        process = subprocess.run(
            [python, "-c", FIRST_ANSWER, folder("classifier", format=kind)],
            capture_output=True,
            text=True,
            cwd=ROOT,
        )
        assert process.returncode == 0, process.stderr
        print(kind, process.stderr.splitlines()[-1])
        found.append(eval(process.stdout, {"Label": Label}))
    want, got = found
    assert got.label == want.label
    chances = pytest.approx(want.probabilities, abs=1e-5)
    assert got.probabilities == chances


@pytest.mark.slow
def test_the_server_runs_without_tensorflow():
    alone = os.environ.get("BERT_TF_ONNX_PYTHON")
    if not alone:
        pytest.skip("run_scripts/test_without_tensorflow.sh sets it up")
    command = [alone, "-m", "bert_tf.serve", "--port=0", "--model_name=m"]
    with subprocess.Popen(
        [*command, folder("classifier", format="onnx")],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    ) as server:
        try:
            line = server.stdout.readline()
            (address,) = re.findall(r"http://\S+/v1/models/m", line)
            body = {"signature_name": "serve_text", "instances": ["a museum"]}
            with urllib.request.urlopen(
                f"{address}:predict", json.dumps(body).encode()
            ) as answer:
                (got,) = json.load(answer)["predictions"]
        finally:
            server.terminate()
    want = call("classifier", "serve_text", text_a=["a museum"])
    assert got["label"].encode() == want["label"][0]
    np.testing.assert_allclose(
        got["probabilities"], want["probabilities"][0], atol=1e-5
    )
