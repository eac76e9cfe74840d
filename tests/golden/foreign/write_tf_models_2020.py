"""Writes a checkpoint of tf-models' first TransformerEncoder, with its outputs.

    PYTHONPATH=OLD python write_tf_models_2020.py FOLDER

OLD has tf-models-official 2.2.2, installed with `--no-deps --target`. It needs
tensorflow-cpu 2.15.1, in which the module that it imports has another name.
"""

import pathlib
import sys
import types

import numpy as np
import samples
import tensorflow as tf
from keras.src.engine import functional

engine = sys.modules["tensorflow.python.keras.engine"]
network = types.ModuleType("tensorflow.python.keras.engine.network")
network.Network = functional.Functional
engine.network = sys.modules[network.__name__] = network

from official.nlp.bert import bert_models, configs  # noqa: E402


def main():
    """Writes it."""
    target = pathlib.Path(sys.argv[1]) / "tf_models_2020"
    config = configs.BertConfig.from_dict(samples.CONFIG)
    encoder = bert_models.get_transformer_encoder(config, 12)
    samples.randomize(encoder.weights, 1)
    tf.train.Checkpoint(model=encoder).save(str(target / "bert_model.ckpt"))
    (target / "checkpoint").unlink()
    samples.write_config(target / "bert_config.json")
    samples.write_vocab(target / "vocab.txt")
    names = ["embeddings/layer_norm"]
    names += [f"transformer/layer_{i}" for i in range(2)]
    names += ["pooler_transform"]
    found = [encoder.get_layer(name).output for name in names]
    rows = samples.inputs(1)
    *states, pooled = tf.keras.Model(encoder.inputs, found)(rows)
    samples.save(
        target / "outputs.npz",
        *rows,
        hidden_states=np.stack(states),
        pooled_output=pooled,
    )
    samples.pack(target)


if __name__ == "__main__":
    main()
