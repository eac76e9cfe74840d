"""Evaluation during training: when, which was best, and when to stop.

The history of results is kept in a JSON file, with which a resumed run
continues.
"""

import json
import os
from collections.abc import Mapping

import numpy as np
from absl import logging

from bert_tf import checkpoints
from bert_tf.checkpoints import lora
from bert_tf.checkpoints.names import (
    BEST_FOLDER,
    CONFIG,
    EVAL_RESULTS,
    LABELS_FILE,
    SETTINGS_FILE,
    THRESHOLDS_FILE,
    VOCAB,
)
from bert_tf.errors import InputError
from bert_tf.support import files
from bert_tf.training import curves, devices
from bert_tf.training.history import is_better
from bert_tf.training.monitor import write_eval_events

EVALUATIONS_FILE = "evaluations.json"


class Evaluations:
    """The values of one metric during a run, by step.

    Args:
        path: of the JSON file; read if it exists.
        metric: the name of a result.
        patience: stop after N evaluations without improvement; None for never.
        step: the step that training starts from. Values of later steps are
            dropped, as these steps are repeated; the best one is kept, as its
            checkpoint exists.
        writes: whether this process writes the file.

    Attributes:
        best: step and value of the best evaluation, or None.

    Raises:
        InputError: the file is of another metric, or cannot be read.
    """

    def __init__(
        self,
        path: str,
        metric: str,
        patience: int | None,
        step: int,
        writes: bool = True,
    ) -> None:
        self.path = path
        self.metric = metric
        self.patience = patience
        self.writes = writes
        self.best: tuple[int, float] | None = None
        self.values: dict[int, float] = {}
        if step and os.path.exists(path):
            self._read(step)

    def _read(self, step: int) -> None:
        try:
            with open(self.path, encoding="utf-8") as file:
                kept = json.load(file)
            metric, best = kept["metric"], kept["best"]
            self.best = int(best["step"]), float(best["value"])
            for number, value in kept["values"].items():
                if int(number) <= step:
                    self.values[int(number)] = float(value)
        except (
            OSError,
            ValueError,
            KeyError,
            TypeError,
            AttributeError,
            OverflowError,
            RecursionError,
        ) as error:
            raise InputError(
                f"{self.path} must hold what --keep_best wrote there, and "
                f"cannot be read so ({error!r}). Remove it to begin anew with "
                "looking for the best."
            ) from error
        if metric != self.metric:
            raise InputError(
                f"{self.path} is about {metric}. Received: "
                f"--keep_best={self.metric}. Remove that file and the folder "
                "of the best checkpoint beside it to change over."
            )

    @property
    def best_step(self) -> int | None:
        """The step of the best evaluation, or None."""
        return self.best and self.best[0]

    def knows(self, step: int) -> bool:
        """Whether there is a value of this step."""
        return step in self.values

    def is_new_best(self, step: int, results: Mapping[str, float]) -> bool:
        """Whether results are better than the best so far.

        Also true when a resumed run repeats its best evaluation: the checkpoint
        may not have been written before the run was killed.
        """
        value = float(results[self.metric])
        return (
            self.best is None
            or self.best == (step, value)
            or is_better(self.metric, value, self.best[1])
        )

    def add(self, step: int, results: Mapping[str, float]) -> None:
        """Records results; call it after a new best checkpoint is saved."""
        value = float(results[self.metric])
        self.values[step] = value
        if self.best is None or self.is_new_best(step, results):
            self.best = step, value
        if not self.writes:
            return
        best_step, best_value = self.best
        kept = {
            "metric": self.metric,
            "best": {"step": best_step, "value": best_value},
            "values": {str(step): value for step, value in self.values.items()},
        }
        files.write_text(self.path, json.dumps(kept, indent=2) + "\n")

    def is_over(self) -> bool:
        """Whether there was no improvement for `patience` evaluations."""
        return self.patience is not None and self._since_best() >= self.patience

    def _since_best(self) -> int:
        if self.best is None:
            return 0
        return sum(step > self.best[0] for step in self.values)

    def summary(self) -> str:
        """The best evaluation, for the log."""
        if self.best is None:
            return f"{self.metric} was not evaluated yet"
        step, value = self.best
        text = f"the best {self.metric} is {value:.6g}, of step {step}"
        if since := self._since_best():
            text += f"; {since} evaluation{'s' * (since > 1)} since"
        return text


