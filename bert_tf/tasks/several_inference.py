"""Asks several heads on one encoder, without TensorFlow."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from bert_tf.exports.folder import heads_of
from bert_tf.exports.interface import (
    PAIR,
    TEXT,
    WORDS,
    Arrays,
    Signature,
    Tensor,
)
from bert_tf.exports.results import named_outputs, outputs_of
from bert_tf.tasks import given, inference
from bert_tf.tasks.classification.inference import LogitsReader
from bert_tf.tasks.inference import STRINGS, Function, Row
from bert_tf.tasks.ner.inference import (
    TABLES,
    WordReader,
    WordRows,
    given_words,
    rows_of,
    split_words,
)
from bert_tf.tasks.ner.windows import WindowMaker

OfHeads = dict[str, Arrays]
"""The outputs of each head, by its name."""

TEXT_A, WORD_TABLE = {"text_a": STRINGS}, {"words": TABLES["string"]}


class SeveralInference(inference.Inference):
    """Several heads; a row goes through the encoder once for all of them."""

    def __init__(self, *args):
        super().__init__(*args)
        heads = heads_of(self.settings)
        self._order = list(heads)
        self._classifiers = {
            name: LogitsReader(own)
            for name, own in heads.items()
            if own["head"] == "classifier"
        }
        self._taggers = {
            name: WordReader(own["labels"])
            for name, own in heads.items()
            if own["head"] == "tokens"
        }
        self._maker = WindowMaker(self.tokenizer, self.max_seq_length)

    def row_outputs(self):
        readers: dict[str, LogitsReader | WordReader] = {
            **self._classifiers,
            **self._taggers,
        }
        return named_outputs(
            {name: readers[name].row_outputs() for name in self._order}
        )

    def token_outputs(self):
        return frozenset(
            named_outputs(
                {n: one.row_outputs() for n, one in self._taggers.items()}
            )
        )

    def from_rows(self, **rows):
        given.check_rows(rows, self.config)
        numbers = inference.numbers_of(self.row_outputs())
        found = self.compute_given(rows, numbers)
        of_classifiers = {
            name: one.of_rows(outputs_of(name, found))
            for name, one in self._classifiers.items()
        }
        return {**found, **named_outputs(of_classifiers)}

    # ------------------------------------------------------------------- texts

    def text_functions(self):
        pair = dict.fromkeys(self.text_inputs, STRINGS)
        takes_pairs = self.config["type_vocab_size"] > 1
        found = {TEXT: self._of_all(self._order, TEXT_A, self.of_texts)}
        if self._taggers:
            taggers = list(self._taggers)
            found[WORDS] = self._of_all(taggers, WORD_TABLE, self.of_words)
        elif takes_pairs:
            found[PAIR] = self._of_all(self._order, pair, self.of_texts)
        for name in self._classifiers:
            found[f"{name}/{TEXT}"] = self._of_one(name, TEXT_A, self.of_texts)
            if takes_pairs:
                function = self._of_one(name, pair, self.of_texts)
                found[f"{name}/{PAIR}"] = function
        for name in self._taggers:
            text = {"text": STRINGS}
            found[f"{name}/{TEXT}"] = self._of_one(name, text, self.of_texts)
            function = self._of_one(name, WORD_TABLE, self.of_words)
            found[f"{name}/{WORDS}"] = function
        return found

    def _of_all(
        self,
        names: Sequence[str],
        inputs: Mapping[str, Tensor],
        compute: Callable[..., OfHeads],
    ) -> Function:
        """A signature of some heads.

        Args:
            names: of the heads.
            inputs: of the signature.
            compute: function of the names, and of inputs by name.
        """
        outputs = named_outputs({n: self._outputs(n, inputs) for n in names})

        def call(**columns: Any) -> Arrays:
            return named_outputs(compute(names, **columns))

        return Function(Signature(inputs, outputs), call)

    def _of_one(self, name, inputs, compute) -> Function:
        """A signature of one head, by names as if there were no others."""

        def call(**columns: Any) -> Arrays:
            return compute([name], **columns)[name]

        return Function(Signature(inputs, self._outputs(name, inputs)), call)

    def _outputs(self, name, inputs) -> dict[str, Tensor]:
        if name in self._classifiers:
            return self._classifiers[name].text_outputs()
        tagger = self._taggers[name]
        if "words" in inputs:
            return tagger.word_outputs()
        return tagger.text_outputs()

    def of_texts(
        self, names: Sequence[str], **columns: Sequence[bytes]
    ) -> OfHeads:
        """The outputs of heads for texts, or for pairs of classifiers.

        Args:
            names: of the heads.
            **columns: the texts by the names of inputs, then second ones.
        """
        inference.require_as_many(columns)
        first, *seconds = (
            inference.decode(name, texts) for name, texts in columns.items()
        )
        second = seconds[0] if seconds else [""] * len(first)
        classifiers = [name for name in names if name in self._classifiers]
        taggers = [name for name in names if name in self._taggers]
        rows: list[Row] = []
        texts: list[int] = []
        num_cut: list[int] = []
        if classifiers:
            windows, texts, num_cut = self.windows(first, second)
            rows = [self.row(window) for window in windows]
        found = split_words(first if taggers else [])
        words = self._rows_of(found.words)
        logits = self._logits(names, [*rows, *words.rows])
        of_texts, of_words = logits[: len(rows)], logits[len(rows) :]
        cut = np.array(num_cut, np.int32)
        outputs = {}
        for name in classifiers:
            reader = self._classifiers[name]
            own = (of_row[name] for of_row in of_texts)
            pooled = reader.pool(own, texts, len(first))
            outputs[name] = reader.predict(pooled, cut)
        for name in taggers:
            of_head = self._joined(name, words, of_words)
            outputs[name] = self._taggers[name].of_texts(found, of_head)
        return outputs

    def of_words(
        self, names: Sequence[str], words: Sequence[Sequence[bytes]]
    ) -> OfHeads:
        """The outputs of heads for given words, [B, W]."""
        texts = given_words(words)
        rows = self._rows_of(texts)
        logits = self._logits(names, rows.rows)
        return {
            name: self._taggers[name].of_words(
                texts, self._joined(name, rows, logits)
            )
            for name in names
        }

    def _rows_of(self, texts: Sequence[Sequence[str]]) -> WordRows:
        return rows_of(self._maker.of_texts(texts), self.tokenizer)

    def _joined(self, name, rows: WordRows, logits) -> list[np.ndarray]:
        """The logits of the words of each text, for one head."""
        asked = (
            of_row[name][window.positions]
            for of_row, window in zip(logits, rows.windows, strict=True)
        )
        return rows.join(asked, len(self._taggers[name].labels))

    def _logits(
        self, names: Sequence[str], rows: Sequence[Row]
    ) -> list[Arrays]:
        """The logits of each row by head; equal rows are computed once."""
        places: dict[tuple[tuple[int, ...], tuple[int, ...]], int] = {}
        numbers = [
            places.setdefault(
                (tuple(row.input_ids), tuple(row.segment_ids)), len(places)
            )
            for row in rows
        ]
        outputs = {f"{name}/logits": name for name in names}
        computed = list(
            self.compute(
                [Row(*key) for key in places],
                list(outputs),
                lambda _, found: {outputs[x]: found[x] for x in found},
            )
        )
        return [computed[number] for number in numbers]
