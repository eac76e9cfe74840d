"""vocab.txt, as run_classifier reads it."""

import pytest
from helpers.bad_inputs import each_path, faults, of, run_case
from helpers.spoil import VOCAB_FILE, append, edit, line, write

case = of("run_classifier")

CASES = [
    *each_path(case, vocab_file=["bert/words.txt"]),
    case("empty", (VOCAB_FILE, "693", "0 lines"), write(VOCAB_FILE, "")),
    case(
        "one token too few",
        (VOCAB_FILE, "693", "692 lines"),
        edit(VOCAB_FILE, lambda raw: raw.partition(b"\n")[2]),
    ),
    case(
        "one token too many",
        (VOCAB_FILE, "693", "694 lines"),
        append(VOCAB_FILE, "more\n"),
    ),
    case(
        "not UTF-8",
        (f"{VOCAB_FILE}, line 600", "0xe9"),
        line(VOCAB_FILE, 600, b"caf\xe9"),
    ),
    case("no [CLS]", (VOCAB_FILE, "[CLS]"), line(VOCAB_FILE, 3, "[BEGIN]")),
    case("no [UNK]", (VOCAB_FILE, "[UNK]"), line(VOCAB_FILE, 2, "[UNKNOWN]")),
]


@pytest.mark.parametrize("case", CASES)
def test_message_names_what_is_wrong(case):
    assert faults(case, run_case(case)) == []
