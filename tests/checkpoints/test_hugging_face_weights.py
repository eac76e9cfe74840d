import json
import pickle
import shlex
import sys
import types

import numpy as np
import pytest
from helpers.hugging_face import HUGGING_FACE, assert_same, stored, tensors_of

from bert_tf.checkpoints.from_hugging_face import from_hf
from bert_tf.errors import InputError


class Tensor:
    """As much of a PyTorch tensor as is read."""

    def __init__(self, value):
        self.value, self.shape = value, value.shape

    def detach(self):
        return self

    contiguous = float = detach

    def is_floating_point(self):
        return self.value.dtype.kind == "f"

    def numpy(self):
        return self.value


@pytest.fixture
def torch(monkeypatch):
    """Stands in for PyTorch; `torch.found` is what its files hold."""

    def load(path, map_location, weights_only):
        assert (map_location, weights_only) == ("cpu", True)
        if isinstance(module.found, Exception):
            raise module.found
        return module.found

    module = types.SimpleNamespace(load=load, found={})
    monkeypatch.setitem(sys.modules, "torch", module)
    return module


@pytest.fixture
def folder(hf):
    folder = hf("classifier")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    return folder


def as_torch(head="classifier"):
    tensors = tensors_of(HUGGING_FACE / head)
    return {name: Tensor(value) for name, value in tensors.items()}


def test_files_of_pytorch_are_read_with_their_head(torch, folder, tmp_path):
    torch.found = as_torch()
    from_hf(folder, tmp_path / "old")
    from_hf(HUGGING_FACE / "classifier", tmp_path / "new")
    assert_same(stored(tmp_path / "old"), stored(tmp_path / "new"))


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (pickle.UnpicklingError("Unsupported global"), "more than tensors"),
        (RuntimeError("PytorchStreamReader failed\nmore"), "is damaged"),
        (EOFError(), "is damaged"),
        ([], "dictionary of tensors. It holds a list"),
        ({"state_dict": {}}, "nothing but tensors.*'state_dict'"),
    ],
)
def test_other_files_of_pytorch_are_named(
    found, message, torch, folder, tmp_path
):
    torch.found = found
    with pytest.raises(InputError, match=rf"pytorch_model\.bin .*{message}"):
        from_hf(folder, tmp_path / "tf")
    assert not (tmp_path / "tf").exists()


def test_without_pytorch_the_command_that_converts_is_given(
    monkeypatch, folder, tmp_path
):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(InputError) as raised:
        from_hf(folder, tmp_path / "tf")
    command = str(raised.value).rpartition("; python ")[2]
    option, program = shlex.split(command)
    assert option == "-c"
    compile(program, "program", "exec")
    assert "weights_only=True" in program
    assert str(folder / "model.safetensors") in program


def test_shards_must_be_beside_their_index(folder, tmp_path):
    (folder / "pytorch_model.bin").unlink()
    index = {"weight_map": {"a": "../other.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(InputError, match=r"beside itself.*other\.safetensors"):
        from_hf(folder, tmp_path / "tf")


def test_tensors_of_another_kind_of_model_are_named(torch, folder, tmp_path):
    torch.found = {"transformer.wte.weight": Tensor(np.zeros((2, 2)))}
    with pytest.raises(InputError, match=r"lacks .*word_emb.*has 'transf"):
        from_hf(folder, tmp_path / "tf")
