"""The SavedModel of a classifier."""

import tensorflow as tf

from bert_tf import models
from bert_tf.checkpoints.names import LABELS_FILE
from bert_tf.exports import export, graph_rows, signature
from bert_tf.exports.settings import ROWS_AT_ONCE


class Classifier(signature.Served):
    """Classifies a text, or a pair of texts.

    Args:
        rules: `TextRules`.
        model: a model of `models.classifier`.
        labels: their names, in the order of their ids.
        window_rules: `WindowRules`.
        window_pooling: one of `targets.WINDOW_POOLINGS`.
    """

    head = "classifier"

    def __init__(self, rules, model, labels, window_rules, window_pooling):
        super().__init__(rules, model)
        self.plain.labels = list(labels)
        self.plain.window_rules = window_rules
        self.window_pooling = window_pooling

    def settings(self):
        doc_stride = self.plain.window_rules.doc_stride
        return {
            "labels": self.plain.labels,
            "doc_stride": doc_stride,
            "window_pooling": doc_stride and self.window_pooling,
        }

    def files(self):
        return {LABELS_FILE: "".join(f"{x}\n" for x in self.plain.labels)}

    def row_outputs(self, rows, outputs):
        logits = outputs["logits"]
        return {"logits": logits, "probabilities": tf.nn.softmax(logits)}

    def text_outputs(self, text_a, text_b):
        if self.plain.window_rules.doc_stride is None:
            rows, num_cut = self.rows_of_texts(text_a, text_b)
            logits = self.forward(rows)["logits"]
        else:
            logits, num_cut = self._logits_of_windows(text_a, text_b)
        probabilities = tf.nn.softmax(logits)
        labels = tf.constant(self.plain.labels, tf.string)
        return {
            "probabilities": probabilities,
            "labels": tf.broadcast_to(labels, tf.shape(probabilities)),
            "label": tf.gather(labels, tf.argmax(probabilities, axis=-1)),
            "num_cut": num_cut,
        }

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
            [tf.TensorSpec([None, len(self.plain.labels)], tf.float32)],
        )
        pool = {
            "mean": tf.math.unsorted_segment_mean,
            "max": tf.math.unsorted_segment_max,
        }[self.window_pooling]
        count = tf.size(text_a, tf.int64)
        return pool(logits, texts, count), windows.num_cut


def export_classifier(
    source,
    output_dir,
    labels=None,
    doc_stride=None,
    window_pooling="mean",
    rows_at_once=ROWS_AT_ONCE,
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

    Returns:
        The path of the new version.

    Raises:
        InputError: a file is missing or does not fit, the checkpoint has no
            such head, or the folder cannot be written.
    """
    opened, rules = export.open_source(source, default_length=128)
    window_rules = signature.make_window_rules(rules, doc_stride, rows_at_once)
    labels = export.find_labels(
        opened, labels, "to classify texts", "run_classifier"
    )
    model = export.load(
        source,
        opened,
        lambda: models.classifier(opened.config, len(labels)),
        may_lack=(),
    )
    served = Classifier(rules, model, labels, window_rules, window_pooling)
    return export.save(served, source, opened, output_dir)
