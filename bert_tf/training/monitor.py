"""Progress, signals and numeric checks of a training run."""

import collections
import contextlib
import os
import signal
import sys
import threading
import time
from typing import Any

import numpy as np
import tensorflow as tf
from absl import logging

from bert_tf.errors import InputError
from bert_tf.optimization import create_schedule
from bert_tf.support.progress import format_seconds, show_line
from bert_tf.training import devices

LINES = 20
"""Number of lines that stay of a training: one for each 5 %."""

SECONDS_WITHOUT_LINE = 600.0
"""A log gets a line after so long in any case."""

COMPILING = "Compiling the first step…"

_NOT_FINITE_ADVICE = (
    "No checkpoint is saved of it; older ones in the folder are whole. Likely "
    "causes: a learning rate that is too high (--learning_rate; try a half, or "
    "more warm-up steps), ids outside the vocabulary, or a damaged initial "
    "checkpoint."
)


def any_signal(caught, strategy):
    """The number of a signal that some worker caught, or 0."""
    number = caught[0] if caught else 0
    numbers, count = devices.sum_over_workers(strategy, [number, number > 0])
    return round(numbers / count) if count else 0


def create_writer(folder, strategy):
    """A TensorBoard writer for the chief; other workers write nothing."""
    if devices.is_chief(strategy):
        return tf.summary.create_file_writer(folder)
    return tf.summary.create_noop_writer()


