"""Rows of GLUE's tasks, of which several tables have some."""

from paper_runs import Result, Row

FLAGS = {
    "data_dir": "{data}",
    "do_train": True,
    "do_eval": True,
    "max_seq_length": 128,
    "train_batch_size": 32,
    "eval_batch_size": 32,
    "learning_rate": 2e-5,
    "num_train_epochs": 3,
}
ACCURACY = "eval_accuracy"
DEV_FILES = {"MNLI": "dev_matched.tsv"}


def glue_row(task, results, name=None, checkpoint=None, **flags):
    """The `Row` of a task.

    Args:
        task: as its folder is called.
        results: the `Result`s.
        name: of the row, if it is not that of the task.
        checkpoint: folder of the row's own model.
        flags: that differ from `FLAGS`.
    """
    return Row(
        name=name or task,
        command="run_classifier",
        data=f"glue/{task}",
        files=("train.tsv", DEV_FILES.get(task, "dev.tsv")),
        optional=("dev_mismatched.tsv",),
        flags={"task_name": task, **FLAGS, **flags},
        results=results,
        checkpoint=checkpoint,
    )


def accuracy(task, paper, name=None, checkpoint=None, **flags):
    """The row of a task with its accuracy on (the first) dev set alone."""
    results = (Result("accuracy", ACCURACY, paper),)
    return glue_row(task, results, name, checkpoint, **flags)
