"""SQuAD files and windows, against what the original made of them."""

import hashlib
import json
import logging
import re

import pytest
from helpers.squad_golden import (
    RUNS,
    SQUAD,
    archive,
    make_windows,
    read_examples,
    read_gzip,
    tokenizer,
)

from bert_tf.errors import InputError
from bert_tf.tasks.squad import data
from bert_tf.tasks.squad import windows as squad_windows
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


@pytest.mark.parametrize(
    "name",
    [name for name in RUNS["files"] if "tiny_lower" in name],
)
def test_reads_the_examples_that_the_original_reads(name):
    settings = RUNS["files"][name]
    golden = read_gzip(f"examples_{settings['input']}.gz")
    fields = golden[0].keys()
    ours = [
        {field: getattr(example, field) for field in fields}
        for example in read_examples(name)
    ]
    assert len(ours) == settings["examples"] > 100
    assert ours == golden


@pytest.mark.parametrize("name", RUNS["files"])
def test_makes_every_field_of_every_feature_of_the_original(name):
    settings = RUNS["files"][name]
    length = RUNS["settings"][settings["setting"]]["max_seq_length"]
    golden = json.loads(archive("features.tar.xz")[name.removesuffix(".gz")])
    ours = [
        original_features(window, length)
        for _, windows in make_windows(name)
        for window in windows
    ]
    assert len(ours) == settings["features"] == len(golden)
    for got, want in zip(ours, golden):
        assert got == want


@pytest.mark.parametrize("case", UNITS["check_is_max_context"])
def test_finds_the_window_with_most_context_as_the_original(case):
    spans = [data.DocSpan(*span) for span in case["spans"]]
    best = data.find_max_context(spans, len(case["out"][0]))
    for number, wanted in enumerate(case["out"]):
        assert [span == number for span in best] == wanted


def test_improves_answer_spans_as_the_original():
    tiny = tokenizer("uncased", True)
    for case in UNITS["improve_answer_span"]:
        got = squad_windows.improve_answer_span(
            case["doc_tokens"],
            case["start"],
            case["end"],
            tiny.tokenize(case["answer"]),
        )
        assert list(got) == case["out"], case


def test_splits_words_at_five_characters_only():
    text = " a\tb\rc\nd\u202fe f\xa0g\u3000h\u200bi "
    words, starts = data.split_words(text)
    assert words == ["a", "b", "c", "d", "e", "f\xa0g\u3000h\u200bi"]
    assert [text[start] for start in starts] == list("abcdef")


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
    assert data.split_document(pieces, length, stride) == spans


def test_a_context_is_tokenized_once_for_all_its_questions():
    class CountingTokenizer:
        calls = 0

        def tokenize(self, text):
            self.calls += 1
            return text.split()

        def convert_tokens_to_ids(self, tokens):
            return [0] * len(tokens)

    counting = CountingTokenizer()
    maker = squad_windows.WindowMaker(counting, 12, 2, 3)
    context = "one two three four five six seven eight nine ten"
    for question in ("a", "b", "c"):
        windows = maker.windows(data.SquadExample("q", question, context))
    assert [window.tokens[3:-1] for window in windows] == [
        context.split()[start : start + 8] for start in (0, 2)
    ]
    assert counting.calls == 10 + 3


def test_windows_are_described_for_the_log():
    example, windows = make_windows(
        "features_train-v2.0_s128_tiny_lower.json.gz"
    )[0]
    text = squad_windows.describe_window(example, windows[0])
    assert "qas_id: tra2-00001" in text
    assert "tokens: [CLS] what year was john smith b ##or ##n ? [SEP]" in text
    assert text.endswith(
        "start_position: 21\nend_position: 24\nanswer: 1 ##8 ##9 ##5"
    )


# ---------------------------------------------------------------- exact answers


def squad_file(context, questions):
    """A file's content: questions are (id, answer, its start)."""
    qas = [
        {
            "id": name,
            "question": f"what is {name}?",
            "answers": [{"text": answer, "answer_start": start}],
        }
        for name, answer, start in questions
    ]
    return {"data": [{"paragraphs": [{"context": context, "qas": qas}]}]}


