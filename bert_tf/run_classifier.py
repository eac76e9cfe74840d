r"""Fine-tunes BERT to classify texts or pairs of texts, evaluates, predicts.

The original's run_classifier.py: same flags, same files in the output folder.
Your own data: --task_name=tsv, see docs/classification.md.

  python -m bert_tf.run_classifier --task_name=MRPC --do_train=true \
    --do_eval=true --data_dir=GLUE/MRPC --init_checkpoint=BERT \
    --max_seq_length=128 --train_batch_size=32 --learning_rate=2e-5 \
    --num_train_epochs=3.0 --output_dir=/tmp/mrpc_output
"""

import os

from bert_tf.checkpoints import finding, folders
from bert_tf.checkpoints.folder_settings import FolderSettings
from bert_tf.checkpoints.names import LABELS_FILE
from bert_tf.cli import (
    command_line,
    export_flags,
    model_flags,
    training_flags,
)
from bert_tf.cli.command_line import FlagSet
from bert_tf.data import packing
from bert_tf.errors import InputError
from bert_tf.support import files
from bert_tf.tasks.classification import datasets, rows, served, targets
from bert_tf.tasks.classification.task import ClassificationTask
from bert_tf.tasks.run import Sets, finetune, folder_of_run, run_several
from bert_tf.training import devices, start

COLUMNS = ("text_a_col", "text_b_col", "label_col", "header")

HEAD = "classifier"
FOLDER_FLAGS = ("max_seq_length", "doc_stride", "window_pooling")
"""What the folder of a training notes, and later runs take from it."""


def define_flags(values):
    """Defines this script's flags on a `FlagValues`."""
    flags = FlagSet(values)
    flags.string("data_dir", None, "Folder of the task's files.")
    flags.string(
        "task_name",
        None,
        f"{datasets.published_names()} with their published files; tsv for "
        "files of your own: train, dev and test, each .tsv, .csv or .jsonl.",
    )
    flags.require("data_dir", "task_name")
    flags.integer(
        "max_seq_length", 128, "Word pieces of an input; the rest is truncated."
    )
    training_flags.define_actions(flags)
    model_flags.define(flags)
    model_flags.define_casing(flags)
    training_flags.define_original(flags)
    training_flags.define_epochs(flags, "the training set")
    flags.string(
        "text_a_col",
        None,
        "With --task_name=tsv: column of the text, by name or counted from 0. "
        "[text]",
    )
    flags.string("text_b_col", None, "The same for a second text. [none]")
    flags.string("label_col", None, "The same for the label. [label]")
    flags.choice(
        "header",
        None,
        ["auto", "yes", "no"],
        "With --task_name=tsv: whether the files start with a header. [auto]",
    )
    flags.integer(
        "doc_stride",
        None,
        "Split long texts into overlapping windows of --max_seq_length, N word "
        "pieces apart. In training each window is an example with the label of "
        "its text; results have one line for each text. [long texts are "
        "truncated]",
    )
    flags.choice(
        "window_pooling",
        "mean",
        targets.WINDOW_POOLINGS,
        "With --doc_stride: how to combine the logits of a text's windows: the "
        "mean or the maximum for each label.",
    )
    training_flags.define(flags)
    training_flags.define_runs(flags)
    export_flags.define(flags)


def main(flags):
    """Does what the parsed flags ask for."""
    model_flags.take_folder_settings(
        flags,
        HEAD,
        FOLDER_FLAGS,
        output_dir=folder_to_resume(flags),
        trains=flags.do_train,
    )
    check_flags(flags)
    settings = training_flags.run_settings(
        flags,
        epochs=training_flags.epochs(flags),
        folder=FolderSettings(
            HEAD,
            label_type="class",
            **{name: flags[name].value for name in FOLDER_FLAGS},
        ),
    )
    opened = start.open_model(
        settings.files, settings.output_dir, settings.build
    )
    start.require_positions(
        opened.config,
        flags.max_seq_length,
        "--doc_stride splits longer texts into windows, and extend_positions "
        "makes a model with more positions.",
    )
    strategy = devices.find_strategy(training_flags.devices(flags))
    if flags.num_runs == 1:
        run(flags, settings, opened, strategy)
    else:
        run_several(
            lambda one: run(flags, one, opened, strategy),
            settings,
            flags.num_runs,
            strategy,
        )


