"""Paths and bodies, by the rules and examples of TensorFlow Serving.

Where a case is one of api_rest.md, its values are those of that document.
"""

import json

import pytest

from bert_tf.server import protocol
from bert_tf.server.protocol import RequestError, Target


@pytest.mark.parametrize(
    ("request_line", "target"),
    [
        ("GET /v1/models/m", Target("status", "m", None)),
        ("GET /v1/models/m/versions/12", Target("status", "m", 12)),
        ("GET /v1/models/m/metadata", Target("metadata", "m", None)),
        ("GET /v1/models/m/versions/12/metadata", Target("metadata", "m", 12)),
        ("POST /v1/models/m:predict", Target("predict", "m", None)),
        ("POST /V1/Models/m/Versions/3:Predict", Target("predict", "m", 3)),
        ("POST /v1/models/a.b-c:tokenize", Target("tokenize", "a.b-c", None)),
    ],
)
def test_paths_name_a_model_and_what_to_do(request_line, target):
    assert protocol.parse_path(*request_line.split()) == target


@pytest.mark.parametrize(
    ("request_line", "status", "message"),
    [
        ("GET /v1/foo", 404, "The path must be"),
        ("POST /v1/foo", 404, "The path must be"),
        ("GET /v1/models", 404, "must name the model"),
        ("POST /v1/models/m/version/50:predict", 404, "The path must be"),
        ("POST /v1/models/m/versions/HELLO:predict", 404, "The path must be"),
        ("GET /v1/models/m:predict", 405, "must be asked for with POST"),
        ("POST /v1/models/m", 405, "must be asked for with GET"),
        ("POST /v1/models/m:classify", 400, "Use :predict"),
        ("POST /v1/models/m:regress", 400, "Use :predict"),
        ("POST /v1/models/m:train", 404, ":train is unknown"),
        ("GET /v1/models/m/labels/stable", 400, "no labels"),
        ("POST /v1/models/m/labels/stable:predict", 400, "no labels"),
    ],
)
def test_other_paths_are_refused(request_line, status, message):
    with pytest.raises(RequestError) as error:
        protocol.parse_path(*request_line.split())
    assert error.value.status == status
    assert message in str(error.value)


def test_a_wrong_method_names_the_right_one():
    with pytest.raises(RequestError) as error:
        protocol.parse_path("PUT", "/v1/models/m:predict")
    assert error.value.headers == {"Allow": "POST"}


def test_a_status_is_what_tensorflow_serving_documents():
    body = protocol.status_body([(123, "AVAILABLE", "")])
    assert json.loads(body) == {
        "model_version_status": [
            {
                "version": "123",
                "state": "AVAILABLE",
                "status": {"error_code": "OK", "error_message": ""},
            }
        ]
    }


def test_the_signature_is_the_default_one_unless_named():
    for body in ({"inputs": 1}, {"inputs": 1, "signature_name": ""}):
        request = protocol.parse_predict(json.dumps(body).encode())
        assert request.signature_name == "serving_default"
    body = b'\xef\xbb\xbf{"inputs": 1, "signature_name": "serve_text"}'
    assert protocol.parse_predict(body).signature_name == "serve_text"
