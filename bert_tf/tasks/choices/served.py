"""The SavedModel of multiple choice.

Shape letters: B examples, N choices of each, S tokens of a row.
"""

import tensorflow as tf

from bert_tf import models
from bert_tf.errors import InputError, require_positive
from bert_tf.exports import export, graph_rows, signature
from bert_tf.exports.settings import ROWS_AT_ONCE
from bert_tf.exports.signature import DEVICE, STRINGS
from bert_tf.tasks.choices.rows import require_token_types

LISTS = tf.TensorSpec([None, None], tf.string)


class Choices(signature.Served):
    """Chooses among texts.

    All examples of a request have the same number of choices.

    Args:
        rules: `TextRules`.
        model: a model of `models.classifier` with one label, whose weights are
            those of `models.multiple_choice`.
        rows_at_once: rows of texts that are computed together.
    """

    head = "choices"
    row_spec = tf.TensorSpec([None, None, None], tf.int32)
    text_inputs = ("context", "question")

    def __init__(self, rules, model, rows_at_once):
        super().__init__(rules, model, rows_at_once)

    def row_outputs(self, rows, outputs):
        logits = outputs["logits"]
        return {"logits": logits, "probabilities": tf.nn.softmax(logits)}

    def from_rows(self, rows):
        """Outputs for int32 tensors by name, such as input_ids [B, N, S]."""
        rows = graph_rows.checked(rows, self.rules.config)
        shape = tf.shape(rows["input_ids"])
        with tf.control_dependencies([_require_choices(shape[1])]):
            flat = {
                name: tf.reshape(x, [-1, shape[2]]) for name, x in rows.items()
            }
        logits = self.forward(flat)["logits"]
        return self.row_outputs(rows, {"logits": tf.reshape(logits, shape[:2])})

    def from_examples(self, examples):
        """Outputs for records of training, string [B].

        A record has N rows one after the other, each of which begins with
        [CLS].
        """
        with tf.device(DEVICE):
            parsed = graph_rows.parse_examples(examples, self.row_inputs)
            flat = graph_rows.encoder_rows(parsed)
            ids = flat["input_ids"]
            is_first = ids == self.rules.id_of("[CLS]")
            counts = tf.reduce_sum(tf.cast(is_first, tf.int32), axis=1)
            count = tf.maximum(tf.reduce_max(counts), 1)
            length = tf.shape(ids)[1] // count
            starts = tf.range(count) * length
            is_even = tf.reduce_all(tf.gather(is_first, starts, axis=1))
            check = tf.debugging.Assert(
                is_even
                & tf.reduce_all(counts == count)
                & tf.equal(length * count, tf.shape(ids)[1]),
                [
                    "Each example must have the same number of rows, one for "
                    "each choice, all of one length, that begin with [CLS]. "
                    "Numbers of [CLS]:",
                    counts,
                    "in input_ids of the length",
                    tf.shape(ids)[1],
                ],
            )
            with tf.control_dependencies([check]):
                rows = {
                    name: tf.reshape(x, [-1, count, length])
                    for name, x in flat.items()
                }
        return self.from_rows(rows)

    def text_signatures(self):
        @tf.function(input_signature=[STRINGS, STRINGS, LISTS], autograph=False)
        def outputs(context, question, choices):
            return self.choice_outputs(context, question, choices)

        def alone(**texts):
            context, choices = signature.as_many(texts, "context", "choices")
            return outputs(context, tf.zeros_like(context), choices)

        def asked(**texts):
            return outputs(
                *signature.as_many(texts, *self.text_inputs, "choices")
            )

        of_text = {"context": STRINGS, "choices": LISTS}
        of_pair = {"context": STRINGS, "question": STRINGS, "choices": LISTS}
        return {
            "serve_text": signature.trace(alone, of_text),
            "serve_text_pair": signature.trace(asked, of_pair),
        }

    def text_samples(self):
        alone = {
            "context": ["A dog came in."],
            "choices": [["It barked.", "It sang."]],
        }
        asked = {"question": ["What did it do?"]}
        return {"serve_text": alone, "serve_text_pair": {**alone, **asked}}

    def choice_outputs(self, context, question, choices):
        """Outputs for strings [B], [B] and [B, N]."""
        with tf.device(DEVICE):
            shape = tf.shape(choices)
            with tf.control_dependencies([_require_choices(shape[1])]):
                # White space before a text makes no piece.
                asked = tf.broadcast_to(question[:, None], shape)
                texts = tf.strings.join([asked, choices], " ")
            pieces = self.tokenize(
                tf.concat([context, tf.reshape(texts, [-1])], axis=0)
            )
            number = tf.repeat(tf.range(shape[0]), shape[1])
            pair = tf.gather(pieces, number), pieces[shape[0] :]
            rows, num_cut = graph_rows.truncate(
                *pair, self.rules.max_seq_length
            )

        def logits_of(first, last):
            inputs = self.fill(rows.part(first, last), pair)
            return [self.forward(inputs)["logits"]]

        (logits,) = graph_rows.in_chunks(
            logits_of,
            tf.size(rows.texts, tf.int64),
            self.plain.rows_at_once,
            [tf.TensorSpec([None, 1], tf.float32)],
        )
        probabilities = tf.nn.softmax(tf.reshape(logits, shape))
        return {
            "probabilities": probabilities,
            "choice": tf.argmax(probabilities, axis=-1, output_type=tf.int32),
            "num_cut": tf.reduce_sum(tf.reshape(num_cut, shape), axis=1),
        }


def _require_choices(count):
    return tf.debugging.assert_positive(
        count, "There must be at least one choice in each row. Received:"
    )


def export_choices(source, output_dir, rows_at_once=ROWS_AT_ONCE):
    """Exports a model of multiple choice.

    Args:
        source: a `Source`.
        output_dir: the folder MODEL.
        rows_at_once: rows of texts that are computed together.

    Returns:
        The path of the new version.

    Raises:
        InputError: a file is missing or does not fit, the checkpoint has no
            such head, or the folder cannot be written.
    """
    require_positive("rows_at_once", rows_at_once)
    opened, rules = export.open_source(source, default_length=128)
    num_outputs = export.count_outputs(
        opened, "to choose among texts", "run_multiple_choice"
    )
    if num_outputs != 1:
        raise InputError(
            f"{opened.path} has no head to choose among texts: output_weights "
            f"must have one row, and has {num_outputs}. Fine-tune it with "
            "bert_tf.run_multiple_choice first, and give the checkpoint that "
            "this writes."
        )
    require_token_types(
        opened.config.type_vocab_size, f"{opened.path}'s config"
    )
    model = export.load(
        source,
        opened,
        lambda: models.classifier(opened.config, 1),
        may_lack=(),
    )
    served = Choices(rules, model, rows_at_once)
    return export.save(served, source, opened, output_dir)
