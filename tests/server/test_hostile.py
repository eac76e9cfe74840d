"""Made-up and damaged requests and versions, with fixed seeds.

BERT_TF_FUZZ=500 sends as many requests, and a fifth of that many versions.
"""

import logging
import os

import pytest
from helpers import exported, hostile_http, hostile_versions
from helpers.running_server import Running

from bert_tf.server import trial

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("graphs_as_traced"),
]

NAME = "classifier"
# Of other heads as well, where more requests are asked for.
NAMES = (
    (NAME, "multi", "pretraining", "ner", "choices", "span")
    if "BERT_TF_FUZZ" in os.environ
    else (NAME, "choices")
)
REQUESTS = int(os.environ.get("BERT_TF_FUZZ", 60))
VERSIONS = REQUESTS // 5 if "BERT_TF_FUZZ" in os.environ else 1


def folder(name, kind):
    if kind == "onnx":
        pytest.importorskip("onnx")
        pytest.importorskip("onnxruntime")
    return exported.folder(name, format=kind)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        (NAME, "saved_model"),
        (NAME, "onnx"),
        *(
            pytest.param(name, kind, marks=pytest.mark.exhaustive)
            for name in NAMES[1:]
            for kind in ("saved_model", "onnx")
        ),
    ],
)
def test_odd_requests_are_answered_and_change_nothing(
    name, kind, monkeypatch, caplog
):
    load = "helpers.in_process:of_folder"
    monkeypatch.setattr(trial, "by_format", lambda path: load)
    server = Running(
        folder(name, kind),
        name,
        request_seconds=1,
        timeout=90,
        max_answer_values=9999,
    )
    with caplog.at_level(logging.INFO):
        wrong, statuses = hostile_http.run(server.address, name, REQUESTS)
    server.stop()
    assert not wrong
    assert {200, 400, 408} <= set(statuses)
    assert not [r for r in caplog.records if r.levelno >= logging.ERROR]


@pytest.mark.parametrize("kind", ["saved_model", "onnx"])
def test_damaged_versions_leave_the_old_one_served(kind, tmp_path):
    wrong, became = hostile_versions.run(folder(NAME, kind), tmp_path, VERSIONS)
    assert not wrong
    assert became["answers meanwhile"] > 0
