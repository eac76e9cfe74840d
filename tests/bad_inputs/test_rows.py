"""Rows and columns of the examples of run_classifier."""

import pytest
from helpers.bad_inputs import DEV, MRPC, TRAIN, faults, of, run_case
from helpers.spoil import line, remove, replace, write

case = of("run_classifier")


def rows(name, *lines):
    """Puts a file of these lines in the place of data/train.tsv."""
    write_them = write(f"data/{name}", "\n".join(lines))
    return lambda: (remove(TRAIN)(), write_them())


CASES = [
    *[
        case(tried, (f"{TRAIN}, line {at}", name), line(TRAIN, at, text))
        for tried, at, text, name in [
            ("a blank line", 4, "", "blank"),
            ("no label", 3, "The soup was poor.", "1 column"),
            ("a tab in a text", 3, "The soup\twas poor.\tbad", "3 columns"),
            ("an empty label", 5, "The soup was poor.\t", "label"),
            ("not UTF-8", 2, b"The caf\xe9 was poor.\tnegative", "0xe9"),
            ("a NUL byte", 2, "The soup\0was poor.\tnegative", "NUL"),
        ]
    ],
    case(
        "three bad rows",
        (TRAIN, "3 bad rows", "line 3", "line 7", "line 9"),
        line(TRAIN, 3, "The soup was poor."),
        line(TRAIN, 7, ""),
        line(TRAIN, 9, b"The caf\xe9 was poor.\tnegative"),
    ),
    case(
        "dev: a label that training lacks",
        (f"{DEV}, line 2", "'neutral'", "'negative'"),
        line(DEV, 2, "The soup was soup.\tneutral"),
    ),
    case(
        "dev: no column of labels",
        (DEV, "label_col", "'text'"),
        write(DEV, "text\nThe soup was poor.\n"),
    ),
    case(
        "one label everywhere",
        (TRAIN, "'positive'", "label_col"),
        replace(TRAIN, b"\tnegative", b"\tpositive"),
    ),
    case(
        "MRPC: a short row",
        ("mrpc/train.tsv, line 3", "5"),
        line("mrpc/train.tsv", 3, "1\t2\t3\tOnly one sentence."),
        **MRPC,
    ),
    case(
        "MRPC: an unknown label",
        ("mrpc/dev.tsv, line 4", "'2'"),
        line("mrpc/dev.tsv", 4, "2\t1\t2\tA sentence.\tAnother."),
        **MRPC,
    ),
    case(
        "CoLA: a header, which its files do not have",
        ("cola/train.tsv, line 1", "header"),
        write("cola/train.tsv", "from\tlabel\tmark\ttext\nx\t1\t\tYes.\n"),
        task_name="CoLA",
        data_dir="cola",
        do_eval=False,
    ),
    *[
        case(
            f"csv: {tried}",
            ("data/train.csv, line 3", name),
            rows("train.csv", "text,label", "Good.,positive", text),
        )
        for tried, text, name in [
            ("a comma without quotes", "Poor, poor.,negative", "quotes"),
            ("a quote that is not closed", '"Poor.,negative', "quoting"),
        ]
    ],
    *[
        case(
            f"jsonl: {tried}",
            ("data/train.jsonl, line 2", *names),
            rows("train.jsonl", '{"text": "Good.", "label": 1}', text),
        )
        for tried, text, *names in [
            ("not JSON", "{'text': 'Poor.', 'label': 0}", "JSON object"),
            ("a list", '["Poor.", 0]', "JSON object"),
            ("a missing key", '{"text": "Poor."}', "'label'", "label_col"),
            ("a number", '{"text": 5, "label": 0}', "text_a_col", "string"),
            (
                "half of a surrogate pair",
                r'{"text": "Poor \ud83d", "label": 0}',
                "surrogate",
            ),
        ]
    ],
    case(
        "an unknown column",
        ("text_a_col", "'texts'", "'text'"),
        text_a_col="texts",
    ),
    case(
        "a column that the header has twice",
        ("text_a_col", "twice"),
        line(TRAIN, 1, "text\ttext"),
    ),
    case(
        "a column number beyond the last",
        ("label_col=7", "2 columns"),
        text_a_col="0",
        label_col="7",
    ),
    case("a name without a header", ("text_a_col", "header"), header="no"),
    case(
        "column numbers, and what may be a header",
        ("`header`", "line 1", "'label'"),
        text_a_col="0",
        label_col="1",
    ),
    case("commas in a .tsv file", (TRAIN, "tabs"), replace(TRAIN, b"\t", b",")),
]


@pytest.mark.parametrize("case", CASES)
def test_message_names_what_is_wrong(case):
    assert faults(case, run_case(case)) == []
