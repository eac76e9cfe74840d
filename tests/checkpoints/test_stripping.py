import json
import os
import pathlib

import numpy as np
import pytest
from helpers.golden import CHECKPOINTS
from helpers.hugging_face import (
    assert_same,
    stored,
)

from bert_tf import checkpoints
from bert_tf.checkpoints.names import DATA
from bert_tf.checkpoints.stripping import strip
from bert_tf.errors import InputError


@pytest.mark.parametrize(
    ("given", "written"),
    [
        ("bare", "bare/bert_model.ckpt"),
        ("bare/", "bare/bert_model.ckpt"),
        ("bare/bert.ckpt", "bare/bert.ckpt"),
        ("bare/model.ckpt-7", "bare/model.ckpt-7"),
        ("there.ckpt", "there.ckpt/bert_model.ckpt"),
    ],
)
def test_strip_leaves_the_weights_as_they_are(tmp_path, given, written):
    (tmp_path / "there.ckpt").mkdir()
    output = tmp_path / written
    report = strip(CHECKPOINTS / "toy", os.path.join(tmp_path, given))

    whole, bare = stored(CHECKPOINTS / "toy"), stored(output)
    want = {n: v for n, v in whole.items() if "adam" not in n}
    del want["global_step"]
    assert_same(bare, want)
    sizes = [
        pathlib.Path(f"{prefix}{DATA}").stat().st_size
        for prefix in (output, CHECKPOINTS / "toy" / "bert_model.ckpt")
    ]
    assert f"{sizes[0]:,} bytes, before {sizes[1]:,}" in report
    assert ": 46 adam_m, 46 adam_v, 1 global_step" in report
    for name in ("bert_config.json", "vocab.txt"):
        want = (CHECKPOINTS / "toy" / name).read_bytes()
        assert (output.parent / name).read_bytes() == want


def test_strip_leaves_an_encoder_for_other_tasks(tmp_path):
    folder, output = tmp_path / "trained", tmp_path / "encoder"
    bert = {"bert/pooler/dense/bias": np.arange(2, dtype="float32")}
    heads = {"output_weights": np.ones((3, 2)), "cls/squad/output_bias": 1.0}
    checkpoints.save(str(folder), 7, bert | heads)
    (folder / "labels.txt").write_text("a\nb\nc\n")
    noted = {"do_lower_case": False, "strip_accents": None}
    of_task = {"head": "classifier", "max_seq_length": 40}
    (folder / "bert_tf.json").write_text(json.dumps(noted | of_task))
    report = strip(folder, str(output), without_head=True)
    assert_same(stored(output / "bert_model.ckpt"), bert)
    assert not (output / "labels.txt").exists()
    assert json.loads((output / "bert_tf.json").read_text()) == noted
    assert "Dropped 2 weights of heads: 'cls/squad/output_bias', 'ou" in report


def test_strip_needs_an_encoder_to_keep(tmp_path):
    checkpoints.write(tmp_path / "c", {"output_bias": np.ones(2)})
    with pytest.raises(InputError, match="no weights of an encoder"):
        strip(tmp_path / "c", str(tmp_path / "x"), without_head=True)
    assert not (tmp_path / "x").exists()


def test_strip_knows_slots_of_other_optimizers(tmp_path):
    weights = {"bert/pooler/dense/bias": np.ones(2), "output_bias": np.ones(2)}
    slots = {
        f"{name}/{slot}": np.ones(2)
        for name in weights
        for slot in ("Adam", "Adam_1", "LAMB", "lamb_m", "ExponentialAverage")
    }
    counters = {"beta1_power": 0.9, "beta2_power": 0.99, "global_step": 3}
    checkpoints.write(tmp_path / "c", weights | slots | counters)
    strip(tmp_path / "c", str(tmp_path / "bare.ckpt"))
    assert sorted(stored(tmp_path / "bare.ckpt")) == sorted(weights)


def test_strip_of_nothing_but_slots_is_refused(tmp_path):
    checkpoints.write(tmp_path / "c", {"global_step": np.int64(3)})
    with pytest.raises(InputError, match=r"holds no weights.*global_step"):
        strip(tmp_path / "c", str(tmp_path / "bare"))
