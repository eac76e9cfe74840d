"""A model that labels words as the teacher of another one."""

import contextlib
import itertools
import os

from bert_tf.checkpoints import casing, finding, folder_settings
from bert_tf.checkpoints.names import LABELS_FILE
from bert_tf.errors import InputError
from bert_tf.tasks.ner import tagger
from bert_tf.tasks.ner.windows import WindowMaker
from bert_tf.tasks.teacher_logits import (
    digest_of,
    naming,
    other_labels,
    require_head,
)


class WordTeacher:
    """A `Teacher` of sentences, which are `data.Example`s.

    It reads with its own vocabulary, casing, length and document context, as
    its folder says. The weights are not loaded yet.

    Args:
        checkpoint: the output folder of run_ner, whose best checkpoint is taken
            if the run kept it, or a prefix.
        batch_size: number of windows in a batch.

    Attributes:
        labels: in the order of their ids.
        document_context: whether it needs documents.

    Raises:
        InputError: a file is missing or does not fit, or the model was trained
            for something else.
    """

    def __init__(self, checkpoint, batch_size=32):
        with naming(checkpoint):
            self._opened = _open(checkpoint)
        noted = self._opened.folder.noted.settings.said()
        self._batch_size = batch_size
        self.path = self._opened.folder.path
        self.labels = self._opened.labels
        self.document_context = noted.get("document_context", False)
        self.digest = digest_of(
            self._opened.folder,
            casing.casing_of(self._opened.tokenizer),
            self._opened.max_seq_length,
            self.document_context,
        )

    def require_labels(self, labels):
        """Raises `InputError` unless the student's labels are the same."""
        if self.labels != tuple(labels):
            raise other_labels(self.path, self.labels, labels)

    def texts(self, example):
        """All that it reads of a `data.Example`."""
        yield from example.words
        if self.document_context:
            # Sentences have a word or more.
            first = max(0, example.number - self._opened.max_seq_length)
            last = example.number + self._opened.max_seq_length
            around = example.document[first : last + 1]
            yield from itertools.chain.from_iterable(around)

    @contextlib.contextmanager
    def loaded(self):
        """Loads the weights for a block; yields what `Teacher.loaded` does."""
        model = self._opened.load(self._batch_size)
        maker = WindowMaker(
            self._opened.tokenizer,
            self._opened.max_seq_length,
            self.document_context,
        )

        def compute(examples):
            windows = [maker.windows(x.document, x.number) for x in examples]
            return model.logits(windows)

        yield compute
        model.session.unknown.warn("what the teacher reads")


def _open(checkpoint):
    """The `OpenedTagger` of a folder that run_ner trained."""
    found = finding.of_results(checkpoint)
    folder = os.path.dirname(finding.find(found))
    require_head(folder_settings.noted_in(folder), "tokens", "run_ner")
    if not os.path.isfile(os.path.join(folder, LABELS_FILE)):
        raise InputError(
            f"{folder} must be a folder that run_ner trained. It has no "
            f"{LABELS_FILE}, with the labels that teacher and student must "
            "share"
        )
    opened = tagger.open_tagger(found)
    opened.folder.reader.check_data()
    return opened
