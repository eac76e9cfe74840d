r"""Fine-tunes BERT to classify texts or pairs of texts, evaluates, predicts.

The original's run_classifier.py: same flags, same files in the output folder.

  python -m bert_tf.run_classifier --task_name=MRPC --do_train=true \
    --do_eval=true --data_dir=GLUE/MRPC --vocab_file=BERT/vocab.txt \
    --bert_config_file=BERT/bert_config.json \
    --init_checkpoint=BERT/bert_model.ckpt --max_seq_length=128 \
    --train_batch_size=32 --learning_rate=2e-5 --num_train_epochs=3.0 \
    --output_dir=/tmp/mrpc_output

Your own data: --task_name=tsv with train.tsv, dev.tsv and test.tsv (or .csv,
.jsonl) in --data_dir, and --text_a_col, --text_b_col, --label_col.

Long texts: --doc_stride=N reads all of them, in windows of --max_seq_length
that start N word pieces apart. The record files hold windows then. Training
takes each one for an example with its text's label, and epochs go over windows;
results have one line for each text, of the mean of its windows' logits
(--window_pooling=max: of the highest for each label). Of a pair, the longer
text is cut into windows, and the other one is in all of them. Without
--doc_stride what is over is cut off. The log says how much is lost.

How much is chance: --num_runs=5 trains five times and says mean and deviation.
"""

import os

import numpy as np
from absl import logging

from bert_tf import heads, models
from bert_tf.checkpoints import folders
from bert_tf.checkpoints import names as checkpoints_names
from bert_tf.cli import (
    command_line,
    export_flags,
    model_flags,
    training_flags,
)
from bert_tf.cli.command_line import FlagSet
from bert_tf.data import (
    grouping,
    packing,
    records,
)
from bert_tf.errors import InputError
from bert_tf.exports import export
from bert_tf.support import files
from bert_tf.support.progress import counted
from bert_tf.tasks import metrics
from bert_tf.tasks.classification import datasets, served, targets
from bert_tf.tasks.classification import rows as classification_rows
from bert_tf.tasks.classification import task as classification_task
from bert_tf.training import devices, evaluation, loop, prediction
from bert_tf.training import start as training_start

# What the original writes into eval_results.txt, but for the step.
RESULTS = ("eval_accuracy", "eval_loss", "loss")

RUNS_FILE = "runs.tsv"

COLUMNS = ("text_a_col", "text_b_col", "label_col", "header")


def define_flags(values):
    """Defines this script's flags on a `FlagValues`."""
    flags = FlagSet(values)
    flags.string("data_dir", None, "Folder of the task's files.")
    flags.string(
        "task_name",
        None,
        "cola, mnli, mrpc or xnli with the original's files; tsv for files of "
        "your own.",
    )
    flags.integer(
        "max_seq_length", 128, "Word pieces of an input; what is over is cut."
    )
    flags.boolean("do_train", False, "Train.")
    flags.boolean("do_eval", False, "Evaluate on the dev set.")
    flags.boolean("do_predict", False, "Predict the test set.")
    flags.integer("train_batch_size", 32, "Examples in a training step.")
    flags.integer("eval_batch_size", 8, "Examples in a batch of evaluation.")
    flags.integer("predict_batch_size", 8, "Examples in a batch of prediction.")
    model_flags.define_text(flags)
    model_flags.define_training(flags)
    model_flags.define_epochs(flags, "the training set")

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
    flags.integer(
        "doc_stride",
        None,
        "Read long texts in windows that start so many word pieces apart. "
        "[none: what is over is cut off]",
    )
    flags.choice(
        "window_pooling",
        "mean",
        classification_rows.WINDOW_POOLINGS,
        "With --doc_stride: how the logits of a text's windows become one.",
    )
    training_flags.define(flags)
    flags.integer(
        "num_runs",
        1,
        "Train so many times, with seeds that follow each other, in the "
        "folders run_1, run_2, ... of OUTPUT_DIR, and say mean and deviation "
        f"of the results, in {RUNS_FILE} too. Needs --do_eval.",
    )
    export_flags.define(flags)
    flags.require("data_dir", "task_name")


def main(flags):
    """Does what the parsed flags ask for."""
    config = check_flags(flags)
    strategy = devices.find_strategy(flags)
    if flags.num_runs == 1:
        run(flags, config, strategy)
    else:
        run_several(flags, config, strategy)


