"""Guesses [MASK]s with an exported model, without TensorFlow.

Shape letters: P tokens to predict of a row, V pieces of the vocabulary.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from bert_tf.data import packing
from bert_tf.data.packing import ENCODER_INPUTS
from bert_tf.errors import InputError
from bert_tf.exports.interface import Tensor
from bert_tf.support import ranges
from bert_tf.tasks import inference, metrics
from bert_tf.tasks.inference import Row
from bert_tf.tasks.pretraining import cloze

POSITIONS = "masked_lm_positions"


class _Asked(NamedTuple):
    """A row, the number of its text, and whether both texts have a piece."""

    text: int
    row: Row
    is_pair: bool = False


class PretrainingInference(inference.Inference):
    """Predicts masked pieces, and whether one text follows another."""

    row_inputs = (*ENCODER_INPUTS, POSITIONS)
    text_inputs = ("text", "text_b")

    def __init__(self, *args):
        super().__init__(*args)
        self.top_k: int = self.settings["num_predictions"]
        self.next_sentence: bool = self.settings["next_sentence"]

    def row_outputs(self):
        vocab_size = self.config["vocab_size"]
        found = {
            "masked_lm_logits": Tensor("float32", (None, None, vocab_size))
        }
        if self.next_sentence:
            found["next_sentence_logits"] = Tensor("float32", (None, 2))
            found["next_sentence_probabilities"] = Tensor("float32", (None, 2))
        return found

    def text_outputs(self):
        shape = (None, None, self.top_k)
        found = {
            "tokens": Tensor("string", shape),
            "token_scores": Tensor("float32", shape),
            "num_cut": inference.NUM_CUT,
        }
        if self.next_sentence:
            found["next_sentence_probability"] = Tensor("float32", (None,))
        return found

    def from_rows(self, **rows):
        positions = rows[POSITIONS]
        batch, length = np.shape(rows["input_ids"])
        if len(positions) != batch:
            raise InputError(
                f"There must be {POSITIONS} for each row. How many: "
                f"{len(positions)}, of {batch}"
            )
        ranges.require_within(length - 1, **{POSITIONS: positions})
        return super().from_rows(**rows)

    def _lengths(self, rows):
        last = rows[POSITIONS].max(axis=1, initial=0).tolist()
        return [
            max(length, place + 1)
            for length, place in zip(super()._lengths(rows), last)
        ]

    def pad(self, rows):
        # At least one: the first token, whose prediction nobody reads.
        count = max(1, *(len(row.positions) for row in rows))
        positions = [
            packing.pad_to_length(row.positions, count) for row in rows
        ]
        return {**super().pad(rows), POSITIONS: np.array(positions, np.int32)}

    def texts(self, first, second):
        asked: list[_Asked] = []
        num_cut = np.zeros(len(first), np.int32)
        for number, (a, b) in enumerate(zip(first, second, strict=True)):
            pieces_a = cloze.tokenize(a, self.tokenizer)
            pieces_b = cloze.tokenize(b, self.tokenizer)
            if not pieces_b:
                asked += self._windows(number, pieces_a)
                continue
            packed = packing.truncate_and_pack(
                pieces_a, pieces_b, self.max_seq_length
            )
            whole = packing.pack_tokens(pieces_a, pieces_b)
            num_cut[number] = len(whole.tokens) - len(packed.tokens)
            row = self._row(packed)
            asked.append(_Asked(number, row, bool(pieces_a)))
        outputs = ["masked_lm_logits"]
        if self.next_sentence:
            outputs.append("next_sentence_logits")

        def take(number, found):
            count = len(asked[number].row.positions)
            logits = found["masked_lm_logits"][:count]
            guesses = [self._guess(of_mask) for of_mask in logits]
            follows = 0.0
            if self.next_sentence and asked[number].is_pair:
                log_chances = metrics.log_softmax(found["next_sentence_logits"])
                follows = float(np.exp(log_chances[0]))
            return guesses, follows

        guesses: list[list] = [[] for _ in first]
        follows = np.zeros(len(first), np.float32)
        taken = self.compute([one.row for one in asked], outputs, take)
        for one, (of_row, chance) in zip(asked, taken, strict=True):
            guesses[one.text] += of_row
            follows[one.text] = max(follows[one.text], chance)
        return self._arrays(guesses, follows, num_cut)

    def _arrays(self, guesses, follows, num_cut):
        most = max(map(len, guesses), default=0)
        tokens = np.full((len(guesses), most, self.top_k), b"", object)
        scores = np.zeros(tokens.shape, np.float32)
        for number, of_text in enumerate(guesses):
            for mask, (ids, chances) in enumerate(of_text):
                tokens[number, mask] = [self._piece(one) for one in ids]
                scores[number, mask] = chances
        found = {"tokens": tokens, "token_scores": scores, "num_cut": num_cut}
        if self.next_sentence:
            found["next_sentence_probability"] = follows
        return found

    def _windows(self, number: int, pieces: list[str]) -> Iterator[_Asked]:
        """Rows for the [MASK]s of a text; those with one window share a row."""
        rows: dict[int, tuple[packing.PackedTokens, list[int]]] = {}
        for place, piece in enumerate(pieces):
            if piece != cloze.MASK:
                continue
            window = cloze.window_around(
                place, len(pieces), self.max_seq_length
            )
            packed = packing.pack_tokens(pieces[window])
            of_window = rows.setdefault(window.start, (packed, []))
            of_window[1].append(place - window.start + 1)
        for packed, positions in rows.values():
            row = self.row(packed)
            yield _Asked(number, row._replace(positions=positions))

    def _row(self, packed: packing.PackedTokens) -> Row:
        places = [n for n, one in enumerate(packed.tokens) if one == cloze.MASK]
        return self.row(packed)._replace(positions=places)

    def _guess(self, logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The ids of the best pieces, the best first, and their chances."""
        # The lower id of equal ones, as TensorFlow's `top_k`.
        least = np.partition(logits, -self.top_k)[-self.top_k]
        ids = np.flatnonzero(logits >= least)
        ids = ids[np.argsort(-logits[ids], kind="stable")][: self.top_k]
        return ids, np.exp(metrics.log_softmax(logits)[ids])

    def _piece(self, token_id: int) -> bytes:
        # A vocabulary with a repeated token has ids that no text gets.
        found = self.tokenizer.inv_vocab.get(token_id, f"[id {token_id}]")
        return found.encode("utf-8")
