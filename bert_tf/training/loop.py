"""The training loop, the same for every task and strategy.

Writes checkpoints in the original's format, a log, a picture, and TensorBoard
scalars.
"""

import math
import signal
import time

import numpy as np
import tensorflow as tf
from absl import logging

from bert_tf import checkpoints, models
from bert_tf.checkpoints import lora
from bert_tf.errors import Interrupted
from bert_tf.optimization import OptimizerSettings, create_optimizer
from bert_tf.support import files, locks
from bert_tf.training import (
    curves,
    devices,
    flat_loss,
    monitor,
    results_table,
)
from bert_tf.training.evaluation import Milestones
from bert_tf.training.start import (
    require_agreement,
    restore,
    restore_optimizer,
    set_dropout_step,
)
from bert_tf.training.step import (
    LossScale,
    Step,
    compile_steps,
    count_examples,
)

# Aim for calls of the compiled loop of about this length: between calls,
# progress is shown and signals are handled.
SECONDS_PER_CALL = 1.0


def train(
    model,
    loss_fn,
    make_dataset,
    start,
    settings,
    strategy=None,
    count=count_examples,
    evaluation=None,
    evaluate=None,
    chance=None,
):
    """Trains from the step of `start` to `settings.num_train_steps`.

    Writes `model.ckpt-N` every `save_checkpoints_steps` and at the end, and of
    random weights at step 0; on SIGINT and SIGTERM it writes one more and
    stops. With the same seed (`keras.utils.set_random_seed` before the model is
    built), a run that was stopped and resumed gives the same numbers as an
    uninterrupted one. One that was killed before it saved starts again.

    Args:
        model: a `keras.Model` that takes a dictionary of features.
        loss_fn: function of the model's outputs, the features, and totals,
            that returns the batch's mean loss, a scalar; or a dictionary of
            scalars for TensorBoard, `loss` among them. Where the batch is split
            (micro-batches, replicas), it gets the features of one part, and
            totals are what `count` returns for the whole batch; the values it
            returns must add up over the parts. Otherwise totals are None.
        make_dataset: function of a step that returns an endless
            `tf.data.Dataset` of feature dictionaries, beginning with the batch
            of that step. The batch size must be static.
        start: a `StartingPoint`.
        settings: `TrainingSettings`.
        strategy: the one that the model was built under.
        count: function of features that returns a dictionary of float32
            scalars, which add up over the parts of a batch.
        evaluation: `EvaluationSettings`, or None for none. A checkpoint is
            written before each evaluation.
        evaluate: with `evaluation`, a function without arguments that returns
            the model's current results, {name: float}.
        chance: the lowest loss of a model that gives the same answer to every
            example, to warn of a training that learns nothing; None for no
            such warning.

    Returns:
        The step reached.

    Raises:
        InputError: a loss, a gradient or a weight is not finite, or another
            training has taken over the folder.
        Interrupted: after a signal; a checkpoint has been written.
    """
    strategy = strategy or tf.distribute.get_strategy()
    require_agreement(model, start, strategy)
    record = curves.Record(
        settings.output_dir,
        settings.num_train_steps,
        start.step,
        devices.is_chief(strategy),
    )
    milestones = Milestones(
        model, start, settings, strategy, evaluation, evaluate, record
    )
    if start.step >= settings.num_train_steps:
        logging.info(
            "Nothing to train: step %d of %d is already reached.",
            start.step,
            settings.num_train_steps,
        )
        # The run was killed during the evaluation at its last step.
        if evaluation and evaluation.metric and milestones.lacks(start.step):
            milestones.evaluate(start.step)
        return start.step
    if milestones.is_over():
        logging.info("Nothing to train: %s.", milestones.summary())
        return start.step
    training = _Training(model, start, settings, strategy, record)
    dataset = make_dataset(start.step)
    step = Step(
        model,
        loss_fn,
        count,
        training.optimizer,
        strategy,
        settings,
        training.loss_scale,
    )
    run_steps = compile_steps(step, dataset)
    batches = iter(strategy.experimental_distribute_dataset(dataset))

    def run(num_steps):
        with devices.naming_lost_workers(strategy):
            rows, batch = run_steps(batches, tf.constant(num_steps))
        return dict(zip(step.scalar_names, rows.numpy().T)), batch

    step_reached = training.run(run, start, milestones)
    if chance is not None and devices.is_chief(strategy):
        losses = np.concatenate(training.losses)
        fault = flat_loss.find_fault(losses, chance, settings, start.resumed)
        if fault is not None:
            logging.warning("%s", fault)
    return step_reached


