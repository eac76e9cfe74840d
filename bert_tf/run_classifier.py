r"""Fine-tunes BERT to classify texts or pairs of texts, evaluates, predicts.

The original's run_classifier.py: same flags, same files in the output folder.
Your own data: --task_name=tsv, see docs/classification.md.

  python -m bert_tf.run_classifier --task_name=MRPC --do_train=true \
    --do_eval=true --data_dir=GLUE/MRPC --init_checkpoint=builtin \
    --max_seq_length=128 --train_batch_size=32 --learning_rate=3e-4 \
    --num_train_epochs=3.0 --output_dir=/tmp/mrpc_output
"""

import dataclasses
import functools
import os

from bert_tf.cli import (
    command_line,
    distil_flags,
    export_flags,
    fine_tuning,
    label_flags,
    model_flags,
    training_flags,
)
from bert_tf.cli.command_line import FlagSet
from bert_tf.data import packing
from bert_tf.data.tables import shuffled
from bert_tf.errors import InputError, some_of
from bert_tf.support import files, startup
from bert_tf.tasks.classification import (
    datasets,
    rows,
    targets,
    thresholds,
    weights,
)
from bert_tf.tasks.classification.target import MULTI, NUMBER

with startup.deferred():
    from bert_tf.checkpoints import folders
    from bert_tf.tasks import run as runs
    from bert_tf.tasks.classification import distilled, served, teacher
    from bert_tf.tasks.classification import task as tasks
    from bert_tf.training import start

HEAD = "classifier"
FOLDER_FLAGS = ("max_seq_length", "doc_stride", "window_pooling")
OWN_FOLDER_FLAGS = ("label_type", "label_separator")
"""What the folder of a training notes, and later runs take from it."""


