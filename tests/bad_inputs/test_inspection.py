"""Mistakes that attention and neighbours report."""

import pytest
from helpers.bad_inputs import LINES, each_value, faults, of, run_case
from helpers.spoil import PREFIX, VOCAB_FILE, remove, weights, without, write

attention, neighbours = of("attention"), of("neighbours")
FROM_FILE = {"text": None, "input_file": LINES}


def in_both(case):
    return [
        case("no text", ("--text", "--input_file"), text=None),
        case("two inputs", ("--text", "--input_file"), input_file=LINES),
        case("an empty file", LINES, write(LINES, ""), **FROM_FILE),
        case(
            "no encoder",
            (PREFIX, "bert/encoder/layer_0/attention/self/query/kernel"),
            weights(without("bert/encoder")),
        ),
        case("no vocab.txt", (PREFIX, "--vocab_file"), remove(VOCAB_FILE)),
        case(
            "longer than the model's positions",
            ("max_seq_length=129", "128"),
            max_seq_length=129,
        ),
    ]


CASES = [
    *in_both(attention),
    attention("another ending", ("--output", "map.pdf"), output="map.pdf"),
    attention(
        "onto the input",
        (LINES, "--output"),
        text=None,
        input_file=LINES,
        output=LINES,
    ),
    *in_both(neighbours),
    neighbours("no word", "--word", word=None),
    neighbours(
        "two words", ("--word=old park", "'old' and 'park'"), word="old park"
    ),
    neighbours("a word that is nowhere", ("--word", "'old'"), text="the park"),
    neighbours("a word of no piece", ("--word=ᚠ", "[UNK]"), word="ᚠ"),
    neighbours("another ending", ("--save", "v.txt"), save="v.txt"),
    *each_value(neighbours, top_k=[0], batch_size=[0], layer=[5, -6]),
]


@pytest.mark.parametrize("case", CASES)
def test_message_names_what_is_wrong(case):
    assert faults(case, run_case(case)) == []
