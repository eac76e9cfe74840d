"""What a head predicts, as transformers' config.json and bert_tf.json say it.

Classifiers differ in their `problem_type`, here `label_type`; heads of words
and of choices have a class of their own.
"""

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from bert_tf.checkpoints import folders
from bert_tf.checkpoints.folder_settings import (
    LABEL_TYPES,
    UNSAID,
    FolderSettings,
)
from bert_tf.checkpoints.hugging_face import HEADS
from bert_tf.errors import InputError

CLASS, NUMBER, MULTI = LABEL_TYPES

PROBLEM_OF = {
    CLASS: "single_label_classification",
    NUMBER: "regression",
    MULTI: "multi_label_classification",
}
"""transformers' `problem_type` by the type of labels."""

OUR_HEADS = {
    "classifier": "classifier",
    "token": "tokens",
    "choices": "choices",
    "span": "span",
}
"""The names of heads in bert_tf.json, by those of conversions."""

SEPARATORS = (",", ";", "|", "||", " / ")
"""Between names of labels in predictions: the first that is in none of them."""


class FromHF(NamedTuple):
    """What a converted folder notes of its head.

    Attributes:
        labels: in the order of their ids; none where the head has no names.
        settings: for bert_tf.json, by name.
        notes: lines for the report.
    """

    labels: list[str]
    settings: dict[str, Any]
    notes: list[str]


def labels_from_hf(
    hf_config: Mapping[str, Any],
    head: str,
    architectures: Sequence[str],
    num_outputs: int,
    config_file: str,
) -> FromHF:
    """What a head predicts.

    Args:
        hf_config: their config.json.
        head: a key of `HEADS`.
        architectures: of their config.
        num_outputs: of the head; 0 if it is none of labels.
        config_file: the path of config.json, for errors.

    Raises:
        InputError: their head is of another kind than `head`, or its labels
            are not named one by one.
    """
    settings = {"head": OUR_HEADS[head]} if head in OUR_HEADS else {}
    if head == "choices":
        if num_outputs != 1:
            raise InputError(
                "A head that chooses among texts has one output. That of "
                f"{config_file} has {num_outputs}: it is a classifier"
            )
        return FromHF([], settings, [])
    if not HEADS[head].has_labels:
        return FromHF([], settings, [])
    if head == "token":
        labels, notes = _names(hf_config, num_outputs, config_file)
        prefixes = {label[:1] for label in labels if label[1:2] == "-"}
        if prefixes == set("BIES"):
            settings["train_scheme"] = "IOBES"
        return FromHF(labels, settings, notes)
    settings["label_type"] = _label_type(
        hf_config, architectures, num_outputs, config_file
    )
    if settings["label_type"] == NUMBER:
        return FromHF([], settings, [])
    labels, notes = _names(hf_config, num_outputs, config_file)
    if settings["label_type"] == MULTI:
        free = (s for s in SEPARATORS if not any(s in one for one in labels))
        settings["label_separator"] = next(free, SEPARATORS[0])
    return FromHF(labels, settings, notes)


def _label_type(hf_config, architectures, num_outputs, config_file):
    """What a classifier of texts predicts."""
    if HEADS["choices"].architecture in architectures:
        raise InputError(
            f"{config_file} has architectures=BertForMultipleChoice, which "
            "compares texts: convert it with --head=choices"
        )
    problem = hf_config.get("problem_type")
    if problem is None:
        # As transformers decides it when it computes a loss.
        return NUMBER if num_outputs == 1 else CLASS
    types = {theirs: ours for ours, theirs in PROBLEM_OF.items()}
    if not isinstance(problem, str) or problem not in types:
        raise InputError(
            f"{config_file} must have a problem_type among "
            f"{', '.join(types)}. It has problem_type="
            f"{json.dumps(problem)[:200]}. With --head=none the encoder is "
            "converted without its classifier."
        )
    label_type = types[problem]
    if label_type != MULTI and (label_type == NUMBER) != (num_outputs == 1):
        wanted = "one output" if label_type == NUMBER else "two or more"
        raise InputError(
            f"{config_file} has problem_type={json.dumps(problem)}, for which "
            f"classifier.weight must have {wanted}. It has {num_outputs}. With "
            "--head=none the encoder is converted without its classifier."
        )
    return label_type


