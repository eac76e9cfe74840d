"""Settings of an export, and the values that they may have."""

import dataclasses
import importlib
import re
from collections.abc import Collection

from bert_tf.errors import InputError

INT8, BFLOAT16 = QUANTIZATIONS = ("int8", "bfloat16")
"""Ways to quantize the encoder's linear layers."""

EXPORT_FOLDER = "export"
"""Where --do_export writes, in the folder of a training."""

SAVED_MODEL, ONNX, OPENVINO, LITERT = FORMATS = (
    "saved_model",
    "onnx",
    "openvino",
    "litert",
)
"""What an export may be written as."""

MODEL_FILES = {
    SAVED_MODEL: "saved_model.pb",
    ONNX: "model.onnx",
    OPENVINO: "model.xml",
    LITERT: "model.tflite",
}
"""The file by which a version's format is known."""

_PACKAGES = {
    SAVED_MODEL: (),
    ONNX: ("onnx",),
    OPENVINO: ("onnx", "openvino"),
    LITERT: (),
}
"""What writing a format needs besides TensorFlow."""

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")

ROWS_AT_ONCE = 32
"""Rows of a request that are computed together, to bound memory."""


@dataclasses.dataclass(frozen=True)
class Source:
    """The model to export.

    Attributes:
        checkpoint: a checkpoint's prefix, or the folder that it is in.
        vocab_file: None for the vocab.txt beside the checkpoint.
        bert_config_file: None for the bert_config.json beside it.
        do_lower_case, strip_accents: what is done to text; None for what the
            folder tells.
        max_seq_length: the most word pieces of a row that is made of text; None
            for the default of the task's own command, or as many as the model
            has positions for.
        quantize: one of `QUANTIZATIONS`, or None to keep float32.
        skip_padding: whether the encoder is computed at tokens only, and its
            outputs at padding are zeros; None for what changes no result of the
            head.
        ignore_folder_settings: whether casing wins where it contradicts the
            folder.
        format: one of `FORMATS`.
        inspect: whether there is a signature to look inside, `inspect`.
    """

    checkpoint: str
    vocab_file: str | None = None
    bert_config_file: str | None = None
    do_lower_case: bool | None = None
    max_seq_length: int | None = None
    quantize: str | None = None
    strip_accents: bool | None = None
    ignore_folder_settings: bool = False
    skip_padding: bool | None = None
    format: str = SAVED_MODEL
    inspect: bool = False


def check_names(heads: Collection[str]) -> None:
    """Checks the names of several heads of one export.

    Raises:
        InputError: there is none, or one that cannot begin the names of
            signatures and outputs.
    """
    if not heads:
        raise InputError("`--heads` must name one head or more: NAME=FOLDER")
    for name in heads:
        if not _NAME.fullmatch(name):
            raise InputError(
                "The name of a head must be a letter, then letters, digits, _ "
                f"and -, 64 at most. Received: {name!r}"
            )


def check(source: Source) -> None:
    """Checks settings against each other, before any file is read.

    Raises:
        InputError: an unknown value, settings that cannot be combined, or a
            package that the format needs is not installed.
    """
    mode, kind = source.quantize, source.format
    if kind not in FORMATS:
        raise InputError(
            f"`format` must be one of {FORMATS}. Received: format={kind!r}"
        )
    if mode is not None and mode not in QUANTIZATIONS:
        raise InputError(
            f"`quantize` must be one of {QUANTIZATIONS}, or None to keep "
            f"float32. Received: quantize={mode!r}"
        )
    if kind == SAVED_MODEL:
        return
    if source.inspect:
        raise InputError(
            f"`--inspect` is for --format={SAVED_MODEL}. A model of "
            f"--format={kind} computes nothing but its head's outputs: use "
            "bert_tf.attention and bert_tf.neighbours on the checkpoint."
        )
    if mode == BFLOAT16 or (mode and kind != ONNX):
        possible = "int8" if kind == ONNX else "none"
        raise InputError(
            f"`--quantize={mode}` cannot be combined with --format={kind}; of "
            f"the ways to quantize it has {possible}, --format={SAVED_MODEL} "
            f"has {', '.join(QUANTIZATIONS)}."
        )
    if source.skip_padding:
        raise InputError(
            "`--skip_padding=true` cannot be combined with "
            f"--format={kind}, which computes padding. Predictor and serve "
            "compute rows of similar length together, so that there is little "
            "of it. Leave it out."
        )
    packages = _PACKAGES[kind]
    if mode is not None:
        packages += ("onnxruntime",)
    for package in packages:
        _require(
            package, f"--format={kind}" + (f" --quantize={mode}" * bool(mode))
        )


def _require(package: str, flags: str) -> None:
    try:
        importlib.import_module(package)
    except ImportError as error:
        extra = package.removesuffix("runtime")
        raise InputError(
            f"`{flags}` needs the package {package}, which cannot be "
            f"imported ({error}): pip install 'bert_tf[{extra}]'"
        ) from error
