"""Tensors of a Hugging Face folder: safetensors, PyTorch, TensorFlow."""

import contextlib
import importlib.util
import os
import pickle
import re
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from bert_tf.checkpoints.hugging_face import (
    HF_WEIGHTS,
    import_safetensors,
    read_json,
)
from bert_tf.checkpoints.keras_files import H5File
from bert_tf.errors import InputError, list_folder, some_of

HF_SHARDS = "model.safetensors.index.json"
TORCH_WEIGHTS = "pytorch_model.bin"
TORCH_SHARDS = "pytorch_model.bin.index.json"
KERAS_WEIGHTS = "tf_model.h5"
KERAS_SHARDS = "tf_model.h5.index.json"

# What programs put before the names of a model that they wrap.
_WRAPPERS = re.compile(r"((model|module|_orig_mod|\d+\.auto_model)\.)+")
_WORDS = re.compile(r"(.*?)(?:bert\.)?embeddings\.word_embeddings\.weight")


class HFWeights(NamedTuple):
    """Tensors that are read one at a time.

    Attributes:
        source: the path of their file, or the folder of their files.
        shapes: by their names.
        read: name -> array; floats as float32, integers as they are.
        prefix: what a wrapper put before the names of the model, or "".
    """

    source: str
    shapes: dict[str, tuple[int, ...]]
    read: Callable[[str], np.ndarray]
    prefix: str


def open_weights(folder):
    """Opens the tensors of a folder.

    Those of TensorFlow come under the names that PyTorch's have.

    Raises:
        InputError: files are missing or damaged, or names are those of a model
            inside another one.
    """
    formats = [
        (_find(folder, HF_WEIGHTS, HF_SHARDS), _open_safetensors),
        (_find(folder, TORCH_WEIGHTS, TORCH_SHARDS), _open_torch),
        (_find(folder, KERAS_WEIGHTS, KERAS_SHARDS), _open_keras),
    ]
    formats = [(files, opens) for files, opens in formats if files]
    if not formats:
        raise InputError(_no_weights(folder))
    files, opens = formats[0]
    if opens is _open_torch and len(formats) > 1 and not _has_torch():
        files, opens = formats[1]
    shapes, read = opens(files)
    source = files[0] if len(files) == 1 else folder
    return HFWeights(source, shapes, read, _find_prefix(shapes, source))


def _find(folder, whole, index):
    """The path of a file or of its shards; none if neither is there."""
    path, index = os.path.join(folder, whole), os.path.join(folder, index)
    if os.path.exists(path):
        return [path]
    if not os.path.exists(index):
        return []
    shards = read_json(index).get("weight_map")
    if not isinstance(shards, dict) or not shards:
        raise InputError(
            f"{index} must have an object `weight_map` of tensors and their "
            "files."
        )
    names = sorted({str(name) for name in shards.values()})
    outside = [name for name in names if name != os.path.basename(name)]
    if outside:
        raise InputError(
            f"{index} must name files beside itself. It names "
            f"{some_of(outside)}."
        )
    paths = [os.path.join(folder, name) for name in names]
    absent = [path for path in paths if not os.path.exists(path)]
    if absent:
        raise InputError(f"{index} names files that are missing: {absent}")
    return paths


def _no_weights(folder):
    hint = ""
    others = os.listdir(folder)
    if any(name.endswith(".msgpack") for name in others):
        hint = (
            " Convert weights of Flax with transformers 4: "
            "`from_pretrained(folder, from_flax=True)` of the class that "
            "`architectures` in config.json names, then "
            "`save_pretrained(folder)`."
        )
    return (
        f"{folder} must have {HF_WEIGHTS}, {TORCH_WEIGHTS} or {KERAS_WEIGHTS}. "
        f"It has: {list_folder(folder)}.{hint}"
    )


def _find_prefix(shapes, source):
    found = {m[1] for m in map(_WORDS.fullmatch, shapes) if m}
    if not found or "" in found:
        return ""
    if len(found) > 1 or not all(map(_WRAPPERS.fullmatch, found)):
        raise InputError(
            f"{source} must hold one BERT, with names like "
            "bert.embeddings.word_embeddings.weight. Before that its names "
            f"have {some_of(sorted(found))}: a part of another model. Save "
            "that part with its own `save_pretrained`."
        )
    return found.pop()


# ---------------------------------------------------------------- safetensors


def _open_safetensors(paths):
    safetensors = import_safetensors()
    shapes: dict[str, tuple[int, ...]] = {}
    places: dict[str, str] = {}

    @contextlib.contextmanager
    def opened(path):
        try:
            with safetensors.safe_open(path, framework="np") as file:
                yield file
        except (safetensors.SafetensorError, OSError) as error:
            raise InputError(
                f"{path} is damaged or not a safetensors file; copy or "
                f"download it again. {error}"
            ) from error

    for path in paths:
        with opened(path) as file:
            for name in file.keys():  # noqa: SIM118 - not a dictionary
                _require_new(name, shapes, path)
                shapes[name] = tuple(file.get_slice(name).get_shape())
                places[name] = path

    def read(name):
        with opened(places[name]) as file:
            return _as_float32(_read_tensor(file, name, places[name]))

    return shapes, read


