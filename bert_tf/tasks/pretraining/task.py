"""Pretraining: records, losses, training and evaluation.

Unlike in other tasks, the records exist before the run: create_pretraining_data
writes them.
"""

import dataclasses
import functools

import numpy as np
from absl import logging
from keras import ops

from bert_tf.data import records
from bert_tf.data.records import Feature
from bert_tf.heads import (
    classification_loss,
    masked_lm_loss,
    mean_over_batch,
    negative_log_likelihood,
)
from bert_tf.support.progress import counted
from bert_tf.training import evaluation, loop, prediction

# Number of files read in parallel, as in the original.
FILES_AT_ONCE = 4


def count(batch):
    """The totals of a batch: `examples`, and `predictions` without padding.

    Args:
        batch: features of the records (`pretraining_schema`).
    """
    weights = ops.cast(batch["masked_lm_weights"], "float32")
    examples = ops.cast(ops.shape(weights)[0], "float32")
    return {"examples": examples, "predictions": ops.sum(weights)}


def losses(outputs, batch, totals=None, next_sentence=True):
    """The training loss, and scalars to follow training.

    Args:
        outputs: of `models.pretraining`.
        batch: features of the records (`pretraining_schema`).
        totals: of `count` for the whole batch, if `batch` is a part of it: the
            scalars then add up over the parts.
        next_sentence: whether to add the next-sentence loss.

    Returns:
        A dictionary of float32 scalars: `loss`, `masked_lm_loss`,
        `masked_lm_accuracy`; with `next_sentence` also `next_sentence_loss` and
        `next_sentence_accuracy`.
    """
    ids = batch["masked_lm_ids"]
    weights = ops.cast(batch["masked_lm_weights"], "float32")
    logits = outputs["masked_lm_logits"]
    totals = totals or {}
    num_examples = totals.get("examples")
    num_predictions = totals.get("predictions")
    loss, _ = masked_lm_loss(logits, ids, weights, num_predictions)
    right = ops.sum(weights * _is_best(logits, ids))
    if num_predictions is None:
        num_predictions = ops.sum(weights)
    scalars = {
        "loss": loss,
        "masked_lm_loss": loss,
        "masked_lm_accuracy": right / ops.maximum(num_predictions, 1.0),
    }
    if not next_sentence:
        return scalars
    logits = outputs["next_sentence_logits"]
    labels = ops.reshape(batch["next_sentence_labels"], (-1,))
    next_loss, _ = classification_loss(logits, labels, num_examples)
    return {
        **scalars,
        "loss": loss + next_loss,
        "next_sentence_loss": next_loss,
        "next_sentence_accuracy": mean_over_batch(
            _is_best(logits, labels), num_examples
        ),
    }


def per_prediction(outputs, batch):
    """The outputs that evaluation needs; logits are V times as large.

    Returns:
        `masked_lm_loss`, `masked_lm_right` [B, P], `next_sentence_loss`,
        `next_sentence_right` [B]; float32.
    """
    ids, logits = batch["masked_lm_ids"], outputs["masked_lm_logits"]
    labels = ops.reshape(batch["next_sentence_labels"], (-1,))
    next_logits = outputs["next_sentence_logits"]
    return {
        "masked_lm_loss": negative_log_likelihood(logits, ids),
        "masked_lm_right": _is_best(logits, ids),
        "next_sentence_loss": negative_log_likelihood(next_logits, labels),
        "next_sentence_right": _is_best(next_logits, labels),
    }


def _is_best(logits, labels):
    best = ops.argmax(logits, axis=-1)
    return ops.cast(best == ops.cast(labels, best.dtype), "float32")


def result_names(next_sentence=True):
    """Names of the results of `evaluate`."""
    of_words = ["loss", "masked_lm_accuracy", "masked_lm_loss"]
    of_pairs = ["next_sentence_accuracy", "next_sentence_loss"]
    return of_words + of_pairs if next_sentence else of_words


def evaluate(batches, next_sentence=True):
    """The original's results: means over predictions, and over batches.

    `loss` is the mean of the batches' losses; the others are means over all
    predictions of all batches, without padding.

    Args:
        batches: pairs of features and their `per_prediction`, NumPy arrays.
        next_sentence: whether to include the next sentence.

    Returns:
        A dictionary of floats: `loss`, `masked_lm_accuracy`, `masked_lm_loss`,
        `next_sentence_accuracy`, `next_sentence_loss`.
    """
    sums = np.zeros(3)  # Weights, loss, right ones.
    next_losses, next_rights, batch_losses = [], [], []
    for features, values in batches:
        weights = features["masked_lm_weights"].astype(np.float64)
        loss = np.sum(weights * values["masked_lm_loss"])
        right = np.sum(weights * values["masked_lm_right"])
        sums += [weights.sum(), loss, right]
        batch_loss = loss / (weights.sum() + 1e-5)  # As in `masked_lm_loss`.
        if next_sentence:
            batch_loss += np.mean(values["next_sentence_loss"], dtype=float)
            next_losses.extend(values["next_sentence_loss"])
            next_rights.extend(values["next_sentence_right"])
        batch_losses.append(batch_loss)
    total = max(sums[0], 1.0)
    results = {
        "loss": float(np.mean(batch_losses)),
        "masked_lm_loss": float(sums[1] / total),
        "masked_lm_accuracy": float(sums[2] / total),
    }
    if next_sentence:
        results["next_sentence_loss"] = float(np.mean(next_losses, dtype=float))
        right = float(np.mean(next_rights, dtype=float))
        results["next_sentence_accuracy"] = right
    return results


