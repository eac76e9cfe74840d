"""Folders with a checkpoint and the files that belong to it.

These are its config, its vocabulary, and the labels of a classifier. Here they
are found and checked, written as a new folder that appears whole, or copied to
where a model is trained.
"""

import contextlib
import dataclasses
import filecmp
import os
from collections.abc import Sequence
from typing import NamedTuple

from absl import logging

from bert_tf import tokenization
from bert_tf.checkpoints import (
    casing,
    finding,
    folder_settings,
    names,
    writing,
)
from bert_tf.checkpoints.folder_settings import Noted
from bert_tf.checkpoints.names import CONFIG, LABELS_FILE, PREFIX, VOCAB
from bert_tf.checkpoints.reader import CheckpointReader, open_reader
from bert_tf.errors import InputError, count_of, quote, some_of
from bert_tf.modeling import BertConfig
from bert_tf.support import files

# -------------------------------------------------------------------- finding


@dataclasses.dataclass(frozen=True)
class ModelFolder:
    """An open checkpoint and the files that belong to it.

    Attributes:
        reader: its `CheckpointReader`.
        config: its `BertConfig`, which fits it.
        config_file: where that was read.
        vocab_file: its vocabulary, with as many lines as the config says.
        labels_file: a classifier's labels; None if there are none.
        noted: what its bert_tf.json has.
    """

    reader: CheckpointReader
    config: BertConfig
    config_file: str
    vocab_file: str
    labels_file: str | None
    noted: Noted = folder_settings.NOTHING

    @property
    def path(self) -> str:
        """The checkpoint's prefix."""
        return self.reader.path

    def load_tokenizer(self, *asked):
        """The `FullTokenizer` of the vocabulary.

        Args:
            *asked: the last arguments of `casing.load_tokenizer`.
        """
        return casing.load_tokenizer(
            self.vocab_file, self.path, self.noted, *asked
        )


def find(checkpoint, vocab_file=None, bert_config_file=None):
    """The `ModelFolder` of a checkpoint.

    Args:
        checkpoint: whatever `checkpoints.find` takes, or a `CheckpointReader`.
        vocab_file: None for the vocab.txt beside the checkpoint.
        bert_config_file: None for the bert_config.json beside it.

    Raises:
        InputError: a file is missing, or does not fit the others.
    """
    reader = open_reader(checkpoint)
    vocab_file, config_file = find_files(
        reader.path, vocab_file, bert_config_file
    )
    labels_file = os.path.join(os.path.dirname(reader.path), LABELS_FILE)
    config = BertConfig.from_json_file(config_file)
    check_vocab(config.vocab_size, vocab_file, config_file)
    check_config(config, reader, config_file)
    return ModelFolder(
        reader,
        config,
        config_file,
        vocab_file,
        labels_file if os.path.exists(labels_file) else None,
        folder_settings.noted_in(os.path.dirname(reader.path)),
    )


class FoundFiles(NamedTuple):
    """Paths of what belongs to a checkpoint.

    `vocab_file` is None where none is needed and none was found.
    """

    vocab_file: str | None
    config_file: str


def find_files(
    checkpoint,
    vocab_file=None,
    bert_config_file=None,
    output_dir=None,
    *,
    needs_vocab=True,
):
    """Where a model's vocabulary and config are.

    Those that are not given are looked for in the folder of a run that is
    resumed, then beside the checkpoint.

    Args:
        checkpoint: whatever `checkpoints.find` takes; None to train from
            random weights.
        vocab_file, bert_config_file: paths, or None to look for them.
        output_dir: the folder of a run, which is resumed if it has a
            checkpoint.
        needs_vocab: whether a missing vocabulary is an error.

    Returns:
        `FoundFiles`.

    Raises:
        InputError: a file is missing; names the flag to give.
    """
    places = []
    if output_dir and finding.has_checkpoints(output_dir):
        places.append(output_dir)
    if checkpoint is not None:
        places.append(finding.folder_of(checkpoint))

    def look(name, flag, is_needed=True):
        for place in places:
            path = os.path.join(place, name)
            if os.path.isfile(path):
                return path
        if is_needed:
            raise InputError(_not_found(checkpoint, places, name, flag))
        return None

    return FoundFiles(
        vocab_file or look(VOCAB, "vocab_file", needs_vocab),
        bert_config_file or look(CONFIG, "bert_config_file"),
    )


def _not_found(checkpoint, places, name, flag):
    if checkpoint is not None:
        # Raises if there is not even a checkpoint.
        checkpoint = finding.find(checkpoint)
        return (
            f"Beside the checkpoint {checkpoint} there is no {name}: give its "
            f"path, `--{flag}`."
        )
    if places:
        return f"{places[0]} has no {name}: give its path, `--{flag}`."
    return (
        f"Without a checkpoint to start from, `--{flag}` must be given: there "
        f"is no folder in which to look for {name}."
    )


