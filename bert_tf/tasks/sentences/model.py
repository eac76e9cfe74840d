"""The model of pairs of texts, and the losses that train its vectors.

Both texts go through one encoder, each in a row of its own (Reimers and
Gurevych, 2019). Shape letters: B pairs, S tokens, D hidden size, L labels.
"""

import keras
from keras import ops

from bert_tf import models
from bert_tf.checkpoints.names import PAIR_CLASSIFIER
from bert_tf.errors import InputError
from bert_tf.heads import (
    classification_loss,
    mean_over_batch,
    negative_log_likelihood,
)
from bert_tf.modeling import BertConfig, BertModel

SCALE = 20.0
"""Of cosines before the softmax over a batch, as sentence-transformers has it:
a temperature of 0.05."""

SCOPE = PAIR_CLASSIFIER.removesuffix("/")

# As in torch's `normalize`: a vector of zeros stays one.
_LEAST_NORM = 1e-12


@keras.saving.register_keras_serializable("bert_tf")
class PairClassifier(keras.layers.Layer):
    """One linear layer over (u, v, |u - v|), vectors of a pair.

    Args:
        config: a `BertConfig`.
        num_labels: int, L.

    Call arguments:
        vectors: float tensor [B, 2, D].

    Returns:
        float tensor [B, L], logits.
    """

    def __init__(self, config, num_labels, name=SCOPE, **kwargs):
        super().__init__(name=name, **kwargs)
        if isinstance(config, dict):
            config = BertConfig.from_dict(config)
        self.config, self.num_labels = config, num_labels
        self.build()

    def build(self, vectors_shape=None):
        if self.built:
            return
        self.output_weights = self.add_weight(
            name="output_weights",
            shape=(self.num_labels, 3 * self.config.hidden_size),
            initializer=keras.initializers.TruncatedNormal(stddev=0.02),
            autocast=False,
        )
        self.output_bias = self.add_weight(
            name="output_bias",
            shape=(self.num_labels,),
            initializer="zeros",
            autocast=False,
        )
        self.built = True

    def call(self, vectors):
        u, v = vectors[:, 0], vectors[:, 1]
        joined = ops.concatenate([u, v, ops.abs(u - v)], axis=-1)
        weights = ops.convert_to_tensor(self.output_weights)
        logits = ops.cast(joined, weights.dtype) @ ops.transpose(weights)
        return logits + self.output_bias

    def get_config(self):
        return {
            **super().get_config(),
            "config": self.config.to_dict(),
            "num_labels": self.num_labels,
        }


def sentence_pairs(
    config,
    pooling="mean",
    normalize=False,
    num_labels=None,
    seq_length=None,
    use_one_hot_embeddings=False,
    skip_padding=False,
):
    """BERT over both texts of pairs, and a vector for each.

    Args:
        config: a `BertConfig`.
        pooling: over the tokens of the last layer, [CLS] and [SEP] among them:
            "first", "mean" or "max".
        normalize: whether vectors are divided by their length.
        num_labels: L, for logits of a `PairClassifier`; None for none.
        seq_length: S; None for any length.
        use_one_hot_embeddings, skip_padding: see `BertModel`.

    Returns:
        A model from `input_ids`, `input_mask`, `segment_ids` [B, 2, S] to
        `vectors` [B, 2, D], float32 in any precision, and perhaps `logits`.

    Raises:
        InputError: the first token is pooled of a model that attends from left
            to right, where it sees no other.
    """
    if pooling == "first" and config.attention_direction() == "left_to_right":
        raise InputError(
            "`--pooling=cls` is not for a model with directionality="
            "left_to_right, whose [CLS] sees nothing but itself."
        )
    inputs = {
        name: keras.Input((2, seq_length), dtype="int32", name=name)
        for name in models.ENCODER_INPUTS
    }
    rows = [models.MergeFirstAxes()(x) for x in inputs.values()]  # [2 B, S]
    bert = BertModel(config, use_one_hot_embeddings, skip_padding)
    # It stays in checkpoints, but nothing here depends on it.
    bert.pooler.trainable = False
    sequence = ops.cast(bert(*rows)["sequence_output"], "float32")
    mask = rows[models.ENCODER_INPUTS.index("input_mask")]
    pooled = models.pool(sequence[:, None], mask, pooling)[:, 0]  # [2 B, D]
    if normalize:
        pooled = unit(pooled)
    vectors = ops.reshape(pooled, (-1, 2, config.hidden_size))
    outputs = {"vectors": vectors}
    if num_labels is not None:
        outputs["logits"] = PairClassifier(config, num_labels)(vectors)
    return keras.Model(inputs, outputs)


def unit(vectors):
    """Vectors [..., D] divided by their lengths."""
    squares = ops.sum(ops.square(vectors), axis=-1, keepdims=True)
    # The square root has no gradient at 0.
    length = ops.sqrt(ops.maximum(squares, _LEAST_NORM**2))
    return vectors / length


def cosine_loss(vectors, scores, num_examples=None):
    """The mean squared difference of cosines and scores.

    Args:
        vectors: float tensor [B, 2, D].
        scores: float tensor [B].
        num_examples: those of the whole batch, if these are a part of it. The
            losses of the parts then add up to the whole.

    Returns:
        The loss, a scalar.
    """
    both = unit(vectors)
    cosines = ops.sum(both[:, 0] * both[:, 1], axis=-1)
    wanted = ops.cast(ops.reshape(scores, (-1,)), "float32")
    return mean_over_batch(ops.square(cosines - wanted), num_examples)


def softmax_loss(logits, labels, num_examples=None):
    """The mean cross entropy of the labels of pairs.

    Args:
        logits: float tensor [B, L].
        labels: int tensor [B].
        num_examples: as in `cosine_loss`.

    Returns:
        The loss, a scalar.
    """
    return classification_loss(logits, labels, num_examples)[0]


def in_batch_loss(vectors):
    """The mean cross entropy of the second text among those of the batch.

    Row i of `SCALE` cos(u_i, v_j) is classified as i: multiple negatives
    ranking. It depends on the batch as a whole, and parts do not add up.

    Args:
        vectors: float tensor [B, 2, D].

    Returns:
        The loss, a scalar.
    """
    both = unit(vectors)
    scores = SCALE * ops.matmul(both[:, 0], ops.transpose(both[:, 1]))
    right = ops.arange(ops.shape(scores)[0], dtype="int32")
    return ops.mean(negative_log_likelihood(scores, right))