def require_fine(scalars, step, batch, output_dir):
    """Raises `InputError` if the last step's loss or gradient is not finite.

    The batch is then written to a file. A step that the loss scale skipped is
    fine.

    Args:
        scalars: of the steps, arrays by name.
        step: the number of the first one.
        batch: of the last one; empty if it was not kept.
        output_dir: the folder to write the batch to.
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


def notes_on_skipped(scalars, step):
    """Yields a log line for each step that the loss scale skipped."""
    if "skipped" not in scalars:
        return
    for offset in np.flatnonzero(scalars["skipped"]):
        yield (
            f"Step {step + offset} is skipped: its gradients are too large for "
            "float16 with a loss scale of "
            f"{scalars['loss_scale'][offset]:g}. It is halved."
        )


def require_finite(weights, step):
    """Raises `InputError` if a weight is not finite; call it before saving."""
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
def caught_signals():
    """Collects SIGINT and SIGTERM; a second one has its usual effect.

    Yields:
        The list of signal numbers caught so far. It stays empty outside the
        main thread, where Python allows no handlers.
    """
    caught: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield caught
        return
    previous: dict[int, Any] = {}

    def catch(number, frame):
        caught.append(number)
        name = signal.Signals(number).name
        text = f"\n{name}: saving after this step; once more ends at once.\n"
        # Not `print`, which is not reentrant: the signal may interrupt it.
        with contextlib.suppress(OSError):
            os.write(2, text.encode())
        signal.signal(number, previous[number])

    for one in (signal.SIGINT, signal.SIGTERM):
        previous[one] = signal.signal(one, catch)
    try:
        yield caught
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


class Progress:
    """Shows progress: on a terminal, in the log, and in TensorBoard.

    A terminal has a line that changes. What stays, there and in the log, is a
    line for every 5 % of the training.

    Args:
        first_step: the step that training starts from.
        settings: `TrainingSettings`.
        writer: of `create_writer`.
        record: a `curves.Record`, whose picture is drawn in the end too.
    """

    def __init__(self, first_step, settings, writer, record):
        self.last_step = settings.num_train_steps
        self.batch_size = settings.batch_size
        self.schedule = create_schedule(
            settings.learning_rate,
            settings.num_train_steps,
            settings.num_warmup_steps,
        )
        self.writer = writer
        self.record = record
        remaining = self.last_step - first_step
        # Every 100 steps as in the original, but 20 times in a short run.
        self.write_every = max(1, min(100, remaining // LINES))
        self.written = self.logged = first_step
        self.unwritten, self.unlogged = [], []
        self.has_compiled = False
        self.is_terminal = sys.stderr.isatty()
        self.logged_at = time.monotonic()
        # Only the last few calls count, so that the rate follows the load.
        self.calls: collections.deque[tuple[float, int]] = collections.deque(
            maxlen=20
        )

    def __enter__(self):
        self.calls.append((time.perf_counter(), self.logged))
        return self

    def __exit__(self, *exception):
        self.clear()
        self.record.draw()
        self.writer.close()

    def begin_steps(self):
        """Says that the first step takes longer than the others."""
        if self.has_compiled:
            return
        if self.is_terminal:
            show_line(COMPILING)
        else:
            logging.info("%s", COMPILING)

    def record_steps(self, step, losses):
        """Notes the losses of the steps after `step`, finite or not."""
        steps = np.arange(step, step + len(losses))
        self.record.add(step, losses, np.array(self.schedule(steps)))

    def update(self, step, scalars):
        """Notes the scalars of the steps since the last call, [steps] each."""
        self.unwritten.append(scalars)
        self.unlogged.append(scalars["loss"])
        self.calls.append((time.perf_counter(), step))
        (then, first), (now, _) = self.calls[0], self.calls[-1]
        rate = (step - first) / max(now - then, 1e-9)
        shown = rate
        if not self.has_compiled:
            self.has_compiled = True
            # The first call includes tracing.
            self.calls.popleft()
            shown = rate if step == self.last_step else None
        if self._is_line_due(step):
            self.note(self._line(step, _mean(self.unlogged), shown))
            self.logged, self.logged_at = step, time.monotonic()
            self.unlogged = []
        elif self.is_terminal:
            show_line(self._line(step, float(scalars["loss"][-1]), shown))
        if step - self.written >= self.write_every or step == self.last_step:
            self.written = step
            scalars = {
                **self._means(),
                "learning_rate": self._learning_rate(step),
                "global_step/sec": rate,
            }
            _write_scalars(self.writer, step, scalars)

    def _is_line_due(self, step):
        # Of the whole training, also of one that was resumed.
        now, before = (
            at * LINES // self.last_step for at in (step, self.logged)
        )
        waited = time.monotonic() - self.logged_at
        is_late = not self.is_terminal and waited > SECONDS_WITHOUT_LINE
        return now > before or step == self.last_step or is_late

    def _means(self):
        """The mean of each scalar over the steps since the last event."""
        unwritten, self.unwritten = self.unwritten, []
        return {
            name: _mean([call[name] for call in unwritten])
            for name in unwritten[0]
        }

    def note(self, text):
        self.clear()
        logging.info("%s", text)

    def restart(self, step):
        """Leaves the time since the last call out of the rate."""
        self.calls.clear()
        self.calls.append((time.perf_counter(), step))

    def _line(self, step, loss, steps_per_second):
        """A line of progress; without a rate, also without the time left."""
        line = (
            f"step {step}/{self.last_step}  loss {loss:.4f}  "
            f"learning rate {self._learning_rate(step):.3g}"
        )
        if steps_per_second is None:
            return line
        left = (self.last_step - step) / max(steps_per_second, 1e-9)
        return (
            f"{line}  {steps_per_second * self.batch_size:.1f} examples/s  "
            f"{format_seconds(left)} left"
        )

    def _learning_rate(self, step):
        # The rate that the latest step used.
        return float(self.schedule(step - 1))

    def clear(self):
        """Removes the line from the terminal."""
        if self.is_terminal:
            show_line("")


def _mean(parts):
    """The mean of arrays of scalars, without those that are not finite."""
    values = np.concatenate(parts)
    # The norm of a skipped step is not finite.
    values = values[np.isfinite(values)]
    return values.mean() if values.size else np.nan


def write_eval_events(output_dir, step, scalars):
    """Writes results as TensorBoard scalars to the folder `eval`."""
    writer = tf.summary.create_file_writer(os.path.join(output_dir, "eval"))
    _write_scalars(writer, step, scalars)
    writer.close()


def _write_scalars(writer, step, scalars):
    # The same events as from `tf.summary.scalar`, which needs TensorBoard to be
    # installed.
    metadata = tf.compat.v1.SummaryMetadata()
    metadata.plugin_data.plugin_name = "scalars"
    with writer.as_default(step):
        for name, value in scalars.items():
            tf.summary.write(name, tf.constant(float(value)), metadata=metadata)
    writer.flush()
