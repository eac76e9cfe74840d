"""Classification of texts and pairs of texts, as a task."""

import dataclasses
import itertools
import os

import numpy as np
from absl import logging

from bert_tf import heads, models
from bert_tf.checkpoints import folders
from bert_tf.checkpoints.names import BEST_FOLDER, LABELS_FILE
from bert_tf.data import prediction_tables
from bert_tf.data.packing import InputFeatures, Truncation
from bert_tf.data.records import Feature, Values
from bert_tf.errors import InputError
from bert_tf.support import files
from bert_tf.tasks import report
from bert_tf.tasks.classification import submission
from bert_tf.tasks.classification.inference import pool_logits
from bert_tf.tasks.classification.rows import (
    convert_examples_to_windows,
    describe_example,
    padding_example,
    truncation_advice,
)
from bert_tf.tasks.classification.targets import ManyLabels
from bert_tf.tasks.task import of_test
from bert_tf.training.step import count_examples

ONE_LABEL = Feature(())


def classifier_schema(
    max_seq_length: int, label: Feature = ONE_LABEL
) -> dict[str, Feature]:
    """The features of run_classifier's records, under the original's names.

    Args:
        max_seq_length: S of the features.
        label: the feature of the label.
    """
    tokens = Feature((max_seq_length,), length_flag="max_seq_length")
    return {
        "input_ids": dataclasses.replace(tokens, holds_token_ids=True),
        "input_mask": tokens,
        "segment_ids": tokens,
        "label_ids": label,
        "is_real_example": Feature(()),
    }


def classifier_values(features: InputFeatures) -> Values:
    """The values of one record of `classifier_schema`."""
    label = features.label_id
    return {
        "input_ids": features.input_ids,
        "input_mask": features.input_mask,
        "segment_ids": features.segment_ids,
        "label_ids": label if isinstance(label, list) else [label],
        "is_real_example": [int(features.is_real_example)],
    }


