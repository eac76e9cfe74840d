"""Files of predictions for GLUE's server, and the archive of them."""

import logging
import os
import zipfile
from collections.abc import Sequence

from bert_tf.errors import InputError, count_of, quote
from bert_tf.support import files
from bert_tf.tasks.classification.data import Submission
from bert_tf.tasks.classification.published import SubmissionFile

HEADER = "index\tprediction"

_LOGGER = logging.getLogger(__name__)


def write(
    folder: str, submission: Submission, predictions: Sequence[str]
) -> None:
    """Writes the predictions for a test set, in the order of its file."""
    path = os.path.join(folder, submission.file)
    rows = zip(submission.indexes, predictions, strict=True)
    lines = [HEADER, *(f"{index}\t{one}" for index, one in rows)]
    files.write_text(path, "\n".join(lines) + "\n")
    _LOGGER.info("Wrote %s, for GLUE's server.", path)


def pack(
    folders: Sequence[str], wanted: Sequence[SubmissionFile], output: str
) -> list[str]:
    """Writes the archive that GLUE's server takes.

    Args:
        folders: output folders of runs; together they have all files.
        wanted: the files of the archive.
        output: path of the .zip file to write.

    Returns:
        The paths of the files in it.

    Raises:
        InputError: a file is missing, there twice, or has another number of
            rows. No archive is left then, nor one of an earlier call.
    """
    paths, faults = [], []
    for file in wanted:
        there = [os.path.join(folder, file.name) for folder in folders]
        there = [path for path in there if os.path.isfile(path)]
        if len(there) == 1:
            faults += _faults(there[0], file.num_rows)
        elif there:
            faults.append(f"{file.name} is there twice: {', '.join(there)}")
        else:
            faults.append(f"{file.name} is in none of {', '.join(folders)}")
        paths += there
    if faults:
        raise InputError(
            "A submission must have all of GLUE's files, each with the rows of "
            "its test set:\n  "
            + "\n  ".join([*faults, *_remove_older(output, wanted)])
        )
    with (
        files.whole_or_nothing(output) as target,
        zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive,
    ):
        for path in paths:
            archive.write(path, os.path.basename(path))
    return paths


def _remove_older(output: str, wanted: Sequence[SubmissionFile]) -> list[str]:
    """Removes the archive of an earlier call; says so if there was one."""
    if not zipfile.is_zipfile(output):
        return []
    try:
        with zipfile.ZipFile(output) as archive:
            names = set(archive.namelist())
    except (OSError, zipfile.BadZipFile):
        return []
    if not names or not names <= {file.name for file in wanted}:
        return []
    os.remove(output)
    return [f"{output}, of an earlier call, was removed"]


def _faults(path: str, num_rows: int) -> list[str]:
    with open(path, encoding="utf-8", errors="replace") as file:
        lines = file.read().splitlines()
    if not lines or lines[0] != HEADER:
        first = quote(lines[0]) if lines else "nothing"
        return [f"{path}, line 1: found {first}; expected {HEADER!r}"]
    if len(lines) - 1 != num_rows:
        return [
            f"{path} has {count_of(len(lines) - 1, 'row')}; expected "
            f"{num_rows}, as the test set has"
        ]
    return [
        f"{path}, line {number}: found {quote(line)}; expected an index, a "
        "tab, and a prediction"
        for number, line in enumerate(lines[1:], 2)
        if len(line.split("\t")) != 2 or not all(line.split("\t"))
    ][:1]