class Milestones:
    """Steps at which a checkpoint is saved or the model is evaluated."""

    def __init__(
        self, model, start, settings, strategy, evaluation, evaluate, record
    ):
        self.model = model
        self.settings = settings
        self.record = record
        self.strategy = strategy
        self.evaluation = evaluation
        self.get_results = evaluate
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
        """The next step at which to save or evaluate."""
        intervals = [self.settings.save_checkpoints_steps]
        if self.evaluation is not None:
            intervals.append(self.evaluation.every_steps)
        stops = [(step // every + 1) * every for every in intervals]
        return min([*stops, self.settings.num_train_steps])

    def lacks(self, step):
        """Whether an evaluation is due at this step."""
        if self.evaluation is None or not step or step in self.done:
            return False
        if self.evaluations is not None and self.evaluations.knows(step):
            return False
        is_last = step == self.settings.num_train_steps
        return is_last or step % self.evaluation.every_steps == 0

    def evaluate(self, step):
        """Evaluates on the chief; keeps the checkpoint if it is the best.

        Other workers wait for the value of the metric, if there is one: it may
        stop training.
        """
        self.done.add(step)
        is_chief, results = devices.is_chief(self.strategy), {}
        if is_chief:
            results = dict(self.get_results())
            write_eval_events(self.settings.output_dir, step, results)
            text = "  ".join(f"{k} {value:.6g}" for k, value in results.items())
            logging.info("Evaluated step %d: %s", step, text)
            self.record.history.evaluate(step, results)
        if self.evaluations is None:
            self.record.draw()
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
                lora.merged_weights(self.model),
            )
        self.evaluations.add(step, results)
        logging.info("So far %s.", self.evaluations.summary())
        self.record.history.metric = metric
        self.record.history.best = self.evaluations.best_step
        self.record.draw()

    def is_over(self):
        """Whether training stops early."""
        return self.evaluations is not None and self.evaluations.is_over()

    def summary(self):
        """The best evaluation so far, for the log."""
        return self.evaluations.summary() if self.evaluations else "no metric"


def _save_best(folder, step, weights):
    """Writes a model folder: weights, and the files that belong to them."""
    best = os.path.join(folder, BEST_FOLDER)
    checkpoints.save(best, step, weights, keep=1)
    copy_model_files(folder, best)


def copy_model_files(folder, target):
    """Copies what belongs to a model, besides its weights, where it is there.

    Args:
        folder: of the model.
        target: another folder, which exists.
    """
    of_model = (CONFIG, VOCAB, LABELS_FILE, SETTINGS_FILE, THRESHOLDS_FILE)
    for name in of_model:
        source = os.path.join(folder, name)
        if os.path.exists(source):
            files.copy(source, os.path.join(target, name))


def load_best(model, output_dir):
    """Loads the best weights that training kept in a folder.

    Returns:
        Their step; None if no best checkpoint was kept.
    """
    reader = checkpoints.open_latest(os.path.join(output_dir, BEST_FOLDER))
    if reader is None:
        return None
    weights = checkpoints.named_weights(model)
    checkpoints.load(weights, reader, expect=weights)
    step = checkpoints.global_step(reader)
    logging.info("Using the best checkpoint, %s (step %d).", reader.path, step)
    return step


def write_eval_results(
    output_dir, results, more=(), file_name=EVAL_RESULTS, trained=False
):
    """Writes `eval_results.txt` and the same as TensorBoard scalars.

    Args:
        output_dir: folder; events go to `eval/` in it.
        results: those of the original, numbers by name, with `global_step`.
            Floats are written in their shortest float32 form.
        more: those that the original does not have; written after its lines.
        file_name: another name for the results of a test set, which are not
            written as scalars.
        trained: whether they are of a training's end, and then drawn into its
            picture too.
    """
    more = dict(more)
    path = os.path.join(output_dir, file_name)
    lines = []
    is_other = file_name != EVAL_RESULTS
    of_file = f", {file_name}" if is_other else ""
    logging.info("***** Eval results%s *****", of_file)
    for key, value in [*sorted(results.items()), *sorted(more.items())]:
        text = str(value if isinstance(value, int) else np.float32(value))
        logging.info("  %s = %s", key, text)
        lines.append(f"{key} = {text}\n")
    files.write_text(path, "".join(lines))
    if file_name == EVAL_RESULTS:
        step = results["global_step"]
        write_eval_events(output_dir, step, {**results, **more})
        if trained:
            curves.add_results(output_dir, step, {**results, **more})
