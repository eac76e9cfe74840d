"""The table of latencies, its texts, and what must agree; no models."""

import sys

import pytest
from helpers.paths import ROOT
from helpers.programs import load

from bert_tf.tokenization import FullTokenizer

BENCHMARKS = ROOT / "benchmarks"


own_process = load(BENCHMARKS / "own_process.py")
speed = load(BENCHMARKS / "speed.py")
latency = load(BENCHMARKS / "serving_latency.py")


@pytest.mark.parametrize("length", [3, 16, 128])
def test_texts_have_so_many_word_pieces(length, vocab_files):
    path = vocab_files / "uncased"
    texts = latency.make_texts(latency.read_vocab(path), length)
    tokenizer = FullTokenizer(str(path))
    for text in texts:
        assert len(tokenizer.tokenize(text)) + 2 == length
        assert tokenizer.tokenize(text) == text.split()
    assert len(texts) == latency.TEXTS
    assert len(set(texts)) > latency.TEXTS // 2
    assert texts == latency.make_texts(latency.read_vocab(path), length)


def test_entries_of_a_vocabulary_have_the_ids_of_the_tokenizer(vocab_files):
    path = vocab_files / "uncased"
    tokenizer = FullTokenizer(str(path))
    assert latency.read_vocab(path) == list(tokenizer.vocab)


def test_word_pieces_are_counted_by_those_that_are_cut():
    longest = 10

    def num_cut(text):
        # Each word is two pieces.
        return max(0, 2 * len(text.split()) - (longest - 2))

    texts = ["a b c", "d e f"]
    assert latency.pieces_by_cutting(num_cut, texts, longest) == 8
    with pytest.raises(ValueError):
        latency.pieces_by_cutting(num_cut, ["a b", "c"], longest)


def test_first_calls_are_not_timed_and_texts_take_turns():
    calls = []
    seconds = latency.time_calls(calls.append, ["a", "b"], 4)
    assert len(seconds) == 4
    assert calls == ["a", "b", "a", "b", "a", "b", "a"]


def test_table_has_a_row_for_each_way_and_a_column_for_each_length():
    times = {
        "serve_text": {16: [0.003, 0.001, 0.002], 64: [0.5]},
        "HTTP": {16: [0.01, 0.013], 64: [1.5, 2.5]},
    }
    assert latency.table(times).splitlines() == [
        "| word pieces | 16 | 64 |",
        "|---|---|---|",
        "| serve_text | 2.00 / 3.00 | 500 / 500 |",
        "| HTTP | 11.5 / 13.0 | 2,000 / 2,500 |",
    ]


@pytest.mark.parametrize(
    ("answers", "wanted"),
    [
        ({"HTTP": {"length": 16}, "PyTorch": {"length": 17}}, None),
        ({"HTTP": {"length": 17}, "PyTorch": {"length": 17}}, 16),
    ],
)
def test_ways_that_saw_other_lengths_are_named(answers, wanted):
    with pytest.raises(latency.WayFailed, match=r"length.*HTTP.*PyTorch.*17"):
        latency.check_same("length", answers, wanted)


def test_ways_that_do_not_know_a_number_cannot_differ():
    answers = {"HTTP": {"parameters": None}, "PyTorch": {"parameters": 5}}
    latency.check_same("parameters", answers)


def test_others_are_measured_where_their_python_is_given():
    given = ["--vocab_file=vocab.txt"]
    ways = latency.interpreters(latency.parse_arguments(given))
    assert ways == dict.fromkeys(latency.OURS, sys.executable)

    given += ["--torch_python=a", "--keras_hub_python=b"]
    ways = latency.interpreters(latency.parse_arguments(given))
    assert {name: ways[name] for name in latency.THEIRS} == {
        "PyTorch": "a",
        "keras-hub predict_on_batch": "b",
        "keras-hub tf.function": "b",
    }


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "--vocab_file is required"),
        (["--vocab_file=v", "--calls=0"], "--calls must be above 0"),
        (["--vocab_file=v", "--lengths", "16", "2"], "from 3 to 512"),
    ],
)
def test_mistakes_are_named(given, message, capsys):
    with pytest.raises(SystemExit):
        latency.parse_arguments(given)
    assert message in capsys.readouterr().err
