"""A run of any task: start, train, evaluate, predict, export."""

import dataclasses
import itertools
import os
from collections.abc import (
    Callable,
    Collection,
    Iterator,
    Mapping,
    Sequence,
)
from typing import Any, NamedTuple

import numpy as np
from absl import logging

from bert_tf.checkpoints.names import BEST_FOLDER, EVAL_RESULTS
from bert_tf.data import grouping, records, vocabulary
from bert_tf.support import files
from bert_tf.support.progress import counted
from bert_tf.tasks import metrics
from bert_tf.tasks.beginning import (
    alone,
    begin,
    checkpoint_to_export,
    use_best,
)
from bert_tf.tasks.task import merge, remove_test_results
from bert_tf.training import devices, loop, prediction
from bert_tf.training.evaluation import write_eval_results
from bert_tf.training.settings import RUNS_FILE, RunSettings, folder_of_run

EXAMPLES_LOGGED = 1


@dataclasses.dataclass(frozen=True)
class Sets:
    """The examples of a run, all read before any work starts.

    The name of a set is that of its record file, without .tf_record.

    Attributes:
        train: None without training.
        evaluation: sets to evaluate at the end, by name; their results are
            written together, see `task.merge`.
        prediction: sets to predict at the end, by name.
        watched: sets to evaluate during training, by name; none for no such
            evaluation.
        means: results that are means of others, see `task.merge`.
    """

    train: Collection[Any] | None = None
    evaluation: Mapping[str, Sequence[Any]] = dataclasses.field(
        default_factory=dict
    )
    prediction: Mapping[str, Sequence[Any]] = dataclasses.field(
        default_factory=dict
    )
    watched: Mapping[str, Sequence[Any]] = dataclasses.field(
        default_factory=dict
    )
    means: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)

    def examples(self) -> Iterator[Any]:
        """Iterates over the examples of all sets; some may come twice."""
        return itertools.chain(
            self.train or (),
            *self.evaluation.values(),
            *self.prediction.values(),
            *self.watched.values(),
        )


class Prepared(NamedTuple):
    """A run whose input was read.

    Attributes:
        task: a `Task`.
        sets: `Sets`.
        settings: `RunSettings`.
        export: function that exports the checkpoint with the given prefix; None
            for no export.
        has_windows: whether an example may be several records.
    """

    task: Any
    sets: Sets
    settings: RunSettings
    export: Callable[[str], None] | None
    has_windows: bool


def read_sets(read, settings, evaluates, predicts):
    """Reads the parts of a run, so that a bad row fails before any work.

    Args:
        read: function of `train`, `dev` or `test` that returns its examples.
        settings: `RunSettings`.
        evaluates, predicts: whether the run does so at its end.

    Returns:
        `Sets`, named `eval` and `predict` as the original's record files.
    """
    train, evaluation, prediction, watched = None, {}, {}, {}
    if settings.do_train:
        train = read("train")
    watches = settings.do_train and settings.evaluation is not None
    if evaluates or watches:
        dev = {"eval": read("dev")}
        evaluation = dev if evaluates else {}
        watched = dev if watches else {}
    if predicts:
        prediction["predict"] = read("test")
    return Sets(train, evaluation, prediction, watched)


def finetune(task, sets, opened, settings, strategy, export=None, written=None):
    """Trains if the settings say so; evaluates and predicts all sets; exports.

    Args:
        task: a `Task`.
        sets: `Sets`.
        opened: `training.start.OpenedModel`.
        settings: `RunSettings`, with `epochs`.
        strategy: a `tf.distribute.Strategy`.
        export: as in `Prepared`.
        written: records that runs of the same task and sets share, see `Run`.

    Returns:
        The results of the last evaluation by name; None without one.

    Raises:
        InputError: another training is at work in the folder, or as from
            `begin`.
    """
    with alone(settings, strategy):
        return _finetune(
            task, sets, opened, settings, strategy, export, written
        )


