"""Inputs that an exported model refuses before it computes them.

Ids are checked here although a SavedModel's graph checks them: those of older
versions of bert_tf do not.
"""

import json
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from bert_tf.checkpoints.names import CONFIG
from bert_tf.data.examples import read_integers
from bert_tf.data.packing import ENCODER_INPUTS
from bert_tf.errors import InputError
from bert_tf.support import ranges

EXAMPLES = "examples"
IDS, POSITIONS = "input_ids", "masked_lm_positions"
_SIZES = ("vocab_size", "type_vocab_size")


def read_config(version: str) -> dict[str, Any] | None:
    """The config among a version's assets.

    None for SavedModels that have none, or not that of a BERT: nothing is known
    of their inputs.
    """
    try:
        path = os.path.join(version, "assets", CONFIG)
        with open(path, encoding="utf-8") as file:
            config = json.load(file)
        known = all(type(config[key]) is int for key in _SIZES)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return config if known else None


def check(config: Mapping[str, Any] | None, inputs: Mapping[str, Any]) -> None:
    """Refuses ids, masks, segments and positions that a model does not have.

    Args:
        config: from `read_config`.
        inputs: of a signature, by name; texts are not looked at. `examples` are
            serialized `tf.train.Example`s.

    Raises:
        InputError: names the first value that is out of range, and its place.
    """
    if config is None:
        return
    if EXAMPLES in inputs:
        for number, example in enumerate(np.ravel(inputs[EXAMPLES])):
            try:
                _check_rows(config, _features(example))
            except InputError as error:
                raise InputError(f"examples[{number}]: {error}") from error
    else:
        _check_rows(config, inputs)


def _check_rows(config: Mapping[str, Any], rows: Mapping[str, Any]) -> None:
    if IDS not in rows:
        return
    known = {name: values for name, values in rows.items() if name != POSITIONS}
    ranges.require_encoder_inputs(config, **known)
    length = np.shape(rows[IDS])[-1]
    if POSITIONS in rows and length:
        ranges.require_within(length - 1, **{POSITIONS: rows[POSITIONS]})


def _features(example: bytes) -> dict[str, list[int]]:
    try:
        found = read_integers(example, (*ENCODER_INPUTS, POSITIONS))
    except InputError:
        return {}  # The model refuses it.
    return {name: values for name, values in found.items() if values}
