r"""Writes a SavedModel that takes text and needs nothing but TensorFlow.

  python -m bert_tf.export_saved_model --head=classifier \
    --checkpoint=/tmp/mrpc_output --vocab_file=BERT/vocab.txt \
    --bert_config_file=BERT/bert_config.json --task_name=MRPC \
    --output_dir=/tmp/mrpc_model

makes /tmp/mrpc_model/1; the next time /tmp/mrpc_model/2, and so on. The folder
is what tensorflow_model_server takes as --model_base_path. Its signatures, what
they take and return, are listed in bert_tf/serving.py. In Python:

  predict = bert_tf.Predictor("/tmp/mrpc_model")
  predict("He ate.", "He had a meal.").label

Heads are what a checkpoint was trained for: classifier (run_classifier), span
(run_squad), pretraining (run_pretraining; guesses for [MASK], next sentence),
features (any: vectors of texts or tokens). The four scripts do the same with
--do_export, for the checkpoint that they have just written or used.
"""

import dataclasses

from bert_tf.checkpoints import folders
from bert_tf.cli import command_line, export_flags, inference_flags
from bert_tf.cli.command_line import FlagSet
from bert_tf.errors import InputError
from bert_tf.exports import export, quantization
from bert_tf.exports.signature import ROWS_AT_ONCE
from bert_tf.tasks.classification import datasets, served, targets
from bert_tf.tasks.pretraining import served as pretraining_served
from bert_tf.tasks.squad import served as squad_served
from bert_tf.tasks.squad.threshold import AUTO
from bert_tf.tasks.vectors import lines
from bert_tf.tasks.vectors import served as vectors_served

# Flags that only some heads have.
FLAGS_OF_HEADS = {
    "classifier": (
        "labels_file",
        "task_name",
        "doc_stride",
        "window_pooling",
        "batch_size",
    ),
    "span": (
        "doc_stride",
        "max_query_length",
        "max_answer_length",
        "version_2_with_negative",
        "null_score_diff_threshold",
        "batch_size",
    ),
    "pretraining": ("top_k", "next_sentence", "batch_size"),
    "features": ("pooling", "layers", "doc_stride", "batch_size"),
}


def define_flags(values):
    """Defines this script's flags on a `FlagValues`."""
    flags = FlagSet(values)
    inference_flags.define_model(flags)
    flags.choice(
        "head",
        None,
        FLAGS_OF_HEADS,
        "What the checkpoint was trained for; features for any.",
    )
    flags.string("output_dir", None, "The folder to make the next version in.")
    flags.integer(
        "max_seq_length",
        None,
        "Word pieces of a row made of text; what is over is cut, or of a "
        "context or around a [MASK] read in windows. [classifier and features "
        "128, span 384, pretraining as many as there are positions]",
    )
    flags.integer(
        "batch_size",
        ROWS_AT_ONCE,
        "Windows of long texts that are computed together.",
    )
    flags.choice(
        "quantize",
        None,
        quantization.MODES,
        "bfloat16: the encoder's linear layers in 16 bits, for smaller models "
        "that are faster where there are instructions for it (on CPUs, "
        "AVX-512 BF16). int8: in 8 bits, still smaller and faster (AVX-512 "
        "VNNI), and a little less accurate; needs a TensorFlow for CPUs with "
        "oneDNN, as for x86-64.",
    )
    flags.string(
        "labels_file",
        None,
        "classifier: names of the labels, one on each line, in the order of "
        "their ids. [labels.txt beside the checkpoint]",
    )
    flags.string(
        "task_name",
        None,
        "classifier: instead of --labels_file, the labels of cola, mnli, mrpc "
        "or xnli.",
    )
    flags.integer(
        "doc_stride",
        None,
        "Read long texts in windows that start so many word pieces apart. "
        "[span: a third of --max_seq_length; classifier and features: what is "
        "over is cut off]",
    )
    flags.choice(
        "window_pooling",
        "mean",
        targets.WINDOW_POOLINGS,
        "classifier, with --doc_stride: how the logits of a text's windows "
        "become one.",
    )
    flags.integer(
        "max_query_length",
        64,
        "span: word pieces of a question; the rest is cut.",
    )
    flags.integer(
        "max_answer_length", 30, "span: the most word pieces of an answer."
    )
    flags.boolean(
        "version_2_with_negative",
        False,
        "span: questions may have no answer; for models of SQuAD 2.0.",
    )
    flags.number_or(
        AUTO,
        "null_score_diff_threshold",
        0.0,
        "span, with --version_2_with_negative: a question is left unanswered "
        "if the score of no answer is above that of the best one by more than "
        f"this. {AUTO}: what run_squad kept beside the checkpoint.",
    )
    flags.integer("top_k", 5, "pretraining: guesses for each [MASK].")
    flags.boolean(
        "next_sentence",
        None,
        "pretraining: say whether a text follows another. [if the checkpoint "
        "has weights for it]",
    )
    flags.choice(
        "pooling",
        "mean",
        lines.POOLINGS,
        "features: one vector for each text, or with none and concat_last_4 "
        "for each of its tokens.",
    )
    flags.string(
        "layers",
        "-1",
        "features: layers to take: 0 is the lowest, -1 the highest one. "
        "Several are put side by side.",
    )
    flags.require("head", "output_dir")


