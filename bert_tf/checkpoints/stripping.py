"""Writes a checkpoint again without what only its training needs."""

import collections
import os

from bert_tf.checkpoints import folder_settings, folders, storage, writing
from bert_tf.checkpoints.names import (
    CONFIG,
    ENCODER,
    INDEX,
    LABELS_FILE,
    PREFIX,
    SETTINGS_FILE,
    VOCAB,
    optimizer_slots,
)
from bert_tf.checkpoints.reader import CheckpointReader
from bert_tf.errors import InputError, count_of, some_of
from bert_tf.support import files


def strip(checkpoint, output, *, without_head=False, overwrite=False):
    """Writes a checkpoint without optimizer slots and step.

    Adam's slots make a trained checkpoint three times the size of its weights.

    Args:
        checkpoint: whatever `checkpoints.find` takes.
        output: the folder to write, with bert_model.ckpt, and the config,
            vocabulary, labels and bert_tf.json that lie beside the old one.
            Or, with `.ckpt` in its name, the prefix of the new checkpoint; the
            other files are then written beside it.
        without_head: keep the encoder and its pooler only, from which other
            tasks can start: neither labels nor what the folder notes of its
            task.
        overwrite: overwrite existing files.

    Returns:
        A report, several lines.

    Raises:
        InputError: no or a damaged checkpoint, or the output is there already.
    """
    reader = CheckpointReader(checkpoint)
    reader.check_data()
    slots = optimizer_slots(reader.names)
    weights = [name for name in reader.names if name not in slots]
    kept = weights
    if without_head:
        kept = [name for name in weights if name.startswith(ENCODER)]
    prefix = _prefix(output)
    if not kept:
        raise InputError(
            f"{reader.path} holds no weights"
            f"{' of an encoder' * without_head}. It has: "
            + ", ".join(reader.names[:4])
        )
    there = os.path.dirname(prefix)
    beside = _files_beside(reader.path, there, without_head)
    copies = {os.path.join(there, name): beside[name] for name in beside}
    inputs = {"CHECKPOINT": storage.files_of(reader.path)}
    folders.check_not_there(prefix + INDEX, copies, inputs, overwrite)
    if copies:
        files.make_folder("output", there or ".")
    for copy, content in copies.items():
        with files.whole_or_nothing(copy) as file:
            file.write(content)
    writing.write(prefix, {name: reader.tensor(name) for name in kept})
    before, after = reader.nbytes(reader.names), reader.nbytes(kept)
    return "\n".join(
        [
            f"Kept {len(kept)} weights of {reader.path} in {prefix}: "
            f"{after:,} bytes, before {before:,}.",
            *report_dropped(slots),
            *_report_heads([name for name in weights if name not in kept]),
            *([f"Copied {', '.join(beside)}."] if beside else []),
        ]
    )


def _prefix(output):
    """The prefix of the checkpoint to write."""
    name = os.path.basename(output)
    if ".ckpt" in name and not os.path.isdir(output):
        return output
    return os.path.join(output, PREFIX)


def report_dropped(slots):
    """Lines about what was dropped."""
    if not slots:
        return []
    kinds = collections.Counter(slot.rpartition("/")[2] for slot in slots)
    counts = ", ".join(f"{n} {kind}" for kind, n in sorted(kinds.items()))
    return [f"Dropped {len(slots)} that training needs: {counts}."]


def _report_heads(names):
    if not names:
        return []
    return [
        f"Dropped {count_of(len(names), 'weight')} of heads: {some_of(names)}."
    ]


def _files_beside(path, there, without_head):
    """The content of files to copy from beside a checkpoint, by name.

    Args:
        path: of the checkpoint.
        there: the folder to copy them into.
        without_head: whether to leave out what is about a head.
    """
    here = os.path.dirname(path)
    if os.path.realpath(here) == os.path.realpath(there):
        return {}
    found = {}
    for name in (CONFIG, VOCAB, LABELS_FILE, SETTINGS_FILE):
        if os.path.exists(os.path.join(here, name)):
            with open(os.path.join(here, name), "rb") as file:
                found[name] = file.read()
    if without_head:
        found.pop(LABELS_FILE, None)
        if SETTINGS_FILE in found:
            noted = folder_settings.read(here)
            of_text = noted.only((folder_settings.TEXT,))
            found[SETTINGS_FILE] = of_text.to_json().encode()
    return found
