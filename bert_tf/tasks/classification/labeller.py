"""Classifies texts with a fine-tuned checkpoint."""

from typing import NamedTuple

from bert_tf import errors, models, tokenization
from bert_tf.checkpoints import finding, folders, inference
from bert_tf.data import grouping, packing
from bert_tf.exports.predictor import BATCHES_AHEAD
from bert_tf.exports.results import head_of
from bert_tf.tasks.checkpoint_session import CheckpointSession
from bert_tf.tasks.classification.data import InputExample
from bert_tf.tasks.classification.inference import ClassifierInference
from bert_tf.tasks.classification.rows import require_token_types
from bert_tf.tasks.classification.served import find_target, settings_of
from bert_tf.tasks.classification.target import Target


class OpenedClassifier(NamedTuple):
    """A checkpoint that classifies texts, and how it reads them; no weights.

    Attributes:
        folder: its `folders.ModelFolder`.
        tokenizer: its `FullTokenizer`.
        target: its `Target`, with its labels.
        max_seq_length: the most word pieces of a window.
        doc_stride: distance between windows; None truncates long texts.
        window_pooling: one of `targets.WINDOW_POOLINGS`.
    """

    folder: folders.ModelFolder
    tokenizer: tokenization.FullTokenizer
    target: Target
    max_seq_length: int
    doc_stride: int | None
    window_pooling: str

    def load(self, batch_size=32, skip_padding=True):
        """The `ClassifierInference` of its weights.

        Args:
            batch_size: number of windows in a batch.
            skip_padding: see `BertModel`.
        """
        config = self.folder.config
        model, _ = inference.load_model(
            lambda: models.classifier(config, self.target.num_outputs),
            config,
            self.folder.reader,
            may_lack=(),
            skip_padding=skip_padding,
        )
        settings = {
            **settings_of(self.target, self.doc_stride, self.window_pooling),
            "head": "classifier",
            "max_seq_length": self.max_seq_length,
            "rows_at_once": batch_size,
        }
        return ClassifierInference(
            CheckpointSession(model, self.tokenizer.vocab),
            settings,
            config.to_dict(),
            self.tokenizer,
        )


def open_classifier(
    checkpoint,
    vocab_file=None,
    bert_config_file=None,
    do_lower_case=None,
    strip_accents=None,
    max_seq_length=None,
    doc_stride=None,
    window_pooling=None,
    labels=None,
    target=None,
    ignore_folder_settings=False,
):
    """Opens a checkpoint; see `Labeller` for the arguments and errors.

    Returns:
        An `OpenedClassifier`.
    """
    opened = folders.find(
        finding.of_results(checkpoint), vocab_file, bert_config_file
    )
    opened.noted.require_head("classifier")
    tokenizer = opened.load_tokenizer(
        do_lower_case, strip_accents, ignore_folder_settings
    )
    found = opened.noted.take(
        "classifier",
        ignore_folder_settings,
        max_seq_length=max_seq_length,
        doc_stride=doc_stride,
        window_pooling=window_pooling,
    )
    length = inference.find_length(
        opened.config, found["max_seq_length"], default=128
    )
    packing.require_stride(found["doc_stride"], length)
    return OpenedClassifier(
        opened,
        tokenizer,
        find_target(opened, labels, target, ignore_folder_settings),
        length,
        found["doc_stride"],
        found["window_pooling"] or "mean",
    )


class Labeller:
    """Predicts labels or numbers; the weights are loaded once.

    Args:
        checkpoint: the output folder of run_classifier, whose best checkpoint
            is taken if the run kept it, or a prefix.
        vocab_file: None for the vocab.txt beside the checkpoint.
        bert_config_file: None for the bert_config.json beside it.
        do_lower_case, strip_accents: what is done to text; None for what the
            folder and its vocabulary tell.
        max_seq_length: the most word pieces of a window; None for what the
            folder notes, else 128.
        doc_stride: distance between windows; None for what the folder notes,
            else long texts are truncated.
        window_pooling: one of `targets.WINDOW_POOLINGS`; None for what the
            folder notes, else "mean".
        labels: their names in the order of their ids; None for labels.txt
            beside the checkpoint.
        target: a `Target` with its labels; None for the one that the files
            beside the checkpoint tell.
        batch_size: number of windows in a batch.
        ignore_folder_settings: whether what is asked for wins where it
            contradicts the folder.
        skip_padding: see `BertModel`.

    Attributes:
        target: a `Target`.
        unknown: `UnknownTokens` of all windows.
        truncation: `Truncation` of all texts.

    Raises:
        InputError: a file is missing or does not fit, something contradicts the
            folder, the model was trained for something else, or a number is out
            of range.
    """

    def __init__(
        self,
        checkpoint,
        vocab_file=None,
        bert_config_file=None,
        do_lower_case=None,
        strip_accents=None,
        max_seq_length=None,
        doc_stride=None,
        window_pooling=None,
        labels=None,
        target=None,
        batch_size=32,
        ignore_folder_settings=False,
        skip_padding=True,
    ):
        errors.require_positive("batch_size", batch_size)
        opened = open_classifier(
            checkpoint,
            vocab_file,
            bert_config_file,
            do_lower_case,
            strip_accents,
            max_seq_length,
            doc_stride,
            window_pooling,
            labels,
            target,
            ignore_folder_settings,
        )
        self.path, self.config = opened.folder.path, opened.folder.config
        self.target = opened.target
        self.max_seq_length = opened.max_seq_length
        self.doc_stride = opened.doc_stride
        self.batch_size = batch_size
        self.truncation = packing.Truncation()
        self._inference = opened.load(batch_size, skip_padding)
        self.unknown = self._inference.session.unknown
        self._read = head_of(self._inference.settings).read

    def classify(self, texts):
        """Yields the result of each text.

        Args:
            texts: iterable of pairs of texts; the second is "" for a single
                text. Consumed somewhat ahead of the results.

        Yields:
            A `Label`, `Value` or `Labels`.

        Raises:
            InputError: a pair, and the model has one token type.
        """
        for some in grouping.batched(texts, BATCHES_AHEAD * self.batch_size):
            examples = [
                InputExample(f"text {number}", *pair)
                for number, pair in enumerate(some, start=1)
            ]
            require_token_types(self.config.type_vocab_size, examples)
            first, second = zip(*some)
            arrays = self._inference.texts(first, second)
            for row, (_, text_b) in enumerate(some):
                self.truncation.add(int(arrays["num_cut"][row]))
                yield self._read(arrays, row, bool(text_b))
