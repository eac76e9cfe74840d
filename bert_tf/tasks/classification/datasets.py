"""Datasets of texts with a label: from files to examples.

A dataset is one entry in `DATASETS`: its files, columns, target and metrics.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from bert_tf.errors import InputError
from bert_tf.tasks import metrics
from bert_tf.tasks.classification.data import Dataset, OwnDataset, own_target
from bert_tf.tasks.classification.published import (
    Layout,
    PublishedDataset,
    Remark,
    SubmissionFile,
)
from bert_tf.tasks.classification.target import CLASS, MULTI, Target
from bert_tf.tasks.classification.targets import (
    Ids,
    Metric,
    Number,
    OneLabel,
    make_target,
)


def _f1(labels: Ids, predictions: Ids, num_labels: int) -> float:
    return metrics.f1(labels, predictions)


def _f1_and_accuracy(labels: Ids, predictions: Ids, num_labels: int) -> float:
    return metrics.f1_and_accuracy(labels, predictions)


# GLUE's metrics of MRPC and QQP: F1 is that of label 1.
_F1: dict[str, Metric] = {
    "eval_f1": _f1,
    "eval_f1_and_accuracy": _f1_and_accuracy,
}
_BINARY = ("0", "1")
_NLI = OneLabel(("contradiction", "entailment", "neutral"))
_RTE = OneLabel(("entailment", "not_entailment"))

# ------------------------------------------------------------------------ GLUE

COLA = PublishedDataset(
    name="cola",
    target=OneLabel(
        _BINARY, {"eval_matthews_correlation": metrics.matthews_correlation}
    ),
    train=Layout("train.tsv", "train", text_a=3, label=1, has_header=False),
    dev=Layout("dev.tsv", "dev", text_a=3, label=1, has_header=False),
    test=Layout(
        "test.tsv",
        "test",
        text_a=1,
        submission=SubmissionFile("CoLA.tsv", 1063),
    ),
)

SST_2 = PublishedDataset(
    name="sst-2",
    target=OneLabel(_BINARY),
    train=Layout("train.tsv", "train", text_a=0, label=1),
    dev=Layout("dev.tsv", "dev", text_a=0, label=1),
    test=Layout(
        "test.tsv",
        "test",
        text_a=1,
        guid=0,
        submission=SubmissionFile("SST-2.tsv", 1821),
    ),
)

MRPC = PublishedDataset(
    name="mrpc",
    target=OneLabel(_BINARY, _F1),
    train=Layout("train.tsv", "train", text_a=3, text_b=4, label=0),
    dev=Layout("dev.tsv", "dev", text_a=3, text_b=4, label=0),
    test=Layout(
        "test.tsv",
        "test",
        text_a=3,
        text_b=4,
        submission=SubmissionFile("MRPC.tsv", 1725),
    ),
)

QQP = PublishedDataset(
    name="qqp",
    target=OneLabel(_BINARY, _F1),
    # Older archives have rows that are broken in two.
    train=Layout(
        "train.tsv",
        "train",
        text_a=3,
        text_b=4,
        label=5,
        guid=0,
        skips_short_rows=True,
    ),
    dev=Layout("dev.tsv", "dev", text_a=3, text_b=4, label=5, guid=0),
    test=Layout(
        "test.tsv",
        "test",
        text_a=1,
        text_b=2,
        guid=0,
        submission=SubmissionFile("QQP.tsv", 390965),
    ),
)

STS_B = PublishedDataset(
    name="sts-b",
    target=Number((0.0, 5.0)),
    train=Layout("train.tsv", "train", text_a=7, text_b=8, label=9, guid=0),
    dev=Layout("dev.tsv", "dev", text_a=7, text_b=8, label=9, guid=0),
    test=Layout(
        "test.tsv",
        "test",
        text_a=7,
        text_b=8,
        guid=0,
        submission=SubmissionFile("STS-B.tsv", 1379),
    ),
)

_DIAGNOSTIC = Layout(
    ("diagnostic.tsv", "AX.tsv"),
    "ax",
    text_a=1,
    text_b=2,
    guid=0,
    beside="../diagnostic",
    submission=SubmissionFile("AX.tsv", 1104),
)
_MNLI_TEST = Layout(
    "test_matched.tsv",
    "test",
    text_a=8,
    text_b=9,
    guid=0,
    submission=SubmissionFile("MNLI-m.tsv", 9796),
)
_MNLI_DEV = Layout(
    "dev_matched.tsv", "dev_matched", text_a=8, text_b=9, label=-1, guid=0
)

MNLI = PublishedDataset(
    name="mnli",
    target=_NLI,
    train=Layout("train.tsv", "train", text_a=8, text_b=9, label=-1, guid=0),
    dev=_MNLI_DEV,
    test=_MNLI_TEST,
    extra_dev={
        "mm": dataclasses.replace(
            _MNLI_DEV, file="dev_mismatched.tsv", prefix="dev_mismatched"
        )
    },
    extra_test={
        "mm": dataclasses.replace(
            _MNLI_TEST,
            file="test_mismatched.tsv",
            prefix="test_mismatched",
            submission=SubmissionFile("MNLI-mm.tsv", 9847),
        ),
        "ax": _DIAGNOSTIC,
    },
    means={"eval_m_and_mm": ("eval_accuracy", "eval_mm_accuracy")},
)

AX = PublishedDataset(
    name="ax", target=_NLI, train=None, dev=None, test=_DIAGNOSTIC
)


def _three_files(name: str, submission: SubmissionFile, **more: Any):
    """A dataset of pairs with the columns index, text, text, label."""
    layout = Layout("train.tsv", "train", text_a=1, text_b=2, guid=0)
    dev = {"old_versions": more.pop("old_dev", {})}
    return PublishedDataset(
        name=name,
        train=dataclasses.replace(layout, label=3),
        dev=dataclasses.replace(
            layout, file="dev.tsv", prefix="dev", label=3, **dev
        ),
        test=dataclasses.replace(
            layout, file="test.tsv", prefix="test", submission=submission
        ),
        **more,
    )


QNLI = _three_files(
    "qnli",
    SubmissionFile("QNLI.tsv", 5463),
    target=_RTE,
    old_dev={
        5732: "this is the first version of QNLI, of before January 2019. Its "
        "results do not compare with those of the version that GLUE has now, "
        "with 5463 rows, and the server refuses its predictions"
    },
)

RTE = _three_files("rte", SubmissionFile("RTE.tsv", 3000), target=_RTE)

WNLI = _three_files(
    "wnli",
    SubmissionFile("WNLI.tsv", 146),
    target=OneLabel(_BINARY),
    remarks=[
        Remark(
            "eval_accuracy",
            0.563,
            "This is no mistake: the dev set of WNLI is built against its "
            "training set, whose sentences it repeats with the other label. "
            "The majority label is right for 40 of 71, 0.563; a model that "
            "has learned the training set does worse. The BERT paper leaves "
            "WNLI out.",
        )
    ],
)

# ------------------------------------------------------------------ other sets

XNLI = PublishedDataset(
    name="xnli",
    target=_NLI,
    train=Layout(
        "multinli/multinli.train.zh.tsv",
        "train",
        text_a=0,
        text_b=1,
        label=2,
        renamed_labels={"contradictory": "contradiction"},
    ),
    dev=Layout(
        "xnli.dev.tsv", "dev", text_a=6, text_b=7, label=1, language="zh"
    ),
    test=None,
)

# --------------------------------------------------------------- all data sets

PUBLISHED: Mapping[str, PublishedDataset] = {
    dataset.name: dataset
    for dataset in (
        AX,
        COLA,
        MNLI,
        MRPC,
        QNLI,
        QQP,
        RTE,
        SST_2,
        STS_B,
        WNLI,
        XNLI,
    )
}

OWN = "tsv"
OWN_NAMES = (OWN, "csv", "jsonl")
"""Names of the user's own data; its files may be of each of these kinds."""

