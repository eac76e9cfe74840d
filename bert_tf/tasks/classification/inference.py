"""Classifies texts with an exported model, without TensorFlow."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from bert_tf.exports.interface import Arrays, Tensor
from bert_tf.tasks import given, inference
from bert_tf.tasks.classification import targets
from bert_tf.tasks.classification.target import CLASS, MULTI, NUMBER


class LogitsReader:
    """What signatures return for the logits of texts.

    Args:
        settings: the classifier's own, as in assets/bert_tf.json.

    Attributes:
        target: a `Target` with its labels.
    """

    def __init__(self, settings: Mapping[str, Any]):
        labels = tuple(settings["labels"] or ())
        label_type = settings.get("label_type") or CLASS
        of_labels = {"labels": labels} if labels else {}
        self.target = targets.make_target(label_type, **of_labels)
        self._pooling = settings.get("window_pooling") or "mean"
        self._names = inference.strings(labels)

    def row_outputs(self) -> dict[str, Tensor]:
        """The outputs for rows of ids."""
        logits = Tensor("float32", (None, len(self._names)))
        if self.target.label_type == CLASS:
            return {"logits": logits, "probabilities": logits}
        return self._predicted()

    def of_rows(self, numbers: Arrays) -> Arrays:
        """The outputs for rows of ids, of which a session has the numbers."""
        return self._with_names(numbers) if "scores" in numbers else numbers

    def text_outputs(self) -> dict[str, Tensor]:
        """The outputs for texts."""
        return {**self._predicted(), "num_cut": inference.NUM_CUT}

    def _predicted(self) -> dict[str, Tensor]:
        of_labels = (None, len(self._names))
        if self.target.label_type == NUMBER:
            return {"value": Tensor("float32", (None,))}
        numbers = Tensor("float32", of_labels)
        names = Tensor("string", of_labels)
        if self.target.label_type == MULTI:
            return {"scores": numbers, "labels": names}
        return {
            "probabilities": numbers,
            "labels": names,
            "label": inference.STRINGS,
        }

    def pool(
        self,
        logits: Iterable[np.ndarray],
        texts: Sequence[int],
        num_texts: int,
    ) -> np.ndarray:
        """The logits of texts, float32 [B, L].

        Args:
            logits: of each window, [L].
            texts: the number of the text of each.
            num_texts: B.
        """
        found: list[list[np.ndarray]] = [[] for _ in range(num_texts)]
        for text, of_window in zip(texts, logits, strict=True):
            found[text].append(of_window)
        pooled = np.zeros((num_texts, self.target.num_outputs), np.float32)
        for number, of_text in enumerate(found):
            pooled[number] = pool_logits(of_text, self._pooling)
        return pooled

    def predict(self, logits: np.ndarray, num_cut: np.ndarray) -> Arrays:
        """Outputs for the logits of texts [B, L], and what was cut off [B]."""
        scores = self.target.scores(logits)
        if self.target.label_type == NUMBER:
            return {"value": logits[:, 0], "num_cut": num_cut}
        if self.target.label_type == MULTI:
            return {**self._with_names({"scores": scores}), "num_cut": num_cut}
        found = self._with_names({"probabilities": scores})
        best = self._names[scores.argmax(axis=-1)]
        return {**found, "label": best, "num_cut": num_cut}

    def _with_names(self, found: Arrays) -> Arrays:
        (scores,) = found.values()
        names = np.broadcast_to(self._names, scores.shape)
        return {**found, "labels": names}


class ClassifierInference(inference.Inference):
    """Predicts a target for a text, or a pair of texts."""

    def __init__(self, *args):
        super().__init__(*args)
        self._reader = LogitsReader(self.settings)

    def row_outputs(self):
        return self._reader.row_outputs()

    def text_outputs(self):
        return self._reader.text_outputs()

    def from_rows(self, **rows):
        given.check_rows(rows, self.config)
        numbers = inference.numbers_of(self.row_outputs())
        return self._reader.of_rows(self.compute_given(rows, numbers))

    def texts(self, first, second):
        return self._reader.predict(*self.logits(first, second))

    def logits(
        self, first: Sequence[str], second: Sequence[str]
    ) -> tuple[np.ndarray, np.ndarray]:
        """The logits of texts, float32 [B, L], combined from their windows.

        Args:
            first, second: as `texts` takes them.

        Returns:
            The logits, and for each text the number of pieces that are in no
            window, int32 [B].
        """
        windows, texts, num_cut = self.windows(first, second)
        found = self.compute(
            [self.row(window) for window in windows],
            ["logits"],
            lambda _, outputs: outputs["logits"],
        )
        pooled = self._reader.pool(found, texts, len(first))
        return pooled, np.array(num_cut, np.int32)


def pool_logits(logits: Sequence[np.ndarray], pooling: str) -> np.ndarray:
    """The logits [L] of a text, combined from those of its windows.

    Args:
        logits: of each window, [L].
        pooling: one of `targets.WINDOW_POOLINGS`.
    """
    if len(logits) == 1:
        return logits[0]
    return targets.WINDOW_POOLINGS[pooling](np.stack(logits), axis=0)
