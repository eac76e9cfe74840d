"""What commands that train write to their output folder.

Their input may lie in the same folder, as long as none of it has the name of a
file that they write.
"""

import fnmatch
import glob
import os

from bert_tf.checkpoints.names import (
    BEST_FOLDER,
    INDEX,
    STATE_FILE,
    THRESHOLDS_FILE,
)
from bert_tf.errors import InputError
from bert_tf.support import files, locks
from bert_tf.tasks.classification.datasets import PUBLISHED
from bert_tf.training.settings import RUNS_FILE, SWEEP_FILE, SWEEP_NOTES

WRITTEN = (
    STATE_FILE,
    "model.ckpt-*",
    "train.tf_record",
    "eval*.tf_record",
    "predict*.tf_record",
    "*_results.tsv",
    "test_results_*.tsv",
    "*_results.txt",
    "*predictions.json",
    "*predictions.tsv",
    "*predictions.txt",
    "*_report.svg",
    "*_report.txt",
    "*_mistakes.tsv",
    "eval_words.txt",
    "test_words.txt",
    "*_per_label.tsv",
    "teacher_logits_*.npz",
    THRESHOLDS_FILE,
    "*.tfevents.*",
    "evaluations.json",
    "not_finite_at_step_*.npz",
    "null_odds.json",
    "null_score_diff_threshold*",
    "precision_recall.svg",
    RUNS_FILE,
    SWEEP_FILE,
    SWEEP_NOTES,
    "training.svg",
    locks.FILE_NAME,
    *sorted(
        {
            file.name
            for dataset in PUBLISHED.values()
            for file in dataset.submission_files()
        }
    ),
)
"""Names of files that are replaced, as patterns.

A vocabulary, a config and labels that are there already are not replaced.
"""

# GLUE's diagnostic set has this name where it lacks the other one.
_READ_TOO = {"AX.tsv": "diagnostic.tsv"}


def is_written(name):
    """Whether commands that train replace a file of this name."""
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in WRITTEN)


def check(values):
    """Raises `InputError` if a command would write over a file that it reads.

    Args:
        values: parsed `FlagValues` of a command that trains.
    """
    if not values.output_dir:
        return
    written = [
        path
        for folder in ("", BEST_FOLDER, "eval", "run_*")
        for path in _files_in(values.output_dir, folder)
        if is_written(os.path.basename(path))
    ]
    for name, output, path in files.overwritten(written, _read_by(values)):
        raise InputError(
            f"`--output_dir`: {output} would be written over, and `--{name}` "
            f"reads it ({path}). Take another --output_dir, or move that file."
        )
    _check_start(values)


def _read_by(values):
    """{flag: the files that it names}, without those of the checkpoint."""
    found = {
        name: _named(values[name].value)
        for name in values
        if name.endswith("_file") and isinstance(values[name].value, str)
    }
    if "data_dir" in values and values.data_dir:
        # No data set has files of these names.
        found["data_dir"] = [
            path
            for folder in ("", "*")
            for path in _files_in(values.data_dir, folder)
            if _is_data(*os.path.split(path))
        ]
    return found


def _is_data(folder, name):
    if name in _READ_TOO:
        return not os.path.exists(os.path.join(folder, _READ_TOO[name]))
    return not is_written(name)


def _named(value):
    paths = [value]
    for pattern in value.split(","):
        paths += [pattern, *glob.glob(pattern)]
    return paths


def _files_in(folder, below):
    pattern = os.path.join(glob.escape(folder), below, "*")
    return [path for path in glob.glob(pattern) if os.path.isfile(path)]


def _check_start(values):
    """The best checkpoint of a folder cannot be where that folder begins."""
    names = ("init_checkpoint", "keep_best", "do_train")
    if not all(name in values and values[name].value for name in names):
        return
    start = values.init_checkpoint
    folder = start if os.path.isdir(start) else os.path.dirname(start)
    written = os.path.join(values.output_dir, BEST_FOLDER)
    begins = not glob.glob(
        os.path.join(glob.escape(values.output_dir), f"model.ckpt-*{INDEX}")
    )
    if begins and os.path.realpath(folder) == os.path.realpath(written):
        raise InputError(
            f"`--init_checkpoint` must not lie in {written}, where --keep_best "
            f"writes. Take another --output_dir. Received: "
            f"--init_checkpoint={start}"
        )
