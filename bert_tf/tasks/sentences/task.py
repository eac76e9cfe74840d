"""Vectors of pairs of texts, as a task."""

import dataclasses
import itertools
import os
from typing import Any

import numpy as np
from absl import logging

from bert_tf.checkpoints import folders
from bert_tf.checkpoints.names import LABELS_FILE
from bert_tf.data import packing, prediction_tables
from bert_tf.data.packing import Truncation
from bert_tf.data.records import Feature
from bert_tf.support import files
from bert_tf.tasks import metrics, pictures, report
from bert_tf.tasks.sentences import metrics as pair_metrics
from bert_tf.tasks.sentences import model, rows
from bert_tf.tasks.sentences.data import COSINE, IN_BATCH, POOLINGS, SOFTMAX
from bert_tf.tasks.task import Evaluation, of_test
from bert_tf.training.step import count_examples

CORRELATIONS = ("eval_pearson", "eval_spearman")
RETRIEVAL = "eval_retrieval_accuracy"
RESULTS = (*CORRELATIONS, "eval_loss", "eval_accuracy", RETRIEVAL)
"""Which of them there are depends on the objective and on the labels."""


def result_names(objective, label):
    """The results of evaluating a set.

    Args:
        objective: one of `data.OBJECTIVES`.
        label: of an example of the set: a score, a name, or None.
    """
    if label is None:
        return (RETRIEVAL,)
    if isinstance(label, str):
        return ("eval_accuracy", "eval_loss")
    return CORRELATIONS + (("eval_loss",) if objective == COSINE else ())


