"""Evaluation of entities as by conlleval, with its numbers and its layout."""

import collections
import dataclasses
from collections.abc import Sequence

from bert_tf.tasks.ner.schemes import IOB2, IOBES, convert, find_entities
from bert_tf.tasks.report import LabelCounts


@dataclasses.dataclass
class EntityCounts:
    """What conlleval counts, over all sentences that were added.

    An entity is correct if its type, its first and its last word are.

    Attributes:
        words, right_words: words, and those whose whole label is right.
        correct, gold, predicted: entities by type.
    """

    words: int = 0
    right_words: int = 0
    correct: collections.Counter = dataclasses.field(
        default_factory=collections.Counter
    )
    gold: collections.Counter = dataclasses.field(
        default_factory=collections.Counter
    )
    predicted: collections.Counter = dataclasses.field(
        default_factory=collections.Counter
    )

    def add(
        self, gold: Sequence[str], predicted: Sequence[str], scheme: str
    ) -> None:
        """Adds a sentence: its labels, and those predicted, in one scheme.

        IOBES, which the script does not know, is counted as IOB2.
        """
        if scheme == IOBES:
            gold, predicted = (
                convert(labels, IOBES, IOB2) for labels in (gold, predicted)
            )
        self.words += len(gold)
        pairs = zip(gold, predicted, strict=True)
        self.right_words += sum(one == other for one, other in pairs)
        right = set(find_entities(gold, scheme))
        found = set(find_entities(predicted, scheme))
        for counter, entities in (
            (self.gold, right),
            (self.predicted, found),
            (self.correct, right & found),
        ):
            counter.update(entity.type for entity in entities)

    def results(self) -> dict[str, float]:
        """The results of eval_results.txt, as shares."""
        precision, recall, f1 = (
            percent / 100 for percent in self._percents(self._totals())
        )
        return {
            "eval_f1": f1,
            "eval_precision": precision,
            "eval_recall": recall,
            "eval_token_accuracy": _percent(self.right_words, self.words) / 100,
        }

    def report(self) -> str:
        """The lines that conlleval prints, types sorted."""
        correct, gold, predicted = totals = self._totals()
        accuracy = _percent(self.right_words, self.words)
        lines = [
            f"processed {self.words} tokens with {gold} phrases; "
            f"found: {predicted} phrases; correct: {correct}.",
            f"accuracy: {accuracy:6.2f}%; {self._line(totals)}",
        ]
        for kind in sorted({*self.gold, *self.predicted}):
            counts = self.correct[kind], self.gold[kind], self.predicted[kind]
            lines.append(f"{kind:>17}: {self._line(counts)}  {counts[2]}")
        return "".join(f"{line}\n" for line in lines)

    def of_types(self) -> dict[str, LabelCounts]:
        """What is right and wrong about each type, types sorted."""
        return {
            kind: LabelCounts(
                self.correct[kind],
                self.predicted[kind] - self.correct[kind],
                self.gold[kind] - self.correct[kind],
            )
            for kind in sorted({*self.gold, *self.predicted})
        }

    def _totals(self) -> tuple[int, int, int]:
        return (
            self.correct.total(),
            self.gold.total(),
            self.predicted.total(),
        )

    @staticmethod
    def _percents(counts: tuple[int, int, int]) -> tuple[float, float, float]:
        correct, gold, predicted = counts
        precision = _percent(correct, predicted)
        recall = _percent(correct, gold)
        # In this order and in percent, so that roundings are conlleval's.
        both = precision + recall
        return precision, recall, 2 * precision * recall / both if both else 0.0

    def _line(self, counts: tuple[int, int, int]) -> str:
        precision, recall, f1 = self._percents(counts)
        return (
            f"precision: {precision:6.2f}%; recall: {recall:6.2f}%; "
            f"FB1: {f1:6.2f}"
        )


def _percent(part: int, whole: int) -> float:
    return 100 * part / whole if whole else 0.0
