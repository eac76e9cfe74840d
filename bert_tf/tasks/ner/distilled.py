"""Labelling words, learnt from a teacher."""

import numpy as np
from keras import ops

from bert_tf import heads
from bert_tf.tasks import metrics
from bert_tf.tasks.distillation import LOGITS, DistilledTask
from bert_tf.tasks.ner import rows as token_rows


class DistilledTokens(DistilledTask):
    """A `TokenTask` whose sentences may have no labels.

    Records have the teacher's logits as [L, S], at the first pieces of words,
    and 0 elsewhere: the length is the last axis, as in other features.
    """

    length_flag = "max_seq_length"

    def __init__(self, task, teacher_logits, settings):
        super().__init__(task, teacher_logits, settings)
        self.logits_shape = (len(task.labels), task.max_seq_length)

    def has_label(self, example):
        return example.targets is not None

    def with_label(self, example):
        return example

    def for_records(self, records, logits):
        found, first = [], 0
        for record in records:
            (places,) = np.nonzero(np.array(record["label_ids"]) >= 0)
            values = np.zeros(self.logits_shape, np.float32)
            values[:, places] = logits[first : first + len(places)].T
            found.append(values.ravel().tolist())
            first += len(places)
        return found

    def losses(self, outputs, batch):
        logits, label_ids = outputs["logits"], batch["label_ids"]
        teacher_logits = ops.transpose(batch[LOGITS], (0, 2, 1))
        of_teacher = heads.soft_cross_entropy(
            logits, teacher_logits, self.settings.temperature
        )
        return (
            heads.token_loss(logits, label_ids)[1],
            ops.where(label_ids >= 0, of_teacher, 0.0),
        )

    def mean(self, losses, batch, totals):
        count = (totals or self.task.count(batch))["tokens"]
        return ops.sum(losses) / ops.maximum(count, 1.0)

    def logits_of(self, example, rows):
        return token_rows.logits_of_words(example, rows)

    def compare(self, logits, teacher_logits):
        return metrics.compare_with_teacher(logits, teacher_logits)

    def evaluate_teacher(self, examples, logits, batch_size):
        rows = (
            [{"label_ids": self.task.label_ids(example), "logits": values}]
            for example, values in zip(examples, logits, strict=True)
        )
        return self.task.evaluate(examples, rows, batch_size)
