"""The command that answers questions, and its input and output."""

import json
import os

import pytest
from absl import flags as absl_flags
from helpers.squad_golden import (
    READER_FILES,
    SQUAD,
    WINDOW_SETTINGS,
    contexts,
    reader,
)

from bert_tf import answer
from bert_tf.cli import command_line
from bert_tf.data.vocabulary import UnknownTokens
from bert_tf.errors import InputError


def parse(*arguments):
    values = absl_flags.FlagValues()
    answer.define_flags(values)
    given = {
        "checkpoint": SQUAD / "checkpoint" / "model.ckpt",
        **READER_FILES,
        **WINDOW_SETTINGS,
    }
    given = [f"--{name}={value}" for name, value in given.items()]
    command_line.parse(values, ["answer", *given, *arguments])
    return values


def run(*arguments):
    answer.main(parse(*arguments))


@pytest.fixture
def loaded_once(monkeypatch):
    loaded = reader()
    monkeypatch.setattr(answer.readers, "Reader", lambda *args: loaded)


def test_a_text_may_be_a_flag(loaded_once, capsys):
    texts = ["John Smith was born in 1895.", "He lived in New York."]
    run("--question=Where?", *(f"--context={text}" for text in texts))

    (one,) = reader().answer("Where?", texts, 1)
    question, answered = capsys.readouterr().out.splitlines()
    assert question == "Where?"
    assert answered == (
        f"  {one.score:8.4f}  {one.text}  [contexts[{one.context_index}], "
        f"characters {one.start} to {one.end}]"
    )


def test_answers_are_printed_as_text(loaded_once, tmp_path, capsys):
    names = [str(tmp_path / "a.txt"), str(tmp_path / "b.txt")]
    texts = ["John Smith\r\nwas born in 1895.", "He lived in New York."]
    for name, text in zip(names, texts):
        with open(name, "w", newline="") as file:
            file.write(text)

    run(
        "--question=Who was born?",
        "--question=Where?",
        f"--context_file={tmp_path}/*.txt",
        "--num_answers=2",
    )

    want = ""
    for question in ("Who was born?", "Where?"):
        want += f"{question}\n"
        for one in reader().answer(question, texts, 2):
            assert one.text == texts[one.context_index][one.start : one.end]
            want += (
                f"  {one.score:8.4f}  {' '.join(one.text.splitlines())}  "
                f"[{names[one.context_index]}, characters {one.start} to "
                f"{one.end}]\n"
            )
    assert " ".join(capsys.readouterr().out.split()) == " ".join(want.split())


def test_answers_of_a_file_are_written_as_json(tmp_path):
    rows = [
        {"id": 7, "question": "Who was born?", "context": contexts()[-1]},
        {"question": "Où?", "contexts": contexts(), "gold": "x"},
    ]
    (tmp_path / "in").write_text("\n".join(map(json.dumps, rows)) + "\n")

    run(
        f"--input_file={tmp_path / 'in'}",
        f"--output_file={tmp_path / 'new' / 'out'}",
        "--num_answers=3",
        "--max_answer_length=5",
        "--version_2_with_negative",
        "--null_score_diff_threshold=-1000",
    )

    text = (tmp_path / "new" / "out").read_text(encoding="utf-8")
    first, second = map(json.loads, text.splitlines())
    assert list(first) == [
        "id",
        "question",
        "answers",
        "passages",
        "null_probability",
    ]
    assert first["id"] == 7 and "id" not in second
    assert '"Où?"' in text
    for got, row in ((first, rows[0]), (second, rows[1])):
        none, *answers = got["answers"]
        texts = row.get("contexts", [row.get("context")])
        assert none["score"] == got["null_probability"]
        assert none["text"] == "" and none["context_index"] is None
        wanted = reader().answer(row["question"], texts, 2)
        for one, other in zip(answers, wanted, strict=True):
            assert one["text"] == other.text
            assert [one["start"], one["end"]] == [other.start, other.end]
            # The rest is for "no answer".
            share = other.score * (1 - none["score"])
            assert one["score"] == pytest.approx(share, rel=1e-3)
        shares = [one["score"] for one in got["passages"]]
        assert sum(shares) + none["score"] == pytest.approx(1)
        assert shares == sorted(shares, reverse=True)
        best = [one["answer"]["text"] for one in got["passages"]]
        assert answers[0]["text"] in best


