"""Heads on top of the encoder, and the loss of each.

Logits are float32 in any precision. Variables have the original's names. Shape
letters: B batch, S sequence, D hidden size, V vocabulary, P predictions per
sequence, L labels.
"""

import keras
from keras import ops

from bert_tf.layers import dense, get_activation, layer_norm
from bert_tf.modeling import BertConfig
from bert_tf.support.ranges import require_in_call

# A logit of skipped padding: its bias alone would count in the softmax.
NO_ANSWER = -1e9


class _Head(keras.layers.Layer):
    """Keeps the config, from which all shapes are known."""

    def __init__(self, config, **kwargs):
        super().__init__(**kwargs)
        if isinstance(config, dict):
            config = BertConfig.from_dict(config)
        self.config = config

    def get_config(self):
        return {**super().get_config(), "config": self.config.to_dict()}


class MaskedLMHead(_Head):
    """Scores every word of the vocabulary at the masked positions.

    Call arguments:
        sequence_output: float tensor [B, S, D].
        embedding_table: float tensor [V, D], of the encoder; the output
            projection is tied to it.
        positions: int tensor [B, P]; 0 for padding.

    Returns:
        float tensor [B, P, V], logits.

    Raises:
        InputError: outside of graphs, for a position that is not in the rows.
    """

    def __init__(self, config, name="predictions", **kwargs):
        super().__init__(config, name=name, **kwargs)
        activation = get_activation(config.hidden_act)
        dtype, width = self.dtype_policy, config.hidden_size
        self.transform = dense(config, width, dtype, activation)
        self.layer_norm = layer_norm(dtype)

    def build(self, *input_shapes):
        hidden_shape = (None, None, self.config.hidden_size)
        with keras.name_scope("transform"):
            self.transform.build(hidden_shape)
            self.layer_norm.build(hidden_shape)
        self.output_bias = self.add_weight(
            name="output_bias",
            shape=(self.config.vocab_size,),
            initializer="zeros",
            autocast=False,
        )

    def call(self, sequence_output, embedding_table, positions):
        length = sequence_output.shape[1]
        if length is not None:
            require_in_call(length - 1, masked_lm_positions=positions)
        masked = gather_positions(sequence_output, positions)  # [B, P, D]
        masked = self.layer_norm(self.transform(masked))
        table = ops.cast(embedding_table, masked.dtype)
        # Not `@`: TensorFlow's gradient of a batched product makes a copy of
        # the table for each row of the batch before it sums.
        logits = ops.matmul(masked, ops.transpose(table))
        return ops.cast(logits, "float32") + self.output_bias


class NextSentenceHead(_Head):
    """Scores whether the second segment follows the first.

    Call arguments:
        pooled_output: float tensor [B, D].

    Returns:
        float tensor [B, 2], logits of 0 "is next" and 1 "is random".
    """

    def __init__(self, config, name="seq_relationship", **kwargs):
        super().__init__(config, name=name, **kwargs)

    def build(self, pooled_output_shape):
        _add_output_weights(self, 2, self.config.initializer_range)

    def call(self, pooled_output):
        return _project(self, pooled_output)


@keras.saving.register_keras_serializable("bert_tf")
class PretrainingHeads(_Head):
    """Both pretraining heads, under the original's scope `cls`.

    Call arguments:
        sequence_output: float tensor [B, S, D].
        pooled_output: float tensor [B, D].
        embedding_table: float tensor [V, D].
        positions: int tensor [B, P].

    Returns:
        `masked_lm_logits` [B, P, V] and `next_sentence_logits` [B, 2].
    """

    def __init__(self, config, name="cls", **kwargs):
        super().__init__(config, name=name, **kwargs)
        self.masked_lm = MaskedLMHead(self.config, dtype=self.dtype_policy)
        self.next_sentence = NextSentenceHead(
            self.config, dtype=self.dtype_policy
        )
        self.build()

    def build(self, *input_shapes):
        if self.built:
            return
        self.masked_lm.build()
        self.next_sentence.build((None, self.config.hidden_size))
        self.built = True

    def call(self, sequence_output, pooled_output, embedding_table, positions):
        return {
            "masked_lm_logits": self.masked_lm(
                sequence_output, embedding_table, positions
            ),
            "next_sentence_logits": self.next_sentence(pooled_output),
        }


