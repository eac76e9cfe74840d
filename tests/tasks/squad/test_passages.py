"""Answers from logits, against an enumeration of all spans."""

import itertools
import re

import numpy as np
import pytest
from helpers.squad_golden import RUNS, SQUAD, read_examples, tokenizer

from bert_tf.data.packing import DocSpan
from bert_tf.errors import InputError
from bert_tf.tasks.squad import passages
from bert_tf.tasks.squad.answers import Logits
from bert_tf.tasks.squad.passages import Query
from bert_tf.tasks.squad.windows import Document, Window, WindowMaker

LENGTH = 7  # The most word pieces of an answer.


def windows_and_logits(kind, count=None):
    """The examples of a golden file, as if they were about one question."""
    features = "features_dev-v2.0_s128_uncased_lower.json.gz"
    settings = RUNS["files"][features]
    maker = WindowMaker(
        tokenizer("uncased", True),
        **RUNS["settings"][settings["setting"]],
        exact_answers=True,
    )
    examples = read_examples(features)
    with np.load(SQUAD / f"logits_dev-v2.0_{kind}.npz") as file:
        rows = {
            unique_id: Logits(start, end)
            for unique_id, start, end in zip(
                file["unique_ids"].tolist(),
                file["start_logits"],
                file["end_logits"],
            )
        }
    return [
        (window, rows[window.unique_id])
        for _, windows in itertools.islice(
            maker.windows_by_example(examples), count
        )
        for window in windows
    ]


def every_span(pairs):
    """(score, context, first character, character after the last)."""
    for window, (start, end) in pairs:
        document, length = window.document, window.span.length
        for token, is_best in window.token_is_max_context.items():
            last = min(token + LENGTH, len(window.front) + length)
            for other in range(token, last) if is_best else ():
                yield (
                    float(start[token]) + float(end[other]),
                    window.example_index,
                    document.starts[window.piece(token)],
                    document.ends[window.piece(other)],
                )


def contexts_of(pairs):
    return {w.example_index: w.document.context for w, _ in pairs}


@pytest.mark.parametrize(
    ("kind", "threshold"), [("random", None), ("peaky", 1e9), ("invalid", 1e9)]
)
def test_a_score_is_a_share_of_all_spans_of_all_contexts(kind, threshold):
    pairs = windows_and_logits(kind)
    assert len({w.doc_span_index for w, _ in pairs}) > 4
    spans = list(every_span(pairs))
    null = min(float(start[0]) + float(end[0]) for _, (start, end) in pairs)
    total = sum(np.exp(score) for score, *_ in spans)
    total += 0 if threshold is None else np.exp(null)

    got = passages.read("q", pairs, LENGTH, 1, threshold)

    (best,) = got.answers
    score, *place = max(spans, key=lambda span: span[0])
    assert [best.context_index, best.start, best.end] == place
    assert best.text == contexts_of(pairs)[place[0]][best.start : best.end]
    assert best.start_logit + best.end_logit == score
    assert best.score == pytest.approx(np.exp(score) / total, rel=1e-9)
    shares = dict.fromkeys(contexts_of(pairs), 0.0)
    for score, context, *_ in spans:
        shares[context] += np.exp(score) / total
    order = [one.context_index for one in got.passages]
    assert order == sorted(shares, key=lambda number: -shares[number])
    for one in got.passages:
        assert one.score == pytest.approx(shares[one.context_index], rel=1e-9)
        of_context = [s for s in spans if s[1] == one.context_index]
        highest = max(of_context, key=lambda span: span[0])
        assert (one.answer.start, one.answer.end) == highest[2:]
    if threshold is None:
        assert got.null_probability is best.null_score is None
        assert sum(shares.values()) == pytest.approx(1)
    else:
        assert best.null_score == null
        share = np.exp(null) / total
        assert got.null_probability == pytest.approx(share, rel=1e-9)


