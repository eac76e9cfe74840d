"""What evaluations during a training have come to: which one was best.

Comes in: a step, and the results of evaluating there. Goes out: whether they
are the best so far, and whether it is time to stop. All of it is kept in a
small JSON file, so that a training that was killed goes on with it. Models,
checkpoints and how results are made stay outside.
"""

import json
import math
import os
from collections.abc import Mapping

import numpy as np
from absl import logging

from bert_tf import checkpoints
from bert_tf.checkpoints.names import BEST_FOLDER, CONFIG, LABELS_FILE, VOCAB
from bert_tf.errors import InputError
from bert_tf.support import files
from bert_tf.training import devices
from bert_tf.training.monitor import write_eval_events

EVALUATIONS_FILE = "evaluations.json"


def is_better(metric: str, value: float, than: float) -> bool:
    """Whether a value is better: higher, but lower for a metric named loss.

    Anything is better than NaN.
    """
    if math.isnan(than):
        return not math.isnan(value)
    return value < than if "loss" in metric else value > than


class Evaluations:
    """Of one metric, in the order of their steps.

    Args:
        path: of the JSON file; read if it is there.
        metric: the name of a result.
        patience: after how many evaluations in a row without a new best one it
            is time to stop; None for never.
        step: that the training starts from. Evaluations of later steps are of a
            training that was killed before it saved a checkpoint; they are
            forgotten. The best one is not: its checkpoint is there.
        writes: whether this process is the one that writes the file.

    Attributes:
        best: step and value of the best one, or None.

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

    def knows(self, step: int) -> bool:
        """Whether the training was evaluated at that step."""
        return step in self.values

    def is_new_best(self, step: int, results: Mapping[str, float]) -> bool:
        """Whether results are better than the best so far.

        A training that was killed and evaluates its best step again finds the
        same value; its checkpoint is then written again, too.
        """
        value = float(results[self.metric])
        return (
            self.best is None
            or self.best == (step, value)
            or is_better(self.metric, value, self.best[1])
        )

    def add(self, step: int, results: Mapping[str, float]) -> None:
        """Keeps the results; to be called when a new best one is saved."""
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
        """Whether it has not become better for as long as patience allows."""
        return self.patience is not None and self._since_best() >= self.patience

    def _since_best(self) -> int:
        if self.best is None:
            return 0
        return sum(step > self.best[0] for step in self.values)

    def summary(self) -> str:
        """The best one in a few words, for the log."""
        if self.best is None:
            return f"{self.metric} was not looked at yet"
        step, value = self.best
        text = f"the best {self.metric} is {value:.6g}, of step {step}"
        if since := self._since_best():
            text += f"; {since} evaluation{'s' * (since > 1)} since"
        return text


class Milestones:
    """Steps where a checkpoint is saved or the model evaluated."""

    def __init__(self, model, start, settings, strategy, evaluation, evaluate):
        self.model = model
        self.settings = settings
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

    def evaluate(self, step):
        """Evaluates; keeps the checkpoint if it is the best so far.

        The chief does; other workers wait for it if there is a metric, which
        may end the training.
        """
        self.done.add(step)
        is_chief, results = devices.is_chief(self.strategy), {}
        if is_chief:
            results = dict(self.get_results())
            write_eval_events(self.settings.output_dir, step, results)
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
    write_eval_events(output_dir, results["global_step"], {**results, **more})
