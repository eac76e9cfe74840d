"""Windows over contexts, against those that the original made."""

import json

import pytest
from helpers.squad_golden import (
    RUNS,
    archive,
    digest,
    make_windows,
    official_dev_examples,
    read_gzip,
    real_data_digest,
    squad_file,
    tokenizer,
)

from bert_tf.data import packing
from bert_tf.errors import InputError
from bert_tf.tasks.squad import data, windows
from bert_tf.tasks.squad.windows import WindowMaker
from bert_tf.tokenization import FullTokenizer

UNITS = read_gzip("units.json.gz")


def original_features(window, max_seq_length):
    """A window under the names of the original's InputFeatures."""
    record = window.record(max_seq_length)
    return {
        "unique_id": window.unique_id,
        "example_index": window.example_index,
        "doc_span_index": window.doc_span_index,
        "tokens": window.tokens,
        "token_to_orig_map": pairs(window.token_to_orig_map),
        "token_is_max_context": pairs(window.token_is_max_context),
        "input_ids": record["input_ids"],
        "input_mask": record["input_mask"],
        "segment_ids": record["segment_ids"],
        "start_position": window.start_position,
        "end_position": window.end_position,
        "is_impossible": window.is_impossible,
    }


def pairs(mapping):
    return [[key, value] for key, value in mapping.items()]


@pytest.mark.parametrize("name", RUNS["files"])
def test_makes_every_field_of_every_feature_of_the_original(name):
    settings = RUNS["files"][name]
    length = RUNS["settings"][settings["setting"]]["max_seq_length"]
    golden = json.loads(archive("features.tar.xz")[name.removesuffix(".gz")])
    ours = [
        original_features(window, length)
        for _, of_example in make_windows(name)
        for window in of_example
    ]
    assert len(ours) == settings["features"] == len(golden)
    for got, want in zip(ours, golden):
        assert got == want


@pytest.mark.parametrize("case", UNITS["check_is_max_context"])
def test_finds_the_window_with_most_context_as_the_original(case):
    spans = [packing.DocSpan(*span) for span in case["spans"]]
    best = packing.find_max_context(spans, len(case["out"][0]))
    for number, wanted in enumerate(case["out"]):
        assert [span == number for span in best] == wanted


def test_improves_answer_spans_as_the_original():
    tiny = tokenizer("uncased", True)
    for case in UNITS["improve_answer_span"]:
        got = windows.improve_answer_span(
            case["doc_tokens"],
            case["start"],
            case["end"],
            tiny.tokenize(case["answer"]),
        )
        assert list(got) == case["out"], case


@pytest.mark.parametrize(
    ("pieces", "length", "stride", "spans"),
    [
        (0, 4, 2, []),
        (4, 4, 2, [(0, 4)]),
        (5, 4, 2, [(0, 4), (2, 3)]),
        (9, 4, 7, [(0, 4), (4, 4), (8, 1)]),
        (7, 4, 3, [(0, 4), (3, 4)]),
    ],
)
def test_windows_overlap_and_end_with_the_document(
    pieces, length, stride, spans
):
    assert packing.split_document(pieces, length, stride) == spans


def test_a_context_is_tokenized_once_for_all_its_questions():
    class CountingTokenizer:
        calls = 0

        def tokenize(self, text):
            self.calls += 1
            return text.split()

        def convert_tokens_to_ids(self, tokens):
            return [0] * len(tokens)

    counting = CountingTokenizer()
    maker = WindowMaker(counting, 12, 2, 3)
    context = "one two three four five six seven eight nine ten"
    for question in ("a", "b", "c"):
        found = maker.windows(data.SquadExample("q", question, context))
    assert [window.tokens[3:-1] for window in found] == [
        context.split()[start : start + 8] for start in (0, 2)
    ]
    assert counting.calls == 10 + 3


def test_windows_are_described_for_the_log():
    example, found = make_windows(
        "features_train-v2.0_s128_tiny_lower.json.gz"
    )[0]
    text = windows.describe_window(example, found[0])
    assert "qas_id: tra2-00001" in text
    assert "tokens: [CLS] what year was john smith b ##or ##n ? [SEP]" in text
    assert text.endswith(
        "start_position: 21\nend_position: 24\nanswer: 1 ##8 ##9 ##5"
    )


