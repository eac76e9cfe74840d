"""The picture of a training, as SVG: what a `History` holds, over its steps.

The file holds the numbers too, so that a resumed training goes on with it.
"""

import math
import os
import time
from collections.abc import Mapping, Sequence

import numpy as np
from absl import logging

from bert_tf.errors import InputError
from bert_tf.support import files, locks, svg
from bert_tf.training.history import Bin, History

PICTURE = "training.svg"
LARGEST_FILE = 4_000_000
SECONDS_PER_PICTURE = 60.0
"""A picture that is older is drawn again, also before the next checkpoint."""

_LEFT, _WIDTH, _RIGHT = 64, 640, 44
_TOP, _GAP, _ROW, _HEADING = 62, 56, 18, 14
_MOST_DOTS = 30
_MOST_RESULTS = len(svg.SERIES)

_Points = list[tuple[float, float]]


class Record:
    """The `History` of a training, and its picture in the folder.

    Args:
        folder: of the training.
        num_train_steps: the step that it goes to.
        step: the step that it starts from. The history of a picture that is
            there goes on, unless it is 0.
        writes: whether this process draws the picture.
    """

    def __init__(
        self, folder: str, num_train_steps: int, step: int, writes: bool = True
    ) -> None:
        self.folder = folder
        self.path = os.path.join(folder, PICTURE)
        self.writes = writes
        if writes:  # Nothing more may be drawn in a training that is over.
            files.remove_left_overs(self.path)
        found = read(self.path, step) if step and writes else None
        self.history = found or History(num_train_steps)
        self.history.num_train_steps = num_train_steps
        self._drawn = time.monotonic()

    def add(
        self, step: int, losses: Sequence[float], rates: Sequence[float]
    ) -> None:
        """Records the steps after `step`."""
        for number, (loss, rate) in enumerate(zip(losses, rates), step + 1):
            self.history.add(number, float(loss), float(rate))
        if time.monotonic() - self._drawn > SECONDS_PER_PICTURE:
            self.draw()

    def draw(self) -> None:
        """Draws the picture, unless that is another process' work."""
        self._drawn = time.monotonic()
        if self.writes and not locks.find_successor(self.folder):
            write(self.path, self.history)


def add_results(folder: str, step: int, results: Mapping[str, float]) -> None:
    """Draws further results into the picture of a training, if there is one."""
    path = os.path.join(folder, PICTURE)
    history = read(path)
    if history is not None:
        history.evaluate(step, results)
        write(path, history)


def read(path: str, step: int | None = None) -> History | None:
    """The `History` in a picture; None if there is none.

    Args:
        path: of the file.
        step: what came after it is left out; None for all.
    """
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read(LARGEST_FILE)
        found = History.from_json(svg.read_data(text))
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError, InputError) as error:
        logging.warning(
            "%s cannot be read, and is drawn anew without what it had: %s",
            path,
            error,
        )
        return None
    if step is not None:
        found.back_to(step)
    return found


def write(path: str, history: History) -> None:
    """Draws a history, if it has steps; warns if it cannot be written."""
    if not history.bins and history.not_finite is None:
        return
    try:
        files.write_text(path, draw(history))
    except InputError as error:
        # Not worth the loss of a training.
        logging.warning("%s", error)


def draw(history: History) -> str:
    """Loss, learning rate and results over steps, one above the other."""
    first = _first_step(history)
    last = max(first + 1, history.num_train_steps, history.last_step)
    ends, marked = (first, float(last)), _marked(history)
    top = _TOP + _ROW * bool(marked)
    loss = _loss(history, ends, top)
    parts, axes = loss.draw(lift=_ROW * bool(marked)), [loss.axes]
    for panel in (_rate, _results):
        drawn = panel(history, ends, axes[-1].bottom + _GAP)
        if drawn is not None:
            parts += drawn.draw()
            axes.append(drawn.axes)
    bottom = axes[-1].bottom
    middle = _LEFT + _WIDTH / 2
    width = _LEFT + _WIDTH + _RIGHT
    parts += [
        svg.text(
            16, 24, _heading(history), "start", size=_HEADING, room=width - 32
        ),
        svg.text(middle, bottom + 36, "step"),
        *(part for mark in marked for part in _mark(axes, *mark)),
    ]
    title = "Loss, learning rate and evaluations of a training"
    return svg.document(width, bottom + 50, title, parts, history.to_json())


def _first_step(history: History) -> float:
    """Where the axis of steps begins: 0, if there is nothing missing."""
    if not history.bins:
        return 0.0
    first = min(history.bins) * history.width
    return float(first if first > history.num_train_steps / 20 else 0)


def _heading(history: History) -> str:
    words = f"Step {history.last_step:,} of {history.num_train_steps:,}"
    if len(history.evaluations) == 1:
        (results,) = history.evaluations.values()
        for name in _shown_results(history):
            words += f", {name} {results[name]:.4g}"
    return words


