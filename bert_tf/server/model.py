"""One version of a SavedModel, ready to compute.

Comes in: the folder of a SavedModel, by bert_tf or by anybody else. Goes out: a
`ServedModel`: what its signatures take and give, and functions of NumPy arrays.
Of the rooms of the server this is the one that knows TensorFlow. Keras is not
needed; which version is served, who asks and in which words, stays outside.
"""

import functools
import os
import re
import threading

import numpy as np
import tensorflow as tf
from absl import logging
from google.protobuf import json_format
from google.protobuf.message import DecodeError
from tensorflow.core.framework import types_pb2
from tensorflow.core.protobuf import saved_model_pb2

from bert_tf import tokenization
from bert_tf.checkpoints.names import VOCAB
from bert_tf.errors import InputError
from bert_tf.exports import folder, warmup
from bert_tf.server.protocol import (
    DEFAULT_SIGNATURE,
    RequestError,
    Signature,
    Tensor,
    find_signature,
)
from bert_tf.tasks.pretraining import cloze

EXAMPLES_SIGNATURE = "serve_examples"

# Texts are batched with texts of about the same length, by powers of two of
# their characters: what is short would be padded to what is long. Below this
# they count as equally short.
SHORT_TEXT = 64

# Of a masked text, what is padded to the text with most masks in the batch.
MASK_OUTPUTS = {"tokens", "token_scores"}

# How long an unknown length is in the request that warms up a model without
# requests of its own.
WARM_UP_LENGTH = 8

# What the client is to blame for: it sent what the graph does not take.
REFUSALS = (
    tf.errors.InvalidArgumentError,
    tf.errors.OutOfRangeError,
    tf.errors.FailedPreconditionError,
    tf.errors.UnimplementedError,
    tf.errors.NotFoundError,
    tf.errors.DataLossError,
)


