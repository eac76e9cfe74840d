"""What docs/serving.md shows, run."""

import concurrent.futures
import re

import pytest
import tensorflow as tf
from helpers.exported import call, folder, loaded
from helpers.paths import ROOT
from tensorflow.core.protobuf import saved_model_pb2

import bert_tf

TEXT = (ROOT / "docs" / "serving.md").read_text(encoding="utf-8")
CODE = re.findall(r"```python\n(.*?)```", TEXT, re.S)
PAIR = {"text_a": ["He ate."], "text_b": ["He had a meal."]}


def run(code, **names):
    model = str(folder("classifier"))
    code = code.replace("/tmp/mrpc_model", model)
    names = {"__name__": "docs", **names}
    exec(compile(code, "serving.md", "exec"), names)
    return names


def test_there_are_three_pieces_of_python():
    assert len(CODE) == 3


@pytest.mark.slow
def test_the_predictor_labels_pairs(capsys):
    pairs = [("a", "b"), ("the museum", "John")]
    run(CODE[0], pairs=pairs)
    predict = bert_tf.Predictor(folder("classifier"))
    want = [predict(pair).label for pair in pairs]
    assert capsys.readouterr().out.splitlines() == want


@pytest.mark.slow
def test_tensorflow_alone_labels_a_pair(capsys):
    run(CODE[1])
    (label,) = call("classifier", "serve_text_pair", **PAIR)["label"]
    assert capsys.readouterr().out == f"{label.decode()}\n"


@pytest.mark.slow
def test_signatures_are_as_listed():
    for name, head in (
        ("classifier", "classifier"),
        ("span_v2", "span"),
        ("pretraining", "pretraining"),
        ("features", "features"),
    ):
        (row,) = re.findall(rf"\| `{head}` \| (.*) \| (.*) \|", TEXT)
        # Their names are read, and no graph is loaded.
        file = folder(name) / "1" / "saved_model.pb"
        saved = saved_model_pb2.SavedModel.FromString(file.read_bytes())
        signatures = saved.meta_graphs[0].signature_def
        takes, returns = (set(re.findall("`([a-z_]+)`", x)) for x in row)
        inputs, outputs = set(), set()
        for key in ("serve_text", "serve_text_pair"):
            if key in signatures:
                inputs |= {*signatures[key].inputs}
                outputs |= {*signatures[key].outputs}
        assert takes - {"serve_text"} == inputs
        assert returns - {"tokens"} == outputs - {"tokens"}


def test_the_client_asks_a_server_that_speaks_its_language():
    pytest.importorskip("tensorflow_serving.apis")
    import grpc
    from tensorflow_serving.apis import (
        predict_pb2,
        prediction_service_pb2_grpc,
    )

    class Server(prediction_service_pb2_grpc.PredictionServiceServicer):
        def Predict(self, request, context):
            assert request.model_spec.name == "mrpc"
            signature = loaded("classifier").signatures[
                request.model_spec.signature_name
            ]
            inputs = {
                name: tf.constant(tf.make_ndarray(value))
                for name, value in request.inputs.items()
            }
            response = predict_pb2.PredictResponse()
            for name, value in signature(**inputs).items():
                proto = tf.make_tensor_proto(value.numpy())
                response.outputs[name].CopyFrom(proto)
            return response

    names = run(CODE[2])
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(1))
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
        Server(), server
    )
    port = server.add_insecure_port("localhost:0")
    server.start()
    try:
        request = names["build_request"]("mrpc", "serve_text_pair", **PAIR)
        got = names["ask"](f"localhost:{port}", request)
    finally:
        server.stop(None)
    want = call("classifier", "serve_text_pair", **PAIR)
    assert got.keys() == want.keys()
    for name, values in want.items():
        assert (got[name] == values).all()
