"""Checkpoints whose heads were trained on one encoder, as one checkpoint."""

import contextlib
import os

import numpy as np

from bert_tf.checkpoints import folders, names
from bert_tf.checkpoints.reader import CheckpointReader
from bert_tf.errors import InputError, some_of

# Of a config, what only training uses.
_OF_TRAINING = {
    "attention_probs_dropout_prob",
    "hidden_dropout_prob",
    "initializer_range",
}


def require_one_encoder(opened):
    """Checks that all weights of the encoder are equal, bit for bit.

    So must be what they are used with: config and vocabulary. Poolers may
    differ.

    Args:
        opened: a `folders.ModelFolder` by the name of each head.

    Raises:
        InputError: they differ; names the folders, what differs first, and
            what to do.
    """
    first, *others = opened.values()
    for other in others:
        _require_same_files(first, other)
    tensors: dict[str, np.ndarray] = {}
    for other in others:
        different = _first_difference(first.reader, other.reader, tensors)
        if different:
            raise _not_one(first, other, different)


def _require_same_files(first, other):
    ours, theirs = (
        {k: v for k, v in one.config.to_dict().items() if k not in _OF_TRAINING}
        for one in (first, other)
    )
    keys = sorted(k for k in {*ours, *theirs} if ours.get(k) != theirs.get(k))
    if keys:
        raise InputError(
            f"{other.config_file} must have the values of {first.config_file}, "
            f"so that the heads can have one encoder. They differ in "
            f"{some_of(keys)}"
        )
    different = folders.other_tokens(first.vocab_file, other.vocab_file)
    if different:
        raise InputError(
            f"{other.vocab_file} must be the vocabulary {first.vocab_file}, so "
            f"that the heads can have one encoder. {different}"
        )


def _first_difference(first, other, tensors):
    """The first weight of the encoder that differs; None if there is none.

    Args:
        first, other: `CheckpointReader`s.
        tensors: those of the first one that were read already, by name.
    """
    ours, theirs = _encoder_names(first), _encoder_names(other)
    for name in sorted(ours ^ theirs):
        return name
    for name in sorted(ours):
        if name not in tensors:
            tensors[name] = first.tensor(name)
        if not _is_same(tensors[name], other.tensor(name)):
            return name
    return None


def _encoder_names(reader):
    slots = names.optimizer_slots(reader.names)
    return {
        name
        for name in reader.names
        if name.startswith(names.ENCODER)
        and not name.startswith(names.POOLER)
        and name not in slots
    }


def _is_same(one, other):
    # Bits, since a NaN is not equal to itself.
    return one.dtype == other.dtype and np.array_equal(
        one.view(np.uint8), other.view(np.uint8)
    )


def _not_one(first, other, name):
    last = first.config.num_hidden_layers - 1
    trained = [
        os.path.dirname(one.path)
        for one in (first, other)
        if "lora_rank" in one.noted.settings.said()
    ]
    lora = (
        f" {trained[0]} was trained with --lora_rank: its adapters are merged "
        "into the kernels, and make an encoder of its own."
        if trained
        else ""
    )
    return InputError(
        "The heads of one export must have one encoder, equal bit for bit. "
        f"`{name}` of {other.path} is not that of {first.path}.{lora} Train "
        "one of them, and each other one from its checkpoint with the encoder "
        f"as it is: --init_checkpoint={os.path.dirname(first.path)} "
        f"--freeze=embeddings,0-{last}"
    )


def poolers_differ(one, other):
    """Whether two checkpoints have different poolers.

    Args:
        one, other: `CheckpointReader`s.
    """
    found = [n for n in one.names if n in _POOLER]
    return found != [n for n in other.names if n in _POOLER] or not all(
        _is_same(one.tensor(name), other.tensor(name)) for name in found
    )


_POOLER = {f"{names.POOLER}dense/kernel", f"{names.POOLER}dense/bias"}


class JoinedReader(CheckpointReader):
    """Several checkpoints as one: an encoder, a pooler, and heads.

    Args:
        encoder: the `CheckpointReader` of one that has the encoder.
        heads: the reader of each head, by name.
        pooler: the reader whose pooler is `bert/pooler`; None for none.
        own_poolers: names of heads with a pooler of their own, which is in the
            head's scope.
    """

    def __init__(self, encoder, heads, pooler, own_poolers):
        # For each reader: the name here of each tensor, by its name there.
        self._parts = [(encoder, {n: n for n in _encoder_names(encoder)})]
        if pooler is not None:
            self._parts.append((pooler, {name: name for name in _POOLER}))
        for name, reader in heads.items():
            scope = names.scope_of_head(name)
            taken = {one: f"{scope}{one}" for one in names.CLASSIFIER}
            if name in own_poolers:
                taken |= {
                    one: scope + one[len(names.ENCODER) :] for one in _POOLER
                }
            self._parts.append((reader, taken))
        self._places = {
            here: (reader, there)
            for reader, taken in self._parts
            for there, here in taken.items()
            if there in reader
        }
        self.path = encoder.path
        self.names = sorted(self._places)
        self.shapes = {n: r.shapes[x] for n, (r, x) in self._places.items()}
        self.dtypes = {n: r.dtypes[x] for n, (r, x) in self._places.items()}

    def nbytes(self, names):
        found = (self._places[name] for name in names)
        return sum(reader.nbytes([there]) for reader, there in found)

    def check_data(self):
        for reader, _ in self._parts:
            reader.check_data()

    def digest(self):
        return "".join(reader.digest() for reader, _ in self._parts)

    def tensor(self, name):
        reader, there = self._places[name]
        return reader.tensor(there)

    @contextlib.contextmanager
    def reading_ahead(self):
        # Almost all of it is the encoder.
        with self._parts[0][0].reading_ahead():
            yield

    def finite_tensors(self, names):
        wanted = set(names)
        for reader, taken in self._parts:
            asked = [there for there, here in taken.items() if here in wanted]
            for there, tensor in reader.finite_tensors(asked):
                yield taken[there], tensor
