"""Chooses among texts with an exported model, without TensorFlow.

Shape letters: B examples, N choices of each, S tokens of a row.
"""

import numpy as np

from bert_tf.errors import InputError
from bert_tf.exports.interface import PAIR, TEXT, Signature, Tensor
from bert_tf.tasks import given, inference, metrics
from bert_tf.tasks.choices.data import ChoiceExample
from bert_tf.tasks.choices.rows import pack_choices
from bert_tf.tasks.inference import STRINGS, Function

NUMBERS = Tensor("float32", (None, None))


class ChoicesInference(inference.Inference):
    """Chooses among texts; all examples of a request have as many."""

    row_shape = (None, None, None)
    text_inputs = ("context", "question")

    def row_outputs(self):
        return {"logits": NUMBERS, "probabilities": NUMBERS}

    def text_outputs(self):
        count = Tensor("int32", (None,))
        return {"probabilities": NUMBERS, "choice": count, "num_cut": count}

    def from_rows(self, **rows):
        _require_choices(np.shape(rows["input_ids"])[1])
        return super().from_rows(**rows)

    def rows_of(self, examples):
        """The rows of examples, each of which has N of one length."""
        features = given.read_examples(examples, self.row_inputs)
        cls = self.tokenizer.vocab["[CLS]"]
        counts, lengths = [], []
        for ids in features["input_ids"]:
            starts = [place for place, one in enumerate(ids) if one == cls]
            count = max(len(starts), 1)
            length = len(ids) // count
            is_even = starts == [number * length for number in range(count)]
            counts.append(len(starts) if is_even else 0)
            lengths.append(len(ids))
        if len(set(counts)) > 1 or len(set(lengths)) > 1 or 0 in counts:
            raise InputError(
                "Each example must have as many rows of one length, one for "
                f"each choice, that begin with [CLS]. Numbers of [CLS]: "
                f"{counts} (0 where they are not evenly spaced) in input_ids "
                f"of the lengths {lengths}"
            )
        shape = (len(counts), counts[0], lengths[0] // counts[0])
        return {
            name: np.array(lists, np.int32).reshape(shape)
            for name, lists in features.items()
        }

    def text_functions(self):
        texts = Tensor("string", (None, None))
        of_text = {"context": STRINGS, "choices": texts}
        of_pair = {"context": STRINGS, "question": STRINGS, "choices": texts}
        outputs = self.text_outputs()
        return {
            TEXT: Function(Signature(of_text, outputs), self.choose),
            PAIR: Function(Signature(of_pair, outputs), self.choose),
        }

    def choose(self, context, choices, question=None):
        """Outputs for contexts [B], choices [B, N] and perhaps questions."""
        columns = {"context": context, "question": question, "choices": choices}
        inference.require_as_many(
            {n: column for n, column in columns.items() if column is not None}
        )
        contexts = inference.decode("context", context)
        questions = inference.decode(
            "question", [] if question is None else question
        )
        rows: list[inference.Row] = []
        num_cut: list[int] = []
        for number, texts in enumerate(choices):
            _require_choices(len(texts))
            example = ChoiceExample(
                "",
                contexts[number],
                questions[number] if questions else "",
                tuple(inference.decode("choices", texts)),
            )
            packed, cut = pack_choices(
                example, self.max_seq_length, self.tokenizer
            )
            rows += map(self.row, packed)
            num_cut.append(cut)
        found = self.compute(
            rows, ["logits"], lambda _, outputs: outputs["logits"][0]
        )
        logits = np.fromiter(found, np.float32, len(rows))
        count = len(rows) // max(len(choices), 1)
        logits = logits.reshape(len(choices), count)
        chances = logits
        if logits.size:
            chances = np.exp(metrics.log_softmax(logits)).astype(np.float32)
        best = [int(row.argmax()) for row in chances]
        return {
            "probabilities": chances,
            "choice": np.array(best, np.int32),
            "num_cut": np.array(num_cut, np.int32),
        }

    def pad(self, rows):
        # Each is computed as the only choice of an example.
        return {name: x[:, None] for name, x in super().pad(rows).items()}


def _require_choices(count):
    if count < 1:
        raise InputError(
            "There must be at least one choice in each row. Received: 0"
        )
