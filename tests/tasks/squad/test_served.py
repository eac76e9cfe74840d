"""Exported models for questions, held to `Reader`."""

import functools
import json
import os

import pytest
from helpers.exported import call, source
from helpers.golden import DATA
from helpers.reference import assert_close, reader

from bert_tf.errors import InputError
from bert_tf.tasks.squad import passages, served


@functools.cache
def contexts():
    """Texts of one window and of many."""
    articles = json.loads((DATA / "squad" / "dev-v1.1.json").read_text())
    texts = [
        paragraph["context"]
        for article in articles["data"]
        for paragraph in article["paragraphs"]
    ]
    return [
        *sorted(set(texts), key=len)[::2],
        "\r\n\n Kraków\u00a0(“Cracow”) é\u0301 한국어\t東京 ",
        "the quiet museum " * 90,
    ]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["span", "span_v2"])
def test_answers_are_those_of_the_reader(name):
    questions = ["Who was born?", "Où est Kraków ? " * 9, "the museum measured"]
    asked = [(q, context) for context in contexts() for q in questions]
    readings = reader(name).read_all(
        passages.Query(question, [context]) for question, context in asked
    )

    question, context = zip(*asked)
    got = call(name, "serve_text", question=question, context=context)

    unanswered = 0
    for row, want in enumerate(readings):
        best = want.answers[0]
        assert got["answer"][row].decode() == best.text
        assert_close(got["score"][row], best.score, 1e-5)
        unanswered += best.start is None
        start, end = got["start"][row], got["end"][row]
        if best.start is None:
            assert (start, end, got["start_byte"][row]) == (-1, -1, -1)
        else:
            assert (start, end) == (best.start, best.end)
            raw = context[row].encode()
            places = slice(got["start_byte"][row], got["end_byte"][row])
            assert raw[places] == got["answer"][row]
        if name == "span_v2":
            null = got["null_probability"][row]
            assert_close(null, want.null_probability, 1e-5)
    assert len(asked) > 40
    assert 0 < unanswered < len(asked) or name == "span"
    assert ("null_probability" in got) == (name == "span_v2")


@pytest.mark.parametrize(
    "name", ["span", pytest.param("span_v2", marks=pytest.mark.slow)]
)
def test_without_a_question_or_a_context_there_is_no_answer(name):
    got = call(
        name,
        "serve_text",
        question=["", "Who?", "Who?", "\u200b"],
        context=["John Smith", "", "John Smith", "John Smith"],
    )
    want = reader(name).answer("Who?", "John Smith")[0]
    assert got["answer"][2].decode() == want.text
    for row in (0, 1, 3):
        found = {key: values[row] for key, values in got.items()}
        assert found.pop("answer") == b""
        assert found.pop("score") == found.pop("null_probability", 0) == 0
        assert set(found.values()) == {-1}


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("features", {"max_query_length": 9}, "no head to answer"),
        ("span", {"max_answer_length": 0}, "must be above 0"),
        ("span", {"rows_at_once": 0}, "must be above 0"),
        ("span", {"doc_stride": 0}, "must be above 0"),
        ("span", {"max_query_length": 125}, "must be greater than"),
        (
            "span",
            {"null_score_diff_threshold": 1.0},
            "only with version_2_with_negative",
        ),
    ],
)
def test_a_model_that_cannot_be_exported_is_refused(
    name, options, message, tmp_path
):
    with pytest.raises(InputError, match=message):
        served.export_span(source(name), str(tmp_path), **options)
    assert os.listdir(tmp_path) == []
