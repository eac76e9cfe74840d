"""SQuAD files, against what the original read from them."""

import json
import logging
import re

import pytest
from helpers.squad_golden import (
    RUNS,
    SQUAD,
    digest,
    official_dev_examples,
    read_examples,
    read_gzip,
    real_data_digest,
    squad_file,
)

from bert_tf.errors import InputError
from bert_tf.tasks.squad import data


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


def test_splits_words_at_five_characters_only():
    text = " a\tb\rc\nd\u202fe f\xa0g\u3000h\u200bi "
    words, starts = data.split_words(text)
    assert words == ["a", "b", "c", "d", "e", "f\xa0g\u3000h\u200bi"]
    assert [text[start] for start in starts] == list("abcdef")


# ---------------------------------------------------------------- exact answers


def write(path, content):
    path.write_text(json.dumps(content))
    return str(path)


def test_exact_answers_keeps_questions_that_the_original_skips():
    path = str(SQUAD / "train-v1.1.json")
    kept = data.read_squad_examples(path, True, exact_answers=True)
    ids = {example.qas_id for example in kept}
    original = {
        example["qas_id"]
        for example in read_gzip("examples_train-v1.1.json.gz")
    }
    assert ids - original == {"tra1-00020", "tra1-00022"}
    # Its place is off by one character, so it is not exact.
    assert original - ids == {"tra-shift-2"}


# ------------------------------------------------------------------ bad answers


def test_bad_answers_are_logged_by_question(caplog):
    with caplog.at_level(logging.WARNING):
        data.read_squad_examples(str(SQUAD / "train-v1.1.json"), True)
    skipped, used = (record.getMessage() for record in caplog.records)
    # The three that the original warns of.
    assert "121 questions used for training, 3 questions skipped:" in skipped
    assert re.search(r"'tra1-00020': .*no-break.*white space", skipped)
    assert re.search(r"'tra1-00022': .*narrow.*--exact_answers", skipped)
    assert re.search(r"'tra-shift-1': .*'brown'.*4.*'quick'", skipped)
    assert re.search(r"1 answer:\n.*'tra-shift-2': .*'fox jumps'", used)


def test_stop_raises_an_error_that_names_all_bad_answers():
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
def test_an_error_names_the_question_of_a_misplaced_answer(
    answer, start, fault, tmp_path
):
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


# ------------------------------------------------------------ malformed files


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
def test_an_error_names_a_malformed_question(
    question, version_2, message, tmp_path
):
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
def test_an_error_names_a_malformed_file(text, message, tmp_path):
    path = tmp_path / "dev.json"
    path.write_text(text)
    with pytest.raises(InputError, match=f"(?s)dev.json.*{message}"):
        data.read_squad_examples(str(path), False)


def test_an_error_names_a_missing_or_binary_file(tmp_path):
    with pytest.raises(InputError, match=r"Cannot read .*nowhere"):
        data.read_squad_examples("/nowhere/dev.json", False)
    (tmp_path / "dev.json").write_bytes(b'{"data": "\xff"}')
    with pytest.raises(InputError, match=r"dev.json must be UTF-8.*0xff"):
        data.read_squad_examples(str(tmp_path / "dev.json"), False)


def test_for_prediction_ids_are_unique_and_answers_are_kept(tmp_path):
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


def test_an_unknown_on_bad_answer_lists_the_known_ones():
    with pytest.raises(InputError, match=r"stop or skip.*'never'"):
        data.read_squad_examples("x", True, on_bad_answer="never")


# ------------------------------------------------------------- large real data


@pytest.mark.shared
def test_reads_the_official_dev_set_as_the_original(shared_folder):
    examples = official_dev_examples(shared_folder)
    wanted, count = real_data_digest(shared_folder, "squad_dev_v1.1_examples")
    assert len(examples) == count == 10570
    assert wanted == digest(
        [example.qas_id, example.question_text, example.doc_tokens]
        for example in examples
    )
