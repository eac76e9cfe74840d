"""Writes .h5 files of keras-bert and bert4keras, with the models' outputs.

    TF_KERAS=1 python write_keras_bert.py FOLDER

Made with keras-bert 0.89.0, bert4keras 0.11.5 and tensorflow-cpu 2.15.1.
"""

import pathlib
import sys

import keras_bert
import numpy as np
import samples
from bert4keras.backend import K  # noqa: F401 - makes tf.keras its keras.
from bert4keras.models import build_transformer_model
from tensorflow import keras

C = samples.CONFIG


def write_keras_bert(folder):
    """A model with both heads, whole and as weights."""
    model = keras_bert.get_model(
        token_num=C["vocab_size"],
        pos_num=12,
        seq_len=12,
        embed_dim=16,
        transformer_num=2,
        head_num=2,
        feed_forward_dim=24,
        training=True,
    )
    samples.randomize(model.weights, 1)
    folder.mkdir(parents=True)
    model.save(folder / "model.h5")
    model.save_weights(folder / "weights.h5")
    samples.write_vocab(folder / "vocab.txt")
    samples.write_config(folder / "bert_config.json")
    names = ["Embedding-Norm"]
    names += [f"Encoder-{i}-FeedForward-Norm" for i in (1, 2)]
    names += ["NSP-Dense", "MLM-Sim", "NSP"]
    probe = keras.Model(
        model.inputs, [model.get_layer(name).output for name in names]
    )
    # It masks by id 0, as this mask does.
    ids, mask, types = samples.inputs(1)
    *states, pooled, masked_lm, next_sentence = probe([ids, types, mask])
    samples.save(
        folder / "outputs.npz",
        ids,
        mask,
        types,
        hidden_states=np.stack(states),
        pooled_output=pooled,
        prediction_probabilities=masked_lm,
        seq_relationship_probabilities=next_sentence,
    )
    samples.pack(folder)


def write_bert4keras(folder):
    """A model with both heads, whole and as weights."""
    folder.mkdir(parents=True)
    config_file = folder / "bert_config.json"
    samples.write_config(config_file)
    # One Keras model returns only the last two heads.
    model = build_transformer_model(
        str(config_file), with_nsp=True, with_mlm="linear"
    )
    samples.randomize(model.weights, 2)
    model.save(folder / "model.h5")
    model.save_weights(folder / "weights.h5")
    samples.write_vocab(folder / "vocab.txt")
    names = ["Embedding-Norm"]
    names += [f"Transformer-{i}-FeedForward-Norm" for i in (0, 1)]
    names += ["Pooler-Dense", "MLM-Bias", "NSP-Proba"]
    probe = keras.Model(
        model.inputs, [model.get_layer(name).output for name in names]
    )
    ids, mask, types = samples.inputs(2)
    *states, pooled, masked_lm, next_sentence = probe([ids, types])
    samples.save(
        folder / "outputs.npz",
        ids,
        mask,
        types,
        hidden_states=np.stack(states),
        pooled_output=pooled,
        prediction_logits=masked_lm,
        seq_relationship_probabilities=next_sentence,
    )
    samples.pack(folder)


def main():
    """Writes both."""
    folder = pathlib.Path(sys.argv[1])
    write_keras_bert(folder / "keras_bert")
    write_bert4keras(folder / "bert4keras")


if __name__ == "__main__":
    main()
