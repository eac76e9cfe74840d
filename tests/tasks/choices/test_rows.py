"""A row of tokens for each choice, as another implementation makes them."""

import csv
import gzip
import json
import shutil

import pytest
from helpers.paths import GOLDEN

from bert_tf.data.packing import truncate_and_pack
from bert_tf.tasks.choices.data import (
    ChoiceColumns,
    ChoiceExample,
    read_part,
)
from bert_tf.tasks.choices.rows import (
    choice_values,
    describe_example,
    pack_choices,
)
from bert_tf.tokenization import FullTokenizer

FOLDER = GOLDEN / "choices"
RUNS = json.loads(gzip.decompress((FOLDER / "features.json.gz").read_bytes()))[
    "runs"
]
INPUTS = {
    "sent1|sent2+ending": ChoiceColumns(),
    "startphrase|ending": ChoiceColumns(swag_inputs="startphrase"),
}


@pytest.fixture(scope="module")
def tokenizer(vocab_files):
    return FullTokenizer(str(vocab_files / "uncased"))


def assert_same_features(run, file, folder, tokenizer):
    shutil.copyfile(file, folder / "val.csv")
    length = run["max_seq_length"]
    read = read_part(str(folder), "dev", INPUTS[run["inputs"]])

    assert len(read.examples) == len(run["examples"])
    for example, want in zip(read.examples, run["examples"], strict=True):
        rows, _ = pack_choices(example, length, tokenizer)
        got = choice_values(rows, example.label, length, tokenizer)
        choices = want["choices"]
        assert got["label_ids"] == [want["label"]]
        assert [row.tokens for row in rows] == [c["tokens"] for c in choices]
        for name in ("input_ids", "input_mask", "segment_ids"):
            assert got[name] == [x for c in choices for x in c[name]], name


def runs_of(file):
    runs = [run for run in RUNS if run["file"].endswith(file)]
    assert len(runs) == 4
    return [
        pytest.param(run, id=f"{run['inputs']}-{run['max_seq_length']}")
        for run in runs
    ]


@pytest.mark.parametrize("run", runs_of("odd_rows.csv"))
def test_features_of_odd_rows_are_those_of_the_tokenizers_library(
    run, tmp_path, tokenizer
):
    assert_same_features(run, FOLDER / "odd_rows.csv", tmp_path, tokenizer)


@pytest.mark.shared
@pytest.mark.parametrize("run", runs_of("swag_sample.csv"))
def test_features_of_swag_are_those_of_the_tokenizers_library(
    run, tmp_path, tokenizer, shared_folder
):
    file = shared_folder / "data" / "swag" / "swag_sample.csv"
    assert_same_features(run, file, tmp_path, tokenizer)


@pytest.mark.shared
def test_the_sample_of_swag_is_read_whole(tmp_path, shared_folder):
    file = shared_folder / "data" / "swag" / "swag_sample.csv"
    shutil.copyfile(file, tmp_path / "train.csv")
    read = read_part(str(tmp_path), "train", ChoiceColumns())

    with open(file, newline="", encoding="utf-8") as opened:
        want = list(csv.DictReader(opened))
    assert len(read.examples) == len(want) == 11
    for example, row in zip(read.examples, want, strict=True):
        assert example.context == row["sent1"]
        assert example.question == row["sent2"]
        assert example.choices == tuple(row[f"ending{n}"] for n in range(4))
        assert str(example.label) == row["label"]


def test_tokens_that_do_not_fit_are_counted(tokenizer):
    example = ChoiceExample("dev-1", "a b c d", "e", ("f", "g h i j k"), 1)

    rows, num_cut = pack_choices(example, 8, tokenizer)

    # [CLS] and two [SEP] leave five places.
    assert rows[0] == truncate_and_pack(list("abcd"), list("ef"), 8)
    shown = [" ".join(row.tokens) for row in rows]
    assert shown == [
        "[CLS] a b c [SEP] e f [SEP]",
        "[CLS] a b c [SEP] e g [SEP]",
    ]
    assert num_cut == 1 + 5
    assert "6 tokens cut off" in describe_example(example, 8, tokenizer)
