"""JSON to arrays and back, by the rules and examples of TensorFlow Serving.

Where a case is one of api_rest.md, or of the unit tests of TensorFlow Serving's
json_tensor.cc, its numbers are theirs.
"""

import base64
import json
import struct

import numpy as np
import pytest

from bert_tf.exports.interface import Signature, Tensor
from bert_tf.server import protocol
from bert_tf.server.output import write_outputs
from bert_tf.server.protocol import Limits, RequestError
from bert_tf.server.values import read_inputs

LIMITS = Limits()
NUMBERS = {"x": Tensor("int32", None)}
TEXTS = {"text": Tensor("string", None)}
IDS = {
    name: Tensor("int32", (None, None))
    for name in ("input_ids", "input_mask", "segment_ids")
}
PAIR = {
    "text_a": Tensor("string", (None,)),
    "text_b": Tensor("string", (None,), np.array([b""], object)),
}
NAMED = {
    "int_tensor": Tensor("int32", None),
    "str_tensor": Tensor("string", None),
    "float_tensor": Tensor("float32", None),
    "dbl_tensor": Tensor("float64", None),
}


def read(body, inputs, limits=LIMITS):
    if not isinstance(body, bytes):
        body = json.dumps(body).encode()
    request = protocol.parse_predict(body)
    return read_inputs(request, Signature(inputs, {}), limits)


def write(outputs, is_row=True, limits=LIMITS):
    return json.loads(write_outputs(outputs, is_row, limits))


def texts(*values):
    array = np.empty(len(values), object)
    array[:] = values
    return array


# -------------------------------------------------------------------- requests


@pytest.mark.parametrize("key", ["instances", "inputs"])
def test_a_single_input_needs_no_name(key):
    got = read({key: [[1, 2], [3, 4], [5, 6]]}, NUMBERS)
    np.testing.assert_array_equal(got["x"], [[1, 2], [3, 4], [5, 6]])
    assert got["x"].dtype == np.int32


def test_rows_of_several_inputs_become_columns():
    body = b"""{"instances": [
        {"int_tensor": [[1,2],[3,4],[5,6]], "str_tensor": ["foo", "bar"],
         "float_tensor": [1.0, NaN], "dbl_tensor": [NaN]},
        {"int_tensor": [[7,8],[9,0],[1,2]], "str_tensor": ["baz", "bat"],
         "float_tensor": [2.0, Infinity], "dbl_tensor": [2.0]}]}"""
    got = read(body, NAMED)
    wanted = [[[1, 2], [3, 4], [5, 6]], [[7, 8], [9, 0], [1, 2]]]
    np.testing.assert_array_equal(got["int_tensor"], wanted)
    assert got["str_tensor"].tolist() == [[b"foo", b"bar"], [b"baz", b"bat"]]
    np.testing.assert_array_equal(
        got["float_tensor"], np.float32([[1, np.nan], [2, np.inf]])
    )
    np.testing.assert_array_equal(got["dbl_tensor"], [[np.nan], [2.0]])
    kinds = {name: array.dtype for name, array in got.items()}
    assert kinds == {
        "int_tensor": np.int32,
        "str_tensor": object,
        "float_tensor": np.float32,
        "dbl_tensor": np.float64,
    }


def test_columns_need_not_have_the_same_length():
    body = {
        "inputs": {
            "int_tensor": [[[1, 2], [3, 4], [5, 6]]],
            "str_tensor": ["foo", "bar"],
            "float_tensor": 1,
            "dbl_tensor": [],
        }
    }
    got = read(body, NAMED)
    shapes = {name: array.shape for name, array in got.items()}
    assert shapes == {
        "int_tensor": (1, 3, 2),
        "str_tensor": (2,),
        "float_tensor": (),
        "dbl_tensor": (0,),
    }


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        ([{"b64": "aGVsbG8="}, {"b64": "d29ybGQ="}], [b"hello", b"world"]),
        (
            [[{"b64": "aGVsbG8="}], [{"b64": "d29ybGQ="}]],
            [[b"hello"], [b"world"]],
        ),
        (
            [{"text": [[{"b64": "aGVsbG8="}], [{"b64": "d29ybGQ="}]]}],
            [[[b"hello"], [b"world"]]],
        ),
        (["plain", {"b64": "/w=="}], [b"plain", b"\xff"]),
        (["é\u0000\U0001f600", ""], ["é\0\U0001f600".encode(), b""]),
    ],
)
def test_bytes_come_as_base64(values, wanted):
    assert read({"instances": values}, TEXTS)["text"].tolist() == wanted


