"""Classification of texts and pairs of texts, as a task."""

import dataclasses
import itertools
import os

import numpy as np
from absl import logging

from bert_tf import heads, models
from bert_tf.checkpoints import folders
from bert_tf.checkpoints.names import LABELS_FILE
from bert_tf.data.packing import (
    InputFeatures,
    Truncation,
    padding_features,
)
from bert_tf.data.records import Feature
from bert_tf.support import files
from bert_tf.tasks.classification.rows import (
    convert_examples_to_windows,
    describe_example,
    truncation_advice,
)
from bert_tf.tasks.classification.targets import RESULTS, WINDOW_POOLINGS
from bert_tf.tasks.task import Evaluation
from bert_tf.training.step import count_examples


def classifier_schema(max_seq_length: int) -> dict[str, Feature]:
    """The features of run_classifier's records, under the original's names."""
    tokens = Feature((max_seq_length,), length_flag="max_seq_length")
    return {
        "input_ids": dataclasses.replace(tokens, holds_token_ids=True),
        "input_mask": tokens,
        "segment_ids": tokens,
        "label_ids": Feature(()),
        "is_real_example": Feature(()),
    }


def classifier_values(features: InputFeatures) -> dict[str, list[int]]:
    """The values of one record of `classifier_schema`."""
    return {
        "input_ids": features.input_ids,
        "input_mask": features.input_mask,
        "segment_ids": features.segment_ids,
        "label_ids": [features.label_id],
        "is_real_example": [int(features.is_real_example)],
    }


class ClassificationTask:
    """A `Task` whose examples are `datasets.InputExample`s.

    Args:
        target: a `targets.OneLabel`.
        tokenizer: a `FullTokenizer`.
        max_seq_length: word pieces of a record.
        doc_stride: distance between the windows of a long text, in word
            pieces; None truncates long texts.
        window_pooling: one of `targets.WINDOW_POOLINGS`.
        names_predictions: whether to write the predicted labels by name.
    """

    outputs = ("label_ids", "is_real_example", "logits")
    groups_by_length = True
    epochs_count_records = True

    def __init__(
        self,
        target,
        tokenizer,
        max_seq_length,
        doc_stride=None,
        window_pooling="mean",
        names_predictions=False,
    ):
        self.target = target
        self.metrics = (*RESULTS, *target.metrics)
        self.max_seq_length = max_seq_length
        self.doc_stride = doc_stride
        self.log_names = "examples", None if doc_stride is None else "windows"
        self.names_predictions = names_predictions
        self._pool = WINDOW_POOLINGS[window_pooling]
        self._conversion = (
            target.labels,
            max_seq_length,
            tokenizer,
            doc_stride,
        )

    def schema(self, is_training):
        return classifier_schema(self.max_seq_length)

    def records(self, examples, is_training):
        truncation = Truncation()
        for windows in convert_examples_to_windows(examples, *self._conversion):
            truncation.add(windows[0].num_cut)
            yield list(map(classifier_values, windows))
        truncation.log(self.max_seq_length, truncation_advice(self.doc_stride))

    def padding(self, is_training):
        return classifier_values(padding_features(self.max_seq_length))

    def describe(self, example):
        return describe_example(example, *self._conversion)

    def build(self, config, one_hot):
        return models.classifier(
            config, len(self.target.labels), use_one_hot_embeddings=one_hot
        )

    def loss(self, outputs, batch, totals):
        loss, _ = heads.classification_loss(
            outputs["logits"],
            batch["label_ids"],
            (totals or {}).get("examples"),
        )
        return loss

    def count(self, batch):
        return count_examples(batch)

    def evaluate(self, examples, rows, batch_size):
        label_ids, is_real, logits = [], [], []
        for windows in rows:
            label_ids.append(windows[0]["label_ids"])
            is_real.append(windows[0]["is_real_example"] == 1)
            logits.append(self._logits(windows))
        if self.doc_stride is not None:
            # The mean over batches of texts has no padding of windows.
            count = sum(is_real)
            label_ids, logits = label_ids[:count], logits[:count]
            is_real = is_real[:count]
        return Evaluation(
            *self.target.evaluate(
                np.array(label_ids),
                np.stack(logits),
                np.array(is_real),
                batch_size,
            )
        )

    def write(self, examples, rows, folder, split):
        real = itertools.islice(rows, len(examples))
        logits = np.stack([self._logits(windows) for windows in real])
        probabilities = self.target.probabilities(logits)
        path = os.path.join(folder, "test_results.tsv")
        lines = ("\t".join(map(str, row)) + "\n" for row in probabilities)
        files.write_text(path, "".join(lines))
        logging.info("Wrote %d predictions to %s.", len(logits), path)
        if self.names_predictions:
            path = os.path.join(folder, "test_predictions.txt")
            best = probabilities.argmax(axis=-1)
            names = (f"{self.target.labels[label]}\n" for label in best)
            files.write_text(path, "".join(names))
            logging.info("Wrote the predicted labels to %s.", path)

    def _logits(self, windows):
        """The logits [L] of a text, combined from those of its windows."""
        if len(windows) == 1:
            return windows[0]["logits"]
        return self._pool(np.stack([row["logits"] for row in windows]), axis=0)

    def write_model_files(self, folder):
        path = os.path.join(folder, LABELS_FILE)
        folders.write_labels(path, self.target.labels)
