import numpy as np
import pytest

from bert_tf.errors import InputError
from bert_tf.support.ranges import require_encoder_inputs, require_within

CONFIG = {"vocab_size": 9, "type_vocab_size": 2}


@pytest.mark.parametrize(
    ("name", "bad", "last"),
    [
        ("input_ids", 9, 8),
        ("input_ids", -1, 8),
        ("input_ids", 2**40, 8),
        ("input_mask", 2, 1),
        ("segment_ids", 2, 1),
        ("token_type_ids", -1, 1),
    ],
)
@pytest.mark.parametrize("kind", [list, np.array])
def test_a_value_out_of_range_is_named_with_its_place(name, bad, last, kind):
    with pytest.raises(
        InputError, match=rf"{name} .*0 to {last}\. .*: {bad} at \[1, 0\]"
    ):
        require_encoder_inputs(CONFIG, **{name: kind([[0, 1], [bad, 1]])})


def test_values_in_range_none_and_nothing_are_taken():
    require_encoder_inputs(
        CONFIG,
        input_ids=[[0, 8]],
        input_mask=np.ones((1, 2), bool),
        segment_ids=None,
        token_type_ids=np.zeros((0, 2)),
        masked_lm_positions=[[99]],
    )


def test_a_value_that_is_not_a_number_is_out_of_range():
    with pytest.raises(InputError, match=r"mask .*nan at \[1\]"):
        require_within(1, mask=[0.0, np.nan])
