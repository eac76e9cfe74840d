"""Labelling the words of texts, as a task."""

import collections
import dataclasses
import itertools
import os

import numpy as np
from absl import logging

from bert_tf import heads, models
from bert_tf.checkpoints import folders
from bert_tf.checkpoints.names import EVAL_RESULTS, LABELS_FILE
from bert_tf.data.packing import pad_to_length
from bert_tf.data.records import Feature
from bert_tf.support import files
from bert_tf.tasks import metrics, pictures, report
from bert_tf.tasks.ner import rows as token_rows
from bert_tf.tasks.ner import schemes
from bert_tf.tasks.ner.metrics import EntityCounts
from bert_tf.tasks.ner.windows import WindowMaker
from bert_tf.tasks.task import Evaluation

RESULTS = (
    "eval_f1",
    "eval_precision",
    "eval_recall",
    "eval_token_accuracy",
    "eval_loss",
    "loss",
)


def token_schema(max_seq_length: int) -> dict[str, Feature]:
    """The features of a record: a window of a sentence."""
    tokens = Feature((max_seq_length,), length_flag="max_seq_length")
    return {
        "input_ids": dataclasses.replace(tokens, holds_token_ids=True),
        "input_mask": tokens,
        "segment_ids": tokens,
        "label_ids": tokens,
    }


class TokenTask:
    """A `Task` whose examples are `data.Example`s.

    Args:
        labels: in the order of their ids.
        tokenizer: a `FullTokenizer`.
        max_seq_length: word pieces of a record.
        document_context: see `windows.WindowMaker`.
    """

    outputs = ("label_ids", "logits")
    groups_by_length = True
    log_names = ("sentences", "windows")
    epochs_count_records = True

    def __init__(
        self, labels, tokenizer, max_seq_length, document_context=False
    ):
        self.labels = tuple(labels)
        self.scheme = schemes.scheme_of_model(self.labels)
        # Models of other programs may write IOBES with other letters.
        self._plain = self.labels
        if self.scheme != schemes.NO_SCHEME:
            self._plain = tuple(map(schemes.plain_label, self.labels))
        self.max_seq_length = max_seq_length
        self._ids = {label: index for index, label in enumerate(self.labels)}
        self._maker = WindowMaker(tokenizer, max_seq_length, document_context)

    def schema(self, is_training):
        return token_schema(self.max_seq_length)

    def records(self, examples, is_training):
        for example in examples:
            label_ids = self.label_ids(example).tolist()
            yield [
                token_rows.window_values(
                    window, label_ids, self.max_seq_length, self._maker
                )
                for window in self._maker.windows(
                    example.document, example.number
                )
            ]

    def label_ids(self, example):
        """The label ids of the words of a sentence, an array."""
        return np.array(token_rows.label_ids_of(example, self._ids))

    def padding(self, is_training):
        schema = self.schema(is_training)
        values = {name: [0] * schema[name].length for name in schema}
        length = self.max_seq_length
        return values | {
            "label_ids": pad_to_length([], length, token_rows.NO_LABEL)
        }

    def describe(self, example):
        return token_rows.describe_example(example, self._ids, self._maker)

    def build(self, config, one_hot):
        return models.token_classifier(
            config, len(self.labels), use_one_hot_embeddings=one_hot
        )

    def loss(self, outputs, batch, totals):
        loss, _ = heads.token_loss(
            outputs["logits"],
            batch["label_ids"],
            (totals or {}).get("tokens"),
        )
        return loss

    def count(self, batch):
        return {"tokens": heads.count_labelled(batch["label_ids"])}

    def chance_loss(self, examples):
        counts = collections.Counter(
            itertools.chain.from_iterable(
                token_rows.label_ids_of(example, self._ids)
                for example in examples
            )
        )
        return metrics.entropy(list(counts.values()))

    def evaluate(self, examples, rows, batch_size):
        return self._evaluate(examples, rows, batch_size, "eval")

    def write(self, examples, rows, folder, split):
        if examples[0].labels is not None:
            return self._evaluate(examples, rows, 1, "test")
        lines = []
        for example, of_example in zip(examples, rows):
            logits = token_rows.logits_of_words(example, of_example)
            names = self._names(example, logits)
            lines += token_rows.prediction_lines(example, names)
        path = os.path.join(folder, "test_predictions.txt")
        files.write_text(path, "".join(f"{line}\n" for line in lines))
        logging.info("Wrote %d predictions to %s.", _count(examples), path)
        return None

    def write_model_files(self, folder):
        folders.write_labels(os.path.join(folder, LABELS_FILE), self.labels)

    def _names(self, example, logits):
        """The predicted labels in the scheme of the file."""
        names = [self._plain[index] for index in logits.argmax(axis=-1)]
        if example.scheme == self.scheme:
            return names
        return schemes.convert(names, self.scheme, example.scheme)

    def _evaluate(self, examples, rows, batch_size, name):
        counts, lines, losses = EntityCounts(), [], _Losses()
        truth, predicted, mistakes = [], [], _Mistakes()
        label_ids, probabilities = [], []
        for example, of_example in zip(examples, rows):
            logits = token_rows.logits_of_words(example, of_example)
            losses.add(of_example)
            names = self._names(example, logits)
            truth += example.labels
            predicted += names
            counts.add(example.labels, names, example.scheme)
            found = np.exp(metrics.log_softmax(logits))
            mistakes.add(example, names, found.max(axis=-1))
            label_ids.append(self.label_ids(example))
            probabilities.append(found)
            lines += token_rows.prediction_lines(example, names)
        of_words = np.concatenate(label_ids), np.concatenate(probabilities)
        types = counts.of_types()
        results = {**counts.results(), "eval_loss": losses.of_words()}
        results_file = EVAL_RESULTS
        if name == "eval":
            results["loss"] = losses.of_batches(batch_size)
        else:
            results_file = f"{name}_{EVAL_RESULTS}"
        return Evaluation(
            results,
            files={
                f"{name}_predictions.txt": "".join(f"{x}\n" for x in lines),
                f"{name}_report.txt": counts.report(),
                f"{name}_words.txt": report.report_one_label(
                    self.labels, *of_words
                ),
                f"{name}_mistakes.tsv": mistakes.table(truth, predicted),
                f"{name}_report.svg": pictures.draw_label_scores(
                    list(types),
                    list(types.values()),
                    "Scores of each type of entity",
                    "entities",
                    report.reliability_of(*of_words),
                ),
            },
            results_file=results_file,
            warnings=report.only_prediction(truth, predicted, "", "words"),
        )


