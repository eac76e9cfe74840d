"""Answering questions about texts, as a task."""

import dataclasses
import math
import os
from typing import NamedTuple

from absl import logging

from bert_tf import heads, models
from bert_tf.data.records import Feature
from bert_tf.data.tables import shuffled
from bert_tf.support import files
from bert_tf.tasks.squad import answers as squad_answers
from bert_tf.tasks.squad import metrics
from bert_tf.tasks.squad.threshold import THRESHOLD_FILE
from bert_tf.tasks.squad.windows import WindowMaker, describe_window
from bert_tf.tasks.task import Evaluation
from bert_tf.training.step import count_examples


def squad_training_schema(max_seq_length: int) -> dict[str, Feature]:
    """The features of training records, under the original's names.

    Positions are 0 where the window does not contain the whole answer.
    """
    return {
        **squad_evaluation_schema(max_seq_length),
        "start_positions": Feature(()),
        "end_positions": Feature(()),
        "is_impossible": Feature(()),
    }


def squad_evaluation_schema(max_seq_length: int) -> dict[str, Feature]:
    """The features of records to predict, under the original's names."""
    tokens = Feature((max_seq_length,), length_flag="max_seq_length")
    return {
        "unique_ids": Feature(()),
        "input_ids": dataclasses.replace(tokens, holds_token_ids=True),
        "input_mask": tokens,
        "segment_ids": tokens,
    }


class WindowSettings(NamedTuple):
    """How contexts are split into windows: the original's flags.

    Attributes:
        max_seq_length: word pieces of a window with its question.
        doc_stride: distance between windows, in word pieces.
        max_query_length: word pieces of a question.
        exact_answers: see `windows.WindowMaker`.
    """

    max_seq_length: int
    doc_stride: int
    max_query_length: int
    exact_answers: bool


