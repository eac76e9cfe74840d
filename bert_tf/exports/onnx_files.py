"""Writes ONNX files, perhaps in 8 bits, and OpenVINO's files of them."""

import contextlib
import logging
import os
from collections.abc import Iterator

import onnx

from bert_tf.exports.settings import MODEL_FILES, ONNX, OPENVINO
from bert_tf.support import files

LARGEST = 1_900_000_000
"""Bytes of weights in one file: protobuf reads up to 2 GB."""

WEIGHTS = f"{MODEL_FILES[ONNX]}.weights"
"""Beside a model with more of them."""


def save(model: onnx.ModelProto, folder: str, quantize: str | None = None):
    """Writes model.onnx to a folder.

    Args:
        model: in float32.
        folder: it is there already.
        quantize: "int8" to round the kernels of the encoder's linear layers,
            and at run time what is multiplied with them; None for float32.
    """
    path = os.path.join(folder, MODEL_FILES[ONNX])
    size = sum(len(one.raw_data) for one in model.graph.initializer)
    is_large = size > LARGEST
    if quantize is None:
        _save(model, path, is_large)
        return
    from onnxruntime import quantization

    with files.temporary_folder("float32") as beside, _quiet():
        whole = os.path.join(beside, MODEL_FILES[ONNX])
        _save(model, whole, is_large)
        quantization.quantize_dynamic(
            whole,
            path,
            op_types_to_quantize=["MatMul"],
            nodes_to_quantize=linear_layers(model),
            per_channel=True,
            weight_type=quantization.QuantType.QInt8,
            use_external_data_format=is_large,
        )


def linear_layers(model: onnx.ModelProto) -> list[str]:
    """The nodes that multiply with a kernel of the encoder or a pooler."""
    return [
        node.name
        for node in model.graph.node
        if node.op_type == "MatMul"
        and (node.name.startswith("bert/") or "/pooler/dense/" in node.name)
    ]


def _save(model, path, is_large):
    onnx.save_model(
        model,
        path,
        save_as_external_data=is_large,
        location=WEIGHTS if is_large else None,
    )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    # It recommends a preprocessing step on the root logger, which would change
    # nothing here.
    level = logging.root.level
    logging.root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logging.root.setLevel(level)


def save_openvino(model: onnx.ModelProto, folder: str) -> None:
    """Writes OpenVINO's model.xml and model.bin, in float32, to a folder.

    Args:
        model: in float32.
        folder: it is there already.
    """
    import openvino

    with files.temporary_folder("onnx") as beside:
        save(model, beside)
        converted = openvino.convert_model(
            os.path.join(beside, MODEL_FILES[ONNX])
        )
        openvino.save_model(
            converted,
            os.path.join(folder, MODEL_FILES[OPENVINO]),
            compress_to_fp16=False,
        )
