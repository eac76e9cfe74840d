"""The folders of several heads that were trained on one encoder."""

import contextlib
import os
from collections.abc import Mapping
from typing import Any, NamedTuple

from bert_tf.checkpoints import finding, folder_settings, folders
from bert_tf.checkpoints.casing import casing_of
from bert_tf.checkpoints.shared_encoder import require_one_encoder
from bert_tf.errors import InputError
from bert_tf.exports.folder import SHARING
from bert_tf.exports.settings import Source, check_names
from bert_tf.tasks.classification.labeller import (
    OpenedClassifier,
    open_classifier,
)
from bert_tf.tasks.ner.tagger import OpenedTagger, open_tagger
from bert_tf.tokenization import FullTokenizer

Opened = OpenedClassifier | OpenedTagger


class OpenedHeads(NamedTuple):
    """Folders of heads that can have one encoder, and how they read texts.

    Attributes:
        classifiers: those that run_classifier trained, by name.
        taggers: those that run_ner trained, by name.
        order: the names of all.
        tokenizer: that of all.
        max_seq_length: the most word pieces of a row.
        doc_stride: distance between windows of classifiers; None for none.
        window_pooling: one of `targets.WINDOW_POOLINGS`.
    """

    classifiers: dict[str, OpenedClassifier]
    taggers: dict[str, OpenedTagger]
    order: tuple[str, ...]
    tokenizer: FullTokenizer
    max_seq_length: int
    doc_stride: int | None
    window_pooling: str

    @property
    def folders(self) -> dict[str, folders.ModelFolder]:
        """The folder of each, in order."""
        return {name: self.of(name).folder for name in self.order}

    def of(self, name: str) -> Opened:
        """What was opened for a head."""
        return self.classifiers.get(name) or self.taggers[name]


def head_of(checkpoint: str) -> str:
    """What a folder was trained for, one of `SHARING`.

    Raises:
        InputError: there is no checkpoint, it is not noted what it was trained
            for, or for something else.
    """
    path = finding.find(finding.of_results(checkpoint))
    noted = folder_settings.noted_in(os.path.dirname(path))
    head = noted.settings.said().get("head")
    if head not in SHARING:
        found = f"It has head={head}" if head else "It does not say"
        raise InputError(
            f"{noted.path} must say that the model was trained by "
            f"run_classifier or run_ner, whose heads can share an encoder. "
            f"{found}: export the model apart, with --head"
        )
    return head


def open_heads(
    source: Source,
    heads: Mapping[str, str],
    doc_stride: int | None = None,
    window_pooling: str | None = None,
) -> OpenedHeads:
    """Opens folders, and checks that their heads can have one encoder.

    Args:
        source: what to do with all; its `checkpoint` is not used.
        heads: the output folders of the trainings, or checkpoints, by name.
        doc_stride, window_pooling: None for what the folders note.

    Raises:
        InputError: names the folders, and what differs.
    """
    check_names(heads)
    classifiers: dict[str, OpenedClassifier] = {}
    taggers: dict[str, OpenedTagger] = {}
    asked = {
        "vocab_file": source.vocab_file,
        "bert_config_file": source.bert_config_file,
        "do_lower_case": source.do_lower_case,
        "strip_accents": source.strip_accents,
        "max_seq_length": source.max_seq_length,
        "ignore_folder_settings": source.ignore_folder_settings,
    }
    windows = {"doc_stride": doc_stride, "window_pooling": window_pooling}
    for name, path in heads.items():
        with _naming(name, path):
            if head_of(path) == "tokens":
                taggers[name] = open_tagger(path, **asked)
            else:
                classifiers[name] = open_classifier(path, **asked, **windows)
    name = next(iter(heads))
    first = classifiers.get(name) or taggers[name]
    reading = next(iter(classifiers.values()), None)
    found = OpenedHeads(
        classifiers,
        taggers,
        tuple(heads),
        first.tokenizer,
        first.max_seq_length,
        reading and reading.doc_stride,
        reading.window_pooling if reading else "mean",
    )
    _require_one_reading(found)
    require_one_encoder(found.folders)
    return found


def _require_one_reading(found: OpenedHeads) -> None:
    """Raises `InputError` for heads that read the same text otherwise."""
    _require_equal(
        found,
        found.order,
        lambda one: {"max_seq_length": one.max_seq_length},
        "--max_seq_length=N",
    )
    _require_equal(
        found,
        found.order,
        lambda one: casing_of(one.tokenizer)._asdict(),
        "--do_lower_case and --strip_accents",
    )
    _require_equal(
        found,
        list(found.classifiers),
        lambda one: {
            "doc_stride": one.doc_stride,
            "window_pooling": one.window_pooling,
        },
        "--doc_stride=N and --window_pooling",
    )
    if found.taggers and found.doc_stride is not None:
        raise InputError(
            f"{next(iter(found.classifiers))} reads long texts in windows of "
            f"doc_stride={found.doc_stride}, and {next(iter(found.taggers))}, "
            "which labels words, in its own: they cannot have one pass through "
            "the encoder. Export them apart"
        )


def _require_equal(found, names, settings_of, flags):
    for name in names:
        first = settings_of(found.of(names[0]))
        other = settings_of(found.of(name))
        for key, value in other.items():
            if value != first[key]:
                raise InputError(
                    "The heads of one export must read texts in the same way. "
                    f"{names[0]} has {key}="
                    f"{folder_settings.shown(first[key])}, and {name} has "
                    f"{key}={folder_settings.shown(value)}. Train them alike, "
                    f"or give {flags} with --ignore_folder_settings"
                )


@contextlib.contextmanager
def _naming(name: str, path: Any):
    try:
        yield
    except InputError as error:
        raise InputError(f"`--heads={name}={path}`: {error}") from error
