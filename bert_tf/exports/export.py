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
from bert_tf import (
    checkpoints,
    modeling,
    models,
)
from bert_tf.checkpoints import folders, inference
from bert_tf.cli import command_line
from bert_tf.data import packing
from bert_tf.errors import InputError
from bert_tf.exports import (
    folder as saved_models,
)
from bert_tf.exports import (
    quantization,
    signature,
    warmup,
)
from bert_tf.exports.signature import (
    ROWS_AT_ONCE,
    SpanRules,
    TextRules,
    WindowRules,
)
from bert_tf.support import files
from bert_tf.tasks.classification import datasets
from bert_tf.tasks.classification.datasets import LABELS_FILE
from bert_tf.tasks.pretraining import cloze
from bert_tf.tasks.squad import data
from bert_tf.tasks.squad.answers import check_threshold, find_threshold
from bert_tf.tasks.vectors import lines
from bert_tf.training import loop

POOLER = "bert/pooler/"
NEXT_SENTENCE = "cls/seq_relationship/"


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


def export_classifier(
    source,
    output_dir,
    labels=None,
    doc_stride=None,
    window_pooling="mean",
    rows_at_once=ROWS_AT_ONCE,
):
    """Exports a model that run_classifier trained.

    Args:
        source: a `Source`.
        output_dir: the folder MODEL.
        labels: names of the labels, in the order of their ids. None for those
            in labels.txt beside the checkpoint.
        doc_stride: reads long texts in windows that start so many word pieces
            apart; None cuts off what is over. As it was in training.
        window_pooling: one of `classification.WINDOW_POOLINGS`.
        rows_at_once: windows that are computed together.

    Returns:
        The path of the new version.

    Raises:
        InputError: a file is missing or does not fit, the checkpoint has no
            such head, or the folder cannot be written.
    """
    opened, rules = _open(source, default_length=128)
    window_rules = _window_rules(rules, doc_stride, rows_at_once)
    shape = _shapes(opened).get("output_weights")
    if shape is None:
        raise InputError(
            f"{opened.path} has no head to classify texts: it lacks "
            "output_weights. Fine-tune it with bert_tf.run_classifier first, "
            "and give the checkpoint that this writes."
        )
    if labels is None:
        labels = _labels_beside(opened.path)
    if shape[0] != len(labels):
        raise InputError(
            f"There must be as many labels as {opened.path} has classes, "
            f"{shape[0]}. Received: {len(labels)}, {', '.join(labels[:20])}"
        )
    model = _load(
        source,
        opened,
        lambda: models.classifier(opened.config, len(labels)),
        (),
    )
    served = signature.Classifier(
        rules, model, labels, window_rules, window_pooling
    )
    return _save(served, source, opened, output_dir)


def export_span(
    source,
    output_dir,
    doc_stride=None,
    max_query_length=64,
    max_answer_length=30,
    version_2_with_negative=False,
    null_score_diff_threshold=0.0,
    rows_at_once=ROWS_AT_ONCE,
):
    """Exports a model that run_squad trained.

    Args:
        source: a `Source`.
        output_dir: the folder MODEL.
        doc_stride, max_query_length, max_answer_length,
            version_2_with_negative, null_score_diff_threshold: as
            `answer.Reader` takes them.
        rows_at_once: windows that are computed together.

    Returns:
        The path of the new version.

    Raises:
        InputError: as from `export_classifier`; or a number makes no sense.
    """
    inference.require_positive("max_answer_length", max_answer_length)
    inference.require_positive("rows_at_once", rows_at_once)
    check_threshold(version_2_with_negative, null_score_diff_threshold)
    opened, rules = _open(source, default_length=384)
    _require_two_types(opened.config)
    length = rules.max_seq_length
    doc_stride = length // 3 if doc_stride is None else doc_stride
    data.require_room(length, doc_stride, max_query_length)
    threshold = None
    if version_2_with_negative:
        threshold = find_threshold(null_score_diff_threshold, opened.path)
    if "cls/squad/output_weights" not in _shapes(opened):
        raise InputError(
            f"{opened.path} has no head to answer questions: it lacks "
            "cls/squad/output_weights. Fine-tune it with bert_tf.run_squad "
            "first, and give the checkpoint that this writes."
        )
    model = _load(
        source,
        opened,
        lambda: models.span(opened.config),
        (POOLER,),
    )
    span_rules = SpanRules(
        doc_stride,
        max_query_length,
        max_answer_length,
        threshold,
        rows_at_once,
    )
    served = signature.Span(rules, model, span_rules)
    return _save(served, source, opened, output_dir)


