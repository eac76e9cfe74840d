"""`bert_tf.load`: the encoder of a checkpoint, its tokenizer and its config."""

import reprlib
from collections.abc import Callable, Iterable
from typing import Any

from absl import logging

from bert_tf import errors, models
from bert_tf.checkpoints import folders, inference
from bert_tf.checkpoints.names import POOLER
from bert_tf.data.packing import Truncation
from bert_tf.data.vocabulary import UnknownTokens
from bert_tf.errors import InputError
from bert_tf.exports.results import HEADS
from bert_tf.tasks.checkpoint_session import CheckpointSession
from bert_tf.tasks.vectors import lines
from bert_tf.tasks.vectors.inference import FeaturesInference

LAST_LAYER = (-1,)

_read: Callable[..., Any] = HEADS["features"].read


class Encoder:
    """A model without a head, ready to train further or to make vectors.

    Args:
        opened: a `folders.ModelFolder`.
        tokenizer: its `FullTokenizer`.
        max_seq_length: the most tokens of a text or a pair, at most the
            positions of the model.

    Attributes:
        model: a `keras.Model` from `input_ids`, `input_mask`, `segment_ids`
            [B, S] to `sequence_output` [B, S, D] and, unless the checkpoint has
            no pooler, `pooled_output` [B, D]. Each `weight.path` is the name of
            the variable in the checkpoint.
        tokenizer: a `FullTokenizer`.
        config: a `BertConfig`.
        path: the checkpoint's prefix.
        max_seq_length: the most tokens of a text or a pair; the rest is cut off
            with a warning.
        pooling, normalize: how `encode` makes vectors unless it is told: what
            the folder notes of its training, else "mean" and False.
    """

    def __init__(self, opened, tokenizer, max_seq_length):
        self.tokenizer, self.config = tokenizer, opened.config
        self.path, self.max_seq_length = opened.path, max_seq_length
        said = opened.noted.settings.said()
        of_texts = said if said.get("head") == "features" else {}
        self.pooling = of_texts.get("pooling", "mean")
        self.normalize = of_texts.get("normalize", False)
        self._sessions = {}
        pools = any(name.startswith(POOLER) for name in opened.reader.names)
        self.model, _ = inference.load_model(
            lambda: models.headless(opened.config, pools),
            opened.config,
            opened.reader,
            may_lack=() if pools else (POOLER,),
        )
        if not pools:
            logging.info("%s has no pooler: no pooled_output.", self.path)

    def tokenize(self, texts):
        """The model's inputs for texts.

        Args:
            texts: a str, a tuple of two for a pair, or an iterable of those.

        Returns:
            `input_ids`, `input_mask` and `segment_ids`, int32 [B, S] for B
            texts, padded to the longest one.

        Raises:
            InputError: something is not a text, there are none, or a pair for a
                model with one token type.
        """
        pairs = self.pairs_of(texts)
        if not pairs:
            raise InputError("`texts` must hold a text. Received: none")
        examples = list(
            lines.examples_of(pairs, self.tokenizer, self.max_seq_length)
        )
        unknown = UnknownTokens(self.tokenizer.vocab)
        for example in examples:
            unknown.add(example.input_ids)
        self._warn([example.num_cut for example in examples], unknown)
        rows = [(x.input_ids, x.segment_ids) for x in examples]
        longest = max(len(input_ids) for input_ids, _ in rows)
        return inference.encoder_inputs(rows, longest)

    def encode(self, texts, pooling=None, batch_size=32, normalize=None):
        """Vectors of texts, with the weights that `model` has now.

        Args:
            texts: as for `tokenize`.
            pooling: one of `lines.POOLINGS`: over the tokens of the last layer,
                [CLS] and [SEP] among them, or as its name says. None for
                `self.pooling`.
            batch_size: the most texts that are computed together.
            normalize: whether the vector of a text is divided by its length.
                None for `self.normalize`, with the pooling of the folder only.

        Returns:
            float32 [B, D], or [D] for one text that is not in a list. For
            poolings that keep tokens, "none" and "concat_last_4", a list of
            arrays [tokens, D].

        Raises:
            InputError: as `tokenize`, but there may be no texts; or there is no
                such pooling.
        """
        if normalize is None:
            normalize = self.normalize and pooling in (None, self.pooling)
        pooling = pooling or self.pooling
        if pooling not in lines.POOLINGS:
            raise InputError(
                f"`pooling` must be one of {', '.join(lines.POOLINGS)}. "
                f"Received: pooling={pooling!r}"
            )
        errors.require_positive("batch_size", batch_size)
        if normalize:
            lines.require_one_vector(pooling)
        pairs = self.pairs_of(texts)
        extractor = self._extractor(pooling, batch_size, normalize)
        extractor.session.unknown = UnknownTokens(self.tokenizer.vocab)
        arrays = extractor.texts(
            [first for first, _ in pairs], [second for _, second in pairs]
        )
        self._warn(arrays["num_cut"], extractor.session.unknown)
        if isinstance(texts, str | tuple):
            return _read(arrays, 0, False).embedding
        if lines.POOLINGS[pooling].over_tokens is not None:
            return arrays["embedding"]
        rows = range(len(pairs))
        return [_read(arrays, row, False).embedding for row in rows]

    def _extractor(self, pooling, batch_size, normalize):
        """A `FeaturesInference` around the model as it is now."""
        kind = lines.POOLINGS[pooling]
        layers = kind.layers or LAST_LAYER
        if pooling not in self._sessions:
            lines.number_layers(
                layers, self.config.num_hidden_layers, f"pooling={pooling}"
            )
            model = models.feature_extractor(
                self.config,
                layers,
                # A session has the vectors of all tokens.
                kind._replace(over_tokens=None),
                bert=models.find_bert(self.model),
            )
            self._sessions[pooling] = CheckpointSession(
                model, self.tokenizer.vocab
            )
        settings = {
            "pooling": pooling,
            "normalize": normalize,
            "layers": layers,
            "max_seq_length": self.max_seq_length,
            "rows_at_once": batch_size,
        }
        return FeaturesInference(
            self._sessions[pooling],
            settings,
            self.config.to_dict(),
            self.tokenizer,
        )

    def pairs_of(self, texts):
        """Texts, as for `tokenize`, as pairs of texts; the second "" for none.

        Raises:
            InputError: as `tokenize`.
        """
        if isinstance(texts, str | tuple):
            texts = [texts]
        elif not isinstance(texts, Iterable):
            raise _not_a_text(texts)
        pairs = [_pair_of(text) for text in texts]
        if self.config.type_vocab_size < 2:
            for pair in pairs:
                if pair[1]:
                    raise InputError(
                        f"{self.path} has one token type, and takes no pairs "
                        f"of texts. Received: {reprlib.repr(pair)}"
                    )
        return pairs

    def _warn(self, num_cut, unknown):
        """Warns of what is lost.

        Args:
            num_cut: for each text the number of pieces that are not read.
            unknown: `UnknownTokens` of the texts.
        """
        truncation = Truncation()
        for count in num_cut:
            truncation.add(int(count))
        if truncation.num_cut:
            most = self.config.max_position_embeddings
            truncation.log(
                self.max_seq_length,
                f"bert_tf.load(..., max_seq_length={most}) reads most.",
            )
        unknown.warn()


