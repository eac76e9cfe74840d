"""Datasets of texts with a label: from files to examples.

A dataset is one entry in `DATASETS`: its files, columns, labels and metrics.
"""

import dataclasses
import logging
from collections.abc import Mapping, Sequence

from bert_tf.data.tables import (
    Problems,
    find_file,
    read_tsv,
)
from bert_tf.errors import InputError, count_of, quote
from bert_tf.tasks import metrics
from bert_tf.tasks.classification.data import (
    Dataset,
    Ids,
    InputExample,
    Metric,
    OwnDataset,
)

_LOGGER = logging.getLogger(__name__)


# ------------------------------------------------------- published datasets


@dataclasses.dataclass(frozen=True)
class Layout:
    """The columns of a file of a published dataset, counted from 0.

    Attributes:
        file: its name in data_dir.
        prefix: the beginning of its guids.
        text_a: column of the first text.
        text_b: column of the second text, if there is one.
        label: column of the label, -1 for the last one; None for no labels.
        guid: column of the guid; None for the number of the row, counted from
            0 with the header.
        has_header: whether to skip the first row.
        language: use only rows with this value in column 0.
        renamed_labels: labels by their spelling in the file.
    """

    file: str
    prefix: str
    text_a: int
    text_b: int | None = None
    label: int | None = None
    guid: int | None = None
    has_header: bool = True
    language: str | None = None
    renamed_labels: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @property
    def width(self) -> int:
        """The minimum number of columns in a row."""
        places = (self.text_a, self.text_b, self.guid, self.label)
        last = max(place for place in places if place is not None)
        return last + 1 + (self.label == -1)


@dataclasses.dataclass(frozen=True)
class PublishedDataset(Dataset):
    """A dataset whose files are laid out as they are published."""

    name: str
    labels: tuple[str, ...]
    train: Layout
    dev: Layout
    test: Layout | None
    metrics: Mapping[str, Metric] = dataclasses.field(default_factory=dict)

    def get_train_examples(self, data_dir: str) -> list[InputExample]:
        return read_layout(data_dir, self.train, self.labels)

    def get_dev_examples(self, data_dir: str) -> list[InputExample]:
        return read_layout(data_dir, self.dev, self.labels)

    def get_test_examples(self, data_dir: str) -> list[InputExample]:
        if self.test is None:
            raise InputError(
                f"The task {self.name} has no test set: `do_predict` must be "
                f"false with task_name={self.name!r}"
            )
        return read_layout(data_dir, self.test, self.labels)


def read_layout(
    data_dir: str, layout: Layout, labels: Sequence[str]
) -> list[InputExample]:
    """The examples of one file, the same as the original's.

    Raises:
        InputError: no such file, no examples in it, or bad rows.
    """
    path = find_file(data_dir, [layout.file])
    problems = Problems(path)
    examples = []
    for line, cells in read_tsv(path, problems):
        if layout.has_header and line == 1:
            _warn_if_example(path, layout, cells, labels)
            continue
        if layout.language is not None and cells[0] != layout.language:
            continue
        if len(cells) < layout.width:
            problems.add(
                line,
                count_of(len(cells), "column"),
                f"at least {layout.width}, separated by tabs",
            )
            continue
        label = labels[0] if layout.label is None else cells[layout.label]
        label = layout.renamed_labels.get(label, label)
        if label not in labels:
            problems.add(
                line,
                f"the label {quote(label)}",
                f"one of {', '.join(labels)}"
                + (" (this file has no header)" if line == 1 else ""),
            )
        guid = line - 1 if layout.guid is None else cells[layout.guid]
        examples.append(
            InputExample(
                guid=f"{layout.prefix}-{guid}",
                text_a=cells[layout.text_a],
                text_b=None if layout.text_b is None else cells[layout.text_b],
                label=label,
            )
        )
    problems.raise_if_any()
    if not examples:
        of_language = f" in the language {layout.language}"
        raise InputError(
            f"{path} must hold examples"
            f"{of_language if layout.language else ''}. It has none"
            f"{' after its header' if layout.has_header else ''}"
        )
    return examples


