"""Linear layers in 8 and 16 bits: the product, whole exports, the flag."""

import json
import pathlib
import subprocess
import sys
import textwrap

import keras
import numpy as np
import pytest
import tensorflow as tf
from absl import flags as absl_flags
from helpers import exported
from tensorflow.python.framework import op_def_registry

from bert_tf import (
    checkpoints,
    export_saved_model,
    layers,
    modeling,
    models,
)
from bert_tf.errors import InputError
from bert_tf.exports import quantization
from bert_tf.exports.settings import QUANTIZATIONS
from bert_tf.tasks.vectors import served

EXPORTS = [
    pytest.param(
        mode,
        name,
        marks=()
        if (mode, name) == ("int8", "classifier")
        else pytest.mark.exhaustive,
    )
    for mode in QUANTIZATIONS
    for name in ("classifier", "pretraining", "span", "features")
]
ROWS = {
    "input_ids": np.array(
        [[2, 9, 10, 11, 12, 3], [2, 7, 3, 0, 0, 0]], np.int32
    ),
    "input_mask": np.array([[1] * 6, [1, 1, 1, 0, 0, 0]], np.int32),
    "segment_ids": np.zeros((2, 6), np.int32),
}
POSITIONS = {"masked_lm_positions": np.array([[1, 2], [1, 0]], np.int32)}


def quantized(name, mode):
    """The path of an export."""
    return str(exported.folder(name, mode) / "1")


def call(path, signature, **inputs):
    inputs = {key: tf.constant(value) for key, value in inputs.items()}
    found = tf.saved_model.load(path).signatures[signature](**inputs)
    return {key: value.numpy() for key, value in found.items()}


def inputs_of(name):
    return {**ROWS, **POSITIONS} if name == "pretraining" else ROWS


# ------------------------------------------------------------------ one product


@pytest.fixture
def layer(rng):
    layer = layers.Dense(24, activation=layers.gelu)
    layer.build((None, 16))
    kernel = rng.normal(size=(16, 24)) * np.linspace(0.1, 3, 24)
    layer.set_weights([kernel, rng.normal(size=24)])
    return layer


def make_int8(layer):
    layer.quantize("int8", type_check=False)
    layer.__class__ = quantization.Int8Dense
    shape = (None, None, 16)
    return tf.function(layer, input_signature=[tf.TensorSpec(shape)])


def rounded(x, axis):
    step = np.abs(x).max(axis, keepdims=True) / 127
    return np.round(x / step), step


def test_a_layer_multiplies_rounded_rows_with_a_rounded_kernel(layer, rng):
    x = rng.normal(size=(2, 5, 16)).astype(np.float32)
    kernel, bias = layer.get_weights()
    rows, row_steps = rounded(x.reshape(10, 16), axis=1)
    columns, column_steps = rounded(kernel, axis=0)
    want = (rows @ columns) * row_steps * column_steps + bias
    want = layers.gelu(want.reshape(2, 5, 24).astype(np.float32))

    got = make_int8(layer)(x)

    np.testing.assert_allclose(got, want, atol=1e-5)


def test_a_layer_gives_what_keras_gives_slowly(layer, rng):
    x = rng.normal(size=(2, 5, 16)).astype(np.float32)
    layer.quantize("int8", type_check=False)
    want = layer(x)
    layer.__class__ = quantization.Int8Dense
    got = tf.function(layer)(x)
    np.testing.assert_allclose(got, want, atol=1e-5)


def test_a_row_does_not_depend_on_others(layer, rng):
    x = rng.normal(size=(7, 3, 16)).astype(np.float32)
    x[1:] *= 100
    call_layer = make_int8(layer)
    together = call_layer(x)
    for number in (1, 2, 7):
        assert np.array_equal(call_layer(x[:number]), together[:number])


def test_rows_of_zeros_give_the_bias_and_no_rows_none(layer):
    _, bias = layer.get_weights()
    call_layer = make_int8(layer)
    got = call_layer(np.zeros((1, 1, 16), np.float32))
    np.testing.assert_allclose(got[0, 0], layers.gelu(bias), atol=1e-6)
    assert call_layer(np.zeros((0, 3, 16), np.float32)).shape == (0, 3, 24)


# The releases whose private parts `quantization` was tried with.
TRIED = {"keras": "3.15", "tensorflow": "2.21"}


def test_private_parts_of_keras_and_tensorflow_are_those_that_were_tried(layer):
    installed = {"keras": keras.__version__, "tensorflow": tf.__version__}
    message = f"tried with {TRIED}, installed are {installed}"

    call_layer = make_int8(layer)

    # Keras calls the method of the subclass.
    graph = call_layer.get_concrete_function().graph
    operations = {operation.type for operation in graph.get_operations()}
    assert "_QuantizedMatMul" in operations, message

    assert layer._kernel.dtype == "int8", message
    assert layer.kernel_scale.shape == (24,), message
    for name in ("lock", "unlock"):
        assert callable(getattr(layer._tracker, name, None)), message
    assert callable(getattr(layer, "_untrack_variable", None)), message
    operation = op_def_registry.get("_QuantizedMatMul")
    assert operation is not None, message
    attributes = {attribute.name for attribute in operation.attr}
    assert attributes >= {
        "Tdevice_inputs",
        "Thost_inputs",
        "Tdevice_outputs",
        "Thost_outputs",
        "T1",
        "T2",
        "Tbias",
        "U",
        "Tout",
        "fused_ops",
        "input_quant_mode",
        "is_weight_const",
    }, message


