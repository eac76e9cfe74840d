"""The evaluations of a training as a table of text."""

import math

from bert_tf.training.history import History, spread

MOST_ROWS = 20
WIDTH = 100


def make(history: History, most_rows: int = MOST_ROWS) -> str:
    """A line for each evaluation; the best value of each result has a star.

    Args:
        history: with evaluations.
        most_rows: of many evaluations some at equal distances are shown, and
            those with a best value.
    """
    names = _columns(history)
    best = {name: history.best_of(name) for name in names}
    steps = list(history.evaluations)
    always = [at for at in (*best.values(), history.best) if at is not None]
    shown = _shown(steps, set(always), most_rows)
    rows = [["step", *(f"{name} " for name in names), ""]]
    for step in shown:
        results = history.evaluations[step]
        cells = [
            _cell(results.get(name, math.nan)) + " *"[step == best[name]]
            for name in names
        ]
        kept = "kept as the best" if step == history.best else ""
        rows.append([str(step), *cells, kept])
    widths = [max(map(len, column)) for column in zip(*rows)]
    lines = [_line(row, widths) for row in rows]
    if len(shown) < len(steps):
        lines.append(f"  ({len(shown)} of {len(steps)} evaluations)")
    return "\n".join(lines)


def _line(row: list[str], widths: list[int]) -> str:
    *cells, note = row
    joined = "  ".join(map(str.rjust, cells, widths))
    return f"  {joined} {note}".rstrip()


def _cell(value: float) -> str:
    return f"{value:.4f}" if abs(value) < 1000 else f"{value:.6g}"


def _columns(history: History) -> list[str]:
    """Results that fit into a line, that of the best checkpoint first."""
    names = history.names()
    if history.metric in names:
        names.remove(history.metric)
        names.insert(0, history.metric)
    fitting, width = [], 30
    for name in names:
        width += max(len(name), 8) + 3
        if width <= WIDTH:
            fitting.append(name)
    return fitting


def _shown(steps: list[int], always: set[int], most: int) -> list[int]:
    """At most so many steps, and those that are always shown."""
    if len(steps) <= most:
        return steps
    kept = {*spread(steps, max(most - len(always), 2)), *always}
    return [step for step in steps if step in kept]
