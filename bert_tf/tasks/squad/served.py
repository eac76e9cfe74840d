"""The SavedModel that answers questions."""

import dataclasses

import tensorflow as tf

from bert_tf import errors, models
from bert_tf.checkpoints.names import POOLER, SQUAD
from bert_tf.errors import InputError
from bert_tf.exports import export, graph_rows, signature
from bert_tf.exports.settings import ROWS_AT_ONCE
from bert_tf.exports.signature import DEVICE, STRINGS
from bert_tf.tasks.squad import graph_answers, windows
from bert_tf.tasks.squad.threshold import check_threshold, find_threshold


@dataclasses.dataclass(frozen=True)
class SpanRules:
    """How answers are selected.

    Attributes:
        doc_stride: distance between the starts of windows, in word pieces.
        max_query_length: the most word pieces of a question; longer ones are
            truncated.
        max_answer_length: the most word pieces of an answer.
        null_score_diff_threshold: a question is left unanswered if the null
            score exceeds that of the best span by more than this. None if
            every question has an answer.
        rows_at_once: windows that are computed together.
    """

    doc_stride: int
    max_query_length: int = 64
    max_answer_length: int = 30
    null_score_diff_threshold: float | None = None
    rows_at_once: int = ROWS_AT_ONCE


class Span(signature.Served):
    """Answers questions about texts of any length.

    Args:
        rules: `TextRules`.
        model: a model of `models.span`.
        span_rules: `SpanRules`.
    """

    head = "span"
    text_inputs = ("question", "context")

    def __init__(self, rules, model, span_rules):
        super().__init__(rules, model, span_rules.rows_at_once)
        self.plain.span_rules = span_rules

    def settings(self):
        rules = self.plain.span_rules
        return {
            "doc_stride": rules.doc_stride,
            "max_query_length": rules.max_query_length,
            "max_answer_length": rules.max_answer_length,
            "version_2_with_negative": (
                rules.null_score_diff_threshold is not None
            ),
            "null_score_diff_threshold": rules.null_score_diff_threshold,
        }

    def row_outputs(self, rows, outputs):
        return dict(outputs)

    def text_signatures(self):
        def both(**texts):
            return self.text_outputs(
                *signature.as_many(texts, *self.text_inputs)
            )

        inputs = dict.fromkeys(self.text_inputs, STRINGS)
        return {"serve_text": signature.trace(both, inputs)}

    def text_samples(self):
        return {
            "serve_text": {
                "question": ["Who wrote the book?"],
                "context": ["The book was written by a friend of mine."],
            }
        }

    def text_outputs(self, question, context):
        rules = self.plain.span_rules
        with tf.device(DEVICE):
            documents = self.tokenizer.tokenize(context)
            pieces = self.tokenize(question), documents.ids
            asked = pieces[0].row_lengths()
            asked = tf.minimum(asked, rules.max_query_length)
            # Without a question, the context gets no windows.
            num_pieces = tf.where(asked > 0, documents.ids.row_lengths(), 0)
            # [CLS] and [SEP] around the question, and the last [SEP].
            room = self.rules.max_seq_length - 3 - asked
            split = graph_rows.split_documents(
                num_pieces, room, rules.doc_stride
            )
            is_owned = graph_rows.find_max_context(split, num_pieces)
            rows = graph_rows.Rows(
                split.rows,
                tf.zeros_like(split.rows),
                tf.gather(asked, split.rows),
                split.starts,
                split.lengths,
            )

        def find_best(first, last):
            some = rows.part(first, last)
            outputs = self.forward(self.fill(some, pieces))
            with tf.device(DEVICE):
                may_start = is_owned[first:last].to_tensor(False)
            return graph_answers.best_in_windows(
                outputs["start_logits"],
                outputs["end_logits"],
                some.lengths_a + 2,
                some.lengths_b,
                may_start,
                rules.max_answer_length,
            )

        found = graph_rows.in_chunks(
            find_best,
            tf.size(split.rows, tf.int64),
            rules.rows_at_once,
            graph_answers.WindowBest.specs(),
        )
        with tf.device(DEVICE):
            best = graph_answers.best_of_questions(
                graph_answers.WindowBest(*found),
                split,
                tf.size(question, tf.int64),
                rules.null_score_diff_threshold,
            )
            return _cut_out(best, context, documents)


def _cut_out(best, context, documents):
    """The outputs of the text signature: the answers' text and offsets."""

    def place(ragged, piece):
        # The index of the last value, -1, stands for no answer: then there may
        # be no piece either.
        values = tf.concat([ragged.values, [-1]], axis=0)
        nowhere = tf.size(values, tf.int64) - 1
        index = tf.where(best.is_answered, ragged.row_starts() + piece, nowhere)
        return tf.gather(values, index)

    places = {
        "start": place(documents.char_starts, best.first),
        "end": place(documents.char_ends, best.last),
        "start_byte": place(documents.starts, best.first),
        "end_byte": place(documents.ends, best.last),
    }
    length = places["end_byte"] - places["start_byte"]
    begin = tf.maximum(places["start_byte"], 0)
    outputs = {
        "answer": tf.strings.substr(context, begin, length),
        "score": tf.cast(best.probability, tf.float32),
        **places,
    }
    if best.null_probability is not None:
        null = tf.cast(best.null_probability, tf.float32)
        outputs["null_probability"] = null
    return outputs


def export_span(
    source,
    output_dir,
    doc_stride=None,
    max_query_length=64,
    max_answer_length=30,
    version_2_with_negative=False,
    null_score_diff_threshold=0.0,
    rows_at_once=ROWS_AT_ONCE,
):
    """Exports a model fine-tuned on SQuAD.

    Args:
        source: a `Source`.
        output_dir: the folder MODEL.
        doc_stride, max_query_length, max_answer_length,
            version_2_with_negative, null_score_diff_threshold: as
            `answer.Reader` takes them.
        rows_at_once: windows that are computed together.

    Returns:
        The path of the new version.

    Raises:
        InputError: a file is missing or does not fit, the checkpoint has no
            such head, the folder cannot be written, or a number is out of
            range.
    """
    errors.require_positive("max_answer_length", max_answer_length)
    errors.require_positive("rows_at_once", rows_at_once)
    check_threshold(version_2_with_negative, null_score_diff_threshold)
    opened, rules = export.open_source(source, default_length=384)
    windows.require_token_types(opened.config.type_vocab_size)
    length = rules.max_seq_length
    doc_stride = length // 3 if doc_stride is None else doc_stride
    windows.require_room(length, doc_stride, max_query_length)
    threshold = None
    if version_2_with_negative:
        threshold = find_threshold(null_score_diff_threshold, opened.path)
    if not export.has_scope(opened, SQUAD):
        raise InputError(
            f"{opened.path} has no head to answer questions: it lacks "
            "cls/squad/output_weights. Fine-tune it with bert_tf.run_squad "
            "first, and give the checkpoint that this writes."
        )
    model = export.load(
        source,
        opened,
        lambda: models.span(opened.config),
        may_lack=(POOLER,),
        skips_padding=False,  # It counts in the softmax.
    )
    span_rules = SpanRules(
        doc_stride,
        max_query_length,
        max_answer_length,
        threshold,
        rows_at_once,
    )
    served = Span(rules, model, span_rules)
    return export.save(served, source, opened, output_dir)
