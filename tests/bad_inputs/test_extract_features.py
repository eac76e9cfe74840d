"""Mistakes that extract_features reports."""

import os

import pytest
from helpers.bad_inputs import (
    LINES,
    each_path,
    each_value,
    faults,
    of,
    run_case,
)
from helpers.spoil import (
    PREFIX,
    VOCAB_FILE,
    one_token_type,
    replace,
    weights,
    with_nan,
    without,
    write,
)

case = of("extract_features")
BIAS = "bert/encoder/layer_1/output/dense/bias"

CASES = [
    *each_path(case, input_file=["nowhere"], output_file=[LINES, "bert"]),
    case("an empty text", ("--input_file", LINES), write(LINES, "")),
    case("not UTF-8", (LINES, "line 1"), replace(LINES, b"old", b"\xe9ld")),
    case(
        "a pipe",
        ("--input_file", "twice", "pipe"),
        lambda: os.mkfifo("pipe"),
        input_file="pipe",
    ),
    case(
        "below a file",
        ("--output_file", LINES),
        output_file=f"{LINES}/vectors.jsonl",
    ),
    *each_value(
        case,
        layers=["last", "-3", "2", ""],
        pooling=["sum", "concat_last_4"],
        output_format=["csv"],
        batch_size=[0],
        max_seq_length=[2, 129],
        doc_stride=[0, 100],
    ),
    case(
        "a length of tokens", ("--normalize", "--pooling=none"), normalize=True
    ),
    case("float16 JSON", ("--float16", "--output_format"), float16=True),
    case(
        "layers for a pooling that fixes them",
        ("--layers", "--pooling=second_to_last_mean"),
        pooling="second_to_last_mean",
    ),
    case("no such checkpoint", "nowhere", init_checkpoint="nowhere"),
    case("a missing weight", (PREFIX, BIAS), weights(without(BIAS))),
    case("NaN", (PREFIX, "bert/embeddings/word_embeddings"), weights(with_nan)),
    case("pairs, and one token type", "type_vocab_size", one_token_type),
    case(
        "no [SEP]",
        (VOCAB_FILE, "[SEP]"),
        replace(VOCAB_FILE, b"[SEP]", b"[END]"),
    ),
    case("a full disk", "output/vectors.jsonl", largest_file=100),
]


@pytest.mark.parametrize("case", CASES)
def test_message_names_what_is_wrong(case):
    assert faults(case, run_case(case)) == []
