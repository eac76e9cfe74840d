"""Mistakes that released_models reports."""

import pytest
from helpers.bad_inputs import faults, of, run_case
from helpers.spoil import folder, write

case = of("released_models")
MODEL = "uncased_L-2_H-128_A-2"
NOBODY = "http://127.0.0.1:9/model.zip"


def download(tried, *parts, options=()):
    words = ("download", "BERT-Tiny", "--dir", "models", *options)
    return case(f"download: {tried}", *parts, words=words)


CASES = [
    case("no command", ("list", "download", "verify")),
    case("an unknown command", ("'get'", "download"), words=("get", "x")),
    case("no model", "NAME", words=("download",)),
    case("a misspelt flag", "keep_zip", words=("download", "x", "--keepzip")),
    case(
        "an unknown model",
        ("'BERT-Tinny'", "'BERT-Tiny'"),
        words=("download", "BERT-Tinny"),
    ),
    case(
        "--timeout=0",
        "--timeout=0",
        words=("download", "BERT-Tiny", "--timeout=0"),
    ),
    download("not a URL", "'model.zip'", options=("--url", "model.zip")),
    download("no server", NOBODY, options=("--url", NOBODY, "--retries=0")),
    download("--dir is a file", "models", write("models", "x")),
    download(
        "the folder holds something else",
        f"models/{MODEL}",
        folder(f"models/{MODEL}"),
    ),
    case(
        "verify: no such model",
        ("models", f"download {MODEL}"),
        words=("verify", "BERT-Tiny", "--dir", "models"),
    ),
    case(
        "verify: a folder named like no model",
        ("bert", "--model"),
        words=("verify", "bert"),
    ),
    case(
        "verify: another model",
        ("vocab.txt", "bert_config.json", "vocab_size", "30522"),
        words=("verify", "bert", "--model", "BERT-Tiny"),
    ),
]


@pytest.mark.parametrize("case", CASES)
def test_message_names_what_is_wrong(case):
    assert faults(case, run_case(case)) == []
