"""Flags of what a classifier predicts, and the data set that they name."""

from bert_tf.checkpoints.folder_settings import LABEL_TYPES
from bert_tf.cli import command_line
from bert_tf.errors import InputError
from bert_tf.tasks.classification import datasets
from bert_tf.tasks.classification.target import MULTI, NUMBER
from bert_tf.tasks.classification.thresholds import AUTO
from bert_tf.tasks.classification.weights import BALANCED

COLUMNS = ("text_a_col", "text_b_col", "label_col", "header")


def define(flags):
    """Defines the flags on a `FlagSet`."""
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
    flags.choice(
        "label_type",
        None,
        LABEL_TYPES,
        "With --task_name=tsv: class: each text has one of several labels; "
        "number: a decimal number; multi: any number of labels. [class]",
    )
    flags.string(
        "label_cols",
        None,
        "With --label_type=multi: names of the labels, with commas between. "
        "Each is also a column of 0 and 1, unless --label_col names a column "
        "with a list such as [1, 0, 1].",
    )
    flags.string(
        "label_separator",
        None,
        "With --label_type=multi: what stands between the names of labels in "
        "a cell and in predictions. [,]",
    )
    flags.number_or(
        AUTO,
        "threshold",
        0.5,
        "With --label_type=multi: predict a label where its score is at or "
        f"over this. {AUTO}: with --do_eval, for each label the score with the "
        "best F1 on the dev set; else those kept in thresholds.tsv beside the "
        "checkpoint, where a training keeps what is given.",
    )
    flags.string(
        "class_weights",
        None,
        "Weights of the labels in the training loss: a=1,b=4.5, or numbers in "
        f"the order of labels.txt; {BALANCED}: in inverse proportion to how "
        "often a label occurs in the training file. [1 for all]",
    )
    flags.boolean(
        "test_labels",
        True,
        "With --task_name=tsv: evaluate predictions where each row of the test "
        "file has a label of the training file, and not all rows have the "
        "same: test_eval_results.txt and reports.",
    )


def is_own(flags):
    """Whether the flags name the user's own files."""
    return datasets.is_own(flags.task_name)


def noted(dataset):
    """What a folder notes about the target of a data set, by name."""
    target = dataset.target
    settings = {"label_type": target.label_type}
    if target.label_type == MULTI:
        settings["label_separator"] = target.separator
    return settings


def find_dataset(flags):
    """The `Dataset` that the flags name."""
    columns = {name: flags[name].value for name in COLUMNS}
    label_cols = flags.label_cols
    return datasets.find_dataset(
        flags.task_name,
        flags.label_type,
        None if label_cols is None else label_cols.split(","),
        flags.label_separator,
        **columns,
    )


def check(flags, dataset):
    """Raises `InputError` for flags without effect on this data set."""
    kind = dataset.target.label_type
    test_labels = flags["test_labels"]
    if test_labels.present and not is_own(flags):
        raise InputError(
            f"`--test_labels` needs --task_name={datasets.OWN}: the test files "
            "of published tasks have no labels. Received: "
            f"--task_name={flags.task_name} "
            f"--test_labels={str(test_labels.value).lower()}"
        )
    threshold = flags["threshold"]
    if kind != MULTI and not threshold.using_default_value:
        raise InputError(
            f"`--threshold` needs --label_type={MULTI}. Received: "
            f"--threshold={threshold.value}"
        )
    if threshold.value != AUTO:
        command_line.require_between(flags, "threshold", 0, 1)
    elif (
        flags.do_train
        and not flags.do_eval
        and (
            flags.do_predict
            or flags.do_export
            or flags.eval_every_steps is None
        )
    ):
        raise InputError(
            f"`--threshold={AUTO}` needs --do_eval here: thresholds are chosen "
            "on the dev set, for the checkpoint that is trained."
        )
    if flags.class_weights is None:
        return
    if kind == NUMBER:
        raise InputError(
            "`--class_weights` needs labels, and a number has none. Received: "
            f"--class_weights={flags.class_weights}"
        )
    if not flags.do_train:
        raise InputError(
            "`--class_weights` is for training: it needs --do_train. Received: "
            f"--class_weights={flags.class_weights}"
        )


def result_names(dataset, more=()):
    """Names of the results by which the best checkpoint can be kept.

    Args:
        dataset: a `Dataset`.
        more: names of further ones of each dev set.
    """
    names = (*dataset.target.results, *more)
    of_extra_sets = (
        f"eval_{extra}_{name.removeprefix('eval_')}"
        for extra in dataset.extra_dev
        for name in names
        if name.startswith("eval_")
    )
    return [*names, *of_extra_sets, *dataset.means]


# The first that a data set has.
_MAIN_RESULTS = (
    "eval_f1_and_accuracy",
    "eval_matthews_correlation",
    "eval_pearson_and_spearman",
    "eval_micro_f1",
    "eval_accuracy",
)


def main_result(dataset):
    """The name of the result by which models are compared."""
    names = dataset.target.results
    return next(name for name in _MAIN_RESULTS if name in names)
