"""The SavedModel that embeds texts or their tokens."""

import tensorflow as tf
from absl import logging

from bert_tf import models
from bert_tf.checkpoints.names import POOLER
from bert_tf.errors import InputError
from bert_tf.exports import export, graph_rows, signature
from bert_tf.exports.settings import ROWS_AT_ONCE
from bert_tf.exports.signature import DEVICE
from bert_tf.tasks.vectors import lines

LEAST_SQUARE = 1e-24
"""Of lengths that vectors are divided by: a vector of zeros stays one."""


class Features(signature.Served):
    """Embeds texts, or their tokens.

    Args:
        rules: `TextRules`.
        model: a model of `models.encoder`, with tokens not pooled.
        pooling: one of `lines.POOLINGS`.
        layers: those of the model's outputs.
        has_pooler: whether the checkpoint has weights for `pooled_output`.
        window_rules: `WindowRules`.
        normalize: whether embeddings are divided by their length.
    """

    head = "features"

    def __init__(
        self,
        rules,
        model,
        pooling,
        layers,
        has_pooler,
        window_rules,
        normalize=False,
    ):
        super().__init__(rules, model, window_rules.rows_at_once)
        self.pooling = pooling
        self.over_tokens = lines.POOLINGS[pooling].over_tokens
        self.has_pooler = has_pooler
        self.normalize = normalize
        self.plain.layers = list(layers)
        self.plain.window_rules = window_rules
        _, _, *self.plain.shape = model.output["values"].shape

    def settings(self):
        return {
            "pooling": self.pooling,
            "normalize": self.normalize,
            "layers": self.plain.layers,
            "doc_stride": self.plain.window_rules.doc_stride,
        }

    def graph_settings(self):
        return {**self.settings(), "over_tokens": self.over_tokens}

    def row_outputs(self, rows, outputs):
        found = {"sequence_output": outputs["sequence_output"]}
        if self.has_pooler:
            found["pooled_output"] = outputs["pooled_output"]
        return {**found, "embedding": self._embedding(rows, outputs)}

    def _embedding(self, rows, outputs):
        """Embeddings of texts that are one row each."""
        values = outputs["values"]  # [B, S, L, D]
        if self.over_tokens is not None:
            values = tf.transpose(values, [0, 2, 1, 3])
            values = models.pool(values, rows["input_mask"], self.over_tokens)
        return self._finished(values)

    def _finished(self, values):
        """Embeddings [..., L * D] of pooled layers [..., L, D]."""
        joined = _side_by_side(values)
        if not self.normalize:
            return joined
        return tf.math.l2_normalize(joined, axis=-1, epsilon=LEAST_SQUARE)

    def text_outputs(self, text_a, text_b):
        if self.plain.window_rules.doc_stride is not None:
            return self._outputs_of_windows(text_a, text_b)
        rows, num_cut = self.rows_of_texts(text_a, text_b)
        embedding = self._embedding(rows, self.forward(rows))
        found = {"embedding": embedding, "num_cut": num_cut}
        if self.over_tokens is None:
            is_token = rows["input_mask"] > 0
            found["tokens"] = self._names(rows["input_ids"], is_token)
        return found

    def _names(self, ids, is_token):
        with tf.device(DEVICE):
            pieces = tf.constant(self.rules.pieces(), tf.string)
            return tf.where(is_token, tf.gather(pieces, ids), "")

    def _outputs_of_windows(self, text_a, text_b):
        # As `lines.join_windows` does.
        rules = self.plain.window_rules
        windows, pieces = self.windows_of_texts(
            text_a, text_b, rules.doc_stride
        )
        texts, count = windows.rows.texts, tf.size(text_a, tf.int64)
        kind = tf.float64 if self.over_tokens == "mean" else tf.float32
        specs = [tf.TensorSpec([None, *self.plain.shape], kind)]
        if self.over_tokens is None:
            specs.append(tf.TensorSpec([None], tf.int32))
        values, *ids = graph_rows.in_chunks(
            lambda first, last: self._pool_windows(
                windows, pieces, slice(first, last), kind
            ),
            tf.size(texts, tf.int64),
            rules.rows_at_once,
            specs,
        )
        owned = tf.reduce_sum(tf.cast(windows.is_owned, tf.int64), axis=1)
        lengths = tf.math.unsorted_segment_sum(owned, texts, count)
        found = {"num_cut": windows.num_cut}
        if self.over_tokens is None:
            ids = tf.RaggedTensor.from_row_lengths(*ids, lengths)
            found["tokens"] = self._names(
                ids.to_tensor(), tf.sequence_mask(lengths)
            )
            values = tf.RaggedTensor.from_row_lengths(values, lengths)
            values = values.to_tensor(shape=[None, None, *self.plain.shape])
        elif self.over_tokens == "mean":
            values = tf.math.unsorted_segment_sum(values, texts, count)
            values /= tf.cast(lengths, kind)[:, None, None]
            values = tf.cast(values, tf.float32)
        elif self.over_tokens == "max":
            values = tf.math.unsorted_segment_max(values, texts, count)
        else:
            values = tf.math.unsorted_segment_mean(values, texts, count)
        return {**found, "embedding": self._finished(values)}

    def _pool_windows(self, windows, pieces, chosen, kind):
        """The owned tokens of some windows, pooled over each window.

        Returns:
            A list of their sums, largest values or first ones, [W, L, D]. Where
            tokens are not pooled, their values [T, L, D] and ids [T].
        """
        rows = self.fill(windows.rows.part(chosen.start, chosen.stop), pieces)
        with tf.device(DEVICE):
            is_owned = windows.is_owned[chosen].to_tensor(
                False, shape=tf.shape(rows["input_ids"], tf.int64)
            )
        values = self.forward(rows)["values"]
        if self.over_tokens is None:
            ids = tf.boolean_mask(rows["input_ids"], is_owned)
            return [tf.boolean_mask(values, is_owned), ids]
        if self.over_tokens == "first":
            return [values[:, 0]]
        is_owned = is_owned[:, :, None, None]
        values = tf.cast(values, kind)
        if self.over_tokens == "mean":
            values = tf.where(is_owned, values, 0.0)
            return [tf.reduce_sum(values, axis=1)]
        values = tf.where(is_owned, values, values.dtype.min)
        return [tf.reduce_max(values, axis=1)]


