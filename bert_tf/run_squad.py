r"""Fine-tunes BERT to answer questions about texts, and predicts answers.

The original's run_squad.py: same flags, same files. SQuAD 2.0, whose questions
may have no answer: --version_2_with_negative=true.

  python -m bert_tf.run_squad --do_train=true --train_file=train-v1.1.json \
    --do_predict=true --predict_file=dev-v1.1.json --init_checkpoint=builtin \
    --max_seq_length=128 --doc_stride=64 --train_batch_size=12 \
    --learning_rate=3e-4 --num_train_epochs=2.0 --output_dir=/tmp/squad_base
"""

import dataclasses
import math

from bert_tf.cli import (
    closing,
    command_line,
    export_flags,
    model_flags,
    training_flags,
)
from bert_tf.cli.command_line import FlagSet
from bert_tf.errors import InputError
from bert_tf.support import files, startup
from bert_tf.tasks.squad import data, metrics, threshold, windows
from bert_tf.tasks.squad.answers import AnswerSettings
from bert_tf.tasks.squad.threshold import AUTO, THRESHOLD_FILE

with startup.deferred():
    from bert_tf.tasks import run as runs
    from bert_tf.tasks.squad import served, task
    from bert_tf.training import devices, start

HEAD = "span"
FOLDER_FLAGS = ("max_seq_length", "doc_stride", "max_query_length")
"""What the folder of a training notes, and later runs take from it."""


def define_flags(values):
    """Defines this script's flags on a `FlagValues`."""
    flags = FlagSet(values)
    flags.string("train_file", None, "SQuAD JSON to train on: train-v1.1.json.")
    flags.string("predict_file", None, "SQuAD JSON to predict: dev-v1.1.json.")
    flags.integer(
        "max_seq_length",
        384,
        "Word pieces of an input; longer texts are split into windows.",
    )
    flags.integer(
        "doc_stride", 128, "Distance between windows, in word pieces."
    )
    flags.integer(
        "max_query_length",
        64,
        "Word pieces of a question; longer ones are truncated.",
    )
    flags.boolean("do_train", False, "Train on --train_file.")
    flags.boolean("do_predict", False, "Predict the answers of --predict_file.")
    flags.integer("train_batch_size", 32, "Windows in a training step.")
    flags.integer("predict_batch_size", 8, "Windows in a batch of prediction.")
    model_flags.define(flags)
    model_flags.define_casing(flags)
    training_flags.define_original(flags)
    training_flags.define_epochs(flags, "the questions")
    flags.integer("n_best_size", 20, "Answers in nbest_predictions.json.")
    flags.integer(
        "max_answer_length", 30, "Maximum number of word pieces in an answer."
    )
    flags.boolean(
        "verbose_logging",
        False,
        "Log answers that could not be aligned with the original text.",
    )
    flags.boolean(
        "version_2_with_negative",
        False,
        "Questions may have no answer, as in SQuAD 2.0.",
    )
    flags.number_or(
        AUTO,
        "null_score_diff_threshold",
        0.0,
        "With --version_2_with_negative: leave a question unanswered if the "
        "score of no answer exceeds that of the best answer by more than this. "
        f"{AUTO}: choose the threshold with the best F1 on --predict_file, if "
        f"that has answers, and keep it in {THRESHOLD_FILE}; otherwise use the "
        "one kept there.",
    )

    flags.boolean(
        "exact_answers",
        False,
        "Map word pieces to exact characters of the text. Where the tokenizer "
        "changes the text (accents, Hangul, special spaces), the original "
        "loses some answers to train on and predicts whole words.",
    )
    flags.choice(
        "on_bad_answer",
        data.SKIP,
        [data.SKIP, data.STOP],
        "If an answer is not at the position given in --train_file: skip the "
        "question with a warning, or stop.",
    )
    training_flags.define(
        flags,
        skips_padding=False,
        padding="In the original padding counts in the loss and takes places "
        "among the --n_best_size starts and ends; without it both differ, and "
        "nbest_predictions.json may have more answers.",
    )
    training_flags.define_num_runs(
        flags, "--do_predict, and a predict file with answers"
    )
    export_flags.define(flags)


def main(flags):
    """Does what the parsed flags ask for."""
    training_flags.take_folder_settings(flags, HEAD, FOLDER_FLAGS)
    check_flags(flags)
    settings = dataclasses.replace(
        training_flags.run_settings(flags, HEAD, FOLDER_FLAGS),
        eval_batch_size=flags.predict_batch_size,
    )
    opened = start.open_model(
        settings.files, settings.output_dir, settings.build
    )
    start.require_positions(opened.config, flags.max_seq_length)
    windows.require_token_types(opened.config.type_vocab_size)
    strategy = devices.find_strategy(training_flags.devices(flags))
    with closing.summary(flags, HEAD, lambda: "f1", devices.is_chief(strategy)):
        runs.run_several(
            lambda one: run(flags, one, opened, strategy),
            settings,
            flags.num_runs,
            strategy,
        )


