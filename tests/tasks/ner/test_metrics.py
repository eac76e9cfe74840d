"""The numbers and the lines of conlleval."""

import gzip
import itertools
import json

import numpy as np
import pytest

from bert_tf.tasks.ner.metrics import EntityCounts


@pytest.fixture
def cases(data):
    packed = (data / "ner" / "evaluation.json.gz").read_bytes()
    return json.loads(gzip.decompress(packed))


def count(case):
    counts = EntityCounts()
    gold, predicted = case["gold"], case["predicted"]
    if not case["has_blank_lines"]:
        gold, predicted = (
            [list(itertools.chain.from_iterable(sentences))]
            for sentences in (gold, predicted)
        )
    for pair in zip(gold, predicted, strict=True):
        counts.add(*pair, case["scheme"])
    return counts


def test_the_report_is_what_conlleval_prints(cases):
    for case in cases:
        report = count(case).report()

        assert report.splitlines() == case["printed"], case["name"]


def test_results_are_those_of_seqeval(cases):
    for case in cases:
        if not case["has_blank_lines"]:
            continue  # It always knows where sentences end.
        results = count(case).results()
        names = ("eval_precision", "eval_recall", "eval_f1")

        np.testing.assert_allclose(
            [results[name] for name in names], case["seqeval"], atol=1e-12
        )


def test_without_a_word_everything_is_zero():
    assert set(EntityCounts().results().values()) == {0.0}