def _warn_if_example(
    path: str, layout: Layout, cells: Sequence[str], labels: Sequence[str]
) -> None:
    if (
        layout.label is not None
        and len(cells) >= layout.width
        and cells[layout.label] in labels
    ):
        _LOGGER.warning(
            "Line 1 of %s is left out as the header, as the original does, "
            "but it looks like an example: its label is %r",
            path,
            cells[layout.label],
        )


def _f1(labels: Ids, predictions: Ids, num_labels: int) -> float:
    """F1 of label 1, the official metric of MRPC in GLUE."""
    return metrics.f1(labels, predictions)


def _matthews_correlation(
    labels: Ids, predictions: Ids, num_labels: int
) -> float:
    """The official metric of CoLA in GLUE."""
    return metrics.matthews_correlation(labels, predictions)


_NLI_LABELS = ("contradiction", "entailment", "neutral")

COLA = PublishedDataset(
    name="cola",
    labels=("0", "1"),
    train=Layout("train.tsv", "train", text_a=3, label=1, has_header=False),
    dev=Layout("dev.tsv", "dev", text_a=3, label=1, has_header=False),
    test=Layout("test.tsv", "test", text_a=1),
    metrics={"eval_matthews_correlation": _matthews_correlation},
)

MNLI = PublishedDataset(
    name="mnli",
    labels=_NLI_LABELS,
    train=Layout("train.tsv", "train", text_a=8, text_b=9, label=-1, guid=0),
    dev=Layout(
        "dev_matched.tsv",
        "dev_matched",
        text_a=8,
        text_b=9,
        label=-1,
        guid=0,
    ),
    test=Layout("test_matched.tsv", "test", text_a=8, text_b=9, guid=0),
)

MRPC = PublishedDataset(
    name="mrpc",
    labels=("0", "1"),
    train=Layout("train.tsv", "train", text_a=3, text_b=4, label=0),
    dev=Layout("dev.tsv", "dev", text_a=3, text_b=4, label=0),
    test=Layout("test.tsv", "test", text_a=3, text_b=4),
    metrics={"eval_f1": _f1},
)

XNLI = PublishedDataset(
    name="xnli",
    labels=_NLI_LABELS,
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

DATASETS: dict[str, Dataset] = {
    "cola": COLA,
    "mnli": MNLI,
    "mrpc": MRPC,
    "tsv": OwnDataset(),
    "xnli": XNLI,
}


def published_names() -> str:
    """Names of the published datasets, as a help text lists them."""
    names = [
        name for name, dataset in DATASETS.items() if not dataset.learns_labels
    ]
    return f"{', '.join(names[:-1])} or {names[-1]}"


def find_dataset(name: str, **columns: str | int | None) -> Dataset:
    """The data set of this name.

    Args:
        name: one of `DATASETS`, in any case.
        **columns: for the task tsv: `text_a_col`, `text_b_col`, `label_col`,
            `header` of `OwnDataset`. None for the default.

    Raises:
        InputError: an unknown task, or columns for one whose files are fixed.
    """
    dataset = DATASETS.get(name.lower())
    if dataset is None:
        raise InputError(
            f"`task_name` must be one of {sorted(DATASETS)}. "
            f"Received: task_name={name!r}"
        )
    given = {role: at for role, at in columns.items() if at is not None}
    if isinstance(dataset, OwnDataset):
        return dataclasses.replace(dataset, **given)  # type: ignore[arg-type]
    if given.get("header") == "auto":
        given.pop("header")
    if given:
        raise InputError(
            f"`{next(iter(given))}` must be given with task_name='tsv' only: "
            f"the columns of {name} are fixed. Received: task_name={name!r}, "
            + ", ".join(f"{role}={at!r}" for role, at in given.items())
        )
    return dataset
