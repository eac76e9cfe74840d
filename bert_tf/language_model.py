"""A pretrained model with its vocabulary and its heads, loaded once.

Comes in: a checkpoint as pretraining left it, then rows of word pieces. Goes
out: log probabilities, as NumPy arrays. What is asked and how answers are shown
is for `fill_mask` and `score`.
"""

import contextlib
import itertools
import json
import os

import numpy as np
import tensorflow as tf
from absl import flags, logging

from bert_tf import (
    checkpoints,
    classification,
    command_line,
    features,
    files,
    masked_text,
    metrics,
    models,
    text_files,
    tokenization,
)
from bert_tf.errors import InputError
from bert_tf.modeling import BertConfig, create_initializer, weights_to_come

MASKED_LM = "cls/predictions/"
NEXT_SENTENCE = "cls/seq_relationship/"
POOLER = "bert/pooler/"


class LanguageModel:
    """BERT that guesses masked pieces, and whether one text follows another.

    Args:
        checkpoint: whatever `checkpoints.find` takes: the folder of a released
            model, say.
        vocab_file: None for the vocab.txt beside the checkpoint.
        bert_config_file: None for the bert_config.json beside it.
        do_lower_case: true for uncased models, false for cased ones.
        max_seq_length: None for as much as the model has positions for.
        batch_size: rows that are computed at once.

    Raises:
        InputError: a file is missing or does not fit, or the encoder lacks a
            weight. A head that is missing is an error once it is needed.
    """

    def __init__(
        self,
        checkpoint,
        vocab_file=None,
        bert_config_file=None,
        do_lower_case=True,
        max_seq_length=None,
        batch_size=32,
    ):
        self.path = checkpoints.find(checkpoint)
        tokenization.validate_case_matches_checkpoint(do_lower_case, self.path)
        vocab_file = vocab_file or self._beside("vocab.txt", "vocab_file")
        config_file = bert_config_file or self._beside(
            "bert_config.json", "bert_config_file"
        )
        self.config = BertConfig.from_json_file(config_file)
        self.tokenizer = tokenization.FullTokenizer(vocab_file, do_lower_case)
        checkpoints.check_vocab(self.config.vocab_size, vocab_file, config_file)
        checkpoints.check_config(self.config, self.path, config_file)
        classification.require_special_tokens(self.tokenizer, vocab_file)
        if masked_text.MASK not in self.tokenizer.vocab:
            raise InputError(
                f"The vocabulary must have the token {masked_text.MASK}. "
                f"{vocab_file} has not: is it the vocab.txt of the checkpoint?"
            )
        longest = self.config.max_position_embeddings
        self.max_seq_length = max_seq_length or longest
        if not 3 <= self.max_seq_length <= longest:
            raise InputError(
                "`max_seq_length` must be at least 3 and at most "
                f"{longest}, the positions that the model has. Received: "
                f"max_seq_length={max_seq_length}"
            )
        self.batch_size = batch_size
        self._load()

    def _beside(self, name, flag):
        path = os.path.join(os.path.dirname(self.path), name)
        if not os.path.isfile(path):
            raise InputError(
                f"Beside the checkpoint {self.path} there is no {name}: give "
                f"its path, `--{flag}`."
            )
        return path

    def _load(self):
        with weights_to_come():
            model = models.pretraining(self.config)
        weights = checkpoints.named_weights(model)
        may_lack = (MASKED_LM, NEXT_SENTENCE, POOLER)
        report = checkpoints.load(
            weights,
            self.path,
            initializer=create_initializer(self.config.initializer_range),
            expect=[name for name in weights if not name.startswith(may_lack)],
        )
        logging.info("%s", report.summary())
        self.missing = report.missing
        spec = {
            name: tf.TensorSpec((None, None), tf.int32) for name in model.input
        }
        # One trace for rows of any length.
        self._forward = tf.function(
            lambda inputs: model(inputs, training=False), input_signature=[spec]
        )

    def require_masked_lm(self):
        """Raises `InputError` unless the checkpoint predicts masked pieces."""
        self._require("masked-LM head", MASKED_LM)

    def require_next_sentence(self):
        """Raises `InputError` unless it predicts whether a text follows."""
        self._require("next-sentence head", POOLER, NEXT_SENTENCE)

    def _require(self, head, *scopes):
        lacking = [name for name in self.missing if name.startswith(scopes)]
        if lacking:
            raise InputError(
                f"{self.path} has no {head}: it lacks {', '.join(lacking)}. "
                "Heads are dropped when a model is fine-tuned or converted "
                "without them; give the checkpoint as pretraining left it."
            )

    def masked_lm_log_probs(self, queries):
        """How probable each piece of the vocabulary is where a query asks.

        Args:
            queries: `masked_text.Query`s; they are taken a batch at a time.

        Yields:
            For each query float64 [V], natural logarithms.
        """
        self.require_masked_lm()
        for batch in batched(queries, self.batch_size):
            rows = [
                features.PackedTokens(query.tokens, [0] * len(query.tokens))
                for query in batch
            ]
            logits = self._run(rows, [[query.position] for query in batch])
            yield from metrics.log_softmax(logits["masked_lm_logits"][:, 0])

    def next_sentence_log_probs(self, pairs):
        """How probable it is that B follows A, and that it does not.

        Args:
            pairs: `features.PackedTokens` of [CLS] A [SEP] B [SEP]; they are
                taken a batch at a time.

        Yields:
            For each pair float64 [2], natural logarithms: 0 it follows, 1 it
            is from elsewhere.
        """
        self.require_next_sentence()
        for batch in batched(pairs, self.batch_size):
            logits = self._run(batch, [[0]] * len(batch))
            yield from metrics.log_softmax(logits["next_sentence_logits"])

    def _run(self, rows, positions):
        length = max(len(row.tokens) for row in rows)
        columns = [
            features.pad_inputs(
                self.tokenizer.convert_tokens_to_ids(row.tokens),
                row.segment_ids,
                length,
            )
            for row in rows
        ]
        arrays = np.array(columns, np.int32).swapaxes(0, 1)
        inputs = dict(zip(models.ENCODER_INPUTS, map(tf.constant, arrays)))
        inputs["masked_lm_positions"] = tf.constant(positions, tf.int32)
        return {name: x.numpy() for name, x in self._forward(inputs).items()}


