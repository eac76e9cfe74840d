"""Answers questions with an exported model, without TensorFlow."""

import itertools

import numpy as np

from bert_tf.exports.interface import TEXT, Signature, Tensor
from bert_tf.tasks import inference
from bert_tf.tasks.inference import STRINGS, Function, Row
from bert_tf.tasks.squad import passages
from bert_tf.tasks.squad.answers import Logits
from bert_tf.tasks.squad.data import SquadExample
from bert_tf.tasks.squad.passages import PassageAnswer
from bert_tf.tasks.squad.windows import WindowMaker

OUTPUTS = ("start_logits", "end_logits")


class SpanInference(inference.Inference):
    """Answers questions about texts of any length."""

    text_inputs = ("question", "context")
    reads_padding = True  # It counts in the softmax, as in the original.

    def __init__(self, *args):
        super().__init__(*args)
        settings = self.settings
        self._maker = WindowMaker(
            self.tokenizer,
            self.max_seq_length,
            settings["doc_stride"],
            settings["max_query_length"],
            exact_answers=True,
        )
        self.threshold: float | None = settings["null_score_diff_threshold"]

    def row_outputs(self):
        return dict.fromkeys(OUTPUTS, Tensor("float32", (None, None)))

    def token_outputs(self):
        return frozenset(OUTPUTS)

    def text_outputs(self):
        floats, ints = (Tensor(kind, (None,)) for kind in ("float32", "int32"))
        found = {"answer": STRINGS, "score": floats}
        found |= dict.fromkeys(("start", "end", "start_byte", "end_byte"), ints)
        if self.threshold is not None:
            found["null_probability"] = floats
        return found

    def text_functions(self):
        def both(**texts):
            inference.require_as_many(texts)
            return self.texts(
                *(inference.decode(n, texts[n]) for n in self.text_inputs)
            )

        inputs = dict.fromkeys(self.text_inputs, STRINGS)
        signature = Signature(inputs, self.text_outputs())
        return {TEXT: Function(signature, both)}

    def texts(self, first, second):
        windows = []
        for number, (question, context) in enumerate(zip(first, second)):
            # Without a question, the context gets no windows.
            if self.tokenizer.tokenize(question):
                example = SquadExample("", question, context)
                windows += self._maker.windows(example, number)
        logits = self.compute(
            [Row(window.input_ids, window.segment_ids) for window in windows],
            OUTPUTS,
            lambda number, outputs: Logits(
                *(
                    outputs[name][: len(windows[number].input_ids)]
                    for name in OUTPUTS
                )
            ),
        )
        readings = {
            number: passages.read(
                first[number],
                list(of_question),
                self.settings["max_answer_length"],
                null_score_diff_threshold=self.threshold,
            )
            for number, of_question in itertools.groupby(
                zip(windows, logits, strict=True),
                lambda pair: pair[0].example_index,
            )
        }
        return self._arrays(second, readings)

    def _arrays(self, contexts, readings):
        none = PassageAnswer("", 0.0, None, None, None, 0.0, 0.0)
        answers = [
            readings[n].answers[0] if n in readings else none
            for n in range(len(contexts))
        ]
        starts = [-1 if one.start is None else one.start for one in answers]
        ends = [-1 if one.end is None else one.end for one in answers]
        found = {
            "answer": inference.strings([one.text for one in answers]),
            "score": np.array([one.score for one in answers], np.float32),
            "start": np.array(starts, np.int32),
            "end": np.array(ends, np.int32),
            "start_byte": _bytes_before(contexts, starts),
            "end_byte": _bytes_before(contexts, ends),
        }
        if self.threshold is not None:
            found["null_probability"] = np.array(
                [
                    readings[n].null_probability if n in readings else 0.0
                    for n in range(len(contexts))
                ],
                np.float32,
            )
        return found


def _bytes_before(texts, places):
    """The places of characters of texts, in bytes of UTF-8; -1 stays."""
    return np.array(
        [
            place if place < 0 else len(text[:place].encode("utf-8"))
            for text, place in zip(texts, places, strict=True)
        ],
        np.int32,
    )
