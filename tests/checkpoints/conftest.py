"""Checkpoints that tests may read or damage."""

import dataclasses
import hashlib
import json
import shutil
import tarfile
import tempfile
import threading
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from helpers.download_server import CONFIG, Server, zip_of
from helpers.golden import CHECKPOINTS, build_model
from helpers.paths import GOLDEN

from bert_tf import checkpoints
from bert_tf.checkpoints import released
from bert_tf.checkpoints.names import checkpoint_shapes


@pytest.fixture
def micro(tmp_path):
    """A copy of the micro checkpoint that may be damaged."""
    return Path(shutil.copytree(CHECKPOINTS / "micro", tmp_path / "m"))


@pytest.fixture(scope="module")
def weights():
    """The variables of a model with the micro checkpoint's config."""
    return checkpoints.named_weights(build_model(CHECKPOINTS / "micro"))


@pytest.fixture
def variables():
    return {
        "a": tf.Variable([1.0, 2.0]),
        "b/kernel": tf.Variable([[3.0], [4.0]]),
    }


@pytest.fixture
def run(tmp_path, variables):
    """A folder with checkpoints of the steps 1, 2 and 3."""
    for step in (1, 2, 3):
        checkpoints.save(tmp_path / "run", step, variables)
    return tmp_path / "run"


@pytest.fixture
def hf(tmp_path):
    """Copies a Hugging Face folder, to be changed."""

    def copy(head):
        return Path(
            shutil.copytree(
                CHECKPOINTS / "hugging_face" / head, tmp_path / f"hf_{head}"
            )
        )

    return copy


@pytest.fixture
def tiny(tmp_path):
    """A copy of the tiny checkpoint's folder."""
    return Path(shutil.copytree(CHECKPOINTS / "tiny", tmp_path / "t"))


@pytest.fixture(scope="session")
def model_files():
    """The files of a small model, written by TensorFlow itself."""
    rng = np.random.default_rng(1)
    shapes = checkpoint_shapes(CONFIG)
    values = [rng.normal(size=s).astype("float32") for s in shapes.values()]
    with tempfile.TemporaryDirectory() as folder:
        tf.raw_ops.SaveV2(
            prefix=f"{folder}/bert_model.ckpt",
            tensor_names=list(shapes),
            shape_and_slices=[""] * len(shapes),
            tensors=values,
        )
        files = {p.name: p.read_bytes() for p in Path(folder).iterdir()}
    tokens = "".join(f"token{i}\n" for i in range(CONFIG["vocab_size"]))
    files["vocab.txt"] = tokens.encode()
    files["bert_config.json"] = json.dumps(CONFIG).encode()
    return files


@pytest.fixture
def model(model_files):
    """Registered as BERT-Tiny is, but so small that tests can download it."""
    known = {
        name: released.KnownFile(len(c), hashlib.sha256(c).hexdigest(), True)
        for name, c in model_files.items()
    }
    return dataclasses.replace(
        released.find_model("BERT-Tiny"),
        config=CONFIG,
        vocab_tokens=CONFIG["vocab_size"],
        files=known,
    )


@pytest.fixture
def server(model_files, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with Server(zip_of(model_files)) as server:
        threading.Thread(
            target=server.serve_forever, kwargs={"poll_interval": 0.02}
        ).start()
        yield server
        server.ended.set()
        server.shutdown()


@pytest.fixture
def get(server, model, tmp_path):
    """Downloads the small model with no time lost between attempts."""

    def get(**options):
        options = {"url": server.url, "wait": 0.0, "quiet": True} | options
        return released.download(model, tmp_path / "models", **options)

    get.folder = tmp_path / "models"
    get.target = get.folder / model.name
    get.zip = get.folder / f"{model.name}.zip"
    get.part = get.folder / f"{model.name}.zip.part"
    return get


@pytest.fixture
def folder(model, model_files, tmp_path):
    folder = tmp_path / model.name
    folder.mkdir()
    for name, content in model_files.items():
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture
def foreign(tmp_path):
    """Unpacks a model as another program wrote it, to be changed."""

    def unpack(name):
        folder = tmp_path / name
        with tarfile.open(GOLDEN / "foreign" / f"{name}.tar.xz") as archive:
            archive.extractall(folder, filter="data")
        return folder

    return unpack