def write(path, content):
    path.write_text(json.dumps(content))
    return str(path)


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
    path = write(tmp_path / "train.json", content)
    characters = "abcdefghijklmnopqrstuvwxyz0123456789서울은(),-.?"
    vocab = ["[CLS]", "[SEP]", "[UNK]", "ana", "nunez", *characters]
    vocab += [f"##{char}" for char in characters]
    file = tmp_path / "vocab.txt"
    file.write_text("\n".join(dict.fromkeys(vocab)))
    maker = squad_windows.WindowMaker(
        FullTokenizer(file), 100, 50, 20, exact_answers=True
    )
    (example,) = data.read_squad_examples(path, True, exact_answers=True)

    (window,) = maker.windows(example)

    found = window.tokens[window.start_position : window.end_position + 1]
    assert found == pieces.split()


def test_exact_answers_keep_what_the_original_leaves_out():
    path = str(SQUAD / "train-v1.1.json")
    kept = data.read_squad_examples(path, True, exact_answers=True)
    ids = {example.qas_id for example in kept}
    original = {
        example["qas_id"]
        for example in read_gzip("examples_train-v1.1.json.gz")
    }
    assert ids - original == {"tra1-00020", "tra1-00022"}
    # Its place is one character off, so it is not exact.
    assert original - ids == {"tra-shift-2"}


# --------------------------------------------------------------------- mistakes


def test_answers_that_are_left_out_or_moved_are_logged_by_question(caplog):
    with caplog.at_level(logging.WARNING):
        data.read_squad_examples(str(SQUAD / "train-v1.1.json"), True)
    left_out, moved = (record.getMessage() for record in caplog.records)
    # The three that the original warns of.
    assert "beside 121 questions used: 3 questions:" in left_out
    assert re.search(r"'tra1-00020': .*no-break.*white space", left_out)
    assert re.search(r"'tra1-00022': .*narrow.*--exact_answers", left_out)
    assert re.search(r"'tra-shift-1': .*'brown'.*4.*'quick'", left_out)
    assert re.search(r"1 answer:\n.*'tra-shift-2': .*'fox jumps'", moved)


def test_bad_answers_stop_on_demand_with_all_questions_named():
    with pytest.raises(InputError) as error:
        data.read_squad_examples(
            str(SQUAD / "train-v1.1.json"), True, on_bad_answer="stop"
        )
    message = str(error.value)
    assert "train-v1.1.json has 4 bad answers" in message
    for name in ("tra1-00020", "tra1-00022", "tra-shift-1", "tra-shift-2"):
        assert f"question '{name}'" in message
    assert "--on_bad_answer=skip" in message


@pytest.mark.parametrize(
    ("answer", "start", "fault"),
    [
        ("", 0, "no text"),
        (" ", 3, "no text"),
        ("one", -1, "-1 .*7 characters"),
        ("two three", 4, "4 .*7 characters"),
        ("two", 0, "'two' must be at character 0 .*'one'"),
    ],
)
def test_an_answer_that_is_nowhere_is_told(answer, start, fault, tmp_path):
    questions = [("good", "two", 4), ("bad", answer, start)]
    path = write(tmp_path / "train.json", squad_file("one two", questions))
    with pytest.raises(InputError, match=f"question 'bad': .*{fault}"):
        data.read_squad_examples(path, True, on_bad_answer="stop")
    (example,) = data.read_squad_examples(path, True)
    assert (example.qas_id, example.start_position) == ("good", 1)


def test_no_more_than_ten_bad_answers_are_listed(tmp_path):
    questions = [(f"q{number}", "two", 0) for number in range(12)]
    path = write(tmp_path / "train.json", squad_file("one two", questions))
    with pytest.raises(InputError) as error:
        data.read_squad_examples(path, True, on_bad_answer="stop")
    assert "12 bad answers, the first 10:" in str(error.value)
    assert "'q9'" in str(error.value) and "'q10'" not in str(error.value)
    with pytest.raises(InputError, match=r"(?s)12 bad.*No question is left"):
        data.read_squad_examples(path, True)