@pytest.mark.parametrize(
    "spelling",
    [
        base64.encodebytes(b"\xfb" * 100).decode(),
        base64.b64encode(b"\xfb" * 100).decode().rstrip("="),
        base64.b64encode(b"\xfb" * 100).decode() + "\r\n",
        " +/v7" + "\t+/v7" * 32 + "\n+w==",
    ],
)
def test_base64_may_be_wrapped_and_lack_its_padding(spelling):
    got = read({"instances": [{"b64": spelling}]}, TEXTS)["text"]
    assert got.tolist() == [b"\xfb" * 100]


def test_base64_of_one_scalar():
    got = read({"inputs": {"b64": "aGVsbG8="}}, TEXTS)["text"]
    assert got.shape == () and got[()] == b"hello"


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
def test_whole_numbers_and_decimals_may_be_mixed(dtype):
    values = [1, 2.0, 3, 5.003, 0.007, 0.0]
    got = read({"instances": values}, {"x": Tensor(dtype, (None,))})["x"]
    assert got.dtype == dtype
    np.testing.assert_array_equal(got, np.array(values, dtype))


@pytest.mark.parametrize(
    ("dtype", "low", "high"),
    [
        ("int8", -128, 127),
        ("uint8", 0, 255),
        ("int16", -(2**15), 2**15 - 1),
        ("int32", -(2**31), 2**31 - 1),
        ("uint32", 0, 2**32 - 1),
        ("int64", -(2**63), 2**63 - 1),
        ("uint64", 0, 2**64 - 1),
    ],
)
def test_whole_numbers_are_exact_to_their_bounds(dtype, low, high):
    inputs = {"x": Tensor(dtype, (None,))}
    got = read({"instances": [low, high]}, inputs)["x"]
    assert got.tolist() == [low, high] and got.dtype == dtype
    for beyond in (low - 1, high + 1):
        with pytest.raises(RequestError, match=f"between {low} and {high}"):
            read({"instances": [beyond]}, inputs)


@pytest.mark.parametrize(
    ("dtype", "number"),
    [
        ("float32", 16777217),
        ("float64", 9007199254740993),
        ("float32", 1.7976931348623157e308),
        ("float16", 70000.0),
    ],
)
def test_numbers_that_would_lose_precision_are_refused(dtype, number):
    with pytest.raises(RequestError, match=r"instances\[1\] must be"):
        read({"instances": [0, number]}, {"x": Tensor(dtype, (None,))})


def test_an_input_with_a_default_may_be_left_out():
    for body in (
        {"instances": ["one", "two"]},
        {"instances": [{"text_a": "one"}, {"text_a": "two"}]},
        {"inputs": ["one", "two"]},
        {"inputs": {"text_a": ["one", "two"]}},
    ):
        got = read(body, PAIR)
        assert got["text_a"].tolist() == [b"one", b"two"]
        assert got["text_b"].tolist() == [b"", b""]
    got = read(
        {"instances": [{"text_a": "a", "text_b": "b"}, {"text_a": "c"}]}, PAIR
    )
    assert got["text_b"].tolist() == [b"b", b""]


IDS_ROW = {"input_ids": [1], "input_mask": [1], "segment_ids": [0]}