def batched(things, size):
    """Lists of `size` things; the last one may be shorter."""
    things = iter(things)
    while batch := list(itertools.islice(things, size)):
        yield batch


# -------------------------------------------- what both commands do with flags


def define_flags(values):
    """Defines the flags that say which model, which texts, and where to."""
    string, integer, boolean, _ = command_line.definers(values)
    string(
        "checkpoint",
        None,
        "Folder of a pretrained model, with bert_config.json and vocab.txt; or "
        "a prefix such as BERT/bert_model.ckpt.",
    )
    string("vocab_file", None, "[vocab.txt beside the checkpoint]")
    string("bert_config_file", None, "[bert_config.json beside the checkpoint]")
    boolean(
        "do_lower_case",
        True,
        "Lower-case the text: true for uncased models, false for cased ones.",
    )
    integer(
        "max_seq_length",
        None,
        "The most word pieces to show to the model at once. [as many as it has "
        "positions for]",
    )
    integer("batch_size", 32, "Rows in a batch.")
    flags.DEFINE_multi_string(
        "text", [], "A text; may be given again and again.", flag_values=values
    )
    string("input_file", None, "Instead of --text: files of one text per line.")
    string(
        "output_file",
        None,
        "Write answers as lines of JSON. [they are printed for people]",
    )
    flags.mark_flag_as_required("checkpoint", flag_values=values)


def from_flags(flags):
    """The `LanguageModel` that the flags describe."""
    command_line.require_positive(flags, "batch_size")
    for name in ("vocab_file", "bert_config_file"):
        if flags[name].value:
            command_line.require_file(name, flags[name].value)
    return LanguageModel(
        flags.checkpoint,
        flags.vocab_file,
        flags.bert_config_file,
        flags.do_lower_case,
        flags.max_seq_length,
        flags.batch_size,
    )


def read_texts(flags):
    """An iterator over the texts of `--text` or `--input_file`.

    Raises:
        InputError: neither or both are given, or there is no such file.
    """
    if bool(flags.text) == bool(flags.input_file):
        received = "both" if flags.text else "neither"
        raise InputError(
            "Either `--text` or `--input_file` must be given. Received: "
            f"{received}"
        )
    if flags.text:
        return iter(flags.text)
    paths = text_files.find_files(flags.input_file)
    return text_files.read_lines(text_files.whole_files(paths))


@contextlib.contextmanager
def open_output(flags):
    """A function of an answer, as text and as a dictionary, that shows it."""
    if not flags.output_file:
        yield lambda text, _: print(text, flush=True)
        return
    folder = os.path.dirname(flags.output_file) or "."
    command_line.make_folder("output_file", folder)
    files.remove_left_overs(flags.output_file)
    with files.whole_or_nothing(flags.output_file) as file:

        def write(_, values):
            line = json.dumps(values, ensure_ascii=False) + "\n"
            file.write(line.encode("utf-8"))

        yield write
    logging.info("Wrote %s.", flags.output_file)
