"""What the original computed, and configs and weights from its files."""

import json
import re
import shutil

import numpy as np
import tensorflow as tf

from bert_tf import checkpoints, models
from bert_tf.layers import weights_to_come
from bert_tf.modeling import BertConfig
from helpers.paths import GOLDEN

DATA = GOLDEN
CHECKPOINTS = DATA / "checkpoints"
TINY = CHECKPOINTS / "tiny" / "bert_model.ckpt"
MICRO = CHECKPOINTS / "micro" / "bert_model.ckpt"


def read_config(folder, **changes):
    """The config beside a checkpoint, with some values changed."""
    values = json.loads((folder / "bert_config.json").read_text())
    return BertConfig.from_dict({**values, **changes})


def build_model(folder, build=models.pretraining, *args):
    """The model of the config in a folder, without weights."""
    config = read_config(folder)
    with weights_to_come():
        return build(config, *args)


def write_small_config(folder, **changes):
    """A config to be trained in seconds, with the vocabulary of the goldens.

    Returns:
        Where it is.
    """
    config = read_config(TINY.parent)
    config.hidden_size, config.num_hidden_layers = 16, 1
    config.num_attention_heads, config.intermediate_size = 2, 32
    config.initializer_range = 0.2
    path = folder / "bert_config.json"
    values = {**config.to_dict(), **changes}
    path.write_text(BertConfig.from_dict(values).to_json_string())
    return path


def write_one_layer(folder):
    """The folder of the tiny model without all layers but the first; itself."""
    values = {
        name: value
        for name, value in read_variables(TINY).items()
        if not re.search("layer_[12]/", name)
    }
    checkpoints.save(str(folder), 0, values)
    config = read_config(TINY.parent, num_hidden_layers=1)
    (folder / "bert_config.json").write_text(config.to_json_string())
    shutil.copy(TINY.parent / "vocab.txt", folder)
    return folder


def read_scalars(folder):
    """{tag: {step: value}} of all event files, read as records."""
    found = {}
    for path in folder.glob("events.out.tfevents.*"):
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            event = tf.compat.v1.Event.FromString(record)
            for value in event.summary.value:
                number = float(tf.make_ndarray(value.tensor))
                found.setdefault(value.tag, {})[event.step] = number
    return found


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