@pytest.mark.parametrize(
    ("body", "inputs", "message"),
    [
        (b"", NUMBERS, "The body is empty"),
        (b"instances = [1, 2]", NUMBERS, "Expecting value"),
        (b"[1, 2]", NUMBERS, "object {...}. Received: a list of 2"),
        (b'"x"', NUMBERS, "Received: the text 'x'"),
        (b'{"instances": "\xff"}', NUMBERS, "Byte 15 is not UTF-8"),
        ('{"instances": [1]}'.encode("utf-16"), NUMBERS, "not UTF-8"),
        (b'{"instances": ' + b"[" * 100_000, NUMBERS, "thousands deep"),
        (b'{"instances": [' + b"9" * 5000 + b"]}", NUMBERS, "JSON object"),
        ({}, NUMBERS, "Received: the keys none"),
        ({"instances": [1], "inputs": [1]}, NUMBERS, "Received: both"),
        ({"instances": [1], "input": [1]}, NUMBERS, "'input'"),
        ({"signature_name": 5, "instances": [1]}, NUMBERS, "must be a text"),
        ({"instances": []}, NUMBERS, "an empty list"),
        ({"instances": {"x": 1}}, NUMBERS, "an object with the keys 'x'"),
        ({"instances": None}, NUMBERS, "Received: null"),
        (
            {"instances": [[1, 2], [3, 4], [5, 6, 7]]},
            NUMBERS,
            "instances[2] must be a list of 2, as the one before it. Received: "
            "a list of 3",
        ),
        ({"instances": [1, [1]]}, NUMBERS, "instances[1] must be a whole"),
        (
            {"instances": [[1, 2], ["a", "b"]]},
            NUMBERS,
            "instances[1][0] must be a whole number (int32). Received: the "
            "text 'a'",
        ),
        ({"instances": [1.5]}, NUMBERS, "Received: 1.5"),
        ({"instances": [True]}, NUMBERS, "Received: true"),
        ({"instances": [10**400]}, NUMBERS, "too long to show"),
        ({"instances": [None]}, TEXTS, "must be a text, or"),
        ({"instances": [{"b64": "a"}]}, TEXTS, "base64 under"),
        ({"instances": [{"b64": "aGVsbG8=="}]}, TEXTS, "base64 under"),
        ({"instances": [{"b64": "aGVsb===="}]}, TEXTS, "base64 under"),
        ({"instances": [{"b64": "-_v7"}]}, TEXTS, "base64 under"),
        ({"instances": [{"b64": "ä=="}]}, TEXTS, "base64 under"),
        ({"instances": ["\ud800"]}, TEXTS, "half of a surrogate"),
        ({"instances": [[[[1] * 2]] * 2, 3]}, NUMBERS, "instances[1] must be"),
        (
            {"instances": [["a"] * 40 for _ in range(2)] + [["a"]]},
            TEXTS,
            "instances[2] must be a list of 40",
        ),
        ({"inputs": json.loads("[" * 40 + "]" * 40)}, NUMBERS, "32 lists"),
        ({"instances": [1, 2]}, IDS, "an object with the inputs input_ids"),
        ({"inputs": [[1]]}, IDS, '"inputs" must be an object with the inputs'),
        (
            {"instances": [IDS_ROW, [1, 20]]},
            IDS,
            "instances[1] must be an object with the inputs",
        ),
        (
            {"instances": [["baz"], {"text": ["baz"]}]},
            TEXTS,
            "instances[1] must be a value, as the instances before it",
        ),
        (
            {"instances": [{**IDS_ROW, "tokens": [1]}]},
            IDS,
            "Received: an object with 'tokens'",
        ),
        (
            {"instances": [{"input_ids": [1], "ids": [1]}]},
            IDS,
            "instances[0] must have the inputs of the signature: input_ids "
            "(int32 [any, any]), input_mask (int32 [any, any]), segment_ids "
            "(int32 [any, any]). Received: an object without input_mask, "
            "segment_ids and with 'ids'",
        ),
        (
            {"inputs": {"input_ids": [[1]]}},
            IDS,
            "inputs must have the inputs of the signature",
        ),
        (
            {"instances": [{**IDS_ROW, "input_ids": 1}]},
            IDS,
            "instances.input_ids must have the shape [any, any]. Received: [1]",
        ),
        (
            {"instances": [IDS_ROW, {**IDS_ROW, "input_mask": [1, 1]}]},
            IDS,
            "instances[1].input_mask must be a list of 1",
        ),
        (
            {"inputs": {**{n: [[1]] for n in IDS}, "input_mask": [[1, 2.5]]}},
            IDS,
            "inputs.input_mask[0][1] must be a whole number",
        ),
        ({"instances": [{"text": "x"}]}, PAIR, "without text_a"),
        ({"instances": [[1], [2]]}, {"x": Tensor("int32", (None, 3))}, "3]"),
        ({"instances": [1]}, {"x": Tensor("complex64", None)}, "complex64"),
    ],
)
def test_a_value_that_does_not_fit_is_named(body, inputs, message):
    with pytest.raises(RequestError) as error:
        read(body, inputs)
    assert message in str(error.value)
    assert error.value.status == 400


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"instances": ["a"] * 4}, "at most 3 rows"),
        ({"inputs": ["a"] * 4}, "at most 3 rows"),
        ({"instances": ["b", "a" * 11]}, r"instances\[1\].*10 characters"),
        (
            {"instances": [{"b64": base64.b64encode(b"a" * 11).decode()}]},
            "10 bytes",
        ),
    ],
)
def test_limits_are_enforced(body, message):
    limits = Limits(instances=3, text_chars=10)
    with pytest.raises(RequestError, match=message) as error:
        read(body, {"text": Tensor("string", (None,))}, limits)
    assert error.value.status == 413


