"""The SavedModel of a classifier."""

import os

import tensorflow as tf

from bert_tf import models
from bert_tf.checkpoints.folder_settings import UNSAID
from bert_tf.checkpoints.names import LABELS_FILE
from bert_tf.errors import InputError, count_of, some_of
from bert_tf.exports import export, graph_rows, signature
from bert_tf.exports.settings import ROWS_AT_ONCE
from bert_tf.tasks.classification import thresholds
from bert_tf.tasks.classification.target import CLASS, MULTI, NUMBER
from bert_tf.tasks.classification.targets import (
    ManyLabels,
    Number,
    OneLabel,
)


def settings_of(target, doc_stride, window_pooling):
    """The head's own entries of assets/bert_tf.json."""
    thresholds_of_labels = None
    if target.label_type == MULTI:
        thresholds_of_labels = list(target.thresholds_in_force)
    return {
        "labels": list(target.labels) or None,
        "label_type": target.label_type,
        "thresholds": thresholds_of_labels,
        "doc_stride": doc_stride,
        "window_pooling": doc_stride and window_pooling,
    }


class Classifier(signature.Served):
    """Predicts a target for a text, or a pair of texts.

    Args:
        rules: `TextRules`.
        model: a model of `models.classifier`.
        target: a `Target`.
        window_rules: `WindowRules`.
        window_pooling: one of `targets.WINDOW_POOLINGS`.
    """

    head = "classifier"

    def __init__(self, rules, model, target, window_rules, window_pooling):
        super().__init__(rules, model, window_rules.rows_at_once)
        self.plain.target = target
        self.plain.window_rules = window_rules
        self.window_pooling = window_pooling

    def settings(self):
        doc_stride = self.plain.window_rules.doc_stride
        return settings_of(self.plain.target, doc_stride, self.window_pooling)

    def files(self):
        labels = self.plain.target.labels
        if not labels:
            return {}
        return {LABELS_FILE: "".join(f"{x}\n" for x in labels)}

    def row_outputs(self, rows, outputs):
        logits = outputs["logits"]
        return {"logits": logits, "probabilities": tf.nn.softmax(logits)}

    def text_outputs(self, text_a, text_b):
        if self.plain.window_rules.doc_stride is None:
            rows, num_cut = self.rows_of_texts(text_a, text_b)
            logits = self.forward(rows)["logits"]
        else:
            logits, num_cut = self._logits_of_windows(text_a, text_b)
        return {**self.predictions(logits), "num_cut": num_cut}

    def predictions(self, logits):
        """Outputs of text signatures for logits [B, L], by name."""
        probabilities = tf.nn.softmax(logits)
        names, labels = self.names(probabilities)
        best = tf.argmax(probabilities, axis=-1)
        return {
            "probabilities": probabilities,
            "labels": labels,
            "label": tf.gather(names, best),
        }

    def names(self, like):
        """The names of the labels [L], and those for each text [B, L]."""
        names = tf.constant(self.plain.target.labels, tf.string)
        return names, tf.broadcast_to(names, tf.shape(like))

    def _logits_of_windows(self, text_a, text_b):
        rules = self.plain.window_rules
        windows, pieces = self.windows_of_texts(
            text_a, text_b, rules.doc_stride
        )
        texts = windows.rows.texts

        def logits_of(first, last):
            inputs = self.fill(windows.rows.part(first, last), pieces)
            return [self.forward(inputs)["logits"]]

        (logits,) = graph_rows.in_chunks(
            logits_of,
            tf.size(texts, tf.int64),
            rules.rows_at_once,
            [tf.TensorSpec([None, self.plain.target.num_outputs], tf.float32)],
        )
        pool = {
            "mean": tf.math.unsorted_segment_mean,
            "max": tf.math.unsorted_segment_max,
        }[self.window_pooling]
        count = tf.size(text_a, tf.int64)
        return pool(logits, texts, count), windows.num_cut


class NumberClassifier(Classifier):
    """A `Classifier` whose target is a number."""

    def row_outputs(self, rows, outputs):
        return self.predictions(outputs["logits"])

    def predictions(self, logits):
        return {"value": logits[:, 0]}


class ManyLabelsClassifier(Classifier):
    """A `Classifier` whose target is several labels."""

    def row_outputs(self, rows, outputs):
        return self.predictions(outputs["logits"])

    def predictions(self, logits):
        scores = tf.sigmoid(logits)
        return {"scores": scores, "labels": self.names(scores)[1]}