@keras.saving.register_keras_serializable("bert_tf")
class ClassifierHead(_Head):
    """One linear layer over sentences or over tokens.

    Its variables are at the root of checkpoints. As in the original, their
    initial deviation is 0.02, and dropout is 0.1, independent of the config.

    Args:
        config: a `BertConfig`.
        num_labels: int, L.

    Call arguments:
        encoded: float tensor [..., D]: the pooled output to classify
            sentences, the sequence output to classify tokens.

    Returns:
        float tensor [..., L], logits.
    """

    def __init__(self, config, num_labels, name="classifier", **kwargs):
        super().__init__(config, name=name, **kwargs)
        self.num_labels = num_labels
        self.dropout = keras.layers.Dropout(0.1, dtype=self.dtype_policy)
        # Not in `build`, where variables get the layer's name as a prefix.
        _add_output_weights(self, num_labels)
        self.built = True

    def call(self, encoded, training=None):
        return _project(self, self.dropout(encoded, training=training))

    def get_config(self):
        return {**super().get_config(), "num_labels": self.num_labels}


@keras.saving.register_keras_serializable("bert_tf")
class PooledClassifierHead(ClassifierHead):
    """A `ClassifierHead` of sentences with a pooler of its own.

    For heads that were trained with poolers of their own on one encoder.

    Call arguments:
        sequence_output: float tensor [B, S, D].

    Returns:
        float tensor [B, L], logits.
    """

    def __init__(self, config, num_labels, name="classifier", **kwargs):
        super().__init__(config, num_labels, name=name, **kwargs)
        width = self.config.hidden_size
        tanh = get_activation("tanh")
        self.pooler = dense(self.config, width, self.dtype_policy, tanh)
        with keras.name_scope("pooler"):
            self.pooler.build((None, width))

    def call(self, sequence_output, training=None):
        pooled = self.pooler(sequence_output[:, 0])
        return super().call(pooled, training=training)


@keras.saving.register_keras_serializable("bert_tf")
class SpanHead(_Head):
    """Scores each token as the start and as the end of an answer.

    Args:
        config: a `BertConfig`.
        skip_padding: logits of padding are -1e9; nothing is computed there.

    Call arguments:
        sequence_output: float tensor [B, S, D].
        input_mask: int tensor [B, S]; needed with `skip_padding`.

    Returns:
        `start_logits` and `end_logits`, each [B, S], padding included.
    """

    def __init__(self, config, skip_padding=False, name="cls", **kwargs):
        super().__init__(config, name=name, **kwargs)
        self.skip_padding = skip_padding
        self.build()

    def build(self, *input_shapes):
        if self.built:
            return
        with keras.name_scope("squad"):
            _add_output_weights(self, 2)
        self.built = True

    def call(self, sequence_output, input_mask=None):
        logits = _project(self, sequence_output)  # [B, S, 2]
        if self.skip_padding:
            logits = ops.where(input_mask[..., None] > 0, logits, NO_ANSWER)
        return {"start_logits": logits[..., 0], "end_logits": logits[..., 1]}

    def get_config(self):
        return {**super().get_config(), "skip_padding": self.skip_padding}


def _add_output_weights(layer, num_outputs, stddev=0.02):
    # The original keeps these kernels as [outputs, D] and multiplies by the
    # transpose. They are drawn even inside `weights_to_come()`: fine-tuning
    # starts from checkpoints without them.
    layer.output_weights = keras.Variable(
        keras.initializers.TruncatedNormal(stddev=stddev),
        shape=(num_outputs, layer.config.hidden_size),
        dtype=layer.variable_dtype,
        name="output_weights",
        autocast=False,
    )
    layer.output_bias = keras.Variable(
        "zeros",
        shape=(num_outputs,),
        dtype=layer.variable_dtype,
        name="output_bias",
        autocast=False,
    )


