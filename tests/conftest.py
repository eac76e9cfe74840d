"""Fixtures that most tests need."""

import gc
import gzip
import logging
import lzma
import os
import pathlib

import numpy as np
import pytest
from helpers.paths import EXPORTS_VARIABLE, GOLDEN

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

DATA = GOLDEN


def pytest_collection_finish():
    """Leaves what was imported out of later collections of garbage.

    Keras collects when it quantizes a layer or frees a model, which takes half
    a second each time with TensorFlow's objects among those traversed.
    """
    gc.collect()
    gc.freeze()
    # Most objects of a graph stay, so collecting often frees little.
    gc.set_threshold(10_000, 20, 20)


@pytest.fixture(scope="session", autouse=True)
def exports_of_this_run(tmp_path_factory):
    """`helpers.exported` writes each SavedModel once for all workers."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    os.environ[EXPORTS_VARIABLE] = str(folder / "exports")


@pytest.fixture(autouse=True)
def unchanged_log_level():
    """Saving a SavedModel, TensorFlow sets absl's level to its default."""
    logging.getLogger("absl").setLevel(logging.NOTSET)


@pytest.fixture(scope="module")
def graphs_as_traced():
    """TensorFlow runs graphs as they are, without optimizing them first.

    That takes a third of a short training. For tests of what commands do with
    flags and files, also in prepared processes; those of numbers have graphs as
    users have them.
    """
    import tensorflow as tf
    from helpers import prepared

    change = tf.config.optimizer.set_experimental_options
    change({"disable_meta_optimizer": True})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(prepared.AS_TRACED, "1")
        yield
    change({"disable_meta_optimizer": False})


@pytest.fixture(scope="module")
def without_graphs(graphs_as_traced):
    """Functions run operation by operation, and no graph is made of them.

    To make one takes as long as some ten steps of a small model: for tests of
    flags and files with fewer steps, also in prepared processes. Tests of
    numbers, in `training` and beside goldens, have graphs as users have them,
    and so have exports, which would be one graph of all functions otherwise.
    """
    from helpers import prepared

    with prepared.graphs(False):
        yield


@pytest.fixture
def with_graphs():
    """For a longer training among tests that are `without_graphs`."""
    from helpers import prepared

    with prepared.graphs(True):
        yield


@pytest.fixture
def steps_without_graphs():
    """As `without_graphs`, for one test of a module."""
    from helpers import prepared

    with prepared.graphs(False):
        yield


@pytest.fixture
def rng():
    return np.random.default_rng(20181011)


@pytest.fixture
def data():
    """The folder of small golden files that travel with the tests."""
    return DATA


@pytest.fixture(scope="session")
def shared_folder():
    """Large real data outside the repository: `BERT_TF_SHARED` names it."""
    folder = os.environ.get("BERT_TF_SHARED")
    if not folder:
        pytest.skip("BERT_TF_SHARED is not set: no large real data to compare")
    return pathlib.Path(folder)


@pytest.fixture(scope="session")
def vocab_files(tmp_path_factory):
    """A folder with two vocabularies: `uncased`, as released, and `tiny`."""
    folder = tmp_path_factory.mktemp("vocabs")
    for name in ("tiny", "uncased"):
        packed = DATA / "tokenization" / f"vocab_{name}.txt.xz"
        (folder / name).write_bytes(lzma.decompress(packed.read_bytes()))
    return folder


@pytest.fixture(scope="session")
def records_file(tmp_path_factory):
    """Records of the original's for pretraining, with the tiny vocabulary."""
    path = tmp_path_factory.mktemp("records") / "tiny.tfrecord"
    packed = DATA / "run_pretraining" / "d_tiny_cased.tfrecord.gz"
    path.write_bytes(gzip.decompress(packed.read_bytes()))
    return path


@pytest.fixture
def config():
    """Two layers, width 16, at most 12 tokens."""
    from bert_tf.modeling import BertConfig

    return BertConfig(
        vocab_size=50,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=12,
        type_vocab_size=2,
    )
