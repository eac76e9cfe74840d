"""Training folders where exported models are taken."""

import json
import logging
import os
import pathlib

import numpy as np
import pytest
from helpers.commands import run_command
from helpers.trained_folders import (
    make_mrpc_folder,
    mrpc_pairs,
    mrpc_probabilities,
)

import bert_tf
from bert_tf.errors import InputError
from bert_tf.tasks import trained


@pytest.fixture
def folder(tmp_path):
    return make_mrpc_folder(tmp_path / "mrpc")


@pytest.fixture
def made(monkeypatch):
    """Where exports were made, which have nothing but their notes."""
    places = []

    def export(head, prefix, place, source):
        places.append(pathlib.Path(place))
        version = os.path.join(place, str(len(places)))
        os.makedirs(os.path.join(version, "assets.extra"))
        with open(os.path.join(version, trained._SOURCE_FILE), "w") as file:
            json.dump(source, file)

    monkeypatch.setattr(trained, "_export", export)
    return places


@pytest.mark.slow
def test_predictor_gives_the_probabilities_of_test_results(folder, caplog):
    caplog.set_level(logging.INFO)
    predict = bert_tf.Predictor(folder)
    assert predict.labels == ["0", "1"]
    assert predict.path == str(folder / "export_cache" / "1")
    assert os.listdir(folder / "export_cache") == ["1"]
    got = [list(x.probabilities.values()) for x in predict(mrpc_pairs())]
    np.testing.assert_allclose(got, mrpc_probabilities(), atol=1e-5)
    assert predict.settings["text_pairs"] is True
    # What TensorFlow logs while it saves is nothing that a user needs.
    for notice in ("Assets written", "input name", "Sharding", "fingerprint"):
        assert notice not in caplog.text
    assert "Wrote " in caplog.text
    # The export is used again.
    assert trained.export_of(folder) == str(folder / "export_cache")
    assert os.listdir(folder / "export_cache") == ["1"]


def test_an_export_is_made_again_when_its_source_has_changed(folder, made):
    cache = folder / "export_cache"
    for _ in range(2):
        assert trained.export_of(folder) == str(cache)
    assert made == [cache]
    os.utime(folder / "model.ckpt-30.index", (1, 1))
    trained.export_of(folder)
    (folder / "labels.txt").write_text("no\nyes\n")
    for _ in range(2):
        trained.export_of(folder)
    assert made == [cache] * 3


def test_one_that_can_be_looked_into_does_for_all(folder, made):
    cache = str(folder / "export_cache")
    trained.export_of(folder)
    for inspect in (True, False, True):
        assert trained.export_of(folder, inspect) == cache
    assert len(made) == 2
    note = folder / "export_cache" / "2" / trained._SOURCE_FILE
    assert json.loads(note.read_text())["inspect"] is True


def test_the_best_checkpoint_is_taken_as_for_the_results(folder, made):
    trained.export_of(folder)
    make_mrpc_folder(folder / "best")
    trained.export_of(folder)
    assert len(made) == 2


def test_a_folder_that_cannot_be_written_to_is_exported_elsewhere(folder, made):
    # Stands in for a read-only one, which root may write to.
    (folder / "export_cache").write_text("")
    place = trained.export_of(folder)
    assert not place.startswith(str(folder))
    assert trained.export_of(folder) == place
    assert made == [pathlib.Path(place)]
    trained.remove_temporary()
    assert not os.path.exists(place)


def test_exported_models_and_their_versions_stay_as_they_are(made, tmp_path):
    path = tmp_path / "model"
    (path / "1" / "assets").mkdir(parents=True)
    (path / "1" / "assets" / "bert_tf.json").write_text('{"head": "span"}')
    assert trained.export_of(path) == str(path)
    assert trained.export_of(path / "1") == str(path / "1")
    assert not made


def test_a_checkpoint_without_notes_names_the_command(folder, made):
    (folder / "bert_tf.json").unlink()
    with pytest.raises(InputError) as error:
        bert_tf.Predictor(folder)
    for fact in (str(folder), "bert_tf.json", "export_saved_model --head="):
        assert fact in str(error.value)
    assert not made


def test_the_server_serves_the_cache_under_the_name_of_the_folder(
    folder, made, monkeypatch
):
    from bert_tf import serve

    asked = []

    def make_server(flags, name, path):
        asked.append((name, path))
        raise InputError("far enough")

    monkeypatch.setattr(serve, "make_server", make_server)
    monkeypatch.setattr(
        "helpers.commands.importlib.import_module",
        lambda _: type(
            "Command",
            (),
            {
                "define_flags": serve.define_flags,
                "main": lambda values: serve.main(values, str(folder)),
            },
        ),
    )
    with pytest.raises(InputError, match="far enough"):
        run_command("serve")
    assert asked == [("mrpc", str(folder / "export_cache"))]