class ServedModel:
    """The signatures of a SavedModel as functions of arrays.

    Args:
        path: the folder of the SavedModel, MODEL/1.
        version: its number.

    Attributes:
        version: its number.
        signatures: what can be asked, `Signature`s by name.
        signature_def: the same as protobuf's JSON.
        about: what assets/bert_tf.json says; {} for other SavedModels.

    Raises:
        InputError: it cannot be loaded, or fails its own warm-up requests.
    """

    def __init__(self, path, version):
        self.path, self.version = path, version
        meta_graph = _read_meta_graph(path)
        self.about = _read_about(path)
        self._loaded = _load(path)
        self.signatures, self.signature_def = {}, {}
        for name, definition in meta_graph.signature_def.items():
            self.signature_def[name] = json_format.MessageToDict(
                definition,
                preserving_proto_field_name=True,
                always_print_fields_with_no_presence=True,
            )
            if name in self._loaded.signatures:
                self.signatures[name] = _signature(name, definition)
        if not self.signatures:
            raise InputError(f"{path} has no signatures: nothing to serve.")
        self._tokenizing = threading.Lock()
        self._warm_up()

    def run(self, signature_name, inputs):
        """Computes a signature.

        Args:
            signature_name: one of `signatures`.
            inputs: arrays by name, as `rest_protocol.read_inputs` gives them.

        Returns:
            Arrays by name; texts are `bytes` in arrays of objects.

        Raises:
            RequestError: 400, the graph refuses the inputs; 503, there is not
                enough memory for them.
        """
        signature = self.signatures[signature_name]
        try:
            tensors = {
                name: tf.constant(
                    array, tf.as_dtype(signature.inputs[name].dtype)
                )
                for name, array in inputs.items()
            }
            outputs = self._loaded.signatures[signature_name](**tensors)
            found = {name: out.numpy() for name, out in outputs.items()}
        except REFUSALS as error:
            raise RequestError(
                f"The model cannot compute this: {_reason(error)}"
            ) from error
        except tf.errors.ResourceExhaustedError as error:
            raise RequestError(
                "There is not enough memory for this request now: send fewer "
                "or shorter rows, or try again.",
                503,
                Retry_After=1,
            ) from error
        return {
            # A scalar text is bytes, not an array.
            name: array if isinstance(array, np.ndarray) else _scalar(array)
            for name, array in found.items()
        }

    def compute(self, signature_name):
        """A function of arrays, equal for equal names; see `run`."""
        return functools.partial(self.run, signature_name)

    def kind(self, signature_name, inputs):
        """What requests have in common that may share a run; None if nothing.

        Args:
            signature_name: one of `signatures`.
            inputs: arrays by name.
        """
        signature = self.signatures[signature_name]
        if not self._is_shared(signature_name, signature):
            return None
        rows = {len(array) if array.ndim else None for array in inputs.values()}
        if len(rows) != 1 or rows == {0}:
            return None
        shapes = tuple(
            (name, array.shape[1:]) for name, array in sorted(inputs.items())
        )
        longest = max(
            (
                len(text)
                for array in inputs.values()
                if array.dtype == object
                for text in array.flat
            ),
            default=0,
        )
        size = (max(longest, SHORT_TEXT) - 1).bit_length()
        return (self.version, id(self), signature_name, shapes, size)

    def cut(self, outputs):
        """Outputs for one of the requests that shared a run, as if alone.

        Args:
            outputs: its rows, arrays by name.
        """
        if not self._has_masks() or not set(outputs) >= MASK_OUTPUTS:
            return outputs
        # Beyond the last mask of any of its rows there is padding, "".
        is_real = (outputs["tokens"] != b"").any(axis=(0, 2))  # [M]
        masks = int(is_real.nonzero()[0].max(initial=-1)) + 1
        cut = {name: outputs[name][:, :masks] for name in MASK_OUTPUTS}
        return {**outputs, **cut}

    def tokenize(self, texts):
        """The word pieces of texts, and where each comes from.

        Args:
            texts: `str`s.

        Returns:
            For each text a list of {"token", "id", "start", "end"}; places
            count characters.

        Raises:
            RequestError: 400, the SavedModel has no vocabulary of BERT's.
        """
        with self._tokenizing:
            tokenizer = self._tokenizer
        find = cloze.align if self._has_masks() else _align
        found = []
        for text in texts:
            pieces = find(text, tokenizer)
            ids = tokenizer.convert_tokens_to_ids(p.token for p in pieces)
            found.append(
                [{**p._asdict(), "id": i} for p, i in zip(pieces, ids)]
            )
        return found

    def _has_masks(self):
        """Whether it guesses what a [MASK] in a text stands for."""
        return self.about.get("head") == "pretraining"

    @functools.cached_property
    def _tokenizer(self):
        vocab_file = os.path.join(self.path, "assets", VOCAB)
        if not self.about or not os.path.isfile(vocab_file):
            raise RequestError(
                "This model has no word pieces: its folder lacks "
                "assets/vocab.txt or assets/bert_tf.json."
            )
        return tokenization.FullTokenizer(
            vocab_file, self.about.get("do_lower_case", True)
        )

    def _is_shared(self, name, signature):
        """Whether rows of several requests may go through it together."""
        inputs, outputs = signature.inputs.values(), signature.outputs.values()
        for tensor in (*inputs, *outputs):
            if not tensor.shape or tensor.shape[0] is not None:
                return False
        if self.about and name == EXAMPLES_SIGNATURE:
            # All in one run must have equally many ids; the graph sees that.
            return False
        if not any(tensor.dtype == "string" for tensor in inputs):
            return True
        # Where texts go in and lengths come out that are not fixed, those
        # depend on the texts: each request would be padded for the others.
        padded = {
            key
            for key, tensor in signature.outputs.items()
            if None in tensor.shape[1:]
        }
        return not padded or (self._has_masks() and padded <= MASK_OUTPUTS)

    def _warm_up(self):
        path = os.path.join(self.path, "assets.extra", warmup.FILE_NAME)
        if os.path.isfile(path):
            for name, inputs in warmup.read(path):
                name = name or DEFAULT_SIGNATURE
                try:
                    find_signature(self.signatures, name)
                    self.run(name, inputs)
                except RequestError as error:
                    raise InputError(
                        f"{path}: a request to {name} fails: {error}"
                    ) from error
            return
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
            # The inputs are made up; that the model refuses them is no fault.
            logging.warning(
                "Version %d has no warm-up requests, and refuses zeros: %s",
                self.version,
                error,
            )