class _Mistakes:
    """The words of all examples, and how sure the wrong predictions are."""

    def __init__(self):
        self.confidence = []
        self.words = []
        self.sentences = []
        self.guids = []

    def add(self, example, names, sure):
        is_wrong = np.not_equal(example.labels, names)
        self.confidence.append(np.where(is_wrong, sure, 0))
        self.words += example.words
        self.sentences += [" ".join(example.words)] * len(names)
        self.guids += [f"line-{example.line}"] * len(names)

    def table(self, truth, predicted):
        """The most confident mistakes; a guid is the sentence's first line."""
        return report.mistakes_table(
            np.concatenate(self.confidence),
            {"word": self.words, "sentence": self.sentences},
            truth,
            predicted,
            self.guids,
        )


class _Losses:
    """Sums of the losses of words, and their numbers, for each record."""

    def __init__(self):
        self.sums = []
        self.counts = []

    def add(self, rows):
        for row in rows:
            is_word = row["label_ids"] >= 0
            scores = metrics.log_softmax(row["logits"][is_word])
            truth = row["label_ids"][is_word]
            self.sums.append(-scores[np.arange(len(truth)), truth].sum())
            self.counts.append(len(truth))

    def of_words(self):
        """The mean over all words."""
        return float(np.sum(self.sums) / np.sum(self.counts))

    def of_batches(self, size):
        """The mean over batches of their means over words."""
        starts = range(0, len(self.sums), size)
        means = [
            np.sum(self.sums[i : i + size]) / np.sum(self.counts[i : i + size])
            for i in starts
        ]
        return float(np.mean(means))


def _count(examples):
    return sum(len(example.words) for example in examples)
