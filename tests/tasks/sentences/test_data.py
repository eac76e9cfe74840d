"""Files of pairs become examples; bad rows are named."""

import json
import logging

import pytest

from bert_tf.errors import InputError
from bert_tf.tasks.sentences import labels
from bert_tf.tasks.sentences.data import PairExample, PairFiles, read_part

STS = "index genre filename year old_index source1 source2 sentence1 sentence2"
MNLI = (
    "index promptID pairID genre sentence1_binary_parse sentence2_binary_parse "
    "sentence1_parse sentence2_parse sentence1 sentence2"
)
SCORES = labels.score_reader(5.0)


@pytest.fixture
def folder(tmp_path):
    def write(name, *rows):
        if isinstance(rows[0], dict):
            lines = map(json.dumps, rows)
        else:
            lines = ("\t".join(row) for row in rows)
        (tmp_path / name).write_text("".join(f"{line}\n" for line in lines))
        return str(tmp_path)

    return write


def message_of(files, part="train", read=SCORES):
    with pytest.raises(InputError) as error:
        read_part(files, part, read)
    return str(error.value)


def test_rows_of_sts_b_have_their_score_in_the_last_column(folder):
    header = [*STS.split(), "score"]
    row = ["0", *"bcdefg", 'A "man" sat .', "A man sits .", "4.250"]
    data_dir = folder("train.tsv", header, row)
    files = PairFiles(data_dir, "sts-b")

    (found,) = read_part(files, "train", SCORES).examples

    want = PairExample("train-2", 'A "man" sat .', "A man sits .", 0.85)
    assert found == want
    # The test file has no scores.
    folder("test.tsv", header[:-1], row[:-1])
    (found,) = read_part(files, "test", None).examples
    assert found == want._replace(guid="test-2", label=None)


def test_labels_of_mnli_are_in_the_last_column_of_each_file(folder):
    first = ["0", *"bcdefgh", "A man sat .", "He stood ."]
    train = [*MNLI.split(), "label1", "gold_label"]
    data_dir = folder("train.tsv", train, [*first, "x", "contradiction"])
    more = [f"label{n}" for n in range(1, 6)]
    folder(
        "dev_matched.tsv",
        [*MNLI.split(), *more, "gold_label"],
        [*first, *"vwxyz", "neutral"],
    )
    files = PairFiles(data_dir, "mnli")
    for part, label in (("train", "contradiction"), ("dev", "neutral")):
        (found,) = read_part(files, part, labels.read_name).examples
        assert found[1:] == ("A man sat .", "He stood .", label)


@pytest.mark.parametrize(
    ("name", "rows", "columns"),
    [
        ("train.tsv", [("text_a", "text_b", "label"), ("a", "b", "5")], {}),
        (
            "train.tsv",
            [("one", "s", "two"), ("a", "5", "b")],
            {"text_a_col": "one", "text_b_col": "two", "label_col": "s"},
        ),
        (
            "train.tsv",
            [("a", "5", "b")],
            {"text_a_col": "0", "text_b_col": "2", "label_col": "1"},
        ),
        (
            "train.tsv",
            [("one", "s", "two"), ("a", "5", "b")],
            {
                "text_a_col": "0",
                "text_b_col": "2",
                "label_col": "1",
                "header": "yes",
            },
        ),
        ("train.jsonl", [{"text_a": "a", "text_b": "b", "label": 5}], {}),
    ],
)
def test_own_columns_are_named_or_counted(folder, name, rows, columns):
    files = PairFiles(folder(name, *rows), **columns)
    (found,) = read_part(files, "train", SCORES).examples
    assert found[1:] == ("a", "b", 1.0)
    assert found.line == len(rows)


def test_a_label_is_read_where_there_is_one(folder):
    data_dir = folder("train.tsv", ("text_a", "text_b"), ("a", "b"))
    read = read_part(PairFiles(data_dir), "train", SCORES)
    assert not read.is_labelled
    with pytest.raises(InputError, match=r"train\.tsv.*scores.*--label_col"):
        labels.require_labels(read, "cosine")
    # One that a flag names must be there.
    assert "label_col" in message_of(PairFiles(data_dir, label_col="score"))


def test_rows_with_and_without_a_label_are_not_mixed(folder):
    pair = {"text_a": "a", "text_b": "b"}
    data_dir = folder("train.jsonl", {**pair, "label": 1}, pair, pair)
    message = message_of(PairFiles(data_dir))
    assert "2 rows of 3" in message and "line 2" in message


def test_bad_rows_are_named_together(folder):
    data_dir = folder(
        "train.tsv",
        ("text_a", "text_b", "label"),
        ("a", "b", "5.1"),
        ("a", "b", "good"),
        ("a", "b"),
        ("a", "b", "-5"),
    )
    message = message_of(PairFiles(data_dir))
    for fact in ("3 bad rows", "line 2", "5.1", "from -5 to 5", "--max_score"):
        assert fact in message, message
    for fact in ("line 3", "'good'", "line 4", "2 columns"):
        assert fact in message, message
    assert "line 5" not in message


def test_what_is_no_text_and_no_gold_label_is_named(folder):
    rows = [
        {"text_a": 1, "text_b": "b", "label": "x"},
        {"text_a": "a", "text_b": "b", "label": "-"},
    ]
    files = PairFiles(folder("train.jsonl", *rows))
    message = message_of(files, read=labels.read_name)
    for fact in ("text_a_col", "line 1", "line 2", "'-'", "annotators"):
        assert fact in message, message


def test_one_column_for_two_texts_is_refused(folder):
    data_dir = folder("train.tsv", ("t", "label"), ("a", "1"))
    files = PairFiles(data_dir, text_a_col="t", text_b_col="t")
    assert "must be different columns" in message_of(files)


def test_empty_texts_are_counted(folder, caplog):
    rows = [("text_a", "text_b"), ("", "b"), ("a", "b"), ("a", " ")]
    with caplog.at_level(logging.WARNING):
        read_part(PairFiles(folder("train.tsv", *rows)), "train", None)
    assert "2 rows with an empty text, the first in line 2" in caplog.text