def _finetune(task, sets, opened, settings, strategy, export, written):
    begun = begin(
        lambda: task.build(opened.config, settings.build.one_hot_embeddings),
        opened,
        settings,
        strategy,
        export is not None,
        task.write_model_files,
    )
    run = Run(
        task,
        begun.model,
        settings,
        opened.config.vocab_size,
        strategy,
        opened.tokenizer.vocab,
        written,
    )
    step = begun.start.step
    if settings.do_train:
        step = run.train(
            sets.train, begun.start, begun.seed, sets.watched, sets.means
        )
    last = None
    with devices.chief_alone(strategy) as is_chief:
        if is_chief:
            step = use_best(begun.model, settings, step)
            if sets.evaluation:
                last = run.evaluate(sets.evaluation, step, sets.means)
            for name, examples in sets.prediction.items():
                found = run.predict(name, examples, step)
                # Runs are compared by their dev set.
                if found and found.results_file == EVAL_RESULTS:
                    last = found
            if export is not None:
                export(checkpoint_to_export(settings, begun.start))
    return last and last.all()


def run_several(run_once, settings, num_runs, strategy):
    """Repeats a run; writes mean and deviation of each result.

    Args:
        run_once: function of `RunSettings` that returns results by name.
        settings: `RunSettings`; each of several runs has a subfolder of the
            output folder, and the next seed.
        num_runs: int; a single run is as `run_once` alone.
        strategy: a `tf.distribute.Strategy`.

    Raises:
        InputError: another training is at work in the folder.
    """
    if num_runs == 1:
        run_once(settings)
        return
    files.make_folder("output_dir", settings.output_dir)
    results = []
    with alone(settings, strategy):
        for number, one in repeated(settings, num_runs):
            logging.info("***** Run %d of %d *****", number, num_runs)
            results.append(run_once(one))
        if devices.is_chief(strategy):
            write_runs(os.path.join(settings.output_dir, RUNS_FILE), results)


def repeated(settings, num_runs):
    """The number and `RunSettings` of each of several runs.

    A single run has the number None, and the settings as they are.
    """
    if num_runs == 1:
        return [(None, settings)]
    seed, runs = settings.seed, []
    for number in range(1, num_runs + 1):
        folder = folder_of_run(settings.output_dir, number)
        own = None if seed is None else seed + number - 1
        runs.append((number, settings.in_folder(folder, own)))
    return runs


def write_runs(path, results):
    """Logs and writes mean and deviation of each result.

    Args:
        path: of the file to write, with columns separated by tabs: the name of
            the result, its mean, its standard deviation (of a sample), and the
            value of each run.
        results: of each run, by name.
    """
    columns = ["result", "mean", "deviation"]
    lines = [[*columns, *(f"run_{n}" for n in range(1, len(results) + 1))]]
    for name in results[0]:
        values = [of_run[name] for of_run in results]
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


