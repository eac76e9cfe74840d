"""Mistakes that fill_mask and score report."""

import pytest
from helpers.bad_inputs import LINES, each_value, faults, of, run_case
from helpers.spoil import (
    PREFIX,
    VOCAB_FILE,
    remove,
    replace,
    weights,
    without,
    write,
)

fill_mask, score = of("fill_mask"), of("score")
FROM_FILE = {"text": None, "input_file": LINES}


def in_both(case):
    return [
        case("no text", ("--text", "--input_file"), text=None),
        case("two inputs", ("--text", "--input_file"), input_file=LINES),
        case(
            "no such file",
            ("--input_file", "nowhere.txt"),
            text=None,
            input_file="nowhere.txt",
        ),
        case(
            "not UTF-8",
            (LINES, "line 1"),
            replace(LINES, b"old", b"\xe9ld"),
            **FROM_FILE,
        ),
        case(
            "onto the input",
            (LINES, "--output_file"),
            write(LINES, "the [MASK] .\n"),
            **FROM_FILE,
            output_file=LINES,
        ),
        case("a folder for the output", "bert", output_file="bert"),
        case(
            "no masked-LM head",
            (PREFIX, "masked-LM head", "cls/predictions/output_bias"),
            weights(without("cls/predictions")),
        ),
        case("no vocab.txt", (PREFIX, "--vocab_file"), remove(VOCAB_FILE)),
        case(
            "no [MASK] in the vocabulary",
            (VOCAB_FILE, "[MASK]"),
            replace(VOCAB_FILE, b"[MASK]", b"[GAP]"),
        ),
        case(
            "longer than the model's positions",
            ("max_seq_length=129", "128"),
            max_seq_length=129,
        ),
        *each_value(case, batch_size=[0]),
    ]


CASES = [
    *in_both(fill_mask),
    fill_mask(
        "a text without [MASK]",
        ("[MASK]", "text 1", "'the park'"),
        text="the park",
    ),
    *each_value(fill_mask, top_k=[0]),
    *in_both(score),
    score(
        "a pair, and no next-sentence head",
        ("next-sentence head", "cls/seq_relationship/output_weights"),
        weights(without("cls/seq_relationship")),
        text="old ||| very old",
    ),
    score("a pair without tokens", "\\u200b", text="\u200b ||| very old"),
]


@pytest.mark.parametrize("case", CASES)
def test_message_names_what_is_wrong(case):
    assert faults(case, run_case(case)) == []