# ------------------------------------------------------------------- checking


def check_config(config, checkpoint, config_file="the config"):
    """Compares a config's sizes with a checkpoint's shapes.

    Args:
        config: a `BertConfig`.
        checkpoint: whatever `checkpoints.find` takes, or a `CheckpointReader`.
        config_file: what to call the config in an error.

    Raises:
        InputError: they differ; names the key, both values and both files.
    """
    reader = open_reader(checkpoint)
    stored = names.sizes_of(reader.shapes)
    wrong = {k: v for k, v in stored.items() if getattr(config, k) != v}
    if wrong:
        differences = ", ".join(
            f"{key}={getattr(config, key)} where the checkpoint has {value}"
            for key, value in wrong.items()
        )
        raise InputError(
            f"{config_file} does not fit the checkpoint {reader.path}: "
            f"{differences}. Use the {CONFIG} that came with the checkpoint."
        )


def check_vocab(vocab_size, vocab_file, config_file="the config"):
    """Compares the number of lines of a vocab.txt with a `vocab_size`.

    Args:
        vocab_size: int, rows of the word embedding table.
        vocab_file: path of a vocabulary, one token on each line.
        config_file: what to call the config in an error.

    Raises:
        InputError: they differ.
    """
    if vocab_size is None:
        raise InputError(
            f"{config_file} must have a vocab_size: how many lines the "
            f"vocabulary has. Received: none, for {vocab_file}."
        )
    try:
        with open(vocab_file, "rb") as file:
            text = file.read()
    except OSError as error:
        raise InputError(
            f"The vocabulary cannot be read: {vocab_file}: {error.strerror}"
        ) from error
    lines = text.count(b"\n") + (not text.endswith(b"\n") and text != b"")
    if lines == vocab_size:
        return
    effect = (
        "tokens of the last lines would have no embedding"
        if lines > vocab_size
        else "the last embeddings would stand for no token"
    )
    raise InputError(
        f"{vocab_file} must have as many lines as the vocab_size of "
        f"{config_file}, {vocab_size}. Received: {lines} lines, so that "
        f"{effect}. Use the {VOCAB} that came with the checkpoint."
    )


def require_shape(reader, name, shape):
    """Raises `InputError` unless a checkpoint has a tensor of that shape."""
    found = reader.shapes.get(name)
    if found != shape:
        raise InputError(
            f"{reader.path} must have `{name}` of the shape {list(shape)}. "
            + (f"It has {list(found)}." if found else "It has none.")
        )


# -------------------------------------------------------------------- writing


def read_weights(reader):
    """All tensors of a checkpoint by name, without slots and step.

    Raises:
        InputError: bytes are missing or damaged.
    """
    reader.check_data()
    slots = names.optimizer_slots(reader.names)
    if slots:
        logging.info(
            "Left out: %d values of %s that training needs.",
            len(slots),
            reader.path,
        )
    return {
        name: reader.tensor(name) for name in reader.names if name not in slots
    }


def check_output(output_dir):
    """Raises `InputError` where no new folder can be created."""
    if "://" in output_dir:
        raise InputError(
            "`--output_dir` must be a folder on this machine. Received: "
            f"--output_dir={output_dir}"
        )
    if os.path.isfile(output_dir) or (
        os.path.isdir(output_dir) and os.listdir(output_dir)
    ):
        raise InputError(
            "`--output_dir` must be a folder that is not there yet or is "
            f"empty. Received: --output_dir={output_dir}"
        )
    parent = os.path.dirname(output_dir.rstrip("/")) or "."
    files.make_folder("output_dir", parent)


def check_not_there(index, contents, inputs, overwrite=False):
    """Checks that a conversion overwrites nothing, and nothing that it reads.

    The message names flags of the command that converts checkpoints. The files
    beside the weights are written first: if they alone are there, with what
    they are to contain, a killed run of the same command has written them.

    Args:
        index: the file of the weights that is written last.
        contents: {path: bytes} of the files beside them.
        inputs: as `files.require_other_file` takes them.
        overwrite: whether files that exist may be overwritten.

    Raises:
        InputError: names the files.
    """
    outputs = [index, *contents]
    files.require_other_file(outputs, inputs, "output")
    there = [path for path in outputs if os.path.exists(path)]
    if index in there or not all(map(_has, there, map(contents.get, there))):
        if overwrite:
            return
        raise InputError(
            f"Already there: {', '.join(there)}. Take another --output, or "
            "--overwrite."
        )


def _has(path, content):
    with open(path, "rb") as file:
        return file.read() == content