def main(flags):
    """Does what the parsed flags ask for."""
    check_flags(flags)
    source = export_flags.source_of(flags, flags.checkpoint)
    source = dataclasses.replace(source, quantize=flags.quantize)
    print(EXPORTS[flags.head](flags, source))


def check_flags(flags):
    """Raises `InputError` for bad values, and flags without effect."""
    inference_flags.check_model(flags)
    command_line.require_positive(flags, "batch_size")
    heads_of = {}
    for head, names in FLAGS_OF_HEADS.items():
        for name in names:
            heads_of.setdefault(name, []).append(head)
    for name, heads in heads_of.items():
        if flags.head not in heads and not flags[name].using_default_value:
            raise InputError(
                f"`--{name}` is for --head={' or '.join(heads)}, and without "
                f"effect on others. Received: --head={flags.head} "
                f"--{name}={flags[name].value}"
            )
    if flags.doc_stride is None and not (
        flags["window_pooling"].using_default_value
    ):
        raise InputError(
            "`--window_pooling` needs --doc_stride, without which there are no "
            f"windows. Received: --window_pooling={flags.window_pooling}"
        )
    export.check_output(flags.output_dir)


def find_labels(flags):
    """The labels that the flags name; None if they do not.

    Raises:
        InputError: there is no such task or file, or both are given.
    """
    if flags.task_name and flags.labels_file:
        raise InputError(
            "Either `--task_name` or `--labels_file` must be given, not both."
        )
    if flags.task_name:
        task = datasets.find_dataset(flags.task_name)
        if task.learns_labels:
            raise InputError(
                "`--task_name` must be a task with labels of its own. The "
                "labels of tsv are in labels.txt beside the checkpoint; "
                "otherwise give --labels_file."
            )
        return task.get_labels()
    if flags.labels_file:
        return folders.read_labels(flags.labels_file)
    return None


def export_classifier(flags, source):
    """Exports a classifier; returns the path of the version."""
    return served.export_classifier(
        source,
        flags.output_dir,
        find_labels(flags),
        flags.doc_stride,
        flags.window_pooling,
        flags.batch_size,
    )


def export_span(flags, source):
    """Exports a model for questions; returns the path of the version."""
    return squad_served.export_span(
        source,
        flags.output_dir,
        flags.doc_stride,
        flags.max_query_length,
        flags.max_answer_length,
        flags.version_2_with_negative,
        flags.null_score_diff_threshold,
        flags.batch_size,
    )


def export_pretraining(flags, source):
    """Exports a pretrained model; returns the path of the version."""
    return pretraining_served.export_pretraining(
        source,
        flags.output_dir,
        flags.top_k,
        flags.next_sentence,
        flags.batch_size,
    )


def export_features(flags, source):
    """Exports an encoder; returns the path of the version."""
    layers = None
    if not flags["layers"].using_default_value:
        layers = lines.read_layers(flags.layers)
    return vectors_served.export_features(
        source,
        flags.output_dir,
        flags.pooling,
        layers,
        flags.doc_stride,
        flags.batch_size,
    )


EXPORTS = {
    "classifier": export_classifier,
    "span": export_span,
    "pretraining": export_pretraining,
    "features": export_features,
}


def cli():
    """The console command."""
    command_line.run(define_flags, main, __doc__)


if __name__ == "__main__":
    cli()
