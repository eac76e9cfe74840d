"""Folders of versions, and their settings."""

import json
import math
import os

import pytest

from bert_tf.errors import InputError
from bert_tf.exports import folder


def test_versions_are_numbered_and_other_names_left_alone(tmp_path):
    for name in ("7", "007x", "12.incomplete", "notes"):
        (tmp_path / name).mkdir()
    (tmp_path / "unfinished").mkdir()
    (tmp_path / "7" / "x").touch()

    path = folder.give_number(str(tmp_path / "unfinished"), str(tmp_path))

    assert path == str(tmp_path / "8")
    assert sorted(os.listdir(tmp_path)) == [
        "007x",
        "12.incomplete",
        "7",
        "8",
        "notes",
    ]


def test_a_number_that_is_taken_meanwhile_is_not_overwritten(
    tmp_path, monkeypatch
):
    (tmp_path / "unfinished").mkdir()
    rename = os.rename

    def too_late(old, new):
        if new.endswith("1"):
            os.mkdir(new)
            open(os.path.join(new, "x"), "w").close()
        rename(old, new)

    monkeypatch.setattr(os, "rename", too_late)
    path = folder.give_number(str(tmp_path / "unfinished"), str(tmp_path))
    assert path == str(tmp_path / "2")
    assert os.listdir(tmp_path / "1") == ["x"]


def test_what_tensorflow_cannot_write_to_is_refused(tmp_path):
    name = os.fsdecode(b"x\xff")
    with pytest.raises(InputError, match=r"UTF-8.*udcff"):
        folder.check_output(str(tmp_path / name))
    assert not list(tmp_path.iterdir())


def test_exporting_to_a_bucket_is_refused():
    with pytest.raises(InputError, match=r"folder on this machine.*gs://x"):
        folder.check_output("gs://x", "export_dir")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("{", "must be what bert_tf.export_saved_model writes"),
        ("[]", "must be what bert_tf.export_saved_model writes"),
        ('{"format": 1, "head": "span"}', "bert_tf.json.*'labels'"),
        ('{"format": 1, "head": "span", "labels": 3}', "bert_tf.json.*3"),
        ('{"format": 1, "head": "span", "labels": [3]}', "bert_tf.json.*3"),
        *(
            (
                json.dumps({"format": 1, "head": "x", "labels": None} | wrong),
                rf"bert_tf.json.*{next(iter(wrong))} is",
            )
            for wrong in (
                {"max_seq_length": "64"},
                {"doc_stride": 0},
                {"max_query_length": True},
                {"do_lower_case": 1},
                {"strip_accents": "no"},
                {"label_type": "several"},
                {"label_type": ["multi"]},
            )
        ),
        *(
            (
                json.dumps(
                    {"format": 1, "head": "classifier", "label_type": "multi"}
                    | {"labels": ["a", "b"]}
                    | wrong
                ),
                r"bert_tf.json.*thresholds are",
            )
            for wrong in (
                {},
                {"thresholds": None},
                {"thresholds": 0.5},
                {"thresholds": [0.5, "0.5"]},
                {"thresholds": [0.5, True]},
                {"thresholds": [0.5, math.nan]},
                {"thresholds": [0.5, 1.5]},
                {"thresholds": [0.5]},
                {"thresholds": [0.5, 0.5], "labels": None},
            )
        ),
        (
            '{"format": 2, "head": "x", "bert_tf_version": "9.1"}',
            r"must be of format 1. It is of format 2.*9\.1",
        ),
    ],
)
def test_settings_of_an_unknown_format_are_refused(settings, message, tmp_path):
    (tmp_path / "assets").mkdir()
    (tmp_path / "assets" / "bert_tf.json").write_text(settings)
    with pytest.raises(InputError, match=message):
        folder.read_settings(str(tmp_path))


def test_settings_of_exports_are_read(tmp_path):
    (tmp_path / "assets").mkdir()
    many = {"label_type": "multi", "labels": ["a", "b"]}
    many["thresholds"] = [0, 0.75]
    for written in (
        {"labels": None},  # Of a version that noted less.
        many | {"strip_accents": False, "do_lower_case": True},
        {"label_type": "number", "labels": None, "thresholds": None},
        {"label_type": "class", "labels": ["a", "b"], "thresholds": None},
    ):
        settings = {"format": 1, "head": "classifier", **written}
        path = tmp_path / "assets" / "bert_tf.json"
        path.write_text(json.dumps(settings))
        assert folder.read_settings(str(tmp_path)) == settings


def test_files_that_are_not_those_of_the_checksums_are_named(tmp_path):
    for name in (
        "saved_model.pb",
        "assets/vocab.txt",
        "assets.extra/warm_up",
        "variables/variables.index",
        "variables/variables.data-00000-of-00001",
    ):
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(name)
    folder.write_checksums(str(tmp_path))
    folder.check_checksums(str(tmp_path))
    # A model can do without these, and weights have checksums of their own.
    (tmp_path / "assets.extra" / "warm_up").unlink()
    (tmp_path / "variables" / "variables.data-00000-of-00001").write_text("x")
    folder.check_checksums(str(tmp_path))
    (tmp_path / "assets" / "vocab.txt").write_text("assets/vocab.tyt")
    with pytest.raises(InputError, match=r"assets/vocab\.txt is not the file"):
        folder.check_checksums(str(tmp_path))
    (tmp_path / "assets" / "vocab.txt").unlink()
    with pytest.raises(InputError, match=r"assets/vocab\.txt is missing"):
        folder.check_checksums(str(tmp_path))
    checksums = tmp_path / "assets.extra" / "bert_tf_checksums.json"
    outside = '{"assets/../../x": "0"}', '{"/dev/zero": "0"}'
    for content in (*outside, "", "[1]", "[" * 100_000, "\udc80"):
        checksums.write_bytes(content.encode("utf-8", "surrogatepass"))
        with pytest.raises(InputError, match=r"checksums\.json cannot be read"):
            folder.check_checksums(str(tmp_path))
    checksums.unlink()
    folder.check_checksums(str(tmp_path))
