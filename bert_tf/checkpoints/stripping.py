"""Writes a checkpoint again without what only its training needs."""

import collections
import os

from bert_tf.checkpoints import folders, writing
from bert_tf.checkpoints.names import (
    CONFIG,
    INDEX,
    LABELS_FILE,
    PREFIX,
    VOCAB,
    optimizer_slots,
)
from bert_tf.checkpoints.reader import CheckpointReader
from bert_tf.errors import InputError
from bert_tf.support import files


def strip(checkpoint, output, *, overwrite=False):
    """Writes a checkpoint without optimizer slots and step.

    Adam's slots make a trained checkpoint three times the size of its weights.

    Args:
        checkpoint: whatever `checkpoints.find` takes.
        output: prefix of the new one. The config, vocabulary and labels that
            lie beside the old one are copied there.
        overwrite: overwrite existing files.

    Returns:
        A report, several lines.

    Raises:
        InputError: no or a damaged checkpoint, or the output is there already.
    """
    reader = CheckpointReader(checkpoint)
    reader.check_data()
    slots = optimizer_slots(reader.names)
    kept = [name for name in reader.names if name not in slots]
    if os.path.isdir(output) or not os.path.basename(output):
        raise InputError(
            "`output` must be a prefix, such as "
            f"{os.path.join(output, PREFIX)}. Received a folder: {output!r}"
        )
    if not kept:
        raise InputError(
            f"{reader.path} holds no weights. It has: "
            + ", ".join(reader.names[:4])
        )
    here, there = os.path.dirname(reader.path), os.path.dirname(output)
    beside = [
        name
        for name in (CONFIG, VOCAB, LABELS_FILE)
        if os.path.exists(os.path.join(here, name))
        and os.path.realpath(here) != os.path.realpath(there)
    ]
    copies = [os.path.join(there, name) for name in beside]
    folders.check_not_there([output + INDEX, *copies], overwrite)
    writing.write(output, {name: reader.tensor(name) for name in kept})
    for name, copy in zip(beside, copies):
        files.copy(os.path.join(here, name), copy)
    before, after = reader.nbytes(reader.names), reader.nbytes(kept)
    return "\n".join(
        [
            f"Kept {len(kept)} weights of {reader.path} in {output}: "
            f"{after:,} bytes, before {before:,}.",
            *report_dropped(slots),
            *([f"Copied {', '.join(beside)}."] if beside else []),
        ]
    )


def report_dropped(slots):
    """Lines about optimizer slots that were dropped."""
    if not slots:
        return []
    kinds = collections.Counter(slot.rpartition("/")[2] for slot in slots)
    counts = ", ".join(f"{n} {kind}" for kind, n in sorted(kinds.items()))
    return [f"Dropped {len(slots)} of the optimizer: {counts}."]
