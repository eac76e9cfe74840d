"""The training loop, written out once, for every task and every strategy.

Comes in: a model, a loss, and batches that can be asked for from any step on.
Goes out: checkpoints in the original's format, a log, TensorBoard scalars; and
for evaluation and prediction the model's outputs as NumPy arrays. What a batch
means belongs to the tasks, files of weights to `checkpoints`.
"""

import signal
import time

import tensorflow as tf
from absl import logging

from bert_tf import checkpoints
from bert_tf.errors import Interrupted
from bert_tf.optimization import (
    create_optimizer,
)
from bert_tf.training import devices
from bert_tf.training import step as training_step
from bert_tf.training.evaluation import Milestones
from bert_tf.training.monitor import (
    Progress,
    any_signal,
    caught_signals,
    create_writer,
    notes_on_skipped,
    require_fine,
    require_finite,
)
from bert_tf.training.start import (
    require_agreement,
    restore,
    restore_optimizer,
    set_dropout_step,
)

# A call of the compiled loop runs about this long, so that progress is seen and
# signals are heard, unless one step alone takes longer.
SECONDS_PER_CALL = 1.0


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
    require_agreement(model, start, strategy)
    milestones = Milestones(model, start, settings, strategy, evaluation)
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
        restore_optimizer(optimizer, start)
        if loss_scale is not None:
            restore(loss_scale.variables(), start)
    set_dropout_step(
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
    writer = create_writer(settings.output_dir, strategy)
    progress = Progress(start.step, settings, writer)
    step, steps_per_call = start.step, 1

    def save():
        weights = checkpoints.named_weights(model)
        require_finite(weights, step)
        values = {**weights, **optimizer.slots()}
        if loss_scale is not None:
            values |= loss_scale.variables()
        if not devices.is_chief(strategy):
            return "by the chief"
        return checkpoints.save(
            settings.output_dir, step, values, settings.keep_checkpoints
        )

    with caught_signals() as caught, progress:
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
            require_fine(scalars, step, batch, settings.output_dir)
            for note in notes_on_skipped(scalars, step):
                progress.note(note)
            step += num_steps
            progress.update(step, scalars)
            signal_number = any_signal(caught, strategy)
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


def _steps_for_next_call(seconds_per_step, now, most):
    # At most doubled: the first calls also pay for tracing.
    fits = int(SECONDS_PER_CALL / max(seconds_per_step, 1e-6))
    return max(1, min(2 * now, fits, most))
