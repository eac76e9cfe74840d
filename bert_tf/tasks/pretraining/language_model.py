"""A pretrained model with its heads and vocabulary, for inference."""

from bert_tf import models
from bert_tf.checkpoints import folders, inference
from bert_tf.checkpoints.names import MASKED_LM, NEXT_SENTENCE, POOLER
from bert_tf.data import grouping
from bert_tf.data.packing import PackedTokens
from bert_tf.data.vocabulary import UnknownTokens
from bert_tf.errors import InputError
from bert_tf.tasks import metrics
from bert_tf.tasks.pretraining import cloze


class LanguageModel:
    """Predicts masked pieces, and whether one text follows another.

    Args:
        checkpoint: a prefix, or a folder such as that of a released model.
        vocab_file: None for the vocab.txt beside the checkpoint.
        bert_config_file: None for the bert_config.json beside it.
        do_lower_case: true for uncased models, false for cased ones; None for
            what the folder and its vocabulary tell.
        max_seq_length: maximum number of tokens in a row; None for what the
            folder notes, else the number of positions of the model.
        batch_size: number of rows in a batch.
        strip_accents: whether accents are stripped; None for what the folder
            notes, else as `do_lower_case`.
        ignore_folder_settings: whether what is asked for wins where it
            contradicts the folder.
        skip_padding: see `BertModel`.

    Attributes:
        unknown: `UnknownTokens` of all texts that were tokenized.

    Raises:
        InputError: a file is missing or does not fit, something contradicts the
            folder, or the encoder lacks a weight. A missing head is an error
            only when it is used.
    """

    def __init__(
        self,
        checkpoint,
        vocab_file=None,
        bert_config_file=None,
        do_lower_case=None,
        max_seq_length=None,
        batch_size=32,
        strip_accents=None,
        ignore_folder_settings=False,
        skip_padding=True,
    ):
        opened = folders.find(checkpoint, vocab_file, bert_config_file)
        self.path, self.config = opened.path, opened.config
        self.tokenizer = opened.load_tokenizer(
            do_lower_case, strip_accents, ignore_folder_settings
        )
        if cloze.MASK not in self.tokenizer.vocab:
            raise InputError(
                f"The vocabulary must have the token {cloze.MASK}. "
                f"{opened.vocab_file} has not: is it the vocab.txt of the "
                "checkpoint?"
            )
        self.unknown = UnknownTokens(self.tokenizer.vocab)
        found = opened.noted.take(
            "pretraining",
            ignore_folder_settings,
            max_seq_length=max_seq_length,
        )
        self.max_seq_length = inference.find_length(
            self.config, found["max_seq_length"]
        )
        self.batch_size = batch_size
        model, self.missing = inference.load_model(
            lambda: models.pretraining(opened.config),
            opened.config,
            opened.reader,
            (MASKED_LM, NEXT_SENTENCE, POOLER),
            skip_padding=skip_padding,
        )
        self._forward = inference.compile_forward(model)

    def tokenize(self, text):
        """`cloze.tokenize` of a text, counted in `unknown`."""
        pieces = cloze.tokenize(text, self.tokenizer)
        self.unknown.add(self.tokenizer.convert_tokens_to_ids(pieces))
        return pieces

    def require_masked_lm(self):
        """Raises `InputError` unless the checkpoint has the masked-LM head."""
        self._require("masked-LM head", MASKED_LM)

    def require_next_sentence(self):
        """Raises `InputError` unless it has the next-sentence head."""
        self._require("next-sentence head", POOLER, NEXT_SENTENCE)

    def _require(self, head, *scopes):
        lacking = [name for name in self.missing if name.startswith(scopes)]
        if lacking:
            raise InputError(
                f"{self.path} has no {head}: it lacks {', '.join(lacking)}. "
                "Heads are dropped when a model is fine-tuned or converted "
                "without them; give the checkpoint as pretraining left it."
            )

    def masked_lm_log_probs(self, rows):
        """Log probabilities of the vocabulary at the masked positions.

        Args:
            rows: iterable of `cloze.MaskedRow`s, consumed somewhat ahead.

        Returns:
            An iterator: for each row float64 [V], natural logarithms.
        """
        self.require_masked_lm()
        packed = (
            (PackedTokens(row.tokens, [0] * len(row.tokens)), row.position)
            for row in rows
        )
        return self._log_probs(
            packed, "masked_lm_logits", self.config.vocab_size
        )

    def next_sentence_log_probs(self, pairs):
        """Log probabilities that B follows A, and that it does not.

        Args:
            pairs: iterable of `PackedTokens` of [CLS] A [SEP] B [SEP], consumed
                somewhat ahead.

        Returns:
            An iterator: for each pair float64 [2], natural logarithms: 0 for
            the next sentence, 1 for a random one.
        """
        self.require_next_sentence()
        packed = ((pair, 0) for pair in pairs)
        return self._log_probs(packed, "next_sentence_logits", 2)

    def _log_probs(self, rows, name, width):
        """Log probabilities [width] for each row and position, in order."""

        def placed():
            for batch in grouping.group_by_length(
                enumerate(rows),
                self.batch_size,
                lambda numbered: len(numbered[1][0].tokens),
                lambda _: width,
            ):
                places, packed, positions = zip(
                    *((place, *row) for place, row in batch)
                )
                logits = self._run(packed, [[at] for at in positions])[name]
                found = metrics.log_softmax(logits.reshape(len(batch), width))
                yield from zip(places, found)

        return grouping.in_order(placed())

    def _run(self, rows, positions):
        length = grouping.padded_length(
            max(len(row.tokens) for row in rows), self.max_seq_length
        )
        ids = self.tokenizer.convert_tokens_to_ids
        inputs = inference.encoder_inputs(
            [(ids(row.tokens), row.segment_ids) for row in rows], length
        )
        return self._forward({**inputs, "masked_lm_positions": positions})
