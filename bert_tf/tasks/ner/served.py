"""The SavedModel that labels words and finds entities."""

import tensorflow as tf

from bert_tf import errors, models
from bert_tf.checkpoints.names import LABELS_FILE, POOLER
from bert_tf.exports import export, signature
from bert_tf.exports.settings import ROWS_AT_ONCE
from bert_tf.exports.signature import DEVICE, STRINGS
from bert_tf.tasks.ner import graph_windows, graph_words, schemes
from bert_tf.tasks.ner.windows import stride_of

TABLE = tf.TensorSpec([None, None], tf.string)

SAMPLE = ["Ann Lee lives in New York ."]
WORDS_SAMPLE = {"words": [["Ann", "Lee", "lives"]]}


class WordOutputs:
    """What signatures return for the logits of words.

    Args:
        labels: their names, in the order of their ids.
    """

    def __init__(self, labels):
        self.labels = list(labels)

    @property
    def num_outputs(self):
        """The number of logits, L."""
        return len(self.labels)

    def settings(self, max_seq_length):
        """The head's own entries of assets/bert_tf.json."""
        return {
            "labels": self.labels,
            "scheme": schemes.scheme_of_model(self.labels),
            "doc_stride": stride_of(max_seq_length),
        }

    def file(self):
        """The content of labels.txt."""
        return "".join(f"{label}\n" for label in self.labels)

    def of_rows(self, logits):
        """Outputs of serving_default and serve_examples, by name."""
        return {"logits": logits, "probabilities": tf.nn.softmax(logits)}

    def of_texts(self, text, found, logits):
        """Outputs of serve_text, by name.

        Args:
            text: string [B].
            found: its `graph_words.Words`.
            logits: of these, float32 [N, L].
        """
        probabilities, ids = _best(logits)
        with tf.device(DEVICE):
            entities = graph_words.find_entities(ids, found.splits, self.labels)

            def of_entity(starts, ends):
                return (
                    tf.gather(starts, entities.firsts),
                    tf.gather(ends, entities.lasts),
                )

            rows = tf.repeat(
                tf.range(tf.size(text)),
                entities.splits[1:] - entities.splits[:-1],
            )
            begin, end = of_entity(found.byte_starts, found.byte_ends)
            texts = tf.strings.substr(tf.gather(text, rows), begin, end - begin)
            places = of_entity(found.starts, found.ends)
            return {
                "words": _table(found.words, found.splits, ""),
                "starts": _table(found.starts, found.splits, -1),
                "ends": _table(found.ends, found.splits, -1),
                **self._labels_of(probabilities, ids, found.splits),
                **_entity_tables(entities, texts, places, probabilities),
            }

    def of_words(self, words, splits, logits):
        """Outputs of serve_words, by name.

        Args:
            words: string [N].
            splits: int64 [B + 1], where the words of each row begin.
            logits: float32 [N, L].
        """
        probabilities, ids = _best(logits)
        with tf.device(DEVICE):
            entities = graph_words.find_entities(ids, splits, self.labels)
            inside = tf.ragged.range(entities.firsts, entities.lasts + 1)
            texts = tf.strings.reduce_join(
                tf.gather(words, inside), axis=-1, separator=" "
            )
            rows = tf.searchsorted(splits[1:], entities.firsts, "right")
            base = tf.gather(splits, rows)
            places = entities.firsts - base, entities.lasts + 1 - base
            return {
                **self._labels_of(probabilities, ids, splits),
                **_entity_tables(entities, texts, places, probabilities),
            }

    def _labels_of(self, probabilities, ids, splits):
        names = tf.gather(tf.constant(self.labels, tf.string), ids)
        return {
            "labels": _table(names, splits, ""),
            "probabilities": _table(probabilities, splits, 0.0),
        }


class Tokens(signature.Served):
    """Labels the words of texts of any length.

    Args:
        rules: `TextRules`.
        model: a model of `models.token_classifier`.
        labels: their names, in the order of their ids.
        rows_at_once: windows that are computed together.
    """

    head = "tokens"
    text_inputs = ("text",)

    def __init__(self, rules, model, labels, rows_at_once):
        super().__init__(rules, model, rows_at_once)
        self.plain.outputs = WordOutputs(labels)

    def settings(self):
        return self.plain.outputs.settings(self.rules.max_seq_length)

    def files(self):
        return {LABELS_FILE: self.plain.outputs.file()}

    def row_outputs(self, rows, outputs):
        return self.plain.outputs.of_rows(outputs["logits"])

    def text_signatures(self):
        return {
            "serve_text": signature.trace(self.of_texts, {"text": STRINGS}),
            "serve_words": signature.trace(self.of_words, {"words": TABLE}),
        }

    def text_samples(self):
        return {"serve_text": {"text": SAMPLE}, "serve_words": WORDS_SAMPLE}

    def of_texts(self, text):
        """Outputs for texts, string [B]; their words are found first."""
        with tf.device(DEVICE):
            found = graph_words.split_words(text)
        logits = self._logits(found.words, found.splits)
        return self.plain.outputs.of_texts(text, found, logits)

    def of_words(self, words):
        """Outputs for given words, string [B, W]; "" behind the last one."""
        with tf.device(DEVICE):
            flat, splits = graph_words.given_words(words)
        logits = self._logits(flat, splits)
        return self.plain.outputs.of_words(flat, splits, logits)

    def _logits(self, words, splits):
        widths = {"logits": self.plain.outputs.num_outputs}
        with tf.device(DEVICE):
            windows = graph_windows.of_words(self, words, splits)
        found, _ = graph_windows.logits(self, windows, widths)
        return found["logits"]


def _best(logits):
    """The probabilities of the best labels of words, [N], and their ids."""
    probabilities = tf.nn.softmax(logits)
    return (
        tf.reduce_max(probabilities, axis=-1),
        tf.argmax(probabilities, axis=-1),
    )


def _table(values, splits, padding):
    """Values of words or entities as [B, longest]."""
    if values.dtype == tf.int64:
        values = tf.cast(values, tf.int32)
    ragged = tf.RaggedTensor.from_row_splits(values, splits, validate=False)
    return ragged.to_tensor(padding)


def _entity_tables(entities, texts, places, probabilities):
    """The outputs about entities; the probability is the first word's."""
    first = tf.gather(probabilities, entities.firsts)
    columns = {
        "entity_types": (entities.types, ""),
        "entity_texts": (texts, ""),
        "entity_starts": (places[0], -1),
        "entity_ends": (places[1], -1),
        "entity_probabilities": (first, 0.0),
    }
    return {
        name: _table(values, entities.splits, padding)
        for name, (values, padding) in columns.items()
    }


def export_tokens(source, output_dir, labels=None, rows_at_once=ROWS_AT_ONCE):
    """Exports a model that labels words.

    Args:
        source: a `Source`.
        output_dir: the folder MODEL.
        labels: names of the labels, in the order of their ids. None for those
            in labels.txt beside the checkpoint.
        rows_at_once: windows that are computed together.

    Returns:
        The path of the new version.

    Raises:
        InputError: a file is missing or does not fit, the checkpoint has no
            such head, or the folder cannot be written.
    """
    errors.require_positive("rows_at_once", rows_at_once)
    opened, rules = export.open_source(source, default_length=128)
    num_outputs = export.count_outputs(opened, "to label words", "run_ner")
    labels = export.find_labels(opened, labels, num_outputs)
    model = export.load(
        source,
        opened,
        lambda: models.token_classifier(opened.config, len(labels)),
        may_lack=(POOLER,),
    )
    served = Tokens(rules, model, labels, rows_at_once)
    return export.save(served, source, opened, output_dir)