def pretraining_schema(
    max_seq_length: int,
    max_predictions_per_seq: int,
    type_vocab_size: int | None = None,
    skip_padding: bool = False,
) -> dict[str, Feature]:
    """The features of pretraining records, under the original's names.

    `next_sentence_labels` is 1 where the second text is a random one.

    Args:
        max_seq_length: S of the records.
        max_predictions_per_seq: P of the records.
        type_vocab_size: number of segments of the model. If given, all integers
            must be in range; else, as in the original, only token ids.
        skip_padding: whether nothing is computed at padding. Then masked words
            must not stand there.
    """
    tokens = Feature((max_seq_length,), length_flag="max_seq_length")
    masked = Feature(
        (max_predictions_per_seq,), length_flag="max_predictions_per_seq"
    )

    def ranged(feature, below, reason=""):
        if type_vocab_size is None:
            return feature
        reason += "--check_records=false computes with it as the original does"
        return dataclasses.replace(feature, below=below, below_reason=reason)

    segments = f"the model has type_vocab_size={type_vocab_size}; "
    return {
        "input_ids": dataclasses.replace(tokens, holds_token_ids=True),
        "input_mask": ranged(tokens, 2),
        "segment_ids": ranged(tokens, type_vocab_size, segments),
        "masked_lm_positions": dataclasses.replace(
            ranged(masked, max_seq_length),
            of_tokens_by="masked_lm_weights" if skip_padding else None,
        ),
        "masked_lm_ids": dataclasses.replace(masked, holds_token_ids=True),
        "masked_lm_weights": dataclasses.replace(masked, dtype="float32"),
        "next_sentence_labels": ranged(Feature((1,)), 2),
    }


class Pretraining:
    """Trains and evaluates one model on files of records.

    Args:
        files: paths of the record files.
        schema: of `pretraining_schema`.
        model: what `models.pretraining` returned, with its weights.
        settings: `RunSettings`, whose `training` has the number of steps.
        vocab_size: int, to check token ids.
        strategy: the one that the model was built under.
        max_eval_steps: number of batches in an evaluation.
        next_sentence: whether the next-sentence loss is trained and evaluated.
    """

    def __init__(
        self,
        files,
        schema,
        model,
        settings,
        vocab_size,
        strategy,
        max_eval_steps,
        next_sentence=True,
    ):
        self.files = files
        self.schema = schema
        self.model = model
        self.settings = settings
        self.vocab_size = vocab_size
        self.strategy = strategy
        self.max_eval_steps = max_eval_steps
        self.next_sentence = next_sentence
        self._has_evaluated = False
        self._predictor = prediction.DatasetPredictor(
            model, strategy, per_prediction
        )

    def train(self, point, seed, masker=None):
        """Trains from a `StartingPoint` to the last step, and returns it.

        The seed decides the order of the examples and, with a
        `dynamic_masking.Masker`, the masks.
        """
        size = self.settings.training.batch_size
        logging.info("***** Running training *****")
        logging.info("  Batch size = %d", size)

        def batches(step):
            found = records.training_batches(
                self.files,
                self.schema,
                size,
                seed,
                step,
                self.vocab_size,
                FILES_AT_ONCE,
                self.settings.bucket_by_length,
            )
            if masker:
                found = masker.remask(found, seed, step)
            skips = self.settings.build.skip_padding
            return records.trim_batches(found, self.schema) if skips else found

        with self._naming_bad_records():
            return loop.train(
                self.model,
                functools.partial(losses, next_sentence=self.next_sentence),
                batches,
                point,
                self.settings.training,
                self.strategy,
                count,
                self.settings.evaluation,
                self.results,
            )

    def evaluate(self, step):
        """Writes eval_results.txt."""
        evaluation.write_eval_results(
            self.settings.output_dir,
            {**self.results(), "global_step": step},
            trained=self.settings.do_train,
        )

    def results(self):
        """Evaluates the model; returns results by name.

        As in the original, over exactly `max_eval_steps` batches; files with
        fewer are repeated.
        """
        size = self.settings.eval_batch_size
        if not self._has_evaluated:  # Once in a training.
            self._has_evaluated = True
            logging.info("***** Running evaluation *****")
            logging.info("  Batch size = %d", size)
        dataset = records.evaluation_batches(
            self.files,
            self.schema,
            size,
            self.vocab_size,
            num_batches=self.max_eval_steps,
        )
        with self._naming_bad_records():
            return evaluate(
                counted(
                    self._predictor(dataset),
                    self.max_eval_steps * size,
                    "Evaluation",
                    prediction.count_rows,
                ),
                self.next_sentence,
            )

    def _naming_bad_records(self):
        return records.naming_bad_records(
            self.files, self.schema, self.vocab_size
        )
