"""What happened in a training: losses, learning rates, evaluations.

Losses of long trainings are kept in bins of several steps, so that memory and
files stay small.
"""

import json
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from bert_tf.errors import InputError

MOST_BINS = 512
MOST_EVALUATIONS = 512


FALLING = ("loss", "mse", "mae", "kl")
"""Parts of the names of results that are better if they are lower."""


def is_better(metric: str, value: float, than: float) -> bool:
    """Whether a value is better: higher, or lower if `FALLING` says so.

    Anything is better than NaN.
    """
    if math.isnan(than):
        return not math.isnan(value)
    falls = any(part in FALLING for part in metric.split("_"))
    return value < than if falls else value > than


class Bin(NamedTuple):
    """Some steps in a row.

    Attributes:
        last: the last step.
        size: number of steps whose loss is finite; at least one.
        total: the sum of these losses.
        low, high: the lowest and the highest one.
        rate: the learning rate of the last step.
    """

    last: int
    size: int
    total: float
    low: float
    high: float
    rate: float

    @property
    def mean(self) -> float:
        return self.total / self.size

    def plus(self, later: "Bin") -> "Bin":
        """Both, one after the other."""
        return Bin(
            later.last,
            self.size + later.size,
            self.total + later.total,
            min(self.low, later.low),
            max(self.high, later.high),
            later.rate,
        )


class History:
    """Losses, learning rates and results, by step.

    Steps are counted from 1: the first one that is taken leads to step 1.

    Attributes:
        num_train_steps: the step that training goes to.
        width: number of steps in a bin.
        bins: by number; bin N has the steps N * width + 1 to (N + 1) * width.
        evaluations: results by name, by step.
        best: the step of the checkpoint that is kept as the best; None for
            none.
        metric: the result by which it is the best; None for none.
        not_finite: the step that was reached when a loss was not finite; None
            for none.
    """

    def __init__(self, num_train_steps: int) -> None:
        self.num_train_steps = num_train_steps
        self.width = 1
        self.bins: dict[int, Bin] = {}
        self.evaluations: dict[int, dict[str, float]] = {}
        self.best: int | None = None
        self.metric: str | None = None
        self.not_finite: int | None = None

    @property
    def last_step(self) -> int:
        """The last step that has a loss; 0 for none."""
        return max((one.last for one in self.bins.values()), default=0)

    def add(self, step: int, loss: float, rate: float) -> None:
        """Records a step."""
        if not math.isfinite(loss):
            self.not_finite = step - 1
            return
        # Few digits, which a file keeps: a training that is resumed from one
        # goes on with the same numbers.
        loss, rate = _short(loss), _short(rate)
        one = Bin(step, 1, loss, loss, loss, rate)
        number = (step - 1) // self.width
        before = self.bins.get(number)
        self.bins[number] = before.plus(one) if before else one
        if len(self.bins) > MOST_BINS:
            self._widen()

    def _widen(self) -> None:
        """Makes one bin of two."""
        self.width *= 2
        narrow, self.bins = self.bins, {}
        for number in sorted(narrow):
            before = self.bins.get(number // 2)
            later = narrow[number]
            self.bins[number // 2] = before.plus(later) if before else later

    def evaluate(self, step: int, results: Mapping[str, float]) -> None:
        """Records the results of an evaluation; those of the step are gone."""
        self.evaluations[step] = {
            name: _short(float(value))
            for name, value in results.items()
            if name != "global_step"
        }
        self.evaluations = dict(sorted(self.evaluations.items()))
        if len(self.evaluations) > MOST_EVALUATIONS:
            some = spread(list(self.evaluations), MOST_EVALUATIONS // 2)
            kept = {*some, self.best, step}
            self.evaluations = {
                at: found
                for at, found in self.evaluations.items()
                if at in kept
            }

    def best_of(self, name: str) -> int | None:
        """The step of the first evaluation with the best value of a result."""
        best = None
        for step, results in self.evaluations.items():
            if name in results and (
                best is None
                or is_better(name, results[name], self.evaluations[best][name])
            ):
                best = step
        return best

    def names(self) -> list[str]:
        """The names of all results, in order."""
        of_all = self.evaluations.values()
        return list(dict.fromkeys(name for one in of_all for name in one))

    def back_to(self, step: int) -> None:
        """Forgets what came after a step; bins that reach beyond it go too."""
        self.bins = {
            number: one for number, one in self.bins.items() if one.last <= step
        }
        self.evaluations = {
            at: results
            for at, results in self.evaluations.items()
            # Its checkpoint is still there.
            if at <= step or at == self.best
        }
        if self.not_finite is not None and self.not_finite >= step:
            self.not_finite = None

    # -------------------------------------------------------------- as a text

    def to_json(self) -> str:
        """As one line, without characters that have a meaning in XML."""
        bins = [
            [number, one.last, one.size, one.total, one.rate]
            + ([one.low, one.high] if one.size > 1 else [])
            for number, one in sorted(self.bins.items())
        ]
        text = json.dumps(
            {
                "num_train_steps": self.num_train_steps,
                "width": self.width,
                "bins": bins,
                "evaluations": [
                    [step, results]
                    for step, results in self.evaluations.items()
                ],
                "best": self.best,
                "metric": self.metric,
                "not_finite": self.not_finite,
            },
            separators=(",", ":"),
        )
        for sign in "<>&":
            text = text.replace(sign, f"\\u{ord(sign):04x}")
        return text

    @classmethod
    def from_json(cls, text: str) -> "History":
        """The inverse of `to_json`.

        Raises:
            InputError: the text is not of that form.
        """
        try:
            read = json.loads(text)
            found = cls(int(read["num_train_steps"]))
            found.width = int(read["width"])
            for number, last, size, total, rate, *ends in read["bins"]:
                low, high = map(float, ends or (total, total))
                losses = int(size), float(total), low, high
                found.bins[int(number)] = Bin(int(last), *losses, float(rate))
            for step, results in read["evaluations"]:
                found.evaluations[int(step)] = {
                    str(name): float(value) for name, value in results.items()
                }
            found.best = _step_or_none(read["best"])
            found.not_finite = _step_or_none(read["not_finite"])
            found.metric = read["metric"] and str(read["metric"])
            found._check()
        except (
            ValueError,
            KeyError,
            TypeError,
            AttributeError,
            OverflowError,
            RecursionError,
        ) as error:
            raise InputError(f"There is no curve in it ({error!r})") from error
        return found

    def _check(self) -> None:
        """Raises `ValueError` for values that no training has."""
        numbers = [
            x for number, one in self.bins.items() for x in (number, *one)
        ]
        sizes = [one.size for one in self.bins.values()]
        steps = [*self.bins, *self.evaluations]
        steps += [one.last for one in self.bins.values()]
        steps += [self.width, self.num_train_steps]
        if (
            self.width < 1
            or len(self.bins) > MOST_BINS
            or min(sizes, default=1) < 1
            or not all(map(math.isfinite, numbers))
            or not all(0 <= step < 2**53 for step in steps)
        ):
            raise ValueError("values out of range")


def _step_or_none(value: int | None) -> int | None:
    return None if value is None else int(value)


def _short(value: float) -> float:
    return float(f"{value:.6g}")


def spread(steps: Sequence[int], most: int) -> list[int]:
    """At most so many of some steps, at about equal distances; the last too."""
    if len(steps) <= most:
        return list(steps)
    last = len(steps) - 1
    return [
        steps[round(number * last / max(most - 1, 1))] for number in range(most)
    ]
