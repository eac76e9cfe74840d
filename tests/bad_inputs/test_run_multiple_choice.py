"""Mistakes that run_multiple_choice reports."""

import json

import pytest
from helpers.bad_inputs import (
    CHOICES,
    CHOICES_DEV,
    CHOICES_TRAIN,
    each_value,
    faults,
    of,
    run_case,
)
from helpers.spoil import append, move, one_token_type, remove, write

case = of("run_multiple_choice")

SWAG = "startphrase,sent1,sent2,ending0,ending1,ending2,ending3,label\n"
SWAG_ROW = "A b. C,A b.,C,d,e,f,g,0\n"


def add(**values):
    """Appends a row to the training file."""
    row = {"context": "a", "choices": ["b", "c"], "label": 0, **values}
    return append(CHOICES_TRAIN, json.dumps(row) + "\n")


def swag(name, content):
    """Puts a .csv file in the place of the training file."""
    return move(CHOICES_TRAIN, "texts/moved"), write(f"choices/{name}", content)


CASES = [
    case(
        "nothing to do",
        ("do_train", "do_eval", "do_predict"),
        do_train=False,
        do_eval=False,
    ),
    case("no --data_dir", "data_dir", data_dir=None, exit_code=1),
    case("no such folder", ("data_dir", "'nowhere'"), data_dir="nowhere"),
    case("no training file", "train.jsonl", remove(CHOICES_TRAIN)),
    case("no dev file", ("dev.jsonl", "val.jsonl"), remove(CHOICES_DEV)),
    case(
        "no test file",
        "test.jsonl",
        remove("choices/test.jsonl"),
        do_predict=True,
    ),
    case(
        "two dev files",
        ("dev.jsonl", "val.csv"),
        write("choices/val.csv", SWAG + SWAG_ROW),
    ),
    case("an empty file", CHOICES_TRAIN, write(CHOICES_TRAIN, "")),
    case(
        "a label that no choice has",
        (CHOICES_TRAIN, "line 9", "'2'", "one of 0, 1", "--first_label=1"),
        add(label=2),
    ),
    case(
        "a letter among numbers",
        (CHOICES_TRAIN, "line 9", "'B'", "as in line 1"),
        add(label="B"),
    ),
    case(
        "another number of choices",
        (CHOICES_TRAIN, "line 9", "3 choices", "2 as in line 1"),
        add(choices=["b", "c", "d"]),
    ),
    case(
        "one choice",
        (CHOICES_TRAIN, "line 9", "1 choice", "two or more"),
        add(choices=["b"]),
    ),
    case(
        "a choice that is no text",
        (CHOICES_TRAIN, "line 9", "choice_cols[1]", "a string"),
        add(choices=["b", 7]),
    ),
    case(
        "no such key",
        (CHOICES_TRAIN, "line 1", "context_col", "premise"),
        context_col="premise",
    ),
    case(
        "other choices in the dev set",
        (CHOICES_TRAIN, CHOICES_DEV, "2", "3"),
        write(CHOICES_DEV, CHOICES.replace('"is"]', '"is", "old"]')),
    ),
    case(
        "other names of choices in the dev set",
        (CHOICES_TRAIN, CHOICES_DEV, "0, 1", "A, B"),
        write(CHOICES_DEV, CHOICES.replace(": 0}", ': "A"}')),
    ),
    case(
        "the annotated file of SWAG",
        ("train_full.csv", "train.csv"),
        *swag("train_full.csv", "video-id,gold-ending,distractor-0\n"),
    ),
    case(
        "SWAG's label out of range",
        ("choices/train.csv", "line 3", "'4'", "0, 1, 2, 3"),
        *swag("train.csv", SWAG + SWAG_ROW + SWAG_ROW.replace(",0\n", ",4\n")),
    ),
    case(
        "SWAG's row broken in two",
        ("choices/train.csv", "line 3", "3 columns", "8 as in line 1"),
        *swag("train.csv", SWAG + SWAG_ROW + "A b. C,A b.,C\n"),
    ),
    case(
        "a .csv file of another layout",
        ("choices/train.csv", "--choice_cols", "'premise'"),
        *swag("train.csv", "premise,a,b,label\n"),
    ),
    case(
        "columns of SWAG",
        ("--label_col=gold", "--choice_cols"),
        *swag("train.csv", SWAG + SWAG_ROW),
        label_col="gold",
    ),
    case(
        "inputs of SWAG for other files",
        ("--swag_inputs=startphrase", CHOICES_TRAIN),
        swag_inputs="startphrase",
    ),
    case(
        "one token type",
        ("type_vocab_size", "bert_config.json"),
        one_token_type,
    ),
    case(
        "more tokens than positions",
        "--max_seq_length",
        max_seq_length=100_000,
    ),
    case("not one step", "--train_batch_size=100", train_batch_size=100),
    *each_value(
        case,
        max_seq_length=[4],
        first_label=["B", "-1"],
        keep_best=["eval_f1"],
        num_runs=[0],
    ),
]


@pytest.mark.parametrize("case", CASES)
def test_message_names_what_is_wrong(case):
    assert faults(case, run_case(case)) == []
