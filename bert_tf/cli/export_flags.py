"""Flags of exports: --do_export, and those of each head."""

import os

from bert_tf.cli import model_flags
from bert_tf.errors import InputError
from bert_tf.exports import folder
from bert_tf.exports.settings import (
    EXPORT_FOLDER,
    FORMATS,
    QUANTIZATIONS,
    ROWS_AT_ONCE,
    SAVED_MODEL,
    Source,
)
from bert_tf.tasks.classification import datasets, targets
from bert_tf.tasks.squad.threshold import AUTO
from bert_tf.tasks.vectors import lines


def define(flags, beside="output_dir"):
    """Defines --do_export and --export_dir.

    Args:
        flags: a `FlagSet`.
        beside: the flag that names the command's output.
    """
    flags.boolean(
        "do_export",
        False,
        "At the end, export the checkpoint as a SavedModel that takes text.",
    )
    flags.string(
        "export_dir",
        None,
        "With --do_export: the folder in which to create the next version. "
        f"[export, in the folder of --{beside}]",
    )


def find_export_dir(flags, beside):
    """Creates the folder to export to; returns None without --do_export.

    Args:
        flags: parsed flags, as `define` defines them.
        beside: the command's output folder.

    Raises:
        InputError: it cannot be created, or the flags contradict each other.
    """
    if not flags.do_export:
        if flags.export_dir:
            raise InputError(
                "`--export_dir` has a meaning only with --do_export. Received: "
                f"--export_dir={flags.export_dir}"
            )
        return None
    path = flags.export_dir or os.path.join(beside, EXPORT_FOLDER)
    folder.check_output(path, "export_dir")
    return path


def source_of(flags):
    """The `Source` that the flags name."""
    lowers, strips, ignore = model_flags.casing(flags)
    return Source(
        flags.checkpoint,
        flags.vocab_file,
        flags.bert_config_file,
        lowers,
        flags.max_seq_length,
        flags.quantize,
        strips,
        ignore,
        flags.skip_padding,
        flags.format,
        flags.inspect,
    )


def source_of_run(flags, checkpoint, opened):
    """The `Source` of a checkpoint that a run has used.

    Args:
        flags: parsed flags.
        checkpoint: a prefix or a folder.
        opened: `training.start.OpenedModel` of the run, whose tokenizer the
            export gets.
    """
    basic = opened.tokenizer.basic_tokenizer
    padding = flags["skip_padding"]
    return Source(
        checkpoint,
        opened.vocab_file,
        opened.config_file,
        basic.do_lower_case,
        flags.max_seq_length,
        strip_accents=basic.strip_accents,
        ignore_folder_settings=True,
        skip_padding=padding.value if padding.present else None,
    )


def define_several(flags):
    """Defines --heads."""
    flags.string(
        "heads",
        None,
        "Instead of --head and --checkpoint: several heads in one model, "
        "NAME=FOLDER,NAME=FOLDER. The folders are those of run_classifier and "
        "run_ner, trained on one encoder with --freeze.",
    )


def read_heads(flags):
    """The folders of --heads by name; {} for one head of one checkpoint.

    Raises:
        InputError: a part is no NAME=FOLDER or a name is given twice; or
            neither --heads nor --head and --checkpoint are given, or both.
    """
    if flags.heads is None:
        for name in ("checkpoint", "head"):
            if not flags[name].value:
                raise InputError(
                    f"`--{name}` must be given, or --heads=NAME=FOLDER,... for "
                    "several heads"
                )
        return {}
    for name in ("checkpoint", "head"):
        if flags[name].value:
            raise InputError(
                f"`--heads` says which checkpoints are exported: leave out "
                f"--{name}. Received: --{name}={flags[name].value}"
            )
    found: dict[str, str] = {}
    for part in flags.heads.split(","):
        name, _, path = part.strip().partition("=")
        if not name or not path:
            raise InputError(
                "`--heads` must be NAME=FOLDER,NAME=FOLDER. Received: "
                f"{part!r} in --heads={flags.heads}"
            )
        if name in found:
            raise InputError(
                f"`--heads`: each head must have a name of its own. {name} "
                f"stands for {found[name]} and for {path}"
            )
        found[name] = path
    return found


def define_format(flags):
    """Defines --format and --quantize."""
    flags.choice(
        "format",
        SAVED_MODEL,
        FORMATS,
        "saved_model takes text and needs TensorFlow alone. onnx and openvino "
        "take ids; bert_tf.Predictor and bert_tf.serve, which make them of "
        "text, then need no TensorFlow. They need bert_tf[onnx] or "
        "bert_tf[openvino]. litert takes ids on small devices; bert_tf does "
        "not run it.",
    )
    flags.choice(
        "quantize",
        None,
        QUANTIZATIONS,
        "bfloat16: the encoder's linear layers in 16 bits, for smaller models "
        "that are faster where there are instructions for it (on CPUs, "
        "AVX-512 BF16). int8: in 8 bits, still smaller and faster (AVX-512 "
        "VNNI), and a little less accurate; needs a TensorFlow for CPUs with "
        "oneDNN, as for x86-64. --format=onnx has int8 only, as onnxruntime "
        "does it; openvino and litert none.",
    )


