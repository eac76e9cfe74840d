"""Mistakes that extend_positions reports."""

import pytest
from helpers.bad_inputs import TEXT, faults, of, run_case
from helpers.spoil import (
    CONFIG_FILE,
    PREFIX,
    VOCAB_FILE,
    WEIGHTS,
    config,
    flip_byte,
    remove,
    weights,
    without,
    write,
)

case = of("extend_positions")
POSITIONS = "bert/embeddings/position_embeddings"

CASES = [
    case("no such checkpoint", "nowhere", init_checkpoint="nowhere"),
    case(
        "no --max_position_embeddings",
        "--max_position_embeddings",
        max_position_embeddings=None,
    ),
    case(
        "no more positions than there are",
        ("--max_position_embeddings=128", PREFIX),
        max_position_embeddings=128,
    ),
    case(
        "more than hierarchical positions reach",
        ("16384", "--max_position_embeddings=16385"),
        new_positions="hierarchical",
        max_position_embeddings=16385,
    ),
    case(
        "an unknown choice",
        ("new_positions=random", "repeat", "interpolate"),
        new_positions="random",
    ),
    case(
        "an output folder with a file",
        ("--output_dir", "output"),
        write("output/labels.txt", "x"),
        leaves=("labels.txt",),
    ),
    case("a file", ("--output_dir", "output"), write("output", "x")),
    case("below a file", ("--output_dir", TEXT), output_dir=f"{TEXT}/new"),
    case("no config", "--bert_config_file", remove(CONFIG_FILE)),
    case("no vocab.txt", "--vocab_file", remove(VOCAB_FILE)),
    case(
        "the config of another model",
        (CONFIG_FILE, PREFIX, "hidden_size"),
        config(hidden_size=64),
    ),
    case("no positions", (PREFIX, POSITIONS), weights(without(POSITIONS))),
    case(
        "a damaged weight",
        (PREFIX, "bert/encoder/layer_0/intermediate/dense/kernel"),
        flip_byte(WEIGHTS, 900_000),
    ),
    case(
        "more than any memory holds",
        ("memory", "--max_position_embeddings"),
        max_position_embeddings=2**40,
    ),
    case("a full disk", "output", largest_file=100_000),
]


@pytest.mark.parametrize("case", CASES)
def test_message_names_what_is_wrong(case):
    assert faults(case, run_case(case)) == []