def _marked(history: History) -> list[tuple[int, str]]:
    """Steps that stand out: the best one, and where training failed."""
    found = []
    if history.best is not None:
        found.append((history.best, f"best {history.metric}"))
    if history.not_finite is not None:
        found.append((history.not_finite, "loss not finite"))
    return found


def _mark(panels: Sequence[svg.Axes], step: int, words: str) -> list[str]:
    """A line through all panels, but not through the texts between them."""
    first = panels[0]
    x, _ = first.place(step, 0)
    words = f"{words}: step {step:,}"
    half = svg.width_of(words) / 2
    middle = min(max(x, first.left + half), first.right - half)
    d = "".join(f"M{x} {axes.top:g}V{axes.bottom:g}" for axes in panels)
    return [
        svg.path(d, "third", 1.5, "4 4"),
        svg.text(middle, first.top - 6, words),
    ]


class _Panel:
    """One of the diagrams.

    Attributes:
        axes: where it is.
        parts: what is drawn in it.
        legend: colour, name and opacity of each series.
    """

    def __init__(self, heading: str, axes: svg.Axes, about: int = 5) -> None:
        self.heading = heading
        self.axes = axes
        self.parts: list[str] = []
        self.legend: list[tuple[str, str, float]] = []
        self._y_ticks = svg.ticks(*axes.y_range, about=about)

    def draw(self, lift: float = 0) -> list[str]:
        """All of it; the heading stands so many pixels higher than usual."""
        axes, y = self.axes, self.axes.top - 8 - lift
        steps = [x for x in svg.ticks(*axes.x_range, 6) if x == int(x)]
        forms = "{:.6g}".format, "{:,.0f}".format
        parts = [
            svg.text(axes.left, y, self.heading, "start"),
            *axes.draw("", "", steps, self._y_ticks, *forms),
            *self.parts,
        ]
        right = axes.right
        for color, words, opacity in reversed(self.legend):
            left = right - svg.width_of(words)
            swatch = f"M{left - 26:g} {y - 4:g}h20"
            parts += [
                svg.text(right, y, words, "end"),
                svg.path(swatch, color, 3, opacity=opacity),
            ]
            right = left - 40
        return parts

    def room(self) -> float:
        """Pixels beside the heading that the legend leaves."""
        widths = (svg.width_of(words) + 40 for _, words, _ in self.legend)
        return self.axes.width - svg.width_of(self.heading) - sum(widths)


# ------------------------------------------------------------------------ loss


def _loss(history: History, ends, top: float) -> _Panel:
    steps, bins = _places(history)
    means = np.array([one.mean for one in bins])
    smooth = _smooth(means, np.array([one.size for one in bins]))
    name = _loss_of_evaluations(history)
    seen = [*smooth, *(y for _, y in (_series(history, name) if name else ()))]
    if bins:
        seen += _usual_range(bins)
    axes = _axes(ends, top, 220, seen)
    panel = _Panel("loss", axes)
    if bins and history.width == 1:
        raw = list(zip(steps, means))
        panel.parts.append(_line(axes, raw, "first", 1, 0.4))
        panel.parts += _dots(axes, raw, "first", 2.5)
        panel.legend.append(("first", "each step", 0.4))
    elif bins:
        panel.parts.append(_band(axes, steps, bins))
        words = f"range of {history.width} steps"
        panel.legend.append(("first", words, 0.25))
    if len(smooth):
        panel.parts.append(_line(axes, list(zip(steps, smooth)), "first", 2))
        panel.legend.append(("first", "smoothed", 1))
    if name:
        panel.parts += _evaluated(axes, history, name, "second")
        panel.legend.append(("second", name, 1))
    return panel


def _usual_range(bins: list[Bin]) -> list[float]:
    """Of losses, but for a few so high that all others would look alike."""
    low = min(one.low for one in bins)
    highs = [one.high for one in bins]
    usual = float(np.quantile(highs, 0.98))
    return [low, min(max(highs), usual + (usual - low))]


def _places(history: History) -> tuple[list[float], list[Bin]]:
    """The bins in order, and the middle of each."""
    bins = sorted(history.bins.items())
    middles = [
        (number * history.width + 1 + one.last) / 2 for number, one in bins
    ]
    return middles, [one for _, one in bins]