def _side_by_side(values):
    """[..., L * D] of [..., L, D]."""
    *dimensions, layers, width = values.shape
    joined = tf.concat([tf.shape(values)[:-2], [layers * width]], axis=0)
    joined = tf.reshape(values, joined)
    return tf.ensure_shape(joined, [*dimensions, layers * width])


def export_features(
    source,
    output_dir,
    pooling="mean",
    layers=None,
    doc_stride=None,
    rows_at_once=ROWS_AT_ONCE,
    normalize=False,
):
    """Exports the encoder, to embed texts or their tokens.

    Args:
        source: a `Source`.
        output_dir: the folder MODEL.
        pooling: one of `lines.POOLINGS`.
        layers: as for `lines.number_layers`; None for the highest one, or those
            of the pooling.
        doc_stride: splits long texts into overlapping windows, this many word
            pieces apart; None truncates them.
        rows_at_once: windows that are computed together.
        normalize: whether the embedding of a text is divided by its length.

    Returns:
        The path of the new version.

    Raises:
        InputError: a file is missing or does not fit, there is no such layer,
            tokens would be normalized, or the folder cannot be written.
    """
    opened, rules = export.open_source(source, default_length=128)
    window_rules = signature.make_window_rules(rules, doc_stride, rows_at_once)
    kind = lines.POOLINGS[pooling]
    received = f"pooling={pooling}, layers={layers}"
    if kind.layers and layers is not None:
        raise InputError(
            f"`layers` are not for the pooling {pooling}, which takes "
            f"{', '.join(map(str, kind.layers))}. Received: {received}"
        )
    if normalize:
        lines.require_one_vector(pooling)
    layers = lines.number_layers(
        kind.layers or layers or (-1,),
        opened.config.num_hidden_layers,
        received,
    )
    has_pooler = export.has_scope(opened, POOLER)
    if not has_pooler:
        logging.info(
            "%s has no pooler: pooled_output is left out.", opened.path
        )
    model = export.load(
        source,
        opened,
        lambda: models.encoder(opened.config, layers, kind),
        may_lack=() if has_pooler else (POOLER,),
    )
    served = Features(
        rules, model, pooling, layers, has_pooler, window_rules, normalize
    )
    return export.save(served, source, opened, output_dir)
