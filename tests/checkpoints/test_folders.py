"""What is kept beside the checkpoints of a training."""

import json
import os

import pytest
from helpers.golden import CHECKPOINTS

from bert_tf.checkpoints import folders
from bert_tf.errors import InputError

TINY = CHECKPOINTS / "tiny"


@pytest.fixture
def given(tmp_path):
    """A config and a vocabulary in a folder, as paths that may be changed."""
    paths = {}
    for flag, name in (
        ("bert_config_file", "bert_config.json"),
        ("vocab_file", "vocab.txt"),
    ):
        paths[flag] = tmp_path / name
        paths[flag].write_bytes((TINY / name).read_bytes())
    return paths


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


def test_config_and_vocabulary_are_copied_as_they_are(given, folder):
    folders.complete(folder, **given)
    for path in given.values():
        assert (folder / path.name).read_bytes() == path.read_bytes()
    assert sorted(os.listdir(folder)) == ["bert_config.json", "vocab.txt"]


def test_a_vocabulary_that_is_not_known_is_left_out(given, folder):
    folders.complete(folder, given["bert_config_file"])
    assert os.listdir(folder) == ["bert_config.json"]


def test_files_that_say_the_same_stay_as_they_are(given, folder):
    config = json.loads(given["bert_config_file"].read_text())
    (folder / "bert_config.json").write_text(json.dumps(config, indent=7))
    lines = given["vocab_file"].read_text().splitlines()
    (folder / "vocab.txt").write_bytes("\r\n".join(lines).encode())
    before = [path.read_bytes() for path in sorted(folder.iterdir())]

    folders.complete(folder, **given)

    assert [path.read_bytes() for path in sorted(folder.iterdir())] == before


def test_the_folders_own_files_may_be_given(given, folder):
    folders.complete(folder, **given)
    own = {flag: folder / path.name for flag, path in given.items()}
    folders.complete(folder, **own)
    for path in given.values():
        assert (folder / path.name).read_bytes() == path.read_bytes()


def test_another_config_is_refused_and_not_overwritten(given, folder):
    folders.complete(folder, **given)
    config = json.loads(given["bert_config_file"].read_text())
    config |= {"hidden_act": "relu", "hidden_dropout_prob": 0.5}
    given["bert_config_file"].write_text(json.dumps(config))
    before = (folder / "bert_config.json").read_bytes()
    with pytest.raises(
        InputError,
        match=r"out/bert_config.json must .* hidden_act, hidden_dropout_prob\.",
    ):
        folders.complete(folder, **given)
    assert (folder / "bert_config.json").read_bytes() == before


@pytest.mark.parametrize("line", [7, 2000])
def test_another_vocabulary_is_refused_and_not_overwritten(given, folder, line):
    folders.complete(folder, **given)
    lines = given["vocab_file"].read_text().splitlines()
    lines[line - 1 :] = ["another", *lines[line:]]
    found = min(line, len(lines))
    given["vocab_file"].write_text("\n".join(lines))
    with pytest.raises(
        InputError, match=f"out/vocab.txt must .* in line {found}\\."
    ):
        folders.complete(folder, **given)
    assert "another" not in (folder / "vocab.txt").read_text()
