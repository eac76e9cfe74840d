r"""Trains vectors of texts, to compare texts by them; evaluates, predicts.

--data_dir holds train, dev and test as .tsv, .csv or .jsonl, two texts in each
row; or the files of STS-B (--task_name=sts-b) or MNLI: see docs/sentences.md.

  python -m bert_tf.run_sentence_vectors --objective=cosine \
    --task_name=sts-b --data_dir=GLUE/STS-B --do_train --do_eval \
    --init_checkpoint=builtin --learning_rate=3e-4 --num_train_epochs=4 \
    --output_dir=/tmp/sts_output
"""

import functools
import math

from absl import logging

from bert_tf.checkpoints import folder_settings
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
from bert_tf.tasks.sentences import data, labels
from bert_tf.tasks.sentences.data import COSINE, IN_BATCH, SOFTMAX
from bert_tf.training.settings import OFF

with startup.deferred():
    from bert_tf.checkpoints import finding
    from bert_tf.tasks import run as runs
    from bert_tf.tasks.sentences import task as tasks
    from bert_tf.tasks.vectors import served
    from bert_tf.training import start

HEAD = "features"
VECTOR_FLAGS = ("pooling", "normalize")
FOLDER_FLAGS = ("max_seq_length", "objective", *VECTOR_FLAGS)
"""What the folder of a training notes, and later runs take from it."""

COLUMNS = ("text_a_col", "text_b_col", "label_col", "header")
TASKS = (*data.PUBLISHED, data.OWN)


def define_flags(values):
    """Defines this script's flags on a `FlagValues`."""
    flags = FlagSet(values)
    flags.choice(
        "objective",
        None,
        data.OBJECTIVES,
        "cosine: the cosine of two texts is their score. softmax: a layer over "
        "both vectors and their difference gives the label of the pair (NLI). "
        "in_batch: of the second texts of a batch, the own one is the most "
        "similar. [needed to train; else that of the folder, or cosine]",
    )
    flags.choice(
        "pooling",
        "mean",
        data.POOLINGS,
        "The vector of a text: the mean or the maximum of the vectors of its "
        "tokens, [CLS] and [SEP] among them, or that of [CLS].",
    )
    flags.boolean(
        "normalize", False, "Divide the vector of a text by its length."
    )
    define_files(flags)
    flags.integer(
        "max_seq_length", 128, "Word pieces of a text; the rest is truncated."
    )
    training_flags.define_actions(flags)
    model_flags.define(flags)
    model_flags.define_casing(flags)
    training_flags.define_original(flags)
    training_flags.define_epochs(flags, "the training set")
    training_flags.define(flags)
    training_flags.define_runs(flags)
    export_flags.define(flags)


def define_files(flags):
    """Defines the flags that say what the files hold."""
    flags.string("data_dir", None, "Folder of the files.")
    flags.require("data_dir")
    flags.choice(
        "task_name",
        data.OWN,
        TASKS,
        "sts-b and mnli with their published files; tsv for files of your own.",
    )
    flags.string(
        "eval_data_dir",
        None,
        "Folder of the dev and test files, if it is another one: to train on "
        "MNLI and evaluate on STS-B. [--data_dir]",
    )
    flags.choice(
        "eval_task_name", None, TASKS, "What these files are. [--task_name]"
    )
    for name, what in (("text_a_col", "first"), ("text_b_col", "second")):
        flags.string(
            name,
            None,
            f"Own files: column of the {what} text, by name (in .jsonl, its "
            f"key) or counted from 0. [{data.COLUMNS[name]}]",
        )
    flags.string(
        "label_col",
        None,
        "The same for the score or label; in_batch needs none. "
        f"[{data.LABEL_COLUMN}, if it is there]",
    )
    flags.choice(
        "header",
        "auto",
        ["auto", "yes", "no"],
        "Own files: whether they start with a header. auto: if a column is "
        "given by name.",
    )
    flags.number(
        "max_score",
        None,
        "The score of equal texts; scores are divided by it. [sts-b 5, else 1]",
    )
    flags.number(
        "min_score",
        None,
        "in_batch: train on the pairs with at least this score, if the "
        "training file has scores.",
    )
    flags.boolean(
        "test_labels",
        True,
        "Evaluate the test file if each row has a score or label; false never "
        "reads them.",
    )


