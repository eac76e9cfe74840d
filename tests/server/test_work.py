"""One long request beside others: limits, turns and time."""

import concurrent.futures
import json
import threading
import time

import numpy as np
import pytest
from helpers import exported, small_models
from helpers.running_server import WAIT, Running, wait_until

from bert_tf.server.model import ServedModel

pytestmark = pytest.mark.slow

PREDICT = "/v1/models/model:predict"
TOKENIZE = "/v1/models/model:tokenize"
LONG = "the quiet museum measured John Smith . " * 60


@pytest.fixture(scope="module")
def start():
    running = []

    def make(folder, **options):
        running.append(Running(folder, "model", **options))
        return running[-1]

    yield make
    for server in running:
        if server.thread.is_alive():
            server.stop()


@pytest.fixture(scope="module")
def reviews(tmp_path_factory):
    folder = tmp_path_factory.mktemp("served") / "model"
    small_models.save(small_models.Reviews(), folder / "1")
    return folder


def body(*rows, signature="serve_text"):
    return {"signature_name": signature, "instances": list(rows)}


def span(context=LONG):
    return {"question": "Who measured?", "context": context}


# --------------------------------------------------------------- the model


@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("span", span()),
        ("pretraining", {"text": "a [MASK] museum " * 100}),
        ("classifier_windows", {"text_a": LONG}),
        ("features_windows", {"text_a": LONG}),
    ],
)
def test_windows_of_a_request_have_a_limit(start, name, row):
    server = start(exported.folder(name), max_windows=40)
    (found,) = server.application.versions.take().model.costs(
        "serve_text",
        {key: np.array([value.encode()], object) for key, value in row.items()},
        10**6,
    )
    assert 3 < found <= 100
    status, _, content = server.ask("POST", PREDICT, body(*[row] * 20))
    assert status == 413
    assert "40 windows" in content["error"]
    short = {key: "a museum" for key in row}
    assert server.ask("POST", PREDICT, body(*[short] * 20))[0] == 200
    server.stop()


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("span", [span(LONG[:n]) for n in (900, 20, 300, 700)]),
        (
            "pretraining",
            [{"text": "a [MASK] museum " * n} for n in (9, 1, 20)]
            + [{"text": "none"}],
        ),
        ("classifier_windows", [{"text_a": LONG[:n]} for n in (900, 9, 400)]),
        ("features_windows", [{"text_a": LONG[:n]} for n in (900, 9, 400)]),
    ],
)
@pytest.mark.slow
@pytest.mark.parametrize("batching", [True, False])
def test_parts_give_the_answers_of_the_whole(start, name, rows, batching):
    folder = exported.folder(name)
    server = start(folder, max_batch=1, no_batching=not batching)
    got = server.predict(body(*rows))["predictions"]
    assert server.metric_of_runs() == len(rows)
    server.stop()
    server = start(folder, max_batch=10_000)
    wanted = server.predict(body(*rows))["predictions"]
    assert server.metric_of_runs() == 1
    server.stop()
    assert len(got) == len(wanted)
    for one, other in zip(got, wanted):
        if not isinstance(one, dict):
            one, other = {"": one}, {"": other}
        assert one.keys() == other.keys()
        for key, value in other.items():
            found = np.array(one[key])
            assert found.shape == np.shape(value), key
            if found.dtype.kind == "U":
                assert one[key] == value
            else:
                np.testing.assert_allclose(found, value, atol=2e-5)


class Slow:
    """Makes each run take a while, and counts the runs."""

    def __init__(self, monkeypatch, seconds):
        self.runs = 0
        run = ServedModel.run

        def run_slowly(model, name, inputs):
            self.runs += 1
            time.sleep(seconds)
            return run(model, name, inputs)

        monkeypatch.setattr(ServedModel, "run", run_slowly)


def test_a_long_request_lets_others_go_first(start, reviews, monkeypatch):
    server = start(reviews, max_batch=1, timeout=WAIT)
    Slow(monkeypatch, 0.1)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        long = pool.submit(server.predict, body(*["good"] * 30))
        wait_until(lambda: server.metric("bert_tf_waiting_rows") > 0)
        server.predict(body("bad"))
        assert not long.done()
        assert len(long.result(WAIT)["predictions"]) == 30
    server.stop()


def test_a_long_request_stops_after_its_time(start, reviews, monkeypatch):
    server = start(reviews, max_batch=1, timeout=0.5)
    slow = Slow(monkeypatch, 0.1)
    status, _, content = server.ask("POST", PREDICT, body(*["good"] * 100))
    assert status == 503 and "within 0.5 seconds" in content["error"]
    wait_until(lambda: server.metric("bert_tf_waiting_rows") == 0)
    server.stop()
    assert slow.runs < 100


