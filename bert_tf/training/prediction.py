"""Computes a model's outputs for every batch of a dataset."""

import numpy as np
import tensorflow as tf

from bert_tf.training import devices


class DatasetPredictor:
    """Runs a model over datasets; compiles it once.

    Args:
        model: a `keras.Model` that takes a dictionary of features.
        strategy: the one that the model was built under.
        summarize: function of outputs and features, part of the graph, that
            reduces large outputs to what the caller needs.
    """

    def __init__(self, model, strategy=None, summarize=None):
        self.model = model
        self.strategy = strategy or tf.distribute.get_strategy()
        if devices.num_workers(self.strategy) > 1:
            # Only the chief predicts.
            self.strategy = tf.distribute.get_strategy()
        self.summarize = summarize
        self._compiled = {}

    def __call__(self, dataset):
        """Runs the model over every batch.

        Args:
            dataset: a finite `tf.data.Dataset` of feature dictionaries. Batches
                of any size; with several replicas, a multiple of their number.

        Yields:
            Pairs of features and outputs, dictionaries of NumPy arrays, in
            order.
        """
        forward = self._compile(dataset.element_spec)
        for features in self.strategy.experimental_distribute_dataset(dataset):
            outputs = forward(features)
            yield _gathered((features, outputs), self.strategy)

    def _compile(self, spec):
        if self.strategy.num_replicas_in_sync > 1:
            spec = None
        key = str(spec)
        if key not in self._compiled:
            self._compiled[key] = tf.function(
                self._call if spec else self._on_replicas,
                # One trace for full batches and for the smaller last one.
                input_signature=spec and [spec],
                autograph=False,
            )
        return self._compiled[key]

    def _on_replicas(self, features):
        return self.strategy.run(self._call, args=(features,))

    def _call(self, features):
        inputs = {name: features[name] for name in self.model.input}
        outputs = self.model(inputs, training=False)
        if self.summarize is None:
            return outputs
        return self.summarize(outputs, features)


def predict(model, dataset, strategy=None, summarize=None):
    """Runs a model over one dataset: see `DatasetPredictor`."""
    return DatasetPredictor(model, strategy, summarize)(dataset)


def count_rows(batch_and_outputs):
    """The number of rows in a pair of features and outputs."""
    features, _ = batch_and_outputs
    return len(next(iter(features.values())))


def _gathered(values, strategy):
    def gather(value):
        parts = strategy.experimental_local_results(value)
        return np.concatenate([part.numpy() for part in parts])

    return tf.nest.map_structure(gather, values)
