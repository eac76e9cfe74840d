"""The model under Keras' other backends, each in a Python that has it.

`BERT_TF_JAX_PYTHON` and `BERT_TF_TORCH_PYTHON` name an interpreter with Keras,
absl-py and that backend; `run_scripts/test_backends.sh` makes the first.
"""

import os
import subprocess
import sys

import numpy as np
import pytest
from helpers import backends
from helpers.paths import ROOT

# Adam makes steps of one size of gradients of any size. Where these are hardly
# more than rounding (that of a key's bias is nothing else), so are the steps.
NOISE = 1e-4


def run(python, backend, out):
    environment = {
        **os.environ,
        "KERAS_BACKEND": backend,
        "PYTHONPATH": str(ROOT),
    }
    command = [python, backends.__file__, str(out)]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    with np.load(out) as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def tensorflow(tmp_path_factory):
    out = tmp_path_factory.mktemp("tensorflow") / "numbers.npz"
    return run(sys.executable, "tensorflow", out)


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_names_outputs_gradients_and_a_step_are_tensorflows(
    backend, tmp_path, request
):
    variable = f"BERT_TF_{backend.upper()}_PYTHON"
    if not os.environ.get(variable):
        pytest.skip(f"{variable} names no Python that has {backend}")
    want = request.getfixturevalue("tensorflow")

    got = run(os.environ[variable], backend, tmp_path / "numbers.npz")

    assert got.keys() == want.keys()
    assert "pretraining/gradient/bert/embeddings/word_embeddings" in got
    for name in got:
        task, kind, *path = name.split("/")
        counts = np.ones_like(want[name], bool)
        tolerance = 3e-6
        if kind == "after_a_step":
            gradient = want.get("/".join([task, "gradient", *path]), 0.0)
            counts = np.abs(gradient) > NOISE
            # A thousandth of the learning rate.
            tolerance = 1e-5
        np.testing.assert_allclose(
            np.where(counts, got[name], 0),
            np.where(counts, want[name], 0),
            atol=tolerance,
            rtol=1e-5,
            err_msg=name,
        )
