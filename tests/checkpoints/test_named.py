import logging

import pytest

from bert_tf.checkpoints import named
from bert_tf.errors import InputError


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_builtin_is_found_from_any_folder():
    folder = named.here("builtin")
    assert named.resolve("builtin") == str(folder)
    assert (folder / "vocab.txt").exists()


@pytest.mark.parametrize(
    "name",
    [
        "uncased_L-12_H-768_A-12",
        "bert-base-uncased",
        "google-bert/bert-base-uncased",
        "BERT-Base, Uncased",
    ],
)
def test_a_released_model_that_is_not_here_is_an_error_of_one_line(name):
    with pytest.raises(InputError) as raised:
        named.resolve(name)
    message = str(raised.value)
    command = "python -m bert_tf.released_models download uncased_L-12_H-768"
    assert name in message and command in message and "\n" not in message


def test_small_models_have_hugging_face_names_too():
    with pytest.raises(InputError, match=r"download uncased_L-2_H-128_A-2`"):
        named.resolve("google/bert_uncased_L-2_H-128_A-2")


def test_a_downloaded_model_is_found_by_any_of_its_names(tmp_path):
    folder = tmp_path / "checkpoints" / "uncased_L-2_H-128_A-2"
    folder.mkdir(parents=True)
    (folder / "bert_model.ckpt.index").touch()
    for name in ("BERT-Tiny", "uncased_L-2_H-128_A-2"):
        found = tmp_path / named.resolve(name)
        assert found.resolve() == folder.resolve()


def test_other_files_of_that_name_are_no_path(tmp_path):
    (tmp_path / "builtin.html").touch()
    assert named.resolve("builtin") == str(named.here("builtin"))
    (tmp_path / "builtin.index").touch()
    assert named.resolve("builtin") == "builtin"


def test_a_path_wins_over_a_name_and_is_told(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    (tmp_path / "builtin").mkdir()
    assert named.resolve("builtin") == "builtin"
    assert "path builtin" in caplog.text


@pytest.mark.parametrize(
    "name", ["bert-base-uncased", "chinese_L-12_H-768_A-12"]
)
def test_a_path_wins_over_a_model_that_is_not_here(name, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    (tmp_path / name).mkdir()
    assert named.resolve(name) == name
    assert not caplog.records


def test_the_folder_that_has_the_name_is_told_nothing(monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    monkeypatch.chdir(named.here("builtin").parent)
    assert named.resolve("builtin") == "builtin"
    assert not caplog.records


def test_other_names_stay_as_they_are():
    for path in ("", "out", "a/b/model.ckpt-3", "gs://bucket/x", "builtinn"):
        assert named.resolve(path) == path
