"""Folders as transformers writes them, and their tensors."""

import json

import numpy as np
import pytest

from bert_tf import checkpoints
from helpers.golden import CHECKPOINTS

safetensors = pytest.importorskip("safetensors.numpy")

HUGGING_FACE = CHECKPOINTS / "hugging_face"


def edit_json(path, **changes):
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def tensors_of(folder):
    return safetensors.load_file(folder / "model.safetensors")


def edit_tensors(folder, edit):
    """Lets `edit` change the dictionary of a folder's tensors."""
    tensors = {k: v.copy() for k, v in tensors_of(folder).items()}
    edit(tensors)
    safetensors.save_file(
        {name: np.ascontiguousarray(value) for name, value in tensors.items()},
        folder / "model.safetensors",
    )


def stored(prefix):
    reader = checkpoints.CheckpointReader(prefix)
    return {name: reader.tensor(name) for name in reader.names}


def assert_same(got, want):
    assert sorted(got) == sorted(want)
    for name, value in want.items():
        assert got[name].dtype == value.dtype
        np.testing.assert_array_equal(got[name], value, err_msg=name)
