"""Examples become features: padding, windows, truncation, the log."""

import logging

import pytest

from bert_tf.data.packing import Truncation
from bert_tf.errors import InputError
from bert_tf.tasks.classification.data import InputExample
from bert_tf.tasks.classification.rows import (
    convert_examples,
    convert_examples_to_windows,
    convert_single_example,
    describe_example,
    truncation_advice,
)
from bert_tf.tasks.classification.targets import OneLabel
from bert_tf.tokenization import FullTokenizer

YES_NO = OneLabel(("no", "yes"))


@pytest.fixture
def tokenizer(tmp_path):
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "good", "film", "bad", "##s"]
    vocab_file = tmp_path / "vocab.txt"
    vocab_file.write_text("\n".join(words))
    return FullTokenizer(str(vocab_file))


def test_an_example_becomes_padded_rows(tokenizer):
    example = InputExample("dev-1", "Good films", "bad", "yes")
    got = convert_single_example(example, ["no", "yes"], 8, tokenizer)
    assert got.input_ids == [2, 4, 5, 7, 3, 6, 3, 0]
    assert got.input_mask == [1, 1, 1, 1, 1, 1, 1, 0]
    assert got.segment_ids == [0, 0, 0, 0, 0, 1, 1, 0]
    assert (got.label_id, got.is_real_example) == (1, True)


@pytest.mark.parametrize("text_b", [None, "", "\u200b"])
def test_a_second_text_without_tokens_is_none(tokenizer, text_b):
    example = InputExample("dev-1", "good", text_b, "yes")
    got = convert_single_example(example, ["yes"], 5, tokenizer)
    assert got.input_ids == [2, 4, 3, 0, 0]


def test_an_unknown_label_names_its_example(tokenizer):
    with pytest.raises(InputError, match=r"dev-7 .*'x', 'y'.*label='z'"):
        convert_single_example(
            InputExample("dev-7", "a", None, "z"), ["x", "y"], 8, tokenizer
        )


@pytest.mark.parametrize("token", ["[CLS]", "[SEP]", "[UNK]"])
def test_a_vocabulary_without_a_special_token_is_refused(tmp_path, token):
    vocab_file = tmp_path / "vocab.txt"
    special = {"[PAD]", "[CLS]", "[SEP]", "[UNK]"} - {token}
    vocab_file.write_text("\n".join(special))
    with pytest.raises(InputError, match=rf"must have the token \{token}"):
        convert_examples([], ["x"], 8, FullTokenizer(str(vocab_file)))


def test_the_log_shows_the_features_of_an_example(tokenizer):
    example = InputExample("dev-1", "Good films", "bad bad bad", "yes")
    text = describe_example(example, YES_NO, 7, tokenizer)
    assert text.splitlines() == [
        "guid: dev-1",
        "text_a: Good films",
        "text_b: bad bad bad",
        "tokens: [CLS] good film [SEP] bad bad [SEP]",
        "input_ids: 2 4 5 3 6 6 3",
        "segment_ids: 4 times 0, 3 times 1",
        "length: 7 of max_seq_length=7; 2 tokens cut off",
        "label: yes (id 1)",
    ]


def test_the_log_shows_no_label_of_a_test_set(tokenizer):
    example = InputExample("test-1", "Good films", None, "yes")
    assert "yes" not in describe_example(example, YES_NO, 7, tokenizer)


def test_every_window_has_the_label_of_its_example(tokenizer):
    examples = [
        InputExample("dev-1", "good film bad good", None, "yes"),
        InputExample("dev-2", "bad", None, "no"),
    ]
    got = convert_examples_to_windows(examples, YES_NO, 5, tokenizer, 1)
    rows = [
        [(one.input_ids, one.input_mask, one.label_id) for one in windows]
        for windows in got
    ]
    ones = [1] * 5
    assert rows == [
        [([2, 4, 5, 6, 3], ones, 1), ([2, 5, 6, 4, 3], ones, 1)],
        [([2, 6, 3, 0, 0], [1, 1, 1, 0, 0], 0)],
    ]


def test_the_log_shows_the_first_of_several_windows(tokenizer):
    example = InputExample("dev-1", "good film bad good", None, "yes")
    text = describe_example(example, YES_NO, 5, tokenizer, 1)
    assert text.splitlines()[2:] == [
        "windows: 2, doc_stride=1; of the first one:",
        "tokens: [CLS] good film bad [SEP]",
        "input_ids: 2 4 5 6 3",
        "segment_ids: 5 times 0, 0 times 1",
        "length: 5 of max_seq_length=5",
        "label: yes (id 1)",
    ]


@pytest.mark.parametrize(
    ("text", "doc_stride", "level", "message"),
    [
        ("good", None, "INFO", "Nothing was cut off: 0 of 2 examples, 0 word"),
        (
            "good film bad good bad",
            None,
            "WARNING",
            "1 of 2 examples are longer than max_seq_length=5: 2 word pieces "
            "cut off.",
        ),
        ("good film bad good bad", 2, "INFO", "Nothing was cut off"),
    ],
)
def test_truncated_examples_and_pieces_are_counted(
    tokenizer, caplog, text, doc_stride, level, message
):
    examples = [
        InputExample("dev-1", text, None, "x"),
        InputExample("dev-2", "good film bad", None, "x"),
    ]
    truncation = Truncation()
    for windows in convert_examples_to_windows(
        examples, OneLabel(("x",)), 5, tokenizer, doc_stride
    ):
        truncation.add(windows[0].num_cut)

    with caplog.at_level(logging.INFO):
        truncation.log(5, truncation_advice(doc_stride))

    (record,) = caplog.records
    assert record.levelname == level
    assert record.getMessage().startswith(message)
