"""Ids that a SavedModel is asked with, whatever its graph checks."""

import json

import numpy as np
import pytest
import tensorflow as tf

from bert_tf.errors import InputError
from bert_tf.exports import inputs

CONFIG = {"vocab_size": 9, "type_vocab_size": 2}


def example(**features):
    made = tf.train.Example()
    for name, values in features.items():
        made.features.feature[name].int64_list.value.extend(values)
    return made.SerializeToString()


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"input_ids": [[[1, 9]]]}, r"input_ids .*0 to 8.*: 9 at \[0, 0, 1\]"),
        ({"input_mask": [[1, 7]]}, r"input_mask .*0 to 1.*: 7 at \[0, 1\]"),
        ({"masked_lm_positions": [[1], [2]]}, r"positions .*: 2 at \[1, 0\]"),
    ],
)
def test_rows_out_of_range_are_refused(bad, message):
    with pytest.raises(InputError, match=message):
        inputs.check(CONFIG, {"input_ids": [[1, 8]], **bad})


def test_examples_out_of_range_are_refused_and_numbered():
    good = example(input_ids=[1, 8], input_mask=[1, 1], segment_ids=[0, 1])
    bad = example(input_ids=[1, 8], input_mask=[1, 1], segment_ids=[0, 2**40])
    inputs.check(CONFIG, {"examples": np.array([good, b"\xff"], object)})

    with pytest.raises(InputError, match=rf"examples\[1\]: segm.*: {2**40} "):
        inputs.check(CONFIG, {"examples": np.array([good, bad], object)})


def test_texts_and_models_that_nothing_is_known_of_are_not_looked_at():
    inputs.check(CONFIG, {"text_a": np.array([b"9"], object)})
    inputs.check(None, {"input_ids": [[99]]})


@pytest.mark.parametrize(
    ("content", "want"),
    [
        (json.dumps(CONFIG), CONFIG),
        ('{"vocab_size": 9}', None),
        ('{"vocab_size": "9", "type_vocab_size": 2}', None),
        ("[]", None),
        ("[" * 9999, None),
    ],
)
def test_only_a_config_of_bert_is_taken(content, want, tmp_path):
    assert inputs.read_config(str(tmp_path)) is None
    (tmp_path / "assets").mkdir()
    (tmp_path / "assets" / "bert_config.json").write_text(content)

    assert inputs.read_config(str(tmp_path)) == want