def test_windows_without_room_or_stride_are_rejected():
    with pytest.raises(InputError, match=r"\(67\).*max_query_length \(64\)"):
        WindowMaker(None, 67, 128, 64)
    with pytest.raises(InputError, match="doc_stride=0"):
        WindowMaker(None, 384, 0, 64)
    with pytest.raises(InputError, match="max_query_length=0"):
        WindowMaker(None, 384, 128, 0)


# ---------------------------------------------------------------- exact answers


CONTEXT = "Ana\xa0Núñez saw (1895-1943) the cafe\u0301s, 서울은 and\u3000art."


@pytest.mark.parametrize(
    ("answer", "pieces"),
    [
        ("Ana\xa0Núñez", "ana nunez"),
        ("1895", "1 ##8 ##9 ##5"),
        ("cafe\u0301", "c ##a ##f ##e"),
        ("서울", "ᄉ ##ᅥ ##ᄋ ##ᅮ ##ᆯ"),
        ("art", "a ##r ##t"),
    ],
)
def test_exact_answers_are_the_pieces_of_their_characters(
    answer, pieces, tmp_path
):
    start = CONTEXT.index(answer)
    content = squad_file(CONTEXT, [("q", answer, start)])
    path = tmp_path / "train.json"
    path.write_text(json.dumps(content))
    characters = "abcdefghijklmnopqrstuvwxyz0123456789서울은(),-.?"
    vocab = ["[CLS]", "[SEP]", "[UNK]", "ana", "nunez", *characters]
    vocab += [f"##{char}" for char in characters]
    file = tmp_path / "vocab.txt"
    file.write_text("\n".join(dict.fromkeys(vocab)))
    maker = WindowMaker(FullTokenizer(file), 100, 50, 20, exact_answers=True)
    (example,) = data.read_squad_examples(str(path), True, exact_answers=True)

    (window,) = maker.windows(example)

    found = window.tokens[window.start_position : window.end_position + 1]
    assert found == pieces.split()


# ------------------------------------------------------------- large real data


@pytest.mark.shared
@pytest.mark.parametrize("vocab", ["uncased", "cased"])
def test_makes_the_features_of_the_official_dev_set(vocab, shared_folder):
    wanted, count = real_data_digest(
        shared_folder, f"squad_dev_v1.1_features_{vocab}_384_128_64"
    )
    maker = WindowMaker(
        FullTokenizer(
            shared_folder / "data" / "vocabs" / f"{vocab}.txt",
            do_lower_case=vocab == "uncased",
        )
    )
    made = [
        window
        for _, some in maker.windows_by_example(
            official_dev_examples(shared_folder)
        )
        for window in some
    ]
    assert len(made) == count == {"uncased": 10833, "cased": 10881}[vocab]
    features = (original_features(window, 384) for window in made)
    assert wanted == digest(list(feature.values())[:9] for feature in features)


@pytest.mark.shared
def test_first_20_features_are_those_that_another_run_logged(shared_folder):
    folder = shared_folder / "data" / "golden" / "squad_uncased"
    log = (folder / "run_squad_eval_log.txt").read_text()
    logged = log.split("***** Running predictions")[0]
    wanted = logged.split("*** Example ***\n")[1:]
    maker = WindowMaker(
        FullTokenizer(shared_folder / "data" / "vocabs" / "uncased.txt")
    )
    made = [
        window
        for _, some in maker.windows_by_example(
            official_dev_examples(shared_folder)[:20]
        )
        for window in some
    ][:20]
    assert len(wanted) == len(made) == 20
    for window, text in zip(made, wanted):
        assert text.splitlines() == log_lines(window)


def log_lines(window):
    features = original_features(window, 384)
    lines = []
    for name in list(features)[:9]:
        value = features[name]
        if name.startswith("token_"):
            value = [f"{token}:{what}" for token, what in value]
        if isinstance(value, list):
            value = " ".join(map(str, value))
        lines.append(f"{name}: {value}")
    return lines
