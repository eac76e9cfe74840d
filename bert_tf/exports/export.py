"""SavedModels that take text, and need nothing but TensorFlow to be used.

Comes in: a checkpoint with its vocabulary and config, and what its head is for.
Goes out: MODEL/N, the next free version of a folder of SavedModels, as
tensorflow_model_server, `bert_tf.serve` and `bert_tf.Predictor` read it. The
command is in `export_saved_model.py`; what happens to text in the graph in
`graph_tokenizer.py`, `graph_features.py` and `graph_answers.py`.

    MODEL/1/saved_model.pb, variables/
    MODEL/1/assets/             vocab.txt, bert_config.json, bert_tf.json, and
                                labels.txt of a classifier
    MODEL/1/assets.extra/       tf_serving_warmup_requests

Every SavedModel has the signatures

    serving_default   input_ids, input_mask, segment_ids, int32 [B, S]
    serve_examples    examples, string [B]: serialized `tf.train.Example`s with
                      those three features, lists of int64 of one length
    serve_text        a text for each row, string [B]; for spans two
    serve_text_pair   text and a second one; "" where there is none

B and S are any numbers, S at most the positions of the model. Outputs by head,
those of serving_default and serve_examples first, then those of the text
signatures. P is the number of masked positions asked for, M the most [MASK]s of
a text, K how many guesses there are for each, L labels, D the hidden size:

    classifier    logits, probabilities [B, L]
                  probabilities [B, L]; labels, string [B, L], their names;
                  label, string [B], the most probable; num_cut
    span          start_logits, end_logits [B, S]
                  answer, string [B]; score [B], its probability among all spans
                  of all windows, as in `reading.py`; start, end, its characters
                  in the context, and start_byte, end_byte, int32 [B], all -1
                  where there is no answer; null_probability [B] for models of
                  SQuAD 2.0
    pretraining   takes masked_lm_positions, int32 [B, P], as well:
                  masked_lm_logits [B, P, V]; next_sentence_logits,
                  next_sentence_probabilities [B, 2], that B follows and that it
                  does not
                  tokens, string [B, M, K], guesses for each [MASK], and
                  token_scores [B, M, K], their probabilities, "" and 0 where a
                  text has fewer; next_sentence_probability [B], 0 where a text
                  is no pair; num_cut
    features      sequence_output [B, S, D]; pooled_output [B, D]; embedding
                  embedding: [B, L * D] for L layers side by side, or where
                  tokens are not pooled [B, S, L * D], with tokens, string
                  [B, S]; num_cut

num_cut, int32 [B], is how many word pieces did not fit and were not read.
Classifiers and features that were exported with a doc_stride read long texts in
windows.
"""

import contextlib
import dataclasses
import json
import os
import shutil
import tempfile

import numpy as np
import tensorflow as tf
from absl import logging

import bert_tf
from bert_tf import checkpoints, errors, layers
from bert_tf.checkpoints import folders, inference, names
from bert_tf.data import packing
from bert_tf.errors import InputError
from bert_tf.exports import (
    folder as saved_models,
)
from bert_tf.exports import (
    quantization,
    warmup,
)
from bert_tf.exports.signature import (
    TextRules,
    WindowRules,
)
from bert_tf.support import files


@dataclasses.dataclass(frozen=True)
class Source:
    """The model to export.

    Attributes:
        checkpoint: whatever `checkpoints.find` takes.
        vocab_file: None for the vocab.txt beside the checkpoint.
        bert_config_file: None for the bert_config.json beside it.
        do_lower_case: true for uncased models, false for cased ones.
        max_seq_length: the most word pieces of a row that is made of text; None
            for what the head's own script takes, or as many as the model has
            positions for.
        quantize: one of `quantization.MODES`, or None to keep float32.
    """

    checkpoint: str
    vocab_file: str | None = None
    bert_config_file: str | None = None
    do_lower_case: bool = True
    max_seq_length: int | None = None
    quantize: str | None = None


# ------------------------------------------------------------ one for each head


# ----------------------------------------------------------------- the folder


def check_output(output_dir, flag="output_dir"):
    """Raises `InputError` where no folder of SavedModels can be."""
    if "://" in output_dir:
        raise InputError(
            f"`--{flag}` must be a folder on this machine. Received: "
            f"--{flag}={output_dir}"
        )
    files.make_folder(flag, output_dir)