def test_no_output_is_left_after_an_error(loaded_once, tmp_path):
    rows = [{"question": "?", "context": text} for text in ("x", "\u200b")]
    (tmp_path / "in").write_text("\n".join(map(json.dumps, rows)) + "\n")
    with pytest.raises(InputError, match="hold words"):
        run(f"--input_file={tmp_path}/in", f"--output_file={tmp_path}/out")
    assert os.listdir(tmp_path) == ["in"]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("{", r"line 2: found '\{' .*; expected a JSON object"),
        ('{"context": "x"}', """the keys 'context'; .* under "question\""""),
        ('{"question": "?"}', 'either "context" or "contexts"'),
        (
            '{"question": "?", "context": "x", "contexts": ["x"]}',
            'either "context" or "contexts"',
        ),
        ('{"question": "?", "context": 1}', 'a text under "context"'),
        ('{"question": "?", "contexts": "x"}', "a list of texts"),
        ('{"question": "?", "contexts": []}', "a list of texts"),
        ('{"question": "?", "contexts": ["x", ""]}', "a text at place 1"),
    ],
)
def test_an_error_names_a_bad_line_before_the_model_is_loaded(
    row, message, tmp_path, monkeypatch
):
    monkeypatch.delattr(answer.readers, "Reader")
    good = '{"question": "?", "context": "x"}\n'
    (tmp_path / "in").write_text(f"{good}{row}\n")
    with pytest.raises(InputError, match=message):
        run(f"--input_file={tmp_path}/in")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "Either.*Received: neither"),
        (["--question=?", "--input_file=x"], "Either.*Received: both"),
        (["--question=?"], "`--context_file` or .* must be given with"),
        (["--question=?", "--context= "], "text"),
        (
            ["--question=?", "--context=x", "--context_file=x"],
            "`--context_file` or `--context`.*not both",
        ),
        (["--input_file=x", "--context_file=x"], "and only then"),
        (["--question=?", "--context_file=no.txt"], "--context_file.*no.txt"),
        (["--input_file=no.jsonl"], "--input_file.*no.jsonl"),
        (["--question=?", "--num_answers=0"], "--num_answers.*above 0"),
        (["--question=?", "--vocab_file=no.txt"], "--vocab_file.*no.txt"),
        (
            ["--question=?", "--null_score_diff_threshold=1"],
            "only with version_2_with_negative",
        ),
    ],
)
def test_an_error_names_the_flag(given, message, monkeypatch):
    monkeypatch.delattr(answer.readers, "Reader")
    with pytest.raises(InputError, match=message):
        run(*given)


@pytest.mark.parametrize(
    ("raw", "message"),
    [(b"\xff", r"a\.txt must be UTF-8"), (b" \n", r"a\.txt must hold text")],
)
def test_a_file_without_text_is_refused(raw, message, tmp_path):
    (tmp_path / "a.txt").write_bytes(raw)
    with pytest.raises(InputError, match=message):
        run("--question=?", f"--context_file={tmp_path}/a.txt")


def test_the_input_is_not_overwritten(tmp_path):
    path = tmp_path / "in"
    path.write_text('{"question": "?", "context": "x"}\n')
    with pytest.raises(InputError, match="another file"):
        run(f"--input_file={path}", f"--output_file={path}")


def test_a_text_that_is_mostly_unknown_is_told_once(
    loaded_once, monkeypatch, tmp_path, caplog
):
    fresh = UnknownTokens(reader().tokenizer.vocab)
    monkeypatch.setattr(reader(), "unknown", fresh)
    (tmp_path / "a.txt").write_text("ᚠ ᚢ ᚦ", encoding="utf-8")

    run("--question=Who?", "--question=ᚦ", f"--context_file={tmp_path}/a.txt")

    assert len([m for m in caplog.messages if "[UNK]" in m]) == 1
