"""The life of a run: start, train, evaluate, predict, export; for any task."""

import dataclasses
import itertools
import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
from absl import logging

from bert_tf.checkpoints import folders
from bert_tf.data import grouping, records
from bert_tf.exports import export as exports_export
from bert_tf.support import files
from bert_tf.support.progress import counted
from bert_tf.tasks import metrics
from bert_tf.training import devices, evaluation, loop, prediction, start
from bert_tf.training.start import StartingPoint

EXAMPLES_LOGGED = 5

RUNS_FILE = "runs.tsv"


@dataclasses.dataclass(frozen=True)
class Sets:
    """The examples of a run, all read before any work starts.

    A set's name is that of its record file, without .tf_record.

    Attributes:
        train: to train on; None without training.
        evaluation: sets to evaluate in the end, by name.
        prediction: sets to predict in the end, by name.
        watched: name and examples of the set that is evaluated during
            training; None without such evaluation.
    """

    train: Sequence[Any] | None = None
    evaluation: Mapping[str, Sequence[Any]] = dataclasses.field(
        default_factory=dict
    )
    prediction: Mapping[str, Sequence[Any]] = dataclasses.field(
        default_factory=dict
    )
    watched: tuple[str, Sequence[Any]] | None = None


class Begun(NamedTuple):
    """A run whose model has the weights of its starting point."""

    model: keras.Model
    start: StartingPoint
    seed: int


def begin(build, opened, settings, strategy, exports, write_model_files=None):
    """Seeds a run, finds its starting point, and builds its model.

    Args:
        build: function without arguments that returns a `keras.Model`.
        opened: `training.start.OpenedModel`.
        settings: `RunSettings`.
        strategy: a `tf.distribute.Strategy`.
        exports: whether the run exports its checkpoint.
        write_model_files: function of the folder that writes what belongs to
            the model, beside config and vocabulary.

    Returns:
        `Begun`. In a run that trains, or trained before, the folder has the
        config and the vocabulary from now on.

    Raises:
        InputError: a checkpoint is damaged or does not fit, or there is none
            to export.
    """
    seed = start.set_seed(settings.seed, strategy)
    devices.log_devices(strategy)
    point = start.find_starting_point(
        settings.output_dir, settings.files.checkpoint
    )
    if exports and not settings.do_train:
        checkpoint_to_export(settings, point)
    model = start.build_model(
        build,
        opened.config,
        point,
        strategy,
        opened.config_file,
        settings.build,
    )
    if settings.do_train or point.resumed:
        # First, since it refuses to change what is there.
        if write_model_files is not None:
            write_model_files(settings.output_dir)
        folders.complete(
            settings.output_dir, opened.config_file, opened.vocab_file
        )
    return Begun(model, point, seed)


def finetune(task, sets, opened, settings, strategy, export=None):
    """Trains, evaluates, predicts and exports, as far as the settings say.

    Args:
        task: a `Task`.
        sets: `Sets`.
        opened: `training.start.OpenedModel`.
        settings: `RunSettings`, with `epochs`.
        strategy: a `tf.distribute.Strategy`.
        export: function of the checkpoint to export; None for no export.

    Returns:
        The results of the last evaluation by name; None without one.
    """
    begun = begin(
        lambda: task.build(opened.config, settings.build.one_hot_embeddings),
        opened,
        settings,
        strategy,
        export is not None,
        task.write_model_files,
    )
    run = Run(task, begun.model, settings, opened.config.vocab_size, strategy)
    step = begun.start.step
    if settings.do_train:
        step = run.train(sets.train, begun.start, begun.seed, sets.watched)
    found = None
    with devices.chief_alone(strategy) as is_chief:
        if is_chief:
            step = use_best(begun.model, settings, step)
            for name, examples in sets.evaluation.items():
                found = run.evaluate(name, examples, step)
            for name, examples in sets.prediction.items():
                found = run.predict(name, examples, step) or found
            if export is not None:
                export(checkpoint_to_export(settings, begun.start))
    return found and found.all()


def run_several(run_once, settings, num_runs, strategy):
    """Runs several times, and writes what the results have in common.

    Args:
        run_once: function of `RunSettings` that returns results by name.
        settings: `RunSettings`; each run has a folder in its output folder,
            and the next seed.
        num_runs: int.
        strategy: a `tf.distribute.Strategy`.
    """
    files.make_folder("output_dir", settings.output_dir)
    found = []
    for number in range(1, num_runs + 1):
        logging.info("***** Run %d of %d *****", number, num_runs)
        folder = os.path.join(settings.output_dir, f"run_{number}")
        seed = None if settings.seed is None else settings.seed + number - 1
        found.append(run_once(settings.in_folder(folder, seed)))
    if devices.is_chief(strategy):
        write_runs(os.path.join(settings.output_dir, RUNS_FILE), found)


