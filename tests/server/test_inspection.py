"""Looking into a served model: the signature, its endpoints, their limits."""

import json
import os
import re
from unittest import mock

import numpy as np
import pytest
import tensorflow as tf
from helpers import exported, in_process
from helpers.browser import Page, needs_browser, open_browser
from helpers.golden import DATA, TINY
from helpers.paths import ROOT
from helpers.running_server import Running

import bert_tf
from bert_tf import attention, neighbours
from bert_tf.exports import loading
from bert_tf.server.model import ServedModel
from bert_tf.tasks.pretraining.served import export_pretraining

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("graphs_as_traced"),
]

FORWARD = np.load(DATA / "forward" / "forward.npz")
MAPS = np.load(DATA / "inspection" / "attention.npz")
LINES = ["the quiet museum", "a garden", "The museum of the museum"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """An export of the pretrained model, which reads [MASK]s."""
    path = tmp_path_factory.mktemp("inspected") / "model"
    source = exported.source("pretraining", inspect=True)
    return export_pretraining(source, str(path))


@pytest.fixture(scope="module")
def loaded(folder):
    return tf.saved_model.load(folder)


@pytest.fixture(scope="module")
def model(folder, loaded):
    with mock.patch.object(loading, "load", lambda _: loaded):
        return ServedModel(folder, 1)  # Its warm-up asks for inspect, too.


@pytest.fixture(scope="module")
def tiny():
    return bert_tf.load(TINY, max_seq_length=exported.LENGTHS["pretraining"])


@pytest.fixture
def server(model):
    with in_process.answering(model, max_batch=2) as server:
        yield server


@pytest.mark.parametrize("layer", [0, 1, 3])
def test_the_signature_gives_a_layer_and_its_attention(loaded, layer):
    names = ("input_ids", "input_mask", "segment_ids")
    rows = {n: FORWARD[f"base/in/{n}"].astype(np.int32) for n in names}
    got = loaded.signatures["inspect"](
        **{name: tf.constant(x) for name, x in rows.items()},
        layer=tf.constant(layer),
    )
    outputs = [FORWARD["base/out/embedding_output"]]
    outputs += list(FORWARD["base/out/all_encoder_layers"])
    maps = [np.zeros_like(MAPS["base/attention"][0]), *MAPS["base/attention"]]
    is_token = rows["input_mask"] > 0
    np.testing.assert_allclose(
        got["hidden"].numpy()[is_token], outputs[layer][is_token], atol=2e-5
    )
    np.testing.assert_allclose(
        got["attention"].numpy().transpose(0, 2, 1, 3)[is_token],
        maps[layer].transpose(0, 2, 1, 3)[is_token],
        atol=1e-5,
    )
    with pytest.raises(tf.errors.InvalidArgumentError, match="0 to 3"):
        loaded.signatures["inspect"](
            **{name: tf.constant(x) for name, x in rows.items()},
            layer=tf.constant(4),
        )


def test_attention_is_that_of_the_command(server, tiny):
    pair = ("the quiet museum", "it measured .")
    want = attention.attention_map(tiny, pair)
    for layer in (1, 2, -1):
        body = {"text": pair[0], "text_b": pair[1], "layer": layer}
        status, _, got = server.ask("attention", body)
        assert status == 200
        assert got["tokens"] == want.tokens
        assert got["segment_ids"] == want.segment_ids
        assert (got["layers"], got["heads"], got["num_cut"]) == (3, 4, 0)
        weights = want.weights[layer - 1 if layer > 0 else layer]
        np.testing.assert_allclose(got["attention"], weights, atol=2e-5)


def test_a_mask_is_one_token_and_the_rest_is_cut_off(server):
    text = "a [MASK] " * 20
    _, _, got = server.ask("attention", {"text": text})
    assert got["tokens"][:3] == ["[CLS]", "a", "[MASK]"]
    assert len(got["tokens"]) == 24 and got["num_cut"] == 40 - 22


def test_neighbours_are_those_of_the_function(server, tiny):
    body = {"word": "Museum", "texts": LINES, "layer": 2, "top_k": 1}
    status, _, got = server.ask("neighbours", body)
    assert status == 200
    want = neighbours.find_neighbours(tiny, "museum", LINES, 2, 1)
    assert got["word"] == "museum" and got["layer"] == 2
    assert got["mean"] == pytest.approx(want.mean, abs=2e-5)
    places = [(one.line, one.position) for one in want.occurrences]
    for found, one, nearest in zip(
        got["occurrences"], want.occurrences, want.nearest, strict=True
    ):
        assert (found["line"], found["position"]) == (one.line, one.position)
        text = LINES[found["line"]][found["start"] : found["end"]]
        assert text.lower() == "museum"
        ((near, wanted),) = zip(found["nearest"], nearest, strict=True)
        place = wanted.word.line, wanted.word.position
        assert places[near["occurrence"]] == place
        assert near["cosine"] == pytest.approx(wanted.cosine, abs=2e-5)


@pytest.mark.parametrize(
    ("verb", "body", "status", "told"),
    [
        ("attention", {}, 400, '"text"'),
        ("attention", {"text": 1}, 400, "text[0]"),
        ("attention", {"text": "a", "leyer": 1}, 400, "leyer"),
        ("attention", {"text": "a", "layer": 0}, 400, "from 1 to 3"),
        ("attention", {"text": "a", "layer": "1"}, 400, "whole number"),
        ("neighbours", {"word": "a"}, 400, "texts"),
        ("neighbours", {"word": "a b", "texts": ["a b"]}, 400, "one word"),
        ("neighbours", {"word": "zoo", "texts": ["a"]}, 400, "none of 1 line"),
        ("neighbours", {"word": "a", "texts": ["a"], "layer": 9}, 400, "9"),
        ("neighbours", {"word": "a", "texts": ["a"], "top_k": 0}, 400, "top_k"),
        ("neighbours", {"word": "a", "texts": ["a"] * 129}, 413, "128"),
    ],
)
def test_bad_requests_are_told(server, verb, body, status, told):
    got, _, content = server.ask(verb, body)
    assert got == status
    assert told in content["error"]


def test_long_answers_and_many_windows_are_refused(model):
    limits = {"answer_values": 99, "windows": 1}
    with in_process.answering(model, limits=limits) as server:
        # 4 heads, and 5 x 5 tokens.
        body = {"text": "the quiet museum"}
        assert server.ask("attention", body)[0] == 413
        assert server.ask("attention", {"text": "museum"})[0] == 200
        body = {"word": "museum", "texts": LINES}
        status, _, content = server.ask("neighbours", body)
        assert status == 413 and "windows" in content["error"]


def test_the_signature_can_be_asked_for_by_the_protocol(server):
    inputs = {"input_ids": [[2, 5, 3]], "input_mask": [[1, 1, 1]]}
    inputs |= {"segment_ids": [[0, 0, 0]], "layer": 1}
    body = {"signature_name": "inspect", "inputs": inputs}
    status, _, content = server.ask("predict", body)
    assert status == 200, content
    assert np.shape(content["outputs"]["attention"]) == (1, 4, 3, 3)


def test_an_export_without_it_says_how_to_get_it():
    with in_process.answering(in_process.served("classifier")) as server:
        body = {"word": "a", "texts": ["a"]}
        for verb, given in (("attention", {"text": "a"}), ("neighbours", body)):
            status, _, content = server.ask(verb, given)
            assert status == 400
            assert "--inspect" in content["error"]


def test_the_documented_requests_are_answered(server):
    docs = (ROOT / "docs" / "server.md").read_text()
    section = docs.partition("## Looking inside")[2].partition("\n## ")[0]
    asked = re.findall(
        r"reviews:(\w+) -d '(.*?)'\n\n    (\{.*?)\n\n", section, re.S
    )
    assert [verb for verb, *_ in asked] == ["attention", "neighbours"]
    for verb, body, answer in asked:
        # A word that the small vocabulary has.
        given = json.loads(body.replace("bank", "museum"))
        status, _, got = server.ask(verb, given)
        assert status == 200, got
        assert set(got) <= set(re.findall(r'"(\w+)":', answer))


@needs_browser
def test_the_page_shows_both_when_its_sections_are_opened(folder, tmp_path):
    server = Running(os.path.dirname(folder), "masks")
    try:
        with open_browser(tmp_path) as driver:
            host, port = server.address[:2]
            page = Page(driver)
            driver.get(f"http://{host}:{port}/")
            page.find("#fields .field")
            page.fill("#field-first", "the [MASK] museum")
            page.click("#submit")
            page.wait(lambda: page.is_shown("#attention"))
            assert page.find_all(".attention") == []
            page.click("#attention summary")
            page.wait(lambda: page.find_all(".attention path"))
            tokens = page.run(
                "return [...document.querySelectorAll('.from span')]"
                ".map(element => element.textContent)"
            )
            assert tokens == ["[CLS]", "the", "[MASK]", "museum", "[SEP]"]

            page.click("#neighbours summary")
            page.fill("#neighbours-word", "museum")
            page.fill("#neighbours-lines", "\n".join(LINES))
            page.click("#neighbours button[type=submit]")
            page.wait(lambda: len(page.find_all(".contexts > li")) == 3)
            marks = page.run(
                "return [...document.querySelectorAll('.contexts > li')]"
                ".map(item => item.querySelector('mark').textContent)"
            )
            assert marks == ["museum"] * 3
            page.resize(320, 700)
            width = "return document.documentElement.scrollWidth"
            assert page.run(width) <= 320
            assert page.complaints() == []
    finally:
        server.stop()
