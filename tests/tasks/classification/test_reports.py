"""Reports that a classification writes beside its results."""

import numpy as np
import pytest

from bert_tf.tasks.classification.data import InputExample
from bert_tf.tasks.classification.targets import ManyLabels, Number, OneLabel
from bert_tf.tasks.classification.task import ClassificationTask

LOGITS = np.log([[0.7, 0.3], [0.9, 0.1], [0.2, 0.8]]).astype(np.float32)
TEXTS = ("one\ttext", "two", "three")
TEXTS_AT = list(enumerate(TEXTS, 2))  # With the lines below a header.


def rows_of(label_ids, logits, padding=0):
    """Rows of one record each, and of records that pad a batch."""
    for label, row in zip(label_ids, logits):
        yield [{"label_ids": label, "is_real_example": 1, "logits": row}]
    blank = np.zeros_like(label_ids[0])
    for _ in range(padding):
        yield [{"label_ids": blank, "is_real_example": 0, "logits": logits[0]}]


def evaluate(target, labels, text_b=None, logits=LOGITS, remark=None):
    task = ClassificationTask(target, None, 16, remark=remark)
    examples = [
        InputExample(f"dev-{at}", text, text_b, label)
        for (at, text), label in zip(TEXTS_AT, labels)
    ]
    ids = [np.array(target.encode(label)) for label in labels]
    return task.evaluate(examples, rows_of(ids, logits, padding=1), 4)


def test_one_label_has_a_report_and_its_mistakes():
    found = evaluate(OneLabel(("bad", "good")), ["good", "good", "good"])

    assert found.files.keys() == {
        *("eval_report.txt", "eval_report.svg", "eval_mistakes.tsv")
    }
    tip = "true good, predicted bad: 2 rows, 66.7 %"
    assert tip in found.files["eval_report.svg"]
    lines = found.files["eval_report.txt"].splitlines()
    good = [line.split()[1:] for line in lines if line.startswith("good")]
    assert good == [["1.000", "0.333", "0.500", "3"], ["2", "1"]]
    header, *rows = found.files["eval_mistakes.tsv"].splitlines()
    columns = "text_a label predicted_label probability row guid"
    assert header.split("\t") == columns.split()
    assert [row.split("\t") for row in rows] == [
        ["two", "good", "bad", "0.900000", "2", "dev-3"],
        ["one\\ttext", "good", "bad", "0.700000", "1", "dev-2"],
    ]
    assert found.warnings == []


def test_pairs_show_both_texts():
    found = evaluate(OneLabel(("bad", "good")), ["good"] * 3, text_b="b")

    lines = found.files["eval_mistakes.tsv"].splitlines()
    assert lines[0].startswith("text_a\ttext_b\tlabel")
    assert lines[1].startswith("two\tb\tgood")


def test_a_model_that_knows_one_label_only_is_warned_of():
    logits = np.tile(LOGITS[:1], (3, 1))

    found = evaluate(
        OneLabel(("bad", "good")), ["bad", "good", "good"], logits=logits
    )

    (warning,) = found.warnings
    assert "'bad'" in warning and "--class_weights" in warning


def test_a_remark_on_the_results_is_one_of_the_warnings():
    def remark(results):
        return "too low" if results["eval_accuracy"] < 0.5 else None

    target = OneLabel(("bad", "good"))
    assert evaluate(target, ["good"] * 3, remark=remark).warnings == ["too low"]
    assert evaluate(target, ["bad"] * 3, remark=remark).warnings == []


def test_several_labels_show_their_most_confident_mistake():
    target = ManyLabels(("a", "b"), separator="|")
    # Scores: 0.9 0.6, 0.9 0.6, 0.1 0.4.
    scores = np.array([[0.9, 0.6], [0.9, 0.6], [0.1, 0.4]])
    logits = np.log(scores / (1 - scores)).astype(np.float32)

    found = evaluate(target, [("a",), ("b",), ()], logits=logits)

    _, *rows = found.files["eval_mistakes.tsv"].splitlines()
    got = [row.split("\t") for row in rows]
    assert [row[:3] for row in got] == [
        ["two", "b", "a|b"],
        ["one\\ttext", "a", "a|b"],
    ]
    sure = [float(row[3]) for row in got]
    assert sure == pytest.approx([0.9, 0.6], abs=1e-6)
    lines = found.files["eval_report.txt"].splitlines()
    assert [x.split()[1:] for x in lines if x.startswith("a ")] == [
        ["0.500", "1.000", "0.667", "1"],
        ["1", "1", "0", "1"],
    ]


def test_numbers_have_a_picture_and_what_is_farthest_off():
    logits = np.array([[0.75], [-1.0], [1.0]], np.float32)

    found = evaluate(Number(), [0.5, 0.0, 1.0], logits=logits)

    assert found.files.keys() == {"eval_report.svg", "eval_mistakes.tsv"}
    header, *rows = found.files["eval_mistakes.tsv"].splitlines()
    assert "predicted_label\terror\trow" in header
    assert [row.split("\t")[:4] for row in rows] == [
        ["two", "0", "-1.000", "1.000000"],
        ["one\\ttext", "0.5", "0.750", "0.250000"],
    ]
    assert found.files["eval_report.svg"].count("<circle") == 3


@pytest.mark.parametrize("labels", [None, ["good", "bad", "good"]])
def test_labels_of_a_test_file_add_results_beside_the_predictions(
    tmp_path, labels
):
    labelled = {} if labels is None else {"predict": labels}
    task = ClassificationTask(
        OneLabel(("bad", "good")), None, 16, test_labels=labelled
    )
    examples = [InputExample(f"test-{n}", x, None, "bad") for n, x in TEXTS_AT]

    found = task.write(
        examples, rows_of([0] * 3, LOGITS), str(tmp_path), "predict"
    )

    lines = (tmp_path / "test_results.tsv").read_text().splitlines()
    got = [list(map(float, line.split("\t"))) for line in lines]
    np.testing.assert_allclose(got, np.exp(LOGITS), atol=1e-6)
    if labels is None:
        assert found is None
        return
    # Right for the second and the third text.
    loss = -np.log([0.3, 0.9, 0.8]).mean()
    assert found.results == {
        "eval_accuracy": pytest.approx(2 / 3),
        "eval_loss": pytest.approx(loss, abs=1e-6),
    }
    assert found.results_file == "test_eval_results.txt"
    assert found.files.keys() == {
        *("test_report.txt", "test_report.svg", "test_mistakes.tsv")
    }
    _, mistake = found.files["test_mistakes.tsv"].splitlines()
    want = ["one\\ttext", "good", "bad", "0.700000", "1", "test-2"]
    assert mistake.split("\t") == want


def test_thresholds_are_not_chosen_on_a_test_file(tmp_path):
    target = ManyLabels(("a", "b"), chooses_thresholds=True)
    task = ClassificationTask(
        target, None, 16, test_labels={"predict": [("a",), (), ("b",)]}
    )
    examples = [InputExample(f"test-{n}", x, None, ()) for n, x in TEXTS_AT]
    blank = [np.zeros(2, int)] * 3

    found = task.write(
        examples, rows_of(blank, LOGITS), str(tmp_path), "predict"
    )

    assert task.target.thresholds == ()
    assert found.model_files == {}
    assert found.files.keys() == {
        *("test_per_label.tsv", "test_report.txt", "test_report.svg"),
        "test_mistakes.tsv",
    }