def _require_new(name, shapes, path):
    if name in shapes:
        raise InputError(f"{path} repeats a tensor of another file: {name}")


def _as_float32(value):
    if value.dtype.kind in "iubc":
        return value
    with np.errstate(over="ignore"):  # Infinite numbers are reported later.
        return value.astype(np.float32, copy=False)


def _read_tensor(file, name, path):
    try:
        return file.get_tensor(name)
    except (AttributeError, TypeError) as error:
        dtype = file.get_slice(name).get_dtype()
        raise InputError(
            f"{name} in {path} must be of a dtype that NumPy has. It is "
            f"{dtype}: save the model as float32."
        ) from error


# -------------------------------------------------------------------- PyTorch


def _open_torch(paths):
    tensors: dict[str, Any] = {}
    for path in paths:
        for name, tensor in _load_torch(path).items():
            _require_new(name, tensors, path)
            tensors[name] = tensor
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}

    def read(name):
        tensor = tensors[name].detach()
        if tensor.is_floating_point():
            tensor = tensor.float()  # NumPy lacks bfloat16.
        return _as_float32(tensor.contiguous().numpy())

    return shapes, read


def _has_torch():
    return "torch" in sys.modules or importlib.util.find_spec("torch")


def _load_torch(path):
    try:
        import torch
    except ImportError as error:
        target = os.path.join(os.path.dirname(path), HF_WEIGHTS)
        if os.path.basename(path) != TORCH_WEIGHTS:
            target = f"{os.path.splitext(path)[0]}.safetensors"
        raise InputError(
            f"{path} can be read only where PyTorch is installed: pip install "
            "torch. Or convert it where PyTorch is, and all heads with it: pip "
            'install torch safetensors numpy; python -c "import torch, '
            "safetensors.torch as s; "
            f"t = torch.load({path!r}, map_location='cpu', weights_only=True); "
            "s.save_file({k: v.clone().contiguous() for k, v in t.items()}, "
            f'{target!r})"'
        ) from error
    try:
        tensors = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise InputError(
            f"{path} is damaged, or holds more than tensors; nothing else is "
            f"read, because it could run code. {_first_line(error)}"
        ) from error
    except (
        RuntimeError,
        ValueError,
        TypeError,
        EOFError,
        OSError,
        KeyError,
        IndexError,
        AttributeError,
    ) as error:
        raise InputError(
            f"{path} is damaged or not a file of PyTorch; copy or download it "
            f"again. {_first_line(error)}"
        ) from error
    if not isinstance(tensors, dict) or not tensors:
        raise InputError(
            f"{path} must hold a dictionary of tensors. It holds a "
            f"{type(tensors).__name__}."
        )
    other = [
        str(name)
        for name, value in tensors.items()
        if not isinstance(name, str) or not hasattr(value, "detach")
    ]
    if other:
        raise InputError(
            f"{path} must hold nothing but tensors by name, as "
            f"`save_pretrained` writes them. It also holds {some_of(other)}."
        )
    return tensors


def _first_line(error):
    return str(error).strip().split("\n")[0][:200]


# ----------------------------------------------------------------- TensorFlow


# What their classes of TensorFlow and of PyTorch call a part of a layer.
_TORCH_PARTS = {
    "kernel": "weight",
    "gamma": "weight",
    "beta": "bias",
    "embeddings": "weight",
}


def _open_keras(paths):
    places: dict[str, tuple[H5File, str, bool]] = {}
    for path in paths:
        file = H5File(path)
        # Shards have no groups of layers.
        layers = file.names("/", "layer_names")
        is_whole = not any("/" in layer for layer in layers)
        for place in file.shapes:
            name, is_transposed = _torch_name(place, is_whole)
            # The masked-LM head has the embeddings that it shares once more.
            places.setdefault(name, (file, place, is_transposed))
    shapes = {}
    for name, (file, place, is_transposed) in places.items():
        shape = file.shapes[place]
        shapes[name] = shape[::-1] if is_transposed else shape

    def read(name):
        file, place, is_transposed = places[name]
        value = file.read(place)
        return value.T if is_transposed else value

    return shapes, read


def _torch_name(place, is_whole):
    """A weight's name in PyTorch, and whether it is transposed there.

    `bert/tf_bert_model/bert/pooler/dense/kernel:0` of a whole file, with its
    layer and model first, is `bert.pooler.dense.weight`.
    """
    name = place.split(":")[0]
    name = name.split("/", 2)[-1] if is_whole else name
    # Such as mlm___cls/predictions and encoder/layer_._0.
    name = re.sub(r"(^|/)[^/]*___", r"\1", name).replace("_._", ".")
    scope, _, part = name.replace("/", ".").rpartition(".")
    return f"{scope}.{_TORCH_PARTS.get(part, part)}", part == "kernel"
