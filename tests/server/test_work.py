"""One long request beside others: limits, turns and time."""

import asyncio
import base64
import re
import threading

import numpy as np
import pytest
import tensorflow as tf
from helpers import in_process, reference, small_models

from bert_tf.server.model import ServedModel
from bert_tf.server.protocol import RequestError

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("graphs_as_traced"),
]

WAIT = 90
LONG = "the quiet museum measured John Smith . " * 60


@pytest.fixture(scope="module")
def reviews(tmp_path_factory):
    folder = tmp_path_factory.mktemp("served") / "1"
    return ServedModel(small_models.save(small_models.Reviews(), folder), 1)


def body(*rows):
    return {"signature_name": "serve_text", "instances": list(rows)}


def span(context=LONG):
    return {"question": "Who measured?", "context": context}


# --------------------------------------------------------------- the model


@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("span_v2", span()),
        ("pretraining", {"text": "a [MASK] museum " * 100}),
        ("classifier_windows", {"text_a": LONG}),
        ("ner", {"text": LONG}),
    ],
)
def test_windows_of_a_request_have_a_limit(name, row):
    model = in_process.served(name)
    (found,) = model.costs("serve_text", columns([row]), 10**6)
    assert 3 < found <= 100
    with in_process.answering(model, limits={"windows": 40}) as server:
        status, _, content = server.ask("predict", body(*[row] * 20))
        assert status == 413
        assert "40 windows" in content["error"]
        short = {key: "a museum" for key in row}
        assert server.ask("predict", body(*[short] * 20))[0] == 200


def test_given_words_are_counted_in_windows_too():
    model = in_process.served("ner")
    words = np.array([LONG.encode().split(), [b"a"] + [b""] * 419], object)

    found = model.costs("serve_words", {"words": words}, 10**6)

    text = columns([{"text": LONG}])
    assert found == [*model.costs("serve_text", text, 10**6), 1]
    with pytest.raises(RequestError) as caught:
        model.costs("serve_words", {"words": words}, 10)
    assert caught.value.status == 413


def columns(rows):
    """Rows as `ServedModel.run` takes them."""
    return {
        key: np.array([row[key].encode() for row in rows], object)
        for key in rows[0]
    }


@pytest.mark.parametrize("signature", ["serving_default", "serve_examples"])
def test_predictions_for_more_positions_than_fit_are_not_computed(
    signature, monkeypatch
):
    model = in_process.served("pretraining")
    monkeypatch.setattr(ServedModel, "run", None)
    row = {"input_ids": [2, 3], "input_mask": [1, 1], "segment_ids": [0, 0]}
    row["masked_lm_positions"] = [0] * 1000
    # 30 rows of 1000 positions, for each of which there are 1027 logits.
    if signature == "serve_examples":
        made = tf.train.Example()
        for name, values in row.items():
            made.features.feature[name].int64_list.value.extend(values)
        packed = base64.b64encode(made.SerializeToString()).decode()
        row = {"b64": packed}
    with in_process.answering(model) as server:
        asked = {"signature_name": signature, "instances": [row] * 30}
        status, _, content = server.ask("predict", asked)
    assert status == 413
    count = int(re.search(r"would have (\d+) values", content["error"])[1])
    assert count >= 30 * 1000 * 1027


def test_the_ids_of_an_example_do_not_count_as_its_choices():
    rows = reference.random_rows(np.random.default_rng(3), "choices")
    examples = np.array(reference.as_examples(rows), object)
    model = in_process.served("choices")
    count, choices, _ = rows["input_ids"].shape
    # A logit and a probability of each choice.
    most = count * choices * 2
    assert model.least_values("serve_examples", {"examples": examples}) <= most
    assert model.least_values("serving_default", rows) <= most


@pytest.mark.parametrize("name", ["choices", "pretraining"])
def test_no_examples_make_no_values(name):
    none = {"examples": np.array([], object)}
    assert in_process.served(name).least_values("serve_examples", none) == 0


