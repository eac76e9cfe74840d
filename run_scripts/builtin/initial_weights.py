"""Initial weights for a small BERT that has few hours to learn.

Comes in: a bert_config.json. Goes out: a checkpoint to give to run_pretraining
as --init_checkpoint. From purely random weights this model spent five million
tokens without finding out that neighbours matter: it knew how frequent words
are (a loss of 6.4), and no more. Here it is given that: position embeddings are
sines and cosines, and in the first two layers heads begin by looking at the
word before, the word after, and so on. Everything else is random, and all of it
is trained.

  python run_scripts/builtin/initial_weights.py --seed=1 \
    --bert_config_file=run_scripts/builtin/bert_config.json \
    --output=initial/model.ckpt
"""

import argparse
import math
import os

import keras
import numpy as np

from bert_tf import checkpoints, models
from bert_tf.modeling import BertConfig

# Which neighbour each head of the first layers looks at; heads that are left
# over, and further layers, start at random.
OFFSETS = ((-1, 1, -2, 2), (-1, 1, -3, 3))
# Amplitude of the waves, beside word embeddings with deviation 0.02: most of
# what a position's first numbers hold is then where it is.
WAVE = 0.06
# Scale of the projections of heads that look at a neighbour: about half of
# their attention goes there, in a sequence of 128.
SHARPNESS = 0.85
# Deviation of other kernels: what is attended to should count beside the word
# itself from the start. 0.02 is meant for wider models.
KERNEL_STDDEV = 0.05
GOLDEN_RATIO = (1 + math.sqrt(5)) / 2


def frequencies(count):
    """Frequencies between 0 and pi, spread without a common period."""
    return math.pi * (np.arange(1, count + 1) / GOLDEN_RATIO % 1)


def waves(num_positions, size):
    """Sines, then cosines, of every position: [positions, size]."""
    angles = np.arange(num_positions)[:, None] * frequencies(size // 2)
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1)


def looking_at(offset, size):
    """A projection [size, size] of the waves of p to those of p + offset."""
    angles = offset * frequencies(size // 2)
    sine, cosine = np.diag(np.sin(angles)), np.diag(np.cos(angles))
    return np.block([[cosine, -sine], [sine, cosine]])


def initial_values(weights, config, rng):
    """{name: array} for the weights that do not keep what Keras drew.

    Args:
        weights: of `models.pretraining`.
        config: its `BertConfig`.
        rng: a `numpy.random.Generator`.
    """
    size = config.hidden_size // config.num_attention_heads
    size -= size % 2
    values = {}
    for weight in weights:
        name, shape = weight.path, tuple(weight.shape)
        if name.startswith("bert/encoder") and name.endswith("kernel"):
            values[name] = rng.normal(0, KERNEL_STDDEV, shape)
        elif name.endswith("position_embeddings"):
            values[name] = rng.normal(0, 0.002, shape)
            values[name][:, :size] += WAVE * waves(shape[0], size)
    width = config.hidden_size // config.num_attention_heads
    for layer, offsets in enumerate(OFFSETS[: config.num_hidden_layers]):
        scope = f"bert/encoder/layer_{layer}/attention/self"
        for head, offset in enumerate(offsets[: config.num_attention_heads]):
            columns = slice(head * width, head * width + size)
            query, key = (
                values[f"{scope}/{name}/kernel"] for name in ("query", "key")
            )
            query[:size, columns] += SHARPNESS * looking_at(offset, size)
            key[:size, columns] += SHARPNESS * np.eye(size)
    return values


def main():
    """Writes the checkpoint."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--bert_config_file", required=True)
    parser.add_argument("--output", required=True, help="prefix to write")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()

    keras.utils.set_random_seed(arguments.seed)
    config = BertConfig.from_json_file(arguments.bert_config_file)
    model = models.pretraining(config)
    rng = np.random.default_rng(arguments.seed)
    values = initial_values(model.weights, config, rng)
    for weight in model.weights:
        if weight.path in values:
            weight.assign(values[weight.path])
    os.makedirs(os.path.dirname(arguments.output) or ".", exist_ok=True)
    checkpoints.write(arguments.output, checkpoints.named_weights(model))


if __name__ == "__main__":
    main()