def write(
    output_dir,
    weights,
    vocab,
    config,
    labels_file=None,
    settings=folder_settings.NOTHING_SAID,
):
    """Writes a new folder, which appears when all of it is written.

    Args:
        output_dir: a path that passes `check_output`.
        weights: tensors by name.
        vocab: the bytes of the vocabulary.
        config: a `BertConfig`.
        labels_file: a file of labels to copy, or None.
        settings: `FolderSettings` to note.

    Raises:
        InputError: it cannot be written.
    """
    with _new_folder(output_dir) as folder:
        writing.write(os.path.join(folder, PREFIX), weights)
        with files.whole_or_nothing(os.path.join(folder, VOCAB)) as file:
            file.write(vocab)
        files.write_text(os.path.join(folder, CONFIG), config.to_json_string())
        if labels_file:
            files.copy(labels_file, os.path.join(folder, LABELS_FILE))
        folder_settings.replace(folder, settings)


@contextlib.contextmanager
def _new_folder(output_dir):
    folder = output_dir
    try:
        with files.whole_folder(output_dir) as folder:
            yield folder
    except InputError as error:
        # The unfinished folder is gone by now.
        text = str(error).replace(folder, output_dir.rstrip("/"))
        raise InputError(text) from error
    except OSError as error:
        raise InputError(
            f"`--output_dir`: the folder {output_dir} cannot be written: "
            f"{error.strerror}"
        ) from error


def complete(output_dir, bert_config_file, vocab_file=None):
    """Copies a model's config and vocabulary to where it is trained.

    Whatever uses the checkpoints then needs only this folder. Files that exist
    with the same content, perhaps written differently, stay as they are.

    Args:
        output_dir: folder of the checkpoints.
        bert_config_file: the config of the model.
        vocab_file: the vocabulary, if it is known.

    Raises:
        InputError: different files exist; they are not overwritten.
    """
    _copy_unless_same(bert_config_file, output_dir, CONFIG, _other_values)
    if vocab_file is not None:
        _copy_unless_same(vocab_file, output_dir, VOCAB, other_tokens)


def _copy_unless_same(source, folder, name, find_difference):
    target = os.path.join(folder, name)
    if not os.path.exists(target):
        files.copy(source, target)
    elif not filecmp.cmp(source, target, shallow=False):
        difference = find_difference(source, target)
        if difference:
            raise InputError(
                f"{target} must match {source}: it belongs to the "
                f"model in that folder. {difference}. Take another "
                "--output_dir, or remove the file there if the change is meant."
            )


def _other_values(source, target):
    ours, theirs = (
        BertConfig.from_json_file(path).to_dict() for path in (source, target)
    )
    keys = {*ours, *theirs}
    different = sorted(key for key in keys if ours.get(key) != theirs.get(key))
    return different and f"They differ in {', '.join(different)}"


def other_tokens(source, target):
    """Where two vocabularies differ, in words; None if they do not.

    Args:
        source, target: their files.
    """
    ours, theirs = (tokenization.load_vocab(path) for path in (source, target))
    different = ours.items() ^ theirs.items()
    if not different:
        return None
    first = min(token_id for _, token_id in different)
    return f"They differ first in line {first + 1}"


# --------------------------------------------------------------------- labels


def write_labels(path: str, labels: Sequence[str]) -> None:
    """Writes labels.txt: one label on each line, in the order of their ids.

    Raises:
        InputError: the file is there already, with other labels. The model
            beside it would give its classes the wrong names.
    """
    if os.path.exists(path):
        there = read_labels(path, least=1)
        if there != tuple(labels):
            raise InputError(
                f"{path} must have the labels of the training file, in this "
                f"order: {some_of(labels)}. It has: {some_of(there)}. Use "
                "another output_dir, or remove the file if its model is not "
                "needed any more"
            )
        return
    files.write_text(path, "".join(f"{label}\n" for label in labels))


def read_labels(path: str, least: int = 2) -> tuple[str, ...]:
    """The labels in the order of their ids, as `write_labels` wrote them.

    Args:
        path: of the file.
        least: the smallest number of labels.

    Raises:
        InputError: no such file, fewer than `least` labels, a blank or repeated
            one, or not UTF-8.
    """
    try:
        with open(path, encoding="utf-8-sig") as file:
            labels = tuple(line.strip() for line in file)
    except OSError as error:
        raise InputError(
            f"Cannot read {path}, which names the labels of this model, one "
            f"on each line, as training writes it: {error.strerror}"
        ) from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} must be UTF-8 text: {error}") from error
    repeated = [label for label in labels if labels.count(label) > 1]
    if len(labels) < least or "" in labels or repeated:
        found = (
            f"{quote(repeated[0])} more than once"
            if repeated and "" not in labels
            else f"a blank line {labels.index('') + 1}"
            if "" in labels
            else count_of(len(labels), "label")
        )
        raise InputError(
            f"{path} must hold {least} or more different labels, one on each "
            f"line. It has {found}"
        )
    return labels
