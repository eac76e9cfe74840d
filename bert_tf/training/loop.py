"""The training loop, written out once, for every task and every strategy.

Comes in: a model, a loss, and batches that can be asked for from any step on.
Goes out: checkpoints in the original's format, a log, TensorBoard scalars; and
for evaluation and prediction the model's outputs as NumPy arrays. What a batch
means belongs to the tasks, files of weights to `checkpoints`.
"""

import collections
import contextlib
import dataclasses
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping

import keras
import numpy as np
import tensorflow as tf
from absl import logging

from bert_tf import checkpoints
from bert_tf.checkpoints import inference
from bert_tf.checkpoints.folders import CONFIG, VOCAB
from bert_tf.errors import InputError, Interrupted
from bert_tf.optimization import (
    OptimizerSettings,
    WarmupLinearDecay,
    create_optimizer,
)
from bert_tf.support import files
from bert_tf.support.progress import format_seconds, show_line
from bert_tf.tasks.classification.datasets import LABELS_FILE
from bert_tf.training import devices
from bert_tf.training import step as training_step
from bert_tf.training.evaluation import EVALUATIONS_FILE, Evaluations

BEST_FOLDER = "best"

# Far apart, so that the seeds of replicas are not those of other layers.
_SEED_STEP, _LARGEST_SEED = 982_451_653, 2**31 - 1

# A call of the compiled loop runs about this long, so that progress is seen and
# signals are heard, unless one step alone takes longer.
SECONDS_PER_CALL = 1.0

_NOT_FINITE_ADVICE = (
    "Nothing was saved since the last checkpoint, which is whole. Likely "
    "causes: a learning rate that is too high (--learning_rate; try a half, or "
    "more warm-up steps), ids outside the vocabulary, or a damaged initial "
    "checkpoint."
)


@dataclasses.dataclass(frozen=True)
class TrainingSettings:
    """What a run of training is to do.

    Attributes:
        output_dir: folder of checkpoints and TensorBoard events.
        num_train_steps: the step to end at, whatever the step to start from.
        learning_rate, num_warmup_steps: as in `optimization.create_optimizer`.
        batch_size: examples in one step, over all devices; for the log.
        save_checkpoints_steps: a checkpoint is written every so many steps.
        keep_checkpoints: that many of the newest stay.
        steps_per_call: the most steps that one call of the graph may run.
        jit_compile: compile the step with XLA; on one device only.
        optimizer: `OptimizerSettings`.
        gradient_accumulation_steps: parts that a step's batch is computed in.
    """

    output_dir: str
    num_train_steps: int
    learning_rate: float
    num_warmup_steps: int
    batch_size: int
    save_checkpoints_steps: int = 1000
    keep_checkpoints: int = 5
    steps_per_call: int = 1000
    jit_compile: bool = False
    optimizer: OptimizerSettings = dataclasses.field(
        default_factory=OptimizerSettings
    )
    gradient_accumulation_steps: int = 1


@dataclasses.dataclass(frozen=True)
class EvaluationSettings:
    """Evaluation while a training goes on.

    Attributes:
        evaluate: function of no arguments that returns results of the model as
            it is, {name: float}.
        every_steps: it is called every so many steps, and at the end.
        metric: the result whose best checkpoint is kept in the folder `best` of
            the output; None for none.
        patience: training ends after so many evaluations in a row without a
            new best one; None for never. Needs a metric.
    """

    evaluate: Callable[[], Mapping[str, float]]
    every_steps: int
    metric: str | None = None
    patience: int | None = None


@dataclasses.dataclass(frozen=True)
class StartingPoint:
    """Where weights come from: `prefix` of a checkpoint, or None for random.

    `resumed` tells a checkpoint of the run's own folder from an initial one,
    whose step and optimizer slots do not count.
    """

    prefix: str | None
    resumed: bool
    step: int


