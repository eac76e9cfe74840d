"""Labels, flags and files of run_classifier's targets, and of GLUE's tasks."""

import pytest
from helpers.bad_inputs import DEV, TRAIN, faults, of, run_case
from helpers.spoil import write

case = of("run_classifier")

NUMBERS = write(TRAIN, "text\tlabel\nGood.\t4.5\nPoor.\t1\n")
SEVERAL = write(TRAIN, "text\tlabel\nGood.\tred,blue\nPoor.\t\n")
FLAGS = write(TRAIN, "text\tred\tblue\nGood.\t1\t1\nPoor.\t0\t0\n")
# Two rows are less than a batch.
NUMBER = {"label_type": "number", "num_train_epochs": 9}
MULTI = {"label_type": "multi", "num_train_epochs": 9}
COLUMNS = {**MULTI, "label_cols": "red,blue"}
PREDICTS = {"do_train": False, "do_eval": False, "do_predict": True}


def glue(name, file, *rows):
    """Writes a file of one of GLUE's tasks."""
    return write(f"{name}/{file}.tsv", "\n".join(rows) + "\n")


def of_glue(name):
    return {"task_name": name, "data_dir": name, "do_eval": False}


CASES = [
    case(
        "number: a comma in a number",
        (f"{TRAIN}, line 3", "label_col", "'3,5'", "decimal number"),
        write(TRAIN, "text\tlabel\nGood.\t4.5\nPoor.\t3,5\n"),
        **NUMBER,
    ),
    case(
        "number: an empty cell in dev",
        (f"{DEV}, line 2", "label_col", "empty cell", "decimal number"),
        NUMBERS,
        write(DEV, "text\tlabel\nGood.\t\n"),
        **NUMBER,
    ),
    case(
        "number: words",
        (f"{TRAIN}, line 2", "'positive'", "decimal number"),
        **NUMBER,
    ),
    case(
        "number: labels.txt of a classifier",
        ("output/labels.txt", "numbers"),
        NUMBERS,
        write(DEV, "text\tlabel\nGood.\t4\n"),
        write("output/labels.txt", "bad\ngood\n"),
        leaves=("labels.txt",),
        **NUMBER,
    ),
    case(
        "number: class weights",
        ("class_weights", "number"),
        NUMBERS,
        class_weights="balanced",
        **NUMBER,
    ),
    case(
        "number: a metric of classes",
        ("keep_best", "eval_accuracy", "eval_pearson"),
        NUMBERS,
        eval_every_steps=1,
        keep_best="eval_accuracy",
        **NUMBER,
    ),
    case(
        "multi: a name twice",
        (f"{TRAIN}, line 2", "'red' twice", "once"),
        write(TRAIN, "text\tlabel\nGood.\tred,red\n"),
        **MULTI,
    ),
    case(
        "multi: a label only in dev",
        (f"{DEV}, line 3", "'green'", "'blue', 'red'"),
        SEVERAL,
        write(DEV, "text\tlabel\nGood.\tred\nPoor.\tgreen\n"),
        **MULTI,
    ),
    case(
        "multi: a list without names",
        (f"{TRAIN}, line 2", "[1, 0]", "label_cols"),
        write(TRAIN, "text\tlabel\nGood.\t[1, 0]\n"),
        **MULTI,
    ),
    case(
        "multi: a list that is too long",
        (f"{TRAIN}, line 2", "3 values", "'red', 'blue'"),
        write(TRAIN, "text\tlabel\nGood.\t[1, 0, 1]\n"),
        label_col="label",
        **COLUMNS,
    ),
    case(
        "multi: neither 0 nor 1",
        (f"{TRAIN}, line 3", "blue", "'2'", "0 or 1"),
        write(TRAIN, "text\tred\tblue\nGood.\t1\t1\nPoor.\t0\t2\n"),
        **COLUMNS,
    ),
    case(
        "multi: a missing column",
        (TRAIN, "label_cols", "'green'", "'blue'"),
        FLAGS,
        label_type="multi",
        label_cols="red,green",
    ),
    case(
        "multi: no column of flags in dev",
        (DEV, "label_cols", "'red'"),
        FLAGS,
        **COLUMNS,
    ),
    case(
        "multi: weights of other labels",
        ("class_weights", "'green'", "'red', 'blue'"),
        FLAGS,
        write(DEV, "text\tred\tblue\nGood.\t1\t0\n"),
        class_weights="red=1,green=2",
        **COLUMNS,
    ),
    case(
        "multi: a threshold above 1",
        ("threshold", "1.5"),
        SEVERAL,
        threshold=1.5,
        **MULTI,
    ),
    case(
        "multi: auto without thresholds",
        ("threshold=auto", "thresholds.tsv", "do_eval"),
        write("bert/labels.txt", "red\nblue\n"),
        threshold="auto",
        **MULTI,
        **PREDICTS,
    ),
    case(
        "multi: thresholds of other labels",
        ("bert/thresholds.tsv", "'red', 'blue'", "'red', 'green'"),
        write("bert/labels.txt", "red\nblue\n"),
        write("bert/thresholds.tsv", "red\t0.5\ngreen\t0.5\n"),
        threshold="auto",
        **MULTI,
        **PREDICTS,
    ),
    case(
        "multi: auto for a new checkpoint that is not evaluated",
        ("threshold=auto", "do_eval"),
        SEVERAL,
        threshold="auto",
        do_eval=False,
        do_predict=True,
        **MULTI,
    ),
    case(
        "multi: training where older thresholds are",
        ("output/thresholds.tsv", "earlier checkpoint", "threshold=auto"),
        SEVERAL,
        write(DEV, "text\tlabel\nGood.\tred\n"),
        write("output/thresholds.tsv", "blue\t0.1\nred\t0.2\n"),
        leaves=("thresholds.tsv",),
        **MULTI,
    ),
    case(
        "multi: older thresholds beside the best checkpoint",
        ("output/best/thresholds.tsv", "threshold=auto"),
        SEVERAL,
        write(DEV, "text\tlabel\nGood.\tred\n"),
        write("output/best/thresholds.tsv", "blue\t0.1\nred\t0.2\n"),
        leaves=("best",),
        eval_every_steps=1,
        keep_best="eval_micro_f1",
        **MULTI,
    ),
    case(
        "multi: auto for a training that is never evaluated",
        ("threshold=auto", "do_eval"),
        SEVERAL,
        threshold="auto",
        do_eval=False,
        **MULTI,
    ),
    case(
        "GLUE: labels of a test file",
        ("test_labels", "task_name=tsv"),
        glue("rte", "train", "i\ta\tb\tl", "0\tA.\tB.\tentailment"),
        test_labels=True,
        **of_glue("rte"),
    ),
    case("class: a threshold", ("threshold", "multi"), threshold=0.3),
    case("class: names of columns", ("label_cols", "multi"), label_cols="a,b"),
    case(
        "class: weights without training",
        ("class_weights", "do_train"),
        class_weights="balanced",
        do_train=False,
    ),
    case(
        "class: a weight of 0",
        ("class_weights", "'negative=0'"),
        class_weights="positive=1,negative=0",
    ),
    case("an unknown type", ("label_type", "score"), label_type="score"),
    case(
        "RTE: a label of MNLI",
        ("rte/train.tsv, line 2", "'neutral'", "not_entailment"),
        glue("rte", "train", "i\ta\tb\tl", "0\tA.\tB.\tneutral"),
        **of_glue("rte"),
    ),
    case(
        "MNLI: no gold label",
        ("mnli/train.tsv, line 2", "'-'", "annotators"),
        glue("mnli", "train", "header", "\t".join("0123456789ab-")),
        **of_glue("mnli"),
    ),
    case(
        "QQP: a short row in dev",
        ("qqp/dev.tsv, line 2", "3 columns", "at least 6"),
        glue("qqp", "dev", "header", "1\t2\thalf a row"),
        **{**of_glue("qqp"), "do_eval": True, "do_train": False},
    ),
    case(
        "STS-B: a score above 5",
        ("sts-b/train.tsv, line 2", "9.5", "0 to 5"),
        glue("sts-b", "train", "header", "\t".join("012345678") + "\t9.5"),
        **of_glue("sts-b"),
    ),
    case(
        "AX: training", ("ax", "do_train"), write("ax/x", ""), **of_glue("ax")
    ),
    case(
        "AX: no file",
        ("diagnostic.tsv", "AX.tsv"),
        write("ax/x.tsv", "x\n"),
        **{**of_glue("ax"), **PREDICTS},
    ),
]


@pytest.mark.parametrize("case", CASES)
def test_message_names_what_is_wrong(case):
    assert faults(case, run_case(case)) == []
