r"""Fine-tunes BERT to label the words of texts, evaluates, predicts.

Named entities, parts of speech and the like: files with a word and its label on
each line, see docs/ner.md.

  python -m bert_tf.run_ner --data_dir=CONLL --do_train --do_eval \
    --init_checkpoint=builtin --max_seq_length=128 --learning_rate=1e-3 \
    --num_train_epochs=4 --output_dir=/tmp/ner_output
"""

import dataclasses
import functools

from bert_tf.cli import (
    command_line,
    distil_flags,
    export_flags,
    fine_tuning,
    model_flags,
    training_flags,
)
from bert_tf.cli.command_line import FlagSet
from bert_tf.data.tables import shuffled
from bert_tf.errors import InputError
from bert_tf.support import files, startup
from bert_tf.tasks.ner import data, schemes

with startup.deferred():
    from bert_tf.tasks import run as runs
    from bert_tf.tasks.ner import distilled, served, task, teacher
    from bert_tf.training import start

HEAD = "tokens"
FOLDER_FLAGS = ("max_seq_length", "train_scheme", "document_context")
"""What the folder of a training notes, and later runs take from it."""


def define_flags(values):
    """Defines this script's flags on a `FlagValues`."""
    flags = FlagSet(values)
    flags.string(
        "data_dir",
        None,
        "Folder with train, dev (or valid, testa) and test (or testb), each "
        ".txt, .conll, .bio or .tsv; or eng.train, eng.testa and eng.testb.",
    )
    flags.require("data_dir")
    flags.integer(
        "word_col", 0, "Column of the word, from 0; -1 is the last one."
    )
    flags.integer("label_col", -1, "Column of its label.")
    flags.choice(
        "label_scheme",
        None,
        schemes.SCHEMES,
        "How the labels of the files are written; none for labels that are no "
        "entities. [found by reading each file]",
    )
    flags.choice(
        "train_scheme",
        schemes.IOB2,
        schemes.TRAIN_SCHEMES,
        "How entities are written for training. Predictions are written as the "
        "file writes its labels.",
    )
    flags.boolean(
        "document_context",
        False,
        f"Read each sentence with what fits of its document, for files with "
        f"{data.DOCUMENT} lines.",
    )
    flags.boolean(
        "test_labels",
        True,
        "Evaluate the test file if it has labels; false takes only its words.",
    )
    flags.integer(
        "max_seq_length",
        128,
        "Word pieces of an input; longer sentences are read in windows.",
    )
    training_flags.define_actions(flags)
    model_flags.define(flags)
    model_flags.define_casing(flags)
    training_flags.define_original(flags)
    training_flags.define_epochs(flags, "the training set")
    training_flags.define(flags)
    training_flags.define_runs(flags)
    distil_flags.define(
        flags,
        "run_ner",
        "It has a word on each line, in --word_col, as the training file has.",
    )
    export_flags.define(flags)


def main(flags):
    """Does what the parsed flags ask for."""
    fine_tuning.run(
        flags,
        fine_tuning.Command(
            HEAD, check, open_model, prepare, lambda _: "eval_f1"
        ),
    )


def check(flags):
    """Checks the flags; returns `RunSettings`."""
    names = (*FOLDER_FLAGS, *distil_flags.noted(flags))
    training_flags.take_folder_settings(flags, HEAD, names)
    check_flags(flags)
    return training_flags.run_settings(flags, HEAD, names)


def open_model(flags, settings):
    """Opens the model of a run; returns `OpenedModel`."""
    opened = start.open_model(
        settings.files, settings.output_dir, settings.build
    )
    start.require_positions(opened.config, flags.max_seq_length)
    return opened


def check_flags(flags):
    """Raises `InputError` for flags that do not fit each other."""
    training_flags.check_actions(flags)
    if flags.max_seq_length < 3:
        raise InputError(
            "`--max_seq_length` must be at least 3: [CLS], one token of the "
            f"text, [SEP]. Received: --max_seq_length={flags.max_seq_length}"
        )
    training_flags.check_epochs(flags)
    distil_flags.check(flags)
    of_teacher = distil_flags.result_names(flags)
    training_flags.check(flags, (*task.RESULTS, *of_teacher))


def prepare(flags, settings, opened):
    """Reads all input of a run; returns `Prepared`."""
    distil_flags.require_if_begun(flags, settings)
    known = (
        None if flags.teacher is None else teacher.WordTeacher(flags.teacher)
    )
    sets, labels = read_files(flags, settings, known)
    files.make_folder("output_dir", settings.output_dir)
    export_dir = export_flags.find_export_dir(flags, settings.output_dir)

    def export(checkpoint):
        served.export_tokens(
            export_flags.source_of_run(flags, checkpoint, opened),
            export_dir,
            labels,
        )

    labeller = task.TokenTask(
        labels, opened.tokenizer, flags.max_seq_length, flags.document_context
    )
    return runs.Prepared(
        with_teacher(labeller, sets, known, flags, settings),
        sets,
        settings,
        export if flags.do_export else None,
        has_windows=True,
    )


def with_teacher(labeller, sets, known, flags, settings):
    """The task of a student, or the task itself without a teacher."""
    if known is None:
        return labeller
    return distilled.DistilledTokens(
        labeller,
        distil_flags.teacher_logits(flags, settings, known, sets),
        distil_flags.settings(flags),
    )


def read_files(flags, settings, known=None):
    """Reads all files, so that a bad row fails before any work.

    Args:
        flags: parsed `FlagValues`.
        settings: `RunSettings`.
        known: the `WordTeacher`, if there is one.

    Returns:
        `Sets`, and the labels in the order of their ids.
    """
    given = file_settings(flags, known)
    train = None
    if flags.do_train:
        examples, labels = data.read_train(given)
        # Sentences of a document are alike: the buffer in which records are
        # shuffled is too small to part them.
        train = shuffled(examples)
    else:
        labels = start.read_labels(settings)
    if known is not None:
        known.require_labels(labels)
    if flags.transfer_file is not None:
        read_more = functools.partial(
            data.iterate_unlabelled, given, flags.transfer_file
        )
        train = distil_flags.with_transfer(flags, train, read_more)

    def read(part):
        return train if part == "train" else data.read_part(given, part, labels)

    sets = runs.read_sets(read, settings, flags.do_eval, flags.do_predict)
    return sets, labels


def file_settings(flags, known):
    """The `FileSettings` of the flags, and of what the teacher needs."""
    given = data.FileSettings(
        flags.data_dir,
        flags.word_col,
        flags.label_col,
        flags.label_scheme,
        flags.train_scheme,
        flags.document_context,
        flags.test_labels,
    )
    if known is None or given.document_context or not known.document_context:
        return given
    return dataclasses.replace(
        given, document_context=True, documents_for=f"--teacher={known.path}"
    )


def cli():
    """The console command."""
    command_line.run(define_flags, main, __doc__)


if __name__ == "__main__":
    cli()