def find_starting_point(output_dir, init_checkpoint=None):
    """The newest whole checkpoint of `output_dir`, else `init_checkpoint`.

    As the original's Estimator had it: a folder with a checkpoint wins, and the
    initial checkpoint is then without effect. The log says which it is.
    """
    prefix = checkpoints.latest(output_dir)
    if prefix is not None:
        step = checkpoints.global_step(prefix) or 0
        logging.info("Going on from %s (step %d).", prefix, step)
        if init_checkpoint:
            logging.info(
                "--init_checkpoint=%s is without effect: the output folder "
                "has a checkpoint of its own.",
                init_checkpoint,
            )
        return StartingPoint(prefix, True, step)
    if init_checkpoint:
        reader = checkpoints.CheckpointReader(init_checkpoint)
        reader.check_data()
        return StartingPoint(reader.path, False, 0)
    return StartingPoint(None, False, 0)


def build_model(build, config, start, strategy=None, config_file=None):
    """A model with the weights of its starting point.

    Args:
        build: function without arguments that returns a `keras.Model`.
        config: the model's `BertConfig`.
        start: a `StartingPoint`.
        strategy: a `tf.distribute.Strategy`, or None for the default one.
        config_file: where the config is from, for the error if it does not fit
            the checkpoint.

    Returns:
        The model. Variables that the checkpoint lacks have their random initial
        values, and the log names them; in a resumed run they are an error.
    """
    strategy = strategy or tf.distribute.get_strategy()
    if start.prefix is None:
        logging.warning("No checkpoint is given: all weights are random.")
        with strategy.scope():
            return build()
    checkpoints.check_config(config, start.prefix, config_file)
    model, missing = inference.load_model(
        build, config, start.prefix, inference.ANY_NAME, strategy
    )
    if start.resumed and missing:
        raise InputError(
            f"{start.prefix} cannot be continued with this model: it lacks "
            f"{', '.join(missing)}. Use another --output_dir, or give the "
            "checkpoint as --init_checkpoint."
        )
    return model