def changed(**changes):
    """A question with some keys changed, or left out if None."""
    question = squad_file("one two", [("q7", "two", 4)])
    question = question["data"][0]["paragraphs"][0]["qas"][0]
    question = {**question, **changes}
    return {key: value for key, value in question.items() if value is not None}


TWO = {"text": "two", "answer_start": 4}


@pytest.mark.parametrize(
    ("question", "version_2", "message"),
    [
        (changed(id=None), False, "must have the key 'id'.*'question'"),
        (changed(id=["x"]), False, r"'id' must be a text.*\['?\"x"),
        (changed(question=None), False, "'q7' must have the key 'question'"),
        (changed(question=3), False, "'q7': 'question' must be a text.*3"),
        (changed(answers=None), False, "'q7' must have the key 'answers'"),
        (changed(answers={}), False, "'q7': 'answers' must be a list"),
        (changed(answers=[TWO] * 2), False, "exactly 1 answer.*'q7' has 2"),
        (
            changed(answers=[]),
            False,
            "exactly 1.*'q7' has 0.*--version_2_with_negative=true",
        ),
        (
            changed(answers=["two"]),
            False,
            r"'q7', answers\[0\] must be an object.*'text'.*two",
        ),
        (
            changed(answers=[{"text": "two"}]),
            False,
            r"'q7', answers\[0\] must have the key 'answer_start'",
        ),
        (
            changed(answers=[{"text": "two", "answer_start": "4"}]),
            False,
            "'answer_start' must be a whole number.*4",
        ),
        (
            changed(answers=[{"text": "two", "answer_start": True}]),
            False,
            "'answer_start' must be a whole number.*true",
        ),
        (
            changed(),
            True,
            "'q7' must have the key 'is_impossible'.*negative=false",
        ),
        (changed(is_impossible="no"), True, "'q7'.*must be true or false"),
        ("q7", False, r"qas\[0\] must be an object"),
    ],
)
def test_a_bad_question_is_named(question, version_2, message, tmp_path):
    content = squad_file("one two", [])
    content["data"][0]["paragraphs"][0]["qas"] = [question]
    path = write(tmp_path / "train.json", content)
    with pytest.raises(InputError, match=message) as error:
        data.read_squad_examples(path, True, version_2)
    assert "data[0].paragraphs[0].qas[0]" in str(error.value)
    assert path in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1, column 1.*JSON"),
        ('{"data": [\n  {"a" 1}]}', "line 2, column 8.*delimiter.*'1}]}'"),
        ("[" * 10**6, "JSON"),
        ("[]", "object with the key 'data'"),
        ('{"version": "1.1"}', "key 'data'.*'version'"),
        ('{"data": {}}', "'data' must be a list"),
        ('{"data": []}', "must hold questions"),
        ('{"data": [{}]}', r"data\[0\] must have the key 'paragraphs'"),
        (
            '{"data": [{"paragraphs": [{"qas": []}]}]}',
            r"paragraphs\[0\] must have the key 'context'",
        ),
        (
            '{"data": [{"paragraphs": [{"context": "x"}]}]}',
            "must have the key 'qas'",
        ),
        (
            '{"data": [{"paragraphs": [{"context": "x", "qas": []}]}]}',
            "must hold questions",
        ),
    ],
    ids=lambda value: value[:30],
)
def test_a_bad_file_is_named(text, message, tmp_path):
    path = tmp_path / "dev.json"
    path.write_text(text)
    with pytest.raises(InputError, match=f"(?s)dev.json.*{message}"):
        data.read_squad_examples(str(path), False)


def test_a_file_that_is_not_there_or_not_text_is_named(tmp_path):
    with pytest.raises(InputError, match=r"Cannot read .*nowhere"):
        data.read_squad_examples("/nowhere/dev.json", False)
    (tmp_path / "dev.json").write_bytes(b'{"data": "\xff"}')
    with pytest.raises(InputError, match=r"dev.json must be UTF-8.*0xff"):
        data.read_squad_examples(str(tmp_path / "dev.json"), False)


