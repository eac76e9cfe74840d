"""The picture of an evaluation, as SVG: what the report says, to look at."""

from collections.abc import Sequence

import numpy as np

from bert_tf.support import svg
from bert_tf.tasks import metrics, report

PICTURE = "eval_report.svg"
MOST_CLASSES = 20
MOST_BARS = 30
MOST_POINTS = 2000

_NAME_ROOM = 150
_HEADING = 14
_MARGIN = 16
_COLUMN = 64
# So pale that the text of the page's colour can be read in a cell.
_STRONGEST = 0.6
_FEW_CLASSES = 8


def report_one_label(
    labels: Sequence[str], truth: np.ndarray, probabilities: np.ndarray
) -> dict[str, str]:
    """The report of rows with one label each, as text and as a picture.

    Args:
        labels, truth, probabilities: as in `draw_one_label`.

    Returns:
        The texts of both files by name.
    """
    return {
        report.REPORT: report.report_one_label(labels, truth, probabilities),
        PICTURE: draw_one_label(labels, truth, probabilities),
    }


def report_many_labels(
    labels: Sequence[str], truth: np.ndarray, found: np.ndarray
) -> dict[str, str]:
    """The same of rows with any number of labels each.

    Args:
        labels, truth, found: as in `report.report_many_labels`.
    """
    counts = report.count_many_labels(truth, found)
    return {
        report.REPORT: report.report_many_labels(labels, truth, found),
        PICTURE: draw_label_scores(labels, counts, "Scores of each label"),
    }


def draw_one_label(
    labels: Sequence[str], truth: np.ndarray, probabilities: np.ndarray
) -> str:
    """The confusion matrix and the reliability diagram of one label for each.

    Of more than `MOST_CLASSES` labels, those with most mistakes are shown.

    Args:
        labels: L names, in the order of their ids.
        truth: int [N], the id of the true label.
        probabilities: float [N, L].
    """
    predicted = probabilities.argmax(axis=-1)
    confusion = metrics.confusion_matrix(
        truth.tolist(), predicted.tolist(), len(labels)
    )
    bins = report.reliability_of(truth, probabilities)
    parts, right, low = _confusion(labels, confusion)
    more, right, bottom = _reliability(bins, right + 44)
    return svg.document(
        right,
        max(low, bottom),
        "Confusion matrix and calibration",
        parts + more,
    )


def draw_label_scores(
    names: Sequence[str],
    counts: Sequence[report.LabelCounts],
    heading: str,
    unit: str = "rows",
    bins: Sequence[report.Bin] = (),
) -> str:
    """A bar for the F1 of each label, with precision, recall and support.

    Of more than `MOST_BARS` labels, those with most mistakes are shown.

    Args:
        names: of the labels.
        counts: of each label.
        heading: what is scored.
        unit: what support counts.
        bins: of confidences in words, for a reliability diagram beside it.
    """
    shown = _most_wrong([one.wrong for one in counts], MOST_BARS)
    heading += _of_all(shown, names)
    room = _room([names[at] for at in shown], 2 * _NAME_ROOM)
    axes = svg.Axes(_MARGIN + room + 8, 62, 300, 24 * max(len(shown), 1))
    tenths = [tenth / 10 for tenth in range(0, 11, 2)]
    parts = [
        _heading(_MARGIN, heading),
        *axes.draw("F1", "", tenths, [], "{:.1f}".format),
        *_cells(axes.right, 54, ("F1", "precision", "recall", unit), "faint"),
    ]
    for row, at in enumerate(shown):
        one, y = counts[at], axes.top + 24 * row
        right, _ = axes.place(one.f1, 0)
        scores = (f"{x:.3f}" for x in (one.f1, one.precision, one.recall))
        parts += [
            svg.text(axes.left - 8, y + 16, names[at], "end", room=room),
            svg.bar(axes.left, y + 4, right - axes.left, 16),
            *_cells(axes.right, y + 16, (*scores, str(one.support))),
        ]
    width = max(axes.right + 4 * _COLUMN, _end_of(heading)) + _MARGIN
    bottom = axes.bottom + 52
    if bins:
        more, width, low = _reliability(bins, width + 28, "words")
        parts, bottom = parts + more, max(bottom, low)
    return svg.document(width, bottom, heading, parts)