def train(
    model,
    loss_fn,
    make_dataset,
    start,
    settings,
    strategy=None,
    count=training_step.count_examples,
    evaluation=None,
):
    """Trains to `settings.num_train_steps`, from wherever `start` is.

    Writes `model.ckpt-N` at step 0, every `save_checkpoints_steps` and at the
    end; SIGINT and SIGTERM end the run after one more. With the same seed
    (`keras.utils.set_random_seed` before the model is built), a run that was
    ended and continued gives the numbers of one that was not.

    Args:
        model: a `keras.Model` that takes a dictionary of features.
        loss_fn: function of the model's outputs, the features, and totals,
            that returns the batch's mean loss, a scalar; or a dictionary of
            scalars for TensorBoard, `loss` among them. Where the batch is
            computed in parts (`training_step`), it is given a part of the
            features, and totals are what `count` returns of the whole batch;
            what it returns must add up over the parts. Else totals are None.
        make_dataset: function of a step that returns a `tf.data.Dataset` of
            feature dictionaries, endless, whose first batch is that step's.
            All batches have one shape, known beforehand.
        start: a `StartingPoint`.
        settings: `TrainingSettings`.
        strategy: the one that the model was built under.
        count: function of features that returns a dictionary of float32
            scalars, which add up over the parts of a batch.
        evaluation: `EvaluationSettings`, or None for none. A checkpoint is
            written before each evaluation.

    Returns:
        The step reached.

    Raises:
        InputError: a loss, a gradient or a weight is not finite.
        Interrupted: a signal came; a checkpoint has been written.
    """
    strategy = strategy or tf.distribute.get_strategy()
    _require_agreement(model, start, strategy)
    milestones = _Milestones(model, start, settings, strategy, evaluation)
    if start.step >= settings.num_train_steps:
        logging.info(
            "Nothing to train: step %d of %d is already reached.",
            start.step,
            settings.num_train_steps,
        )
        # A run that was killed while it evaluated its last step.
        if evaluation and evaluation.metric and milestones.lacks(start.step):
            milestones.pass_by(start.step)
        return start.step
    if milestones.is_over():
        logging.info("Nothing to train: %s.", milestones.summary())
        return start.step
    with strategy.scope():
        optimizer = create_optimizer(
            settings.learning_rate,
            settings.num_train_steps,
            settings.num_warmup_steps,
            settings.optimizer,
        )
        optimizer.build(model.trainable_variables)
        loss_scale = None
        if model.compute_dtype == "float16":
            loss_scale = training_step.LossScale()
            optimizer.skipped_steps = loss_scale.skipped_steps
    if start.resumed:
        _restore_optimizer(optimizer, start)
        if loss_scale is not None:
            _restore(loss_scale.variables(), start)
    _set_dropout_step(
        model, start.step * settings.gradient_accumulation_steps, strategy
    )

    dataset = make_dataset(start.step)
    run_steps, names = training_step.compile_steps(
        model,
        loss_fn,
        count,
        optimizer,
        dataset,
        strategy,
        settings,
        loss_scale,
    )
    batches = iter(strategy.experimental_distribute_dataset(dataset))
    writer = _create_writer(settings.output_dir, strategy)
    progress = _Progress(start.step, settings, writer)
    step, steps_per_call = start.step, 1

    def save():
        weights = checkpoints.named_weights(model)
        _require_finite(weights, step)
        values = {**weights, **optimizer.slots()}
        if loss_scale is not None:
            values |= loss_scale.variables()
        if not devices.is_chief(strategy):
            return "by the chief"
        return checkpoints.save(
            settings.output_dir, step, values, settings.keep_checkpoints
        )

    with _caught_signals() as caught, progress:
        if not start.resumed:
            save()
        elif milestones.lacks(step):
            milestones.pass_by(step)
        while step < settings.num_train_steps and not milestones.is_over():
            last = milestones.next_stop(step)
            num_steps = min(steps_per_call, last - step)
            began = time.perf_counter()
            with devices.naming_lost_workers(strategy):
                rows, batch = run_steps(batches, tf.constant(num_steps))
            scalars = dict(zip(names, rows.numpy().T))
            seconds = time.perf_counter() - began
            _require_fine(scalars, step, batch, settings.output_dir)
            for note in _notes_on_skipped(scalars, step):
                progress.note(note)
            step += num_steps
            progress.update(step, scalars)
            signal_number = _any_signal(caught, strategy)
            if step == last or signal_number:
                prefix = save()
                progress.note(f"Saved {prefix}.")
            if signal_number:
                raise Interrupted(
                    f"stopped by {signal.Signals(signal_number).name} at step "
                    f"{step}; saved {prefix}. The same command goes on "
                    "from there.",
                    signal_number,
                )
            if milestones.lacks(step):
                progress.clear()
                milestones.pass_by(step)
                progress.restart(step)
            steps_per_call = _steps_for_next_call(
                seconds / num_steps, steps_per_call, settings.steps_per_call
            )
            # Workers end their calls together, to hear of signals together.
            (steps_per_call,) = devices.as_chief_says(
                strategy, [steps_per_call]
            )
            steps_per_call = int(steps_per_call)
    if milestones.is_over():
        logging.info("Stopped at step %d: %s.", step, milestones.summary())
    if loss_scale is not None:
        skipped = int(tf.convert_to_tensor(loss_scale.skipped_steps))
        logging.info("%d of %d steps were skipped.", skipped, step)
    return step


def _restore_optimizer(optimizer, start):
    optimizer.iterations.assign(start.step)
    slots = optimizer.slots()
    lacking = len(slots) - _restore(slots, start)
    if lacking:
        logging.warning(
            "%s has no optimizer state for %d of %d slots: they start at 0.",
            start.prefix,
            lacking,
            len(slots),
        )


def _restore(variables, start):
    """Reads those of the variables that the checkpoint has; how many."""
    reader = checkpoints.CheckpointReader(start.prefix)
    saved = {name: v for name, v in variables.items() if name in reader}
    if saved:
        checkpoints.load(saved, start.prefix)
    return len(saved)


