"""One version of a SavedModel, as functions of NumPy arrays.

The SavedModel may be an export of bert_tf, or any other one whose signatures
take and return dense tensors. TensorFlow is needed, Keras is not.
"""

import os

import numpy as np
import tensorflow as tf
from google.protobuf import json_format
from google.protobuf.message import DecodeError
from tensorflow.core.framework import types_pb2
from tensorflow.core.protobuf import saved_model_pb2

from bert_tf.errors import InputError
from bert_tf.exports import folder, loading, warmup
from bert_tf.exports.interface import Signature, Tensor
from bert_tf.server.loaded import LoadedVersion
from bert_tf.server.protocol import (
    DEFAULT_SIGNATURE,
    RequestError,
    find_signature,
)


class ServedModel(LoadedVersion):
    """The signatures of a SavedModel.

    Args, Attributes: as `LoadedVersion`.

    Raises:
        InputError: it cannot be loaded, or fails its own warm-up requests.
    """

    def __init__(self, path, version):
        super().__init__(path, version)
        path = self.path
        meta_graph = _read_meta_graph(path)
        self._loaded = loading.load(path)
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
        self._warm_up()

    def run(self, signature_name, inputs):
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
        except loading.REFUSALS as error:
            reason = loading.reason_of(error)
            raise RequestError(
                f"The model cannot compute this: {reason}"
            ) from error
        except tf.errors.ResourceExhaustedError as error:
            raise RequestError(
                "There is not enough memory for this request now: send fewer "
                "or shorter rows, or try again.",
                503,
                Retry_After=1,
            ) from error
        return {
            # `numpy` returns a scalar text as bytes.
            name: array if isinstance(array, np.ndarray) else _scalar(array)
            for name, array in found.items()
        }

    def _warm_up(self):
        path = os.path.join(self.path, folder.EXTRA, warmup.FILE_NAME)
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
        self.warm_up_small()


def _scalar(value):
    array = np.empty((), object if isinstance(value, bytes) else None)
    array[()] = value
    return array


def _read_meta_graph(path):
    """The `MetaGraphDef` for serving, with its signatures."""
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
