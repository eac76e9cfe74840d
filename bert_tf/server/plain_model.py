"""One version of a model that runs without TensorFlow, for the server."""

import numpy as np

from bert_tf.errors import InputError
from bert_tf.exports.interface import TEXT, Signature, Tensor
from bert_tf.server.loaded import LoadedVersion
from bert_tf.server.protocol import RequestError
from bert_tf.tasks import predictor

_TYPES = {"string": "DT_STRING", "int32": "DT_INT32", "float32": "DT_FLOAT"}
"""TensorFlow's names, as in the protocol."""


class PlainModel(LoadedVersion):
    """The signatures of an ONNX file, or one of OpenVINO.

    Args, Attributes: as `LoadedVersion`.

    Raises:
        InputError: it cannot be loaded, or does not run.
    """

    def __init__(self, path, version):
        super().__init__(path, version)
        self._model = predictor.open_inference(self.path, self.about)
        self._tokenizer = self._model.tokenizer
        self.signatures = {
            name: function.signature
            for name, function in self._model.functions.items()
        }
        self.signature_def = {
            name: _definition(signature)
            for name, signature in self.signatures.items()
        }
        self._warm_up()

    def run(self, signature_name, inputs):
        try:
            return self._model.run(signature_name, inputs)
        except InputError as error:
            raise RequestError(
                f"The model cannot compute this: {error}"
            ) from error
        except Exception as error:
            if _is_memory(error):
                raise RequestError(
                    "There is not enough memory for this request now: send "
                    "fewer or shorter rows, or try again.",
                    503,
                    Retry_After=1,
                ) from error
            raise

    def _warm_up(self):
        self.warm_up_small()
        inputs = {}
        for name, tensor in self.signatures[TEXT].inputs.items():
            inputs[name] = np.empty([1] * len(tensor.shape or ()), object)
            inputs[name][...] = b"a"
        try:
            self.run(TEXT, inputs)
        except RequestError as error:
            raise InputError(
                f"{self.path}: a small request to {TEXT} fails: {error}"
            ) from error


def _is_memory(error: Exception) -> bool:
    """Whether it is a runtime's way to say that memory is short."""
    return isinstance(error, MemoryError) or "alloc" in str(error).lower()


def _definition(signature: Signature) -> dict:
    """A signature as JSON of TensorFlow's `SignatureDef`."""

    def tensors(named):
        return {name: _info(name, tensor) for name, tensor in named.items()}

    return {
        "inputs": tensors(signature.inputs),
        "outputs": tensors(signature.outputs),
        "method_name": "tensorflow/serving/predict",
        "defaults": {},
    }


def _info(name: str, tensor: Tensor) -> dict:
    sizes = [str(-1 if size is None else size) for size in tensor.shape or ()]
    return {
        "name": name,
        "dtype": _TYPES[tensor.dtype],
        "tensor_shape": {
            "dim": [{"size": size, "name": ""} for size in sizes],
            "unknown_rank": False,
        },
    }
