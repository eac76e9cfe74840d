"""A task whose model learns from a teacher too (Turc et al. 2019).

The loss of an example is w T^2 H(softmax(t / T), softmax(s / T)) +
(1 - w) H(label, softmax(s)), with the logits t of the teacher and s of the
student; other targets have other losses in place of H.
"""

import abc
import dataclasses
import itertools

import numpy as np
from keras import ops

from bert_tf.data.records import Feature
from bert_tf.tasks.teacher_logits import TRAIN

LOGITS, HAS_LABEL = "teacher_logits", "has_label"
"""Features of training records, beside those of the task."""


class DistilledTask(abc.ABC):
    """A `Task` around another one, whose examples may have no label.

    Args:
        task: a `Task`.
        teacher_logits: `teacher_logits.TeacherLogits` with the sets of the run.
        settings: `teacher_logits.Distillation`.

    Attributes:
        logits_shape: of the teacher's logits in a record.
        length_flag: of these, as in `Feature`.
    """

    logits_shape: tuple[int, ...]
    length_flag: str | None = None

    def __init__(self, task, teacher_logits, settings):
        self.task = task
        self.teacher_logits = teacher_logits
        self.settings = settings
        self._of_teacher = {}

    def __getattr__(self, name):
        # All other members are those of the task.
        return getattr(self.task, name)

    # ------------------------------------------------ what each task declares

    @abc.abstractmethod
    def has_label(self, example):
        """Whether an example has a label."""

    @abc.abstractmethod
    def with_label(self, example):
        """The example, or one with any label if it has none."""

    @abc.abstractmethod
    def for_records(self, records, logits):
        """The teacher's logits for each record of an example, flat lists.

        Args:
            records: the values of each.
            logits: float32 [n, L], of the example.
        """

    @abc.abstractmethod
    def losses(self, outputs, batch):
        """Losses against the labels and against the teacher.

        Returns:
            Two float32 tensors of one shape, [B] or [B, S].
        """

    @abc.abstractmethod
    def mean(self, losses, batch, totals):
        """The loss of a batch, from what `losses` returns: see `Task.loss`."""

    @abc.abstractmethod
    def logits_of(self, example, rows):
        """The student's logits for an example, float32 [n, L]."""

    @abc.abstractmethod
    def compare(self, logits, teacher_logits):
        """Results that compare logits [N, L], by name."""

    @abc.abstractmethod
    def evaluate_teacher(self, examples, logits, batch_size):
        """The `Evaluation` of the teacher's logits of each example."""

    # ------------------------------------------------------- for all tasks

    def schema(self, is_training):
        schema = self.task.schema(is_training)
        if not is_training:
            return schema
        logits = Feature(
            self.logits_shape, "float32", length_flag=self.length_flag
        )
        return {**schema, LOGITS: logits, HAS_LABEL: Feature(())}

    def records(self, examples, is_training):
        if not is_training:
            return self.task.records(examples, is_training)
        return self._training_records(examples)

    def _training_records(self, examples):
        examples, labelled = itertools.tee(examples)
        for example, records, logits in zip(
            examples,
            self.task.records(map(self.with_label, labelled), True),
            self.teacher_logits.logits(TRAIN),
            strict=True,
        ):
            has_label = int(self.has_label(example))
            yield [
                {**record, LOGITS: values, HAS_LABEL: [has_label]}
                for record, values in zip(
                    records, self.for_records(records, logits), strict=True
                )
            ]

    def describe(self, example):
        text = self.task.describe(self.with_label(example))
        if self.has_label(example):
            return text
        return f"{text}\nThe label is a placeholder: this example has none."

    def loss(self, outputs, batch, totals):
        of_labels, of_teacher = self.losses(outputs, batch)
        weights = ops.where(batch[HAS_LABEL] > 0, self.settings.weight, 1.0)
        if len(of_labels.shape) > 1:
            weights = weights[:, None]  # [B, S]
        losses = weights * of_teacher + (1.0 - weights) * of_labels
        return self.mean(losses, batch, totals)

    def chance_loss(self, examples):
        # The loss falls to the entropy of the teacher, not to 0: how far it is
        # from that of chance says little.
        return 0.0

    def evaluate(self, examples, rows, batch_size):
        name = self.teacher_logits.name_of(examples)
        teacher_logits = list(self.teacher_logits.logits(name))
        logits = []

        def passed_on():
            for example, of_example in zip(examples, rows):
                logits.append(self.logits_of(example, of_example))
                yield of_example
            yield from rows

        found = self.task.evaluate(examples, passed_on(), batch_size)
        if name not in self._of_teacher:
            of_teacher = self.evaluate_teacher(
                examples, teacher_logits, batch_size
            )
            of_set = f"teacher{name.removeprefix('eval')}"
            self._of_teacher[name] = {
                f"{of_set}{key.removeprefix('eval')}": value
                for key, value in of_teacher.all().items()
                if key.startswith("eval_")
            }
        compared = self.compare(
            np.concatenate(logits), np.concatenate(teacher_logits)
        )
        return dataclasses.replace(
            found,
            more={**found.more, **compared},
            fixed=self._of_teacher[name],
        )
