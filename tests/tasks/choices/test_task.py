"""Loss, evaluation, predictions and records of multiple choice."""

import json

import numpy as np
import pytest
import tensorflow as tf
from helpers.paths import GOLDEN

from bert_tf import heads
from bert_tf.tasks.choices.data import ChoiceExample
from bert_tf.tasks.choices.task import ChoiceTask

LOSS = json.loads((GOLDEN / "choices" / "loss.json").read_text())


@pytest.fixture
def task():
    return ChoiceTask(("1", "2", "3", "4"), None, 16)


def test_loss_and_gradient_are_those_of_torch(task):
    logits = tf.constant(LOSS["logits"])[..., 0]
    batch = {"label_ids": tf.constant(LOSS["labels"])}

    with tf.GradientTape() as tape:
        tape.watch(logits)
        loss = task.loss({"logits": logits}, batch, None)
    gradient = tape.gradient(loss, logits)

    assert float(loss) == pytest.approx(LOSS["loss"], abs=1e-6)
    want = np.array(LOSS["gradient"])[..., 0]
    np.testing.assert_allclose(gradient, want, atol=1e-6)
    _, examples = heads.classification_loss(logits, batch["label_ids"])
    np.testing.assert_allclose(examples, LOSS["example_losses"], atol=1e-6)


# ------------------------------------------------------- what is made of them

EXAMPLES = [ChoiceExample(f"dev-{n}", "", "", ("",) * 4, n) for n in (0, 3, 2)]
LOGITS = np.array([[3.0, 1, 0, 0], [1, 2, 0, 0], [0, 0, 1, 0]], np.float32)


def rows(*more):
    for example, logits in zip(EXAMPLES, LOGITS):
        yield [{"label_ids": np.int32(example.label), "logits": logits}]
    yield from more


def test_results_are_means_over_examples_without_padding(task):
    padding = [{"label_ids": np.int32(0), "logits": np.zeros(4, np.float32)}]

    results = task.evaluate(EXAMPLES, rows(padding), batch_size=2).all()

    right = LOGITS[[0, 1, 2], [0, 3, 2]]
    losses = np.log(np.exp(LOGITS).sum(axis=1)) - right
    assert results == {
        "eval_accuracy": pytest.approx(2 / 3),
        "eval_loss": pytest.approx(losses.mean(), abs=1e-6),
    }


def test_by_chance_all_choices_are_as_likely(task):
    assert task.chance_loss(EXAMPLES) == pytest.approx(np.log(4))


def test_a_wrong_choice_is_shown_with_all_choices(task):
    found = task.evaluate(EXAMPLES, rows(), batch_size=2)

    lines = found.files["eval_report.txt"].splitlines()
    # The choice 4 is right in one example, in which 2 is predicted.
    counts = [line.split() for line in lines if line.startswith("4")]
    assert counts == [
        ["4", "0.000", "0.000", "0.000", "1"],
        ["4", "0", "1", "0", "0"],
    ]
    assert "true 4, predicted 2: 1 rows" in found.files["eval_report.svg"]
    header, row = found.files["eval_mistakes.tsv"].splitlines()
    columns = "context choice_1 choice_2 choice_3 choice_4 label"
    columns += " predicted_label probability row guid"
    assert header.split("\t") == columns.split()
    share = np.exp(2) / np.exp([1.0, 2, 0, 0]).sum()
    want = ["", "", "", "", "", "4", "2", f"{share:.6f}", "2", "dev-3"]
    assert row.split("\t") == want


def test_a_test_set_with_labels_has_results_beside_its_predictions(tmp_path):
    task = ChoiceTask(("1", "2", "3", "4"), None, 8, test_labels=[0, 3, 0])

    found = task.write(EXAMPLES, rows(), str(tmp_path), "predict")

    losses = np.log(np.exp(LOGITS).sum(axis=1)) - LOGITS[[0, 1, 2], [0, 3, 0]]
    assert found.results == {
        "eval_accuracy": pytest.approx(1 / 3),
        "eval_loss": pytest.approx(losses.mean(), abs=1e-6),
    }
    assert found.results_file == "test_eval_results.txt"
    assert found.files.keys() == {
        *("test_report.txt", "test_report.svg", "test_mistakes.tsv")
    }
    assert (tmp_path / "test_results.tsv").exists()


def test_predictions_are_named_as_the_labels_are(task, tmp_path):
    assert task.write(EXAMPLES, rows(), str(tmp_path), "predict") is None

    names = (tmp_path / "test_predictions.txt").read_text()
    assert names == "1\n2\n3\n"
    lines = (tmp_path / "test_results.tsv").read_text().splitlines()
    got = np.array([line.split("\t") for line in lines], float)
    shares = np.exp(LOGITS) / np.exp(LOGITS).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(got, shares, atol=1e-6)


def test_records_hold_the_choices_of_an_example_together(vocab_files):
    from bert_tf.tokenization import FullTokenizer

    tokenizer = FullTokenizer(str(vocab_files / "uncased"))
    task = ChoiceTask(("A", "B"), tokenizer, 8)
    example = ChoiceExample("train-1", "a b", "c", ("d", "e"), 1)

    ((record,),) = task.records([example], is_training=True)

    ids = tokenizer.convert_tokens_to_ids
    want = [
        token
        for last in "de"
        for token in [*ids(["[CLS]", "a", "b", "[SEP]", "c", last, "[SEP]"]), 0]
    ]
    assert record["input_ids"] == want
    assert record["label_ids"] == [1]
    schema = task.schema(is_training=True)
    assert schema["input_ids"].shape == (2, 8)
    assert {n: len(x) for n, x in task.padding(True).items()} == {
        name: feature.length for name, feature in schema.items()
    }
