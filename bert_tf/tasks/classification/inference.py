"""Classifies texts with an exported model, without TensorFlow."""

from collections.abc import Sequence

import numpy as np

from bert_tf.exports.interface import Arrays, Tensor
from bert_tf.tasks import given, inference
from bert_tf.tasks.classification import targets
from bert_tf.tasks.classification.target import CLASS, MULTI, NUMBER


class ClassifierInference(inference.Inference):
    """Predicts a target for a text, or a pair of texts."""

    def __init__(self, *args):
        super().__init__(*args)
        labels = tuple(self.settings["labels"] or ())
        label_type = self.settings.get("label_type") or CLASS
        of_labels = {"labels": labels} if labels else {}
        self.target = targets.make_target(label_type, **of_labels)
        self._names = inference.strings(labels)

    def row_outputs(self):
        logits = Tensor("float32", (None, len(self._names)))
        if self.target.label_type == CLASS:
            return {"logits": logits, "probabilities": logits}
        return self._predicted()

    def text_outputs(self):
        return {**self._predicted(), "num_cut": inference.NUM_CUT}

    def _predicted(self):
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

    def from_rows(self, **rows):
        if self.target.label_type != MULTI:
            return super().from_rows(**rows)
        given.check_rows(rows, self.config)
        return self._with_names(self.compute_given(rows, ["scores"]))

    def texts(self, first, second):
        logits, num_cut = self.logits(first, second)
        return {**self._predict(logits), "num_cut": num_cut}

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
        logits: list[list[np.ndarray]] = [[] for _ in first]
        for text, of_window in zip(texts, found, strict=True):
            logits[text].append(of_window)
        pooling = self.settings.get("window_pooling") or "mean"
        pooled = np.zeros((len(logits), self.target.num_outputs), np.float32)
        for number, of_text in enumerate(logits):
            pooled[number] = pool_logits(of_text, pooling)
        return pooled, np.array(num_cut, np.int32)

    def _predict(self, logits: np.ndarray) -> Arrays:
        scores = self.target.scores(logits)
        if self.target.label_type == NUMBER:
            return {"value": logits[:, 0]}
        if self.target.label_type == MULTI:
            return self._with_names({"scores": scores})
        found = self._with_names({"probabilities": scores})
        return {**found, "label": self._names[scores.argmax(axis=-1)]}

    def _with_names(self, found: Arrays) -> Arrays:
        (scores,) = found.values()
        names = np.broadcast_to(self._names, scores.shape)
        return {**found, "labels": names}


def pool_logits(logits: Sequence[np.ndarray], pooling: str) -> np.ndarray:
    """The logits [L] of a text, combined from those of its windows.

    Args:
        logits: of each window, [L].
        pooling: one of `targets.WINDOW_POOLINGS`.
    """
    if len(logits) == 1:
        return logits[0]
    return targets.WINDOW_POOLINGS[pooling](np.stack(logits), axis=0)
