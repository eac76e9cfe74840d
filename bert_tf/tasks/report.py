"""Reports on the predictions of a set, as text.

Lines about a label begin with its name; all others are indented, since a label
may have any name.
"""

import collections
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from bert_tf.tasks import metrics

REPORT = "eval_report.txt"
MISTAKES = "eval_mistakes.tsv"
NUM_MISTAKES = 20
NUM_BINS = 10
# Of fewer rows with a label none may well be found.
ROWS_TO_BE_MISSED = 10
MOST_MISSED = 5

_ESCAPES = str.maketrans(
    {
        "\\": "\\\\",
        "\t": "\\t",
        "\n": "\\n",
        "\r": "\\r",
        # What else ends a line for `str.splitlines`.
        **{c: f"\\x{ord(c):02x}" for c in "\x0b\x0c\x1c\x1d\x1e\x85"},
        **{c: f"\\u{ord(c):04x}" for c in "\u2028\u2029"},
    }
)


class LabelCounts(NamedTuple):
    """What is right and wrong about one label.

    The shares are those of scikit-learn's `precision_recall_fscore_support`
    with `zero_division=0`: 0 for 0/0.

    Attributes:
        hits: rows with the label that are predicted to have it.
        false_alarms: rows without it that are predicted to have it.
        misses: rows with it that are not predicted to have it.
    """

    hits: int
    false_alarms: int
    misses: int

    @property
    def support(self) -> int:
        """The rows that have the label."""
        return self.hits + self.misses

    @property
    def precision(self) -> float:
        """The share of right ones of the rows predicted to have the label."""
        return _share(self.hits, self.hits + self.false_alarms)

    @property
    def recall(self) -> float:
        """The share of the rows with the label that are found."""
        return _share(self.hits, self.support)

    @property
    def f1(self) -> float:
        """2 TP / (2 TP + FP + FN), the harmonic mean of both."""
        return _share(2 * self.hits, 2 * self.hits + self.wrong)

    @property
    def wrong(self) -> int:
        """Rows for which the label is predicted wrongly."""
        return self.false_alarms + self.misses


class Bin(NamedTuple):
    """Predictions whose confidence is over `low`, up to `high`.

    Attributes:
        rows: their number.
        confidence, accuracy: their means; NaN without rows.
    """

    low: float
    high: float
    rows: int
    confidence: float
    accuracy: float


def count_labels(confusion: np.ndarray) -> list[LabelCounts]:
    """The counts of each label of a confusion matrix [true, predicted]."""
    hits = np.diag(confusion)
    found, there = confusion.sum(axis=0), confusion.sum(axis=1)
    columns = (hits, found - hits, there - hits)
    return [LabelCounts(*map(int, row)) for row in zip(*columns)]


def count_many_labels(
    truth: np.ndarray, found: np.ndarray
) -> list[LabelCounts]:
    """The counts of each label where several may hold.

    Args:
        truth, found: [N, L], 1 where a label holds, and where it is predicted.
    """
    truth, found = truth.astype(bool), found.astype(bool)
    return [
        LabelCounts(*(int(some.sum()) for some in one))
        for one in zip(
            (truth & found).T, (~truth & found).T, (truth & ~found).T
        )
    ]


def reliability(confidence: np.ndarray, is_right: np.ndarray) -> list[Bin]:
    """Bins of equal width, as in the reliability diagrams of Guo et al.

    "On Calibration of Modern Neural Networks" (2017), section 2: the bin m of M
    has the confidences over (m - 1) / M, up to m / M.

    Args:
        confidence: float [N], the probability of each predicted label.
        is_right: bool [N].
    """
    edges = np.arange(1, NUM_BINS) / NUM_BINS
    places = np.digitize(confidence, edges, right=True)
    bins = []
    for at in range(NUM_BINS):
        inside = places == at
        rows = int(inside.sum())
        means = [
            float(values[inside].mean()) if rows else np.nan
            for values in (confidence, is_right)
        ]
        bins.append(Bin(at / NUM_BINS, (at + 1) / NUM_BINS, rows, *means))
    return bins


