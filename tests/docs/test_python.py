"""The blocks of docs/python.md, run one after the other."""

import re

import keras
import numpy as np
import pytest
from helpers import prepared
from helpers.paths import ROOT
from helpers.trained_folders import make_mrpc_folder

from bert_tf.checkpoints import CheckpointReader

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("graphs_as_traced"),
]

PAGE = ROOT / "docs" / "python.md"
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.S)


@pytest.fixture(scope="module")
def after(tmp_path_factory):
    """The names that the page has defined, and its last folder."""
    folder = tmp_path_factory.mktemp("python")
    mrpc = make_mrpc_folder(folder / "mrpc")
    names: dict = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for block in BLOCKS:
            code = block.replace("/tmp/mrpc_output", str(mrpc))
            # A graph costs more than these few steps; exports are graphs.
            with prepared.graphs("Predictor" in code):
                exec(compile(code, str(PAGE), "exec"), names)
    return names, folder


def test_every_block_runs_and_the_names_are_those_of_checkpoints(after):
    names, folder = after
    stored = set(CheckpointReader("builtin").names)
    assert {w.path for w in names["bert"].model.weights} <= stored
    assert names["report"].missing == ["tags/kernel", "tags/bias"]
    assert names["result"].label in "01"
    trained = CheckpointReader(folder / "trained")
    assert set(trained.names) - {"global_step"} == {
        name for name in stored if name.startswith("bert/")
    }


def test_the_page_trains_and_its_file_gives_the_same(after):
    names, _ = after
    bert, model = names["bert"], names["model"]
    inputs = bert.tokenize(names["reviews"])
    scores = keras.ops.convert_to_numpy(model(inputs))[:, 0]
    assert ((scores > 0.5) == names["good"]).all()
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(names["same"](inputs))[:, 0],
        scores,
        atol=1e-5,
    )
    frozen = len(names["classifier"].trainable_weights)
    # The layer norm of the embeddings has two, and each layer sixteen.
    assert len(names["classifier"].weights) - frozen == 5 + 2 * 16


def test_lora_learns_and_its_two_files_give_the_same(after):
    names, folder = after
    inputs = names["bert"].tokenize(names["reviews"])
    logits = names["adapted"](inputs)["logits"]
    assert (np.argmax(logits, 1) == names["good"]).all()
    np.testing.assert_allclose(
        names["other"](inputs)["logits"], logits, atol=1e-5
    )
    size = (folder / "reviews_adapter.ckpt.data-00000-of-00001").stat().st_size
    assert size < 300_000
    stored = CheckpointReader(folder / "adapted").names
    assert not [name for name in stored if "lora" in name]