def test_kernels_of_16_bits_take_the_place_of_others():
    config = modeling.BertConfig(50, 16, 1, 2, 24, type_vocab_size=2)
    with layers.precision(quantization.precision("bfloat16")):
        model = models.pretraining(config)
    before = {
        name: weight.numpy()
        for name, weight in checkpoints.named_weights(model).items()
    }

    quantization.quantize(model, "bfloat16")

    # Under the same names, each once.
    after = checkpoints.named_weights(model)
    assert after.keys() == before.keys()
    rounded = [name for name, w in after.items() if w.dtype == "bfloat16"]
    assert len(rounded) == 6 + 1
    for name, weight in after.items():
        want = before[name]
        if name in rounded:
            assert name.endswith("/kernel") and not weight.trainable
            want = tf.cast(want, tf.bfloat16).numpy()
        np.testing.assert_array_equal(weight.numpy(), want)


# ---------------------------------------------------------------- whole exports


@pytest.mark.slow
@pytest.mark.parametrize(("mode", "name"), EXPORTS)
def test_outputs_are_near_those_of_float32(mode, name):
    # A product of 8 bits is off by about 1 %, and the two layers of the model
    # have twelve of them on the way. bfloat16 has 8 bits too, but the powers of
    # two between them.
    got = call(quantized(name, mode), "serving_default", **inputs_of(name))
    want = exported.call(name, "serving_default", **inputs_of(name))
    assert got.keys() == want.keys()
    for key, values in want.items():
        assert got[key].dtype == values.dtype
        assert not np.array_equal(got[key], values)
        error = np.sqrt(np.mean((got[key] - values) ** 2))
        bound = {"int8": 0.06, "bfloat16": 0.015}[mode]
        assert error < bound * np.abs(values).max(), key


@pytest.mark.slow
@pytest.mark.parametrize(("mode", "name"), EXPORTS)
def test_exports_are_smaller_by_what_each_weight_saves(mode, name):
    before = exported.folder(name) / "1"
    sizes = [
        sum(file.stat().st_size for file in (path / "variables").iterdir())
        for path in (before, pathlib.Path(quantized(name, mode)))
    ]
    config = json.loads((before / "assets" / "bert_config.json").read_text())
    width, inner = config["hidden_size"], config["intermediate_size"]
    weights = 4 * width * width + 2 * width * inner
    weights *= config["num_hidden_layers"]
    saved = {"int8": 3, "bfloat16": 2}[mode] * weights
    # Scales and names take a little of it; the pooler saves something too.
    assert 0.95 * saved < sizes[0] - sizes[1] < 1.1 * saved


@pytest.mark.slow
@pytest.mark.parametrize("mode", QUANTIZATIONS)
def test_settings_have_the_quantization(mode):
    for path, want in (
        (quantized("classifier", mode), mode),
        (exported.folder("classifier") / "1", None),
    ):
        settings = pathlib.Path(path) / "assets" / "bert_tf.json"
        assert json.loads(settings.read_text())["quantize"] == want


IN_A_NEW_PROCESS = """
    import json, sys
    import tensorflow as tf

    example = tf.train.Example()
    for name in ("input_ids", "input_mask", "segment_ids"):
        example.features.feature[name].int64_list.value.extend([1, 1, 1])
    model = tf.saved_model.load(sys.argv[1])
    texts = json.loads(sys.argv[2])
    outputs = [
        model.signatures["serve_text"](text_a=tf.constant(texts)),
        model.signatures["serve_text_pair"](
            text_a=tf.constant(texts), text_b=tf.constant(texts)
        ),
        model.signatures["serve_examples"](
            examples=tf.constant([example.SerializeToString()])
        ),
    ]
    assert not [name for name in sys.modules if name.startswith("bert_tf")]
    print(json.dumps([x["probabilities"].numpy().tolist() for x in outputs]))
"""


@pytest.mark.exhaustive
@pytest.mark.parametrize("mode", QUANTIZATIONS)
def test_a_process_with_only_tensorflow_can_load_them(mode):
    texts = ["the quiet museum", "John Smith was born."]
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            textwrap.dedent(IN_A_NEW_PROCESS),
            quantized("classifier", mode),
            json.dumps(texts),
        ],
        capture_output=True,
        text=True,
        cwd="/",
    )
    assert done.returncode == 0, done.stderr
    alone, pair, examples = json.loads(done.stdout)
    want = exported.call("classifier", "serve_text", text_a=texts)
    np.testing.assert_allclose(alone, want["probabilities"], atol=0.03)
    want = exported.call(
        "classifier", "serve_text_pair", text_a=texts, text_b=texts
    )
    np.testing.assert_allclose(pair, want["probabilities"], atol=0.03)
    ones = {name: np.ones((1, 3), np.int32) for name in ROWS}
    want = exported.call("classifier", "serving_default", **ones)
    np.testing.assert_allclose(examples, want["probabilities"], atol=0.03)


# --------------------------------------------------------------------- the flag


def test_the_flag_takes_modes_only():
    values = absl_flags.FlagValues()
    export_saved_model.define_flags(values)
    given = ["--head=features", "--checkpoint=x", "--output_dir=y"]
    with pytest.raises(absl_flags.Error, match=r"int4.*int8\|bfloat16"):
        values(["export_saved_model", *given, "--quantize=int4"])


def test_python_takes_modes_only(tmp_path):
    source = exported.source("features", quantize="int4")
    with pytest.raises(
        InputError, match=r"int8.*bfloat16.*None.*Received.*'int4'"
    ):
        served.export_features(source, str(tmp_path))


def test_quantizing_a_model_in_python_names_the_flag(config):
    model = models.classifier(config, 2)
    before = [weight.numpy() for weight in model.weights]
    with pytest.raises(InputError, match=r"export_saved_model --quantize=int8"):
        model.quantize("int8")
    after = [weight.numpy() for weight in model.weights]
    for one, other in zip(before, after, strict=True):
        np.testing.assert_array_equal(one, other)