class Run:
    """Trains, evaluates and predicts with one model.

    Each set of examples is written once, to a record file.

    Args:
        task: a `Task`.
        model: what `Task.build` returned, with its weights.
        settings: `RunSettings`.
        vocab_size: int, to check token ids.
        strategy: the one that the model was built under.
        vocab: {token: id}, to warn of texts that are mostly [UNK]; None for no
            such warning.
        written: record files by the name of their set, with the number of
            records of each example: those here are used, and others added. None
            for none.
    """

    def __init__(
        self,
        task,
        model,
        settings,
        vocab_size,
        strategy,
        vocab=None,
        written=None,
    ):
        self.task = task
        self.model = model
        self.settings = settings
        self.vocab_size = vocab_size
        self.strategy = strategy
        self._vocab = vocab
        self._predictor = prediction.DatasetPredictor(model, strategy)
        self._logged: set[tuple[str, str]] = set()
        self._folder = devices.work_folder(strategy, settings.output_dir)
        self._written: dict[str, tuple[str, list[int]]] = (
            {} if written is None else written
        )

    def train(self, examples, point, seed, watched=None, means=None):
        """Trains from a `StartingPoint` to the last step, and returns it.

        Args:
            examples: to train on.
            point: a `StartingPoint`.
            seed: decides the order of the records.
            watched, means: as in `Sets`; sets to evaluate during training.
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

        def batches(step):
            found = records.training_batches(
                [file],
                schema,
                size,
                seed,
                step,
                bucket_by_length=settings.bucket_by_length,
            )
            skips = settings.build.skip_padding
            return records.trim_batches(found, schema) if skips else found

        return loop.train(
            self.model,
            self.task.loss,
            batches,
            point,
            training,
            self.strategy,
            self.task.count,
            settings.evaluation,
            (lambda: self._watch(watched, means or {})) if watched else None,
            self.task.chance_loss(examples),
        )

    def results(self, sets, means=()):
        """The `Evaluation` of sets of examples.

        Args:
            sets, means: as `evaluation` and `means` of `Sets`.
        """
        size = self.settings.eval_batch_size
        found = {}
        for name, examples in sets.items():
            rows = self._rows(name, examples, size, "Evaluation")
            found[name] = self.task.evaluate(examples, rows, size)
        return merge(found, dict(means))

    def _watch(self, sets, means):
        """The results of an evaluation during training."""
        evaluation = self.results(sets, means)
        # The best checkpoint gets a copy of them.
        _write_all(self.settings.output_dir, evaluation.model_files)
        return evaluation.all()

    def evaluate(self, sets, step, means=()):
        """Writes results and files beside them; returns the `Evaluation`.

        Args:
            sets, means: as in `results`.
            step: of the model's weights.
        """
        evaluation = self.results(sets, means)
        self._write_results(evaluation, step)
        return evaluation

    def predict(self, name, examples, step):
        """Writes predictions, and their results if the task evaluates them.

        Returns:
            An `Evaluation`, or None.
        """
        size = self.settings.predict_batch_size
        rows = self._rows(name, examples, size, "Prediction")
        results = self.task.write(
            examples, rows, self.settings.output_dir, name
        )
        if results is not None:
            self._write_results(results, step)
        else:
            remove_test_results(self.settings.output_dir, name)
        return results

    def _write_results(self, evaluation, step):
        folder = self.settings.output_dir
        for warning in evaluation.warnings:
            logging.warning("%s", warning)
        write_eval_results(
            folder,
            {**evaluation.results, "global_step": step},
            {**evaluation.more, **evaluation.fixed},
            evaluation.results_file,
            self.settings.do_train,
        )
        _write_all(folder, evaluation.files)
        best = os.path.join(folder, BEST_FOLDER)
        has_best = self.settings.best_metric and os.path.isdir(best)
        _write_all(best if has_best else folder, evaluation.model_files)

    def _rows(self, name, examples, batch_size, label):
        """Yields the rows of each example's records, in order.

        The records that pad the last batch of a TPU come last, one by one.
        """
        is_fixed = self.settings.use_tpu
        groups = self.task.groups_by_length and not is_fixed
        file, counts = self._write(name, examples, batch_size)
        if (name, label) not in self._logged:  # Once in a training.
            self._logged.add((name, label))
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
        """Writes a set of examples as records, if that was not done before.

        Returns:
            The path of the file, and the number of records of each example.
        """
        if name in self._written:
            return self._written[name]
        path = os.path.join(self._folder, f"{name}.tf_record")
        counts: list[int] = []
        unknown = vocabulary.UnknownTokens(self._vocab or {})
        for example in itertools.islice(examples, EXAMPLES_LOGGED):
            logging.info("*** Example ***\n%s", self.task.describe(example))

        def all_records():
            by_example = self.task.records(examples, is_training)
            for some in counted(by_example, len(examples), f"Writing {path}"):
                counts.append(len(some))
                for record in some:
                    unknown.add(_real_ids(record))
                    yield record
            # A TPU needs batches of one size. In training records repeat.
            if self.settings.use_tpu and not is_training:
                for _ in range(-sum(counts) % batch_size):
                    yield self.task.padding(is_training)

        schema = self.task.schema(is_training)
        records.write_records(path, all_records(), schema, self.vocab_size)
        if self._vocab and unknown.warn(f"{name}.tf_record"):
            self._vocab = None  # Once is enough.
        self._written[name] = path, counts
        return path, counts

    def _log(self, title, counts, batch_size):
        logging.info("***** %s *****", title)
        examples, made = self.task.log_names
        logging.info("  Num %s = %d", examples, len(counts))
        if made is not None:
            logging.info("  Num %s = %d", made, sum(counts))
        logging.info("  Batch size = %d", batch_size)


def _real_ids(record):
    """The ids of a record without its padding."""
    return list(itertools.compress(record["input_ids"], record["input_mask"]))


def _write_all(folder, texts):
    for name, text in texts.items():
        path = os.path.join(folder, name)
        files.write_text(path, text)
        logging.info("Wrote %s.", path)


def _rows_of_batches(batches, names):
    for features, outputs in batches:
        both = {**features, **outputs}
        for row in range(len(both[names[0]])):
            yield {name: both[name][row] for name in names}
