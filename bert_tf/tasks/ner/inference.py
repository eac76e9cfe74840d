"""Labels words with an exported model, without TensorFlow."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from bert_tf.exports.interface import TEXT, WORDS, Arrays, Signature, Tensor
from bert_tf.tasks import inference, metrics
from bert_tf.tasks.inference import STRINGS, Function, Row
from bert_tf.tasks.ner import schemes
from bert_tf.tasks.ner.windows import Window, WindowMaker
from bert_tf.tokenization import WORD

TABLES = {
    kind: Tensor(kind, (None, None)) for kind in ("string", "int32", "float32")
}


class Labelled(NamedTuple):
    """The labels of the words of a text, and their probabilities."""

    labels: list[str]
    probabilities: list[float]


class TokensInference(inference.Inference):
    """Labels the words of texts of any length."""

    text_inputs = ("text",)

    def __init__(self, *args):
        super().__init__(*args)
        self.labels: list[str] = self.settings["labels"]
        self._maker = WindowMaker(self.tokenizer, self.max_seq_length)

    def row_outputs(self):
        shape = (None, None, len(self.labels))
        return dict.fromkeys(
            ("logits", "probabilities"), Tensor("float32", shape)
        )

    def token_outputs(self):
        return frozenset(self.row_outputs())

    def text_functions(self):
        kinds = {
            "labels": "string",
            "probabilities": "float32",
            "entity_types": "string",
            "entity_texts": "string",
            "entity_starts": "int32",
            "entity_ends": "int32",
            "entity_probabilities": "float32",
        }
        of_words = {name: TABLES[kind] for name, kind in kinds.items()}
        of_texts = {
            **of_words,
            "words": TABLES["string"],
            "starts": TABLES["int32"],
            "ends": TABLES["int32"],
        }
        words = {"words": TABLES["string"]}
        return {
            TEXT: Function(
                Signature({"text": STRINGS}, of_texts),
                lambda text: self.of_texts(inference.decode("text", text)),
            ),
            WORDS: Function(Signature(words, of_words), self.of_words),
        }

    def of_texts(self, texts: Sequence[str]) -> Arrays:
        """Outputs for texts; their words are found first."""
        matches = [list(WORD.finditer(text)) for text in texts]
        words = [[match.group() for match in of_text] for of_text in matches]
        starts = [[match.start() for match in of_text] for of_text in matches]
        ends = [[match.end() for match in of_text] for of_text in matches]
        labelled = self._label(words)

        def place(text: int, first: int, end: int) -> tuple[str, int, int]:
            begin, stop = starts[text][first], ends[text][end - 1]
            return texts[text][begin:stop], begin, stop

        return {
            "words": inference.table(words, b"", object),
            "starts": inference.table(starts, -1, np.int32),
            "ends": inference.table(ends, -1, np.int32),
            **self._tables(labelled, place),
        }

    def of_words(self, words: Sequence[Sequence[bytes]]) -> Arrays:
        """Outputs for given words, [B, W]; "" behind the last one."""
        given = [inference.decode("words", row) for row in words]
        for row in given:
            while row and not row[-1]:
                row.pop()

        def place(text: int, first: int, end: int) -> tuple[str, int, int]:
            return " ".join(given[text][first:end]), first, end

        return self._tables(self._label(given), place)

    def logits(self, sentences: Sequence[Sequence[Window]]) -> list[np.ndarray]:
        """The logits of the words of sentences, float32 [words, L] for each.

        Args:
            sentences: the windows of each, in which every word is once.
        """
        asked = [
            (number, window)
            for number, windows in enumerate(sentences)
            for window in windows
        ]
        rows = []
        for _, window in asked:
            ids = self.tokenizer.convert_tokens_to_ids(window.tokens)
            rows.append(Row(ids, [0] * len(ids)))
        found = self.compute(
            rows,
            ["logits"],
            lambda row, outputs: outputs["logits"][asked[row][1].positions],
        )
        logits = [
            np.zeros((sum(len(w.words) for w in windows), len(self.labels)))
            for windows in sentences
        ]
        for (number, window), values in zip(asked, found, strict=True):
            logits[number][window.words] = values
        return [values.astype(np.float32) for values in logits]

    def _label(self, sentences: Sequence[Sequence[str]]) -> list[Labelled]:
        windows = [
            self._maker.windows([words], 0) if words else []
            for words in sentences
        ]
        labelled = []
        for logits in self.logits(windows):
            chances = np.exp(metrics.log_softmax(logits))
            best = chances.argmax(axis=-1).tolist()
            sure = chances.max(axis=-1).tolist()
            labelled.append(Labelled([self.labels[x] for x in best], sure))
        return labelled

    def _tables(self, labelled: Sequence[Labelled], place) -> Arrays:
        """Outputs about words and entities.

        Args:
            labelled: the words of each text.
            place: function of a text, an entity's first word and the one after
                its last; returns its text, start and end.
        """
        scheme = schemes.scheme_of_model(self.labels)
        entities = [
            [
                (
                    entity.type,
                    *place(number, entity.first, entity.end),
                    of_text.probabilities[entity.first],
                )
                for entity in schemes.find_entities(of_text.labels, scheme)
            ]
            for number, of_text in enumerate(labelled)
        ]

        def column(at: int) -> list[list]:
            return [[entity[at] for entity in found] for found in entities]

        return {
            "labels": inference.table(
                [x.labels for x in labelled], b"", object
            ),
            "probabilities": inference.table(
                [x.probabilities for x in labelled], 0, np.float32
            ),
            "entity_types": inference.table(column(0), b"", object),
            "entity_texts": inference.table(column(1), b"", object),
            "entity_starts": inference.table(column(2), -1, np.int32),
            "entity_ends": inference.table(column(3), -1, np.int32),
            "entity_probabilities": inference.table(column(4), 0, np.float32),
        }
