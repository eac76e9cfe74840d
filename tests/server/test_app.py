"""A running server: its protocol, its limits, its versions, its end.

On a SavedModel, and on an ONNX export with the same contract.
"""

import base64
import concurrent.futures
import contextlib
import gzip
import json
import re
import shlex
import shutil
import socket
import threading
import tracemalloc

import numpy as np
import pytest
import tensorflow as tf
from absl import flags
from helpers import small_models
from helpers.paths import ROOT
from helpers.running_server import WAIT, Running, read_all, wait_until

from bert_tf import serve
from bert_tf.server import protocol
from bert_tf.server.model import ServedModel
from bert_tf.server.protocol import RequestError

PREDICT = "/v1/models/reviews:predict"
ODD = "/v1/models/odd:predict"


ONNX = pytest.param("onnx", marks=pytest.mark.slow)


@pytest.fixture(scope="module", params=["saved_model", ONNX])
def kind(request):
    """The format of the model that is served."""
    if request.param == "onnx":
        pytest.importorskip("onnx")
        pytest.importorskip("onnxruntime")
    return request.param


@pytest.fixture(scope="module")
def loaded(kind):
    """The class that loads it."""
    if kind == "saved_model":
        return ServedModel
    from bert_tf.server.plain_model import PlainModel

    return PlainModel


@pytest.fixture(scope="module")
def folder(kind, tmp_path_factory):
    folder = tmp_path_factory.mktemp(kind)
    if kind == "saved_model":
        small_models.save(small_models.Reviews(), folder / "reviews" / "1")
        small_models.save(small_models.Reviews(1.0), folder / "later" / "2")
    else:
        from helpers import small_plain

        small_plain.save(folder / "reviews" / "1")
        small_plain.save(folder / "later" / "2", 1.0)
    return folder


@pytest.fixture(scope="module")
def other_folder(tmp_path_factory):
    """SavedModels that are not bert_tf's."""
    folder = tmp_path_factory.mktemp("others")
    small_models.save(small_models.Odd(), folder / "odd" / "7")
    small_models.save(small_models.Vectors(), folder / "sentences" / "1")
    half = small_models.HalfPlusThree()
    small_models.save(
        half,
        folder / "half_plus_three" / "123",
        {"serving_default": half.__call__},
    )
    return folder


def starting(folder):
    """Starts a server of a folder's models; what they leave open is closed."""
    running = []

    def make(name, path=None, **options):
        running.append(Running(path or folder / name, name, **options))
        return running[-1]

    yield make
    for server in running:
        if server.thread.is_alive():
            server.stop()


@pytest.fixture(scope="module")
def start(folder):
    yield from starting(folder)


@pytest.fixture(scope="module")
def start_other(other_folder):
    yield from starting(other_folder)


@pytest.fixture(scope="module")
def reviews(start):
    return start(
        "reviews",
        max_body_mb=0.01,
        max_instances=8,
        max_text_chars=100,
    )


@pytest.fixture(scope="module")
def impatient(start):
    """Waits half a second for a request, and for the one after it."""
    return start("reviews", request_seconds=0.5, idle_seconds=0.5)


@pytest.fixture(scope="module")
def limited(start):
    return start("reviews", max_waiting=2, timeout=WAIT, max_answer_values=30)


@pytest.fixture(scope="module")
def odd(start_other):
    return start_other("odd", max_answer_values=1000)


def text(*words):
    return {"signature_name": "serve_text", "instances": list(words)}


# ---------------------------------------------------------------- the protocol


