"""The first rows of each kind of file."""

import csv
import json

import pytest
from helpers.paths import GOLDEN
from slices import copy_first


def first(tmp_path, name, text, count):
    (tmp_path / name).write_bytes(text.encode())
    copy_first(tmp_path / name, tmp_path / f"first_{name}", count)
    return (tmp_path / f"first_{name}").read_bytes().decode()


def test_a_table_keeps_its_header_and_quotes(tmp_path):
    text = 'sentence\tlabel\n"one\t1\ntwo\t0\nthree\t1'
    found = first(tmp_path, "train.tsv", text, 2)
    assert found == 'sentence\tlabel\n"one\t1\ntwo\t0\n'


def test_line_ends_within_records_of_csv_are_kept(tmp_path):
    with open(GOLDEN / "choices" / "odd_rows.csv", newline="") as file:
        rows = list(csv.reader(file))
    copy_first(GOLDEN / "choices" / "odd_rows.csv", tmp_path / "train.csv", 5)
    with open(tmp_path / "train.csv", newline="") as file:
        assert list(csv.reader(file)) == rows[:6]


@pytest.mark.parametrize("count", [1, 2, 3, 100])
def test_sentences_keep_their_documents(tmp_path, count):
    sentences = ["EU B-ORG\nsays O\n", "no O\n", "Ann B-PER\n"]
    start = "-DOCSTART- O\n\n"
    text = start + "\n".join(sentences[:2]) + "\n" + start + sentences[2]
    found = first(tmp_path, "train.txt", text, count)
    blocks = [b for b in found.split("\n\n") if b and "-DOCSTART-" not in b]
    assert [f"{b.strip()}\n" for b in blocks] == sentences[:count]
    assert found.count("-DOCSTART-") == 1 + (count >= 2)


def test_questions_of_squad_keep_their_paragraphs(tmp_path):
    path = GOLDEN / "squad" / "train-v2.0.json"
    copy_first(path, tmp_path / "train.json", 30)

    def questions(file):
        return [
            (article["title"], paragraph["context"], question)
            for article in json.loads(file.read_text())["data"]
            for paragraph in article["paragraphs"]
            for question in paragraph["qas"]
        ]

    assert questions(tmp_path / "train.json") == questions(path)[:30]
