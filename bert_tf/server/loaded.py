"""One version of a served model: what requests need, whatever runs it.

A subclass loads a SavedModel, or a model that runs without TensorFlow.
"""

import functools
import math
import os
import threading
from typing import Any

import numpy as np
from absl import logging

from bert_tf import tokenization
from bert_tf.checkpoints.names import VOCAB
from bert_tf.data.examples import read_integers
from bert_tf.errors import InputError
from bert_tf.exports import folder
from bert_tf.exports import inputs as export_inputs
from bert_tf.exports.interface import EXAMPLES, TEXT, WORDS, Signature
from bert_tf.exports.results import HEADS
from bert_tf.server import costs
from bert_tf.server.protocol import DEFAULT_SIGNATURE, RequestError
from bert_tf.tasks.pretraining import cloze

IDS, POSITIONS = "input_ids", "masked_lm_positions"

# Size of dimensions that are not fixed, in the warm-up request for a model
# without requests of its own.
WARM_UP_LENGTH = 8


class LoadedVersion:
    """The signatures of a model as functions of arrays.

    Args:
        path: the folder of the version, MODEL/1.
        version: its number.

    Attributes:
        version: its number.
        signatures: `Signature`s by name.
        signature_def: the same as protobuf's JSON.
        about: the content of assets/bert_tf.json; {} for other models.
        config: that of assets/bert_config.json; {} for other models.
    """

    signatures: dict[str, Signature]
    signature_def: dict[str, Any]

    def __init__(self, path, version):
        self.path, self.version = os.fspath(path), version
        self.about = _read_about(self.path)
        self.config = export_inputs.read_config(self.path) or {}
        self._head = HEADS.get(self.about.get("head", ""))
        self._several = folder.heads_of(self.about)
        self._per_mask = self._head.per_mask if self._head else frozenset()
        self._tokenizing = threading.Lock()

    def run(self, signature_name, inputs):
        """Computes a signature.

        Args:
            signature_name: one of `signatures`.
            inputs: arrays by name, as `values.read_inputs` returns them.

        Returns:
            Arrays by name; texts are `bytes` in arrays of objects.

        Raises:
            RequestError: 400, the model refuses the inputs; 503, there is not
                enough memory for them.
        """
        raise NotImplementedError

    def check(self, inputs):
        """Refuses ids that the model does not have.

        Exports of older versions of bert_tf would compute something else.

        Args:
            inputs: arrays by name, as `values.read_inputs` returns them.

        Raises:
            InputError: names the first value that is out of range.
        """
        export_inputs.check(self.config or None, inputs)

    def compute(self, signature_name):
        """`run` of a signature, as a function of its inputs."""
        return functools.partial(self.run, signature_name)

    def kind(self, signature_name, inputs):
        """A key of requests that may be batched.

        Args:
            signature_name: one of `signatures`.
            inputs: arrays by name.

        Returns:
            A key that is equal to no other where rows may be computed apart,
            but not together with other requests'; None where they must not be.
        """
        signature = self.signatures[signature_name]
        rows = {len(array) if array.ndim else None for array in inputs.values()}
        if not _has_rows(signature) or len(rows) != 1 or rows == {0}:
            return None
        if not self._is_shared(signature_name, signature):
            return object() if self._is_apart(signature_name, inputs) else None
        shapes = tuple(
            (name, array.shape[1:]) for name, array in sorted(inputs.items())
        )
        return (self.version, id(self), signature_name, shapes)

    def _is_apart(self, name, inputs):
        """Whether rows give the same, but for padding, without the others."""
        if not self.about:
            return False
        if name != EXAMPLES:
            return True
        # In longer rows the model computes something for padding, too.
        return len({_lengths(row)[IDS] for row in inputs["examples"]}) == 1

    def least_values(self, signature_name, inputs):
        """The least number of values that a signature will return.

        For exports of bert_tf whose rows have ids: their predictions of
        positions are as many as the vocabulary has pieces, for each position.
        0 where it is not known: an example's ids do not tell how many choices
        it has, and its outputs are few.

        Args:
            signature_name: one of `signatures`.
            inputs: arrays by name.
        """
        if not self.about or (self._head and self._head.choices):
            return 0
        if signature_name == EXAMPLES:
            lengths = [_lengths(row) for row in inputs["examples"].flat]
            widths = {
                name: max((row[name] for row in lengths), default=0)
                for name in (IDS, POSITIONS)
            }
        else:
            widths = {n: a.shape[1] for n, a in inputs.items() if a.ndim == 2}
        if IDS not in widths:
            return 0
        rows = max(len(array) for array in inputs.values() if array.ndim)
        found = 0
        for name, tensor in self.signatures[signature_name].outputs.items():
            row = POSITIONS if name.startswith("masked_lm") else IDS
            sizes = [
                widths.get(row, 1) if size is None else size
                for size in (tensor.shape or ())[1:]
            ]
            found += rows * math.prod(sizes)
        return found

    def costs(self, signature_name, inputs, most):
        """The windows that each row of a request is read in.

        Args:
            signature_name: one of `signatures`.
            inputs: arrays by name.
            most: windows of all rows together.

        Raises:
            RequestError: 413, there are more.
        """
        of_head, _, kind = signature_name.rpartition("/")
        ways = {
            (about["head"], about["doc_stride"]): about
            for name, about in self._several.items()
            if not of_head or name == of_head
        }
        # Several heads read the same rows, as far as they read alike.
        found = [
            self._costs_of(about, kind, inputs, most)
            for about in list(ways.values()) or [self.about]
        ]
        return [max(of_row) for of_row in zip(*found, strict=True)]

    def _costs_of(self, about, kind, inputs, most):
        """`costs` of the signature of a head.

        Args:
            about: the settings of that head.
            kind: the signature's name, as if there were no other head.
            inputs, most: as for `costs`.
        """
        rows = max((len(a) for a in inputs.values() if a.ndim), default=1)
        names = self._head.inputs if self._head else ()
        texts = [inputs[name] for name in names if name in inputs]
        if self._head and kind == WORDS:
            texts = [[b" ".join(words) for words in inputs["words"]]]
        elif self._several and "text" in inputs:
            texts = [inputs["text"]]
        elif not kind.startswith(TEXT) or not texts:
            return [1] * rows
        if self._head and self._head.choices in inputs:
            # Each choice is a row of the model.
            choices = inputs[self._head.choices].shape[1]
            if rows * choices > most:
                raise costs.too_many(most)
            return [max(choices, 1)] * rows
        if len({len(column) for column in texts}) != 1:
            return [1] * rows  # The model refuses it.
        first, second = texts[0], texts[1] if len(texts) > 1 else [b""] * rows
        pairs = [
            (a.decode("utf-8", "replace"), b.decode("utf-8", "replace"))
            for a, b in zip(first, second)
        ]
        return costs.windows_of_texts(about, pairs, self.count_pieces, most)

    def count_pieces(self, text):
        """The number of word pieces of a text."""
        return len(self.tokenizer.tokenize(text))

    def cut(self, outputs):
        """Removes padding to other requests of the same batch.

        Args:
            outputs: rows of one request, arrays by name.
        """
        if not self._per_mask or not set(outputs) >= self._per_mask:
            return outputs
        # After the last mask of any of its rows there is padding, "".
        is_real = (outputs["tokens"] != b"").any(axis=(0, 2))  # [M]
        masks = int(is_real.nonzero()[0].max(initial=-1)) + 1
        cut = {name: outputs[name][:, :masks] for name in self._per_mask}
        return {**outputs, **cut}

    def tokenize(self, texts):
        """The word pieces of texts, with their offsets.

        Args:
            texts: `str`s.

        Returns:
            For each text a list of {"token", "id", "start", "end"}; offsets
            count characters.

        Raises:
            RequestError: 400, it has no vocabulary of BERT's.
        """
        tokenizer = self.tokenizer
        find = cloze.align if self._per_mask else _align
        found = []
        for text in texts:
            pieces = find(text, tokenizer)
            ids = tokenizer.convert_tokens_to_ids(p.token for p in pieces)
            found.append(
                [{**p._asdict(), "id": i} for p, i in zip(pieces, ids)]
            )
        return found

    def pieces_of(self, text):
        """The word pieces of a text as the model reads it."""
        if self._per_mask:
            return cloze.tokenize(text, self.tokenizer)
        return self.tokenizer.tokenize(text)

    @property
    def tokenizer(self):
        """Its `FullTokenizer`.

        Raises:
            RequestError: 400, it has no vocabulary of BERT's.
        """
        with self._tokenizing:
            return self._tokenizer

    @functools.cached_property
    def _tokenizer(self):
        vocab_file = os.path.join(self.path, "assets", VOCAB)
        if not self.about or not os.path.isfile(vocab_file):
            raise RequestError(
                "This model has no word pieces: its folder lacks "
                "assets/vocab.txt or assets/bert_tf.json."
            )
        return tokenization.FullTokenizer(
            vocab_file,
            self.about.get("do_lower_case", True),
            self.about.get("strip_accents"),
        )

    def _is_shared(self, name, signature):
        """Whether rows of several requests may be computed together."""
        if self.about and name == EXAMPLES:
            # Their numbers of ids, which must be equal, are not known here.
            return False
        inputs = signature.inputs.values()
        if not any(tensor.dtype == "string" for tensor in inputs):
            return True
        if self._head is not None and self._head.choices:
            return True  # Outputs are as long as inputs, which are alike.
        # Output lengths that are not fixed depend on the texts: each request
        # would be padded to the others.
        padded = {
            key
            for key, tensor in signature.outputs.items()
            if None in tensor.shape[1:]
        }
        return padded <= self._per_mask

    def warm_up_small(self):
        """Runs a signature with inputs that are made up."""
        name = min(
            self.signatures, key=lambda name: (name != DEFAULT_SIGNATURE, name)
        )
        inputs = {
            key: np.full(
                [n or WARM_UP_LENGTH for n in (tensor.shape or ())],
                b"" if tensor.dtype == "string" else 0,
                object if tensor.dtype == "string" else tensor.dtype,
            )
            for key, tensor in self.signatures[name].inputs.items()
        }
        try:
            self.run(name, inputs)
        except RequestError as error:
            # The inputs are made up: a model may rightly refuse them.
            logging.warning(
                "Version %d has no warm-up requests, and refuses zeros: %s",
                self.version,
                error,
            )


def _has_rows(signature):
    """Whether the first axis of all tensors is of any length."""
    tensors = (*signature.inputs.values(), *signature.outputs.values())
    return all(tensor.shape and tensor.shape[0] is None for tensor in tensors)


def _lengths(example):
    """The lengths of the lists of a serialized `tf.train.Example`, by name."""
    try:
        found = read_integers(example, (IDS, POSITIONS))
    except InputError:  # The model refuses it.
        return dict.fromkeys((IDS, POSITIONS), 0)
    return {name: len(numbers) for name, numbers in found.items()}


def _align(text, tokenizer):
    return tokenizer.tokenize_with_offsets(text)


def _read_about(path):
    file = os.path.join(path, "assets", folder.SETTINGS_FILE)
    return folder.read_settings(path) if os.path.isfile(file) else {}