def _project(layer, x):
    # In 16 bits logits would often be equal, and float32 is cheap for a few.
    weights = ops.convert_to_tensor(layer.output_weights)
    x = ops.cast(x, weights.dtype)
    return x @ ops.transpose(weights) + layer.output_bias


def gather_positions(sequence, positions):
    """Gathers the vectors `[b, positions[b, p]]` of a sequence.

    Args:
        sequence: float tensor [B, S, D].
        positions: int tensor [B, P].

    Returns:
        float tensor [B, P, D].
    """
    batch, length, width = ops.shape(sequence)
    rows = ops.arange(batch, dtype="int32")[:, None] * length
    flat = ops.reshape(sequence, (batch * length, width))
    return ops.take(flat, rows + ops.cast(positions, "int32"), axis=0)


def negative_log_likelihood(logits, labels):
    """The negative log softmax at the label.

    A label out of range gives 0, as a one-hot row of zeros does in the
    original.

    Args:
        logits: float tensor [..., L].
        labels: int tensor [...].

    Returns:
        float32 tensor [...].
    """
    logits = ops.cast(logits, "float32")
    num_classes = logits.shape[-1]
    if num_classes is None:
        num_classes = ops.shape(logits)[-1]
    # A product with one-hot rows would take many times the memory and the time
    # for a large vocabulary.
    inside = (labels >= 0) & (labels < num_classes)
    loss = ops.sparse_categorical_crossentropy(
        ops.where(inside, labels, 0), logits, from_logits=True
    )
    return ops.where(inside, loss, 0.0)


def masked_lm_loss(logits, masked_lm_ids, masked_lm_weights, total_weight=None):
    """The mean loss of the predictions of a batch, without padding.

    Args:
        logits: float tensor [B, P, V].
        masked_lm_ids: int tensor [B, P].
        masked_lm_weights: float tensor [B, P], 1 for predictions, 0 for
            padding.
        total_weight: the sum of the weights of the whole batch, if these are
            those of a part. The losses of the parts then add up to the whole.

    Returns:
        The loss, a scalar, and the loss of each prediction [B, P].
    """
    example_loss = negative_log_likelihood(logits, masked_lm_ids)
    weights = ops.cast(masked_lm_weights, "float32")
    if total_weight is None:
        total_weight = ops.sum(weights)
    # The original adds 1e-5, so that a batch may have no predictions.
    loss = ops.sum(weights * example_loss) / (total_weight + 1e-5)
    return loss, example_loss


def classification_loss(logits, labels, num_examples=None):
    """The mean cross entropy.

    Args:
        logits: float tensor [B, L].
        labels: int tensor [B] or [B, 1].
        num_examples: those of the whole batch, if these are a part of it. The
            losses of the parts then add up to the whole.

    Returns:
        The loss, a scalar, and the loss of each example [B].
    """
    example_loss = negative_log_likelihood(logits, ops.reshape(labels, (-1,)))
    return mean_over_batch(example_loss, num_examples), example_loss


def weighted_classification_loss(logits, labels, weights, num_examples=None):
    """The sum of the weighted cross entropies over the number of examples.

    It is not divided by the sum of the weights, so that the losses of parts of
    a batch add up.

    Args:
        logits, labels, num_examples: as in `classification_loss`.
        weights: of each label, L floats.

    Returns:
        The loss, a scalar, and the weighted loss of each example [B].
    """
    labels = ops.reshape(labels, (-1,))
    example_loss = negative_log_likelihood(logits, labels)
    of_labels = ops.convert_to_tensor(weights, "float32")
    example_loss = ops.take(of_labels, labels, axis=0) * example_loss
    return mean_over_batch(example_loss, num_examples), example_loss


def regression_loss(logits, values, num_examples=None):
    """The mean squared error.

    Args:
        logits: float tensor [B, 1].
        values: float tensor [B].
        num_examples: as in `classification_loss`.

    Returns:
        The loss, a scalar, and the loss of each example [B].
    """
    # [B, 1] - [B] would be [B, B].
    predicted = ops.cast(ops.reshape(logits, (-1,)), "float32")
    wanted = ops.cast(ops.reshape(values, (-1,)), "float32")
    example_loss = ops.square(predicted - wanted)
    return mean_over_batch(example_loss, num_examples), example_loss