def test_the_example_of_tensorflow_servings_documentation(start_other):
    server = start_other("half_plus_three")
    path = "/v1/models/half_plus_three"
    status, headers, content = server.ask("GET", path)
    assert (status, headers["content-type"]) == (200, "application/json")
    assert content == {
        "model_version_status": [
            {
                "version": "123",
                "state": "AVAILABLE",
                "status": {"error_code": "OK", "error_message": ""},
            }
        ]
    }
    assert server.ask("GET", f"{path}/versions/123")[2] == content
    body = {"instances": [1.0, 2.0, 5.0]}
    assert server.predict(body) == {"predictions": [3.5, 4.0, 5.5]}
    assert server.predict(body, version=123) == {"predictions": [3.5, 4.0, 5.5]}
    assert server.predict({"inputs": [1, 5]}) == {"outputs": [3.5, 5.5]}
    status, _, content = server.ask("POST", "/v1/models/half:predict", body)
    assert status == 404 and "half_plus_three" in content["error"]
    status, _, content = server.ask("GET", f"{path}/metadata")
    x = content["metadata"]["signature_def"]["signature_def"][
        "serving_default"
    ]["inputs"]["x"]
    assert content["model_spec"] == {
        "name": "half_plus_three",
        "signature_name": "",
        "version": "123",
    }
    assert (x["dtype"], x["tensor_shape"]["dim"][0]["size"]) == (
        "DT_FLOAT",
        "-1",
    )
    server.stop()


@pytest.mark.parametrize("signature", ["serve_text", "serve_examples"])
def test_no_rows_are_answered_with_none(reviews, signature):
    asked = {"signature_name": signature, "inputs": []}
    outputs = reviews.predict(asked)["outputs"]
    assert "probabilities" in outputs
    assert not any(outputs.values())


def test_rows_and_columns_get_the_same_numbers(reviews):
    ids = {
        "input_ids": [[6, 5]],
        "input_mask": [[1, 0]],
        "segment_ids": [[0, 1]],
    }
    rows = [{name: column[0] for name, column in ids.items()}]
    (row,) = reviews.predict({"instances": rows})["predictions"]
    columns = reviews.predict({"inputs": ids})["outputs"]
    assert columns == {name: [value] for name, value in row.items()}
    assert row["logits"] == [1.0, 0.0]
    np.testing.assert_allclose(row["probabilities"][0], 1 / (1 + np.exp(-1)))


def test_texts_come_with_and_without_their_name(reviews):
    bare = reviews.predict(text("good", "bad bad"))["predictions"]
    named = reviews.predict(text({"text_a": "good"}, {"text_a": "bad bad"}))[
        "predictions"
    ]
    coded = base64.b64encode(b"bad bad").decode()
    mixed = reviews.predict(text("good", {"b64": coded}))["predictions"]
    assert bare == named == mixed
    assert [row["label"] for row in bare] == ["good", "bad"]
    assert bare[0]["labels"] == ["bad", "good"]
    pair = {"text_a": "good", "text_b": "bad good"}
    body = {"signature_name": "serve_text_pair", "instances": [pair]}
    (row,) = reviews.predict(body)["predictions"]
    np.testing.assert_allclose(
        row["probabilities"], [1 / (1 + np.e), 1 / (1 + 1 / np.e)], rtol=1e-5
    )


def test_examples_come_as_base64(reviews):
    example = tf.train.Example()
    for name, values in zip(small_models.IDS, ([5, 5, 6], [1] * 3, [0] * 3)):
        example.features.feature[name].int64_list.value.extend(values)
    coded = base64.b64encode(example.SerializeToString()).decode()
    body = {
        "signature_name": "serve_examples",
        "instances": [{"b64": coded}, {"examples": {"b64": coded}}["examples"]],
    }
    got = reviews.predict(body)["predictions"]
    assert [row["logits"] for row in got] == [[1.0, 2.0]] * 2


@pytest.mark.parametrize("encoding", ["gzip", "x-gzip", "GZIP"])
def test_bodies_may_be_gzip(reviews, encoding):
    body = json.dumps(text("good", "bad")).encode()
    wanted = reviews.predict(body)
    headers = {"content-encoding": encoding}
    # Members may follow each other, and zeros them.
    for packed in (
        gzip.compress(body),
        gzip.compress(body[:9]) + gzip.compress(body[9:]) + b"\0" * 8,
    ):
        got = reviews.ask("POST", PREDICT, packed, headers)
        assert (got[0], got[2]) == (200, wanted)
    packed = gzip.compress(b'{"instances": ["good"]}')
    path = "/v1/models/reviews:tokenize"
    assert reviews.ask("POST", path, packed, headers)[0] == 200