def _names(hf_config, num_labels, config_file):
    """The labels by their ids, and lines for the report."""
    named = hf_config.get("id2label") or _inverse(hf_config, num_labels)
    default = [f"LABEL_{i}" for i in range(num_labels)]
    if not named:
        return default, []
    if (
        isinstance(named, dict)
        and len(named) != num_labels
        and all(value == f"LABEL_{key}" for key, value in named.items())
    ):
        return default, [
            f"id2label has {len(named)} of {num_labels} labels, without names: "
            f"they are LABEL_0 to LABEL_{num_labels - 1}."
        ]
    places = [str(i) for i in range(num_labels)]
    labels = (
        [str(named[place]).strip() for place in places]
        if isinstance(named, dict) and named.keys() == set(places)
        else []
    )
    if "" in labels or len(set(labels)) < num_labels:
        raise InputError(
            f"id2label in {config_file} must give each of "
            f"{', '.join(places)} a label of its own, as classifier.weight has "
            f"{num_labels} of them. It is {json.dumps(named)[:200]}"
        )
    for label in labels:
        if len(label.splitlines()) > 1 or "\t" in label:
            raise InputError(
                f"id2label in {config_file} must have labels of one line, "
                "without tabs, as labels.txt and predictions have them. It has "
                f"{json.dumps(label)[:200]}"
            )
    return labels, []


def _inverse(hf_config, num_labels):
    """id2label by label2id; None if that has another number of labels."""
    label2id = hf_config.get("label2id")
    if not isinstance(label2id, dict) or len(label2id) != num_labels:
        return None
    return {str(place): label for label, place in label2id.items()}


def noted_architectures(settings: FolderSettings) -> list[str]:
    """The class of transformers for the head that a folder notes, if any."""
    return [
        HEADS[theirs].architecture
        for theirs, ours in OUR_HEADS.items()
        if ours == settings.head
    ]


def labels_to_hf(
    head: str, settings: FolderSettings, num_outputs: int, labels_file: str
) -> dict[str, Any]:
    """Entries of config.json about what a head predicts.

    Args:
        head: a key of `HEADS`.
        settings: of the checkpoint's folder.
        num_outputs: of the head.
        labels_file: names the labels; it may be missing.

    Raises:
        InputError: the file names another number of labels, or the head has
            another number of outputs than what it predicts.
    """
    if head == "choices" and num_outputs != 1:
        raise InputError(
            "A head that chooses among texts has one output. The checkpoint's "
            f"has {num_outputs}: it is a classifier"
        )
    if not HEADS[head].has_labels:
        return {}
    if head == "token":
        return _id2label(num_outputs, labels_file)
    is_file = os.path.exists(labels_file)
    label_type = settings.label_type
    if label_type is UNSAID or settings.head != OUR_HEADS[head]:
        label_type = NUMBER if num_outputs == 1 and not is_file else CLASS
    if label_type not in PROBLEM_OF:
        raise InputError(
            "`label_type` in bert_tf.json must be one of "
            f"{', '.join(PROBLEM_OF)}. It is {label_type!r}"
        )
    problem = {"problem_type": PROBLEM_OF[label_type]}
    if label_type == NUMBER:
        if num_outputs != 1:
            raise InputError(
                "`label_type` is number in bert_tf.json, for which the head "
                f"must have one output. The checkpoint's has {num_outputs}: "
                "its outputs are classes or labels, `class` or `multi`"
            )
        # Their number of labels is that of names.
        return {**problem, **_numbered(["LABEL_0"])}
    return {**problem, **_id2label(num_outputs, labels_file)}


def _id2label(num_labels, labels_file):
    labels = (
        folders.read_labels(labels_file, least=1)
        if os.path.exists(labels_file)
        else [f"LABEL_{i}" for i in range(num_labels)]
    )
    if len(labels) != num_labels:
        raise InputError(
            f"{labels_file} must name the {num_labels} labels of the "
            f"checkpoint. It has {len(labels)}."
        )
    return _numbered(labels)


def _numbered(labels):
    return {
        "id2label": {str(i): label for i, label in enumerate(labels)},
        "label2id": {label: i for i, label in enumerate(labels)},
    }