DATASETS: Mapping[str, Dataset] = {
    **PUBLISHED,
    **{name: OwnDataset() for name in OWN_NAMES},
}


def is_own(name: str) -> bool:
    """Whether a task's name stands for the user's own files."""
    return _plain(name) in OWN_NAMES


def published_names() -> str:
    """Names of the published datasets, as a help text lists them."""
    names = list(PUBLISHED)
    return f"{', '.join(names[:-1])} or {names[-1]}"


def find_dataset(
    name: str,
    label_type: str | None = None,
    label_cols: Sequence[str] | None = None,
    label_separator: str | None = None,
    **columns: str | int | None,
) -> Dataset:
    """The data set of this name.

    Args:
        name: one of `DATASETS`, in any case, with or without - and _.
        label_type: for the task tsv: one of `folder_settings.LABEL_TYPES`.
        label_cols: for several labels: their names, and their columns if
            `label_col` is not given.
        label_separator: between names of labels in a cell.
        **columns: for the task tsv: `text_a_col`, `text_b_col`, `label_col`,
            `header` of `OwnDataset`. None for the default.

    Raises:
        InputError: an unknown task, columns for one whose files are fixed, or
            arguments that contradict each other.
    """
    by_look = {_plain(known): one for known, one in DATASETS.items()}
    dataset = by_look.get(_plain(name))
    if dataset is None:
        raise InputError(
            f"`task_name` must be one of {sorted(DATASETS)}. "
            f"Received: task_name={name!r}"
        )
    given: dict[str, Any] = {
        role: at for role, at in columns.items() if at is not None
    }
    if isinstance(dataset, OwnDataset):
        target = _own_target(label_type, label_cols, label_separator)
        if label_cols and "label_col" not in given:
            given["label_col"] = None
        return OwnDataset(
            **given, target=target, finds_scores=label_type is None
        )
    labels = {
        "label_type": label_type,
        "label_cols": label_cols,
        "label_separator": label_separator,
    }
    given |= {role: one for role, one in labels.items() if one is not None}
    if given.get("header") == "auto":
        given.pop("header")
    if given:
        raise InputError(
            f"`{next(iter(given))}` must be given with task_name='tsv' only: "
            f"the columns of {name} are fixed. Received: task_name={name!r}, "
            + ", ".join(f"{role}={at!r}" for role, at in given.items())
        )
    return dataset