def run_several(flags, config, strategy):
    """Does it --num_runs times, and writes what the results have in common."""
    folder, seed = flags.output_dir, flags.seed
    files.make_folder("output_dir", folder)
    found = []
    try:
        for number in range(1, flags.num_runs + 1):
            logging.info("***** Run %d of %d *****", number, flags.num_runs)
            flags.output_dir = os.path.join(folder, f"run_{number}")
            if seed is not None:
                flags.seed = seed + number - 1
            found.append(run(flags, config, strategy))
    finally:
        flags.output_dir, flags.seed = folder, seed
    if devices.is_chief(strategy):
        write_runs(os.path.join(folder, RUNS_FILE), found)


def write_runs(path, found):
    """Says mean and deviation of each result, and writes them.

    Args:
        path: of a file of columns with tabs between: the result, its mean, its
            deviation (of a sample: by one less than the runs), and each run's.
        found: the results of each run, by name.
    """
    columns = ["result", "mean", "deviation"]
    lines = [[*columns, *(f"run_{n}" for n in range(1, len(found) + 1))]]
    for name in found[0]:
        values = [results[name] for results in found]
        mean, deviation = metrics.mean_and_deviation(values)
        logging.info(
            "%s of %d runs: mean %.6g, deviation %.6g",
            name,
            len(values),
            mean,
            deviation,
        )
        numbers = (str(np.float32(x)) for x in (mean, deviation, *values))
        lines.append([name, *numbers])
    files.write_text(path, "".join("\t".join(row) + "\n" for row in lines))
    logging.info("Wrote the results of all runs to %s.", path)


def run(flags, config, strategy):
    """Trains, evaluates, predicts, once.

    Returns:
        The results of evaluation by name; None without it.
    """
    tokenizer = model_flags.load_tokenizer(flags, config)
    task = datasets.find_task(
        flags.task_name, **{name: flags[name].value for name in COLUMNS}
    )
    files.make_folder("output_dir", flags.output_dir)
    export_dir = export_flags.find_export_dir(flags, flags.output_dir)
    if isinstance(task, datasets.TsvTask):
        task = find_labels(task, flags)
    # All rows are read before any work starts: a bad one in the last file
    # should not cost a night of training.
    train_examples = dev_examples = test_examples = None
    if flags.do_train:
        train_examples = task.get_train_examples(flags.data_dir)
        if flags.doc_stride is None:
            training_flags.count_steps(flags, len(train_examples))
    if flags.do_eval or (flags.do_train and flags.eval_every_steps):
        dev_examples = task.get_dev_examples(flags.data_dir)
    if flags.do_predict:
        test_examples = task.get_test_examples(flags.data_dir)
    for examples in (train_examples, dev_examples, test_examples):
        classification_rows.require_token_types(
            config.type_vocab_size, examples or ()
        )

    seed = training_start.set_seed(flags.seed, strategy)
    devices.log_devices(strategy)
    labels = task.get_labels()
    start = training_start.find_starting_point(
        flags.output_dir, flags.init_checkpoint
    )
    if flags.do_export and not flags.do_train:
        export.checkpoint_of_run(
            flags.output_dir, flags.keep_best is not None, start.prefix
        )
    model = training_flags.build_model(
        flags,
        lambda: models.classifier(
            config,
            len(labels),
            use_one_hot_embeddings=flags.use_tpu,
        ),
        config,
        start,
        strategy,
    )
    if flags.do_train or start.resumed:
        folders.write_labels(labels_file(flags), labels)
        folders.complete(
            flags.output_dir, flags.bert_config_file, flags.vocab_file
        )
    work = Classification(flags, config, labels, tokenizer, model, strategy)
    step = start.step
    if flags.do_train:
        step = work.train(train_examples, start, seed, dev_examples)
    results = None
    with devices.chief_alone(strategy) as is_chief:
        if is_chief:
            step = training_flags.use_best(flags, model, step)
            if flags.do_eval:
                results = work.evaluate(dev_examples, step)
            if flags.do_predict:
                work.predict(test_examples)
            if flags.do_export:
                checkpoint = export.checkpoint_of_run(
                    flags.output_dir, flags.keep_best is not None, start.prefix
                )
                source = export_flags.source_of(flags, checkpoint)
                served.export_classifier(
                    source,
                    export_dir,
                    labels,
                    flags.doc_stride,
                    flags.window_pooling,
                )
    return results


