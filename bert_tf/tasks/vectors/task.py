"""Vectors of the lines of files."""

import itertools

import tensorflow as tf

from bert_tf.tasks.vectors.lines import PADDING_LINE, Vectors
from bert_tf.training import prediction


def extract(model, batches, tokenizer, strategy, has_fixed_shape=False):
    """Runs the model over batches.

    Args:
        model: what `feature_extractor` returns.
        batches: what `pad_batch` returns, one after the other.
        tokenizer: names the tokens.
        strategy: the one that the model was built under.
        has_fixed_shape: whether all batches are of one shape.

    Yields:
        Pairs of place and `Vectors`, in the order of the batches: of the tokens
        that an example owns.
    """
    errors = []

    def feed():
        # TensorFlow would make an error of its own of any other.
        try:
            yield from batches
        except Exception as error:
            errors.append(error)

    batches = iter(batches)
    first = next(batches)
    batches = itertools.chain([first], batches)
    spec = {
        name: tf.TensorSpec(
            array.shape if has_fixed_shape else [None] * array.ndim,
            array.dtype,
        )
        for name, array in first.items()
    }
    dataset = tf.data.Dataset.from_generator(feed, output_signature=spec)
    for inputs, outputs in prediction.predict(
        model, dataset.prefetch(1), strategy
    ):
        for row, line in enumerate(inputs["line"]):
            if line == PADDING_LINE:
                continue
            owned = slice(inputs["first"][row], inputs["stop"][row])
            ids = inputs["input_ids"][row, owned].tolist()
            values = outputs["values"][row]
            vectors = Vectors(
                int(line),
                tokenizer.convert_ids_to_tokens(ids),
                values[owned] if values.ndim == 3 else values,
            )
            yield int(inputs["place"][row]), vectors
    if errors:
        raise errors[0]
