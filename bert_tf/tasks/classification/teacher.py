"""A fine-tuned classifier as the teacher of another one."""

import contextlib
import os

from bert_tf.checkpoints import casing, finding, folder_settings
from bert_tf.checkpoints.names import LABELS_FILE
from bert_tf.data import packing
from bert_tf.errors import InputError
from bert_tf.tasks.classification import labeller, rows
from bert_tf.tasks.classification.target import NUMBER
from bert_tf.tasks.teacher_logits import (
    digest_of,
    naming,
    other_labels,
    require_head,
)


class TextTeacher:
    """A `Teacher` of texts and pairs of texts, which are `InputExample`s.

    It reads with its own vocabulary, casing, length and windows, as its folder
    says. The weights are not loaded yet.

    Args:
        checkpoint: the output folder of run_classifier, whose best checkpoint
            is taken if the run kept it, or a prefix.
        batch_size: number of windows in a batch.

    Attributes:
        target: its `Target`, with its labels.

    Raises:
        InputError: a file is missing or does not fit, or the model was trained
            for something else.
    """

    def __init__(self, checkpoint, batch_size=32):
        with naming(checkpoint):
            self._opened = _open(checkpoint)
        self._batch_size = batch_size
        self.path = self._opened.folder.path
        self.target = self._opened.target
        self.digest = digest_of(
            self._opened.folder,
            casing.casing_of(self._opened.tokenizer),
            self._opened.max_seq_length,
            self._opened.doc_stride,
            self._opened.window_pooling,
        )

    def require_target(self, target):
        """Raises `InputError` if the student's target is another one."""
        own = self.target
        if own.label_type != target.label_type:
            raise InputError(
                f"`--teacher={self.path}` must predict what the student does, "
                f"label_type={target.label_type}. It has "
                f"label_type={own.label_type}"
            )
        if own.labels != target.labels:
            raise other_labels(self.path, own.labels, target.labels)

    def require_token_types(self, examples):
        """Raises `InputError` if it cannot read pairs, and there are some."""
        config = self._opened.folder.config
        with naming(self.path):
            rows.require_token_types(config.type_vocab_size, examples)

    def texts(self, example):
        """All that it reads of an `InputExample`."""
        return example.text_a, example.text_b or ""

    @contextlib.contextmanager
    def loaded(self):
        """Loads the weights for a block; yields what `Teacher.loaded` does."""
        model = self._opened.load(self._batch_size)
        truncation = packing.Truncation()

        def compute(examples):
            texts = zip(*map(self.texts, examples))
            logits, num_cut = model.logits(*texts)
            for count in num_cut.tolist():
                truncation.add(count)
            return list(logits[:, None])

        yield compute
        model.session.unknown.warn("what the teacher reads")
        advice = rows.truncation_advice(self._opened.doc_stride)
        advice = f"So the teacher reads, as its folder says. {advice}"
        truncation.log(self._opened.max_seq_length, advice)


def _open(checkpoint):
    """The `OpenedClassifier` of a folder that run_classifier trained."""
    found = finding.of_results(checkpoint)
    folder = os.path.dirname(finding.find(found))
    noted = folder_settings.noted_in(folder)
    require_head(noted, "classifier", "run_classifier")
    labels = os.path.join(folder, LABELS_FILE)
    if noted.settings.label_type != NUMBER and not os.path.isfile(labels):
        raise InputError(
            f"{folder} must be a folder that run_classifier trained. It has "
            f"no {LABELS_FILE}, with the labels that teacher and student must "
            "share"
        )
    opened = labeller.open_classifier(found)
    opened.folder.reader.check_data()
    return opened
