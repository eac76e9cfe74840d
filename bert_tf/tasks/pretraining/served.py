"""The SavedModel with the heads of pretraining."""

import tensorflow as tf
from absl import logging

from bert_tf import errors, models
from bert_tf.checkpoints.names import NEXT_SENTENCE, POOLER
from bert_tf.errors import InputError
from bert_tf.exports import export, graph_rows, signature
from bert_tf.exports.settings import ROWS_AT_ONCE
from bert_tf.exports.signature import DEVICE
from bert_tf.tasks.pretraining import cloze, graph_masks


class Pretraining(signature.Served):
    """Predicts masked pieces, and whether one text follows another.

    Args:
        rules: `TextRules`.
        model: a model of `models.pretraining`.
        top_k: number of guesses for each [MASK].
        next_sentence: whether to predict that one text follows another.
        rows_at_once: rows that are computed together.
    """

    head = "pretraining"
    row_inputs = (*models.ENCODER_INPUTS, "masked_lm_positions")
    text_inputs = ("text", "text_b")

    def __init__(
        self, rules, model, top_k, next_sentence, rows_at_once=ROWS_AT_ONCE
    ):
        super().__init__(rules, model, rows_at_once)
        self.top_k = top_k
        self.next_sentence = next_sentence

    def settings(self):
        return {
            "num_predictions": self.top_k,
            "next_sentence": self.next_sentence,
        }

    def row_outputs(self, rows, outputs):
        found = {"masked_lm_logits": outputs["masked_lm_logits"]}
        if self.next_sentence:
            logits = outputs["next_sentence_logits"]
            found["next_sentence_logits"] = logits
            found["next_sentence_probabilities"] = tf.nn.softmax(logits)
        return found

    def from_rows(self, rows):
        positions = rows["masked_lm_positions"]
        shape = tf.shape(rows["input_ids"])
        checks = [
            graph_rows.check_between(
                "masked_lm_positions",
                positions,
                0,
                shape[1] - 1,
                "below the length of the rows, and not negative",
            ),
            tf.debugging.assert_equal(
                tf.shape(positions)[0],
                shape[0],
                "There must be masked_lm_positions for each row. How many:",
            ),
        ]
        with tf.control_dependencies(checks):
            positions = tf.identity(positions)
        return super().from_rows({**rows, "masked_lm_positions": positions})

    def text_samples(self):
        text = [f"A short {cloze.MASK}."]
        return {
            "serve_text": {"text": text},
            "serve_text_pair": {"text": text, "text_b": ["Another one."]},
        }

    def tokenize(self, texts):
        return self.tokenizer.tokenize(
            texts, with_offsets=False, literal=cloze.MASK
        ).ids

    def text_outputs(self, text_a, text_b):
        with tf.device(DEVICE):
            pieces = self.tokenize_pair(text_a, text_b)
            asked = graph_masks.mask_rows(
                *pieces,
                self.rules.max_seq_length,
                self.rules.id_of(cloze.MASK),
            )

        def guess(first, last):
            inputs = self.fill(asked.rows.part(first, last), pieces)
            with tf.device(DEVICE):
                positions = asked.positions[first:last]
                is_asked = tf.sequence_mask(positions.row_lengths())
                inputs["masked_lm_positions"] = positions.to_tensor(0)
            outputs = self.forward(inputs)
            logits = tf.boolean_mask(outputs["masked_lm_logits"], is_asked)
            scores, ids = tf.math.top_k(tf.nn.softmax(logits), self.top_k)
            follows = tf.nn.softmax(outputs["next_sentence_logits"])
            return ids, scores, follows[:, 0]

        ids, scores, follows = graph_rows.in_chunks(
            guess,
            tf.size(asked.rows.texts, tf.int64),
            self.plain.rows_at_once,
            [
                tf.TensorSpec([None, self.top_k], tf.int32),
                tf.TensorSpec([None, self.top_k], tf.float32),
                tf.TensorSpec([None], tf.float32),
            ],
        )
        with tf.device(DEVICE):
            pieces = tf.constant(self.rules.pieces(), tf.string)
            found = {
                "tokens": self._by_text(asked, tf.gather(pieces, ids)),
                "token_scores": self._by_text(asked, scores),
                "num_cut": asked.num_cut,
            }
            if self.next_sentence:
                # A pair has exactly one row.
                of_text = tf.math.unsorted_segment_max(
                    follows, asked.rows.texts, tf.size(text_a, tf.int64)
                )
                found["next_sentence_probability"] = tf.where(
                    asked.is_pair, of_text, 0.0
                )
        return found

    def _by_text(self, asked, guesses):
        """Guesses [Q, K] of all predicted positions as [B, M, K]."""
        extra = tf.cast(asked.has_extra, tf.int64)
        is_mask = tf.repeat(
            tf.tile([False, True], [tf.size(extra)]),
            tf.reshape(tf.stack([extra, asked.num_masks], axis=1), [-1]),
        )
        guesses = tf.RaggedTensor.from_row_lengths(
            tf.boolean_mask(guesses, is_mask), asked.num_masks, validate=False
        )
        return guesses.to_tensor(shape=[None, None, self.top_k])


def export_pretraining(
    source, output_dir, top_k=5, next_sentence=None, rows_at_once=ROWS_AT_ONCE
):
    """Exports a pretrained model with its heads.

    Args:
        source: a `Source`.
        output_dir: the folder MODEL.
        top_k: number of guesses for each [MASK].
        next_sentence: whether to predict that one text follows another. None:
            if the checkpoint has weights for it.
        rows_at_once: rows that are computed together.

    Returns:
        The path of the new version.

    Raises:
        InputError: a file is missing or does not fit, the checkpoint has no
            such head, the folder cannot be written, or a number is out of
            range.
    """
    errors.require_positive("rows_at_once", rows_at_once)
    opened, rules = export.open_source(source)
    if cloze.MASK not in rules.tokenizer.vocab:
        raise InputError(
            f"The vocabulary must have the token {cloze.MASK}. "
            f"{opened.vocab_file} has not: is it the vocab.txt of the "
            "checkpoint?"
        )
    if not 1 <= top_k <= opened.config.vocab_size:
        raise InputError(
            "`top_k` must be at least 1 and at most "
            f"{opened.config.vocab_size}, the size of the vocabulary. "
            f"Received: top_k={top_k}"
        )
    if next_sentence is None:
        next_sentence = _can_tell_next_sentence(opened)
    model = export.load(
        source,
        opened,
        lambda: models.pretraining(opened.config),
        may_lack=() if next_sentence else (POOLER, NEXT_SENTENCE),
    )
    served = Pretraining(rules, model, top_k, next_sentence, rows_at_once)
    return export.save(served, source, opened, output_dir)


def _can_tell_next_sentence(opened):
    # In a left-to-right model, [CLS] attends to no other token.
    if opened.config.attention_direction() != "left_to_right" and (
        export.has_scope(opened, POOLER)
        and export.has_scope(opened, NEXT_SENTENCE)
    ):
        return True
    logging.info(
        "%s cannot predict whether one text follows another: that output is "
        "left out.",
        opened.path,
    )
    return False
