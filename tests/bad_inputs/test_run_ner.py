"""Mistakes that run_ner reports; those of files are also in tests of data."""

import pytest
from helpers.bad_inputs import (
    NER_DEV,
    NER_TRAIN,
    each_value,
    faults,
    of,
    run_case,
)
from helpers.spoil import line, remove, write

case = of("run_ner")

TEST = "ner/test.txt"

CASES = [
    case(
        "nothing to do",
        ("do_train", "do_eval", "do_predict"),
        do_train=False,
        do_eval=False,
    ),
    case("no --data_dir", "data_dir", data_dir=None),
    case("no such folder", "data_dir='nowhere'", data_dir="nowhere"),
    *each_value(case, max_seq_length=[2], label_scheme=["BIO2"]),
    *each_value(case, train_scheme=["IOB1"], keep_best=["eval_accuracy"]),
    case("too long", ("4000", "128", "--max_seq_length"), max_seq_length=4000),
    case("no training file", ("train.txt", "dev.txt"), remove(NER_TRAIN)),
    case(
        "another width",
        (f"{NER_TRAIN}, line 4", "3 columns", "2 as in line 3"),
        line(NER_TRAIN, 4, "ran VBD O"),
    ),
    case(
        "two rows of another width",
        (f"{NER_TRAIN} has 2 bad rows", "line 4", "line 8"),
        line(NER_TRAIN, 4, "ran"),
        line(NER_TRAIN, 8, "park B-LOC x"),
    ),
    case(
        "a tag that no scheme has",
        (f"{NER_TRAIN}, line 3", "'U-PER'", "write U- as S-"),
        line(NER_TRAIN, 3, "Ann U-PER"),
    ),
    case(
        "not the scheme that is given",
        (f"{NER_TRAIN}, line 3", "'S-PER'", "IOB2", "--label_scheme"),
        line(NER_TRAIN, 3, "Ann S-PER"),
        label_scheme="IOB2",
    ),
    case(
        "not UTF-8",
        (f"{NER_TRAIN}, line 3", "0xe9"),
        line(NER_TRAIN, 3, b"Ren\xe9 B-PER"),
    ),
    case("no such column", ("--word_col=2", NER_TRAIN), word_col=2),
    case("the same column twice", "--label_col=0", label_col=0),
    case(
        "one label",
        (NER_TRAIN, "two different labels"),
        write(NER_TRAIN, "Ann O\nran O\n"),
    ),
    case(
        "dev without labels",
        (f"{NER_DEV}, line 1", "one column"),
        write(NER_DEV, "Ann\nran\n"),
    ),
    case(
        "a label that only dev has",
        (f"{NER_DEV}, line 3", "'B-ORG'", "'Ann'", "'B-PER'"),
        line(NER_DEV, 3, "Ann B-ORG"),
    ),
    case(
        "a label that only test has",
        (f"{TEST}, line 3", "'B-ORG'", "--test_labels=false"),
        line(TEST, 3, "Ann B-ORG"),
        do_predict=True,
    ),
    case(
        "context without documents",
        ("document_context", "-DOCSTART-", NER_TRAIN),
        write(NER_TRAIN, "Ann B-PER\nran O\n"),
        document_context=True,
    ),
    case(
        "no labels.txt",
        "labels.txt",
        do_train=False,
    ),
    case(
        "labels.txt of another training",
        ("output/labels.txt", "'B-ORG'", "'B-LOC'"),
        write("output/labels.txt", "B-ORG\nO\n"),
        leaves=("labels.txt",),
    ),
]


@pytest.mark.parametrize("tried", CASES)
def test_the_message_names_what_is_wrong(tried):
    assert faults(tried, run_case(tried)) == []
