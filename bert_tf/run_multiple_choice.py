r"""Fine-tunes BERT to choose among texts: SWAG, or files of your own.

--data_dir holds SWAG's train.csv, val.csv and test.csv, or train, dev and test
as .jsonl, .csv or .tsv: see docs/multiple_choice.md.

  python -m bert_tf.run_multiple_choice --data_dir=SWAG --do_train=true \
    --do_eval=true --init_checkpoint=builtin --max_seq_length=80 \
    --train_batch_size=16 --learning_rate=3e-4 --num_train_epochs=3.0 \
    --output_dir=/tmp/swag_output
"""

import functools

from bert_tf.cli import (
    command_line,
    export_flags,
    fine_tuning,
    model_flags,
    training_flags,
)
from bert_tf.cli.command_line import FlagSet
from bert_tf.errors import InputError
from bert_tf.support import files, startup
from bert_tf.tasks.choices import data, rows

with startup.deferred():
    from bert_tf.checkpoints import finding
    from bert_tf.tasks import run as runs
    from bert_tf.tasks.choices import served, task
    from bert_tf.training import start

HEAD = "choices"
FOLDER_FLAGS = ("max_seq_length", "swag_inputs")
"""What the folder of a training notes, and later runs take from it."""

COLUMNS = ("context_col", "question_col", "choice_cols", "label_col")


def define_flags(values):
    """Defines this script's flags on a `FlagValues`."""
    flags = FlagSet(values)
    flags.string(
        "data_dir",
        None,
        "Folder of SWAG's train.csv, val.csv and test.csv, or of your own "
        "train, dev and test, each .jsonl, .csv or .tsv.",
    )
    flags.require("data_dir")
    flags.integer(
        "max_seq_length",
        128,
        "Word pieces of the context with one choice; the rest is truncated.",
    )
    training_flags.define_actions(flags, train_batch_size=16)
    model_flags.define(flags)
    model_flags.define_casing(flags)
    training_flags.define_original(flags)
    training_flags.define_epochs(flags, "the training set")
    flags.choice(
        "swag_inputs",
        data.SENTENCES,
        data.SWAG_INPUTS,
        "What BERT reads of SWAG. sentences: sent1 [SEP] sent2 ending. "
        "startphrase: both sentences so far [SEP] ending.",
    )
    flags.string(
        "context_col",
        None,
        "Own files: column of the context, by name (in .jsonl, its key) or "
        "counted from 0. [context]",
    )
    flags.string(
        "question_col",
        None,
        "The same for a question, which is read before each choice. [question, "
        "if it is there]",
    )
    flags.string(
        "choice_cols",
        None,
        "The same for the choices: a,b,c. [.jsonl: the list choices; a .csv "
        "file without this flag is one of SWAG]",
    )
    flags.string("label_col", None, "The same for the label. [label]")
    flags.string(
        "first_label",
        None,
        "The label of the first choice: 0, 1, or A for letters. [0, or A if "
        "the first label is a letter]",
    )
    flags.boolean(
        "test_labels",
        True,
        "Evaluate the test file if each row has a label; false never reads its "
        "labels.",
    )
    training_flags.define(flags)
    training_flags.define_runs(flags)
    export_flags.define(flags)


def main(flags):
    """Does what the parsed flags ask for."""
    fine_tuning.run(
        flags,
        fine_tuning.Command(
            HEAD, check, open_model, prepare, lambda _: "eval_accuracy"
        ),
    )


def check(flags):
    """Checks the flags; returns `RunSettings`."""
    training_flags.take_folder_settings(flags, HEAD, FOLDER_FLAGS)
    check_flags(flags)
    return training_flags.run_settings(flags, HEAD, FOLDER_FLAGS)


def open_model(flags, settings):
    """Opens the model of a run; returns `OpenedModel`."""
    opened = start.open_model(
        settings.files, settings.output_dir, settings.build
    )
    start.require_positions(opened.config, flags.max_seq_length)
    rows.require_token_types(opened.config.type_vocab_size, opened.config_file)
    return opened


def check_flags(flags):
    """Raises `InputError` for flags that do not fit each other."""
    training_flags.check_actions(flags)
    training_flags.check_epochs(flags)
    training_flags.check(flags, task.RESULTS)
    if flags.max_seq_length < 5:
        raise InputError(
            "`--max_seq_length` must be at least 5: [CLS], a token of the "
            "context, [SEP], a token of the choice, [SEP]. Received: "
            f"--max_seq_length={flags.max_seq_length}"
        )
    data.require_first_label(flags.first_label)


def prepare(flags, settings, opened):
    """Reads all input of a run; returns `Prepared`."""
    first_label = first_label_of(flags, settings)
    is_given = flags.first_label is not None
    columns = data.ChoiceColumns(
        **{name: flags[name].value for name in COLUMNS},
        first_label=flags.first_label,
        noted_first_label=None if is_given else first_label,
        swag_inputs=flags.swag_inputs,
    )
    read = []

    def read_part(part):
        is_labelled = part != "test"
        read.append(data.read_part(flags.data_dir, part, columns, is_labelled))
        return read[-1].examples

    files.make_folder("output_dir", settings.output_dir)
    export_dir = export_flags.find_export_dir(flags, settings.output_dir)
    sets = runs.read_sets(read_part, settings, flags.do_eval, flags.do_predict)
    if sets.train is not None:
        settings.epochs.count_steps(
            len(sets.train), settings.training.batch_size
        )
    if flags["swag_inputs"].present:
        data.require_swag(read, flags.swag_inputs)
    labels: tuple[str, ...] = ()
    if read:
        labels = data.labels_of(read, first_label)
        settings = settings.noting(first_label=labels[0])
    test_labels = None
    if flags.do_predict and flags.test_labels:
        test_labels = data.find_test_labels(flags.data_dir, columns, labels)

    def export(checkpoint):
        source = export_flags.source_of_run(flags, checkpoint, opened)
        served.export_choices(source, export_dir)

    chooser = task.ChoiceTask(
        labels,
        opened.tokenizer,
        flags.max_seq_length,
        test_labels,
        functools.partial(data.test_table, flags.data_dir, columns),
    )
    return runs.Prepared(
        chooser,
        sets,
        settings,
        export if flags.do_export else None,
        has_windows=False,
    )


def first_label_of(flags, settings):
    """The name of the first choice, given or noted; None if files tell."""
    if flags.first_label is None:
        noted = finding.find_noted(
            settings.files.checkpoint, settings.output_dir, settings.do_train
        )
        return noted.settings.said().get("first_label")
    return flags.first_label


def cli():
    """The console command."""
    command_line.run(define_flags, main, __doc__)


if __name__ == "__main__":
    cli()
