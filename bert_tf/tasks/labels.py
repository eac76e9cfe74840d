"""Labels and numbers in users' files, and the labels of a training file."""

import collections
import json
import logging
import math
import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

from bert_tf.data.tables import BadValue, text_value
from bert_tf.errors import quote

FEW_CLASSES = 20
"""With up to this many, a small trial may have one example of each label."""

_LOGGER = logging.getLogger(__name__)
_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?")
_DECIMAL = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")
# The largest float32: records and models have no larger number.
_LARGEST = 3.4028234663852886e38

NO_GOLD_LABEL = (
    "- is for pairs whose annotators disagree: rows of MultiNLI or SNLI as "
    "first published, which GLUE's files do not have; remove them"
)


def read_label(role: str, value: Any) -> str:
    """A label, without white space around it; JSON numbers as written.

    Args:
        role: of the cell, for the error.
        value: of the cell: a text, or any JSON value of a .jsonl file.

    Raises:
        BadValue: it is none that labels.txt can hold.
    """
    if isinstance(value, bool | int | float):
        value = json.dumps(value)
    label = text_value(role, value).strip()
    if not label:
        raise BadValue("an empty label", "a label")
    if len(label.splitlines()) > 1:
        raise BadValue(f"the label {quote(label)}", "a label of one line")
    return label


def read_number(role: str, value: Any) -> float:
    """A finite decimal number, such as 3.8.

    Args:
        role: of the cell, for the error.
        value: of the cell: a text, or any JSON value of a .jsonl file.

    Raises:
        BadValue: it is none, or too large for a record.
    """
    expected = "a decimal number, such as 3.8"
    if isinstance(value, bool):
        raise BadValue(f"{role}: {json.dumps(value)}", expected)
    text = value if isinstance(value, str) else json.dumps(value)
    if not _DECIMAL.fullmatch(text.strip()):
        found = quote(text) if text.strip() else "an empty cell"
        raise BadValue(f"{role}: {found}", expected)
    number = float(text)
    if math.isinf(number) or abs(number) > _LARGEST:
        raise BadValue(f"{role}: {quote(text)}", "a number below 3.4e38")
    return number


def infer_labels(found: Sequence[str]) -> tuple[str, ...]:
    """The distinct labels in the order of their ids.

    Sorted by value if all are numbers ("2" before "10"), else by code point.
    """
    different = collections.Counter(found)
    if all(_NUMBER.fullmatch(label) for label in different):
        return tuple(sorted(different, key=lambda text: (float(text), text)))
    return tuple(sorted(different))


def look_of(label: str) -> str:
    """The same text for labels that people take for the same.

    They differ in how accents are composed, in characters that cannot be seen,
    in white space, in capitals, or in how the same number is written.
    """
    if _NUMBER.fullmatch(label):
        return repr(float(label) + 0.0)  # -0.0 is 0.0.
    seen = (c for c in label if unicodedata.category(c) not in ("Cf", "Cc"))
    text = unicodedata.normalize("NFC", "".join(seen).casefold())
    return " ".join(text.split())


def are_scores(labels: Sequence[str], num_rows: int) -> bool:
    """Whether labels are measurements rather than names of classes.

    All of them are numbers, and not all are whole, or they are many: more than
    `FEW_CLASSES`, and more than one for each two rows.

    Args:
        labels: the distinct ones.
        num_rows: number of examples.
    """
    if not all(map(_NUMBER.fullmatch, labels)):
        return False
    are_whole = all(float(label).is_integer() for label in labels)
    return not are_whole or are_many(labels, num_rows)


def are_many(labels: Sequence[str], num_rows: int) -> bool:
    """Whether there are too many labels to be learned as classes."""
    return len(labels) > FEW_CLASSES and len(labels) > num_rows / 2


def lookalike_hint(label: str, labels: Sequence[str]) -> str:
    """Names the labels that look like an unknown one, for its message."""
    look = look_of(label)
    alike = [ascii(one) for one in labels if look_of(one) == look]
    if not alike:
        return ""
    return (
        f" (as characters, {label!a}; {alike[0]} differs only in how it "
        "is written)"
    )


def warn_of_lookalikes(path: str, lines: Mapping[str, str]) -> None:
    """Logs labels that look the same.

    Args:
        path: of the file that they are in.
        lines: the line of the first row of each label.
    """
    groups = collections.defaultdict(list)
    for label in lines:
        groups[look_of(label)].append(label)
    for alike in groups.values():
        if len(alike) > 1:
            _LOGGER.warning(
                "%s has labels that differ only in how they are written, and "
                "are different classes: %s. Write them in one way if they "
                "mean the same",
                path,
                ", ".join(
                    f"{label!a} (line {lines[label]})" for label in alike
                ),
            )
