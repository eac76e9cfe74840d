"""LoRA in checkpoints: kernels are merged, and adapters lie beside them.

For a linear layer X with adapters a checkpoint has
  X/kernel            the kernel plus the adapters' product, for every reader
  X/lora_base_kernel  the kernel without them
  X/lora_kernel_a, X/lora_kernel_b    the adapters, as in the model
with which a training goes on. `names.optimizer_slots` counts the last three
among the slots, so that whatever reads weights leaves them aside.
"""

import re

from bert_tf import models
from bert_tf.checkpoints.names import (
    LORA_A,
    LORA_BASE,
    LORA_NAMES,
    named_weights,
)
from bert_tf.checkpoints.reading import load
from bert_tf.errors import InputError
from bert_tf.support.parts import LORA_TARGETS


def merged_weights(model):
    """As `named_weights`, but with merged kernels and without adapters.

    Args:
        model: a `keras.Model`, with adapters or without.

    Returns:
        {name: variable or array}.
    """
    weights = named_weights(model)
    for layer in models.lora_layers(model):
        for adapter in (layer.lora_kernel_a, layer.lora_kernel_b):
            del weights[adapter.path]
        weights[layer.base_kernel.path] = layer.merged_kernel()
    return weights


def resumable_weights(model):
    """What a training writes: `merged_weights`, and what it goes on with."""
    return {**merged_weights(model), **_adapters(model)}


def restore(model, reader):
    """Loads adapters, and kernels without them, as a training left them.

    Args:
        model: a `keras.Model` with adapters.
        reader: the `CheckpointReader` of such a training.

    Raises:
        InputError: the checkpoint has adapters of other layers or sizes.
    """
    adapters = _adapters(model)
    stored = {name for name in reader.names if LORA_NAMES.search(name)}
    for name in sorted(stored ^ adapters.keys()):
        raise InputError(
            f"{reader.path} must have LoRA's adapters for the layers that "
            "--lora_targets and --freeze leave, and no others. "
            f"{'Only the checkpoint' if name in stored else 'It lacks'} "
            f"{'has ' if name in stored else ''}{name}: give the flags with "
            "which it was trained, or another --output_dir."
        )
    load(adapters, reader, expect=adapters)


def _adapters(model):
    """Variables by the names they have in checkpoints beside the weights."""
    found = {}
    for layer in models.lora_layers(model):
        for adapter in (layer.lora_kernel_a, layer.lora_kernel_b):
            found[adapter.path] = adapter
        scope, _, _ = layer.base_kernel.path.rpartition("/")
        found[f"{scope}/{LORA_BASE}"] = layer.base_kernel
    return found


def flags_of(reader):
    """The flags with which a checkpoint was trained; empty without LoRA.

    Args:
        reader: a `CheckpointReader`.
    """
    adapters = [x for x in reader.names if x.endswith(f"/{LORA_A}")]
    if not adapters:
        return {}
    scopes = {re.sub(r".*/layer_\d+/", "", name) for name in adapters}
    targets = [
        target
        for target, scope in LORA_TARGETS.items()
        if f"{scope}/{LORA_A}" in scopes
    ]
    rank = reader.shapes[adapters[0]][1]
    return {"lora_rank": rank, "lora_targets": ",".join(targets)}


def require_same(reader, rank, targets):
    """Checks that a training goes on with the adapters that it began with.

    Args:
        reader: the `CheckpointReader` of the training.
        rank: that of the flags; None without LoRA.
        targets: as `parse_targets` returns them.

    Raises:
        InputError: it would not; names the flags.
    """
    noted = flags_of(reader)
    given = {}
    if rank is not None:
        given = {"lora_rank": rank, "lora_targets": ",".join(targets)}
    if given == noted:
        return
    if not noted:
        raise InputError(
            f"{reader.path} was trained without LoRA, and cannot be resumed "
            f"with it: leave --lora_rank out. To begin with LoRA from its "
            "weights, give it as --init_checkpoint, and another --output_dir. "
            f"Received: {_as_flags(given)}"
        )
    raise InputError(
        f"{reader.path} was trained with {_as_flags(noted)}, and is resumed "
        "only with these. For another training from its weights, give it as "
        "--init_checkpoint, and another --output_dir. Received: "
        + (_as_flags(given) or "no --lora_rank")
    )


def _as_flags(values):
    return " ".join(f"--{name}={value}" for name, value in values.items())