# ------------------------------------------------------------ word pieces


def test_pieces_of_an_answer_have_a_limit(start, reviews):
    server = start(reviews, max_answer_values=400)
    # Four values for each piece.
    for number, wanted in ((100, 200), (101, 413)):
        status, _, content = server.ask(
            "POST", TOKENIZE, {"instances": ["." * number]}
        )
        assert status == wanted
    assert "404 values" in content["error"]
    status, _, content = server.ask(
        "POST", TOKENIZE, {"instances": ["." * 60] * 128}
    )
    assert status == 413
    server.stop()


def test_a_bomb_of_pieces_holds_nobody_up(start, reviews):
    server = start(reviews, max_answer_values=200_000)
    worst, done = [0.0], threading.Event()

    def look():
        while not done.is_set():
            began = time.monotonic()
            assert server.ask("GET", "/healthz")[0] == 200
            worst[0] = max(worst[0], time.monotonic() - began)

    looking = threading.Thread(target=look)
    looking.start()
    bomb = json.dumps({"instances": ["." * 16_200] * 100})
    assert server.ask("POST", TOKENIZE, bomb)[0] == 413
    done.set()
    looking.join(WAIT)
    assert worst[0] < 5
    server.stop()


class Gate:
    """Holds up the tokenization of "wait"."""

    def __init__(self, monkeypatch):
        self.open, self.entered = threading.Event(), threading.Semaphore(0)
        self.texts = []
        tokenize = ServedModel.tokenize

        def tokenize_later(model, texts):
            self.texts += texts
            if "wait" in texts:
                self.entered.release()
                assert self.open.wait(WAIT)
            return tokenize(model, texts)

        monkeypatch.setattr(ServedModel, "tokenize", tokenize_later)


@pytest.fixture
def gate(monkeypatch):
    gate = Gate(monkeypatch)
    yield gate
    gate.open.set()


@pytest.mark.slow
def test_tokenizing_waits_in_the_queue_and_no_longer_than_the_time(
    start, reviews, gate
):
    server = start(reviews, max_waiting=2, timeout=8)
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        wait = {"instances": ["wait"]}
        busy = pool.submit(server.ask, "POST", TOKENIZE, wait)
        assert gate.entered.acquire(timeout=WAIT)
        two = {"instances": ["a", "b"]}
        waiting = pool.submit(server.ask, "POST", TOKENIZE, two)
        wait_until(lambda: server.metric("bert_tf_waiting_rows") == 2)
        status, headers, content = server.ask("POST", TOKENIZE, two)
        assert status == 503 and headers["retry-after"]
        assert "The queue is full" in content["error"]
        # Predicting has the same queue.
        assert server.ask("POST", PREDICT, body("good"))[0] == 503
        for future in (busy, waiting):
            status, headers, content = future.result()
            assert status == 503 and "within 8 seconds" in content["error"]
        gate.open.set()
    wait_until(lambda: server.metric("bert_tf_waiting_rows") == 0)
    assert gate.texts == ["wait"]
    server.stop()


def test_texts_of_clients_that_have_gone_are_not_tokenized(
    start, reviews, gate
):
    server = start(reviews, timeout=WAIT)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        wait = {"instances": ["wait"]}
        busy = pool.submit(server.ask, "POST", TOKENIZE, wait)
        assert gate.entered.acquire(timeout=WAIT)
        sent = json.dumps({"instances": ["gone"]}).encode()
        with server.raw() as sock:
            sock.sendall(
                b"POST %s HTTP/1.1\r\nhost: localhost\r\n"
                b"content-length: %d\r\n\r\n%s"
                % (TOKENIZE.encode(), len(sent), sent)
            )
            wait_until(lambda: server.metric("bert_tf_waiting_rows") == 1)
        line = "bert_tf_requests_abandoned_total"
        wait_until(lambda: server.metric(line) == 1)
        gate.open.set()
        assert busy.result()[0] == 200
    server.stop()
    assert gate.texts == ["wait"]


def test_long_requests_wait_until_answers_are_read(start, reviews, monkeypatch):
    server = start(reviews)
    long = {"instances": ["good " * 2000] * 10}
    monkeypatch.setattr(server.application, "unread", lambda: 2**40)
    status, headers, _ = server.ask("POST", TOKENIZE, long)
    assert status == 503 and headers["retry-after"]
    assert server.ask("POST", PREDICT, body("good"))[0] == 200
    monkeypatch.undo()
    assert server.application.unread() == 0
    assert server.ask("POST", TOKENIZE, long)[0] == 200
    server.stop()
