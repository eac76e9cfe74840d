"""Mistakes that run_sentence_vectors reports."""

import pytest
from helpers.bad_inputs import (
    PAIRS_DEV,
    PAIRS_TRAIN,
    each_value,
    faults,
    of,
    run_case,
)
from helpers.spoil import append, remove, write

case = of("run_sentence_vectors")

BARE = "text_a\ttext_b\n" + "the park\tan old park\n" * 8
NAMED = "text_a\ttext_b\tlabel\n" + "a park\tthe park\tyes\na\tb\tno\n" * 4


def in_batch(names, *spoils, **flags):
    return case(
        f"in_batch {names}", names, *spoils, objective="in_batch", **flags
    )


CASES = [
    case(
        "no objective to train",
        ("--objective", "cosine, softmax, in_batch"),
        objective=None,
    ),
    case("no such objective", "objective", objective="triplet"),
    case("no --data_dir", "data_dir", data_dir=None),
    case("no such folder", ("data_dir", "'nowhere'"), data_dir="nowhere"),
    case("no training file", "train.tsv", remove(PAIRS_TRAIN)),
    case("no dev file", "dev.tsv", remove(PAIRS_DEV)),
    case("an empty file", PAIRS_TRAIN, write(PAIRS_TRAIN, "")),
    case(
        "a header only",
        (PAIRS_TRAIN, "none"),
        write(PAIRS_TRAIN, "text_a\ttext_b\tlabel\n"),
    ),
    case(
        "a score out of range",
        (PAIRS_TRAIN, "line 10", "4.5", "--max_score"),
        append(PAIRS_TRAIN, "a\tb\t4.5\n"),
    ),
    case(
        "a score that is no number",
        (PAIRS_DEV, "line 10", "'high'", "decimal number"),
        append(PAIRS_DEV, "a\tb\thigh\n"),
    ),
    case(
        "no scores",
        (PAIRS_TRAIN, "scores", "--label_col"),
        write(PAIRS_TRAIN, BARE),
    ),
    case(
        "no such column",
        (PAIRS_TRAIN, "text_b_col", "'second'"),
        text_b_col="second",
    ),
    case(
        "scores for labels",
        (PAIRS_TRAIN, "two different labels"),
        objective="softmax",
    ),
    case(
        "a label that training does not have",
        (PAIRS_DEV, "line 10", "'perhaps'", "'no', 'yes'"),
        write(PAIRS_TRAIN, NAMED),
        write(PAIRS_DEV, NAMED + "a\tb\tperhaps\n"),
        objective="softmax",
    ),
    case(
        "labels without a labels.txt",
        "labels.txt",
        objective="softmax",
        do_train=False,
    ),
    in_batch(("--min_score", PAIRS_TRAIN)),
    in_batch("--min_score=0.9", min_score=0.9),
    in_batch(
        ("--min_score=0.9", PAIRS_TRAIN),
        write(PAIRS_TRAIN, BARE),
        min_score=0.9,
    ),
    in_batch("--train_batch_size=1", train_batch_size=1),
    in_batch("--gradient_accumulation_steps=2", gradient_accumulation_steps=2),
    in_batch("--distribution=mirrored", distribution="mirrored"),
    in_batch("--use_tpu", use_tpu=True),
    case("a score to keep", "--min_score=0.5", min_score=0.5),
    case(
        "columns of published files",
        ("--text_a_col=a", "sts-b"),
        task_name="sts-b",
        text_a_col="a",
    ),
    case(
        "MNLI has no scores", ("mnli", "--objective=softmax"), task_name="mnli"
    ),
    case(
        "evaluation of nowhere",
        ("--eval_task_name=mnli", "--eval_data_dir"),
        eval_task_name="mnli",
    ),
    case(
        "a result that labels would give",
        ("--keep_best=eval_accuracy", "eval_spearman", PAIRS_DEV),
        keep_best="eval_accuracy",
        eval_every_steps=1,
    ),
    case(
        "more tokens than positions",
        "--max_seq_length",
        max_seq_length=100_000,
    ),
    case("not one step", "--train_batch_size=100", train_batch_size=100),
    *each_value(
        case,
        max_seq_length=[2],
        max_score=[0, -1],
        keep_best=["eval_f1"],
        num_runs=[0],
    ),
]


@pytest.mark.parametrize("case", CASES)
def test_message_names_what_is_wrong(case):
    assert faults(case, run_case(case)) == []
