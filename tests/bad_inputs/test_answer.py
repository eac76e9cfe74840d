"""Mistakes that answer reports."""

import numpy as np
import pytest
from helpers.bad_inputs import (
    QUESTIONS,
    TEXT,
    each_path,
    each_value,
    faults,
    of,
    run_case,
)
from helpers.spoil import (
    CONFIG_FILE,
    PREFIX,
    VOCAB_FILE,
    append,
    one_token_type,
    remove,
    replace,
    weights,
    write,
)

case = of("answer")

THRESHOLD = "bert/null_score_diff_threshold.txt"
AUTO = {"version_2_with_negative": True, "null_score_diff_threshold": "auto"}
FROM_FILE = {"question": None, "context_file": None, "input_file": QUESTIONS}


@weights
def with_span_head(values):
    return {
        **values,
        "cls/squad/output_weights": np.zeros((2, 128), np.float32),
        "cls/squad/output_bias": np.zeros(2, np.float32),
    }


CASES = [
    case("no span head", (PREFIX, "cls/squad/output_weights", "run_squad")),
    case("no such checkpoint", "nowhere", checkpoint="nowhere"),
    case("no vocab.txt", (PREFIX, "--vocab_file"), remove(VOCAB_FILE)),
    case("no config", (PREFIX, "--bert_config_file"), remove(CONFIG_FILE)),
    *each_path(case, vocab_file=["words.txt"], context_file=["nowhere.txt"]),
    case(
        "neither --question nor --input_file",
        ("--question", "--input_file"),
        question=None,
        context_file=None,
    ),
    case(
        "both --question and --input_file",
        ("--question", "--input_file"),
        input_file=QUESTIONS,
    ),
    case("--question without a text", "--context_file", context_file=None),
    case(
        "a text without words", ("--context_file", TEXT), write(TEXT, " \n\n")
    ),
    case(
        "not UTF-8",
        ("--context_file", TEXT, "UTF-8"),
        replace(TEXT, b"Ann", b"\xe9nn"),
    ),
    case(
        "a text without tokens",
        ("contexts[0]", "\\u200b"),
        with_span_head,
        write(TEXT, "\u200b\u200b"),
    ),
    case("a blank question", ("question", "' '"), question=" "),
    case(
        "a question without tokens",
        ("question", "\\u200b"),
        with_span_head,
        question="\u200b",
    ),
    *[
        case(
            f"a line {tried}",
            (f"{QUESTIONS}, line 2", *names),
            append(QUESTIONS, f"\n{text}\n"),
            **FROM_FILE,
        )
        for tried, text, *names in [
            ("that is not JSON", "Who?", "JSON", "'Who?'"),
            ("without a question", '{"context": "Ann."}', '"question"'),
            ("without a text", '{"question": "Who?"}', '"contexts"'),
            (
                "with two kinds of text",
                '{"question": "Who?", "context": "Ann.", "contexts": ["Ann."]}',
                *('"context"', '"contexts"'),
            ),
            (
                "with one text for many",
                '{"question": "Who?", "contexts": "Ann."}',
                '"contexts"',
            ),
            (
                "with a number among texts",
                '{"question": "Who?", "contexts": ["Ann.", 7]}',
                *('"contexts"', "1"),
            ),
        ]
    ],
    case("an empty input", QUESTIONS, write(QUESTIONS, ""), **FROM_FILE),
    case(
        "onto the input",
        (QUESTIONS, "--output_file"),
        **FROM_FILE,
        output_file=QUESTIONS,
    ),
    case("a folder for the output", "bert", with_span_head, output_file="bert"),
    *each_value(
        case,
        num_answers=[0],
        batch_size=[0],
        max_answer_length=[0],
        max_query_length=[0],
        doc_stride=[0],
        max_seq_length=[512],
        null_score_diff_threshold=[1.5],
    ),
    case(
        "no room beside the question",
        ("max_seq_length (19)", "max_query_length (16)"),
        max_seq_length=19,
    ),
    case("auto, and none stored", (THRESHOLD, "run_squad"), **AUTO),
    case(
        "a stored threshold that is no number",
        (THRESHOLD, "'high'"),
        write(THRESHOLD, "high\n"),
        **AUTO,
    ),
    case("one token type", ("type_vocab_size", "1"), one_token_type),
]


@pytest.mark.parametrize("case", CASES)
def test_message_names_what_is_wrong(case):
    assert faults(case, run_case(case)) == []
