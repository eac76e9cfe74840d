"""Heads of the built-in model's initial weights look where they should."""

import pathlib

import initial_weights
import numpy as np
import pytest

RECIPE = pathlib.Path(initial_weights.__file__).parent


@pytest.mark.parametrize("offset", [-3, -1, 1, 2])
def test_a_projected_wave_is_nearest_to_its_neighbour(offset):
    waves = initial_weights.waves(128, 32)

    scores = waves @ initial_weights.looking_at(offset, 32) @ waves.T

    inside = range(3, 125)
    got = [int(np.argmax(scores[place])) for place in inside]
    assert got == [place + offset for place in inside]


def test_the_first_layers_attend_to_neighbours(rng):
    import keras

    from bert_tf import models
    from bert_tf.modeling import BertConfig

    keras.utils.set_random_seed(1)
    config = BertConfig.from_json_file(RECIPE / "bert_config.json")
    model = models.pretraining(config)
    values = initial_weights.initial_values(model.weights, config, rng)
    tables = {w.path: values.get(w.path, w.numpy()) for w in model.weights}

    # Attention of the first layer, by the paper's formula in NumPy.
    embeddings = "bert/embeddings"
    words = tables[f"{embeddings}/word_embeddings"][rng.integers(0, 8192, 128)]
    x = words + tables[f"{embeddings}/position_embeddings"]
    x = x + tables[f"{embeddings}/token_type_embeddings"][0]
    x = (x - x.mean(-1, keepdims=True)) / x.std(-1, keepdims=True)
    scope = "bert/encoder/layer_0/attention/self"
    query, key = (
        (x @ tables[f"{scope}/{name}/kernel"]).reshape(128, 5, 32)
        for name in ("query", "key")
    )
    for head, offset in enumerate(initial_weights.OFFSETS[0]):
        scores = query[:, head] @ key[:, head].T / np.sqrt(32)
        attention = np.exp(scores - scores.max(-1, keepdims=True))
        attention /= attention.sum(-1, keepdims=True)
        places = np.arange(3, 125)
        assert attention[places, places + offset].mean() > 0.35
