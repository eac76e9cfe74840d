"""Losses of sentence vectors, as sentence-transformers computes them."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers.golden import TINY, read_config, read_variables
from helpers.numpy_bert import NumpyBert
from helpers.paths import GOLDEN

from bert_tf import checkpoints, models
from bert_tf.errors import InputError
from bert_tf.modeling import BertConfig
from bert_tf.tasks.sentences import model
from bert_tf.tasks.sentences.model import PairClassifier
from bert_tf.tasks.sentences.task import SentenceTask

THEIRS = json.loads((GOLDEN / "sentences" / "losses.json").read_text())
WIDTH = len(THEIRS["vectors"][0][0])


def classifier():
    config = BertConfig(vocab_size=5, hidden_size=WIDTH, num_attention_heads=1)
    layer = PairClassifier(config, len(THEIRS["output_bias"]))
    values = THEIRS["output_weights"], THEIRS["output_bias"]
    layer.set_weights(list(map(np.array, values)))
    return layer


def task_of(objective):
    return SentenceTask(objective, "mean", False, ("a", "b", "c"), None, 8)


@pytest.mark.parametrize("objective", ["cosine", "softmax", "in_batch"])
def test_loss_and_gradient_are_those_of_sentence_transformers(objective):
    vectors = tf.constant(THEIRS["vectors"], tf.float32)
    key = {"cosine": "scores", "softmax": "labels"}.get(objective)
    batch = {"label_ids": tf.constant(THEIRS[key])} if key else {}
    head = classifier() if objective == "softmax" else None

    def loss_of(vectors, batch, totals=None):
        outputs = {"vectors": vectors}
        if head:
            outputs["logits"] = head(vectors)
        return task_of(objective).loss(outputs, batch, totals)

    with tf.GradientTape() as tape:
        tape.watch(vectors)
        loss = loss_of(vectors, batch)
    gradient = tape.gradient(loss, vectors)

    want = THEIRS[objective]
    assert float(loss) == pytest.approx(want["loss"], abs=2e-6)
    np.testing.assert_allclose(gradient, want["gradient"], atol=1e-6)
    if objective == "in_batch":
        with pytest.raises(ValueError, match="other pairs"):
            loss_of(vectors, batch, {"examples": 5.0})
        return
    # Parts of a batch add up to it.
    parts = [
        float(
            loss_of(
                vectors[at : at + 1],
                {"label_ids": batch["label_ids"][at : at + 1]},
                {"examples": float(len(vectors))},
            )
        )
        for at in range(len(vectors))
    ]
    assert sum(parts) == pytest.approx(want["loss"], abs=2e-6)


def test_a_vector_of_zeros_has_a_loss_and_a_gradient():
    vectors = tf.zeros((2, 2, 3))
    with tf.GradientTape() as tape:
        tape.watch(vectors)
        loss = model.cosine_loss(vectors, tf.constant([0.5, 1.0]))
    assert float(loss) == pytest.approx((0.25 + 1) / 2)
    assert np.isfinite(tape.gradient(loss, vectors)).all()


# ------------------------------------------------------------------ the model

TEXTS = [
    ([2, 7, 9, 3], [2, 5, 3]),
    ([2, 11, 3], [2, 8, 8, 21, 30, 3]),
]


def inputs_of(texts, length=8):
    rows = np.zeros((3, len(texts), 2, length), np.int32)
    for number, pair in enumerate(texts):
        for side, ids in enumerate(pair):
            rows[0, number, side, : len(ids)] = ids
            rows[1, number, side, : len(ids)] = 1
    return dict(zip(models.ENCODER_INPUTS, rows))


@pytest.mark.parametrize(
    ("pooling", "reduce"),
    [
        ("mean", lambda x: x.mean(axis=0)),
        ("first", lambda x: x[0]),
        ("max", lambda x: x.max(axis=0)),
    ],
)
@pytest.mark.parametrize("skips_padding", [False, True])
def test_vectors_are_those_of_numpy(pooling, reduce, skips_padding):
    config = read_config(TINY.parent)
    made = model.sentence_pairs(config, pooling, normalize=pooling == "max")
    checkpoints.load(checkpoints.named_weights(made), TINY)
    if skips_padding:
        models.skip_padding(made)
    bert = NumpyBert(read_variables(TINY), config.num_attention_heads)

    got = made(inputs_of(TEXTS), training=False)["vectors"]

    for row, pair in zip(got, TEXTS):
        for vector, ids in zip(row, pair):
            want = reduce(bert.layers(ids, [0] * len(ids))[-1])
            if pooling == "max":
                want = want / np.linalg.norm(want)
            np.testing.assert_allclose(vector, want, atol=2e-5)


def test_weights_have_the_names_of_the_checkpoint_and_of_the_head():
    config = read_config(TINY.parent)
    made = model.sentence_pairs(config, num_labels=3)

    encoder = {n for n in read_variables(TINY) if n.startswith("bert/")}
    head = {"pair_classifier/output_weights", "pair_classifier/output_bias"}
    names = set(checkpoints.named_weights(made))
    assert names == encoder | head
    trained = {weight.path for weight in made.trainable_weights}
    assert names - trained == {
        "bert/pooler/dense/kernel",
        "bert/pooler/dense/bias",
    }


def test_a_saved_model_is_loaded_with_its_head(tmp_path):
    config = read_config(TINY.parent)
    made = model.sentence_pairs(config, num_labels=3)
    made.save(tmp_path / "pairs.keras")
    again = keras.saving.load_model(tmp_path / "pairs.keras")
    inputs = inputs_of(TEXTS)
    np.testing.assert_allclose(
        again(inputs)["logits"], made(inputs)["logits"], atol=1e-6
    )


def test_cls_of_a_model_that_reads_left_to_right_is_refused():
    config = read_config(TINY.parent, directionality="left_to_right")
    with pytest.raises(InputError, match="--pooling=cls"):
        model.sentence_pairs(config, "first")