def _write(served, source, opened, folder):
    rules = served.rules
    settings = {
        "format": saved_models.FORMAT,
        "bert_tf_version": bert_tf.__version__,
        "head": served.head,
        "labels": None,
        "do_lower_case": rules.do_lower_case,
        "max_seq_length": rules.max_seq_length,
        "quantize": source.quantize,
        "unicode_version": served.tokenizer.unicode_version,
        **served.settings(),
    }
    texts = {
        names.CONFIG: opened.config.to_json_string(),
        saved_models.SETTINGS_FILE: json.dumps(settings, indent=2) + "\n",
        **served.files(),
    }
    functions = served.signatures()
    with tempfile.TemporaryDirectory() as beside:
        paths = [os.path.join(beside, names.VOCAB)]
        shutil.copyfile(opened.vocab_file, paths[0])
        for name, text in texts.items():
            paths.append(os.path.join(beside, name))
            files.write_text(paths[-1], text)
        served.assets = [tf.saved_model.Asset(path) for path in paths]
        with _unchanged_log_level():
            tf.saved_model.save(served, folder, functions)
    extra = os.path.join(folder, "assets.extra")
    os.mkdir(extra)
    warmup.write(
        os.path.join(extra, warmup.FILE_NAME),
        _warmup(served, functions),
    )


@contextlib.contextmanager
def _unchanged_log_level():
    # TensorFlow silences absl's logger while it looks through a module, and
    # then gives it a level that it need not have had.
    logger = logging.get_absl_logger()
    level = logger.level
    try:
        yield
    finally:
        logger.setLevel(level)


def _warmup(served, signatures):
    """A small request for each signature."""
    ids = [served.rules.id_of(token) for token in ("[CLS]", "[SEP]")]
    row = {name: [0, 0] for name in served.row_inputs}
    row |= {"input_ids": ids, "input_mask": [1, 1]}
    example = tf.train.Example()
    for name, values in row.items():
        example.features.feature[name].int64_list.value.extend(values)
    samples = {
        "serving_default": {
            name: np.array([values], np.int32) for name, values in row.items()
        },
        "serve_examples": {"examples": [example.SerializeToString()]},
        **served.samples(),
    }
    return [(name, samples[name]) for name in signatures]


# ------------------------------------------------------------------ --do_export


def make_window_rules(rules, doc_stride, rows_at_once):
    """`WindowRules`, if they leave room for the texts."""
    errors.require_positive("rows_at_once", rows_at_once)
    packing.require_stride(doc_stride, rules.max_seq_length)
    if doc_stride is not None and rules.max_seq_length < 5:
        raise InputError(
            "`max_seq_length` must be at least 5 with `doc_stride`: [CLS], two "
            "[SEP] and one token of each text of a pair take that much. "
            f"Received: max_seq_length={rules.max_seq_length}"
        )
    return WindowRules(doc_stride, rows_at_once)


def open_source(source, default_length=None):
    """What belongs to a checkpoint, and how texts become its rows."""
    quantization.check_mode(source.quantize)
    opened = folders.find(
        source.checkpoint, source.vocab_file, source.bert_config_file
    )
    tokenizer = opened.load_tokenizer(source.do_lower_case)
    length = inference.find_length(
        opened.config, source.max_seq_length, default_length
    )
    return opened, TextRules(opened.config, tokenizer, length)


def load(source, opened, build, may_lack):
    """The model of `loading.load_model`, quantized if that is asked for."""
    with layers.precision(quantization.precision(source.quantize)):
        model, _ = inference.load_model(
            build, opened.config, opened.reader, may_lack
        )
    if source.quantize is not None:
        quantization.quantize(model, source.quantize)
    return model


def shapes_of(opened):
    """Shapes of a checkpoint's tensors by name."""
    return opened.reader.shapes


def has_scope(opened, scope):
    """Whether a checkpoint has tensors below a scope."""
    return any(name.startswith(scope) for name in shapes_of(opened))


def save(served, source, opened, output_dir):
    """Writes the next version; returns its path.

    What is there under a number is whole: it is written under another name.
    """
    check_output(output_dir)
    try:
        with files.unfinished(os.path.join(output_dir, "version")) as name:
            _write(served, source, opened, name)
            path = saved_models.give_number(name, output_dir)
    except (OSError, tf.errors.OpError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(
            f"No SavedModel can be written to {output_dir}: {reason}"
        ) from error
    logging.info("Wrote %s.", path)
    return path


def checkpoint_of_run(output_dir, start_prefix, keeps_best):
    """The checkpoint that a run has written, or else has started from.

    Args:
        output_dir: folder of the run.
        start_prefix: of the checkpoint that it started from, or None.
        keeps_best: whether it keeps the best checkpoint, which then counts.

    Raises:
        InputError: all weights are random.
    """
    prefix = None
    if keeps_best:
        best = os.path.join(output_dir, names.BEST_FOLDER)
        prefix = checkpoints.latest(best)
    prefix = prefix or checkpoints.latest(output_dir) or start_prefix
    if prefix is None:
        raise InputError(
            "`--do_export` needs a checkpoint: give --init_checkpoint, or "
            f"--do_train. {output_dir} has none."
        )
    return prefix
