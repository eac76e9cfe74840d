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


class LabelOutputs:
    """What signatures return for logits [B, L]: one label of several.

    Args:
        target: a `Target`.
    """

    def __init__(self, target):
        self.target = target

    @property
    def num_outputs(self):
        """The number of logits, L."""
        return self.target.num_outputs

    def of_rows(self, logits):
        """Outputs of serving_default and serve_examples, by name."""
        return {"logits": logits, "probabilities": tf.nn.softmax(logits)}

    def of_texts(self, logits):
        """Outputs of text signatures, by name."""
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
        names = tf.constant(self.target.labels, tf.string)
        return names, tf.broadcast_to(names, tf.shape(like))

    def file(self):
        """The content of labels.txt; "" where there are no labels."""
        return "".join(f"{label}\n" for label in self.target.labels)


class NumberOutputs(LabelOutputs):
    """A number."""

    def of_rows(self, logits):
        return self.of_texts(logits)

    def of_texts(self, logits):
        return {"value": logits[:, 0]}


class ManyLabelsOutputs(LabelOutputs):
    """Several labels."""

    def of_rows(self, logits):
        return self.of_texts(logits)

    def of_texts(self, logits):
        scores = tf.sigmoid(logits)
        return {"scores": scores, "labels": self.names(scores)[1]}


OUTPUTS = {
    CLASS: LabelOutputs,
    NUMBER: NumberOutputs,
    MULTI: ManyLabelsOutputs,
}
"""By the type of a target's labels."""


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
        self.plain.outputs = OUTPUTS[target.label_type](target)
        self.plain.window_rules = window_rules
        self.window_pooling = window_pooling

    def settings(self):
        doc_stride = self.plain.window_rules.doc_stride
        return settings_of(
            self.plain.outputs.target, doc_stride, self.window_pooling
        )

    def files(self):
        text = self.plain.outputs.file()
        return {LABELS_FILE: text} if text else {}

    def row_outputs(self, rows, outputs):
        return self.plain.outputs.of_rows(outputs["logits"])

    def text_outputs(self, text_a, text_b):
        outputs = self.plain.outputs
        logits, num_cut = logits_of_texts(
            self,
            (text_a, text_b),
            self.plain.window_rules,
            self.window_pooling,
            {"logits": outputs.num_outputs},
        )
        return {**outputs.of_texts(logits["logits"]), "num_cut": num_cut}


def logits_of_texts(served, texts, window_rules, window_pooling, widths):
    """The logits of texts, combined from those of their windows.

    Args:
        served: a `signature.Served`.
        texts: two string [B]; "" for no second text.
        window_rules: `WindowRules`.
        window_pooling: one of `targets.WINDOW_POOLINGS`.
        widths: the number of logits, L, by the name of the model's output.

    Returns:
        float32 [B, L] by name, and the number of pieces cut off, int32 [B].
    """
    if window_rules.doc_stride is None:
        rows, num_cut = served.rows_of_texts(*texts)
        found = served.forward(rows)
        return {name: found[name] for name in widths}, num_cut
    windows, pieces = served.windows_of_texts(*texts, window_rules.doc_stride)
    of_texts = windows.rows.texts

    def logits_of(first, last):
        inputs = served.fill(windows.rows.part(first, last), pieces)
        found = served.forward(inputs)
        return [found[name] for name in widths]

    logits = graph_rows.in_chunks(
        logits_of,
        tf.size(of_texts, tf.int64),
        window_rules.rows_at_once,
        [tf.TensorSpec([None, width], tf.float32) for width in widths.values()],
    )
    pool = {
        "mean": tf.math.unsorted_segment_mean,
        "max": tf.math.unsorted_segment_max,
    }[window_pooling]
    count = tf.size(texts[0], tf.int64)
    pooled = [pool(one, of_texts, count) for one in logits]
    return dict(zip(widths, pooled)), windows.num_cut


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
    served = Classifier(rules, model, target, window_rules, window_pooling)
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
    if label_type not in OUTPUTS:
        raise InputError(
            f"{opened.noted.path}: `label_type` must be one of "
            f"{', '.join(OUTPUTS)}. It is {label_type!r}"
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