def run(flags, settings, opened, strategy):
    """Trains, predicts and exports, once.

    Returns:
        The results of the predictions by name; None without answers.
    """
    sets = read_sets(flags, settings)
    places = start.model_folders(settings)
    null_threshold = find_threshold(flags, sets, places)
    files.make_folder("output_dir", settings.output_dir)
    export_dir = export_flags.find_export_dir(flags, settings.output_dir)

    def export(checkpoint):
        export_threshold = 0.0
        if flags.version_2_with_negative:
            export_threshold = threshold.threshold_to_export(
                flags.null_score_diff_threshold, places
            )
        served.export_span(
            export_flags.source_of_run(flags, checkpoint, opened),
            export_dir,
            flags.doc_stride,
            flags.max_query_length,
            flags.max_answer_length,
            flags.version_2_with_negative,
            export_threshold,
        )

    return runs.finetune(
        make_task(flags, opened.tokenizer, null_threshold),
        sets,
        opened,
        settings,
        strategy,
        export if flags.do_export else None,
    )


def make_task(flags, tokenizer, null_threshold):
    """The `SquadTask` of the flags."""
    return task.SquadTask(
        tokenizer,
        task.WindowSettings(
            flags.max_seq_length,
            flags.doc_stride,
            flags.max_query_length,
            flags.exact_answers,
        ),
        AnswerSettings(
            flags.n_best_size,
            flags.max_answer_length,
            flags.version_2_with_negative,
            flags.verbose_logging,
        ),
        null_threshold,
        flags.skip_padding,
        flags.predict_file,
    )


def read_sets(flags, settings):
    """Reads all questions, so that a bad file fails before any work."""
    train, prediction, watched = None, {}, {}
    if flags.do_train:
        train = data.read_squad_examples(
            flags.train_file,
            is_training=True,
            version_2_with_negative=flags.version_2_with_negative,
            on_bad_answer=flags.on_bad_answer,
            exact_answers=flags.exact_answers,
        )
        settings.epochs.count_steps(len(train), settings.training.batch_size)
    watches = flags.do_train and settings.evaluation is not None
    if flags.do_predict or watches:
        examples = data.read_squad_examples(
            flags.predict_file, is_training=False
        )
        prediction = {"eval": examples} if flags.do_predict else {}
        watched = {"eval": examples} if watches else {}
        needs = "num_runs" if flags.num_runs > 1 else "eval_every_steps"
        lacking = (watches or flags.num_runs > 1) and metrics.why_no_metrics(
            examples, flags.version_2_with_negative
        )
        if lacking:
            raise InputError(
                f"`--{needs}` needs right answers in --predict_file. "
                f"In {flags.predict_file} {lacking}."
            )
    return runs.Sets(train, {}, prediction, watched)


def find_threshold(flags, sets, places):
    """The threshold to predict with; None to choose it in this run.

    Args:
        flags: parsed and checked `FlagValues`.
        sets: `Sets`.
        places: folders where an earlier prediction may have kept a threshold.

    Raises:
        InputError: the threshold of an earlier prediction is needed, to predict
            or to export, and was not kept.
    """
    found = given = flags.null_score_diff_threshold
    examples = sets.prediction.get("eval")
    if examples is None:
        examples = sets.watched.get("eval")
    if examples is not None:
        found = threshold.threshold_to_predict(
            given, examples, places, flags.predict_file
        )
    is_chosen_here = flags.do_predict and found is None
    if flags.do_export and not is_chosen_here:
        threshold.threshold_to_export(given, places)
    return found


def check_flags(flags):
    """Raises `InputError` for flags that do not fit each other."""
    if not (flags.do_train or flags.do_predict or flags.do_export):
        raise InputError(
            "At least one of `do_train` or `do_predict` must be True."
        )
    for action, name in (
        ("do_train", "train_file"),
        ("do_predict", "predict_file"),
        ("eval_every_steps", "predict_file"),
    ):
        if flags[action].value and not flags[name].value:
            raise InputError(
                f"If `{action}` is True, then `{name}` must be specified."
            )
        if flags[action].value:
            files.require_file(name, flags[name].value)
    windows.require_room(
        flags.max_seq_length, flags.doc_stride, flags.max_query_length
    )
    command_line.require_positive(
        flags, "predict_batch_size", "n_best_size", "max_answer_length"
    )
    training_flags.check_runs(flags, "do_predict")
    training_flags.check_epochs(flags)
    training_flags.check(
        flags, task.result_names(flags.version_2_with_negative)
    )
    check_threshold(flags)


def check_threshold(flags):
    """Raises `InputError` for a threshold that is NaN or without meaning."""
    given = flags.null_score_diff_threshold
    if given == AUTO and not flags.version_2_with_negative:
        raise InputError(
            f"`--null_score_diff_threshold={AUTO}` has a meaning only with "
            "--version_2_with_negative=true: without it all questions are "
            "answered."
        )
    if given != AUTO and math.isnan(given):
        raise InputError(
            f"`--null_score_diff_threshold` must be a number or {AUTO}. "
            f"Received: --null_score_diff_threshold={given}"
        )


def cli():
    """The console command."""
    command_line.run(define_flags, main, __doc__)


if __name__ == "__main__":
    cli()