# --------------------------------------------------------------------- answers


def test_one_output_is_written_without_its_name():
    values = np.int32([[[1, 2], [3, 4], [5, 6]], [[7, 8], [9, 0], [1, 2]]])
    assert write({"y": values}) == {"predictions": values.tolist()}
    assert write({"y": values}, False) == {"outputs": values.tolist()}


def test_several_outputs_are_objects():
    outputs = {
        "int_tensor": np.arange(4, dtype=np.int64).reshape(2, 2),
        "str_tensor": texts(b"foo", b"baz"),
        "str_tensor_bytes": texts(b"hello", b"world"),
        "flag": np.array([True, False]),
    }
    hello, world = {"b64": "aGVsbG8="}, {"b64": "d29ybGQ="}
    assert write(outputs) == {
        "predictions": [
            {
                "int_tensor": [0, 1],
                "str_tensor": "foo",
                "str_tensor_bytes": hello,
                "flag": True,
            },
            {
                "int_tensor": [2, 3],
                "str_tensor": "baz",
                "str_tensor_bytes": world,
                "flag": False,
            },
        ]
    }
    assert write(outputs, False) == {
        "outputs": {
            "int_tensor": [[0, 1], [2, 3]],
            "str_tensor": ["foo", "baz"],
            "str_tensor_bytes": [hello, world],
            "flag": [True, False],
        }
    }


def test_floats_are_written_short_and_read_back_exactly(rng):
    shown = np.float32([9000000, 999999, 0.5, 0.0003, 0.00003, 555557.5, 0.2])
    body = write_outputs({"y": shown}, True, LIMITS)
    assert body == (
        b'{"predictions": [9000000.0, 999999.0, 0.5, 0.0003, 3e-05, 555557.5, '
        b"0.2]}"
    )
    bits = rng.integers(0, 2**32, 2000, np.uint64).astype("<u4").tobytes()
    many = np.frombuffer(bits, "<f4")
    many = many[np.isfinite(many)]
    got = write({"y": many})["predictions"]
    assert [struct.pack("<f", x) for x in got] == [x.tobytes() for x in many]


def test_nan_and_infinity_are_written_as_in_javascript():
    values = np.float32([[np.nan, np.inf], [3, -np.inf]])
    body = write_outputs({"y": values}, True, LIMITS)
    assert body == b'{"predictions": [[NaN, Infinity], [3.0, -Infinity]]}'


def test_no_rows_are_an_empty_list():
    outputs = {"a": np.zeros((0, 3)), "b": np.zeros((0, 2, 2), np.int32)}
    assert write(outputs) == {"predictions": []}
    assert write(outputs, False) == {"outputs": {"a": [], "b": []}}


def test_texts_that_are_not_utf8_are_written_as_base64():
    assert write({"text": texts(b"\xff", b"a\0")}) == {
        "predictions": [{"b64": "/w=="}, "a\0"]
    }


@pytest.mark.parametrize(
    "outputs",
    [
        {"a": np.zeros(3), "b": np.zeros(2)},
        {"a": np.float32(1.5)},
        {"a": np.zeros(3), "b": np.zeros(())},
    ],
)
def test_outputs_without_rows_need_columns(outputs):
    with pytest.raises(RequestError, match='"inputs" in place of "instances"'):
        write(outputs)
    found = write(outputs, False)["outputs"]
    wanted = {
        name: np.asarray(array).tolist() for name, array in outputs.items()
    }
    assert found == (wanted if len(wanted) > 1 else wanted["a"])


def test_an_answer_that_is_too_long_is_refused():
    with pytest.raises(RequestError, match="would have 11 values"):
        write({"a": np.zeros(11)}, limits=Limits(answer_values=10))
