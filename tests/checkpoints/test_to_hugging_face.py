import numpy as np
import pytest
from helpers.hugging_face import (
    edit_json,
    stored,
)

from bert_tf import checkpoints
from bert_tf.checkpoints.to_hugging_face import to_hf
from bert_tf.errors import InputError


def test_unknown_variables_are_refused_or_left_out(tiny, tmp_path):
    values = {**stored(tiny), "other/kernel": np.zeros(3)}
    checkpoints.write(tiny / "bert_model.ckpt", values)
    with pytest.raises(InputError, match="does not have: other/kernel"):
        to_hf(tiny, tmp_path / "hf")
    report = to_hf(tiny, tmp_path / "hf", allow_unused=True)
    assert "Left out 1: other/kernel." in report


def test_a_direction_that_transformers_lacks_is_refused(tiny, tmp_path):
    edit_json(tiny / "bert_config.json", directionality="left_to_right")
    with pytest.raises(InputError, match="would attend in both directions"):
        to_hf(tiny, tmp_path / "hf")


def test_two_heads_in_a_file_need_a_choice(tiny, tmp_path):
    values = stored(tiny)
    values |= {"output_weights": np.zeros((2, 64)), "output_bias": np.zeros(2)}
    checkpoints.write(tiny / "bert_model.ckpt", values)
    with pytest.raises(
        InputError, match=r"several heads: classifier, .*--head"
    ):
        to_hf(tiny, tmp_path / "hf")
    report = to_hf(tiny, tmp_path / "hf", head="classifier")
    assert "Left out 7: cls/predictions" in report
    with pytest.raises(InputError, match=r"lacks 2 .*'span': cls/squad/"):
        to_hf(tiny, tmp_path / "hf", head="span", overwrite=True)
    with pytest.raises(InputError, match=r"one of .*Received: head='nsp'"):
        to_hf(tiny, tmp_path / "hf", head="nsp", overwrite=True)


def test_a_config_of_another_model_is_refused(tiny, tmp_path):
    edit_json(tiny / "bert_config.json", num_hidden_layers=4)
    with pytest.raises(InputError, match=r"t/bert_config\.json does not fit"):
        to_hf(tiny, tmp_path / "hf")
