"""What the original computed, and configs and weights from its files."""

import json
import pathlib

import numpy as np
import tensorflow as tf

from bert_tf.modeling import BertConfig

DATA = pathlib.Path(__file__).parent / "data"
CHECKPOINTS = DATA / "checkpoints"
TINY = CHECKPOINTS / "tiny" / "bert_model.ckpt"
MICRO = CHECKPOINTS / "micro" / "bert_model.ckpt"


def read_config(folder, **changes):
    """The config beside a checkpoint, with some values changed."""
    values = json.loads((folder / "bert_config.json").read_text())
    return BertConfig.from_dict({**values, **changes})


def read_variables(checkpoint):
    """All variables of a checkpoint by name, read by TensorFlow itself."""
    reader = tf.train.load_checkpoint(str(checkpoint))
    names = reader.get_variable_to_shape_map()
    return {name: reader.get_tensor(name) for name in names}


def assign(weights, values):
    """Gives every weight the value of its name."""
    for weight in weights:
        weight.assign(values[weight.path])


def read_arrays(path, prefix):
    """The arrays of an .npz file below `prefix`, by the rest of their name."""
    with np.load(path) as file:
        return {
            key.removeprefix(prefix): file[key]
            for key in file.files
            if key.startswith(prefix)
        }
