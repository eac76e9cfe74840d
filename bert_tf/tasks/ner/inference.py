"""Labels words with an exported model, without TensorFlow."""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np

from bert_tf.exports.interface import TEXT, WORDS, Arrays, Signature, Tensor
from bert_tf.tasks import inference, metrics
from bert_tf.tasks.inference import STRINGS, Function, Row
from bert_tf.tasks.ner import schemes
from bert_tf.tasks.ner.windows import Window, WindowMaker
from bert_tf.tokenization import WORD, FullTokenizer

TABLES = {
    kind: Tensor(kind, (None, None)) for kind in ("string", "int32", "float32")
}


class Labelled(NamedTuple):
    """The labels of the words of a text, and their probabilities."""

    labels: list[str]
    probabilities: list[float]


class Place(NamedTuple):
    """An entity of a text: what it covers, its start and its end."""

    text: str
    start: int
    end: int


class TextWords(NamedTuple):
    """The words of texts, and where they are among the characters."""

    texts: Sequence[str]
    words: list[list[str]]
    starts: list[list[int]]
    ends: list[list[int]]

    def place(self, text: int, first: int, end: int) -> Place:
        """The words of a text from one up to another one."""
        begin, stop = self.starts[text][first], self.ends[text][end - 1]
        return Place(self.texts[text][begin:stop], begin, stop)


def split_words(texts: Sequence[str]) -> TextWords:
    """The `TextWords` of texts."""
    matches = [list(WORD.finditer(text)) for text in texts]
    return TextWords(
        texts,
        [[match.group() for match in of_text] for of_text in matches],
        [[match.start() for match in of_text] for of_text in matches],
        [[match.end() for match in of_text] for of_text in matches],
    )


def given_words(table: Sequence[Sequence[bytes]]) -> list[list[str]]:
    """The words of a table, without "" behind the last one of a row."""
    given = [inference.decode("words", row) for row in table]
    for row in given:
        while row and not row[-1]:
            row.pop()
    return given


class WordReader:
    """What signatures return for the logits of words.

    Args:
        labels: their names, in the order of their ids.
    """

    def __init__(self, labels: Sequence[str]):
        self.labels = list(labels)

    def row_outputs(self) -> dict[str, Tensor]:
        """The outputs for rows of ids."""
        shape = (None, None, len(self.labels))
        return dict.fromkeys(
            ("logits", "probabilities"), Tensor("float32", shape)
        )

    def word_outputs(self) -> dict[str, Tensor]:
        """The outputs for words."""
        kinds = {
            "labels": "string",
            "probabilities": "float32",
            "entity_types": "string",
            "entity_texts": "string",
            "entity_starts": "int32",
            "entity_ends": "int32",
            "entity_probabilities": "float32",
        }
        return {name: TABLES[kind] for name, kind in kinds.items()}

    def text_outputs(self) -> dict[str, Tensor]:
        """The outputs for texts."""
        return {
            **self.word_outputs(),
            "words": TABLES["string"],
            "starts": TABLES["int32"],
            "ends": TABLES["int32"],
        }

    def of_texts(
        self, found: TextWords, logits: Sequence[np.ndarray]
    ) -> Arrays:
        """Outputs for the logits of the words of texts, [words, L] each."""
        return {
            "words": inference.table(found.words, b"", object),
            "starts": inference.table(found.starts, -1, np.int32),
            "ends": inference.table(found.ends, -1, np.int32),
            **self._tables(logits, found.place),
        }

    def of_words(
        self, words: Sequence[Sequence[str]], logits: Sequence[np.ndarray]
    ) -> Arrays:
        """Outputs for the logits of given words, [words, L] each."""

        def place(text: int, first: int, end: int) -> Place:
            return Place(" ".join(words[text][first:end]), first, end)

        return self._tables(logits, place)

    def _tables(
        self,
        logits: Sequence[np.ndarray],
        place: Callable[[int, int, int], Place],
    ) -> Arrays:
        """Outputs about words and entities.

        Args:
            logits: of the words of each text.
            place: function of a text, an entity's first word and the one after
                its last.
        """
        labelled = [self._label(of_text) for of_text in logits]
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

    def _label(self, logits: np.ndarray) -> Labelled:
        chances = np.exp(metrics.log_softmax(logits))
        best = chances.argmax(axis=-1).tolist()
        sure = chances.max(axis=-1).tolist()
        return Labelled([self.labels[x] for x in best], sure)


class WordRows(NamedTuple):
    """The windows of sentences as rows of a model.

    Attributes:
        rows: of all windows.
        sentences: the number of the sentence of each.
        windows: the same windows.
        lengths: the number of words of each sentence.
    """

    rows: list[Row]
    sentences: list[int]
    windows: list[Window]
    lengths: list[int]

    def join(
        self, logits: Iterable[np.ndarray], width: int
    ) -> list[np.ndarray]:
        """The logits of the words of sentences, float32 [words, L] for each.

        Args:
            logits: those of each row at the positions of its window.
            width: L.
        """
        found = [np.zeros((n, width), np.float32) for n in self.lengths]
        parts = zip(self.sentences, self.windows, logits, strict=True)
        for number, window, values in parts:
            found[number][window.words] = values
        return found


def rows_of(
    sentences: Sequence[Sequence[Window]], tokenizer: FullTokenizer
) -> WordRows:
    """The `WordRows` of the windows of sentences.

    Args:
        sentences: the windows of each, in which every word is once.
        tokenizer: the model's.
    """
    numbers, flat, rows = [], [], []
    for number, windows in enumerate(sentences):
        for window in windows:
            ids = tokenizer.convert_tokens_to_ids(window.tokens)
            rows.append(Row(ids, [0] * len(ids)))
            numbers.append(number)
            flat.append(window)
    lengths = [sum(len(w.words) for w in windows) for windows in sentences]
    return WordRows(rows, numbers, flat, lengths)


class TokensInference(inference.Inference):
    """Labels the words of texts of any length."""

    text_inputs = ("text",)

    def __init__(self, *args):
        super().__init__(*args)
        self._reader = WordReader(self.settings["labels"])
        self._maker = WindowMaker(self.tokenizer, self.max_seq_length)

    def row_outputs(self):
        return self._reader.row_outputs()

    def token_outputs(self):
        return frozenset(self.row_outputs())

    def text_functions(self):
        of_words, of_texts = (
            self._reader.word_outputs(),
            self._reader.text_outputs(),
        )
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
        found = split_words(texts)
        logits = self.logits(self._maker.of_texts(found.words))
        return self._reader.of_texts(found, logits)

    def of_words(self, words: Sequence[Sequence[bytes]]) -> Arrays:
        """Outputs for given words, [B, W]; "" behind the last one."""
        given = given_words(words)
        logits = self.logits(self._maker.of_texts(given))
        return self._reader.of_words(given, logits)

    def logits(self, sentences: Sequence[Sequence[Window]]) -> list[np.ndarray]:
        """The logits of the words of sentences, float32 [words, L] for each.

        Args:
            sentences: the windows of each, in which every word is once.
        """
        found = rows_of(sentences, self.tokenizer)
        logits = self.compute(
            found.rows,
            ["logits"],
            lambda row, outputs: outputs["logits"][
                found.windows[row].positions
            ],
        )
        return found.join(logits, len(self._reader.labels))