def _plain(name: str) -> str:
    return name.lower().replace("-", "").replace("_", "")


def _own_target(
    label_type: str | None,
    label_cols: Sequence[str] | None,
    label_separator: str | None,
) -> Target:
    for role, value in (
        ("label_cols", label_cols),
        ("label_separator", label_separator),
    ):
        if value is not None and label_type != MULTI:
            raise InputError(
                f"`--{role}` needs --label_type={MULTI}. Received: "
                f"--{role}={value}"
            )
    if label_type in (None, CLASS):
        return own_target()
    if label_type != MULTI:
        return make_target(label_type)
    separator = "," if label_separator is None else label_separator
    if not separator or separator.strip("\n\r") != separator:
        raise InputError(
            "`--label_separator` must be one or more characters of a line. "
            f"Received: --label_separator={separator!r}"
        )
    names = [name.strip() for name in label_cols or ()]
    repeated = [name for name in names if names.count(name) > 1]
    if repeated or "" in names:
        raise InputError(
            "`--label_cols` must be different names, with commas between. "
            f"Received: --label_cols={','.join(names)}"
        )
    for name in names:
        if separator in name:
            raise InputError(
                f"`--label_cols` must be names without the --label_separator "
                f"{separator!r}, by which predictions are joined. Received: "
                f"{name!r}"
            )
    return make_target(
        MULTI,
        labels=tuple(names),
        separator=separator,
        reads_flags=bool(names),
    )
