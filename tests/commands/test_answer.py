"""Questions answered, held to the original's predictions and to NumPy."""

import functools
import json
import os
import unicodedata

import numpy as np
import pytest
from absl import flags as absl_flags
from helpers.golden import TINY, read_config, read_variables
from helpers.numpy_bert import NumpyBert
from helpers.squad_golden import SQUAD, archive, tokenizer

from bert_tf import answer
from bert_tf.cli import command_line
from bert_tf.errors import InputError
from bert_tf.tasks.squad import answers as squad_answers
from bert_tf.tasks.squad import data, windows
from bert_tf.tasks.squad import reader as squad_reader
from bert_tf.tasks.squad.answers import THRESHOLD_FILE
from bert_tf.tasks.squad.passages import Query

CHECKPOINT = SQUAD / "checkpoint" / "model.ckpt"
BESIDE = {
    "vocab_file": str(TINY.parent / "vocab.txt"),
    "bert_config_file": str(TINY.parent / "bert_config.json"),
}
# As the goldens were made.
WINDOWS = {"max_seq_length": 128, "doc_stride": 48, "max_query_length": 24}


def load(**more):
    return squad_reader.Reader(CHECKPOINT, **BESIDE, **WINDOWS, **more)


@functools.cache
def reader():
    return load(max_answer_length=5)


@functools.cache
def contexts():
    """Texts of several windows, and of one."""
    articles = json.loads((SQUAD / "dev-v1.1.json").read_text())["data"]
    texts = {
        paragraph["context"]
        for article in articles
        for paragraph in article["paragraphs"]
    }
    return [*sorted(texts, key=len)[-5::2], "John Smith was born in 1895."]


# ------------------------------------------------------------ the right answers


def test_the_best_answer_to_one_text_is_what_the_original_predicts():
    """A run of the original whose n-best lists hold all spans there are."""
    examples = [
        example
        for example in data.read_squad_examples(
            str(SQUAD / "dev-v2.0.json"), is_training=False
        )
        if example.question_text.strip()
    ]
    files = archive("end_to_end/predictions.tar.xz")
    predictions = json.loads(files["v2.0_predictions.json"])
    null_odds = json.loads(files["v2.0_null_odds.json"])
    like_the_run = load(
        max_answer_length=4,
        version_2_with_negative=True,
        null_score_diff_threshold=-0.5,
        batch_size=3,
    )

    readings = like_the_run.read_all(
        Query(one.question_text, [one.context]) for one in examples
    )

    unanswered = same = 0
    for example, got in zip(examples, readings, strict=True):
        best = got.passages[0].answer
        odds = best.null_score - best.start_logit - best.end_logit
        assert odds == pytest.approx(null_odds[example.qas_id], abs=1e-4)
        (first,) = got.answers
        want = predictions[example.qas_id]
        assert bool(first.text) == bool(want)
        # Where pieces are no text, the original returns whole words, and of
        # the k's in "Kraków" always the first.
        assert simple(first.text) in simple(want)
        unanswered += not first.text
        same += first.text == want
    assert (unanswered, len(examples)) == (5, 115)
    assert same > 90


def simple(text):
    text = unicodedata.normalize("NFD", text.lower())
    return "".join(c for c in text if unicodedata.category(c) != "Mn")


def test_scores_are_shares_of_all_windows_as_numpy_computes_them():
    variables = read_variables(CHECKPOINT)
    bert = NumpyBert(variables, read_config(TINY.parent).num_attention_heads)
    weights = variables["cls/squad/output_weights"].astype(np.float64)
    bias = variables["cls/squad/output_bias"].astype(np.float64)
    maker = windows.WindowMaker(
        tokenizer("tiny", True), **WINDOWS, exact_answers=True
    )
    question, powers, shares = "Who was born?", {}, [0.0] * 4
    for number, context in enumerate(contexts()):
        example = data.SquadExample("q", question, context)
        for window in maker.windows(example):
            document, first = window.document, len(window.front)
            output = bert.layers(window.input_ids, window.segment_ids)[-1]
            starts, ends = np.exp(output @ weights.T + bias).T
            last = first + window.span.length
            for token in range(first, last):
                if not window.token_is_max_context[token]:
                    continue
                for other in range(token, min(token + 5, last)):
                    begin = document.starts[window.piece(token)]
                    end = document.ends[window.piece(other)]
                    place = number, begin, end
                    # One character may be several pieces.
                    power = starts[token] * ends[other]
                    powers[place] = max(power, powers.get(place, 0.0))
                    shares[number] += power
    total = sum(shares)
    order = sorted(powers, key=lambda place: -powers[place])

    got = reader().read(question, contexts(), num_answers=6)

    best = got.answers[0]
    assert (best.context_index, best.start, best.end) == order[0]
    scores = [one.score for one in got.answers]
    assert len(scores) == 6 and scores == sorted(scores, reverse=True)
    for one in got.answers:
        assert one.text == contexts()[one.context_index][one.start : one.end]
        share = powers[one.context_index, one.start, one.end] / total
        assert one.score == pytest.approx(share, rel=1e-3)
    for one in got.passages:
        share = shares[one.context_index] / total
        assert one.score == pytest.approx(share, rel=1e-3)


