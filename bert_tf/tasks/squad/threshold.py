"""The threshold above which a question is left unanswered (SQuAD 2.0).

It is compared with the difference between the score of "no answer" and that of
the best answer. A prediction with known answers can choose the threshold with
the best F1 and keep it in a file; "auto" stands for that number.
"""

import math
import os
from collections.abc import Iterable, Sequence

from absl import logging

from bert_tf.errors import InputError
from bert_tf.tasks.squad.data import SquadExample
from bert_tf.tasks.squad.metrics import why_no_metrics

AUTO = "auto"
"""Stands for the threshold chosen on questions with known answers."""

THRESHOLD_FILE = "null_score_diff_threshold.txt"
"""Holds the chosen threshold, in the output folder or beside a checkpoint."""


def check_threshold(
    version_2_with_negative: bool, threshold: float | str
) -> None:
    """Raises `InputError` for NaN, and for a threshold without effect."""
    name = "null_score_diff_threshold"
    if not isinstance(threshold, str) and math.isnan(threshold):
        raise InputError(
            f"`{name}` must be a number or {AUTO}. Received: {name}={threshold}"
        )
    if threshold and not version_2_with_negative:
        raise InputError(
            f"`{name}` has a meaning only with version_2_with_negative=True: "
            "without it all questions are answered. Received: "
            f"{name}={threshold}"
        )


def find_threshold(threshold: float | str, checkpoint: str) -> float:
    """The threshold for inference as a number.

    Args:
        threshold: a number, or "auto" for the one kept beside the checkpoint.
        checkpoint: the checkpoint's prefix.

    Raises:
        InputError: no threshold was kept there, or the file holds no number.
    """
    if not isinstance(threshold, str):
        return threshold
    folder = os.path.dirname(checkpoint)
    kept = find_kept_threshold([folder])
    if kept is None:
        raise InputError(
            f"`null_score_diff_threshold={AUTO}` needs "
            f"{os.path.join(folder, THRESHOLD_FILE)}, which is not there: "
            "bert_tf.run_squad writes it when it predicts, with the same flag, "
            "a file that has right answers. Or give a number."
        )
    return kept


def threshold_to_predict(
    threshold: float | str,
    examples: Sequence[SquadExample],
    folders: Sequence[str],
    predict_file: str,
) -> float | None:
    """The threshold for predicting a file; None to choose it on that file.

    Args:
        threshold: a number or "auto".
        examples: the questions of the file.
        folders: where an earlier prediction may have kept a threshold, the
            output folder first.
        predict_file: the file's name, for the error message.

    Raises:
        InputError: "auto", but the file has no answers to choose it by and none
            was kept.
    """
    if not isinstance(threshold, str):
        return threshold
    # Where no question has an answer, any threshold that is low enough is best.
    if any(example.answers for example in examples) and (
        why_no_metrics(examples, version_2_with_negative=True) is None
    ):
        return None
    kept = find_kept_threshold(folders)
    if kept is None:
        raise InputError(
            f"`--null_score_diff_threshold={AUTO}` needs right answers to "
            f"choose by, and {predict_file} has none. First predict a file "
            "that has, such as dev-v2.0.json, with the same --output_dir: the "
            "threshold is then kept in "
            f"{os.path.join(folders[0], THRESHOLD_FILE)}"
        )
    return kept


def threshold_to_export(
    threshold: float | str, folders: Iterable[str]
) -> float:
    """The threshold for an export at the end of a run, as a number.

    Args:
        threshold: a number or "auto".
        folders: as for `threshold_to_predict`.

    Raises:
        InputError: "auto", but none was kept.
    """
    if not isinstance(threshold, str):
        return threshold
    kept = find_kept_threshold(folders)
    if kept is None:
        raise InputError(
            f"`--null_score_diff_threshold={AUTO}` needs, for --do_export, a "
            "prediction of a file that has right answers, such as "
            "dev-v2.0.json: in this run, or earlier with the same --output_dir."
        )
    return kept


def find_kept_threshold(folders: Iterable[str]) -> float | None:
    """The threshold kept in the first folder that has one.

    Raises:
        InputError: the file holds no number.
    """
    for folder in folders:
        path = os.path.join(folder, THRESHOLD_FILE)
        if os.path.isfile(path):
            return _read_threshold(path)
    return None


def _read_threshold(path: str) -> float:
    with open(path, encoding="utf-8", errors="replace") as file:
        text = file.read().strip()
    try:
        threshold = float(text)
    except ValueError:
        threshold = math.nan
    if math.isnan(threshold):
        raise InputError(
            f"{path} must hold a number, as a prediction with "
            f"--null_score_diff_threshold={AUTO} writes it. It has: "
            f"{text[:60]!r}"
        )
    logging.info("Taking the threshold %s from %s.", threshold, path)
    return threshold
