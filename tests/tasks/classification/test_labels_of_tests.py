"""Labels of the test file of users' own data."""

import json
import logging

import pytest

from bert_tf.tasks.classification.datasets import find_dataset

PLACES = {"label_type": "multi", "label_cols": ["a", "b"]}


def find(folder, content, ending=".tsv", labels=("bad", "good"), **flags):
    (folder / f"test{ending}").write_text(content, encoding="utf-8")
    dataset = find_dataset("tsv", **flags).with_labels(labels)
    return dataset.find_test_labels(str(folder))


def test_labels_are_those_of_the_file_in_its_order(tmp_path):
    text = "text\tlabel\none\tgood\ntwo\tbad\nthree\t good\n"

    assert find(tmp_path, text) == ["good", "bad", "good"]


def test_labels_of_other_targets_are_read_as_in_training(tmp_path):
    numbers = "text,label\none,1.5\ntwo,-2\n"
    flags = "text\ta\tb\none\t1\t1\ntwo\t0\t0\n"

    got = find(tmp_path, numbers, ".csv", (), label_type="number")
    assert got == [1.5, -2.0]
    (tmp_path / "test.csv").unlink()
    assert find(tmp_path, flags, labels="ab", **PLACES) == [("a", "b"), ()]


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (["good", "good"], "the same"),
        (["-1", "-1"], "line 2"),
        (["", ""], "line 2"),
        (["good", ""], "line 3"),
        (["good", "medium"], "medium"),
    ],
)
def test_dummy_and_unknown_labels_are_ignored_with_one_line(
    tmp_path, caplog, labels, names
):
    caplog.set_level(logging.INFO)
    text = "".join(f"{n}\t{label}\n" for n, label in enumerate(labels))

    assert find(tmp_path, "text\tlabel\n" + text) is None
    (message,) = caplog.messages
    assert "test.tsv" in message and names in message


def test_placeholders_for_numbers_and_several_labels_are_ignored(tmp_path):
    numbers = "text\tlabel\none\t-1\ntwo\t-1\n"
    flags = "text\ta\tb\none\t0\t0\ntwo\t0\t0\n"

    assert find(tmp_path, numbers, labels=(), label_type="number") is None
    assert find(tmp_path, flags, labels="ab", **PLACES) is None


def test_a_file_without_the_column_says_nothing(tmp_path, caplog):
    caplog.set_level(logging.INFO)

    assert find(tmp_path, "text\none\ntwo\n") is None
    assert caplog.messages == []


def test_every_object_must_have_a_label(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    rows = [{"text": "a", "label": "good"}, {"text": "b"}]

    text = "".join(json.dumps(row) + "\n" for row in rows)

    assert find(tmp_path, text, ".jsonl") is None
    (message,) = caplog.messages
    assert "not every row" in message


def test_published_sets_have_no_labels_for_their_tests(tmp_path):
    assert find_dataset("mrpc").find_test_labels(str(tmp_path)) is None
