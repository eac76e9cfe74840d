"""Finds entities in texts with a fine-tuned checkpoint."""

from typing import NamedTuple

from bert_tf import errors, models, tokenization
from bert_tf.checkpoints import finding, folders, inference
from bert_tf.checkpoints.names import POOLER
from bert_tf.data import grouping
from bert_tf.exports import export
from bert_tf.exports.predictor import BATCHES_AHEAD
from bert_tf.exports.results import HEADS
from bert_tf.tasks.checkpoint_session import CheckpointSession
from bert_tf.tasks.ner.inference import TokensInference


class OpenedTagger(NamedTuple):
    """A checkpoint that labels words, and how it reads them; no weights.

    Attributes:
        folder: its `folders.ModelFolder`.
        tokenizer: its `FullTokenizer`.
        labels: their names in the order of their ids.
        max_seq_length: the most word pieces of a window.
    """

    folder: folders.ModelFolder
    tokenizer: tokenization.FullTokenizer
    labels: tuple[str, ...]
    max_seq_length: int

    def load(self, batch_size=32, skip_padding=True):
        """The `TokensInference` of its weights.

        Args:
            batch_size: number of windows in a batch.
            skip_padding: see `BertModel`.
        """
        config = self.folder.config
        model, _ = inference.load_model(
            lambda: models.token_classifier(config, len(self.labels)),
            config,
            self.folder.reader,
            may_lack=(POOLER,),
            skip_padding=skip_padding,
        )
        settings = {
            "labels": list(self.labels),
            "max_seq_length": self.max_seq_length,
            "rows_at_once": batch_size,
        }
        return TokensInference(
            CheckpointSession(model, self.tokenizer.vocab),
            settings,
            config.to_dict(),
            self.tokenizer,
        )


def open_tagger(
    checkpoint,
    vocab_file=None,
    bert_config_file=None,
    do_lower_case=None,
    strip_accents=None,
    max_seq_length=None,
    labels=None,
    ignore_folder_settings=False,
):
    """Opens a checkpoint; see `Tagger` for the arguments and errors.

    Returns:
        An `OpenedTagger`.
    """
    opened = folders.find(
        finding.of_results(checkpoint), vocab_file, bert_config_file
    )
    opened.noted.require_head("tokens")
    tokenizer = opened.load_tokenizer(
        do_lower_case, strip_accents, ignore_folder_settings
    )
    found = opened.noted.take(
        "tokens", ignore_folder_settings, max_seq_length=max_seq_length
    )
    length = inference.find_length(
        opened.config, found["max_seq_length"], default=128
    )
    num_outputs = export.count_outputs(opened, "to label words", "run_ner")
    found_labels = export.find_labels(opened, labels, num_outputs)
    return OpenedTagger(opened, tokenizer, tuple(found_labels), length)


class Tagger:
    """Labels the words of texts of any length; the weights are loaded once.

    Args:
        checkpoint: the output folder of run_ner, whose best checkpoint is taken
            if the run kept it, or a prefix.
        vocab_file: None for the vocab.txt beside the checkpoint.
        bert_config_file: None for the bert_config.json beside it.
        do_lower_case, strip_accents: what is done to text; None for what the
            folder and its vocabulary tell.
        max_seq_length: the most word pieces of a window; None for what the
            folder notes, else 128.
        labels: their names in the order of their ids; None for labels.txt
            beside the checkpoint.
        batch_size: number of windows in a batch.
        ignore_folder_settings: whether what is asked for wins where it
            contradicts the folder.
        skip_padding: see `BertModel`.

    Attributes:
        labels: their names in the order of their ids.
        unknown: `UnknownTokens` of all windows.

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
        labels=None,
        batch_size=32,
        ignore_folder_settings=False,
        skip_padding=True,
    ):
        errors.require_positive("batch_size", batch_size)
        opened = open_tagger(
            checkpoint,
            vocab_file,
            bert_config_file,
            do_lower_case,
            strip_accents,
            max_seq_length,
            labels,
            ignore_folder_settings,
        )
        self.labels = opened.labels
        self.max_seq_length = opened.max_seq_length
        self.batch_size = batch_size
        self._inference = opened.load(batch_size, skip_padding)
        self.unknown = self._inference.session.unknown

    def tag(self, texts):
        """Yields the `Tags` of each text.

        Words are what white space divides; a Chinese character is a word.

        Args:
            texts: iterable of str, consumed somewhat ahead of the results.
        """
        read = HEADS["tokens"].read
        for some in grouping.batched(texts, BATCHES_AHEAD * self.batch_size):
            arrays = self._inference.of_texts(some)
            yield from (read(arrays, row, False) for row in range(len(some)))
