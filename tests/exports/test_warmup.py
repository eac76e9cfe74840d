"""Warm-up requests, held to what TensorFlow Serving's own classes write."""

import numpy as np
import pytest
import tensorflow as tf

from bert_tf.exports import warmup

# A `PredictionLog`, written by tensorflow-serving-api 2.21.0 deterministically,
# for the signature serve_text with text_a=["a b"], text_b=["é"].
GOLDEN = bytes.fromhex(
    "32410a3f0a0c1a0a73657276655f7465787412170a06746578745f61120d080712041202"
    "0801420361206212160a06746578745f62120c08071204120208014202c3a9"
)


def test_bytes_are_those_of_tensorflow_serving():
    inputs = {"text_b": ["é"], "text_a": ["a b"]}
    assert warmup.encode("serve_text", inputs) == GOLDEN


def test_a_file_has_a_record_for_each_request(tmp_path):
    path = str(tmp_path / "requests")
    numbers = np.array([[1, 2], [3, 4]], np.int32)
    texts = {"text_b": ["é"], "text_a": ["a b"]}
    warmup.write(
        path, [("serving_default", {"x": numbers}), ("serve_text", texts)]
    )

    first, second = tf.data.TFRecordDataset(path).as_numpy_iterator()
    assert second == GOLDEN
    log = warmup.prediction_log().FromString(first)
    request = log.predict_log.request
    assert request.model_spec.signature_name == "serving_default"
    got = tf.io.parse_tensor(request.inputs["x"], tf.int32)
    np.testing.assert_array_equal(got, numbers)


def test_tensorflow_serving_reads_them():
    apis = pytest.importorskip("tensorflow_serving.apis.prediction_log_pb2")
    log = apis.PredictionLog.FromString(GOLDEN)
    request = log.predict_log.request
    assert request.model_spec.signature_name == "serve_text"
    texts = {
        name: tf.make_ndarray(value).tolist()
        for name, value in request.inputs.items()
    }
    assert texts == {"text_a": [b"a b"], "text_b": ["é".encode()]}
