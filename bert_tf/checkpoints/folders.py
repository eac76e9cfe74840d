"""Folders with a checkpoint and what belongs to it, read and written whole.

Comes in: a checkpoint's prefix or folder. Goes out: its config, the places of
its vocabulary and labels, its weights; and a new folder with bert_model.ckpt,
bert_config.json, vocab.txt and labels.txt, or copies of these beside the
checkpoints of a training. What happens to the weights in between is for the
scripts that change a model: `extend_vocab.py`, `extend_positions.py`.
`loading.py` makes models of what is found.
"""

import contextlib
import dataclasses
import filecmp
import os
import shutil
from collections.abc import Sequence

from absl import logging

from bert_tf import checkpoints, tokenization
from bert_tf.checkpoints.names import CONFIG, LABELS_FILE, PREFIX, VOCAB
from bert_tf.errors import InputError, count_of, quote, some_of
from bert_tf.modeling import BertConfig
from bert_tf.support import files
from bert_tf.support.files import write_text


@dataclasses.dataclass(frozen=True)
class ModelFolder:
    """An open checkpoint and what lies beside it.

    Attributes:
        reader: its `CheckpointReader`.
        config: its `BertConfig`, which fits it.
        config_file: where that was read.
        vocab_file: where its vocabulary is, of as many lines as the config
            says.
        labels_file: where a classifier's labels are; None if there are none.
    """

    reader: checkpoints.CheckpointReader
    config: BertConfig
    config_file: str
    vocab_file: str
    labels_file: str | None


def find(init_checkpoint, vocab_file=None, bert_config_file=None):
    """The `ModelFolder` of a checkpoint.

    Args:
        init_checkpoint: whatever `checkpoints.find` takes.
        vocab_file, bert_config_file: looked for beside the checkpoint when
            None.

    Raises:
        InputError: a file is missing, or does not fit the others.
    """
    reader = checkpoints.CheckpointReader(init_checkpoint)
    vocab_file = vocab_file or _beside(reader.path, VOCAB, "vocab_file")
    config_file = bert_config_file or _beside(
        reader.path, CONFIG, "bert_config_file"
    )
    labels_file = os.path.join(os.path.dirname(reader.path), LABELS_FILE)
    config = BertConfig.from_json_file(config_file)
    checkpoints.check_vocab(config.vocab_size, vocab_file, config_file)
    checkpoints.check_config(config, reader.path, config_file)
    return ModelFolder(
        reader,
        config,
        config_file,
        vocab_file,
        labels_file if os.path.exists(labels_file) else None,
    )


def _beside(checkpoint, name, flag):
    path = os.path.join(os.path.dirname(checkpoint), name)
    if not os.path.isfile(path):
        raise InputError(
            f"Beside the checkpoint {checkpoint} there is no {name}: give its "
            f"path, `--{flag}`."
        )
    return path


def require_shape(reader, name, shape):
    """Raises `InputError` unless a checkpoint has a tensor of that shape."""
    found = reader.shapes.get(name)
    if found != shape:
        raise InputError(
            f"{reader.path} must have `{name}` of the shape {list(shape)}. "
            + (f"It has {list(found)}." if found else "It has none.")
        )


def read_weights(reader):
    """All tensors but the optimizer's and the step, by name.

    Raises:
        InputError: bytes are missing or damaged.
    """
    reader.check_data()
    slots = checkpoints.optimizer_slots(reader.names)
    if slots:
        logging.info(
            "Left out: %d optimizer slots and counters of %s.",
            len(slots),
            reader.path,
        )
    return {
        name: reader.tensor(name) for name in reader.names if name not in slots
    }


def check_output(output_dir):
    """Raises `InputError` where no new folder can be made."""
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


