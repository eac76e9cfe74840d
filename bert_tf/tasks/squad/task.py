"""Records of questions and windows."""

import dataclasses

from bert_tf.data.records import Feature


def squad_training_schema(max_seq_length: int) -> dict[str, Feature]:
    """What run_squad's records to train on hold, under the original's names.

    Positions are 0 where the answer is not, or not all, in the window.
    """
    return {
        **squad_evaluation_schema(max_seq_length),
        "start_positions": Feature(()),
        "end_positions": Feature(()),
        "is_impossible": Feature(()),
    }


def squad_evaluation_schema(max_seq_length: int) -> dict[str, Feature]:
    """What run_squad's records to predict hold, under the original's names."""
    tokens = Feature((max_seq_length,), length_flag="max_seq_length")
    return {
        "unique_ids": Feature(()),
        "input_ids": dataclasses.replace(tokens, holds_token_ids=True),
        "input_mask": tokens,
        "segment_ids": tokens,
    }
