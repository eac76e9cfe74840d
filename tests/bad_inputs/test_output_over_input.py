"""Files to write that are files to read: nothing is written."""

import os

import pytest
from helpers.bad_inputs import LINES, QUESTIONS, TEXT, faults, of, run_case
from helpers.spoil import CONFIG_FILE, PREFIX, VOCAB_FILE, write

pretraining = of("create_pretraining_data")
vocabulary = of("learn_vocab")
RECORDS = {
    "input_file": f"{LINES},{TEXT}",
    "vocab_file": VOCAB_FILE,
    "max_seq_length": 16,
    "max_predictions_per_seq": 3,
}
SHARD = "texts/a-00000-of-00001"


def onto(case, flag, path, *spoils, tried="", output_file=None, **changed):
    """A case whose output is the file that a flag names, or lies there."""
    return case(
        f"{flag} {path} {tried}".strip(),
        ("--output_file", f"--{flag}", path),
        *spoils,
        output_file=output_file or path,
        **changed,
    )


def link():
    os.symlink(os.path.abspath(TEXT), "link.txt")


CASES = [
    onto(pretraining, "input_file", LINES, **RECORDS),
    onto(pretraining, "input_file", TEXT, **RECORDS),
    onto(pretraining, "vocab_file", VOCAB_FILE, **RECORDS),
    onto(
        pretraining,
        "input_file",
        TEXT,
        tried="one of several",
        output_file=f"new.tfrecord,{TEXT}",
        **RECORDS,
    ),
    onto(pretraining, "input_file", "link.txt", link, **RECORDS),
    onto(
        pretraining,
        "input_file",
        SHARD,
        write(SHARD, "one .\n\ntwo .\n"),
        output_file="texts/a",
        num_workers=1,
        **{**RECORDS, "input_file": SHARD},
    ),
    onto(
        pretraining,
        "vocab_file",
        "texts/a.json",
        write("texts/a.json", "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n"),
        output_file="texts/a",
        num_workers=1,
        **{**RECORDS, "vocab_file": "texts/a.json"},
    ),
    onto(vocabulary, "input_file", TEXT, input_file=TEXT, vocab_size=200),
    onto(of("answer"), "context_file", TEXT),
    onto(
        of("answer"),
        "input_file",
        QUESTIONS,
        question=None,
        context_file=None,
        input_file=QUESTIONS,
    ),
    onto(of("score"), "checkpoint", VOCAB_FILE),
    onto(of("fill_mask"), "checkpoint", f"{PREFIX}.index"),
    onto(of("extract_features"), "bert_config_file", CONFIG_FILE),
]


@pytest.mark.parametrize("case", CASES)
def test_what_is_read_is_not_written(case):
    assert faults(case, run_case(case)) == []