def load(
    checkpoint,
    vocab_file=None,
    bert_config_file=None,
    do_lower_case=None,
    max_seq_length=None,
    strip_accents=None,
    ignore_folder_settings=False,
):
    """Loads the model of a checkpoint, with its tokenizer and config.

    Args:
        checkpoint: a name ("builtin", a released model), a folder, or a prefix.
        vocab_file: None for the vocab.txt beside the checkpoint.
        bert_config_file: None for the bert_config.json beside it.
        do_lower_case: true for uncased models, false for cased ones; None for
            what the folder and its vocabulary tell.
        max_seq_length: the most tokens of a text; None for what the folder
            notes, else 128, or the positions of the model if it has fewer.
        strip_accents: whether accents are stripped; None for what the folder
            notes, else as `do_lower_case`.
        ignore_folder_settings: whether what is asked for wins where it
            contradicts the folder.

    Returns:
        An `Encoder`.

    Raises:
        InputError: a file is missing or does not fit, something contradicts
            what the folder notes, or the encoder lacks a weight.
    """
    opened = folders.find(checkpoint, vocab_file, bert_config_file)
    tokenizer = opened.load_tokenizer(
        do_lower_case, strip_accents, ignore_folder_settings
    )
    # A text may be longer than those that the model was trained with.
    if max_seq_length is None:
        max_seq_length = opened.noted.settings.said().get("max_seq_length")
    length = inference.find_length(opened.config, max_seq_length, default=128)
    return Encoder(opened, tokenizer, length)


def _pair_of(text):
    given = (text, "") if isinstance(text, str) else text
    if (
        not isinstance(given, tuple)
        or len(given) != 2
        or not all(isinstance(one, str) for one in given)
    ):
        raise _not_a_text(text)
    return given


def _not_a_text(given):
    return InputError(
        "A text must be a str, or a tuple of two. Received: "
        f"{reprlib.repr(given)} of type {type(given).__name__}"
    )