def reliability_of(truth: np.ndarray, probabilities: np.ndarray) -> list[Bin]:
    """The bins of rows with one label each.

    Args:
        truth: int [N], the id of the true label.
        probabilities: float [N, L].
    """
    is_right = probabilities.argmax(axis=-1) == truth
    return reliability(probabilities.max(axis=-1), is_right)


def expected_calibration_error(bins: Sequence[Bin]) -> float:
    """Guo et al. (2017), equation 3: the mean gap, weighted by rows."""
    gaps = [
        one.rows * abs(one.accuracy - one.confidence)
        for one in bins
        if one.rows
    ]
    return sum(gaps) / sum(one.rows for one in bins) if gaps else np.nan


def report_one_label(
    labels: Sequence[str], truth: np.ndarray, probabilities: np.ndarray
) -> str:
    """The report of rows with one label each.

    Args:
        labels: L names, in the order of their ids.
        truth: int [N], the id of the true label.
        probabilities: float [N, L].
    """
    predicted = probabilities.argmax(axis=-1)
    confusion = metrics.confusion_matrix(
        truth.tolist(), predicted.tolist(), len(labels)
    )
    bins = reliability_of(truth, probabilities)
    return "\n".join(
        [
            *_label_lines(labels, count_labels(confusion)),
            "",
            "  Confusion matrix: a line for each true label, a column for each "
            "predicted one in the same order",
            *_aligned(labels, confusion.tolist()),
            "",
            *_calibration_lines(bins),
            "",
        ]
    )


def report_many_labels(
    labels: Sequence[str], truth: np.ndarray, found: np.ndarray
) -> str:
    """The report of rows with any number of labels each.

    Args:
        labels: L names, in the order of their ids.
        truth, found: [N, L], 1 where a label holds, and where it is predicted.
    """
    counts = count_many_labels(truth, found)
    header = ("right", "false_alarms", "misses", "rest")
    cells = [(*one, len(truth) - one.hits - one.wrong) for one in counts]
    return "\n".join(
        [
            *_label_lines(labels, counts),
            "",
            "  Confusion: for each label, the rows rightly predicted to have "
            "it, wrongly so, missed, and the rest",
            *_aligned(labels, cells, header),
            "",
        ]
    )


def only_prediction(
    truth: Sequence[str],
    predicted: Sequence[str],
    advice: str,
    unit: str = "rows",
) -> list[str]:
    """A warning if all predictions are the same, and the true labels are not.

    Args:
        truth, predicted: names of labels, of each row.
        advice: what else to try.
        unit: the rows, in words.
    """
    if len(set(predicted)) != 1 or len(set(truth)) < 2:
        return []
    (only,) = set(predicted)
    return [
        f"All {len(predicted)} {unit} are predicted to be {only or 'none'!r}, "
        f"which is right for {truth.count(only)} of them: the model does not "
        f"tell the {unit} apart. Try more epochs, another --learning_rate "
        "(2e-5 to 5e-5 for the released models, 1e-4 to 1e-3 for small ones), "
        f"--bias_correction, another --seed{advice}"
    ]


def missing_predictions(
    truth: Sequence[str], predicted: Sequence[str]
) -> list[str]:
    """A warning for each label that several rows have, and no prediction.

    Where all predictions are the same, `only_prediction` says more. Of many
    labels those with most rows are named.
    """
    found = set(predicted)
    if len(found) < 2:
        return []
    counts = collections.Counter(truth)
    missing = [
        f"No row is predicted to be {label!r}, which {count} of {len(truth)} "
        "are. Try more epochs, a higher --learning_rate (2e-4 to 5e-4 for the "
        "built-in model), or --class_weights=balanced"
        for label, count in counts.most_common()
        if count >= ROWS_TO_BE_MISSED and label not in found
    ]
    return missing[:MOST_MISSED]


