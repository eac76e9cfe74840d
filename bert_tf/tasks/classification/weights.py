"""Weights of labels in the training loss: --class_weights."""

import math
from collections.abc import Sequence

from bert_tf.errors import InputError, quote, some_of
from bert_tf.tasks.classification.target import Label, Target

BALANCED = "balanced"
"""Stands for weights that make up for labels of different frequency."""


def weigh(target: Target, text: str, found: Sequence[Label]) -> Target:
    """The target with the weights of a flag.

    Args:
        target: with its labels.
        text: "balanced"; or `a=1,b=4.5`; or numbers in the order of the labels,
            with commas between.
        found: the labels of the training file.

    Raises:
        InputError: the flag cannot be read so, or has weights for other labels.
    """
    if text.strip() == BALANCED:
        return target.with_weights(target.balanced_weights(found))
    parts = [part.strip() for part in text.split(",")]
    labels = target.labels
    if all("=" in part for part in parts):
        weights = _by_name(parts, labels)
        return target.with_weights([weights[label] for label in labels])
    if len(parts) != len(labels):
        raise InputError(
            "`--class_weights` must be balanced, or have a weight for each "
            f"of the {len(labels)} labels: {some_of(labels)}. Received "
            f"{len(parts)}: --class_weights={text}"
        )
    return target.with_weights([_number(part, part) for part in parts])


def _by_name(parts: Sequence[str], labels: Sequence[str]) -> dict[str, float]:
    weights: dict[str, float] = {}
    for part in parts:
        name, _, number = part.rpartition("=")
        name = name.strip()
        if name not in labels or name in weights:
            fault = "twice" if name in weights else "which is no label"
            raise InputError(
                "`--class_weights` must name each label once: "
                f"{some_of(labels)}. It has {quote(name)}, {fault}"
            )
        weights[name] = _number(number, part)
    lacking = [label for label in labels if label not in weights]
    if lacking:
        raise InputError(
            "`--class_weights` must have a weight for each label. It has none "
            f"for {some_of(lacking)}"
        )
    return weights


def _number(text: str, part: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise InputError(
            "`--class_weights` must be balanced, or finite numbers above 0. "
            f"It has {quote(part)}"
        )
    return number