def check_flags(flags):
    """The model's config, if the flags fit it and each other.

    Raises:
        InputError: names the flag.
    """
    if not (
        flags.do_train or flags.do_eval or flags.do_predict or flags.do_export
    ):
        raise InputError(
            "At least one of `do_train`, `do_eval` or `do_predict` must be "
            "True."
        )
    config = model_flags.check_text(flags)
    if flags.max_seq_length < 3:
        raise InputError(
            "`--max_seq_length` must be at least 3: [CLS], one token of the "
            f"text, [SEP]. Received: --max_seq_length={flags.max_seq_length}"
        )
    model_flags.require_positions(
        flags,
        config,
        "--doc_stride reads longer texts in windows, and extend_positions "
        "makes a model with more positions.",
    )
    packing.require_stride(flags.doc_stride, flags.max_seq_length)
    if (
        flags.doc_stride is None
        and not flags["window_pooling"].using_default_value
    ):
        raise InputError(
            "`--window_pooling` needs --doc_stride, without which there are no "
            f"windows. Received: --window_pooling={flags.window_pooling}"
        )
    command_line.require_positive(
        flags, "eval_batch_size", "predict_batch_size"
    )
    model_flags.check_training(flags)
    model_flags.check_epochs(flags)
    command_line.require_positive(flags, "num_runs")
    if flags.num_runs > 1 and not flags.do_eval:
        raise InputError(
            "`--num_runs` needs --do_eval, whose results it compares. "
            f"Received: --num_runs={flags.num_runs}"
        )
    if flags.seed is not None:
        highest = 2**32 - flags.num_runs
        command_line.require_between(flags, "seed", 0, highest)
    training_flags.check(flags, config, result_names(flags.task_name))
    return config


def result_names(task_name):
    """What `--keep_best` may name: lines of eval_results.txt."""
    more = targets.task_metrics(task_name, [0], [0], 2)
    return [*RESULTS, *more]


def find_labels(task, flags):
    """A tsv task with its labels: learned to train, read to use a model."""
    if flags.do_train:
        return task.learn_labels(flags.data_dir)
    path = labels_file(flags)
    if not os.path.exists(path) and flags.init_checkpoint:
        folder = flags.init_checkpoint
        if not os.path.isdir(folder):
            folder = os.path.dirname(folder)
        beside = os.path.join(folder, checkpoints_names.LABELS_FILE)
        path = beside if os.path.exists(beside) else path
    return task.with_labels(folders.read_labels(path))


def labels_file(flags):
    """Where training keeps the labels: beside the checkpoint."""
    return os.path.join(flags.output_dir, checkpoints_names.LABELS_FILE)