def main(flags):
    """Does what the parsed flags ask for."""
    fine_tuning.run(
        flags,
        fine_tuning.Command(HEAD, check, open_model, prepare, main_result),
    )


def check(flags):
    """Checks the flags; returns `RunSettings`."""
    take_start(flags)
    training_flags.take_folder_settings(flags, HEAD, FOLDER_FLAGS)
    check_flags(flags)
    return training_flags.run_settings(flags, HEAD, FOLDER_FLAGS)


def take_start(flags):
    """Sets --pooling and --normalize as the first checkpoint was trained.

    A new training need not be like that, but goes on from these vectors.
    """
    if not flags.do_train or flags.init_checkpoint is None:
        return
    folder = finding.folder_of(flags.init_checkpoint)
    noted = folder_settings.noted_in(folder)
    said = noted.settings.said()
    for name in VECTOR_FLAGS:
        flag = flags[name]
        if flag.present or said.get("head") != HEAD or name not in said:
            continue
        flag.value = said[name]
        logging.info(
            "As in %s: --%s=%s.",
            noted.path,
            name,
            folder_settings.shown(flag.value),
        )


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
    training_flags.check_epochs(flags)
    training_flags.check(flags, tasks.RESULTS)
    if flags.max_seq_length < 3:
        raise InputError(
            "`--max_seq_length` must be at least 3: [CLS], a token of the "
            f"text, [SEP]. Received: --max_seq_length={flags.max_seq_length}"
        )
    if flags.objective is None and flags.do_train:
        raise InputError(
            f"`--objective` must be one of {', '.join(data.OBJECTIVES)} to "
            "train. It is not given"
        )
    check_files(flags)
    if flags.min_score is not None and not (
        flags.objective == IN_BATCH and flags.do_train
    ):
        raise InputError(
            f"`--min_score` is for training with --objective={IN_BATCH}. "
            f"Received: --min_score={flags.min_score:g}"
        )
    if flags.objective == IN_BATCH and flags.do_train:
        check_whole_batches(flags)


def check_files(flags):
    """Raises `InputError` for flags that do not fit the files."""
    eval_task = flags.eval_task_name or flags.task_name
    if flags.eval_task_name is not None and flags.eval_data_dir is None:
        raise InputError(
            "`--eval_task_name` needs --eval_data_dir, the folder of its "
            f"files. Received: --eval_task_name={flags.eval_task_name}"
        )
    if data.OWN not in (flags.task_name, eval_task):
        for name in COLUMNS:
            if not flags[name].using_default_value:
                raise InputError(
                    f"`--{name}` is for --task_name={data.OWN}: the columns of "
                    f"{flags.task_name} are fixed. Received: "
                    f"--{name}={flags[name].value}"
                )
    published = data.PUBLISHED.get(flags.task_name)
    if (
        published
        and published.max_score is None
        and flags.do_train
        and flags.objective != SOFTMAX
    ):
        raise InputError(
            f"`--objective={flags.objective}` needs scores, and "
            f"{flags.task_name} has labels: use --objective={SOFTMAX}"
        )
    if flags.max_score is not None and not 0 < flags.max_score < math.inf:
        raise InputError(
            "`--max_score` must be above 0. Received: "
            f"--max_score={flags.max_score:g}"
        )


def check_whole_batches(flags):
    """Raises `InputError` for flags that would split a batch."""
    if flags.train_batch_size < 2:
        raise InputError(
            f"`--objective={IN_BATCH}` compares the pairs of a batch: "
            "--train_batch_size must be at least 2. Received: "
            f"--train_batch_size={flags.train_batch_size}"
        )
    parts = flags.gradient_accumulation_steps
    split = None
    if parts > 1:
        split = f"--gradient_accumulation_steps={parts}"
    elif flags.use_tpu:
        split = "--use_tpu"
    elif flags.distribution != OFF:
        split = f"--distribution={flags.distribution}"
    if split:
        raise InputError(
            f"`--objective={IN_BATCH}` compares each text with all others of "
            f"the batch, which {split} would split: leave it out. --recompute "
            "saves memory, too"
        )


# ----------------------------------------------------------------------- input


