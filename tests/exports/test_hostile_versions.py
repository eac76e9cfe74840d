"""A damaged version is loaded or refused; it never ends the process.

A few; with BERT_TF_HOSTILE=1 a hundred, for a change of the readers.
"""

import pytest
from helpers.hostile import run_in_process


@pytest.mark.slow
def test_each_version_is_loaded_or_refused(tmp_path):
    run_in_process(tmp_path, {"versions": 10})


@pytest.mark.slow
def test_each_version_without_tensorflow_is_loaded_or_refused(tmp_path):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    run_in_process(tmp_path, {"plain_versions": 10})
