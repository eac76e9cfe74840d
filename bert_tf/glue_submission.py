r"""Packs the predictions for GLUE's test sets into the archive of its server.

  python -m bert_tf.glue_submission --output=submission.zip \
    --runs=/tmp/cola,/tmp/sst2,/tmp/mrpc,/tmp/qqp,/tmp/stsb,/tmp/mnli,...

The runs are output folders of run_classifier --do_predict, one for each task;
AX.tsv is in that of MNLI or of --task_name=ax. The number of rows is checked.
"""

import os

from bert_tf.cli import command_line
from bert_tf.cli.command_line import FlagSet
from bert_tf.errors import InputError
from bert_tf.tasks.classification import datasets, submission


def define_flags(values):
    """Defines the flags of this command."""
    flags = FlagSet(values)
    flags.string("runs", None, "Folders, with commas between.")
    flags.string("output", None, "The .zip file to write.")
    flags.require("runs", "output")


def main(flags):
    """Does what the parsed flags ask for."""
    folders = [folder.strip() for folder in flags.runs.split(",")]
    for folder in folders:
        if not os.path.isdir(folder):
            raise InputError(
                "`--runs` must be folders that exist, with commas between. "
                f"There is no {folder!r}"
            )
    if not flags.output.endswith(".zip"):
        raise InputError(
            "`--output` must be the name of a .zip file. Received: "
            f"--output={flags.output}"
        )
    paths = submission.pack(folders, wanted_files(), flags.output)
    print(f"{flags.output}: {len(paths)} files")


def wanted_files():
    """The `SubmissionFile`s of GLUE, each once."""
    files = {
        file.name: file
        for dataset in datasets.PUBLISHED.values()
        for file in dataset.submission_files()
    }
    return list(files.values())


def cli():
    """The console command."""
    command_line.run(define_flags, main, __doc__)


if __name__ == "__main__":
    cli()