def write_runs(path, found):
    """Logs and writes mean and deviation of each result.

    Args:
        path: of a file of columns separated by tabs: the result, its mean, its
            deviation (of a sample: divided by one less than the number of
            runs), and the value of each run.
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


def use_best(model, settings, step):
    """Gives a model the best weights of the run, if they are kept.

    Returns:
        The step that its weights are of now.
    """
    if settings.best_metric is None:
        return step
    best = evaluation.load_best(model, settings.output_dir)
    return step if best is None else best


def checkpoint_to_export(settings, point):
    """The checkpoint that a run has written, or else has started from."""
    return exports_export.checkpoint_of_run(
        settings.output_dir, settings.best_metric is not None, point.prefix
    )


class Run:
    """Trains, evaluates and predicts with one model.

    Each set of examples is written once, as a file of records.

    Args:
        task: a `Task`.
        model: what `Task.build` returned, with its weights.
        settings: `RunSettings`.
        vocab_size: int, which token ids are checked against.
        strategy: the one that the model was built under.
    """

    def __init__(self, task, model, settings, vocab_size, strategy):
        self.task = task
        self.model = model
        self.settings = settings
        self.vocab_size = vocab_size
        self.strategy = strategy
        self._predictor = prediction.DatasetPredictor(model, strategy)
        self._folder = devices.work_folder(strategy, settings.output_dir)
        self._written = {}

    def train(self, examples, point, seed, watched=None):
        """Trains from a `StartingPoint` to the last step, and returns it.

        Args:
            examples: to train on.
            point: a `StartingPoint`.
            seed: decides the order of the records.
            watched: name and examples of a set to evaluate on the way.
        """
        settings, schema = self.settings, self.task.schema(is_training=True)
        size = settings.training.batch_size
        file, counts = self._write("train", examples, size, is_training=True)
        is_counted = self.task.epochs_count_records
        training = settings.epochs.schedule(
            settings.training, sum(counts) if is_counted else len(counts)
        )
        self._log("Running training", counts, size)
        logging.info("  Num steps = %d", training.num_train_steps)
        return loop.train(
            self.model,
            self.task.loss,
            lambda step: records.training_batches(
                [file],
                schema,
                size,
                seed,
                step,
                bucket_by_length=settings.bucket_by_length,
            ),
            point,
            training,
            self.strategy,
            evaluation=settings.evaluation,
            evaluate=watched and (lambda: self.results(*watched).all()),
        )

    def results(self, name, examples):
        """The `Evaluation` of a set of examples."""
        size = self.settings.eval_batch_size
        rows = self._rows(name, examples, size, "Evaluating")
        return self.task.evaluate(examples, rows, size)

    def evaluate(self, name, examples, step):
        """Writes eval_results.txt; returns the `Evaluation`."""
        found = self.results(name, examples)
        self._write_results(found, step)
        return found

    def predict(self, name, examples, step):
        """Writes predictions, and eval_results.txt where the task evaluates.

        Returns:
            An `Evaluation`, or None.
        """
        size = self.settings.predict_batch_size
        rows = self._rows(name, examples, size, "Predicting")
        found = self.task.write(examples, rows, self.settings.output_dir, name)
        if found is not None:
            self._write_results(found, step)
        return found

    def _write_results(self, found, step):
        evaluation.write_eval_results(
            self.settings.output_dir,
            {**found.results, "global_step": step},
            found.more,
        )

    def _rows(self, name, examples, batch_size, label):
        """For each example the list of its records' rows, in order.

        A TPU's padding comes last, a list for each record.
        """
        is_fixed = self.settings.use_tpu
        groups = self.task.groups_by_length and not is_fixed
        file, counts = self._write(name, examples, batch_size)
        self._log(f"Running {label.lower()}", counts, batch_size)
        dataset = records.evaluation_batches(
            [file],
            self.task.schema(is_training=False),
            batch_size,
            drop_remainder=is_fixed,
            group_by_length=groups,
        )
        batches = counted(
            self._predictor(dataset), sum(counts), label, prediction.count_rows
        )
        names = self.task.outputs
        rows = (
            grouping.rows_in_order(batches, names)
            if groups
            else _rows_of_batches(batches, names)
        )
        for count in counts:
            yield list(itertools.islice(rows, count))
        for padding in rows:
            yield [padding]

    def _write(self, name, examples, batch_size, is_training=False):
        """Writes a set of examples as records, unless it was written.

        Returns:
            The path of the file, and the number of records of each example.
        """
        if name in self._written:
            return self._written[name]
        path, counts = os.path.join(self._folder, f"{name}.tf_record"), []
        for example in examples[:EXAMPLES_LOGGED]:
            logging.info("*** Example ***\n%s", self.task.describe(example))

        def values():
            made = self.task.records(examples, is_training)
            for of_example in counted(made, len(examples), f"Writing {path}"):
                counts.append(len(of_example))
                yield from of_example
            # A TPU needs batches of one size, except in training, whose
            # records repeat.
            if self.settings.use_tpu and not is_training:
                for _ in range(-sum(counts) % batch_size):
                    yield self.task.padding(is_training)

        schema = self.task.schema(is_training)
        records.write_records(path, values(), schema, self.vocab_size)
        self._written[name] = path, counts
        return self._written[name]

    def _log(self, title, counts, batch_size):
        logging.info("***** %s *****", title)
        examples, made = self.task.log_names
        logging.info("  Num %s = %d", examples, len(counts))
        if made is not None:
            logging.info("  Num %s = %d", made, sum(counts))
        logging.info("  Batch size = %d", batch_size)


def _rows_of_batches(batches, names):
    for features, outputs in batches:
        both = {**features, **outputs}
        for row in range(len(both[names[0]])):
            yield {name: both[name][row] for name in names}
