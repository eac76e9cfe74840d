"""Folders with tf_model.h5, as transformers 4 wrote them with TensorFlow."""

import importlib.util

import h5py
import numpy as np
import pytest
from helpers.converted import assert_computes
from helpers.hugging_face import edit_json

from bert_tf import checkpoints
from bert_tf.checkpoints.from_hugging_face import from_hf
from bert_tf.errors import InputError


@pytest.mark.parametrize(
    "head",
    ["pretraining", "masked_lm", "classifier", "token", "span", "choices"],
)
def test_converted_model_computes_what_tensorflow_does(head, foreign, tmp_path):
    folder = foreign(f"transformers_{head}")  # That of masked_lm is in shards.
    report = from_hf(folder, tmp_path / "tf")
    assert f"head: {head}" in report
    assert_computes(tmp_path / "tf", np.load(folder / "outputs.npz"), head)


def test_it_is_read_where_pytorch_is_missing(foreign, tmp_path, monkeypatch):
    folder = foreign("transformers_span")
    (folder / "pytorch_model.bin").write_bytes(b"of no use here")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert "39 variables" in from_hf(folder, tmp_path / "tf")


def spoil(path, how):
    """Damages a file; returns what the message must name besides it."""
    if how == "cut short":
        path.write_bytes(path.read_bytes()[:40_000])
        return "copy or download it again"
    if how == "a pointer":
        path.write_text("version https://git-lfs.github.com/spec/v1\n")
        return "git lfs pull"
    with h5py.File(path, "a") as file:
        group = file["bert/tf_bert_for_question_answering/bert"]
        dense = group["encoder/layer_._1/output/dense"]
        if how == "no layer":
            del group["encoder/layer_._1/output/dense"]
            return "lacks 2 variables.*bert/encoder/layer_1/output/dense/bias"
        value = dense["kernel:0"][()]
        del dense["kernel:0"]
        if how == "another shape":
            dense["kernel:0"] = value[1:]
            return (
                r"bert\.encoder\.layer\.1\.output\.dense\.weight.*"
                r"\[16, 24\].*\[16, 23\]"
            )
        if how == "text":
            dense["kernel:0"] = np.array([b"a"])
            return r"`.*layer_\._1/output/dense/kernel:0`.*numbers"
        dense["kernel:0"] = h5py.ExternalLink("other.h5", "kernel")
        return r"layer_\._1/output/dense/kernel:0`"


@pytest.mark.parametrize(
    "how",
    ["cut short", "a pointer", "no layer", "another shape", "text", "a link"],
)
def test_a_damaged_file_is_named(how, foreign, tmp_path):
    folder = foreign("transformers_span")
    told = spoil(folder / "tf_model.h5", how)
    with pytest.raises(InputError, match=told) as raised:
        from_hf(folder, tmp_path / "tf")
    assert str(folder) in str(raised.value)
    assert not (tmp_path / "tf").exists()


def test_shards_that_lack_one_are_named(foreign, tmp_path):
    folder = foreign("transformers_masked_lm")
    (folder / "tf_model-00002-of-00003.h5").unlink()
    with pytest.raises(InputError, match=r"index\.json.*00002-of-00003"):
        from_hf(folder, tmp_path / "tf")


def test_another_architecture_is_named(foreign, tmp_path):
    folder = foreign("transformers_span")
    edit_json(folder / "config.json", model_type="electra")
    with pytest.raises(InputError, match='model_type="electra"'):
        from_hf(folder, tmp_path / "tf")


def test_opening_the_folder_names_the_conversion(foreign):
    with pytest.raises(InputError, match=r"tf_model\.h5 is.*from_hf"):
        checkpoints.find(foreign("transformers_span"))
