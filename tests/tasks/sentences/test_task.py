"""Records, evaluation and predictions of pairs of texts."""

import numpy as np
import pytest

from bert_tf.tasks.sentences import metrics
from bert_tf.tasks.sentences.data import PairExample
from bert_tf.tasks.sentences.task import SentenceTask, result_names
from bert_tf.tokenization import FullTokenizer

VECTORS = np.array(
    [
        [[1, 0], [1, 1]],  # cos 0.7071
        [[1, 0], [2, 0]],  # 1
        [[0, 1], [1, 0]],  # 0
        [[1, 1], [-1, 0]],  # -0.7071
    ],
    np.float32,
)
COSINES = [np.sqrt(0.5), 1.0, 0.0, -np.sqrt(0.5)]
LOGITS = np.array([[2, 0], [0, 1], [0, 3], [1, 0]], np.float32)


def task_of(objective, **options):
    names = ("no", "yes") if objective == "softmax" else ()
    return SentenceTask(objective, "mean", False, names, None, 8, 4, **options)


def examples(*labels):
    return [
        PairExample(f"dev-{line}", f"a{line}", f"b{line}", label)
        for line, label in enumerate(labels, start=1)
    ]


def rows():
    for vectors, logits in zip(VECTORS, LOGITS):
        yield [{"vectors": vectors, "logits": logits}]
    yield [{"vectors": VECTORS[0], "logits": LOGITS[0]}]  # Padding of a TPU.


def evaluate(objective, *labels):
    return task_of(objective).evaluate(examples(*labels), rows(), 2)


SCORES = (0.5, 1.0, 0.25, 0.0)


def test_cosines_are_held_to_scores():
    found = evaluate("cosine", *SCORES)
    want = np.corrcoef(SCORES, COSINES)[0, 1]
    assert found.results == {
        "eval_pearson": pytest.approx(want),
        "eval_spearman": pytest.approx(1.0),
        "eval_loss": pytest.approx(np.mean((np.array(COSINES) - SCORES) ** 2)),
    }
    header, worst, *_ = found.files["eval_mistakes.tsv"].splitlines()
    assert header.split("\t")[:2] == ["text_a", "text_b"]
    assert worst.split("\t")[:4] == ["a4", "b4", "0", "-0.707"]
    # Of the other objectives, a score is no cosine.
    for objective in ("softmax", "in_batch"):
        found = evaluate(objective, *SCORES)
        assert found.results.keys() == {"eval_pearson", "eval_spearman"}
        assert "eval_mistakes.tsv" not in found.files


def test_scores_that_are_all_the_same_have_no_correlation():
    found = evaluate("in_batch", 1.0, 1.0, 1.0, 1.0)
    assert np.isnan(found.results["eval_spearman"])
    assert "nan" in found.warnings[0]


def test_labels_are_held_to_logits():
    found = evaluate("softmax", "no", "yes", "no", "no")
    losses = np.log(np.exp(LOGITS).sum(axis=1)) - LOGITS[range(4), [0, 1, 0, 0]]
    assert found.results == {
        "eval_accuracy": 0.75,
        "eval_loss": pytest.approx(losses.mean(), abs=1e-6),
    }
    _, row = found.files["eval_mistakes.tsv"].splitlines()
    assert row.split("\t")[:4] == ["a3", "b3", "no", "yes"]


def test_without_labels_texts_are_to_find_their_own():
    found = evaluate("in_batch", None, None, None, None)
    # 1 and 2 have the direction of the second texts 2 and 3, 3 that of 1.
    assert found.results == {"eval_retrieval_accuracy": 0.25}


def test_retrieval_in_blocks_is_that_of_all_cosines(monkeypatch, rng):
    vectors = rng.normal(size=(50, 2, 8)).astype(np.float32)
    vectors[:, 1] += 0.4 * vectors[:, 0]
    both = vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
    best = (both[:, 0] @ both[:, 1].T).argmax(axis=1)
    monkeypatch.setattr(metrics, "ROWS_TOGETHER", 16)
    got = metrics.retrieval_accuracy(vectors)
    assert got == np.mean(best == np.arange(50)) and 0 < got < 1


def test_results_are_named_before_they_are_computed():
    for objective, label in (
        ("cosine", 0.5),
        ("softmax", 0.5),
        ("softmax", "no"),
        ("in_batch", 0.5),
        ("in_batch", None),
    ):
        found = evaluate(objective, *[label] * 4).results
        assert set(result_names(objective, label)) == set(found)


def test_the_same_answer_for_all_has_the_loss_of_chance():
    cosine, softmax, in_batch = (
        task_of(x) for x in ("cosine", "softmax", "in_batch")
    )
    assert cosine.chance_loss(examples(0.0, 1.0)) == pytest.approx(0.25)
    labels = examples("no", "yes", "no", "no")
    want = -(0.75 * np.log(0.75) + 0.25 * np.log(0.25))
    assert softmax.chance_loss(labels) == pytest.approx(want)
    assert in_batch.chance_loss(examples(None)) == pytest.approx(np.log(4))


def test_predictions_have_a_cosine_for_each_pair(tmp_path):
    from bert_tf.data.prediction_tables import Table

    table = Table("test.tsv", ["cosine", "x"], [["1", str(n)] for n in "abcd"])
    task = task_of(
        "softmax", test_labels=list(SCORES), test_table=lambda: table
    )

    found = task.write(examples(*[None] * 4), rows(), str(tmp_path), "predict")

    lines = (tmp_path / "test_results.tsv").read_text().splitlines()
    np.testing.assert_allclose(list(map(float, lines)), COSINES, atol=1e-6)
    header, first, *_ = (
        (tmp_path / "test_predictions.tsv").read_text().splitlines()
    )
    assert header == "cosine\tx\tpredicted_cosine\tlabel\tprobability"
    assert first.split("\t")[:4] == ["1", "a", lines[0], "no"]
    share = 1 / (1 + np.exp(-2))
    assert float(first.split("\t")[4]) == pytest.approx(share, abs=1e-6)
    assert found.results_file == "test_eval_results.txt"
    assert found.results["eval_spearman"] == pytest.approx(1.0)
    assert not (tmp_path / "labels.txt").exists()
    task.write_model_files(str(tmp_path))
    assert (tmp_path / "labels.txt").read_text() == "no\nyes\n"


def test_records_hold_both_texts_each_as_a_row(vocab_files):
    tokenizer = FullTokenizer(str(vocab_files / "uncased"))
    task = SentenceTask("cosine", "mean", False, (), tokenizer, 5)
    example = PairExample("train-1", "a b c d", "e", 0.5)

    ((record,),) = task.records([example], is_training=True)

    ids = tokenizer.convert_tokens_to_ids
    first = ids(["[CLS]", "a", "b", "c", "[SEP]"])
    second = [*ids(["[CLS]", "e", "[SEP]"]), 0, 0]
    assert record == {
        "input_ids": first + second,
        "input_mask": [1] * 8 + [0] * 2,
        "segment_ids": [0] * 10,
        "label_ids": [0.5],
    }
    assert "1 token cut off" in task.describe(example)
    for objective in ("cosine", "softmax", "in_batch"):
        task = task_of(objective)
        schema = task.schema(is_training=True)
        sizes = {name: feature.length for name, feature in schema.items()}
        padding = task.padding(is_training=True)
        assert {name: len(x) for name, x in padding.items()} == sizes
