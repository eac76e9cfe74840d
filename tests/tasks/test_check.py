"""An export held to its checkpoint."""

import re
import shutil

import pytest
from helpers import exported

import bert_tf
from bert_tf import checkpoints
from bert_tf.checkpoints.reader import CheckpointReader
from bert_tf.errors import InputError
from bert_tf.tasks import check

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

TEXTS = "the quiet museum ||| John Smith\n\nwho wrote it ?\n" + "a b " * 40


@pytest.fixture
def version(tmp_path):
    """A copy of an export, since a report is written into it."""
    source = exported.folder("classifier", format="onnx") / "1"
    return str(shutil.copytree(source, tmp_path / "1"))


@pytest.fixture
def texts(tmp_path):
    path = tmp_path / "texts.txt"
    path.write_text(TEXTS, encoding="utf-8")
    return str(path)


def largest(text):
    (found,) = re.findall(r"largest difference: (\S+)", text)
    return float(found)


def test_an_export_is_compared_with_its_checkpoint(version, texts):
    path, text = check.check(version, exported.CHECKPOINTS["classifier"], texts)
    assert path.startswith(version)
    with open(path, encoding="utf-8") as file:
        assert file.read() == text
    assert "texts: 3 of " in text and "format: onnx\n" in text
    assert "different labels: 0\n" in text
    assert largest(text) < 1e-5
    assert len(re.findall(r": \S+ ms a text, \S+ MB\n", text)) == 2


@pytest.mark.slow
def test_another_checkpoint_is_told_apart(version, texts, tmp_path):
    reader = CheckpointReader(exported.CHECKPOINTS["classifier"])
    values = {name: reader.tensor(name) for name in reader.names}
    values["output_bias"] = -5 * values["output_bias"] + [9, 0, 0]
    other = checkpoints.save(str(tmp_path), 0, values)
    _, text = check.check(version, other, texts)
    assert largest(text) > 0.01
    assert "text 1: " in text


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["span_v2", "pretraining", "features", "ner", "choices"]
)
def test_every_head_is_compared(name, tmp_path):
    lines = {
        "span_v2": "who ? ||| John Smith wrote it .",
        "pretraining": "the [MASK] museum",
        "choices": "the museum ||| was ||| wrote it .",
    }
    path = tmp_path / "texts.txt"
    path.write_text(lines.get(name, "the quiet museum") + "\n")
    source = exported.folder(name, format="onnx") / "1"
    version = str(shutil.copytree(source, tmp_path / "1"))
    _, text = check.check(version, exported.CHECKPOINTS[name], str(path))
    assert largest(text) < 1e-5
    assert "different labels: 0\n" in text


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "classifier",
        *(
            pytest.param(name, marks=pytest.mark.exhaustive)
            for name in ("choices", "pretraining")
        ),
    ],
)
def test_litert_gives_the_same(name, tmp_path):
    lines = {
        "pretraining": "the [MASK] museum ||| it [MASK]",
        "choices": "the museum ||| was ||| wrote it .",
    }
    path = tmp_path / "texts.txt"
    path.write_text(lines.get(name, "the quiet museum") + "\n")
    source = exported.folder(name, format="litert") / "1"
    version = str(shutil.copytree(source, tmp_path / "1"))
    _, text = check.check(version, exported.CHECKPOINTS[name], str(path))
    assert "format: litert\n" in text
    assert largest(text) < 1e-5
    with pytest.raises(InputError, match=r"litert.*saved_model, onnx"):
        bert_tf.Predictor(version)