def _smooth(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Means of each value and those around it, nearer ones with more weight."""
    reach = len(values) // 25
    if not reach:
        return values[:0]
    kernel = 1 - np.abs(np.arange(-reach, reach + 1)) / (reach + 1)
    weights = np.convolve(counts, kernel, "same")
    return np.convolve(values * counts, kernel, "same") / weights


def _loss_of_evaluations(history: History) -> str | None:
    """The name of the result that is drawn beside the training loss."""
    names = history.names()
    first = [history.metric] if "loss" in (history.metric or "") else []
    for name in (*first, "eval_loss", "loss"):
        if name in names:
            return name
    return None


def _band(axes: svg.Axes, steps: Sequence[float], bins: list[Bin]) -> str:
    there = _path(axes, [(x, one.high) for x, one in zip(steps, bins)])
    pairs = list(zip(steps, bins))[::-1]
    back = _path(axes, [(x, one.low) for x, one in pairs])
    return svg.area(f"{there}L{back[1:]}z", "first", 0.25)


# --------------------------------------------------------------- learning rate


def _rate(history: History, ends, top: float) -> _Panel | None:
    bins = [one for _, one in sorted(history.bins.items())]
    points = [(float(one.last), one.rate) for one in bins]
    if not points:
        return None
    axes = _axes(ends, top, 80, [0.0, *(y for _, y in points)])
    panel = _Panel("learning rate", axes, about=3)
    panel.parts.append(_line(axes, points, "third", 2))
    panel.parts += _dots(axes, points, "third", 2.5)
    return panel


# ----------------------------------------------------------------- evaluations


def _results(history: History, ends, top: float) -> _Panel | None:
    """The results that are no losses."""
    names = _shown_results(history)
    if not names or len(history.evaluations) < 2:
        return None
    seen = [y for name in names for _, y in _series(history, name)]
    axes = _axes(ends, top, 150, seen)
    panel = _Panel("evaluation", axes)
    for color, name in zip(svg.SERIES, names):
        # The first one lies above the others.
        drawn = _evaluated(axes, history, name, color)
        panel.parts = drawn + panel.parts
        best = history.best_of(name)
        words = name
        if best is not None:
            value = history.evaluations[best][name]
            words += f", best {value:.4g} at {best:,}"
        panel.legend.append((color, words, 1))
    if panel.room() < 0:
        panel.legend = [
            (color, name, 1) for color, name in zip(svg.SERIES, names)
        ]
    while panel.room() < 0 and len(panel.legend) > 1:
        panel.legend.pop()  # The tips of the dots have the name.
    return panel


def _shown_results(history: History) -> list[str]:
    """Names of results of one scale, that of the best checkpoint first."""
    names = [name for name in history.names() if "loss" not in name]
    if history.metric in names:
        names.remove(history.metric)
        names.insert(0, history.metric)
    highest = {
        name: max((y for _, y in _series(history, name)), default=math.nan)
        for name in names
    }
    names = [name for name in names if math.isfinite(highest[name])]
    is_share = bool(names) and highest[names[0]] <= 1
    alike = [name for name in names if (highest[name] <= 1) == is_share]
    return alike[:_MOST_RESULTS]


def _series(history: History, name: str) -> _Points:
    return [
        (float(step), results[name])
        for step, results in history.evaluations.items()
        if math.isfinite(results.get(name, math.nan))
    ]


def _evaluated(axes, history: History, name: str, color: str) -> list[str]:
    """A result over steps, with a ring around its best value."""
    points = _series(history, name)
    parts = [_line(axes, points, color, 2)] if len(points) > 1 else []
    for step, value in points:
        x, y = axes.place(step, value)
        tip = f"step {step:,.0f}: {name} {value:.6g}"
        parts.append(svg.dot(x, y, color=color, tip=tip))
    best = history.best_of(name)
    if best is not None and len(points) > 1:
        x, y = axes.place(best, history.evaluations[best][name])
        parts.append(svg.ring(x, y, color=color))
    return parts


# ------------------------------------------------------------------- all panels


def _axes(ends, top: float, height: float, seen: Sequence[float]) -> svg.Axes:
    """Axes that show all values given."""
    low, high = (min(seen), max(seen)) if len(seen) else (0.0, 1.0)
    # Not narrower than numbers can be told apart.
    room = max((high - low) * 0.06, max(abs(low), abs(high), 1e-30) * 1e-3)
    start = 0.0 if low == 0 else low - room
    return svg.Axes(_LEFT, top, _WIDTH, height, ends, (start, high + room))


def _path(axes: svg.Axes, points: _Points) -> str:
    """A path through points; those out of range lie on the border."""
    low, high = axes.y_range
    placed = [axes.place(x, min(max(y, low), high)) for x, y in points]
    return "M" + "L".join(f"{x:g} {y:g}" for x, y in placed)


def _line(axes, points: _Points, color: str, width: float, opacity=1.0) -> str:
    return svg.path(_path(axes, points), color, width, opacity=opacity)


def _dots(axes: svg.Axes, points: _Points, color: str, size: float):
    """Dots where there are few enough points to tell them apart."""
    if len(points) > _MOST_DOTS:
        return []
    low, high = axes.y_range
    parts = []
    for step, value in points:
        x, y = axes.place(step, min(max(value, low), high))
        tip = f"step {step:,.0f}: {value:.6g}"
        parts.append(svg.dot(x, y, size, color, tip=tip))
    return parts
