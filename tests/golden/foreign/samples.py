"""Sizes, inputs and random weights of the small models of other programs.

NumPy only: the scripts that use it run in environments without bert_tf.
"""

import json
import shutil
import tarfile

import numpy as np

TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
TOKENS += ["the", "a", "cat", "dog", "##s", "##ed", "jump", "over", ".", ","]

CONFIG = {
    "vocab_size": len(TOKENS),
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "attention_probs_dropout_prob": 0.1,
    "max_position_embeddings": 12,
    "type_vocab_size": 2,
    "initializer_range": 0.02,
}


def inputs(seed=0):
    """Ids, mask and types [3, 12] of rows of 12, 7 and 2 tokens."""
    rng = np.random.default_rng(seed)
    mask = np.arange(12) < np.array([[12], [7], [2]])
    ids = rng.integers(1, len(TOKENS), (3, 12)) * mask
    types = rng.integers(0, 2, (3, 12)) * mask
    return [x.astype(np.int32) for x in (ids, mask, types)]


def randomize(weights, seed):
    """Adds large noise to Keras variables, in their order."""
    rng = np.random.default_rng(seed)
    for weight in weights:
        value = np.asarray(weight)
        noise = 0.3 * rng.standard_normal(value.shape)
        weight.assign(value + noise.astype(value.dtype))


def save(path, ids, mask, types, **outputs):
    """Writes inputs and outputs under the names that transformers has."""
    np.savez_compressed(
        path,
        input_ids=ids,
        attention_mask=mask,
        token_type_ids=types,
        **{name: np.asarray(value) for name, value in outputs.items()},
    )


def pack(folder):
    """Replaces a folder by an archive, FOLDER.tar.xz."""
    with tarfile.open(f"{folder}.tar.xz", "w:xz") as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                archive.add(path, path.relative_to(folder))
    shutil.rmtree(folder)


def write_vocab(path):
    """Writes vocab.txt."""
    path.write_text("".join(f"{token}\n" for token in TOKENS))


def write_config(path, **changes):
    """Writes bert_config.json."""
    path.write_text(json.dumps({**CONFIG, **changes}, indent=2) + "\n")
