"""bert_config.json, as run_classifier reads it."""

import pytest
from helpers.bad_inputs import MRPC, each_path, faults, of, run_case
from helpers.spoil import (
    CONFIG_FILE,
    PREFIX,
    VOCAB_FILE,
    append,
    config,
    cut,
    one_token_type,
    write,
)

case = of("run_classifier")

CASES = [
    *each_path(case, bert_config_file=["bert/config.json", "bert"]),
    case("another file", VOCAB_FILE, bert_config_file=VOCAB_FILE),
    case("cut short", CONFIG_FILE, cut(CONFIG_FILE)),
    case(
        "not UTF-8",
        (CONFIG_FILE, "0xfc"),
        write(CONFIG_FILE, b'{"hidden_act": "gel\xfc"}'),
    ),
    case("a list", (CONFIG_FILE, "list"), write(CONFIG_FILE, [])),
    case("100,000 brackets", CONFIG_FILE, write(CONFIG_FILE, "[" * 100_000)),
    *[
        case(
            f"{key}={value!r}",
            (CONFIG_FILE, f"{key}={value!r}"),
            config(**{key: value}),
        )
        for key, value in [
            ("hidden_size", -128),
            ("hidden_size", "128"),
            ("num_hidden_layers", 0),
            ("num_attention_heads", 3),
            ("intermediate_size", 512.0),
            ("hidden_act", "swish"),
            ("hidden_dropout_prob", 1.0),
            ("initializer_range", "0.02"),
        ]
    ],
    case(
        "the name of a method as a key",
        (CONFIG_FILE, "`to_dict`"),
        config(to_dict=1),
    ),
    case("no size", (CONFIG_FILE, "vocab_size"), config(vocab_size=None)),
    *[
        case(
            f"{key}={value}, {stored} in the checkpoint",
            (CONFIG_FILE, PREFIX, f"{key}={value}", str(stored)),
            config(**{key: value}),
        )
        for key, value, stored in [
            ("hidden_size", 256, 128),
            ("num_hidden_layers", 1, 2),
            ("num_hidden_layers", 12, 2),
            ("intermediate_size", 3072, 512),
            ("max_position_embeddings", 512, 128),
            ("type_vocab_size", 16, 2),
        ]
    ],
    case(
        "a larger vocabulary than the checkpoint's",
        (CONFIG_FILE, PREFIX, "vocab_size=694", "693"),
        config(vocab_size=694),
        append(VOCAB_FILE, "more\n"),
    ),
    case(
        "pairs, and one token type",
        ("type_vocab_size", "train-1"),
        one_token_type,
        **MRPC,
    ),
    case(
        "larger than any memory",
        (
            "memory",
            str(2**50),
            "--train_batch_size=2",
            "--bert_config_file",
        ),
        config(hidden_size=2**50),
        init_checkpoint=None,
        # TensorFlow waits 10 s for memory to be freed. A batch that is too
        # large is tried in `commands/test_run_classifier`.
        exhaustive=True,
    ),
]


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_message_names_what_is_wrong(case):
    assert faults(case, run_case(case)) == []
