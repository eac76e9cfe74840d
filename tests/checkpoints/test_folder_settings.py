"""bert_tf.json: what is read and written, what binds, what contradicts."""

import json

import pytest

from bert_tf.checkpoints import folder_settings
from bert_tf.checkpoints.folder_settings import (
    HEAD,
    INPUT,
    TEXT,
    UNSAID,
    FolderSettings,
    Noted,
)
from bert_tf.errors import InputError

CLASSIFIER = FolderSettings(
    "classifier", do_lower_case=False, max_seq_length=64, doc_stride=None
)


def put(folder, text):
    path = folder / "bert_tf.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_the_file_is_json_with_what_is_known_and_no_more(tmp_path):
    folder_settings.write(tmp_path, CLASSIFIER)

    content = json.loads((tmp_path / "bert_tf.json").read_text())
    assert content == {
        "head": "classifier",
        "do_lower_case": False,
        "max_seq_length": 64,
        "doc_stride": None,
    }
    assert folder_settings.read(tmp_path) == CLASSIFIER


def test_a_folder_without_the_file_says_nothing(tmp_path):
    assert folder_settings.read(tmp_path) == FolderSettings()
    assert folder_settings.read(tmp_path / "nowhere") == FolderSettings()
    assert FolderSettings().said() == {}
    folder_settings.write(tmp_path, FolderSettings())
    assert list(tmp_path.iterdir()) == []


def test_no_windows_is_not_the_same_as_nothing_said():
    assert CLASSIFIER.said()["doc_stride"] is None
    assert CLASSIFIER.window_pooling is UNSAID


def test_entries_of_newer_versions_are_kept(tmp_path):
    put(tmp_path, '{"max_seq_length": 32, "colour": {"r": 1}}')

    found = folder_settings.read(tmp_path)
    assert (found.max_seq_length, found.more) == (32, {"colour": {"r": 1}})
    folder_settings.write(tmp_path, CLASSIFIER)
    content = json.loads((tmp_path / "bert_tf.json").read_text())
    assert (content["max_seq_length"], content["colour"]) == (64, {"r": 1})


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("", 1, "Expecting value"),
        ('{\n "head": "span",\n', 3, "column 1"),
        ("[1]", 1, "list"),
        (b'{\n "head": "\xff"}', 2, "0xff"),
        ("[" * 100_000, 1, "recursion"),
        ('{\n "head": "x",\n "max_seq_length": "64"}', 3, "`max_seq_length`"),
        ('{\n "max_seq_length": 0}', 2, "above 0"),
        ('{\n "max_seq_length": true}', 2, "true"),
        ('{\n "max_seq_length": null}', 2, "null"),
        ('{\n "max_seq_length": 1e400}', 2, "Infinity"),
        ('{\n\n "do_lower_case": 1}', 3, "true or false"),
        ('{"head": ["span"]}', 1, "a text"),
        ('{"distill_weight": -0.5}', 1, "0 or above"),
        ('{"distill_weight": NaN}', 1, "NaN"),
    ],
)
def test_a_damaged_file_is_named_with_its_line(text, line, said, tmp_path):
    path = put(tmp_path, text)
    with pytest.raises(InputError) as error:
        folder_settings.read(tmp_path)
    message = str(error.value)
    assert message.startswith(f"{path}, line {line}: ")
    assert said in message and "remove it" in message
    with pytest.raises(InputError):
        folder_settings.write(tmp_path, CLASSIFIER)


def test_a_number_of_many_digits_is_no_traceback(tmp_path):
    put(tmp_path, '{"max_seq_length": ' + "9" * 10_000 + "}")
    with pytest.raises(InputError, match=r"bert_tf\.json, line 1"):
        folder_settings.read(tmp_path)


def test_what_a_new_training_takes_over_is_casing():
    assert CLASSIFIER.only((TEXT,)) == FolderSettings(do_lower_case=False)
    assert CLASSIFIER.only((TEXT, INPUT)).max_seq_length == 64
    assert CLASSIFIER.only((HEAD,)).said().keys() == {"head", "doc_stride"}


NAMES = ("max_seq_length", "doc_stride", "window_pooling")


def test_what_is_not_given_comes_from_the_folder():
    noted = Noted("run/bert_tf.json", CLASSIFIER)

    found = noted.resolve("classifier", NAMES, {})
    assert found == {"max_seq_length": 64, "doc_stride": None}
    same = noted.resolve("classifier", NAMES, {"max_seq_length": 64})
    assert same == found


def test_a_contradiction_names_both_values_and_the_way_round():
    noted = Noted("run/bert_tf.json", CLASSIFIER)
    given = {"max_seq_length": 128, "doc_stride": 32, "window_pooling": "max"}

    with pytest.raises(InputError) as error:
        noted.resolve("classifier", NAMES, given)
    for fact in (
        "--max_seq_length=128",
        "--doc_stride=32",
        "run/bert_tf.json",
        "max_seq_length=64",
        "doc_stride=none",
        "--ignore_folder_settings",
    ):
        assert fact in str(error.value)
    # Nothing is noted of it.
    assert "--window_pooling" not in str(error.value)
    assert noted.resolve("classifier", NAMES, given, ignore=True) == given


def test_windows_of_another_head_do_not_bind():
    span = FolderSettings("span", max_seq_length=384, doc_stride=128)
    noted = Noted("run/bert_tf.json", span)

    assert noted.resolve("features", NAMES, {}) == {"max_seq_length": 384}
    assert noted.resolve(None, NAMES, {"doc_stride": 7})["doc_stride"] == 7


def test_arguments_that_ask_for_nothing_are_none():
    noted = Noted("run/bert_tf.json", CLASSIFIER)
    found = noted.take("classifier", max_seq_length=None, max_query_length=None)
    assert found == {"max_seq_length": 64, "max_query_length": None}


def test_what_was_trained_on_binds_nothing(tmp_path):
    put(tmp_path, '{"head": "classifier", "text_pairs": true}')
    noted = folder_settings.noted_in(tmp_path)

    assert noted.settings.text_pairs is True
    assert noted.differences({"text_pairs": False}) == {}
    assert noted.differences({"head": "span"}) == {"head": "span"}