def _set_dropout_step(model, draws, strategy):
    # A dropout layer's seed is [seed, number of draws], and it draws once for
    # each part of a step: so a resumed run drops what an undisturbed one would
    # have dropped. Each replica has a seed of its own.
    def assign(variable, seed):
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        own = (seed + _SEED_STEP * tf.cast(replica, tf.int64)) % _LARGEST_SEED
        state = tf.stack([own, tf.constant(draws, tf.int64)])
        variable.assign(tf.cast(state, variable.dtype))

    @tf.function
    def assign_all():
        for variable, seed in seeds:
            strategy.run(assign, args=(variable, tf.constant(seed, tf.int64)))

    seeds = [
        (variable.value, int(np.array(variable)[0]))
        for variable in model.non_trainable_variables
        if variable.name == "seed_generator_state"
    ]
    assign_all()


def _any_signal(caught, strategy):
    """The number of a signal that some worker caught, or 0."""
    number = caught[0] if caught else 0
    numbers, count = devices.sum_over_workers(strategy, [number, number > 0])
    return round(numbers / count) if count else 0


def _require_agreement(model, start, strategy):
    """Raises `InputError` unless all workers start from the same weights."""
    count = devices.num_workers(strategy)
    if count == 1:
        return
    weights = checkpoints.named_weights(model).values()
    total = sum(float(np.abs(np.array(weight)).sum()) for weight in weights)
    ours = np.array([start.step, total])
    chiefs = devices.as_chief_says(strategy, ours)
    agrees = bool((ours == chiefs).all())
    if devices.sum_over_workers(strategy, [agrees])[0] < count:
        raise InputError(
            f"The {count} workers must start from the same weights. This one "
            f"starts at step {start.step}, the chief at step {chiefs[0]:.0f}. "
            "--output_dir and --init_checkpoint must be the same files for all "
            "workers: on a file system that they share."
        )


def _create_writer(folder, strategy):
    if devices.is_chief(strategy):
        return tf.summary.create_file_writer(folder)
    return tf.summary.create_noop_writer()