class _Training:
    """A training run: model, optimizer, loss scale, and the current step."""

    def __init__(self, model, start, settings, strategy, record):
        self.model = model
        self.settings = settings
        self.record = record
        self.strategy = strategy
        self.step = start.step
        self.losses = []
        with strategy.scope():
            self.loss_scale = None
            if model.compute_dtype == "float16":
                self.loss_scale = LossScale()
            self.optimizer = _make_optimizer(model, settings, self.loss_scale)
        if start.resumed:
            restore_optimizer(self.optimizer, start)
            if self.loss_scale is not None:
                restore(self.loss_scale.variables(), start)
        draws = start.step * settings.gradient_accumulation_steps
        set_dropout_step(model, draws, strategy)

    def run(self, run_steps, start, milestones):
        """Trains to the last step; returns the step reached.

        Args:
            run_steps: function of a number of steps. It takes these steps, and
                returns their scalars, arrays by name, and the last batch.
            start: a `StartingPoint`.
            milestones: `Milestones`.
        """
        writer = monitor.create_writer(self.settings.output_dir, self.strategy)
        progress = monitor.Progress(
            start.step, self.settings, writer, self.record
        )
        steps_per_call = 1
        with monitor.caught_signals() as caught, progress:
            self._begin(start)
            if milestones.lacks(self.step):
                milestones.evaluate(self.step)
            while not milestones.is_over() and (
                self.step < self.settings.num_train_steps
            ):
                last = milestones.next_stop(self.step)
                num_steps = min(steps_per_call, last - self.step)
                began = time.perf_counter()
                self._take_steps(run_steps, num_steps, progress)
                seconds = time.perf_counter() - began
                self._save_or_stop(last, caught, progress)
                if milestones.lacks(self.step):
                    progress.clear()
                    milestones.evaluate(self.step)
                    progress.restart(self.step)
                steps_per_call = self._next_steps_per_call(
                    seconds / num_steps, steps_per_call
                )
        if len(self.record.history.evaluations) > 1:
            table = results_table.make(self.record.history)
            logging.info("***** Evaluations *****\n%s", table)
        if milestones.is_over():
            logging.info(
                "Stopped at step %d: %s.", self.step, milestones.summary()
            )
        if self.loss_scale is not None:
            skipped = int(tf.convert_to_tensor(self.loss_scale.skipped_steps))
            logging.info("%d of %d steps were skipped.", skipped, self.step)
        return self.step

    def _begin(self, start):
        """Checks what the first save would find only after many steps."""
        if start.reader is None:
            self.save()
            return
        values = self._values()
        if devices.is_chief(self.strategy):
            size = sum(_num_bytes(value) for value in values.values())
            files.require_room(self.settings.output_dir, size, "a checkpoint")

    def _take_steps(self, run_steps, num_steps, progress):
        progress.begin_steps()
        scalars, batch = run_steps(num_steps)
        progress.record_steps(self.step, scalars["loss"])
        monitor.require_fine(
            scalars, self.step, batch, self.settings.output_dir
        )
        for note in monitor.notes_on_skipped(scalars, self.step):
            progress.note(note)
        self.losses.append(scalars["loss"])
        self.step += num_steps
        progress.update(self.step, scalars)

    def _save_or_stop(self, last, caught, progress):
        """Saves at a milestone, and before a signal ends the run."""
        signal_number = monitor.any_signal(caught, self.strategy)
        if self.step == last or signal_number:
            prefix = self.save()
            progress.note(f"Saved {prefix}.")
        if signal_number:
            raise Interrupted(
                f"stopped by {signal.Signals(signal_number).name} at step "
                f"{self.step}; saved {prefix}. The same command resumes "
                "from there.",
                signal_number,
            )

    def save(self):
        """Writes a checkpoint of this step; returns its prefix."""
        values = self._values()
        if not devices.is_chief(self.strategy):
            return "by the chief"
        locks.require_held(self.settings.output_dir)
        # First, so that it never lacks steps of the checkpoint.
        self.record.draw()
        return checkpoints.save(
            self.settings.output_dir,
            self.step,
            values,
            self.settings.keep_checkpoints,
        )

    def _values(self):
        """What a checkpoint holds; raises `InputError` for weights like NaN."""
        weights = lora.resumable_weights(self.model)
        monitor.require_finite(weights, self.step)
        values = {**weights, **self.optimizer.slots()}
        if self.loss_scale is not None:
            values |= self.loss_scale.variables()
        return values

    def _next_steps_per_call(self, seconds_per_step, now):
        # At most doubled: the time of the first calls includes tracing.
        fits = int(SECONDS_PER_CALL / max(seconds_per_step, 1e-6))
        steps = max(1, min(2 * now, fits, self.settings.steps_per_call))
        # All workers must end a call at the same step.
        (steps,) = devices.as_chief_says(self.strategy, [steps])
        return int(steps)


def _num_bytes(variable):
    """The size of a variable in a checkpoint, where integers have 64 bits."""
    dtype = tf.as_dtype(variable.dtype)
    return math.prod(variable.shape) * (4 if dtype.is_floating else 8)


def _make_optimizer(model, settings, loss_scale):
    num_layers = None
    if settings.layerwise_lr_decay != 1.0:
        num_layers = models.find_bert(model).config.num_hidden_layers
    optimizer = create_optimizer(
        settings.learning_rate,
        settings.num_train_steps,
        settings.num_warmup_steps,
        OptimizerSettings(
            settings.optimizer,
            settings.bias_correction,
            settings.layerwise_lr_decay,
            num_layers,
        ),
        # `Step` clips, and sums over replicas.
        clip_norm=None,
        gradients_are_summed=True,
        skipped_steps=loss_scale and loss_scale.skipped_steps,
    )
    optimizer.build(model.trainable_variables)
    return optimizer