class ClassificationTask:
    """A `Task` whose examples are `data.InputExample`s.

    Args:
        target: a `Target`, with its labels.
        tokenizer: a `FullTokenizer`.
        max_seq_length: word pieces of a record.
        doc_stride: distance between the windows of a long text, in word
            pieces; None truncates long texts.
        window_pooling: one of `targets.WINDOW_POOLINGS`.
        names_predictions: whether to write the predicted labels by name.
        submissions: `data.Submission`s by the name of the set.
        test_labels: the labels of sets to predict that have some, by the name
            of the set.
        test_table: function that returns the `Table` of the file to predict, or
            None if there is none.
        remark: function of results that returns what to know about them, for
            the log, or None.

    Attributes:
        target: with what the last evaluation has chosen, such as thresholds.
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
        submissions=None,
        remark=None,
        test_labels=None,
        test_table=None,
    ):
        self.target = target
        self.max_seq_length = max_seq_length
        self.doc_stride = doc_stride
        self.log_names = "examples", None if doc_stride is None else "windows"
        self.names_predictions = names_predictions
        self.submissions = submissions or {}
        self.remark = remark
        self.test_labels = test_labels or {}
        self.test_table = test_table
        self._pooling = window_pooling
        self._conversion = (
            target,
            max_seq_length,
            tokenizer,
            doc_stride,
        )

    def schema(self, is_training):
        label = Feature(self.target.record_shape, self.target.record_dtype)
        return classifier_schema(self.max_seq_length, label)

    def records(self, examples, is_training):
        truncation = Truncation()
        for windows in convert_examples_to_windows(examples, *self._conversion):
            truncation.add(windows[0].num_cut)
            yield list(map(classifier_values, windows))
        truncation.log(self.max_seq_length, truncation_advice(self.doc_stride))

    def padding(self, is_training):
        return classifier_values(
            padding_example(self.target, self.max_seq_length)
        )

    def describe(self, example):
        return describe_example(example, *self._conversion)

    def build(self, config, one_hot):
        return models.classifier(
            config, self.target.num_outputs, use_one_hot_embeddings=one_hot
        )

    def loss(self, outputs, batch, totals):
        losses = self.target.losses(outputs["logits"], batch["label_ids"])
        return heads.mean_over_batch(losses, (totals or {}).get("examples"))

    def count(self, batch):
        return count_examples(batch)

    def chance_loss(self, examples):
        return self.target.chance_loss([one.label for one in examples])

    def evaluate(self, examples, rows, batch_size):
        label_ids, is_real, logits = [], [], []
        for windows in rows:
            label_ids.append(windows[0]["label_ids"])
            is_real.append(windows[0]["is_real_example"] == 1)
            logits.append(self.logits_of_text(windows))
        if self.doc_stride is not None:
            # The mean over batches of texts has no padding of windows.
            count = sum(is_real)
            label_ids, logits = label_ids[:count], logits[:count]
            is_real = is_real[:count]
        truth, real = np.array(label_ids), np.array(is_real)
        outputs = np.stack(logits)
        self.target = self.target.fitted(truth[real], outputs[real])
        found = self.target.evaluate(truth, outputs, real, batch_size)
        mistakes = self._mistakes(examples, truth[real], outputs[real])
        remark = self.remark and self.remark(found.all())
        return dataclasses.replace(
            found,
            files={**found.files, **mistakes},
            warnings=[*found.warnings, *([remark] if remark else [])],
        )

    def write(self, examples, rows, folder, split):
        real = itertools.islice(rows, len(examples))
        logits = np.stack([self.logits_of_text(windows) for windows in real])
        suffix = split.removeprefix("predict")
        path = os.path.join(folder, f"test_results{suffix}.tsv")
        scores = self.target.scores(logits)
        lines = ("\t".join(map(str, row)) + "\n" for row in scores)
        files.write_text(path, "".join(lines))
        logging.info("Wrote %d predictions to %s.", len(logits), path)
        predictions = self.target.predictions(logits)
        if self.names_predictions:
            path = os.path.join(folder, "test_predictions.txt")
            files.write_text(path, "".join(f"{one}\n" for one in predictions))
            logging.info("Wrote the predicted labels to %s.", path)
        table = self.test_table and self.test_table()
        if table:
            path = os.path.join(folder, prediction_tables.FILE)
            prediction_tables.write(path, table, self.target.columns(logits))
            logging.info(
                "Wrote them to %s, beside the columns of %s.", path, table.path
            )
        if split in self.submissions:
            submission.write(folder, self.submissions[split], predictions)
        if split in self.test_labels:
            return self._evaluate_test(examples, logits, split)
        return None

    def _evaluate_test(self, examples, logits, split):
        """The `Evaluation` of a set to predict; chooses no thresholds."""
        label_ids = np.array(
            [self.target.encode(label) for label in self.test_labels[split]]
        )
        real = np.ones(len(logits), bool)
        found = self.target.evaluate(label_ids, logits, real, len(logits))
        mistakes = self._mistakes(examples, label_ids, logits)
        return of_test(
            dataclasses.replace(found, files={**found.files, **mistakes}),
            f"test{split.removeprefix('predict')}",
        )

    def _mistakes(self, examples, label_ids, logits):
        """The text of the file of mistakes, by its name."""
        texts = {"text_a": [example.text_a for example in examples]}
        if any(example.text_b for example in examples):
            texts["text_b"] = [example.text_b or "" for example in examples]
        table = report.mistakes_table(
            self.target.wrong_confidence(label_ids, logits),
            texts,
            self.target.names(label_ids),
            self.target.predictions(logits),
            [str(example.guid) for example in examples],
            self.target.wrong_measure,
        )
        return {report.MISTAKES: table}

    def logits_of_text(self, windows):
        """The logits [L] of a text, given the rows of its windows."""
        return pool_logits([row["logits"] for row in windows], self._pooling)

    def write_model_files(self, folder):
        path = os.path.join(folder, LABELS_FILE)
        if self.target.labels:
            folders.write_labels(path, self.target.labels)
            target = self.target
            if isinstance(target, ManyLabels) and target.keeps_thresholds:
                best = os.path.join(folder, BEST_FOLDER)
                for place in (folder, *[best] * os.path.isdir(best)):
                    for name, text in target.threshold_files.items():
                        files.write_text(os.path.join(place, name), text)
        elif os.path.exists(path):
            raise InputError(
                f"{path} names the labels of another model, and this one "
                "predicts numbers: use another output_dir, or remove the file "
                "if its model is not needed any more"
            )