CLASSIFIERS = {
    CLASS: Classifier,
    NUMBER: NumberClassifier,
    MULTI: ManyLabelsClassifier,
}
"""By the type of their labels."""


def export_classifier(
    source,
    output_dir,
    labels=None,
    doc_stride=None,
    window_pooling="mean",
    rows_at_once=ROWS_AT_ONCE,
    target=None,
):
    """Exports a fine-tuned classifier.

    Args:
        source: a `Source`.
        output_dir: the folder MODEL.
        labels: names of the labels, in the order of their ids. None for those
            in labels.txt beside the checkpoint.
        doc_stride: splits long texts into overlapping windows, this many word
            pieces apart, as in training; None truncates them.
        window_pooling: one of `targets.WINDOW_POOLINGS`.
        rows_at_once: windows that are computed together.
        target: a `Target` with its labels; None for the one that the checkpoint
            was trained for, as the files beside it say.

    Returns:
        The path of the new version.

    Raises:
        InputError: a file is missing or does not fit, the checkpoint has no
            such head, or the folder cannot be written.
    """
    opened, rules = export.open_source(source, default_length=128)
    window_rules = signature.make_window_rules(rules, doc_stride, rows_at_once)
    target = find_target(opened, labels, target, source.ignore_folder_settings)
    model = export.load(
        source,
        opened,
        lambda: models.classifier(opened.config, target.num_outputs),
        may_lack=(),
    )
    classifier = CLASSIFIERS[target.label_type]
    served = classifier(rules, model, target, window_rules, window_pooling)
    return export.save(served, source, opened, output_dir)


def find_target(opened, labels=None, target=None, ignore_folder_settings=False):
    """The target of a checkpoint, which fits its head.

    Args:
        opened: a `folders.ModelFolder`.
        labels: names of the labels; None for those beside the checkpoint.
        target: a `Target` with its labels; None for the one that the files
            beside the checkpoint tell.
        ignore_folder_settings: whether `target` may be of another type than
            the folder notes.

    Raises:
        InputError: there is no such head, or something does not fit.
    """
    num_outputs = export.count_outputs(
        opened, "to classify texts", "run_classifier"
    )
    if target is None:
        target = _find_target(opened, num_outputs, labels)
    elif not ignore_folder_settings:
        _require_type(opened, target.label_type)
    if target.labels:
        export.find_labels(opened, target.labels, num_outputs)
    elif num_outputs != target.num_outputs:
        raise InputError(
            f"A head that predicts a number has one output. {opened.path} has "
            f"{num_outputs}"
        )
    return target


def _require_type(opened, label_type):
    """Raises `InputError` for a target of another type than the folder's."""
    noted = opened.noted.settings.label_type
    if noted not in (UNSAID, label_type):
        raise InputError(
            f"{opened.noted.path} has label_type={noted}, and the labels of "
            f"`--task_name` are of the type {label_type}: the model was "
            "trained for another task. Leave out --task_name, or give "
            "--ignore_folder_settings"
        )


def _find_target(opened, num_outputs, labels):
    """The target of a checkpoint, by what lies beside it.

    Args:
        opened: a `folders.ModelFolder`.
        num_outputs: of the checkpoint's head.
        labels: their names, if they are given.
    """
    label_type = opened.noted.settings.label_type
    if label_type is UNSAID:
        # Without labels a head with one output can only be a number.
        is_number = num_outputs == 1 and not (labels or opened.labels_file)
        label_type = NUMBER if is_number else CLASS
    if label_type not in CLASSIFIERS:
        raise InputError(
            f"{opened.noted.path}: `label_type` must be one of "
            f"{', '.join(CLASSIFIERS)}. It is {label_type!r}"
        )
    if label_type == NUMBER:
        if labels is not None:
            raise InputError(
                f"{opened.path} predicts a number, which has no labels: leave "
                "out `--labels_file`. Received: "
                f"{count_of(len(labels), 'label')}, {some_of(labels)}"
            )
        return Number()
    least = 1 if label_type == MULTI else 2
    labels = tuple(
        export.find_labels(
            opened,
            labels,
            num_outputs,
            least,
            ", or the `--task_name` that the model was trained for",
        )
    )
    if label_type == CLASS:
        return OneLabel(labels)
    kept = thresholds.find([os.path.dirname(opened.path)], labels)
    return ManyLabels(labels, thresholds=kept or ())
