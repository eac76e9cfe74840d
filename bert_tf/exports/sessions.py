"""Runs exported models without TensorFlow: with onnxruntime, or OpenVINO."""

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent import futures

import numpy as np

from bert_tf.data.grouping import LENGTH_STEP
from bert_tf.errors import InputError
from bert_tf.exports import folder
from bert_tf.exports.interface import Arrays, Session
from bert_tf.exports.settings import (
    MODEL_FILES,
    ONNX,
    OPENVINO,
    SAVED_MODEL,
)


def open_session(version: str) -> Session:
    """The model of a version that is an ONNX file or one of OpenVINO.

    Args:
        version: its folder, MODEL/1.

    Raises:
        InputError: it is damaged, cannot be read, or the package that runs it
            is not installed.
    """
    kind = folder.format_of(version)
    opener = _OPENERS.get(kind or "")
    if opener is None:
        raise InputError(
            f"{version} has the format {kind}, which bert_tf does not run. It "
            f"runs {', '.join((SAVED_MODEL, *_OPENERS))}."
        )
    path = os.path.join(version, MODEL_FILES[kind or ""])
    # While it loads, another processor reads the files for their checksums.
    with futures.ThreadPoolExecutor(1, "checksums") as pool:
        check = pool.submit(folder.check_checksums, version)
        try:
            session = opener(path)
        except ImportError as error:
            raise InputError(
                f"{path} needs the package {error.name}: pip install "
                f"'bert_tf[{kind}]'"
            ) from error
        # Each runtime raises errors of its own for a damaged file.
        except Exception as error:
            check.result()
            lines = str(error).strip().splitlines() or [type(error).__name__]
            raise InputError(
                f"{path} cannot be loaded: it is damaged, or newer than the "
                f"package that runs it. Copy or export it again. {lines[0]}"
            ) from error
        check.result()
    return session


class OnnxSession:
    """An ONNX file in onnxruntime, on the processor.

    Args:
        path: of the file.
    """

    length_step = 1

    def __init__(self, path: str):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # Errors only.
        # Memory for the largest batch would be kept for good.
        options.enable_cpu_mem_arena = False
        # Threads that wait busily take the processors from other programs.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(
            path, options, providers=["CPUExecutionProvider"]
        )
        found = self._session.get_outputs()
        self.outputs = tuple(one.name for one in found)

    def run(
        self, inputs: Mapping[str, np.ndarray], outputs: Sequence[str]
    ) -> Arrays:
        found = self._session.run(list(outputs), dict(inputs))
        return dict(zip(outputs, found, strict=True))


class OpenvinoSession:
    """Files of OpenVINO, on the processor, in float32.

    Args:
        path: of the .xml file, beside which there is a .bin.
    """

    length_step = LENGTH_STEP

    def __init__(self, path: str):
        import openvino

        # On processors with instructions for bfloat16, that is the default.
        options = {"INFERENCE_PRECISION_HINT": "f32"}
        self._model = openvino.Core().compile_model(path, "CPU", options)
        self.outputs = tuple(one.any_name for one in self._model.outputs)
        self._local = threading.local()

    def run(
        self, inputs: Mapping[str, np.ndarray], outputs: Sequence[str]
    ) -> Arrays:
        if not hasattr(self._local, "request"):
            self._local.request = self._model.create_infer_request()
        request = self._local.request
        request.infer(dict(inputs))
        # Copied, since the next call overwrites them.
        return {name: request.get_tensor(name).data.copy() for name in outputs}


_OPENERS: Mapping[str, Callable[[str], Session]] = {
    ONNX: OnnxSession,
    OPENVINO: OpenvinoSession,
}