def files_of(flags, part):
    """The `PairFiles` of a part, and the highest score in them."""
    own = part == data.TRAIN
    folder, name = flags.data_dir, flags.task_name
    if not own and flags.eval_data_dir is not None:
        folder, name = flags.eval_data_dir, flags.eval_task_name or name
    columns = {}
    if name == data.OWN:
        columns = {column: flags[column].value for column in COLUMNS}
    found = data.PairFiles(folder, name, **columns)
    published = found.published
    highest = (published and published.max_score) or 1.0
    return found, flags.max_score or highest


def read_train(flags):
    """The training set, and the labels that it teaches; () for none."""
    found, max_score = files_of(flags, data.TRAIN)
    if flags.objective == SOFTMAX:
        read = data.read_part(found, data.TRAIN, labels.read_name)
        labels.require_labels(read, SOFTMAX)
        return read, labels.learn_labels(read)
    if flags.objective == IN_BATCH:
        read = data.read_part(found, data.TRAIN, labels.read_raw_score)
        read = labels.belonging_together(read, flags.min_score)
        labels.log_repeated(read.examples, flags.train_batch_size)
        return read, ()
    read = data.read_part(found, data.TRAIN, labels.score_reader(max_score))
    return labels.require_labels(read, COSINE), ()


def read_dev(flags, names):
    """The dev set: scores, or labels among `names`; for in_batch perhaps none.

    Raises:
        InputError: it does not have what --keep_best names.
    """
    found, max_score = files_of(flags, data.DEV)
    if flags.objective == SOFTMAX:
        read = data.read_part(found, data.DEV, labels.read_name)
        labels.require_labels(read, SOFTMAX)
        read = labels.as_labels_or_scores(read, names, max_score)
    else:
        score = labels.score_reader(max_score)
        read = data.read_part(found, data.DEV, score)
        if flags.objective != IN_BATCH:
            labels.require_labels(read, COSINE)
    there = tasks.result_names(flags.objective, read.examples[0].label)
    if flags.keep_best is not None and flags.keep_best not in there:
        raise InputError(
            f"`--keep_best` must be one of {', '.join(there)}, which "
            f"{read.path} gives. Received: --keep_best={flags.keep_best}"
        )
    return read


def find_test_labels(flags, names):
    """Scores or labels of the test set; None for none."""
    if not flags.do_predict or not flags.test_labels:
        return None
    found, max_score = files_of(flags, data.TEST)
    return labels.find_test_labels(
        found, labels.label_or_score(names, max_score)
    )


def main_result(flags):
    """The name of the result by which models are compared."""
    names = ()
    if flags.objective == SOFTMAX and flags.do_train:
        _, names = read_train(flags)
    elif flags.objective == SOFTMAX:
        settings = training_flags.run_settings(flags)
        _, first = runs.repeated(settings, flags.num_runs)[0]
        names = start.read_labels(first)
    label = read_dev(flags, names).examples[0].label
    there = tasks.result_names(flags.objective, label)
    return "eval_spearman" if "eval_spearman" in there else there[0]


def prepare(flags, settings, opened):
    """Reads all input of a run; returns `Prepared`."""
    files.make_folder("output_dir", settings.output_dir)
    export_dir = export_flags.find_export_dir(flags, settings.output_dir)
    objective = flags.objective or COSINE
    train, names = None, ()
    if settings.do_train:
        train, names = read_train(flags)
        settings.epochs.count_steps(
            len(train.examples), settings.training.batch_size
        )
    elif objective == SOFTMAX:
        names = start.read_labels(settings)

    def read_part(part):
        if train is not None and part == data.TRAIN:
            return train.examples
        if part == data.DEV:
            return read_dev(flags, names).examples
        return data.read_part(files_of(flags, part)[0], part, None).examples

    sets = runs.read_sets(read_part, settings, flags.do_eval, flags.do_predict)
    table = files_of(flags, data.TEST)[0].table

    def export(checkpoint):
        served.export_features(
            export_flags.source_of_run(flags, checkpoint, opened),
            export_dir,
            flags.pooling,
            normalize=flags.normalize,
        )

    task = tasks.SentenceTask(
        objective,
        flags.pooling,
        flags.normalize,
        names,
        opened.tokenizer,
        flags.max_seq_length,
        settings.training.batch_size,
        find_test_labels(flags, names),
        functools.partial(table, data.TEST),
    )
    return runs.Prepared(
        task,
        sets,
        settings,
        export if flags.do_export else None,
        has_windows=False,
    )


def cli():
    """The console command."""
    command_line.run(define_flags, main, __doc__)


if __name__ == "__main__":
    cli()
