"""The protocol of a task: all that a run needs to train and evaluate it."""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import (
    Collection,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from bert_tf.checkpoints.names import EVAL_RESULTS
from bert_tf.tasks import metrics

if TYPE_CHECKING:
    import keras

    from bert_tf.data.records import Schema, Values
    from bert_tf.modeling import BertConfig

# How files about a set to predict end that are only there if it has labels.
_TEST_FILES = (
    "eval_results.txt",
    "mistakes.tsv",
    "per_label.tsv",
    "report.svg",
    "report.txt",
    "words.txt",
)

_LOGGER = logging.getLogger(__name__)

Row = Mapping[str, np.ndarray]
"""The features and outputs of one record, those in `Task.outputs`."""

Rows = Iterator[list[Row]]
"""For each example, in order, the rows of its records.

The records that pad the last batch of a TPU come after them, one by one: the
original includes them in the mean over batches.
"""


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Results of evaluating a model.

    Attributes:
        results: those of the original, under its names.
        more: those that the original does not have.
        files: texts of further files, by their names in the folder of the run.
        results_file: the file of the results; another one than the default for
            a test set that has labels.
        model_files: texts of files that belong to the checkpoint evaluated,
            such as thresholds chosen for it, by name.
        warnings: what to know about the results, for the log.
        fixed: results that no training of this model changes, such as those of
            its teacher: written at the end only. Their names tell the set.
    """

    results: Mapping[str, float]
    more: Mapping[str, float] = dataclasses.field(default_factory=dict)
    files: Mapping[str, str] = dataclasses.field(default_factory=dict)
    results_file: str = EVAL_RESULTS
    model_files: Mapping[str, str] = dataclasses.field(default_factory=dict)
    warnings: Sequence[str] = ()
    fixed: Mapping[str, float] = dataclasses.field(default_factory=dict)

    def all(self) -> dict[str, float]:
        """All results by name, but those that are fixed."""
        return {**self.results, **self.more}


def merge(
    evaluations: Mapping[str, Evaluation],
    means: Mapping[str, Sequence[str]],
) -> Evaluation:
    """The evaluations of several sets as one.

    The first set keeps its names. Those of another have its name in place of
    `eval`: eval_accuracy of the set eval_mm is eval_mm_accuracy. Its results
    without `eval` in their names are left out.

    Args:
        evaluations: by the name of the set; at least one.
        means: further results, each the mean of others. Where one of these is
            missing, there is no mean.
    """
    (_, first), *others = evaluations.items()
    more, files = dict(first.more), dict(first.files)
    fixed = dict(first.fixed)
    warnings = list(first.warnings)
    for name, evaluation in others:
        more |= _renamed(evaluation.all(), name)
        files |= _renamed(evaluation.files, name)
        fixed |= evaluation.fixed
        warnings += [f"{name}: {text}" for text in evaluation.warnings]
    known = {**first.results, **more}
    for name, parts in means.items():
        if all(part in known for part in parts):
            mean, _ = metrics.mean_and_deviation([known[x] for x in parts])
            more[name] = mean
    return dataclasses.replace(
        first, more=more, files=files, warnings=warnings, fixed=fixed
    )


def of_test(evaluation: Evaluation, name: str = "test") -> Evaluation:
    """The evaluation of a set to predict that has labels, under its name.

    Args:
        evaluation: of its predictions.
        name: begins the names of its files, in place of `eval`.
    """
    return dataclasses.replace(
        evaluation,
        # The mean over batches of evaluation, of which there are none.
        results={k: x for k, x in evaluation.results.items() if k != "loss"},
        files={
            name + key.removeprefix("eval"): text
            for key, text in evaluation.files.items()
        },
        results_file=f"{name}_{EVAL_RESULTS}",
        model_files={},
    )


def remove_test_results(folder: str, name: str) -> None:
    """Removes what was written when a set to predict had labels."""
    start = name.replace("predict", "test", 1)
    for end in _TEST_FILES:
        path = os.path.join(folder, f"{start}_{end}")
        if os.path.isfile(path):
            os.remove(path)
            _LOGGER.info("Removed %s, of an earlier prediction.", path)


def _renamed(by_name: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {
        name + key.removeprefix("eval"): value
        for key, value in by_name.items()
        if key.startswith("eval_")
    }


class Task(Protocol):
    """A task: records, model, loss, and evaluation.

    Examples are of any type; a run only counts them. An example becomes one
    record, or several where a long text is split into windows. A task does not
    depend on record files, batches, devices or checkpoints.

    Attributes:
        outputs: names of the features and outputs that `evaluate` and `write`
            need of each record.
        groups_by_length: whether records may be predicted in batches of
            similar length, padded to the longest in the batch.
        log_names: names of examples and records in the original's log; the
            second is None if each example is one record.
        epochs_count_records: whether the length of an epoch is the number of
            records; if not, that of examples.
    """

    outputs: tuple[str, ...]
    groups_by_length: bool
    log_names: tuple[str, str | None]
    epochs_count_records: bool

    def schema(self, is_training: bool) -> Schema:
        """The features of each record."""

    def records(
        self, examples: Iterable[Any], is_training: bool
    ) -> Iterator[list[Values]]:
        """The records of each example; in training, in any order."""

    def padding(self, is_training: bool) -> Values:
        """A record that pads the last batch of a TPU."""

    def describe(self, example: Any) -> str:
        """An example and its features, for the log."""

    def build(self, config: BertConfig, one_hot: bool) -> keras.Model:
        """The model, a functional `keras.Model` with new weights."""

    def loss(self, outputs, batch, totals):
        """The mean loss of a batch, or of a part: see `training.loop.train`."""

    def count(self, batch) -> dict:
        """The totals of a batch that `loss` divides by, float32 scalars.

        They must add up over the parts of a batch: `{"examples": ...}` for a
        mean over examples, which `training.step.count_examples` returns.
        """

    def chance_loss(self, examples: Collection[Any]) -> float:
        """The training loss of the best answer that is the same for all.

        0 where that is not known.
        """

    def evaluate(
        self, examples: Sequence[Any], rows: Rows, batch_size: int
    ) -> Evaluation:
        """Evaluates outputs; writes nothing.

        Args:
            examples: in order.
            rows: of these examples.
            batch_size: for means over batches.
        """

    def write(
        self, examples: Sequence[Any], rows: Rows, folder: str, split: str
    ) -> Evaluation | None:
        """Writes predictions under the original's names.

        Args:
            examples, rows: as in `evaluate`.
            folder: of the run.
            split: the name of the set.

        Returns:
            Their evaluation, if the examples have labels and the task
            evaluates predictions; else None.
        """

    def write_model_files(self, folder: str) -> None:
        """Writes files that belong to the model, such as its labels."""
