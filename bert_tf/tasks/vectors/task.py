"""Extracts the vectors of lines with the encoder of a checkpoint."""

import hashlib
import itertools
import math

import numpy as np
import tensorflow as tf
from absl import logging

from bert_tf import models
from bert_tf.checkpoints import inference
from bert_tf.checkpoints.names import POOLER, named_weights
from bert_tf.data import grouping
from bert_tf.tasks import metrics
from bert_tf.tasks.vectors import lines
from bert_tf.tasks.vectors.lines import PADDING_LINE, LineVectors
from bert_tf.training import prediction

EXAMPLES_TO_LOG = 1


def log_first(examples):
    """Yields all examples, and logs the first few."""
    for number, example in enumerate(examples):
        if number < EXAMPLES_TO_LOG:
            logging.info("*** Example ***\n%s", lines.describe_example(example))
        yield example


class Extractor:
    """Computes vectors with the encoder of a checkpoint, loaded once.

    Args:
        config: the model's `BertConfig`.
        checkpoint: a prefix, a folder, or a `CheckpointReader`.
        tokenizer: the model's tokenizer.
        layers: numbers of the L layers, from 0, or from -1 downwards.
        pooling: a `lines.Pooling`.
        strategy: a `tf.distribute.Strategy`.
        max_seq_length: maximum number of tokens in an example.
        joins_windows: whether a line may have several examples, its windows.
        batch_size: maximum number of examples in a batch.
        has_fixed_shape: pads all batches to [batch_size, max_seq_length].
        use_one_hot_embeddings, skip_padding: see `BertModel`; with batches of
            a fixed shape padding is always computed.
        normalize: whether each vector is divided by its length.

    Raises:
        InputError: the checkpoint lacks a weight, or one does not fit.
    """

    def __init__(
        self,
        config,
        checkpoint,
        tokenizer,
        layers,
        pooling,
        strategy,
        max_seq_length=128,
        joins_windows=False,
        batch_size=32,
        has_fixed_shape=False,
        use_one_hot_embeddings=False,
        skip_padding=True,
        normalize=False,
    ):
        self.tokenizer = tokenizer
        self._config = config
        self.over_tokens = pooling.over_tokens
        self.joins_windows = joins_windows
        self.max_seq_length = max_seq_length
        self.batch_size = batch_size
        self.has_fixed_shape = has_fixed_shape
        self.normalize = normalize
        if joins_windows and pooling.over_tokens in ("mean", "max"):
            # The mean or maximum is over the line, not over each window.
            pooling = pooling._replace(over_tokens=None)
        self.model, _ = inference.load_model(
            lambda: models.feature_extractor(
                config,
                layers,
                pooling,
                use_one_hot_embeddings=use_one_hot_embeddings,
            ),
            config,
            checkpoint,
            POOLER,
            strategy,
            skip_padding and not has_fixed_shape,
        )
        self._predict = prediction.DatasetPredictor(self.model, strategy)

    @property
    def shape(self):
        """(L, D) of the vectors of a token or, pooled, of a line."""
        return tuple(self.model.output["values"].shape[-2:])

    def fingerprint(self):
        """A hash of the encoder: of its config and of all its weights."""
        found = hashlib.sha256(self._config.to_json_string().encode())
        for name, weight in sorted(named_weights(self.model).items()):
            if not name.startswith(POOLER):
                found.update(name.encode())
                found.update(np.ascontiguousarray(weight.numpy()).data)
        return found.hexdigest()

    def extract(self, examples):
        """Yields the `LineVectors` of each line, in order.

        Args:
            examples: iterable of `lines.Example`s, in order.
        """
        found = self._extract(examples)
        if not self.normalize:
            return found
        return (x._replace(values=metrics.unit(x.values)) for x in found)

    def _extract(self, examples):
        placed = self._run(
            lines.pad_batch(
                batch,
                self.max_seq_length,
                self.batch_size if self.has_fixed_shape else None,
            )
            for batch in self._batches(examples)
        )
        if not self.joins_windows:
            return grouping.in_order(placed)
        windows = grouping.in_order(
            (place, lines.pool_window(one, self.over_tokens))
            for place, one in placed
        )
        return lines.join_windows(windows, self.over_tokens)

    def _batches(self, examples):
        if self.has_fixed_shape:
            # Examples of similar length would save nothing.
            return grouping.batched(examples, self.batch_size)
        per_vector = math.prod(self.shape)
        keeps_tokens = self.over_tokens is None
        return grouping.group_by_length(
            examples,
            self.batch_size,
            lambda example: len(example.tokens),
            lambda example: (
                per_vector * (len(example.tokens) if keeps_tokens else 1)
            ),
        )

    def _run(self, batches):
        """Runs the model over batches, as returned by `lines.pad_batch`.

        Yields:
            For each example its place and the `LineVectors` of the tokens that
            it owns, in the order of the batches.
        """
        errors = []

        def feed():
            # TensorFlow would replace any exception by one of its own.
            try:
                yield from batches
            except Exception as error:
                errors.append(error)

        batches = iter(batches)
        first = next(batches)
        batches = itertools.chain([first], batches)
        spec = {
            name: tf.TensorSpec(
                array.shape if self.has_fixed_shape else [None] * array.ndim,
                array.dtype,
            )
            for name, array in first.items()
        }
        dataset = tf.data.Dataset.from_generator(feed, output_signature=spec)
        for inputs, outputs in self._predict(dataset.prefetch(1)):
            for row, line in enumerate(inputs["line"]):
                if line == PADDING_LINE:
                    continue
                owned = slice(inputs["first"][row], inputs["stop"][row])
                ids = inputs["input_ids"][row, owned].tolist()
                values = outputs["values"][row]
                vectors = LineVectors(
                    int(line),
                    self.tokenizer.convert_ids_to_tokens(ids),
                    values[owned] if values.ndim == 3 else values,
                )
                yield int(inputs["place"][row]), vectors
        if errors:
            raise errors[0]