def folder_to_resume(flags):
    """The folder whose checkpoint a run goes on with, if there is one."""
    if flags.num_runs == 1:
        return flags.output_dir
    return folder_of_run(flags.output_dir, 1)


def check_flags(flags):
    """Raises `InputError` for flags that do not fit each other."""
    training_flags.check_actions(flags)
    if flags.max_seq_length < 3:
        raise InputError(
            "`--max_seq_length` must be at least 3: [CLS], one token of the "
            f"text, [SEP]. Received: --max_seq_length={flags.max_seq_length}"
        )
    packing.require_stride(flags.doc_stride, flags.max_seq_length)
    if (
        flags.doc_stride is None
        and not flags["window_pooling"].using_default_value
    ):
        raise InputError(
            "`--window_pooling` needs --doc_stride, without which there are no "
            f"windows. Received: --window_pooling={flags.window_pooling}"
        )
    training_flags.check_epochs(flags)
    dataset = find_dataset(flags)
    training_flags.check(flags, [*targets.RESULTS, *dataset.metrics])


def find_dataset(flags):
    """The `Dataset` that the flags name."""
    columns = {name: flags[name].value for name in COLUMNS}
    return datasets.find_dataset(flags.task_name, **columns)


def run(flags, settings, opened, strategy):
    """Trains, evaluates, predicts and exports, once.

    Returns:
        The results of evaluation by name; None without it.
    """
    dataset = find_dataset(flags)
    files.make_folder("output_dir", settings.output_dir)
    export_dir = export_flags.find_export_dir(flags, settings.output_dir)
    if dataset.learns_labels:
        dataset = find_labels(dataset, flags.data_dir, settings)
    sets = read_sets(dataset, flags, settings)
    rows.require_token_types(opened.config.type_vocab_size, sets.examples())
    labels = dataset.get_labels()
    task = ClassificationTask(
        targets.OneLabel(labels, dataset.metrics),
        opened.tokenizer,
        flags.max_seq_length,
        flags.doc_stride,
        flags.window_pooling,
        dataset.learns_labels,
    )

    def export(checkpoint):
        served.export_classifier(
            export_flags.source_of_run(flags, checkpoint, opened),
            export_dir,
            labels,
            flags.doc_stride,
            flags.window_pooling,
        )

    return finetune(
        task,
        sets,
        opened,
        settings,
        strategy,
        export if flags.do_export else None,
    )


def read_sets(dataset, flags, settings):
    """Reads all examples, so that a bad row fails before any work."""
    train, evaluation, prediction, watched = None, {}, {}, None
    if flags.do_train:
        train = dataset.get_train_examples(flags.data_dir)
        if flags.doc_stride is None:
            settings.epochs.count_steps(
                len(train), settings.training.batch_size
            )
    watches = flags.do_train and settings.evaluation is not None
    if flags.do_eval or watches:
        dev = dataset.get_dev_examples(flags.data_dir)
        evaluation = {"eval": dev} if flags.do_eval else {}
        watched = ("eval", dev) if watches else None
    if flags.do_predict:
        prediction["predict"] = dataset.get_test_examples(flags.data_dir)
    return Sets(train, evaluation, prediction, watched)


def find_labels(dataset, data_dir, settings):
    """A dataset with its labels.

    They are learned from the training file or, without training, read from
    labels.txt: in the folder of the run, else beside the initial checkpoint.
    """
    if settings.do_train:
        return dataset.learn_labels(data_dir)
    path = os.path.join(settings.output_dir, LABELS_FILE)
    checkpoint = settings.files.checkpoint
    if not os.path.exists(path) and checkpoint:
        beside = os.path.join(finding.folder_of(checkpoint), LABELS_FILE)
        path = beside if os.path.exists(beside) else path
    return dataset.with_labels(folders.read_labels(path))


def cli():
    """The console command."""
    command_line.run(define_flags, main, __doc__)


if __name__ == "__main__":
    cli()
