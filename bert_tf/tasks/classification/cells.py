"""Reads the cells of users' files: flags and sets of labels.

Cells are texts, or any JSON value of a .jsonl file.
"""

import json
import re
from collections.abc import Sequence
from typing import Any

from bert_tf.data.tables import BadValue, text_value
from bert_tf.errors import quote, some_of
from bert_tf.tasks.labels import read_label

_FLAGS = re.compile(r"\[\s*([01]\s*(,\s*[01]\s*)*)?\]")


def read_flag(role: str, value: Any) -> bool:
    """Whether a label holds: 0 or 1, in JSON also false or true."""
    if isinstance(value, bool | int) and value in (0, 1):
        return bool(value)
    text = value if isinstance(value, str) else json.dumps(value)
    if text.strip() not in ("0", "1"):
        found = quote(text) if text.strip() else "an empty cell"
        raise BadValue(f"{role}: {found}", "0 or 1")
    return text.strip() == "1"


def read_labels(
    role: str, value: Any, separator: str, labels: Sequence[str] | None
) -> tuple[str, ...]:
    """The labels of a row, in one cell.

    Args:
        role: name of the column, for messages.
        value: names joined by `separator`, or a JSON list of them; none if
            empty. With `labels` also a list of 0 and 1, one for each label.
        separator: between names.
        labels: names of all labels, if they were given.
    """
    if isinstance(value, str) and _FLAGS.fullmatch(value.strip()):
        value = json.loads(value)
        if labels is None and value:
            raise BadValue(
                f"{role}: {quote(json.dumps(value))}",
                "names of labels (a list of 0 and 1 needs --label_cols, which "
                "names the labels)",
            )
    if isinstance(value, list):
        if labels is not None and all(_is_flag(one) for one in value):
            return _named(role, value, labels)
        parts = value
    else:
        text = text_value(role, "" if value is None else value)
        parts = text.split(separator) if text.strip() else []
    names = tuple(read_label(role, part) for part in parts)
    for name in names:
        if names.count(name) > 1:
            raise BadValue(f"the label {quote(name)} twice", "each label once")
        if separator in name or "\t" in name:
            raise BadValue(
                f"the label {quote(name)}",
                "labels without tabs, and without the --label_separator "
                f"{separator!r}, by which predictions are joined",
            )
    return names


def _is_flag(value: Any) -> bool:
    return isinstance(value, bool | int) and value in (0, 1)


def _named(
    role: str, flags: Sequence[int], labels: Sequence[str]
) -> tuple[str, ...]:
    if flags and len(flags) != len(labels):
        raise BadValue(
            f"{role}: {len(flags)} values, {quote(json.dumps(flags))}",
            f"{len(labels)}, one for each of {some_of(labels)}",
        )
    return tuple(name for name, flag in zip(labels, flags) if flag)


def label_role(number: int) -> str:
    """The role of the column of a label that has its own."""
    return f"label_cols[{number}]"