def export_pretraining(
    source, output_dir, top_k=5, next_sentence=None, rows_at_once=ROWS_AT_ONCE
):
    """Exports a model that run_pretraining trained, with its heads.

    Args:
        source: a `Source`.
        output_dir: the folder MODEL.
        top_k: how many pieces are guessed for each [MASK].
        next_sentence: whether to say if a text follows another. None: if the
            checkpoint has weights for it.
        rows_at_once: rows that are computed together.

    Returns:
        The path of the new version.

    Raises:
        InputError: as from `export_classifier`; or a number makes no sense.
    """
    inference.require_positive("rows_at_once", rows_at_once)
    opened, rules = _open(source)
    if cloze.MASK not in opened.tokenizer.vocab:
        raise InputError(
            f"The vocabulary must have the token {cloze.MASK}. "
            f"{opened.vocab_file} has not: is it the vocab.txt of the "
            "checkpoint?"
        )
    if not 1 <= top_k <= opened.config.vocab_size:
        raise InputError(
            "`top_k` must be at least 1 and at most "
            f"{opened.config.vocab_size}, the size of the vocabulary. "
            f"Received: top_k={top_k}"
        )
    scopes = (POOLER, NEXT_SENTENCE)
    if next_sentence is None:
        next_sentence = _can_tell_next_sentence(opened)
    model = _load(
        source,
        opened,
        lambda: models.pretraining(opened.config),
        () if next_sentence else scopes,
    )
    served = signature.Pretraining(
        rules, model, top_k, next_sentence, rows_at_once
    )
    return _save(served, source, opened, output_dir)


def export_features(
    source,
    output_dir,
    pooling="mean",
    layers=None,
    doc_stride=None,
    rows_at_once=ROWS_AT_ONCE,
):
    """Exports the encoder, for vectors of texts or of their tokens.

    Args:
        source: a `Source`.
        output_dir: the folder MODEL.
        pooling: one of `feature_extraction.POOLINGS`.
        layers: numbers from 0, or from -1 downwards; None for the highest one,
            or those of the pooling.
        doc_stride: reads long texts in windows that start so many word pieces
            apart; None cuts off what is over.
        rows_at_once: windows that are computed together.

    Returns:
        The path of the new version.

    Raises:
        InputError: as from `export_classifier`; or there is no such layer.
    """
    opened, rules = _open(source, default_length=128)
    window_rules = _window_rules(rules, doc_stride, rows_at_once)
    kind = lines.POOLINGS[pooling]
    received = f"pooling={pooling}, layers={layers}"
    if kind.layers and layers is not None:
        raise InputError(
            f"`layers` are not for the pooling {pooling}, which takes "
            f"{', '.join(map(str, kind.layers))}. Received: {received}"
        )
    layers = tuple(kind.layers or layers or (-1,))
    lines.check_layers(layers, opened.config.num_hidden_layers, received)
    has_pooler = _has(opened, POOLER)
    if not has_pooler:
        logging.info(
            "%s has no pooler: pooled_output is left out.", opened.path
        )
    model = _load(
        source,
        opened,
        lambda: models.encoder(opened.config, layers, kind),
        () if has_pooler else (POOLER,),
    )
    served = signature.Features(
        rules, model, pooling, layers, has_pooler, window_rules
    )
    return _save(served, source, opened, output_dir)


def _window_rules(rules, doc_stride, rows_at_once):
    """`WindowRules`, if they leave room for the texts."""
    inference.require_positive("rows_at_once", rows_at_once)
    packing.require_stride(doc_stride, rules.max_seq_length)
    if doc_stride is not None and rules.max_seq_length < 5:
        raise InputError(
            "`max_seq_length` must be at least 5 with `doc_stride`: [CLS], two "
            "[SEP] and one token of each text of a pair take that much. "
            f"Received: max_seq_length={rules.max_seq_length}"
        )
    return WindowRules(doc_stride, rows_at_once)


def _labels_beside(checkpoint):
    path = os.path.join(os.path.dirname(checkpoint), LABELS_FILE)
    if not os.path.exists(path):
        raise InputError(
            f"Beside the checkpoint {checkpoint} there is no {LABELS_FILE}, "
            "which names the labels: give its path, `--labels_file`, or the "
            "`--task_name` that the model was trained for."
        )
    return datasets.read_labels(path)


def _open(source, default_length=None):
    """What belongs to a checkpoint, and how texts become its rows."""
    quantization.check_mode(source.quantize)
    opened = inference.open_checkpoint(
        source.checkpoint,
        source.vocab_file,
        source.bert_config_file,
        source.do_lower_case,
    )
    length = inference.find_length(
        opened.config, source.max_seq_length, default_length
    )
    return opened, TextRules(opened.config, opened.tokenizer, length)


