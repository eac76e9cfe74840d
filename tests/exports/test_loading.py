import os
import shutil
from pathlib import Path

import pytest
import tensorflow as tf
from helpers.exported import folder
from helpers.index_table import entry, write_checkpoint

import bert_tf
from bert_tf.errors import InputError
from bert_tf.exports import loading
from bert_tf.exports.folder import CHECKSUMS_FILE

INDEX = "variables/variables.index"
DATA = "variables/variables.data-00000-of-00001"


@pytest.fixture
def version(tmp_path):
    """A copy of an exported version that may be damaged."""
    found = Path(folder("classifier"))
    if not (found / "saved_model.pb").exists():
        found = found / "1"
    return Path(shutil.copytree(found, tmp_path / "m" / "1"))


def halve(path):
    os.truncate(path, path.stat().st_size // 2)


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    "name, damage",
    [
        (INDEX, halve),
        (DATA, halve),
        (DATA, flip),
        (DATA, os.unlink),
        (INDEX, os.unlink),
        ("saved_model.pb", halve),
        ("variables", shutil.rmtree),
        (
            "assets/bert_tf.json",
            lambda path: path.write_text("[" * 100_000),
        ),
        (
            "assets/bert_tf.json",
            lambda path: path.write_text('{"format": 1, "head": []}'),
        ),
    ],
)
def test_a_predictor_names_what_is_damaged(version, name, damage):
    damage(version / name)

    with pytest.raises(InputError) as caught:
        bert_tf.Predictor(version.parent)

    assert str(version / name) in str(caught.value)


def test_weights_that_would_end_the_process_are_refused(version):
    prefix = version / "variables" / "variables"
    write_checkpoint(prefix, {b"a": entry((-1,))})
    (version / CHECKSUMS_FILE).unlink()

    with pytest.raises(InputError, match=r"variables.index is damaged"):
        bert_tf.Predictor(version.parent)


def test_a_model_without_variables_is_loaded(tmp_path):
    module = tf.Module()
    module.f = tf.function(lambda x: x + 1, [tf.TensorSpec([])])
    tf.saved_model.save(module, str(tmp_path / "m"))

    assert loading.load(str(tmp_path / "m")).f(1.0).numpy() == 2


def test_a_path_that_tensorflow_cannot_read_is_named(version):
    renamed = f"{version}\udcff"
    os.rename(version, renamed)
    with pytest.raises(InputError, match=r"UTF-8.*udcff"):
        loading.load(renamed)
