"""Scores and labels of pairs, and pairs that go together."""

import logging

import pytest

from bert_tf.data.tables import BadValue
from bert_tf.errors import InputError
from bert_tf.tasks.sentences import labels
from bert_tf.tasks.sentences.data import PairExample, PairFiles, PairSet


def pairs(*found):
    return PairSet(
        "train.tsv",
        [
            PairExample(f"train-{line}", "a", "b", label)
            for line, label in enumerate(found, start=2)
        ],
    )


def labels_in(found):
    return [example.label for example in found.examples]


def test_scores_are_divided_by_the_highest_one():
    read = labels.score_reader(5.0)
    assert [read(x) for x in ("5", 2.5, "-5", "0")] == [1.0, 0.5, -1.0, 0.0]
    for bad in ("5.5", "x", "", "nan", "1,5", None):
        with pytest.raises(BadValue):
            read(bad)


def test_labels_are_learned_in_the_order_of_their_names(caplog):
    found = pairs("neutral", "entailment", "contradiction", "neutral")
    assert labels.learn_labels(found) == (
        "contradiction",
        "entailment",
        "neutral",
    )
    with pytest.raises(InputError, match=r"only 'same', in 2 rows"):
        labels.learn_labels(pairs("same", "same"))
    with pytest.raises(InputError, match="--objective=cosine learns scores"):
        labels.learn_labels(pairs("1.5", "2.25", "3"))
    with caplog.at_level(logging.WARNING):
        labels.learn_labels(pairs("same", "other", "Same"))
    assert "line 2" in caplog.text and "line 4" in caplog.text


def test_a_dev_set_has_labels_of_training_or_scores():
    known = ("no", "yes")
    named = pairs("yes", "no")
    assert labels.as_labels_or_scores(named, known, 1.0) is named
    scored = labels.as_labels_or_scores(pairs("4", "1"), known, 5.0)
    assert labels_in(scored) == [0.8, 0.2]
    for wrong, facts in (
        (pairs("yes", "maybe"), ("line 3", "'maybe'", "'no', 'yes'")),
        (pairs("yes", "0.5"), ("line 3", "'0.5'")),
        (pairs("1", "maybe"), ("line 3", "'maybe'", "decimal")),
        (pairs("1", "9"), ("line 3", "9", "--max_score")),
    ):
        with pytest.raises(InputError) as error:
            labels.as_labels_or_scores(wrong, known, 5.0)
        assert all(fact in str(error.value) for fact in facts)


def test_pairs_that_go_together_are_those_from_a_score_on(caplog):
    bare = pairs(None, None)
    assert labels.belonging_together(bare, None) is bare
    with caplog.at_level(logging.INFO):
        kept = labels.belonging_together(pairs(5.0, 3.9, 4.0), 4.0)
    assert labels_in(kept) == [5.0, 4.0] and "2 of 3 pairs" in caplog.text
    for wrong, least, fact in (
        (pairs(5.0), None, "--min_score"),
        (bare, 4.0, "--min_score=4"),
        (pairs(1.0), 4.0, "No pair"),
    ):
        with pytest.raises(InputError, match=fact):
            labels.belonging_together(wrong, least)


def test_texts_of_several_pairs_are_counted(caplog):
    examples = [
        PairExample("train-1", "a", "b"),
        PairExample("train-2", "c", "b"),
        PairExample("train-3", "d", "d"),
    ]
    with caplog.at_level(logging.INFO):
        labels.log_repeated(examples[2:], 1)
        assert caplog.text == ""
        labels.log_repeated(examples, 3)
        assert "--train_batch_size" not in caplog.text
        labels.log_repeated(examples, 4)
    assert "2 of 3 pairs share a text" in caplog.text
    assert "3 pairs, fewer than --train_batch_size=4" in caplog.text


@pytest.mark.parametrize(
    ("found", "want"),
    [
        (("no", "yes"), ["no", "yes"]),
        (("0.5", "1"), [0.5, 1.0]),
        (("0", "0"), None),
        (("yes", "1"), None),
        (("yes", "maybe"), None),
        (("yes", ""), None),
    ],
)
def test_labels_of_a_test_file_are_used_if_all_are_known(
    tmp_path, caplog, found, want
):
    rows = "".join(f"a\tb\t{label}\n" for label in found)
    (tmp_path / "test.tsv").write_text("text_a\ttext_b\tlabel\n" + rows)
    read = labels.label_or_score(("no", "yes"), 1.0)
    with caplog.at_level(logging.INFO):
        got = labels.find_test_labels(PairFiles(str(tmp_path)), read)
    assert got == want
    assert ("are not used" in caplog.text) == (want is None)


def test_a_test_file_without_labels_has_none(tmp_path, caplog):
    read = labels.label_or_score((), 1.0)
    (tmp_path / "test.tsv").write_text("text_a\ttext_b\na\tb\n")
    for label_col in (None, "score"):
        files = PairFiles(str(tmp_path), label_col=label_col)
        assert labels.find_test_labels(files, read) is None
    assert caplog.text == ""