class SquadTask:
    """A `Task` whose examples are `data.SquadExample`s.

    Args:
        tokenizer: a `FullTokenizer`.
        windows: `WindowSettings`.
        answers: `answers.AnswerSettings`.
        threshold: of null odds; None to choose the one with the best F1.
        skip_padding: whether to predict windows without their padding. In the
            original, padding takes places among the n best.
        source: name of the file to predict, for the log.
    """

    outputs = ("unique_ids", "input_mask", "start_logits", "end_logits")
    log_names = ("orig examples", "split examples")
    # As in the original, more windows do not make an epoch longer.
    epochs_count_records = False

    def __init__(
        self, tokenizer, windows, answers, threshold, skip_padding, source
    ):
        self.tokenizer = tokenizer
        self.windows = windows
        self.answers = answers
        self.threshold = threshold
        self.groups_by_length = skip_padding
        self.source = source
        self.has_negatives = answers.version_2_with_negative

    def schema(self, is_training):
        if is_training:
            return squad_training_schema(self.windows.max_seq_length)
        return squad_evaluation_schema(self.windows.max_seq_length)

    def records(self, examples, is_training):
        # Shuffled questions may return to any context.
        maker = self._window_maker(documents_kept=None if is_training else 1)
        if is_training:
            examples = shuffled(examples)
        length = self.windows.max_seq_length
        for _, windows in maker.windows_by_example(examples):
            yield [window.record(length) for window in windows]

    def padding(self, is_training):
        schema = self.schema(is_training)
        return {name: [0] * schema[name].length for name in schema}

    def describe(self, example):
        maker = self._window_maker(documents_kept=1)
        ((_, windows),) = maker.windows_by_example([example])
        if not windows:
            return f"qas_id: {example.qas_id}, without a word in its context"
        return describe_window(example, windows[0])

    def build(self, config, one_hot):
        return models.span(config, use_one_hot_embeddings=one_hot)

    def loss(self, outputs, batch, totals):
        return heads.span_loss(
            outputs["start_logits"],
            outputs["end_logits"],
            batch["start_positions"],
            batch["end_positions"],
            (totals or {}).get("examples"),
        )

    def count(self, batch):
        return count_examples(batch)

    def chance_loss(self, examples):
        # The same probability for all positions, those of padding too.
        return math.log(self.windows.max_seq_length)

    def evaluate(self, examples, rows, batch_size):
        found = _Found(examples)
        for one in self._predictions(examples, rows):
            found.add(one)
        threshold = self.threshold
        if threshold is None:
            threshold = found.choose_threshold().threshold
        return Evaluation(self._results(found, threshold))

    def write(self, examples, rows, folder, split):
        def path(name):
            return os.path.join(folder, name)

        found = _Found(examples)

        def nbest_lists():
            for one in self._predictions(examples, rows):
                found.add(one)
                yield one.qas_id, squad_answers.nbest_to_json(one.nbest)

        squad_answers.write_json(path("nbest_predictions.json"), nbest_lists())
        threshold, kept = self.threshold, {}
        if threshold is None:
            threshold = self._choose_threshold(found)
            kept[THRESHOLD_FILE] = f"{threshold}\n"
        final = found.answers_above(threshold)
        squad_answers.write_json(path("predictions.json"), final.items())
        if self.has_negatives:
            squad_answers.write_json(path("null_odds.json"), found.odds.items())
        logging.info("Wrote predictions to %s.", folder)
        lacking = metrics.why_no_metrics(examples, self.has_negatives)
        if lacking:
            logging.info("Not evaluated: in %s %s.", self.source, lacking)
            return None
        results = self._results(found, threshold)
        if not self.has_negatives:
            return Evaluation(results)
        curves = metrics.precision_recall(found.right, found.texts, found.odds)
        if curves:
            drawing = metrics.draw_precision_recall(curves)
            files.write_text(path("precision_recall.svg"), drawing)
        more = {"null_score_diff_threshold": threshold}
        return Evaluation(results, more, model_files=kept)

    def write_model_files(self, folder):
        """Writes nothing: config and vocabulary are enough."""

    def _choose_threshold(self, found):
        """The threshold with the best F1."""
        chosen = found.choose_threshold()
        logging.info(
            "The threshold %s gives the best F1 on %s, %.4f; kept as %s.",
            chosen.threshold,
            self.source,
            chosen.score,
            THRESHOLD_FILE,
        )
        return chosen.threshold

    def _results(self, found, threshold):
        final = found.answers_above(threshold)
        if not self.has_negatives:
            return metrics.evaluate_v1(found.right, final)
        return {
            **metrics.evaluate_v2(found.right, final),
            **metrics.evaluate_thresholds(found.right, found.texts, found.odds),
        }

    def _predictions(self, examples, rows):
        """Yields the `answers.Prediction` of each question."""
        maker = self._window_maker(documents_kept=1)
        # To make windows again is cheaper than to keep them.
        for example, windows in maker.windows_by_example(examples):
            logits = dict(map(self._logits, next(rows)))
            yield squad_answers.predict(
                example,
                windows,
                [logits[window.unique_id] for window in windows],
                self.answers,
                self.tokenizer.basic_tokenizer,
            )

    def _logits(self, row):
        """The unique id of a window, and its `Logits`."""
        start, end = row["start_logits"], row["end_logits"]
        if self.groups_by_length:
            count = int(row["input_mask"].sum())
            start, end = start[:count], end[:count]
        return int(row["unique_ids"]), squad_answers.Logits(start, end)

    def _window_maker(self, documents_kept):
        return WindowMaker(
            self.tokenizer,
            documents_kept=documents_kept,
            **self.windows._asdict(),
        )


class _Found:
    """Predictions of many questions, without their n-best lists."""

    def __init__(self, examples):
        self.right = {example.qas_id: example.answers for example in examples}
        self.predictions = []

    def add(self, prediction):
        self.predictions.append(prediction._replace(nbest=[]))

    @property
    def texts(self):
        return {one.qas_id: one.text for one in self.predictions}

    @property
    def odds(self):
        return {one.qas_id: one.null_odds for one in self.predictions}

    def choose_threshold(self):
        """The `metrics.Threshold` with the best F1."""
        return metrics.choose_threshold(self.right, self.texts, self.odds)

    def answers_above(self, threshold):
        """The final answers: "" where the null odds are above a threshold."""
        return {one.qas_id: one.answer(threshold) for one in self.predictions}


def result_names(version_2_with_negative):
    """Names of the results by which the best checkpoint can be kept."""
    if version_2_with_negative:
        return ("exact", "f1", "best_exact", "best_f1")
    return ("exact_match", "f1")
