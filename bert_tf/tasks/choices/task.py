"""Multiple choice, as a task."""

import dataclasses
import itertools
import os

import numpy as np
from absl import logging

from bert_tf import heads, models
from bert_tf.data import prediction_tables
from bert_tf.data.packing import Truncation
from bert_tf.data.records import Feature
from bert_tf.support import files
from bert_tf.tasks import metrics, pictures, report
from bert_tf.tasks.choices import rows as choice_rows
from bert_tf.tasks.task import Evaluation, of_test
from bert_tf.training.step import count_examples

RESULTS = ("eval_accuracy", "eval_loss")


def choice_schema(num_choices: int, max_seq_length: int) -> dict[str, Feature]:
    """The features of a record: a row of tokens for each choice."""
    tokens = Feature(
        (num_choices, max_seq_length), length_flag="max_seq_length"
    )
    return {
        "input_ids": dataclasses.replace(tokens, holds_token_ids=True),
        "input_mask": tokens,
        "segment_ids": tokens,
        "label_ids": Feature(()),
    }


class ChoiceTask:
    """A `Task` whose examples are `data.ChoiceExample`s.

    Args:
        labels: the names of the choices, in order; not needed to export.
        tokenizer: a `FullTokenizer`.
        max_seq_length: word pieces of the row of a choice.
        test_table: function that returns the `Table` of the file to predict.
        test_labels: the indices of the right choices of the set to predict, if
            it has labels.
    """

    outputs = ("label_ids", "logits")
    groups_by_length = True
    log_names = "examples", None
    epochs_count_records = True

    def __init__(
        self,
        labels,
        tokenizer,
        max_seq_length,
        test_labels=None,
        test_table=None,
    ):
        self.labels = labels
        self.tokenizer = tokenizer
        self.max_seq_length = max_seq_length
        self.test_labels = test_labels
        self.test_table = test_table

    def schema(self, is_training):
        return choice_schema(len(self.labels), self.max_seq_length)

    def records(self, examples, is_training):
        truncation = Truncation()
        for example in examples:
            packed, num_cut = choice_rows.pack_choices(
                example, self.max_seq_length, self.tokenizer
            )
            truncation.add(num_cut)
            yield [
                choice_rows.choice_values(
                    packed, example.label, self.max_seq_length, self.tokenizer
                )
            ]
        truncation.log(
            self.max_seq_length, "A higher max_seq_length loses less."
        )

    def padding(self, is_training):
        schema = self.schema(is_training)
        return {name: [0] * schema[name].length for name in schema}

    def describe(self, example):
        return choice_rows.describe_example(
            example, self.max_seq_length, self.tokenizer
        )

    def build(self, config, one_hot):
        return models.multiple_choice(config, use_one_hot_embeddings=one_hot)

    def loss(self, outputs, batch, totals):
        loss, _ = heads.classification_loss(
            outputs["logits"],
            batch["label_ids"],
            (totals or {}).get("examples"),
        )
        return loss

    def count(self, batch):
        return count_examples(batch)

    def chance_loss(self, examples):
        # What the model gives a choice does not depend on its place.
        return float(np.log(len(self.labels)))

    def evaluate(self, examples, rows, batch_size):
        truth, logits = zip(
            *(
                (row["label_ids"], row["logits"])
                for (row,) in itertools.islice(rows, len(examples))
            )
        )
        return self._evaluation(examples, truth, np.stack(logits))

    def _evaluation(self, examples, truth, logits):
        scores = metrics.log_softmax(logits)
        losses = -scores[np.arange(len(scores)), truth]
        predicted = scores.argmax(axis=-1)
        return Evaluation(
            {
                "eval_accuracy": metrics.accuracy(truth, predicted),
                "eval_loss": float(losses.mean()),
            },
            files=self._reports(examples, np.array(truth), np.exp(scores)),
            warnings=report.only_prediction(
                self._names(truth), self._names(predicted), ""
            ),
        )

    def _names(self, label_ids):
        return [self.labels[at] for at in label_ids]

    def _reports(self, examples, truth, probabilities):
        """Texts of files about predictions, by name."""
        texts = {"context": [example.context for example in examples]}
        if any(example.question for example in examples):
            texts["question"] = [example.question for example in examples]
        for at, label in enumerate(self.labels):
            texts[f"choice_{label}"] = [one.choices[at] for one in examples]
        table = report.mistakes_table(
            report.wrong_confidence(truth, probabilities),
            texts,
            self._names(truth),
            self._names(probabilities.argmax(axis=-1)),
            [example.guid for example in examples],
        )
        return {
            **pictures.report_one_label(self.labels, truth, probabilities),
            report.MISTAKES: table,
        }

    def write(self, examples, rows, folder, split):
        real = itertools.islice(rows, len(examples))
        logits = np.stack([row["logits"] for (row,) in real])
        probabilities = np.exp(metrics.log_softmax(logits)).astype(np.float32)
        lines = ("\t".join(map(str, row)) + "\n" for row in probabilities)
        path = os.path.join(folder, "test_results.tsv")
        files.write_text(path, "".join(lines))
        names = self._names(probabilities.argmax(axis=-1))
        path = os.path.join(folder, "test_predictions.txt")
        files.write_text(path, "".join(f"{name}\n" for name in names))
        if self.test_table:
            best = probabilities.max(axis=-1)
            prediction_tables.write(
                os.path.join(folder, prediction_tables.FILE),
                self.test_table(),
                [("choice", names), ("probability", best)],
            )
        logging.info("Wrote %d predictions to %s.", len(logits), path)
        if self.test_labels is None:
            return None
        return of_test(self._evaluation(examples, self.test_labels, logits))

    def write_model_files(self, folder):
        """Writes nothing: config and vocabulary are enough."""