def test_to_predict_ids_must_differ_and_answers_are_kept(tmp_path):
    content = squad_file("one two", [("q", "two", 4), ("q", "one", 0)])
    path = write(tmp_path / "dev.json", content)
    with pytest.raises(InputError, match=r"Two questions have the id 'q'"):
        data.read_squad_examples(path, False)
    qas = content["data"][0]["paragraphs"][0]["qas"]
    qas[0]["answers"].append({"text": "a two"})
    qas[1]["id"] = 3  # Some files have numbers; predictions.json has texts.
    del qas[1]["answers"]
    examples = data.read_squad_examples(write(tmp_path / "x", content), False)
    assert [e.answers for e in examples] == [("two", "a two"), None]
    assert [e.qas_id for e in examples] == ["q", "3"]


def test_what_cannot_be_asked_for_is_told():
    with pytest.raises(InputError, match=r"stop or skip.*'never'"):
        data.read_squad_examples("x", True, on_bad_answer="never")
    with pytest.raises(InputError, match=r"\(67\).*max_query_length \(64\)"):
        squad_windows.WindowMaker(None, 67, 128, 64)
    with pytest.raises(InputError, match="doc_stride=0"):
        squad_windows.WindowMaker(None, 384, 0, 64)
    with pytest.raises(InputError, match="max_query_length=0"):
        squad_windows.WindowMaker(None, 384, 128, 0)


# ------------------------------------------------------------- large real data


@pytest.fixture(scope="module")
def official_dev_examples(shared_folder):
    path = shared_folder / "data" / "squad" / "dev-v1.1.json"
    return data.read_squad_examples(str(path), False)


def digest(lines):
    total = hashlib.sha256()
    for line in lines:
        total.update(json.dumps(line).encode() + b"\n")
    return total.hexdigest()


def real_data_digest(shared_folder, name):
    path = shared_folder / "golden" / "real_data_digests"
    items = json.loads((path / "real_data_digests.json").read_text())["items"]
    return items[name]["canonical_sha256"], items[name]["records"]


@pytest.mark.shared
def test_reads_the_official_dev_set_as_the_original(
    shared_folder, official_dev_examples
):
    wanted, count = real_data_digest(shared_folder, "squad_dev_v1.1_examples")
    assert len(official_dev_examples) == count == 10570
    assert wanted == digest(
        [example.qas_id, example.question_text, example.doc_tokens]
        for example in official_dev_examples
    )


@pytest.mark.shared
@pytest.mark.parametrize("vocab", ["uncased", "cased"])
def test_makes_the_features_of_the_official_dev_set(
    vocab, shared_folder, official_dev_examples
):
    wanted, count = real_data_digest(
        shared_folder, f"squad_dev_v1.1_features_{vocab}_384_128_64"
    )
    maker = squad_windows.WindowMaker(
        FullTokenizer(
            shared_folder / "data" / "vocabs" / f"{vocab}.txt",
            do_lower_case=vocab == "uncased",
        )
    )
    windows = [
        window
        for _, some in maker.windows_by_example(official_dev_examples)
        for window in some
    ]
    assert len(windows) == count == {"uncased": 10833, "cased": 10881}[vocab]
    features = (original_features(window, 384) for window in windows)
    assert wanted == digest(list(feature.values())[:9] for feature in features)


@pytest.mark.shared
def test_first_20_features_are_those_that_somebody_elses_run_logged(
    shared_folder, official_dev_examples
):
    folder = shared_folder / "data" / "golden" / "squad_uncased"
    log = (folder / "run_squad_eval_log.txt").read_text()
    logged = log.split("***** Running predictions")[0]
    wanted = logged.split("*** Example ***\n")[1:]
    maker = squad_windows.WindowMaker(
        FullTokenizer(shared_folder / "data" / "vocabs" / "uncased.txt")
    )
    windows = [
        window
        for _, some in maker.windows_by_example(official_dev_examples[:20])
        for window in some
    ][:20]
    assert len(wanted) == len(windows) == 20
    for window, text in zip(windows, wanted):
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