class _Milestones:
    """Steps where a checkpoint is saved or the model evaluated."""

    def __init__(self, model, start, settings, strategy, evaluation):
        self.model = model
        self.settings = settings
        self.strategy = strategy
        self.evaluation = evaluation
        self.done = set()
        self.evaluations = None
        if evaluation is not None and evaluation.metric is not None:
            self.evaluations = Evaluations(
                os.path.join(settings.output_dir, EVALUATIONS_FILE),
                evaluation.metric,
                evaluation.patience,
                start.step,
                writes=devices.is_chief(strategy),
            )

    def next_stop(self, step):
        """The next step at which something is to be done."""
        intervals = [self.settings.save_checkpoints_steps]
        if self.evaluation is not None:
            intervals.append(self.evaluation.every_steps)
        stops = [(step // every + 1) * every for every in intervals]
        return min([*stops, self.settings.num_train_steps])

    def lacks(self, step):
        """Whether the model is still to be evaluated at this step."""
        if self.evaluation is None or not step or step in self.done:
            return False
        if self.evaluations is not None and self.evaluations.knows(step):
            return False
        is_last = step == self.settings.num_train_steps
        return is_last or step % self.evaluation.every_steps == 0

    def pass_by(self, step):
        """Evaluates; keeps the checkpoint if it is the best so far.

        The chief does; other workers wait for it if there is a metric, which
        may end the training.
        """
        self.done.add(step)
        is_chief, results = devices.is_chief(self.strategy), {}
        if is_chief:
            results = dict(self.evaluation.evaluate())
            _write_eval_events(self.settings.output_dir, step, results)
            text = "  ".join(f"{k} {value:.6g}" for k, value in results.items())
            logging.info("Evaluated step %d: %s", step, text)
        if self.evaluations is None:
            return
        metric = self.evaluation.metric
        (value,) = devices.as_chief_says(
            self.strategy, [results.get(metric, 0.0)]
        )
        results[metric] = float(value)
        if is_chief and self.evaluations.is_new_best(step, results):
            _save_best(
                self.settings.output_dir,
                step,
                checkpoints.named_weights(self.model),
            )
        self.evaluations.add(step, results)
        logging.info("So far %s.", self.evaluations.summary())

    def is_over(self):
        """Whether evaluations say that it is time to stop."""
        return self.evaluations is not None and self.evaluations.is_over()

    def summary(self):
        return self.evaluations.summary()


def _save_best(folder, step, weights):
    """A folder to start or predict from: weights, and what belongs to them."""
    best = os.path.join(folder, BEST_FOLDER)
    checkpoints.save(best, step, weights, keep=1)
    for name in (CONFIG, VOCAB, LABELS_FILE):
        source = os.path.join(folder, name)
        if os.path.exists(source):
            with open(source, encoding="utf-8") as file:
                files.write_text(os.path.join(best, name), file.read())


def load_best(model, output_dir):
    """Gives a model the best weights that `train` kept in a folder.

    Returns:
        The step that they are of; None if there are none.
    """
    folder = os.path.join(output_dir, BEST_FOLDER)
    prefix = checkpoints.latest(folder) if os.path.isdir(folder) else None
    if prefix is None:
        return None
    weights = checkpoints.named_weights(model)
    checkpoints.load(weights, prefix, expect=weights)
    step = checkpoints.global_step(prefix)
    logging.info("Using the best checkpoint, %s (step %d).", prefix, step)
    return step


def _steps_for_next_call(seconds_per_step, now, most):
    # At most doubled: the first calls also pay for tracing.
    fits = int(SECONDS_PER_CALL / max(seconds_per_step, 1e-6))
    return max(1, min(2 * now, fits, most))


def _require_fine(scalars, step, batch, output_dir):
    """Raises `InputError` if the last of some steps went wrong.

    Args:
        scalars: of the steps, arrays by name.
        step: the first of them.
        batch: of the last one.
        output_dir: where to put it.
    """
    loss, norm = scalars["loss"][-1], scalars["gradient_norm"][-1]
    is_skipped = "skipped" in scalars and scalars["skipped"][-1] > 0
    if np.isfinite(loss) and (np.isfinite(norm) or is_skipped):
        return
    step += len(scalars["loss"]) - 1
    where = "it ran on several devices and was not kept"
    if batch:
        path = os.path.join(output_dir, f"not_finite_at_step_{step}.npz")
        np.savez(path, **{name: x.numpy() for name, x in batch.items()})
        where = f"its features are in {path}"
    raise InputError(
        f"Training stopped at step {step}: the loss is {loss}, the norm of "
        f"the gradients {norm}. The batch: {where}. {_NOT_FINITE_ADVICE}"
    )


def _notes_on_skipped(scalars, step):
    """A line for each step that `training_step.LossScale` skipped."""
    if "skipped" not in scalars:
        return
    for offset in np.flatnonzero(scalars["skipped"]):
        yield (
            f"Step {step + offset} is skipped: its gradients are too large for "
            "float16 with a loss scale of "
            f"{scalars['loss_scale'][offset]:g}. It is halved."
        )


def _require_finite(weights, step):
    """Keeps weights that nobody could go on from out of checkpoints."""
    bad = [
        name
        for name, weight in weights.items()
        if not tf.reduce_all(tf.math.is_finite(tf.convert_to_tensor(weight)))
    ]
    if bad:
        raise InputError(
            f"Training stopped before step {step}: {len(bad)} of "
            f"{len(weights)} weights are not finite, {bad[0]} among them. "
            f"{_NOT_FINITE_ADVICE}"
        )


@contextlib.contextmanager
def _caught_signals():
    """Collects SIGINT and SIGTERM; a second one of them acts at once."""
    caught = []
    if threading.current_thread() is not threading.main_thread():
        yield caught
        return
    previous = {}

    def catch(number, frame):
        caught.append(number)
        name = signal.Signals(number).name
        text = f"\n{name}: saving after this step; once more ends at once.\n"
        # Not `print`, which may be at work already when a signal comes.
        with contextlib.suppress(OSError):
            os.write(2, text.encode())
        signal.signal(number, previous[number])

    for number in (signal.SIGINT, signal.SIGTERM):
        previous[number] = signal.signal(number, catch)
    try:
        yield caught
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


class _Progress:
    """One line on a terminal, now and then a line in a log, and TensorBoard."""

    def __init__(self, first_step, settings, writer):
        self.last_step = settings.num_train_steps
        self.batch_size = settings.batch_size
        self.schedule = WarmupLinearDecay(
            settings.learning_rate,
            settings.num_train_steps,
            settings.num_warmup_steps,
        )
        self.writer = writer
        remaining = self.last_step - first_step
        # Every 100 steps as in the original, but 20 times in a short run.
        self.log_every = max(1, min(100, remaining // 20))
        self.logged = first_step
        self.unlogged = []
        self.has_compiled = False
        self.is_terminal = sys.stderr.isatty()
        # The last few calls, for a rate that follows changes of load.
        self.calls = collections.deque(maxlen=20)

    def __enter__(self):
        self.calls.append((time.perf_counter(), self.logged))
        return self

    def __exit__(self, *exception):
        self.clear()
        self.writer.close()

    def update(self, step, scalars):
        """Notes the scalars of the steps since the last call, [steps] each."""
        self.unlogged.append(scalars)
        self.calls.append((time.perf_counter(), step))
        (then, first), (now, _) = self.calls[0], self.calls[-1]
        rate = (step - first) / max(now - then, 1e-9)
        if not self.has_compiled:
            self.has_compiled = True
            # The first call also compiles; the rate is not to remember it.
            self.calls.popleft()
        text = self._line(step, float(scalars["loss"][-1]), rate)
        if self.is_terminal:
            show_line(text)
        if step - self.logged >= self.log_every or step == self.last_step:
            self.logged = step
            if not self.is_terminal:
                logging.info("%s", text)
            scalars = {
                **self._means(),
                "learning_rate": self._learning_rate(step),
                "global_step/sec": rate,
            }
            _write_scalars(self.writer, step, scalars)

    def _means(self):
        """The mean of each scalar over the steps since the last line."""
        unlogged, self.unlogged = self.unlogged, []
        means = {}
        for name in unlogged[0]:
            values = np.concatenate([call[name] for call in unlogged])
            # A step that was skipped has no norm.
            values = values[np.isfinite(values)]
            means[name] = values.mean() if values.size else np.nan
        return means

    def note(self, text):
        self.clear()
        logging.info("%s", text)

    def restart(self, step):
        """Forgets the time that was spent on something else than steps."""
        self.calls.clear()
        self.calls.append((time.perf_counter(), step))

    def _line(self, step, loss, steps_per_second):
        left = (self.last_step - step) / max(steps_per_second, 1e-9)
        return (
            f"step {step}/{self.last_step}  loss {loss:.4f}  "
            f"learning rate {self._learning_rate(step):.3g}  "
            f"{steps_per_second * self.batch_size:.1f} examples/s  "
            f"{format_seconds(left)} left"
        )

    def _learning_rate(self, step):
        # The rate that the latest step used.
        return float(self.schedule(step - 1))

    def clear(self):
        """Takes the line off the terminal."""
        if self.is_terminal:
            show_line("")


class Predictor:
    """Runs a model over datasets, and compiles it once.

    Args:
        model: a `keras.Model` that takes a dictionary of features.
        strategy: the one that the model was built under.
        summarize: function of outputs and features, part of the graph, that
            returns what is wanted of the outputs where they are large.
    """

    def __init__(self, model, strategy=None, summarize=None):
        self.model = model
        self.strategy = strategy or tf.distribute.get_strategy()
        if devices.num_workers(self.strategy) > 1:
            # Each for itself, on one device: the chief alone is to predict.
            self.strategy = tf.distribute.get_strategy()
        self.summarize = summarize
        self._compiled = {}

    def __call__(self, dataset):
        """Runs the model over every batch.

        Args:
            dataset: a finite `tf.data.Dataset` of feature dictionaries. Batches
                of any size; a multiple of the number of replicas where there
                are several.

        Yields:
            Pairs of features and outputs, dictionaries of NumPy arrays, in
            order.
        """
        forward = self._compile(dataset.element_spec)
        for features in self.strategy.experimental_distribute_dataset(dataset):
            outputs = forward(features)
            yield _gathered((features, outputs), self.strategy)

    def _compile(self, spec):
        if self.strategy.num_replicas_in_sync > 1:
            spec = None
        key = str(spec)
        if key not in self._compiled:
            self._compiled[key] = (
                tf.function(lambda x: self.strategy.run(self._call, args=(x,)))
                if spec is None
                # One trace for full batches and for the smaller last one.
                else tf.function(self._call, input_signature=[spec])
            )
        return self._compiled[key]

    def _call(self, features):
        inputs = {name: features[name] for name in self.model.input}
        outputs = self.model(inputs, training=False)
        if self.summarize is None:
            return outputs
        return self.summarize(outputs, features)


def predict(model, dataset, strategy=None, summarize=None):
    """Runs a model over one dataset: see `Predictor`."""
    return Predictor(model, strategy, summarize)(dataset)


def count_rows(batch_and_outputs):
    """How many rows there are in one of the pairs that a `Predictor` yields."""
    features, _ = batch_and_outputs
    return len(next(iter(features.values())))


def _gathered(values, strategy):
    def gather(value):
        parts = strategy.experimental_local_results(value)
        return np.concatenate([part.numpy() for part in parts])

    return tf.nest.map_structure(gather, values)


def write_eval_results(output_dir, results, more=()):
    """Writes `eval_results.txt` and the same as TensorBoard scalars.

    Args:
        output_dir: folder; events go to `eval/` in it.
        results: what the original writes: names to numbers, with
            `global_step`. Floats are written in their shortest float32 form.
        more: what it does not write; comes after the original's lines.
    """
    more = dict(more)
    path = os.path.join(output_dir, "eval_results.txt")
    lines = []
    logging.info("***** Eval results *****")
    for key, value in [*sorted(results.items()), *sorted(more.items())]:
        text = str(value if isinstance(value, int) else np.float32(value))
        logging.info("  %s = %s", key, text)
        lines.append(f"{key} = {text}\n")
    files.write_text(path, "".join(lines))
    _write_eval_events(output_dir, results["global_step"], {**results, **more})


def _write_eval_events(output_dir, step, scalars):
    writer = tf.summary.create_file_writer(os.path.join(output_dir, "eval"))
    _write_scalars(writer, step, scalars)
    writer.close()


def _write_scalars(writer, step, scalars):
    # What `tf.summary.scalar` writes, but that one needs TensorBoard installed
    # where training runs.
    metadata = tf.compat.v1.SummaryMetadata()
    metadata.plugin_data.plugin_name = "scalars"
    with writer.as_default(step):
        for name, value in scalars.items():
            tf.summary.write(name, tf.constant(float(value)), metadata=metadata)
    writer.flush()


def set_seed(seed, strategy=None):
    """Makes everything random repeatable; draws a seed when None is given.

    Args:
        seed: int, or None.
        strategy: that of several workers, who need the same seed.

    Returns:
        The seed, so that it can be logged and the run be repeated.
    """
    if seed is None:
        seed = int.from_bytes(os.urandom(3), "big")
        seed = int(devices.as_chief_says(strategy, [seed])[0])
        logging.info("Random seed %d; --seed=%d repeats this run.", seed, seed)
    keras.utils.set_random_seed(seed)
    return seed