def test_vectors_of_tokens_are_computed_in_parts():
    model = in_process.served("tokens")
    texts = ["a museum", "the quiet museum", LONG, "a"]
    wanted = model.run("serve_text", columns([{"text_a": t} for t in texts]))
    with in_process.answering(model, max_batch=1) as server:
        asked = {"signature_name": "serve_text", "inputs": texts}
        got = server.predict(asked)["outputs"]
        assert server.metric("bert_tf_run_seconds_count") == len(texts)
    assert got["tokens"] == in_process.as_json(wanted["tokens"].tolist())
    is_token = wanted["tokens"] != b""
    np.testing.assert_allclose(
        np.array(got["embedding"])[is_token],
        wanted["embedding"][is_token],
        atol=2e-5,
    )
    row = sum(array[0].size for array in wanted.values())
    with in_process.answering(
        model, max_batch=1, limits={"answer_values": row}
    ) as server:
        assert server.ask("predict", asked)[0] == 413
        assert server.metric("bert_tf_run_seconds_count") < len(texts)


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("span_v2", [span(LONG[:n]) for n in (900, 20, 300, 700)]),
        (
            "pretraining",
            [{"text": "a [MASK] museum " * n} for n in (9, 1, 20)]
            + [{"text": "none"}],
        ),
        ("classifier_windows", [{"text_a": LONG[:n]} for n in (900, 9, 400)]),
        ("ner", [{"text": LONG[:n]} for n in (300, 9, 900)]),
    ],
)
def test_parts_give_the_answers_of_the_whole(name, rows):
    model = in_process.served(name)
    inputs = columns(rows)
    wanted = model.run("serve_text", inputs)
    for batching in (True, False):
        with in_process.answering(
            model, max_batch=1, batching=batching
        ) as server:
            asked = {key: [row[key] for row in rows] for key in rows[0]}
            asked = {"signature_name": "serve_text", "inputs": asked}
            got = server.predict(asked)["outputs"]
            runs = server.metric("bert_tf_run_seconds_count")
        assert runs == len(rows)
        if len(wanted) == 1:
            got = {next(iter(wanted)): got}
        assert got.keys() == wanted.keys()
        for key, value in wanted.items():
            found = np.array(got[key])
            assert found.shape == value.shape, key
            if found.dtype.kind == "U":
                assert got[key] == in_process.as_json(value.tolist())
            else:
                np.testing.assert_allclose(found, value, atol=2e-5)


class Gate:
    """Holds up the model at its first run, and notes what it is asked."""

    def __init__(self, monkeypatch, method):
        self.open, self.entered = threading.Event(), threading.Event()
        self.seen = []
        ask = getattr(ServedModel, method)

        def ask_later(model, *given):
            self.seen.append(given[-1])
            self.entered.set()
            assert self.open.wait(WAIT)
            return ask(model, *given)

        monkeypatch.setattr(ServedModel, method, ask_later)


@pytest.fixture
def gate(monkeypatch, request):
    """A `Gate` of the method that a test names, else of `run`."""
    gate = Gate(monkeypatch, getattr(request, "param", "run"))
    yield gate
    gate.open.set()


async def reach(condition):
    """Returns when the condition holds, and lets others work meanwhile."""
    async with asyncio.timeout(WAIT):
        while not condition():
            await asyncio.sleep(0.001)


def test_a_long_request_lets_others_go_first(reviews, gate):
    with in_process.answering(reviews, max_batch=1) as server:

        async def ask():
            long = asyncio.ensure_future(
                server.ask_in_loop("predict", body(*["good"] * 30))
            )
            await reach(gate.entered.is_set)
            other = asyncio.ensure_future(
                server.ask_in_loop("predict", body("bad"))
            )
            await reach(lambda: server.batcher.waiting == 2)
            gate.open.set()
            return await long, await other

        (_, _, long), (_, _, other) = asyncio.run(ask())
    assert len(long["predictions"]) == 30 and len(other["predictions"]) == 1
    seen = [texts for inputs in gate.seen for texts in inputs["text_a"]]
    assert len(seen) == 31 and seen.index(b"bad") == 2


def test_a_long_request_stops_after_its_time(reviews, gate):
    with in_process.answering(reviews, max_batch=1, timeout=0.2) as server:
        status, headers, content = server.ask("predict", body(*["good"] * 100))
        assert status == 503 and "within 0.2 seconds" in content["error"]
        assert int(headers["retry-after"]) >= 1
        assert server.batcher.waiting == 0
        gate.open.set()
    assert len(gate.seen) == 1