def _load(source, opened, build, may_lack):
    """The model of `loading.load_model`, quantized if that is asked for."""
    with modeling.precision(quantization.precision(source.quantize)):
        model, _ = inference.load_model(
            build, opened.config, opened.path, may_lack
        )
    if source.quantize is not None:
        quantization.quantize(model, source.quantize)
    return model


def _shapes(opened):
    return checkpoints.CheckpointReader(opened.path).shapes


def _has(opened, scope):
    return any(name.startswith(scope) for name in _shapes(opened))


def _can_tell_next_sentence(opened):
    # The pooled [CLS] of a left-to-right model has seen no other token.
    if opened.config.attention_direction() != "left_to_right" and (
        _has(opened, POOLER) and _has(opened, NEXT_SENTENCE)
    ):
        return True
    logging.info(
        "%s cannot tell whether one text follows another: that is left out.",
        opened.path,
    )
    return False


def _require_two_types(config):
    if config.type_vocab_size < 2:
        raise InputError(
            "The model must have two token types, for question and text. "
            f"`type_vocab_size` of its config is {config.type_vocab_size}."
        )


# ----------------------------------------------------------------- the folder


def check_output(output_dir, flag="output_dir"):
    """Raises `InputError` where no folder of SavedModels can be."""
    if "://" in output_dir:
        raise InputError(
            f"`--{flag}` must be a folder on this machine. Received: "
            f"--{flag}={output_dir}"
        )
    command_line.make_folder(flag, output_dir)


def _save(served, source, opened, output_dir):
    """Writes the next version; returns its path.

    What is there under a number is whole: it is written under another name.
    """
    check_output(output_dir)
    unfinished = os.path.join(output_dir, f"{os.getpid()}.incomplete")
    try:
        _write(served, source, opened, unfinished)
        path = saved_models.give_number(unfinished, output_dir)
    except (OSError, tf.errors.OpError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(
            f"No SavedModel can be written to {output_dir}: {reason}"
        ) from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    logging.info("Wrote %s.", path)
    return path


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
        folders.CONFIG: opened.config.to_json_string(),
        saved_models.SETTINGS_FILE: json.dumps(settings, indent=2) + "\n",
        **served.files(),
    }
    functions = served.signatures()
    with tempfile.TemporaryDirectory() as beside:
        paths = [os.path.join(beside, folders.VOCAB)]
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


def _warmup(served, names):
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
    return [(name, samples[name]) for name in names]


# ------------------------------------------------------------------ --do_export


def define_flags(values, beside="output_dir"):
    """Defines the flags of scripts that export what they have just used.

    Args:
        values: a `FlagValues`.
        beside: the flag that says where the script writes.
    """
    string, _, boolean, _ = command_line.definers(values)
    boolean(
        "do_export",
        False,
        "In the end, export the checkpoint as a SavedModel that takes text.",
    )
    string(
        "export_dir",
        None,
        "With --do_export: the folder to make the next version in. [export, in "
        f"the folder of --{beside}]",
    )


def find_export_dir(flags, folder):
    """The folder to export to, once it is there; None without --do_export.

    Args:
        flags: what `define_flags` has defined.
        folder: the script's own.

    Raises:
        InputError: it cannot be made, or the flags do not go together.
    """
    if not flags.do_export:
        if flags.export_dir:
            raise InputError(
                "`--export_dir` has a meaning only with --do_export. Received: "
                f"--export_dir={flags.export_dir}"
            )
        return None
    path = flags.export_dir or os.path.join(folder, "export")
    check_output(path, "export_dir")
    return path


def source_of(flags, checkpoint):
    """The `Source` that flags tell of which all scripts have.

    Args:
        flags: parsed `FlagValues`.
        checkpoint: of the `Source`.
    """
    return Source(
        checkpoint,
        flags.vocab_file,
        flags.bert_config_file,
        flags.do_lower_case,
        flags.max_seq_length,
    )


def source_of_run(flags, start):
    """The `Source` of `checkpoint_of_run`."""
    return source_of(flags, checkpoint_of_run(flags, start))


def checkpoint_of_run(flags, start):
    """What a run has written, or else what it has started from.

    With --keep_best that is the best, as for its other results.

    Raises:
        InputError: all weights are random.
    """
    prefix = None
    if flags.keep_best is not None:
        best = os.path.join(flags.output_dir, loop.BEST_FOLDER)
        prefix = checkpoints.latest(best)
    prefix = prefix or checkpoints.latest(flags.output_dir) or start.prefix
    if prefix is None:
        raise InputError(
            "`--do_export` needs a checkpoint: give --init_checkpoint, or "
            f"--do_train. {flags.output_dir} has none."
        )
    return prefix
