"""Finds entities in texts with a fine-tuned checkpoint."""

from bert_tf import errors, models
from bert_tf.checkpoints import finding, folders, inference
from bert_tf.checkpoints.names import POOLER
from bert_tf.data import grouping
from bert_tf.exports import export
from bert_tf.exports.predictor import BATCHES_AHEAD
from bert_tf.exports.results import HEADS
from bert_tf.tasks.checkpoint_session import CheckpointSession
from bert_tf.tasks.ner.inference import TokensInference


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
        self.max_seq_length = inference.find_length(
            opened.config, found["max_seq_length"], default=128
        )
        num_outputs = export.count_outputs(opened, "to label words", "run_ner")
        self.labels = tuple(export.find_labels(opened, labels, num_outputs))
        self.batch_size = batch_size
        model, _ = inference.load_model(
            lambda: models.token_classifier(opened.config, num_outputs),
            opened.config,
            opened.reader,
            may_lack=(POOLER,),
            skip_padding=skip_padding,
        )
        session = CheckpointSession(model, tokenizer.vocab)
        self.unknown = session.unknown
        settings = {
            "labels": list(self.labels),
            "max_seq_length": self.max_seq_length,
            "rows_at_once": batch_size,
        }
        self._inference = TokensInference(
            session, settings, opened.config.to_dict(), tokenizer
        )

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
