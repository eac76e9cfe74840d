"""Records of texts with labels."""

import dataclasses

from bert_tf.data.packing import InputFeatures
from bert_tf.data.records import Feature


def classifier_schema(max_seq_length: int) -> dict[str, Feature]:
    """What run_classifier's records hold, under the original's names."""
    tokens = Feature((max_seq_length,), length_flag="max_seq_length")
    return {
        "input_ids": dataclasses.replace(tokens, holds_token_ids=True),
        "input_mask": tokens,
        "segment_ids": tokens,
        "label_ids": Feature(()),
        "is_real_example": Feature(()),
    }


def classifier_values(features: InputFeatures) -> dict[str, list[int]]:
    """The values of one record of `classifier_schema`."""
    return {
        "input_ids": features.input_ids,
        "input_mask": features.input_mask,
        "segment_ids": features.segment_ids,
        "label_ids": [features.label_id],
        "is_real_example": [int(features.is_real_example)],
    }
