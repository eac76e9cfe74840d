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

from bert_tf.errors import InputError
from bert_tf.support import files

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
        except (OSError, ValueError, KeyError, TypeError) as error:
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