# ------------------------------------------------------------ word pieces


def test_pieces_of_an_answer_have_a_limit(reviews):
    with in_process.answering(reviews, limits={"answer_values": 400}) as server:
        # Four values for each piece.
        for number, wanted in ((100, 200), (101, 413)):
            status, _, content = server.ask(
                "tokenize", {"instances": ["." * number]}
            )
            assert status == wanted
        assert "404 values" in content["error"]
        status, _, _ = server.ask("tokenize", {"instances": ["." * 60] * 128})
        assert status == 413


def test_pieces_are_made_off_the_event_loop_and_no_more_than_may_be_answered(
    reviews, monkeypatch
):
    threads, texts = set(), []
    tokenize = ServedModel.tokenize

    def note(model, given):
        threads.add(threading.current_thread().name)
        texts.extend(given)
        return tokenize(model, given)

    monkeypatch.setattr(ServedModel, "tokenize", note)
    bomb = {"instances": ["." * 2000] * 100}
    with in_process.answering(
        reviews, limits={"answer_values": 20_000}
    ) as server:
        assert server.ask("tokenize", bomb)[0] == 413
    assert threads == {"model-0"}
    assert len(texts) == 3


@pytest.mark.parametrize("gate", ["tokenize"], indirect=True)
def test_tokenizing_waits_in_the_queue(reviews, gate):
    with in_process.answering(reviews, max_waiting=2) as server:
        two = {"instances": ["a", "b"]}

        async def ask():
            asked = server.ask_in_loop
            busy = asyncio.ensure_future(asked("tokenize", two))
            await reach(gate.entered.is_set)
            waiting = asyncio.ensure_future(asked("tokenize", two))
            await reach(lambda: server.batcher.waiting == 2)
            # Predicting has the same queue.
            for verb, given in (("tokenize", two), ("predict", body("good"))):
                status, headers, content = await asked(verb, given)
                assert status == 503 and headers["retry-after"]
                assert "The queue is full" in content["error"]
            gate.open.set()
            return await busy, await waiting

        for status, _, content in asyncio.run(ask()):
            assert status == 200 and len(content["predictions"]) == 2


@pytest.mark.parametrize("gate", ["tokenize"], indirect=True)
def test_tokenizing_has_a_time(reviews, gate):
    with in_process.answering(reviews, timeout=0.2) as server:
        for _ in range(2):
            status, _, content = server.ask("tokenize", {"instances": ["a"]})
            assert status == 503 and "within 0.2 seconds" in content["error"]
        assert server.batcher.waiting == 0
        gate.open.set()
    assert len(gate.seen) == 1


@pytest.mark.parametrize(
    ("gate", "verb", "given"),
    [
        ("tokenize", "tokenize", {"instances": ["a", "b"]}),
        ("run", "predict", body("a", "b")),
    ],
    indirect=["gate"],
)
def test_nothing_is_computed_for_clients_that_have_gone(
    reviews, gate, verb, given
):
    with in_process.answering(reviews) as server:

        async def ask():
            busy = asyncio.ensure_future(server.ask_in_loop(verb, given))
            await reach(gate.entered.is_set)
            gone = asyncio.Event()
            late = asyncio.ensure_future(
                server.ask_in_loop(verb, given, gone.wait)
            )
            await reach(lambda: server.batcher.waiting == 2)
            gone.set()
            assert await late is None
            assert server.batcher.waiting == 0
            gate.open.set()
            return await busy

        assert asyncio.run(ask())[0] == 200
        assert server.metric("bert_tf_requests_abandoned_total") == 1
        line = f'bert_tf_requests_total{{status="200",verb="{verb}"}}'
        assert server.metric(line) == 1
        assert 'status="500"' not in server.metrics.text().decode()
    assert len(gate.seen) == (2 if verb == "tokenize" else 1)


def test_long_requests_wait_until_answers_are_read(reviews):
    long = {"instances": ["good " * 2000] * 10}
    with in_process.answering(reviews) as server:
        server.application.unread = lambda: 2**40
        status, headers, _ = server.ask("tokenize", long)
        assert status == 503 and headers["retry-after"]
        assert server.ask("predict", body("good"))[0] == 200
        server.application.unread = lambda: 0
        assert server.ask("tokenize", long)[0] == 200
