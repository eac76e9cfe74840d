import csv
import json

import pytest

from bert_tf.data import prediction_tables
from bert_tf.errors import InputError


def written(tmp_path, name, content, has_header, columns):
    path = tmp_path / name
    path.write_text(content)
    table = prediction_tables.read_table(str(path), has_header)
    out = tmp_path / "out.tsv"
    prediction_tables.write(str(out), table, columns)
    with open(out, newline="") as file:
        return list(csv.reader(file, delimiter="\t", strict=True))


LABELS = [("label", ["good", "bad"]), ("probability", [0.75, 0.5])]


def test_a_tsv_file_without_header_has_numbered_columns(tmp_path):
    got = written(tmp_path, "x.tsv", 'a "b"\t1\nc\t2\n\n', False, LABELS)
    assert got == [
        ["column_0", "column_1", "label", "probability"],
        ['a "b"', "1", "good", "0.75"],
        ["c", "2", "bad", "0.5"],
    ]


def test_no_two_columns_have_a_name(tmp_path):
    columns = [("labels", ["a", "b"]), ("labels", [1, 2]), ("text", [3, 4])]
    got = written(tmp_path, "x.tsv", "text\nc\nd\n", True, columns)
    assert got[0] == ["text", "labels", "predicted_labels", "predicted_text"]


def test_cells_of_csv_files_with_line_breaks_and_tabs_stay_cells(tmp_path):
    content = 'text,label\n"one\ntwo, ""three""",x\n"\tfour","""five"""\n'
    got = written(tmp_path, "x.csv", content, True, LABELS)
    assert got == [
        ["text", "label", "predicted_label", "probability"],
        ['one\ntwo, "three"', "x", "good", "0.75"],
        ["\tfour", '"five"', "bad", "0.5"],
    ]


def test_keys_of_jsonl_files_are_columns(tmp_path):
    rows = [{"text": "é", "n": 3}, {"text": "b", "list": ["x"], "n": None}]
    content = "".join(json.dumps(row) + "\n" for row in rows)
    got = written(tmp_path, "x.jsonl", content, False, [("value", [1.5, -2])])
    assert got == [
        ["text", "n", "list", "value"],
        ["é", "3", "", "1.5"],
        ["b", "null", '["x"]', "-2"],
    ]


def test_a_file_that_was_changed_meanwhile_is_named(tmp_path):
    with pytest.raises(InputError, match=r"x\.tsv .* 1 row now, and 2"):
        written(tmp_path, "x.tsv", "a\n", False, LABELS)
    assert not (tmp_path / "out.tsv").exists()
