"""The SavedModel that labels words and finds entities."""

import tensorflow as tf

from bert_tf import errors, models
from bert_tf.checkpoints.names import LABELS_FILE, POOLER
from bert_tf.exports import export, graph_rows, signature
from bert_tf.exports.settings import ROWS_AT_ONCE
from bert_tf.exports.signature import DEVICE, STRINGS
from bert_tf.tasks.ner import graph_words, schemes
from bert_tf.tasks.ner.windows import UNKNOWN, stride_of

TABLE = tf.TensorSpec([None, None], tf.string)


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
        self.plain.labels = list(labels)

    def settings(self):
        return {
            "labels": self.plain.labels,
            "scheme": schemes.scheme_of_model(self.plain.labels),
            "doc_stride": stride_of(self.rules.max_seq_length),
        }

    def files(self):
        return {LABELS_FILE: "".join(f"{x}\n" for x in self.plain.labels)}

    def row_outputs(self, rows, outputs):
        logits = outputs["logits"]
        return {"logits": logits, "probabilities": tf.nn.softmax(logits)}

    def text_signatures(self):
        return {
            "serve_text": signature.trace(self.of_texts, {"text": STRINGS}),
            "serve_words": signature.trace(self.of_words, {"words": TABLE}),
        }

    def text_samples(self):
        return {
            "serve_text": {"text": ["Ann Lee lives in New York ."]},
            "serve_words": {"words": [["Ann", "Lee", "lives"]]},
        }

    def of_texts(self, text):
        """Outputs for texts, string [B]; their words are found first."""
        with tf.device(DEVICE):
            found = graph_words.split_words(text)
        probabilities, ids = self._predict(found.words, found.splits)
        with tf.device(DEVICE):
            entities = graph_words.find_entities(
                ids, found.splits, self.plain.labels
            )

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

    def of_words(self, words):
        """Outputs for given words, string [B, W]; "" behind the last one."""
        with tf.device(DEVICE):
            numbers = tf.range(1, tf.shape(words, tf.int64)[1] + 1)
            lengths = tf.reduce_max(
                tf.where(words != "", numbers, 0), axis=1, keepdims=True
            )
            lengths = tf.maximum(lengths[:, 0], 0)
            ragged = tf.RaggedTensor.from_tensor(words, lengths)
            flat, splits = ragged.values, ragged.row_splits
        probabilities, ids = self._predict(flat, splits)
        with tf.device(DEVICE):
            entities = graph_words.find_entities(ids, splits, self.plain.labels)
            inside = tf.ragged.range(entities.firsts, entities.lasts + 1)
            texts = tf.strings.reduce_join(
                tf.gather(flat, inside), axis=-1, separator=" "
            )
            rows = tf.searchsorted(splits[1:], entities.firsts, "right")
            base = tf.gather(splits, rows)
            places = entities.firsts - base, entities.lasts + 1 - base
            return {
                **self._labels_of(probabilities, ids, splits),
                **_entity_tables(entities, texts, places, probabilities),
            }

    def _labels_of(self, probabilities, ids, splits):
        names = tf.gather(tf.constant(self.plain.labels, tf.string), ids)
        return {
            "labels": _table(names, splits, ""),
            "probabilities": _table(probabilities, splits, 0.0),
        }

    def _predict(self, words, splits):
        """The label ids of words, int64 [N], after their probabilities [N].

        Args:
            words: string [N].
            splits: int64 [B + 1], where the words of each text begin.
        """
        with tf.device(DEVICE):
            pieces = self._pieces_of(words)
            ends = pieces.row_splits
            is_first = tf.scatter_nd(
                ends[:-1, None],
                tf.ones_like(ends[:-1]),
                tf.shape(pieces.values, tf.int64),
            )
            texts = tf.RaggedTensor.from_row_splits(
                pieces.values, tf.gather(ends, splits), validate=False
            )
            num_pieces = texts.row_lengths()
            length = self.rules.max_seq_length
            windows = graph_rows.split_documents(
                num_pieces,
                tf.zeros_like(num_pieces) + (length - 2),
                stride_of(length),
            )
            owned = graph_rows.find_max_context(windows, num_pieces)
            starts = tf.gather(texts.row_starts(), windows.rows)
            places = (starts + windows.starts)[:, None] + tf.ragged.range(
                windows.lengths
            )
            is_asked = owned.with_values(
                owned.values & (tf.gather(is_first, places.values) == 1)
            )
            zeros = tf.zeros_like(windows.rows)
            rows = graph_rows.Rows(
                windows.rows, windows.starts, windows.lengths, zeros, zeros
            )

        def logits_of(first, last):
            inputs = self.fill(rows.part(first, last), (texts, texts[:, :0]))
            logits = self.forward(inputs)["logits"]
            with tf.device(DEVICE):
                asked = is_asked[first:last].to_tensor(False)
            # Behind [CLS].
            logits = logits[:, 1 : tf.shape(asked)[1] + 1]
            return [tf.boolean_mask(logits, asked)]

        (logits,) = graph_rows.in_chunks(
            logits_of,
            tf.size(windows.rows, tf.int64),
            self.plain.rows_at_once,
            [tf.TensorSpec([None, len(self.plain.labels)], tf.float32)],
        )
        probabilities = tf.nn.softmax(logits)
        return (
            tf.reduce_max(probabilities, axis=-1),
            tf.argmax(probabilities, axis=-1),
        )

    def _pieces_of(self, words):
        """Ids of each word alone, int32 [N, (n)]; [UNK] if there are none."""
        ids = self.tokenize(words)
        lacks = tf.cast(ids.row_lengths() == 0, tf.int64)
        unknown = tf.fill([tf.reduce_sum(lacks)], self.rules.id_of(UNKNOWN))
        unknown = tf.RaggedTensor.from_row_lengths(
            unknown, lacks, validate=False
        )
        return tf.concat([ids, unknown], axis=1)


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
