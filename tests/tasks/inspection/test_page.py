"""Attention as a page: what is in the file."""

import base64
import json
import re

import numpy as np
import pytest

from bert_tf.tasks.inspection import page
from bert_tf.tasks.inspection.rows import AttentionMap

TOKENS = ["[CLS]", "</script>", "<!--", "é", "[SEP]"]


@pytest.fixture(scope="module")
def maps():
    rng = np.random.default_rng(1)
    found = []
    for size in (5, 3):
        weights = rng.random((2, 3, size, size)).astype(np.float32)
        weights /= weights.sum(-1, keepdims=True)
        found.append(AttentionMap(TOKENS[:size], [0] * size, weights))
    return found


@pytest.fixture(scope="module")
def written(maps, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "map.html"
    with page.open_page(str(path), 2, 3) as write:
        for one in maps:
            write(one)
    return path.read_text(encoding="utf-8")


def elements(text, name):
    pattern = rf'<script type="[^"]*" class="{name}">(.*?)</script>'
    return re.findall(pattern, text, re.S)


def test_the_weights_are_in_the_page(written, maps):
    stored = elements(written, "weights")
    assert len(stored) == 4
    numbers = iter(stored)
    for one in maps:
        for want in one.weights:
            raw = np.frombuffer(base64.b64decode(next(numbers)), "<u2")
            got = raw.reshape(want.shape) / 65535
            np.testing.assert_allclose(got, want, atol=1e-5)


def test_tokens_end_no_element(written, maps):
    about = [json.loads(text) for text in elements(written, "text")]
    assert [one["tokens"] for one in about] == [one.tokens for one in maps]
    assert written.count("<script") == written.count("</script>") == 8


def test_nothing_is_loaded_from_elsewhere(written):
    outside = r"https?:|[\"'`(]//|src=|href=|@import|url\(|fetch\("
    assert not re.search(outside, written)