def test_a_bomb_is_not_unpacked():
    bomb = gzip.compress(b" " * 200_000_000, 1)
    tracemalloc.start()
    with pytest.raises(RequestError, match="at most 1000 bytes"):
        protocol.unpack(bomb, 1000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 5_000_000


def test_defaults_and_outputs_without_rows(odd):
    assert odd.predict({"instances": ["a", "b"]}) == {
        "predictions": ["a and more", "b and more"]
    }
    body = {"instances": [{"a": "a", "b": "!"}, {"a": "b"}]}
    assert odd.predict(body) == {"predictions": ["a!", "b and more"]}
    body = {"signature_name": "total", "inputs": [1, 2.5]}
    assert odd.predict(body) == {"outputs": {"total": 3.5, "x": [1.0, 2.5]}}


def test_tokenize_returns_pieces_with_offsets(reviews):
    path = "/v1/models/reviews:tokenize"
    status, _, content = reviews.ask("POST", path, {"instances": ["Goodly"]})
    assert status == 200
    assert content["predictions"] == [
        [
            {"token": "good", "start": 0, "end": 4, "id": 5},
            {"token": "##ly", "start": 4, "end": 6, "id": 7},
        ]
    ]


def test_a_model_without_a_vocabulary_does_not_tokenize(odd):
    path = "/v1/models/odd:tokenize"
    status, _, content = odd.ask("POST", path, {"instances": ["Goodly"]})
    assert status == 400 and "no word pieces" in content["error"]


# ------------------------------------------------------------ what goes wrong


def post(body, path=PREDICT, **headers):
    return "POST", path, body, headers


IDS_ROW = {"input_ids": [1, 2], "input_mask": [1, 1], "segment_ids": [0, 0]}

BYTES = {"b64": base64.b64encode(b"\x9d\xff\xfe\x1b[2K").decode()}

GZIPPED = gzip.compress(b'{"instances": []}')
DAMAGED = GZIPPED[:-8] + b"\0" * 4 + GZIPPED[-4:]
BOMB = gzip.compress(b" " * 5_000_000)

MALFORMED = [
    # The path and the method.
    (("GET", PREDICT), 405, "must be asked for with POST"),
    (("PUT", PREDICT, "{}"), 405, "must be asked for with POST"),
    (("DELETE", "/v1/models/reviews"), 405, "must be asked for with GET"),
    (("GET", "/v1/models"), 404, "must name the model"),
    (("GET", "/v1/models/other"), 404, "this server has 'reviews'"),
    (("GET", "/v1/models/reviews/versions/9"), 404, "There are: 1"),
    (("GET", "/v1/models/reviews/versions/x"), 404, "The path must be"),
    (("GET", "/v1/models/reviews/versions/" + "9" * 50), 404, "no version"),
    (("GET", "/v1/models/reviews/labels/x"), 400, "no labels"),
    (("GET", "/v2/models/reviews"), 404, "nothing at this path"),
    (("GET", "/v1/models/%2e%2e%2fpasswd"), 404, "The path must be"),
    (("GET", "/page/..%2f..%2fsetup.py"), 404, "nothing at this path"),
    (("POST", "/", "{}"), 405, "not possible"),
    (("POST", "/metrics", "{}"), 405, "not possible"),
    (post("{}", "/v1/models/reviews:classify"), 400, "Use :predict"),
    (post("{}", "/v1/models/reviews:regress"), 400, "Use :predict"),
    (post("{}", "/v1/models/reviews:train"), 404, ":train is unknown"),
    (post("{}", "/v1/models/reviews/versions/9:predict"), 404, "not served"),
    # The body.
    (post(""), 400, "The body is empty"),
    (post("{"), 400, "must be a JSON object"),
    (post("[]"), 400, "a list of 0"),
    (post('{"instances": [1]} x'), 400, "Extra data"),
    (post(b'{"instances": ["\xff"]}'), 400, "Byte 16 is not UTF-8"),
    (post("[" * 9000), 400, "thousands deep"),
    (post('{"instances": "' + "a" * 11_000 + '"}'), 413, "10485 bytes"),
    (post("{}", content_encoding="br"), 415, "'br'"),
    (post("{}", content_encoding="gzip, gzip"), 415, "'gzip, gzip'"),
    (post("{}", content_encoding="gzip"), 400, "not gzip"),
    (post(GZIPPED[:-1], content_encoding="gzip"), 400, "not gzip"),
    (post(GZIPPED + b"x", content_encoding="gzip"), 400, "not gzip"),
    (post(DAMAGED, content_encoding="gzip"), 400, "not gzip"),
    (post(b"", content_encoding="gzip"), 400, "The body is empty"),
    (post(GZIPPED), 400, "is not UTF-8"),
    (post(BOMB, content_encoding="gzip"), 413, "at most 10485 bytes"),
    # What is asked for.
    (post({"instances": [1], "signature_name": 5}), 400, "must be a text"),
    (post({"instances": [1], "signature_name": "x"}), 400, "no signature 'x'"),
    (post({"instances": [1], "inputs": [1]}), 400, "Received: both"),
    (post({"rows": [1]}), 400, "Received: the keys 'rows'"),
    (post({"instances": [1], "batch": 2}), 400, "'batch'"),
    (post({"instances": []}), 400, "an empty list"),
    (post({"instances": {"text": "a"}}), 400, "must be a list"),
    (post({"instances": ["a"]}), 400, "an object with the inputs"),
    (post({"inputs": [[1]]}), 400, "must be an object"),
    (post({"instances": [{"input_ids": [1]}]}), 400, "without input_mask"),
    (post({"instances": [{**IDS_ROW, "ids": 1}]}), 400, "with 'ids'"),
    (post({"instances": [{**IDS_ROW, "input_ids": 1}]}), 400, "shape"),
    (post({"instances": [{**IDS_ROW, "input_ids": [[1]]}]}), 400, "shape"),
    (post({"instances": [{**IDS_ROW, "input_ids": ["a"]}]}), 400, "'a'"),
    (post({"instances": [{**IDS_ROW, "input_ids": [1.5, 2]}]}), 400, "1.5"),
    (post({"instances": [{**IDS_ROW, "input_ids": [None]}]}), 400, "null"),
    (post({"instances": [{**IDS_ROW, "input_ids": [2**31, 0]}]}), 400, "int32"),
    (
        post({"instances": [IDS_ROW, {**IDS_ROW, "input_ids": [1]}]}),
        400,
        "instances[1].input_ids must be a list of 2",
    ),
    (
        post(
            {
                "inputs": {
                    **{key: [[1, 1]] for key in IDS_ROW},
                    "input_ids": [[1] * 3],
                }
            }
        ),
        400,
        "The model cannot compute this",
    ),
    (post(text("a", 5)), 400, "instances[1] must be a text"),
    (post(text({"text": "a"})), 400, "with 'text'"),
    (post(text({"b64": "?"})), 400, "base64 under"),
    (post(text({"b64": "/w=="})), 400, "must be UTF-8"),
    (
        post('{"signature_name": "serve_text", "instances": ["\\ud800"]}'),
        400,
        "half",
    ),
    (post(text("a" * 101)), 413, "at most 100 characters"),
    (post(text(*"abcdefghi")), 413, "at most 8 rows"),
    (
        post({"signature_name": "serve_examples", "instances": ["garbage"]}),
        400,
        "The model cannot compute this",
    ),
    # Bytes that are no UTF-8 stand in TensorFlow's message.
    (
        post({"signature_name": "serve_examples", "instances": [BYTES]}),
        400,
        "The model cannot compute this",
    ),
    (
        post(
            {
                "signature_name": "serve_text_pair",
                "inputs": {"text_a": ["a", "b"], "text_b": ["c"] * 3},
            }
        ),
        400,
        "The model cannot compute this",
    ),
    (post({}, "/v1/models/reviews:tokenize"), 400, '"instances", a list'),
    (
        post({"instances": [1]}, "/v1/models/reviews:tokenize"),
        400,
        "instances[0] must be a text",
    ),
]


@pytest.mark.parametrize(("request_", "status", "message"), MALFORMED)
def test_a_malformed_request_gets_a_message_that_names_the_fault(
    reviews, request_, status, message
):
    method, path, *rest = request_
    if len(rest) == 2:
        headers = {key.replace("_", "-"): each for key, each in rest[1].items()}
        rest = [rest[0], headers]
    got, _, content = reviews.ask(method, path, *rest)
    assert got == status
    assert list(content) == ["error"]
    assert message in content["error"]
    assert "Traceback" not in content["error"]
    (row,) = reviews.predict(text("good"))["predictions"]
    assert row["label"] == "good"


@pytest.mark.parametrize(
    ("sent", "message"),
    [
        (b"hello\r\n\r\n", b"not an HTTP/1.1 request"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 9, b"not an HTTP"),
        (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", b"not an HTTP"),
        (b"GET / HTTP/1.1\r\nx: " + b"a" * 20_000, b"longer than 16 KiB"),
        (b"GET /" + b"a" * 20_000, b"longer than 16 KiB"),
        (
            b"POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: x\r\n\r\n",
            b"not an HTTP",
        ),
        (
            b"POST %s HTTP/1.1\r\nhost: localhost\r\n"
            b"transfer-encoding: chunked\r\n\r\nzz\r\n" % PREDICT.encode(),
            b"not an HTTP",
        ),
    ],
)
def test_invalid_http_gets_400_and_is_cut_off(reviews, sent, message):
    answer = reviews.send(sent)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert message in answer
    assert reviews.predict(text("good"))


HEAD = b"POST %s HTTP/1.1\r\nhost: localhost\r\n" % PREDICT.encode()


@pytest.mark.parametrize(
    "parts",
    [
        [b"P"],
        [b"POST / HTTP/1.1\r\n", b"a: b\r\n"],
        [HEAD + b"content-length: 100\r\n\r\n", b"{"],
        [HEAD + b"transfer-encoding: chunked\r\n\r\n", b"2\r\n{ \r\n"],
    ],
)
def test_a_client_that_sends_too_slowly_is_cut_off(impatient, parts):
    before = impatient.metric(
        'bert_tf_connections_cut_total{reason="slow request"}'
    )
    answer = impatient.send(*parts)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"within 0.5 seconds" in answer
    after = impatient.metric(
        'bert_tf_connections_cut_total{reason="slow request"}'
    )
    assert after == before + 1
    wait_until(lambda: impatient.ask("GET", "/healthz")[0] == 200)


def test_a_client_that_never_sends_is_disconnected(impatient):
    assert impatient.send() == b""


def test_single_bytes_do_not_extend_the_deadline(impatient):
    body = json.dumps(text("good")).encode()
    parts = [bytes([byte]) for byte in body[:30]]
    head = HEAD + b"content-length: %d\r\n\r\n" % len(body)
    assert b"408" in impatient.send(head, *parts, pause=0.1)


def test_a_body_that_is_too_long_is_refused_before_it_is_received(reviews):
    declared = b"content-length: 1000000000\r\n\r\n"
    chunk = b"1000\r\n" + b" " * 0x1000 + b"\r\n"
    chunked = b"transfer-encoding: chunked\r\n\r\n" + chunk * 8
    for rest in (declared, chunked):
        with reviews.raw() as sock:
            sock.sendall(HEAD + rest)
            assert sock.recv(65536).startswith(b"HTTP/1.1 413 ")
    assert reviews.predict(text("good"))


def test_a_client_that_does_not_read_is_cut_off(start_other):
    # More than the system takes off the server's hands.
    server = start_other(
        "odd", answer_seconds=0.5, max_body_mb=20, max_text_chars=10**6
    )
    body = json.dumps({"instances": ["x" * 500_000] * 30}).encode()
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.connect(server.address)
        sock.sendall(
            b"POST %s HTTP/1.1\r\nhost: localhost\r\ncontent-length: %d\r\n\r\n"
            % (ODD.encode(), len(body))
        )
        sock.sendall(body)
        line = 'bert_tf_connections_cut_total{reason="slow reader"}'
        wait_until(lambda: server.metric(line) == 1)
        answer = read_all(sock)
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert len(answer) < 30 * 500_000
    server.stop()


def test_nagles_algorithm_is_off(reviews):
    with reviews.raw():
        wait_until(lambda: reviews.server.connections)
        for connection in reviews.server.server_state.connections:
            sock = connection.transport.get_extra_info("socket")
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_pipelined_requests_are_answered_in_order(impatient):
    def request(*words):
        body = json.dumps(text(*words)).encode()
        return HEAD + b"content-length: %d\r\n\r\n%s" % (len(body), body)

    answer = impatient.send(
        request("good"), request("bad") + request("good bad good")
    )
    labels = [
        json.loads(part.partition(b"\r\n\r\n")[2].partition(b"HTTP/1.1")[0])[
            "predictions"
        ][0]["label"]
        for part in answer.split(b"HTTP/1.1 200 OK")[1:]
    ]
    assert labels == ["good", "bad", "good"]


# ------------------------------------------------------------ load and limits


class Gate:
    """Holds up the model when it is asked for "wait", until it is opened."""

    def __init__(self, monkeypatch, loaded):
        self.open = threading.Event()
        self.entered = threading.Semaphore(0)
        run = loaded.run

        def run_later(model, name, inputs):
            if b"wait" in inputs.get("text_a", ()):
                self.entered.release()
                assert self.open.wait(WAIT)
            return run(model, name, inputs)

        monkeypatch.setattr(loaded, "run", run_later)


@pytest.fixture
def gate(monkeypatch, loaded):
    gate = Gate(monkeypatch, loaded)
    yield gate
    gate.open.set()


@contextlib.contextmanager
def kept_busy(server, gate):
    """A future of the answer to a request that the model is at."""
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        future = pool.submit(server.ask, "POST", PREDICT, text("wait"))
        assert gate.entered.acquire(timeout=WAIT)
        try:
            yield pool, future
        finally:
            gate.open.set()


def labels_of(content):
    return [row["label"] for row in content["predictions"]]


def test_a_full_queue_is_503_and_says_when_to_try_again(limited, gate):
    with kept_busy(limited, gate) as (pool, busy):
        waiting = pool.submit(limited.predict, text("good", "bad"))
        wait_until(lambda: limited.metric("bert_tf_waiting_rows") == 2)
        status, headers, content = limited.ask("POST", PREDICT, text("bad"))
        assert status == 503
        assert "The queue is full" in content["error"]
        assert int(headers["retry-after"]) >= 1
        gate.open.set()
        assert busy.result()[0] == 200
        assert labels_of(waiting.result()) == ["good", "bad"]


def test_an_answer_that_takes_too_long_is_503_and_leaves_the_queue(start, gate):
    server = start("reviews", timeout=0.3)
    with kept_busy(server, gate) as (_, busy):
        status, headers, content = server.ask("POST", PREDICT, text("late"))
        for each in (content, busy.result()[2]):
            assert "within 0.3 seconds" in each["error"]
        assert status == 503 and int(headers["retry-after"]) >= 1
        assert server.metric("bert_tf_waiting_rows") == 0
    server.stop()
    assert server.metric_of_runs() == 1


def test_requests_of_disconnected_clients_are_not_computed(start, gate):
    server = start("reviews", timeout=WAIT)
    with kept_busy(server, gate) as (_, busy):
        body = json.dumps(text("a", "b", "c")).encode()
        with server.raw() as sock:
            sock.sendall(
                HEAD + b"content-length: %d\r\n\r\n" % len(body) + body
            )
            wait_until(lambda: server.metric("bert_tf_waiting_rows") == 3)
        line = "bert_tf_requests_abandoned_total"
        wait_until(lambda: server.metric(line) == 1)
        # It leaves the queue a moment later.
        wait_until(lambda: server.metric("bert_tf_waiting_rows") == 0)
        gate.open.set()
        assert busy.result()[0] == 200
        assert labels_of(server.predict(text("good"))) == ["good"]
    server.stop()
    assert server.metric_of_runs() == 2


def test_connections_above_the_limit_are_503(start):
    server = start("reviews", max_connections=3, request_seconds=WAIT)
    kept = [server.raw() for _ in range(3)]
    wait_until(lambda: server.server.connections == 3)
    status, headers, content = server.ask("GET", "/healthz")
    assert status == 503 and headers["retry-after"] == "1"
    assert "as many connections" in content["error"]
    kept.pop().close()
    wait_until(lambda: server.ask("GET", "/healthz")[0] == 200)
    for sock in kept:
        sock.close()
    server.stop()


def test_an_answer_that_is_too_long_is_413(limited):
    rows = dict.fromkeys(small_models.IDS, [[0, 0, 0]] * 8)
    status, _, content = limited.ask("POST", PREDICT, {"inputs": rows})
    assert status == 413 and "would have 32 values" in content["error"]
    assert limited.predict(text("good", "bad"))


def test_an_answer_may_be_too_long_because_of_its_texts(odd):
    body = {"signature_name": "characters", "instances": ["x" * 999, "y"]}
    status, _, content = odd.ask("POST", ODD, body)
    assert status == 413 and "would have 1998 values" in content["error"]


def test_batches_give_the_numbers_of_single_requests(start, folder, loaded):
    words = ["good", "bad", "good good bad", "neither " * 40, "bad bad good ."]
    model = loaded(folder / "reviews" / "1", 1)
    wanted = {
        word: model.run(
            "serve_text", {"text_a": np.array([word.encode()], object)}
        )
        for word in words
    }
    for options in ({}, {"no_batching": True}):
        server = start("reviews", **options)

        def ask(word, server=server):
            return word, server.predict(text(word))["predictions"][0]

        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            got = list(pool.map(ask, words * 8))
        for word, row in got:
            np.testing.assert_allclose(
                row["probabilities"],
                wanted[word]["probabilities"][0],
                rtol=1e-6,
            )
            assert row["label"].encode() == wanted[word]["label"][0]
        runs = server.metric("bert_tf_run_seconds_count")
        assert runs == 40 if options else runs <= 40
        assert server.metric("bert_tf_batch_rows_sum") == 40
        server.stop()


# --------------------------------------------------------------- versions, end


def test_a_new_version_takes_over_without_a_failed_request(
    start, folder, kind, tmp_path
):
    shutil.copytree(folder / "reviews" / "1", tmp_path / "1")
    server = start("reviews", tmp_path)
    stop, shares, failures = threading.Event(), set(), []

    def ask():
        connection = server.connect()
        while not stop.is_set():
            try:
                answer = server.predict(text("none"), connection)
                shares.add(answer["predictions"][0]["probabilities"][1])
            except AssertionError as error:
                failures.append(error)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    wait_until(lambda: shares)
    shutil.copytree(folder / "reviews" / "1", tmp_path / "3")
    needed = {
        "saved_model": "variables/variables.index",
        "onnx": "assets/vocab.txt",
    }
    (tmp_path / "3" / needed[kind]).unlink()
    path = "/v1/models/reviews/versions/3"
    wait_until(lambda: server.ask("GET", path)[0] == 200)
    (broken,) = server.ask("GET", path)[2]["model_version_status"]
    wait_until(
        lambda: (
            server.metric('bert_tf_version_loads_total{result="failed"}') == 1
        )
    )
    (broken,) = server.ask("GET", path)[2]["model_version_status"]
    assert broken["state"] == "END"
    assert "cannot be loaded" in broken["status"]["error_message"]
    assert server.metric("bert_tf_version") == 1
    later = tmp_path / "later"
    shutil.copytree(folder / "later" / "2", later)
    later.rename(tmp_path / "2")
    wait_until(lambda: len(shares) == 2)
    stop.set()
    for thread in threads:
        thread.join(WAIT)
    assert not failures
    assert sorted(shares) == [0.5, pytest.approx(1 / (1 + np.exp(-1)))]
    assert server.metric("bert_tf_version") == 2
    wait_until(
        lambda: (
            "END" in str(server.ask("GET", "/v1/models/reviews/versions/1")[2])
        )
    )
    status, _, content = server.ask(
        "POST", "/v1/models/reviews/versions/1:predict", text("a")
    )
    assert status == 404 and "version 2 is" in content["error"]
    server.stop()


def test_a_shutdown_answers_accepted_requests_and_refuses_new_ones(start, gate):
    server = start(
        "reviews", timeout=WAIT, idle_seconds=WAIT, drain_seconds=WAIT
    )
    idle = server.connect()
    assert server.ask("GET", "/readyz", connection=idle)[0] == 200
    with kept_busy(server, gate) as (pool, busy):
        waiting = pool.submit(server.ask, "POST", PREDICT, text("good"))
        wait_until(lambda: server.metric("bert_tf_waiting_rows") == 1)
        server.server.should_exit = True
        wait_until(lambda: server.application.draining)
        status, headers, content = server.ask(
            "POST", PREDICT, text("b"), connection=idle
        )
        assert status == 503 and "stopping" in content["error"]
        assert headers["connection"] == "close" and headers["retry-after"]
        assert server.ask("GET", "/readyz")[0] == 503
        assert server.ask("GET", "/healthz")[0] == 200
        gate.open.set()
        for future in (busy, waiting):
            status, headers, content = future.result()
            assert status == 200
            assert headers["connection"] == "close"
        assert labels_of(content) == ["good"]
    server.stop()
    with pytest.raises(ConnectionError):
        server.raw()


# ----------------------------------------------------------- the documentation

# Flags of the commands that train and export.
OF_OTHERS = ("pooling", "doc_stride", "head", "label_type", "inspect")
DOCS = (ROOT / "docs" / "server.md").read_text()
# test_inspection has what follows under this heading.
FOR_ALL = re.sub(r"## Looking inside\n.*?(?=\n## )", "", DOCS, flags=re.S)


@pytest.mark.parametrize(
    "command", re.findall(r"^    (curl (?:.|\n    (?!curl))*)", FOR_ALL, re.M)
)
def test_the_documented_commands_are_answered(start_other, reviews, command):
    _, address, *data = shlex.split(command.replace("\n    ", "\n"))
    path = address.removeprefix("localhost:8501")
    of_vectors = '"sentences"' in command
    server = start_other("sentences") if of_vectors else reviews
    if data:
        flag, body = data
        assert flag == "-d"
        status, _, content = server.ask("POST", path, body)
    else:
        status, _, content = server.ask("GET", path)
    assert status == 200, content
    assert "error" not in content


def test_the_documented_limits_are_the_defaults():
    values = flags.FlagValues()
    serve.define_flags(values)
    values(["serve"])
    rows = re.findall(r"^\| `--(\w+)` \| (\d+)", DOCS, re.M)
    assert len(rows) == 11
    for name, default in rows:
        assert values[name].value == float(default), name
    of_server = re.sub("^    docker .*\n.*", "", DOCS, flags=re.M)
    of_server = of_server.partition("## What diff")[0]
    for name in re.findall(r"--([a-z]\w+)", of_server):
        assert name in values or name in OF_OTHERS, name


# -------------------------------------------------------------- about the rest


def test_metrics_count_what_happened(start):
    server = start("reviews")
    server.predict(text("good", "bad"))
    server.predict(text("good"))
    server.ask("POST", PREDICT, "{")
    assert (
        server.metric('bert_tf_requests_total{status="200",verb="predict"}')
        == 2
    )
    assert (
        server.metric('bert_tf_requests_total{status="400",verb="predict"}')
        == 1
    )
    assert server.metric('bert_tf_request_seconds_count{verb="predict"}') == 3
    assert server.metric("bert_tf_batch_rows_sum") == 3
    assert server.metric("bert_tf_batch_requests_sum") == 2
    assert server.metric("bert_tf_queue_seconds_count") == 2
    assert server.metric("bert_tf_version") == 1
    assert server.metric("bert_tf_waiting_rows") == 0
    assert server.metric("bert_tf_connections") == 1
    assert server.metric('bert_tf_version_loads_total{result="loaded"}') == 1
    _, headers, _ = server.ask("GET", "/metrics")
    assert headers["content-type"].startswith("text/plain; version=0.0.4")
    server.stop()


def test_every_response_has_the_security_headers(reviews):
    for path in ("/", "/nowhere", "/v1/models/reviews", "/metrics"):
        _, headers, _ = reviews.ask("GET", path)
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert "server" not in headers


def test_an_internal_error_is_500_without_details(reviews, loaded, monkeypatch):
    def fail(*arguments):
        raise KeyError("secret")

    monkeypatch.setattr(loaded, "kind", fail)
    status, _, content = reviews.ask("POST", PREDICT, text("good"))
    assert status == 500
    assert "secret" not in content["error"]
    monkeypatch.undo()
    assert reviews.predict(text("good"))


@pytest.mark.parametrize(
    ("given", "folder", "name"),
    [
        (None, "/models/reviews", "reviews"),
        (None, "/models/reviews/", "reviews"),
        (None, "/runs/mrpc/export", "mrpc"),
        (None, "/export", "export"),
        ("mine", "/runs/mrpc/export", "mine"),
    ],
)
def test_a_model_is_called_like_its_folder(given, folder, name):
    assert serve.find_name(given, folder) == name
