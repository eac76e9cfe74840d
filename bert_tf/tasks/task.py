"""What a task declares, so that `tasks.run` can train and evaluate it."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import keras
import numpy as np

from bert_tf.data.records import Schema, Values
from bert_tf.modeling import BertConfig

Row = Mapping[str, np.ndarray]
"""The features and outputs of one record, those in `Task.outputs`."""

Rows = Iterator[list[Row]]
"""For each example, in order, the rows of its records.

What fills up the last batch of a TPU comes after them, one record at a time:
the original counts it in the mean over batches.
"""


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """How good a model is.

    Attributes:
        results: numbers by the names that the original gives them.
        more: numbers that the original does not have.
    """

    results: Mapping[str, float]
    more: Mapping[str, float] = dataclasses.field(default_factory=dict)

    def all(self) -> dict[str, float]:
        """All of the numbers."""
        return {**self.results, **self.more}


class Task(Protocol):
    """A task: its records, its model, its loss, and how good it is.

    Examples are whatever the task's `data.py` reads; a run only counts them.
    An example becomes one record, or several where a long text is split into
    windows. Nothing here knows about files of records, batches, devices or
    checkpoints.

    Attributes:
        outputs: names of the features and outputs that `evaluate` and `write`
            need of each record.
        metrics: names of results by which the best checkpoint can be kept.
        groups_by_length: whether records may be predicted in batches of
            similar length, padded to the longest in the batch.
        log_names: names of examples and records in the original's log; None
            for records that are the examples.
        epochs_count_records: whether an epoch of training goes over records;
            if not, over examples, whatever the number of their records.
    """

    outputs: tuple[str, ...]
    metrics: tuple[str, ...]
    groups_by_length: bool
    log_names: tuple[str, str | None]
    epochs_count_records: bool

    def schema(self, is_training: bool) -> Schema:
        """What each record holds."""

    def records(
        self, examples: Sequence[Any], is_training: bool
    ) -> Iterator[list[Values]]:
        """The records of each example; in order, unless for training."""

    def padding(self, is_training: bool) -> Values:
        """A record that fills up the last batch of a TPU."""

    def describe(self, example: Any) -> str:
        """An example and what becomes of it, for the log."""

    def build(self, config: BertConfig, one_hot: bool) -> keras.Model:
        """The model, a functional `keras.Model` with new weights."""

    def loss(self, outputs, batch, totals):
        """The mean loss of a batch, or of a part: see `training.loop.train`."""

    def evaluate(
        self, examples: Sequence[Any], rows: Rows, batch_size: int
    ) -> Evaluation:
        """How good the outputs are; writes nothing.

        Args:
            examples: that the rows belong to.
            rows: of the examples, in their order.
            batch_size: of the evaluation, for means over batches.
        """

    def write(
        self, examples: Sequence[Any], rows: Rows, folder: str, split: str
    ) -> Evaluation | None:
        """Writes predictions under the original's names.

        Args:
            examples, rows: as in `evaluate`.
            folder: of the run.
            split: name of the set of examples.

        Returns:
            How good they are, where the examples say what is right and the
            original evaluates its predictions.
        """

    def write_model_files(self, folder: str) -> None:
        """Writes what belongs to the model beside its checkpoints."""