def plain(text):
    """As SQuAD's metrics compare answers."""
    words = re.sub(r"[!-/:-@\[-`{-~]", "", text.lower())
    return re.sub(r"\b(a|an|the)\b|\s", "", words) or text


def test_the_next_answers_neither_overlap_nor_repeat():
    pairs = windows_and_logits("random")
    contexts, taken, want = contexts_of(pairs), [], []
    for score, number, start, end in sorted(
        every_span(pairs), key=lambda span: -span[0]
    ):
        if len(want) == 40:
            break
        overlaps = [t for t in taken if t[0] == number and t[1] < end]
        if any(start < last for _, _, last in overlaps):
            continue
        taken.append((number, start, end))
        text = contexts[number][start:end]
        if plain(text) not in {plain(one[0]) for one in want}:
            want.append((text, number, start, end, score))

    got = passages.read("q", pairs, LENGTH, 40)

    assert len(taken) > len(want) == 40, "Nothing was repeated."
    assert [(one.text, one.context_index) for one in got.answers] == [
        one[:2] for one in want
    ]
    for one, (*_, start, end, score) in zip(got.answers, want):
        assert (one.start, one.end) == (start, end)
        assert one.start_logit + one.end_logit == score
    scores = [one.score for one in got.answers]
    assert scores == sorted(scores, reverse=True)


def test_a_question_is_unanswered_above_the_threshold():
    pairs = windows_and_logits("random", 5)
    answered = passages.read("q", pairs, LENGTH, 2, 1e9)
    best, second = answered.answers
    odds = best.null_score - best.start_logit - best.end_logit

    at = passages.read("q", pairs, LENGTH, 2, odds)
    above = passages.read("q", pairs, LENGTH, 2, odds - 1e-6)

    assert at == answered
    none, first = above.answers
    assert first == best
    assert (none.text, none.start, none.end, none.context_index) == (
        ("", None, None, None)
    )
    assert none.start_logit + none.end_logit == best.null_score
    assert none.score == above.null_probability == answered.null_probability
    assert passages.read("q", pairs, LENGTH, 1, odds - 1e-6).answers == [none]
    assert second.text


def one_window(context, pieces, starts, ends):
    document = Document(
        context, pieces, [0] * len(pieces), [], [], starts, ends
    )
    span = DocSpan(0, len(pieces))
    front = ["[CLS]", "?", "[SEP]"]
    zeros = [0] * len(pieces)
    return Window(0, 0, 0, front, [0] * 3, document, span, zeros)


def test_pieces_of_one_character_are_not_two_answers():
    window = one_window("각 x", ["a", "##b", "x"], [0, 0, 2], [1, 1, 3])
    logits = Logits(*np.float32([[0, 0, 0, 9, 8, 1, 0]] * 2))

    got = passages.read("q", [(window, logits)], 1, num_answers=9)

    assert [one.text for one in got.answers] == ["각", "x"]


def test_large_logits_do_not_overflow():
    window = one_window("x", ["x"], [0], [1])
    logits = Logits(*np.float32([[0, 0, 0, 3e4, 0]] * 2))
    (answer,) = passages.read("q", [(window, logits)]).answers
    assert answer.score == 1.0


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_an_error_for_infinite_logits_names_the_question(bad):
    window = one_window("x", ["x"], [0], [1])
    logits = Logits(*np.float32([[0, 0, 0, bad, 0]] * 2))
    with pytest.raises(InputError, match=r"'who\?' must be finite"):
        passages.read("who?", [(window, logits)])


@pytest.mark.parametrize(
    ("query", "message"),
    [
        (Query(" \n", ["x"]), r"`question` must hold text.*' \\n'"),
        (Query("who?", []), r"at least one text.*'who\?'"),
        (Query("who?", ["x", ""]), r"contexts\[1\]=''.*'who\?'"),
    ],
)
def test_an_empty_question_or_context_is_rejected(query, message):
    with pytest.raises(InputError, match=message):
        passages.require_text(query)