def write(output_dir, weights, vocab, config, labels_file=None):
    """Writes a new folder, which appears when all of it is there.

    Args:
        output_dir: as `check_output` wants it.
        weights: tensors by name.
        vocab: the bytes of the vocabulary.
        config: a `BertConfig`.
        labels_file: a file of labels to copy, if there is one.

    Raises:
        InputError: it cannot be written.
    """
    with _appearing(output_dir) as folder:
        checkpoints.write(os.path.join(folder, PREFIX), weights)
        with files.whole_or_nothing(os.path.join(folder, VOCAB)) as file:
            file.write(vocab)
        files.write_text(os.path.join(folder, CONFIG), config.to_json_string())
        if labels_file:
            shutil.copyfile(labels_file, os.path.join(folder, LABELS_FILE))


def complete(output_dir, bert_config_file, vocab_file=None):
    """Copies a model's config and vocabulary to where it is trained.

    What reads checkpoints then needs this folder and no more. Files that are
    there and say the same stay as they are.

    Args:
        output_dir: folder of the checkpoints.
        bert_config_file: the config that they are made with.
        vocab_file: the vocabulary, where it is known.

    Raises:
        InputError: there are others; nothing is overwritten.
    """
    _keep(bert_config_file, output_dir, CONFIG, _other_values)
    if vocab_file is not None:
        _keep(vocab_file, output_dir, VOCAB, _other_tokens)


def _keep(source, folder, name, find_difference):
    """Copies a file, unless the folder has one that says the same."""
    target = os.path.join(folder, name)
    if not os.path.exists(target):
        with open(source, "rb") as file, files.whole_or_nothing(target) as copy:
            shutil.copyfileobj(file, copy)
    elif not filecmp.cmp(source, target, shallow=False):
        difference = find_difference(source, target)
        if difference:
            raise InputError(
                f"{target} must say the same as {source}: it belongs to the "
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


def _other_tokens(source, target):
    ours, theirs = (tokenization.load_vocab(path) for path in (source, target))
    different = ours.items() ^ theirs.items()
    if not different:
        return None
    first = min(token_id for _, token_id in different)
    return f"They differ first in line {first + 1}"


@contextlib.contextmanager
def _appearing(output_dir):
    """A folder to write to, that gets its name once the block is done."""
    folder = f"{os.path.abspath(output_dir)}.{os.getpid()}.incomplete"
    try:
        os.mkdir(folder)
        yield folder
        os.rename(folder, output_dir)
    except InputError as error:
        # The folder's name means nothing to anybody, and it goes away.
        text = str(error).replace(folder, output_dir.rstrip("/"))
        raise InputError(text) from error
    except OSError as error:
        raise InputError(
            f"`--output_dir`: the folder {output_dir} cannot be written: "
            f"{error.strerror}"
        ) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def write_labels(path: str, labels: Sequence[str]) -> None:
    """Writes labels.txt: one label on each line, in the order of their ids.

    Raises:
        InputError: the file is there already, with other labels. The model
            beside it would give its classes the wrong names.
    """
    if os.path.exists(path):
        there = read_labels(path)
        if there != tuple(labels):
            raise InputError(
                f"{path} must have the labels of the training file, in this "
                f"order: {some_of(labels)}. It has: {some_of(there)}. Take "
                "another output_dir for other labels, or remove the file if "
                "no model with its labels is to be kept"
            )
        return
    write_text(path, "".join(f"{label}\n" for label in labels))


def read_labels(path: str) -> tuple[str, ...]:
    """The labels in the order of their ids, as `write_labels` wrote them.

    Raises:
        InputError: no such file, fewer than two labels, a blank or repeated
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
    if len(labels) < 2 or "" in labels or repeated:
        found = (
            f"{quote(repeated[0])} more than once"
            if repeated and "" not in labels
            else f"a blank line {labels.index('') + 1}"
            if "" in labels
            else count_of(len(labels), "label")
        )
        raise InputError(
            f"{path} must hold two or more different labels, one on each "
            f"line. It has {found}"
        )
    return labels