class SentenceTask:
    """A `Task` whose examples are `data.PairExample`s.

    Args:
        objective: one of `data.OBJECTIVES`.
        pooling: one of `data.POOLINGS`.
        normalize: whether vectors are divided by their length.
        labels: names of labels, in order; for the objective softmax.
        tokenizer: a `FullTokenizer`.
        max_seq_length: word pieces of a text.
        batch_size: of training.
        test_labels: of the set to predict, if it has some.
        test_table: function that returns the `Table` of the file to predict.
    """

    groups_by_length = True
    log_names = "examples", None
    epochs_count_records = True

    def __init__(
        self,
        objective,
        pooling,
        normalize,
        labels,
        tokenizer,
        max_seq_length,
        batch_size=None,
        test_labels=None,
        test_table=None,
    ):
        self.objective = objective
        self.pooling, self.normalize = pooling, normalize
        self.labels = labels
        self.tokenizer = tokenizer
        self.max_seq_length = max_seq_length
        self.batch_size = batch_size
        self.test_labels = test_labels
        self.test_table = test_table
        has_logits = objective == SOFTMAX
        self.outputs = ("vectors", "logits") if has_logits else ("vectors",)

    def schema(self, is_training):
        tokens = Feature((2, self.max_seq_length), length_flag="max_seq_length")
        found = {
            "input_ids": dataclasses.replace(tokens, holds_token_ids=True),
            "input_mask": tokens,
            "segment_ids": tokens,
        }
        if self.objective == COSINE:
            found["label_ids"] = Feature((), "float32")
        if self.objective == SOFTMAX:
            found["label_ids"] = Feature(())
        return found

    def records(self, examples, is_training):
        truncation = Truncation()
        for example in examples:
            packed, num_cut = rows.pack_texts(
                example, self.max_seq_length, self.tokenizer
            )
            truncation.add(num_cut)
            inputs = packing.stacked_inputs(
                packed, self.max_seq_length, self.tokenizer
            )
            yield [{**inputs, **self._label_values(example.label)}]
        truncation.log(
            self.max_seq_length, "A higher max_seq_length loses less."
        )

    def _label_values(self, label):
        """The feature of a label; 0 where evaluation takes another one."""
        if self.objective == COSINE:
            return {"label_ids": [0.0 if label is None else label]}
        if self.objective == SOFTMAX:
            is_name = isinstance(label, str)
            return {"label_ids": [self.labels.index(label) if is_name else 0]}
        return {}

    def padding(self, is_training):
        schema = self.schema(is_training)
        return {name: [0] * schema[name].length for name in schema}

    def describe(self, example):
        label = example.label
        text = f"{label:g}" if isinstance(label, float) else str(label)
        return rows.describe_example(
            example, text, self.max_seq_length, self.tokenizer
        )

    def build(self, config, one_hot):
        return model.sentence_pairs(
            config,
            POOLINGS[self.pooling],
            self.normalize,
            len(self.labels) if self.objective == SOFTMAX else None,
            use_one_hot_embeddings=one_hot,
        )

    def loss(self, outputs, batch, totals):
        count = (totals or {}).get("examples")
        if self.objective == SOFTMAX:
            return model.softmax_loss(
                outputs["logits"], batch["label_ids"], count
            )
        if self.objective == COSINE:
            return model.cosine_loss(
                outputs["vectors"], batch["label_ids"], count
            )
        if totals is not None:
            raise ValueError("A part of a batch lacks the other pairs of it.")
        return model.in_batch_loss(outputs["vectors"])

    def count(self, batch):
        return count_examples(batch)

    def chance_loss(self, examples):
        if self.objective == IN_BATCH:
            return float(np.log(self.batch_size))
        found = [example.label for example in examples]
        if self.objective == COSINE:
            return float(np.var(found))
        _, counts = np.unique(found, return_counts=True)
        return metrics.entropy(counts)

    def evaluate(self, examples, rows, batch_size):
        outputs = self._outputs(examples, rows)
        found = [example.label for example in examples]
        return self._evaluation(examples, found, outputs)

    def _outputs(self, examples, rows):
        """Arrays by name, of the rows of real examples."""
        real = [row for (row,) in itertools.islice(rows, len(examples))]
        return {
            name: np.stack([row[name] for row in real]) for name in self.outputs
        }

    def _evaluation(self, examples, found, outputs):
        if found[0] is None:
            accuracy = pair_metrics.retrieval_accuracy(outputs["vectors"])
            return Evaluation({RETRIEVAL: accuracy})
        if isinstance(found[0], str):
            return self._of_labels(examples, found, outputs["logits"])
        return self._of_scores(examples, found, outputs["vectors"])

    def _of_scores(self, examples, found, vectors):
        scores = np.array(found)
        cosines = pair_metrics.cosines(vectors)
        results = pair_metrics.correlations(scores, cosines)
        texts = {pictures.PICTURE: pictures.draw_numbers(scores, cosines)}
        warnings = []
        if np.isnan(results["eval_spearman"]):
            warnings.append(
                "The scores or the cosines are all the same: their correlation "
                "is not defined (nan)"
            )
        if self.objective == COSINE:
            errors = np.abs(cosines - scores)
            results["eval_loss"] = float(np.mean(errors**2))
            texts[report.MISTAKES] = _mistakes(
                examples,
                errors,
                [f"{score:g}" for score in scores],
                [f"{cosine:.3f}" for cosine in cosines],
                "error",
            )
        return Evaluation(results, files=texts, warnings=warnings)

    def _of_labels(self, examples, found, logits):
        truth = np.array([self.labels.index(name) for name in found])
        scores = metrics.log_softmax(logits)
        predicted = scores.argmax(axis=-1)
        losses = -scores[np.arange(len(scores)), truth]
        names = [self.labels[at] for at in predicted]
        mistakes = _mistakes(
            examples,
            report.wrong_confidence(truth, np.exp(scores)),
            found,
            names,
            "probability",
        )
        return Evaluation(
            {
                "eval_accuracy": metrics.accuracy(truth, predicted),
                "eval_loss": float(losses.mean()),
            },
            files={
                **pictures.report_one_label(self.labels, truth, np.exp(scores)),
                report.MISTAKES: mistakes,
            },
            warnings=report.only_prediction(found, names, ""),
        )

    def write(self, examples, rows, folder, split):
        outputs = self._outputs(examples, rows)
        cosines = pair_metrics.cosines(outputs["vectors"]).astype(np.float32)
        path = os.path.join(folder, "test_results.tsv")
        files.write_text(path, "".join(f"{one!s}\n" for one in cosines))
        columns: list[tuple[str, Any]] = [("cosine", cosines)]
        if self.objective == SOFTMAX:
            chances = np.exp(metrics.log_softmax(outputs["logits"]))
            names = [self.labels[at] for at in chances.argmax(axis=-1)]
            best = chances.max(axis=-1).astype(np.float32)
            columns += [("label", names), ("probability", best)]
        if self.test_table:
            prediction_tables.write(
                os.path.join(folder, prediction_tables.FILE),
                self.test_table(),
                columns,
            )
        logging.info("Wrote the cosines of %d pairs to %s.", len(cosines), path)
        if self.test_labels is None:
            return None
        return of_test(self._evaluation(examples, self.test_labels, outputs))

    def write_model_files(self, folder):
        if self.objective == SOFTMAX:
            folders.write_labels(os.path.join(folder, LABELS_FILE), self.labels)


def _mistakes(examples, error, truth, predicted, measure):
    """The text of a table of the largest errors."""
    texts = {
        "text_a": [example.text_a for example in examples],
        "text_b": [example.text_b for example in examples],
    }
    guids = [example.guid for example in examples]
    return report.mistakes_table(error, texts, truth, predicted, guids, measure)