def draw_numbers(truth: np.ndarray, predicted: np.ndarray) -> str:
    """A point for each row: its true number and the predicted one.

    Of more than `MOST_POINTS` rows, some at equal distances are shown.

    Args:
        truth, predicted: float [N].
    """
    pairs = np.stack([truth, predicted]).astype(np.float64).T
    pairs = pairs[np.isfinite(pairs).all(axis=1)]
    step = -(-len(pairs) // MOST_POINTS) or 1
    limits = _limits(pairs)
    axes = svg.Axes(78, 46, 340, 340, limits, limits)
    marks = svg.ticks(*limits)
    start, end = axes.place(limits[0], limits[0]), axes.place(*2 * limits[1:])
    scores = (
        f"Pearson {metrics.pearson(truth, predicted):.3f}, "
        f"Spearman {metrics.spearman(truth, predicted):.3f}"
    )
    if step > 1:
        scores += f"; each {step}th row"
    parts = [
        _heading(_MARGIN, "Predicted and true numbers"),
        *axes.draw("true", "predicted", marks, marks),
        svg.path(
            f"M{start[0]} {start[1]}L{end[0]} {end[1]}", "third", 1, "4 4"
        ),
        *(
            svg.dot(*axes.place(*pair), radius=3, opacity=0.5)
            for pair in pairs[::step]
        ),
        svg.text(axes.right, 42, scores, "end", "faint"),
    ]
    return svg.document(
        axes.right + 28, axes.bottom + 54, "Predicted and true numbers", parts
    )


def _cells(
    left: float, y: float, texts: Sequence[str], kind: str = ""
) -> list[str]:
    """A row of texts, each ending where its column does."""
    return [
        svg.text(left + _COLUMN * at, y, one, "end", kind)
        for at, one in enumerate(texts, start=1)
    ]


def _limits(pairs: np.ndarray) -> tuple[float, float]:
    """The range of both axes."""
    if not pairs.size:
        return 0.0, 1.0
    low, high = float(pairs.min()), float(pairs.max())
    # Not narrower than numbers can be told apart.
    least = max(abs(low), abs(high), 1e-30) * 1e-6
    room = max((high - low) * 0.04, least)
    return low - room, high + room


def _heading(x: float, words: str) -> str:
    return svg.text(x, 24, words, "start", size=_HEADING)


def _of_all(shown: Sequence[int], names: Sequence[str]) -> str:
    if len(shown) == len(names):
        return ""
    return f" (the {len(shown)} of {len(names)} labels with most mistakes)"


def _most_wrong(wrong: Sequence[int], most: int) -> list[int]:
    """The ids of the labels with most mistakes, in their own order."""
    order = np.argsort(-np.asarray(wrong, np.int64), kind="stable")
    return sorted(order[:most].tolist())


def _room(names: Sequence[str], most: float) -> float:
    return min(most, max(map(svg.width_of, names), default=0) + 2)


def _confusion(
    labels: Sequence[str], confusion: np.ndarray
) -> tuple[list[str], float, float]:
    """The parts of a confusion matrix, and its right and lower ends."""
    wrong = [one.wrong for one in report.count_labels(confusion)]
    shown = _most_wrong(wrong, MOST_CLASSES)
    names = [labels[at] for at in shown]
    cell = min(80.0, max(28.0, 360 / len(shown)))
    room, size = _room(names, _NAME_ROOM), cell * len(shown)
    left, top = _MARGIN + 18 + room + 8, 62.0
    bottom = top + size
    is_flat = room <= cell - 4
    below = 18 if is_flat else room * np.sin(np.pi / 4) + 16
    heading = "Confusion matrix" + _of_all(shown, labels)
    parts = [
        _heading(_MARGIN, heading),
        svg.text(
            _MARGIN,
            46,
            "Colour: the share of a true label's rows. Blue is right.",
            "start",
            "faint",
        ),
        svg.text(left + size / 2, bottom + below + 18, "predicted"),
        svg.text(_MARGIN + 8, top + size / 2, "true", turn=-90),
    ]
    for at, name in enumerate(names):
        middle = cell * (at + 0.5)
        parts.append(
            svg.text(left - 8, top + middle + 4, name, "end", room=room)
        )
        x = left + middle
        parts.append(
            svg.text(x, bottom + 16, name)
            if is_flat
            else svg.text(x + 4, bottom + 12, name, "end", turn=-45, room=room)
        )
    for row, at in enumerate(shown):
        total = int(confusion[at].sum())
        for column, to in enumerate(shown):
            parts += _cell(
                left + cell * column,
                top + cell * row,
                cell,
                int(confusion[at, to]),
                total,
                (labels[at], labels[to]),
                len(shown),
            )
    frame = f"M{left:g} {top:g}h{size:g}v{size:g}h-{size:g}z"
    parts.append(f'<path class="grid" d="{frame}"/>')
    right = max(left + size, _MARGIN + 330, _end_of(heading))
    return parts, right, bottom + below + 34


def _end_of(heading: str) -> float:
    return _MARGIN + svg.width_of(heading, _HEADING)


def _cell(
    x: float,
    y: float,
    size: float,
    count: int,
    total: int,
    names: tuple[str, str],
    num_shown: int,
) -> list[str]:
    true, predicted = names
    share = count / total if total else 0.0
    parts = []
    if count:
        tip = (
            f"true {true}, predicted {predicted}: {count} rows, "
            f"{100 * share:.1f} %"
        )
        color = "first" if true == predicted else "second"
        # The faintest can still be told from none.
        opacity = 0.06 + (_STRONGEST - 0.06) * share
        parts.append(
            svg.bar(x + 1, y + 1, size - 2, size - 2, color, opacity, tip)
        )
    if count or num_shown <= _FEW_CLASSES:
        written, room = str(count), size - 6
        if svg.width_of(written) > room:
            written = _short(count)
        font = min(12.0, 12 * room / svg.width_of(written))
        parts.append(
            svg.text(x + size / 2, y + size / 2 + 4, written, size=font)
        )
    return parts


def _short(count: int) -> str:
    for unit, sign in ((1_000_000, "M"), (1000, "k")):
        if count >= 10 * unit:
            return f"{count // unit}{sign}"
    return str(count)


def _reliability(
    bins: Sequence[report.Bin], left: float, unit: str = "rows"
) -> tuple[list[str], float, float]:
    """The parts of a reliability diagram, and its right and lower ends."""
    axes = svg.Axes(left + 50, 62, 260, 260)
    most = max(one.rows for one in bins)
    strip = svg.Axes(
        axes.left, axes.bottom + 66, 260, 60, (0, 1), (0, max(most, 1))
    )
    tenths = [tenth / 10 for tenth in range(0, 11, 2)]
    error = report.expected_calibration_error(bins)
    form = "{:.1f}".format
    parts = [
        _heading(left, "Calibration"),
        svg.text(
            left,
            46,
            f"Expected error {error:.3f}. Dashed: a calibrated model.",
            "start",
            "faint",
        ),
        *axes.draw(
            "confidence in the predicted label",
            "accuracy",
            tenths,
            tenths,
            form,
        ),
        *strip.draw("", unit, [], [0, most], "{:.0f}".format),
    ]
    for one in bins:
        if not one.rows:
            continue
        tip = (
            f"{one.low:.1f} to {one.high:.1f}: {one.rows} {unit}, confidence "
            f"{one.confidence:.3f}, accuracy {one.accuracy:.3f}"
        )
        for where, height, opacity in (
            (axes, one.accuracy, 0.4),
            (strip, one.rows, 0.8),
        ):
            x, y = where.place(one.low, height)
            end, bottom = where.place(one.high, 0)
            parts.append(
                svg.bar(
                    x + 1, y, end - x - 2, bottom - y, opacity=opacity, tip=tip
                )
            )
    first, last = axes.place(0, 0), axes.place(1, 1)
    parts.append(
        svg.path(
            f"M{first[0]} {first[1]}L{last[0]} {last[1]}", "third", 1.5, "5 4"
        )
    )
    parts += [
        svg.dot(*axes.place(one.confidence, one.accuracy), radius=4)
        for one in bins
        if one.rows
    ]
    return parts, axes.right + 48, strip.bottom + 24