def define_flags(values):
    """Defines this script's flags on a `FlagValues`."""
    flags = FlagSet(values)
    flags.string("data_dir", None, "Folder of the task's files.")
    flags.string(
        "task_name",
        None,
        f"{datasets.published_names()} with their published files; tsv for "
        "files of your own: train, dev and test, each .tsv, .csv or .jsonl "
        "(csv and jsonl are the same task).",
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
    flags.boolean(
        "shuffle_rows",
        None,
        "Put the rows to train on into a random order, the same each time, "
        "before batches are drawn from 100 at a time. [true for own files; "
        "false for published ones, as in the original]",
    )
    label_flags.define(flags)
    distil_flags.define(
        flags,
        "run_classifier",
        "It has the columns of the text as the training file has them.",
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
    fine_tuning.run(
        flags,
        fine_tuning.Command(HEAD, check, open_model, prepare, main_result),
    )


def check(flags):
    """Checks the flags; returns `RunSettings`."""
    own = OWN_FOLDER_FLAGS if label_flags.is_own(flags) else ()
    names = (*FOLDER_FLAGS, *distil_flags.noted(flags))
    training_flags.take_folder_settings(flags, HEAD, (*names, *own))
    dataset = check_flags(flags)
    return training_flags.run_settings(
        flags, HEAD, names, **label_flags.noted(dataset)
    )


def open_model(flags, settings):
    """Opens the model of a run; returns `OpenedModel`."""
    opened = start.open_model(
        settings.files, settings.output_dir, settings.build
    )
    start.require_positions(
        opened.config,
        flags.max_seq_length,
        "--doc_stride splits longer texts into windows, and extend_positions "
        "makes a model with more positions.",
    )
    return opened


def main_result(flags):
    """The name of the result by which a task's models are compared."""
    return label_flags.main_result(label_flags.find_dataset(flags))


def check_flags(flags):
    """The `Dataset`; raises `InputError` for flags that do not fit."""
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
    dataset = label_flags.find_dataset(flags)
    label_flags.check(flags, dataset)
    check_teacher(flags, dataset)
    is_number = dataset.target.label_type == NUMBER
    of_teacher = distil_flags.result_names(flags, is_number)
    training_flags.check(flags, label_flags.result_names(dataset, of_teacher))
    return dataset


def check_teacher(flags, dataset):
    """Raises `InputError` for flags of a teacher that do not fit."""
    distil_flags.check(flags)
    temperature = flags["distill_temperature"]
    if dataset.target.label_type == NUMBER and temperature.present:
        raise InputError(
            "`--distill_temperature` needs labels, and a number has no "
            "probabilities to change. Received: "
            f"--distill_temperature={temperature.value}"
        )


def prepare(flags, settings, opened):
    """Reads all input of a run; returns `Prepared`."""
    dataset = label_flags.find_dataset(flags)
    files.make_folder("output_dir", settings.output_dir)
    export_dir = export_flags.find_export_dir(flags, settings.output_dir)
    dataset = find_labels(dataset, flags.data_dir, settings)
    distil_flags.require_if_begun(flags, settings)
    known = open_teacher(flags, dataset.target)
    sets = read_sets(dataset, flags, settings)
    rows.require_token_types(opened.config.type_vocab_size, sets.examples())
    if sets.train is not None:
        pairs = any(example.text_b for example in sets.train)
        settings = settings.noting(text_pairs=pairs)
    is_number = dataset.target.label_type == NUMBER
    task = tasks.ClassificationTask(
        find_target(dataset.target, sets, flags, settings),
        opened.tokenizer,
        flags.max_seq_length,
        flags.doc_stride,
        flags.window_pooling,
        dataset.learns_labels and not is_number,
        find_submissions(dataset, sets, flags.data_dir),
        dataset.remark,
        find_test_labels(dataset, flags),
        functools.partial(dataset.test_table, flags.data_dir),
    )

    def export(checkpoint):
        served.export_classifier(
            export_flags.source_of_run(flags, checkpoint, opened),
            export_dir,
            doc_stride=flags.doc_stride,
            window_pooling=flags.window_pooling,
            target=task.target,
        )

    return runs.Prepared(
        with_teacher(task, sets, known, flags, settings),
        sets,
        settings,
        export if flags.do_export else None,
        has_windows=flags.doc_stride is not None,
    )


def read_sets(dataset, flags, settings):
    """Reads all examples, so that a bad row fails before any work."""
    folder = flags.data_dir
    train, evaluation, prediction, watched = None, {}, {}, {}
    if flags.do_train:
        train = with_transfer(dataset, flags)
        if flags.doc_stride is None:
            settings.epochs.count_steps(
                len(train), settings.training.batch_size
            )
    watches = flags.do_train and settings.evaluation is not None
    if flags.do_eval or watches:
        dev = {"eval": dataset.get_dev_examples(folder)}
        extra = {
            f"eval_{name}": dataset.get_extra_dev_examples(folder, name)
            for name in dataset.extra_dev
        }
        extra = {name: some for name, some in extra.items() if some is not None}
        needed = require_sets(dataset, {**dev, **extra}, flags.keep_best)
        evaluation = {**dev, **extra} if flags.do_eval else {}
        watched = {**dev, **needed} if watches else {}
    if flags.do_predict:
        prediction["predict"] = dataset.get_test_examples(folder)
        extra = {
            f"predict_{name}": dataset.get_extra_test_examples(folder, name)
            for name in dataset.extra_test
        }
        prediction |= {k: some for k, some in extra.items() if some is not None}
    return runs.Sets(train, evaluation, prediction, watched, dataset.means)


def with_transfer(dataset, flags):
    """The training examples, with the texts of --transfer_file."""
    examples = dataset.get_train_examples(flags.data_dir)
    shuffles = flags.shuffle_rows
    if shuffles is None:
        # Own files are often sorted by label, and the original's buffer of 100
        # records would keep a label together.
        shuffles = dataset.learns_labels
    if shuffles:
        examples = shuffled(examples)
    if flags.transfer_file is None:
        return examples
    read_more = functools.partial(
        dataset.iterate_unlabelled, flags.transfer_file, flags.data_dir
    )
    return distil_flags.with_transfer(flags, examples, read_more)


def open_teacher(flags, target):
    """The teacher, which fits the student's target; None without one."""
    if flags.teacher is None:
        return None
    found = teacher.TextTeacher(flags.teacher)
    found.require_target(target)
    return found


def with_teacher(task, sets, known, flags, settings):
    """The task of a student, or the task itself without a teacher."""
    if known is None:
        return task
    known.require_token_types(sets.examples())
    return distilled.DistilledClassification(
        task,
        distil_flags.teacher_logits(flags, settings, known, sets),
        distil_flags.settings(flags),
    )


def require_sets(dataset, sets, metric):
    """The further sets that the metric of --keep_best needs.

    Raises:
        InputError: the file of one is missing.
    """
    parts = dataset.means.get(metric, (metric,)) if metric else ()
    needed = {
        f"eval_{name}"
        for name in dataset.extra_dev
        if any(part.startswith(f"eval_{name}_") for part in parts)
    }
    lacking = needed - sets.keys()
    if lacking:
        raise InputError(
            f"`--keep_best={metric}` needs another dev set, whose file is not "
            f"in data_dir: {', '.join(sorted(lacking))}"
        )
    return {name: sets[name] for name in needed}


def find_submissions(dataset, sets, data_dir):
    """The `Submission` of each set to predict that has one."""
    found = {
        name: dataset.find_submission(
            data_dir, name.removeprefix("predict")[1:]
        )
        for name in sets.prediction
    }
    return {name: one for name, one in found.items() if one is not None}


def find_test_labels(dataset, flags):
    """The labels of each set to predict that has some."""
    if not flags.do_predict or not flags.test_labels:
        return {}
    found = dataset.find_test_labels(flags.data_dir)
    return {} if found is None else {"predict": found}


def find_labels(dataset, data_dir, settings):
    """A dataset with its labels, which must fit the checkpoint.

    Those of own data are learned from the training file or, without training,
    read from the model's labels.txt.
    """
    if dataset.learns_labels and settings.do_train:
        return dataset.learn_labels(data_dir)
    if dataset.target.label_type == NUMBER or settings.do_train:
        return dataset
    path = start.labels_file(settings)
    if not dataset.learns_labels and not os.path.exists(path):
        return dataset
    labels = folders.read_labels(path, least=1)
    if dataset.labels not in (None, labels):
        raise InputError(
            f"{path} must have the labels of the task, in this order: "
            f"{some_of(dataset.labels)}. It has: {some_of(labels)}. The "
            "checkpoint was trained for something else"
        )
    return dataset.with_labels(labels) if dataset.learns_labels else dataset


def find_target(target, sets, flags, settings):
    """The target with the weights and thresholds of the flags.

    Raises:
        InputError: they do not fit the labels, or are not there.
    """
    if flags.class_weights is not None:
        labels = (example.label for example in sets.train)
        found = [label for label in labels if label is not None]
        target = weights.weigh(target, flags.class_weights, found)
    if target.label_type != MULTI:
        return target
    is_auto = flags.threshold == thresholds.AUTO
    if is_auto and (flags.do_eval or flags.do_train):
        return dataclasses.replace(target, chooses_thresholds=True)
    is_given = not flags["threshold"].using_default_value
    if flags.do_train and not is_given:
        thresholds.require_none(start.own_folders(settings))
    kept = None
    if is_auto or not (is_given or flags.do_train):
        kept = thresholds.find(start.model_folders(settings), target.labels)
    if is_auto and kept is None:
        raise InputError(
            f"`--threshold={thresholds.AUTO}` needs --do_eval, which chooses "
            f"the thresholds, or {thresholds.FILE} beside the checkpoint, "
            f"which it keeps. There is none in {settings.output_dir}"
        )
    each = (flags.threshold,) * len(target.labels)
    return dataclasses.replace(
        target,
        thresholds=kept or each,
        keeps_thresholds=is_given and flags.do_train,
    )


def cli():
    """The console command."""
    command_line.run(define_flags, main, __doc__)


if __name__ == "__main__":
    cli()