def multi_label_loss(logits, labels, num_examples=None, weights=None):
    """The mean binary cross entropy over examples and labels.

    Args:
        logits: float tensor [B, L].
        labels: int tensor [B, L], 1 for the labels that hold, else 0.
        num_examples: as in `classification_loss`.
        weights: of the terms of labels that hold, L floats; None for 1.

    Returns:
        The loss, a scalar, and the loss of each example [B].
    """
    logits = ops.cast(logits, "float32")
    holds = ops.cast(labels, "float32")
    # -log(sigmoid(z)) is softplus(-z), -log(1 - sigmoid(z)) is softplus(z).
    positive = holds * ops.softplus(-logits)
    if weights is not None:
        positive = positive * ops.convert_to_tensor(weights, "float32")
    losses = positive + (1.0 - holds) * ops.softplus(logits)
    example_loss = ops.mean(losses, axis=-1)
    return mean_over_batch(example_loss, num_examples), example_loss


def soft_cross_entropy(logits, teacher_logits, temperature=1.0):
    """Cross entropy against the probabilities of a teacher.

    T^2 H(softmax(t / T), softmax(s / T)), as Hinton et al. 2015 scale it: with
    T^2 the gradients of different temperatures are of one size.

    Args:
        logits, teacher_logits: float tensors [..., L].
        temperature: T.

    Returns:
        float32 tensor [...].
    """
    of_student, of_teacher = (
        ops.cast(x, "float32") / temperature for x in (logits, teacher_logits)
    )
    products = ops.softmax(of_teacher) * ops.log_softmax(of_student)
    return -(temperature**2) * ops.sum(products, axis=-1)


def soft_binary_cross_entropy(logits, teacher_logits, temperature=1.0):
    """Binary cross entropy against a teacher's scores, the mean over labels.

    Args:
        logits, teacher_logits: float tensors [..., L].
        temperature: T, as in `soft_cross_entropy`.

    Returns:
        float32 tensor [...].
    """
    of_student, of_teacher = (
        ops.cast(x, "float32") / temperature for x in (logits, teacher_logits)
    )
    holds = ops.sigmoid(of_teacher)
    # As in `multi_label_loss`, with p softplus(-z) + (1 - p) softplus(z).
    losses = ops.softplus(of_student) - holds * of_student
    return temperature**2 * ops.mean(losses, axis=-1)


def mean_over_batch(values, num_examples=None):
    """The mean of values [B], or the share of a part in the mean of the whole.

    Args:
        values: float tensor [B].
        num_examples: those of the whole batch, if B are a part of it.
    """
    if num_examples is None:
        return ops.mean(values)
    return ops.sum(values) / num_examples


def token_loss(logits, labels, num_tokens=None):
    """The mean cross entropy of the tokens that have a label.

    Args:
        logits: float tensor [B, S, L].
        labels: int tensor [B, S]; -1 for tokens without a label.
        num_tokens: those with a label in the whole batch, if these are a part
            of it, as `count_labelled` counts them. The losses of the parts then
            add up to the whole.

    Returns:
        The loss, a scalar, and the loss of each token [B, S], 0 without label.
    """
    token_losses = negative_log_likelihood(logits, labels)
    if num_tokens is None:
        num_tokens = count_labelled(labels)
    # A batch may have no label at all.
    return ops.sum(token_losses) / ops.maximum(num_tokens, 1.0), token_losses


def count_labelled(labels):
    """The number of tokens with a label, a float32 scalar."""
    return ops.sum(ops.cast(labels >= 0, "float32"))


def span_loss(
    start_logits, end_logits, start_positions, end_positions, num_examples=None
):
    """The mean of the cross entropies of start and end; 0 if out of range.

    Args:
        start_logits, end_logits: float tensors [B, S].
        start_positions, end_positions: int tensors [B] or [B, 1].
        num_examples: as in `classification_loss`.

    Returns:
        The loss, a scalar.
    """
    start, _ = classification_loss(start_logits, start_positions, num_examples)
    end, _ = classification_loss(end_logits, end_positions, num_examples)
    return (start + end) / 2.0