def wrong_confidence(
    truth: np.ndarray, probabilities: np.ndarray
) -> np.ndarray:
    """The probability [N] of each wrong prediction, 0 for right ones.

    Args:
        truth: int [N], the id of the true label.
        probabilities: float [N, L].
    """
    is_wrong = probabilities.argmax(axis=-1) != truth
    return np.where(is_wrong, probabilities.max(axis=-1), 0)


def mistakes_table(
    confidence: np.ndarray,
    texts: Mapping[str, Sequence[str]],
    truth: Sequence[str],
    predicted: Sequence[str],
    guids: Sequence[str],
    measure: str = "probability",
) -> str:
    """A table of the most confident mistakes, the worst first.

    Args:
        confidence: float [N], the probability of what is wrongly predicted; 0
            where nothing is. Of numbers, the error.
        texts: those of each row, by the names of their columns.
        truth, predicted: names of labels, of each row.
        guids: the name of each row.
        measure: what `confidence` is, for the header.
    """
    order = np.argsort(-confidence, kind="stable")[:NUM_MISTAKES]
    header = [*texts, "label", "predicted_label", measure, "row", "guid"]
    rows = [
        [
            *(column[at] for column in texts.values()),
            truth[at],
            predicted[at],
            f"{confidence[at]:.6f}",
            str(at + 1),
            guids[at],
        ]
        for at in order
        if confidence[at] > 0
    ]
    return to_table(header, rows)


def table_of_labels(
    labels: Sequence[str], each: Sequence[metrics.LabelScores]
) -> str:
    """A table of the scores of several labels that may hold together."""
    columns = ["label", "support", "precision", "recall", "f1", "auc"]
    columns += ["average_precision", "best_threshold"]
    lines = ["\t".join(columns)]
    for label, one in zip(labels, each):
        numbers = (getattr(one, name) for name in columns[2:])
        texts = (str(np.float32(number)) for number in numbers)
        lines.append("\t".join((label, str(one.support), *texts)))
    return "\n".join(lines) + "\n"


def to_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    r"""A table with a line for each row, columns separated by tabs.

    A backslash, a tab and a line end in a cell are written as \\, \t and \n,
    other characters that end lines by their number.
    """
    return "".join(
        "\t".join(cell.translate(_ESCAPES) for cell in row) + "\n"
        for row in (header, *rows)
    )


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def _label_lines(
    labels: Sequence[str], counts: Sequence[LabelCounts]
) -> list[str]:
    cells = [
        (
            *(f"{x:.3f}" for x in (one.precision, one.recall, one.f1)),
            one.support,
        )
        for one in counts
    ]
    return _aligned(labels, cells, ("precision", "recall", "f1", "support"))


def _calibration_lines(bins: Sequence[Bin]) -> list[str]:
    lines = [
        "  Calibration (Guo et al. 2017): expected error "
        f"{expected_calibration_error(bins):.3f}, from the confidence in the "
        "predicted label",
        "  confidence    rows  mean_confidence  accuracy",
    ]
    for one in bins:
        means = ("-", "-")
        if one.rows:
            means = (f"{one.confidence:.3f}", f"{one.accuracy:.3f}")
        lines.append(
            f"  {one.low:.1f} to {one.high:.1f}  {one.rows:>6}  "
            f"{means[0]:>15}  {means[1]:>8}"
        )
    return lines


def _aligned(
    labels: Sequence[str],
    cells: Sequence[Sequence[object]],
    header: Sequence[str] = (),
) -> list[str]:
    """Lines of a name and its cells, below a header if there is one."""
    rows = [[str(cell) for cell in row] for row in cells]
    columns = zip(*rows, *([header] if header else []))
    widths = [max(map(len, column)) for column in columns]
    first = max(map(len, labels))
    named = [*([("", header)] if header else []), *zip(labels, rows)]
    return [
        "  ".join(
            [
                f"{name:<{first}}",
                *(f"{cell:>{width}}" for cell, width in zip(row, widths)),
            ]
        )
        for name, row in named
    ]