class Classification:
    """The three things that this script does with one model."""

    def __init__(self, flags, config, labels, tokenizer, model, strategy):
        self.flags = flags
        self.config = config
        self.labels = labels
        self.tokenizer = tokenizer
        self.model = model
        self.strategy = strategy
        self.schema = classification_task.classifier_schema(
            flags.max_seq_length
        )
        self._predictor = prediction.DatasetPredictor(model, strategy)
        self._folder = devices.work_folder(strategy, flags.output_dir)
        self._written = {}

    def train(self, examples, start, seed, dev_examples=None):
        """Trains from a `StartingPoint` to the last step, and returns it.

        The seed decides the order of the examples. Dev examples are for
        evaluation on the way.
        """
        flags, size = self.flags, self.flags.train_batch_size
        file, num_windows = self._write_records("train.tf_record", examples)
        num_steps = training_flags.count_steps(flags, sum(num_windows))
        self._log("Running training", num_windows, size)
        logging.info("  Num steps = %d", num_steps)
        return loop.train(
            self.model,
            lambda outputs, batch, totals: heads.classification_loss(
                outputs["logits"],
                batch["label_ids"],
                (totals or {}).get("examples"),
            )[0],
            lambda step: records.training_batches(
                [file],
                self.schema,
                size,
                seed,
                step,
                bucket_by_length=flags.bucket_by_length,
            ),
            start,
            training_flags.settings(
                flags,
                self.config,
                num_steps,
                int(num_steps * flags.warmup_proportion),
            ),
            self.strategy,
            evaluation=training_flags.evaluation(
                flags, lambda: self.results(dev_examples)
            ),
        )

    def evaluate(self, examples, step):
        """Writes eval.tf_record and eval_results.txt; returns the results."""
        results = self.results(examples)
        more = {k: value for k, value in results.items() if k not in RESULTS}
        original = {name: results[name] for name in RESULTS}
        evaluation.write_eval_results(
            self.flags.output_dir, {**original, "global_step": step}, more
        )
        return results

    def results(self, examples):
        """How good the model is: `RESULTS`, and the task's own metrics."""
        size = self.flags.eval_batch_size
        outputs = self._run("eval.tf_record", examples, size, "Evaluating")
        results = targets.evaluate(
            [(batch, out["logits"]) for batch, out in outputs]
        )
        labels, predictions = results.pop("labels"), results.pop("predictions")
        more = targets.task_metrics(
            self.flags.task_name, labels, predictions, len(self.labels)
        )
        return {**results, **more}

    def predict(self, examples):
        """Writes predict.tf_record and test_results.tsv."""
        size = self.flags.predict_batch_size
        path = os.path.join(self.flags.output_dir, "test_results.tsv")
        lines = []
        for batch, out in self._run(
            "predict.tf_record", examples, size, "Predicting"
        ):
            real = batch["is_real_example"] == 1
            probabilities = np.exp(metrics.log_softmax(out["logits"][real]))
            for row in probabilities.astype(np.float32):
                lines.append("\t".join(map(str, row)) + "\n")
        files.write_text(path, "".join(lines))
        logging.info("Wrote %d predictions to %s.", len(lines), path)
        if self.flags.task_name.lower() == "tsv":
            self._write_labelled(lines)

    def _write_labelled(self, lines):
        # For users' own labels: what was predicted, by name.
        path = os.path.join(self.flags.output_dir, "test_predictions.txt")
        rows = [np.array(line.split("\t"), float) for line in lines]
        names = [f"{self.labels[row.argmax()]}\n" for row in rows]
        files.write_text(path, "".join(names))
        logging.info("Wrote the labels predicted to %s.", path)

    def _run(self, name, examples, batch_size, label):
        """Pairs of features and outputs of every batch."""
        flags = self.flags
        if name not in self._written:
            self._written[name] = self._write_records(
                name,
                examples,
                # A TPU needs batches of one size.
                multiple_of=batch_size if flags.use_tpu else 1,
            )
        file, num_windows = self._written[name]
        self._log(f"Running {label.lower()}", num_windows, batch_size)
        dataset = records.evaluation_batches(
            [file],
            self.schema,
            batch_size,
            drop_remainder=flags.use_tpu,
            # A TPU also needs them of one length.
            group_by_length=not flags.use_tpu,
        )
        batches = counted(
            self._predictor(dataset),
            sum(num_windows),
            label,
            prediction.count_rows,
        )
        if not flags.use_tpu:
            batches = self._in_order(batches, batch_size)
        if flags.doc_stride is None:
            return batches
        pooled = classification_rows.pool_windows(
            ((batch, out["logits"]) for batch, out in batches),
            num_windows,
            flags.window_pooling,
            batch_size,
        )
        return ((batch, {"logits": logits}) for batch, logits in pooled)

    def _in_order(self, batches, batch_size):
        """Batches of the records in order, as the original computed them."""
        names = ("label_ids", "is_real_example", "logits")
        rows = grouping.rows_in_order(batches, names)
        for batch in grouping.batched_rows(rows, batch_size):
            yield batch, {"logits": batch.pop("logits")}

    def _write_records(self, name, examples, multiple_of=1):
        """Writes all windows; returns the path, and how many each example has.

        Without --doc_stride the one window is the example.
        """
        path = os.path.join(self._folder, name)
        length, doc_stride = self.flags.max_seq_length, self.flags.doc_stride
        how = (self.labels, length, self.tokenizer, doc_stride)
        for example in examples[:5]:
            logging.info(
                "*** Example ***\n%s",
                classification_rows.describe_example(example, *how),
            )
        truncation = classification_rows.Truncation()
        num_windows = []

        def rows():
            converted = classification_rows.convert_examples_to_windows(
                examples, *how
            )
            label = f"Writing {path}"
            for windows in counted(converted, len(examples), label):
                truncation.add(windows)
                num_windows.append(len(windows))
                yield from windows
            for _ in range(-sum(num_windows) % multiple_of):
                yield packing.padding_features(length)

        records.write_records(
            path,
            map(classification_task.classifier_values, rows()),
            self.schema,
            self.config.vocab_size,
        )
        truncation.log(length, doc_stride)
        return path, num_windows

    def _log(self, title, num_windows, batch_size):
        logging.info("***** %s *****", title)
        logging.info("  Num examples = %d", len(num_windows))
        if self.flags.doc_stride is not None:
            logging.info("  Num windows = %d", sum(num_windows))
        logging.info("  Batch size = %d", batch_size)


def cli():
    """The console command."""
    command_line.run(define_flags, main, __doc__)


if __name__ == "__main__":
    cli()