def _align(text, tokenizer):
    return tokenizer.tokenize_with_offsets(text)


def _scalar(value):
    array = np.empty((), object if isinstance(value, bytes) else None)
    array[()] = value
    return array


def _read_meta_graph(path):
    """The graph for serving, with its signatures, as a `MetaGraphDef`."""
    file = os.path.join(path, folder.MODEL_FILE)
    if not os.path.isfile(file):
        raise InputError(
            f"{path} must have a {folder.MODEL_FILE}; it has none."
        )
    with open(file, "rb") as opened:
        content = opened.read()
    try:
        saved_model = saved_model_pb2.SavedModel.FromString(content)
    except DecodeError as error:
        raise InputError(f"{file} is not a SavedModel: {error}") from error
    for meta_graph in saved_model.meta_graphs:
        if "serve" in meta_graph.meta_info_def.tags:
            return meta_graph
    raise InputError(f'{file} has no graph that is tagged "serve".')


def _read_about(path):
    file = os.path.join(path, "assets", folder.SETTINGS_FILE)
    return folder.read_settings(path) if os.path.isfile(file) else {}


def _load(path):
    failures = (tf.errors.OpError, OSError, ValueError, RuntimeError, KeyError)
    try:
        return tf.saved_model.load(path)
    except failures as error:
        missing = re.search(r"Op type not registered '(\w+)'", str(error))
        if not missing:
            raise InputError(f"cannot be loaded: {_reason(error)}") from error
    try:
        import tensorflow_text  # noqa: F401  Registers its ops.
    except ImportError as error:
        raise InputError(
            f"it needs the operation {missing[1]}, which TensorFlow alone "
            "does not have; that of tensorflow-text may: pip install "
            "tensorflow-text"
        ) from error
    try:
        return tf.saved_model.load(path)
    except failures as error:
        raise InputError(f"cannot be loaded: {_reason(error)}") from error


def _signature(name, definition):
    defaults = definition.defaults
    inputs = {
        key: _tensor(
            info, tf.make_ndarray(defaults[key]) if key in defaults else None
        )
        for key, info in sorted(definition.inputs.items())
    }
    outputs = {
        key: _tensor(info) for key, info in sorted(definition.outputs.items())
    }
    return Signature(inputs, outputs)


def _tensor(info, default=None):
    kind = types_pb2.DataType.Name(info.dtype).removeprefix("DT_").lower()
    names = {"half": "float16", "float": "float32", "double": "float64"}
    shape = None
    if not info.tensor_shape.unknown_rank:
        sizes = [dim.size for dim in info.tensor_shape.dim]
        shape = tuple(None if size < 0 else size for size in sizes)
    return Tensor(names.get(kind, kind), shape, default)


def _reason(error):
    """What TensorFlow says went wrong, without where in the graph."""
    message = getattr(error, "message", None) or str(error)
    lines = [line.strip() for line in message.splitlines()]
    lines = [
        re.sub(r"\s*\[(Op|\[\{?node|\[).*$", "", line)
        for line in lines
        if line
        and not line.startswith(
            ("Graph execution error", "Detected at node", "File ", "[[", "<")
        )
    ]
    text = " ".join(dict.fromkeys(filter(None, lines)))
    return text[:500] or type(error).__name__
