"""Files with the examples of run_classifier."""

import pytest
from helpers.bad_inputs import DEV, MRPC, TRAIN, faults, of, run_case
from helpers.spoil import (
    VOCAB_FILE,
    append,
    edit,
    folder,
    move,
    remove,
    replace,
    write,
)

case = of("run_classifier")

CASES = [
    case("no such folder", ("data_dir", "'nowhere'"), data_dir="nowhere"),
    case("a file", ("data_dir", TRAIN), data_dir=TRAIN),
    case("empty --data_dir", "data_dir", data_dir=""),
    case("a bucket", "gs://bucket/reviews", data_dir="gs://bucket/reviews"),
    case(
        "another name for the training file",
        ("train.tsv", "training.tsv"),
        move(TRAIN, "data/training.tsv"),
    ),
    case(
        "two training files",
        ("train.tsv", "train.csv"),
        write("data/train.csv", "text,label\n"),
    ),
    case("no dev file", "dev.tsv", remove(DEV)),
    case("no test file", "test.tsv", remove("data/test.tsv"), do_predict=True),
    case("a folder for the training file", "train.tsv/", folder(TRAIN)),
    case("another task's layout", (TRAIN, "line 2", "5"), task_name="MRPC"),
    case("empty", TRAIN, write(TRAIN, "")),
    case("only a header", (TRAIN, "header"), write(TRAIN, "text\tlabel\n")),
    case(
        "MRPC: only a header",
        ("mrpc/dev.tsv", "header"),
        write("mrpc/dev.tsv", "Quality\t#1\t#2\tfirst\tsecond\n"),
        **MRPC,
    ),
    case(
        "XNLI: no rows in Chinese",
        ("xnli/xnli.dev.tsv", "zh"),
        write("xnli/xnli.dev.tsv", "language\tlabel\nde\tneutral\n"),
        task_name="XNLI",
        data_dir="xnli",
        do_train=False,
    ),
    case(
        "UTF-16", (TRAIN, "UTF-16"), edit(TRAIN, lambda raw: b"\xff\xfe" + raw)
    ),
    case("bare carriage returns", (TRAIN, r"\r"), replace(TRAIN, b"\n", b"\r")),
    case(
        "fine: a BOM, Windows line ends, a line break in quotes, a long text",
        (),
        remove(DEV),
        write("data/dev.csv", 'text,label\n"Poor,\npoor.",negative\n'),
        append("data/dev.csv", "good " * 40_000 + ",positive\n"),
        replace("data/dev.csv", b"\n", b"\r\n"),
        edit("data/dev.csv", lambda raw: b"\xef\xbb\xbf" + raw),
        replace(VOCAB_FILE, b"\n", b"\r\n"),
        write("output/labels.txt", "negative\npositive\n"),
        do_train=False,
        exit_code=0,
    ),
]


@pytest.mark.parametrize("case", CASES)
def test_message_names_what_is_wrong(case):
    assert faults(case, run_case(case)) == []
