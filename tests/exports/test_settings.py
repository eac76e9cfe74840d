"""What an export refuses before it reads any file."""

import sys

import pytest

from bert_tf.errors import InputError
from bert_tf.exports import settings
from bert_tf.exports.settings import Source


@pytest.fixture(autouse=True)
def installed(monkeypatch):
    """As if all packages were there."""
    for name in ("onnx", "onnxruntime", "openvino"):
        monkeypatch.setitem(sys.modules, name, sys)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"format": "tflite"}, ["saved_model", "onnx", "'tflite'"]),
        ({"quantize": "int4"}, ["int8", "bfloat16", "'int4'"]),
        (
            {"format": "onnx", "quantize": "bfloat16"},
            ["--quantize=bfloat16", "--format=onnx", "int8"],
        ),
        (
            {"format": "openvino", "quantize": "int8"},
            ["--quantize=int8", "--format=openvino", "saved_model"],
        ),
        (
            {"format": "litert", "quantize": "int8"},
            ["--quantize=int8", "--format=litert", "none"],
        ),
        (
            {"format": "onnx", "skip_padding": True},
            ["--skip_padding=true", "--format=onnx"],
        ),
        ({"format": "onnx", "inspect": True}, ["--inspect", "--format=onnx"]),
    ],
)
def test_what_cannot_be_combined_is_refused_by_name(given, words):
    with pytest.raises(InputError) as error:
        settings.check(Source("model", **given))
    for word in words:
        assert word in str(error.value)


@pytest.mark.parametrize(
    ("given", "package", "extra"),
    [
        ({"format": "onnx"}, "onnx", "bert_tf[onnx]"),
        ({"format": "onnx", "quantize": "int8"}, "onnxruntime", "[onnx]"),
        ({"format": "openvino"}, "openvino", "bert_tf[openvino]"),
    ],
)
def test_a_missing_package_is_named_with_its_extra(
    monkeypatch, given, package, extra
):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InputError) as error:
        settings.check(Source("model", **given))
    assert f"the package {package}," in str(error.value)
    assert extra in str(error.value)


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"quantize": "bfloat16", "skip_padding": True},
        {"format": "onnx", "skip_padding": False},
        {"format": "onnx", "quantize": "int8"},
        {"format": "openvino"},
    ],
)
def test_the_rest_may_be_combined(given):
    settings.check(Source("model", **given))