def test_questions_in_one_batch_are_answered_as_if_asked_alone():
    long, *_, short = contexts()
    queries = [
        Query("Who?", [short]),
        Query("When was he born?", [long, short]),
        Query("Where?", [short, "He lived in New York."]),
    ] * 2
    few_at_once = load(max_answer_length=5, batch_size=2)

    together = list(reader().read_all(queries, num_answers=2))

    assert len(together) == 6
    for query, got in zip(queries, together):
        alone = few_at_once.answer(query.question, query.contexts, 2)
        assert [one[2:5] for one in got.answers] == [one[2:5] for one in alone]
        np.testing.assert_allclose(
            [one.score for one in got.answers],
            [one.score for one in alone],
            rtol=1e-3,
        )


def test_a_context_may_be_given_by_itself():
    text = contexts()[-1]
    assert reader().answer("Who?", text) == reader().answer("Who?", [text])


def test_a_question_that_is_cut_is_told(caplog):
    reader().answer("who " * 30, "John Smith")
    assert "first 24 of 30 word pieces" in caplog.text


# --------------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    ("question", "texts", "message"),
    [
        ("", "x", "`question` must hold text"),
        ("\u200b", "x", "`question` must hold words"),
        ("who?", [], "at least one text"),
        ("who?", ["x", " "], r"contexts\[1\]=' '"),
        ("who?", ["x", "\u200b"], r"hold words.*contexts\[1\].*'who\?'"),
    ],
)
def test_nothing_to_read_is_refused(question, texts, message):
    with pytest.raises(InputError, match=message):
        reader().answer(question, texts)


def test_no_answers_cannot_be_asked_for():
    with pytest.raises(InputError, match=r"`num_answers`.*above 0.*=0"):
        reader().answer("who?", "x", 0)


def test_a_checkpoint_without_the_head_never_answers():
    with pytest.raises(
        InputError, match=r"no head.*lacks cls/squad/.*bert_tf\.run_squad"
    ):
        squad_reader.Reader(TINY.parent)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"max_answer_length": 0}, "`max_answer_length` must be above 0"),
        ({"batch_size": 0}, "`batch_size` must be above 0"),
        ({"doc_stride": 0}, "`doc_stride` must be above 0"),
        ({"max_seq_length": 129}, "at most 128"),
        ({"max_query_length": 125}, "greater than max_query_length"),
        ({"null_score_diff_threshold": 1.0}, "only with version_2"),
        ({"null_score_diff_threshold": "auto"}, "only with version_2"),
        (
            {
                "null_score_diff_threshold": float("nan"),
                "version_2_with_negative": True,
            },
            "must be a number or auto",
        ),
        (
            {
                "null_score_diff_threshold": "auto",
                "version_2_with_negative": True,
            },
            r"needs .*null_score_diff_threshold\.txt, which is not there",
        ),
        ({"vocab_file": None}, r"no vocab\.txt.*`--vocab_file`"),
    ],
)
def test_what_makes_no_sense_is_refused_before_the_weights_are_read(
    arguments, message, monkeypatch
):
    monkeypatch.delattr("bert_tf.checkpoints.inference.load_model")
    with pytest.raises(InputError, match=message):
        squad_reader.Reader(CHECKPOINT, **{**BESIDE, **WINDOWS, **arguments})


def test_auto_takes_the_threshold_that_run_squad_kept(tmp_path):
    (tmp_path / THRESHOLD_FILE).write_text("-1.5\n")
    prefix = str(tmp_path / "model.ckpt-7")
    assert squad_answers.find_threshold("auto", prefix) == -1.5
    assert squad_answers.find_threshold(2.0, prefix) == 2.0


# ----------------------------------------------------------------- command line


def parse(*arguments):
    values = absl_flags.FlagValues()
    answer.define_flags(values)
    given = {"checkpoint": CHECKPOINT, **BESIDE, **WINDOWS}
    given = [f"--{name}={value}" for name, value in given.items()]
    command_line.parse(values, ["answer", *given, *arguments])
    return values


def run(*arguments):
    answer.main(parse(*arguments))


@pytest.fixture
def loaded_once(monkeypatch):
    monkeypatch.setattr(
        "bert_tf.tasks.squad.reader.Reader", lambda *args: reader()
    )


def test_prints_answers_for_people(loaded_once, tmp_path, capsys):
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


def test_writes_json_of_a_stream(tmp_path):
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


def test_a_stream_that_fails_leaves_no_file(loaded_once, tmp_path):
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
def test_bad_lines_are_named_before_any_work(
    row, message, tmp_path, monkeypatch
):
    monkeypatch.delattr("bert_tf.tasks.squad.reader.Reader")
    good = '{"question": "?", "context": "x"}\n'
    (tmp_path / "in").write_text(f"{good}{row}\n")
    with pytest.raises(InputError, match=message):
        run(f"--input_file={tmp_path}/in")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "Either.*Received: neither"),
        (["--question=?", "--input_file=x"], "Either.*Received: both"),
        (["--question=?"], "`--context_file` must be given with"),
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
def test_mistakes_are_named(given, message, monkeypatch):
    monkeypatch.delattr("bert_tf.tasks.squad.reader.Reader")
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