def define_inspect(flags):
    """Defines --inspect."""
    flags.boolean(
        "inspect",
        False,
        "Add the signature `inspect`, which returns the output and the "
        "attention of a layer: the page of bert_tf.serve then shows them. With "
        "--format=saved_model.",
    )


def define_check(flags):
    """Defines --check."""
    flags.string(
        "check",
        None,
        "After the export, ask it and the Python model about the texts of this "
        "file, and write to assets.extra/bert_tf_check.txt how far they are "
        "apart, how long they take and how large they are. On each line a "
        "text, or A ||| B (pairs; question ||| context; context ||| choice "
        "||| choice).",
    )


def define_heads(flags):
    """Defines the flags that only some heads have."""
    flags.integer("batch_size", ROWS_AT_ONCE, "Number of windows in a batch.")
    flags.integer(
        "doc_stride",
        None,
        "Split long texts into overlapping windows, N word pieces apart. "
        "[span: a third of --max_seq_length; classifier and features: long "
        "texts are truncated]",
    )
    flags.string(
        "labels_file",
        None,
        "classifier and tokens: names of the labels, one on each line, in the "
        "order of their ids. [labels.txt beside the checkpoint]",
    )
    flags.string(
        "task_name",
        None,
        "classifier: instead of --labels_file, the labels of "
        f"{datasets.published_names()}.",
    )
    flags.choice(
        "window_pooling",
        "mean",
        targets.WINDOW_POOLINGS,
        "classifier, with --doc_stride: how to combine the logits of a text's "
        "windows.",
    )
    flags.integer(
        "max_query_length",
        64,
        "span: word pieces of a question; longer ones are truncated.",
    )
    flags.integer(
        "max_answer_length",
        30,
        "span: maximum number of word pieces in an answer.",
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
        "span, with --version_2_with_negative: leave a question unanswered if "
        "the score of no answer exceeds that of the best answer by more than "
        f"this. {AUTO}: the threshold that run_squad wrote beside the "
        "checkpoint.",
    )
    flags.integer("top_k", 5, "pretraining: guesses for each [MASK].")
    flags.boolean(
        "next_sentence",
        None,
        "pretraining: predict whether a text follows another. [if the "
        "checkpoint has weights for it]",
    )
    flags.choice(
        "pooling",
        "mean",
        lines.POOLINGS,
        "features: one vector for each text, or with none and concat_last_4 "
        "for each of its tokens.",
    )
    flags.boolean(
        "normalize",
        False,
        "features: divide the vector of a text by its length.",
    )
    flags.string(
        "layers",
        "-1",
        "features: layers to take: 0 is the lowest, -1 the highest one. "
        "Several are concatenated.",
    )


def check_heads(flags):
    """Raises `InputError` for flags of heads that contradict each other."""
    if flags.doc_stride is None and not (
        flags["window_pooling"].using_default_value
    ):
        raise InputError(
            "`--window_pooling` needs --doc_stride, without which there are no "
            f"windows. Received: --window_pooling={flags.window_pooling}"
        )


def classifier_arguments(flags):
    """Arguments of `export_classifier`, by name."""
    return {
        **find_labels(flags),
        "doc_stride": flags.doc_stride,
        "window_pooling": flags.window_pooling,
        "rows_at_once": flags.batch_size,
    }


def find_labels(flags):
    """The target of --task_name, or the labels of --labels_file, by name.

    Raises:
        InputError: there is no such task or file, or both are given.
    """
    if flags.task_name and flags.labels_file:
        raise InputError(
            "Either `--task_name` or `--labels_file` must be given, not both."
        )
    if flags.task_name:
        dataset = datasets.find_dataset(flags.task_name)
        if dataset.learns_labels:
            raise InputError(
                "`--task_name` must be a task with fixed labels. The "
                "labels of tsv are in labels.txt beside the checkpoint; "
                "otherwise give --labels_file."
            )
        return {"target": dataset.target}
    if flags.labels_file:
        # Imported here, since it loads TensorFlow.
        from bert_tf.checkpoints import folders

        return {"labels": folders.read_labels(flags.labels_file)}
    return {}


def tokens_arguments(flags):
    """Arguments of `export_tokens`, by name."""
    return {**find_labels(flags), "rows_at_once": flags.batch_size}


def span_arguments(flags):
    """Arguments of `export_span`, by name."""
    return {
        "doc_stride": flags.doc_stride,
        "max_query_length": flags.max_query_length,
        "max_answer_length": flags.max_answer_length,
        "version_2_with_negative": flags.version_2_with_negative,
        "null_score_diff_threshold": flags.null_score_diff_threshold,
        "rows_at_once": flags.batch_size,
    }


def pretraining_arguments(flags):
    """Arguments of `export_pretraining`, by name."""
    return {
        "top_k": flags.top_k,
        "next_sentence": flags.next_sentence,
        "rows_at_once": flags.batch_size,
    }


def choices_arguments(flags):
    """Arguments of `export_choices`, by name."""
    return {"rows_at_once": flags.batch_size}


def features_arguments(flags):
    """Arguments of `export_features`, by name."""
    layers = None
    if not flags["layers"].using_default_value:
        layers = lines.read_layers(flags.layers)
    return {
        "pooling": flags.pooling,
        "normalize": flags.normalize,
        "layers": layers,
        "doc_stride": flags.doc_stride,
        "rows_at_once": flags.batch_size,
    }
