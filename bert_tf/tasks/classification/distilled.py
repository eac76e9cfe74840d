"""Classification of texts, learnt from a teacher."""

import dataclasses

import numpy as np

from bert_tf import heads
from bert_tf.tasks.classification.target import MULTI
from bert_tf.tasks.distillation import LOGITS, DistilledTask


class DistilledClassification(DistilledTask):
    """A `ClassificationTask` whose examples may have None for their label.

    The label weights of its target are those of the loss against labels.
    """

    def __init__(self, task, teacher_logits, settings):
        super().__init__(task, teacher_logits, settings)
        self.logits_shape = (task.target.num_outputs,)

    def has_label(self, example):
        return example.label is not None

    def with_label(self, example):
        if example.label is not None:
            return example
        return dataclasses.replace(example, label=self.task.target.blank)

    def for_records(self, records, logits):
        return [logits[0].tolist()] * len(records)

    def losses(self, outputs, batch):
        target, logits = self.task.target, outputs["logits"]
        return (
            target.losses(logits, batch["label_ids"]),
            target.teacher_losses(
                logits, batch[LOGITS], self.settings.temperature
            ),
        )

    def mean(self, losses, batch, totals):
        return heads.mean_over_batch(losses, (totals or {}).get("examples"))

    def logits_of(self, example, rows):
        return self.task.logits_of_text(rows)[None]

    def compare(self, logits, teacher_logits):
        return self.task.target.compare(logits, teacher_logits)

    def evaluate_teacher(self, examples, logits, batch_size):
        target = self.task.target
        if target.label_type == MULTI:
            own = self.teacher_logits.teacher.target.thresholds
            target = dataclasses.replace(
                target, thresholds=own, chooses_thresholds=False
            )
        label_ids = [target.encode(example.label) for example in examples]
        return target.evaluate(
            np.array(label_ids),
            np.concatenate(logits),
            np.ones(len(label_ids), bool),
            batch_size,
        )
