"""Loss, records, evaluation and predictions of token labels."""

import gzip
import json
import os

import numpy as np
import pytest
import tensorflow as tf
from helpers.paths import GOLDEN

from bert_tf.tasks.ner.data import Example
from bert_tf.tasks.ner.task import RESULTS, TokenTask
from bert_tf.tokenization import FullTokenizer

FOLDER = GOLDEN / "ner"
LABELS = ("B-PER", "I-PER", "O")


def test_loss_and_gradient_are_those_of_torch():
    golden = json.loads(gzip.decompress((FOLDER / "loss.json.gz").read_bytes()))
    task = TokenTask("abcd", None, 9)
    logits = tf.constant(golden["logits"])
    labels = np.where(golden["mask"], golden["labels"], -1)
    batch = {"label_ids": tf.constant(labels, tf.int32)}

    with tf.GradientTape() as tape:
        tape.watch(logits)
        loss = task.loss({"logits": logits}, batch, None)
    gradient = tape.gradient(loss, logits)

    assert float(loss) == pytest.approx(golden["loss"], abs=1e-6)
    np.testing.assert_allclose(gradient, golden["gradient"], atol=1e-6)
    # Parts of a batch add up to the whole, though they have other numbers.
    totals = task.count(batch)
    assert float(totals["tokens"]) == np.sum(golden["mask"])
    parts = [
        task.loss(
            {"logits": logits[i : i + 1]},
            {"label_ids": batch["label_ids"][i : i + 1]},
            totals,
        )
        for i in range(3)
    ]
    assert float(sum(parts)) == pytest.approx(golden["loss"], abs=1e-6)


def test_a_batch_without_labels_has_no_loss():
    batch = {"label_ids": tf.fill((2, 4), -1)}
    loss = TokenTask(LABELS, None, 4).loss(
        {"logits": tf.ones((2, 4, 3))}, batch, None
    )

    assert float(loss) == 0.0


# --------------------------------------------------------------------- records


@pytest.fixture
def tokenizer(vocab_files):
    return FullTokenizer(str(vocab_files / "uncased"))


def example(words, labels=None, scheme="IOB2", document=None, number=0):
    words = words.split()
    labels = labels and labels.split()
    return Example(document or [words], number, labels, labels, scheme, 7)


def test_labels_stand_at_first_pieces_and_nowhere_else(tokenizer):
    task = TokenTask(LABELS, tokenizer, 12)
    one = example("Unaffable Ann \u200b ran", "B-PER I-PER O O")

    ((record,),) = task.records([one], is_training=True)

    tokens = ["[CLS]", "una", "##ffa", "##ble", "ann", "[UNK]", "ran", "[SEP]"]
    ids = tokenizer.convert_tokens_to_ids(tokens)
    assert record == {
        "input_ids": ids + [0] * 4,
        "input_mask": [1] * 8 + [0] * 4,
        "segment_ids": [0] * 12,
        "label_ids": [-1, 0, -1, -1, 1, 2, 2, -1, -1, -1, -1, -1],
    }
    assert record.keys() == task.schema(True).keys()


def test_words_without_labels_are_marked_all_the_same(tokenizer):
    task = TokenTask(LABELS, tokenizer, 5)
    ((one, other),) = task.records([example("a b c d")], is_training=False)

    assert one["label_ids"] == [-1, 0, 0, -1, -1]
    assert other["label_ids"] == [-1, -1, 0, 0, -1]


def test_context_carries_no_label(tokenizer):
    task = TokenTask(LABELS, tokenizer, 6, document_context=True)
    document = [["a", "b"], ["c"], ["d", "e"]]
    one = example("c", "O", document=document, number=1)

    ((record,),) = task.records([one], is_training=True)

    tokens = ["[CLS]", "b", "c", "d", "e", "[SEP]"]
    assert record["input_ids"] == tokenizer.convert_tokens_to_ids(tokens)
    assert record["label_ids"] == [-1, -1, 2, -1, -1, -1]


def test_padding_has_no_word():
    padding = TokenTask(LABELS, None, 3).padding(False)

    assert padding["label_ids"] == [-1] * 3
    assert padding["input_mask"] == [0] * 3


# ----------------------------------------------------------------- evaluation


def row(*words, labels=None):
    """The row of a record: [CLS], words, [SEP], each with its prediction."""
    logits = np.zeros((len(words) + 2, 3), np.float32)
    label_ids = np.full(len(words) + 2, -1)
    for place, (word, truth) in enumerate(zip(words, labels or words), 1):
        if word:
            logits[place, LABELS.index(word)] = place
            label_ids[place] = LABELS.index(truth)
    return {"logits": logits, "label_ids": label_ids}


EXAMPLES = [
    example("Ann Lee ran", "B-PER I-PER O"),
    example("by Bo Lee", "O B-PER I-PER"),
]
ROWS = [
    [row("B-PER", "I-PER", "O")],
    [
        row("O", "O", None, labels=["O", "B-PER", None]),
        row(None, None, "I-PER"),
    ],
]
PREDICTIONS = """Ann B-PER B-PER
Lee I-PER I-PER
ran O O

by O O
Bo B-PER O
Lee I-PER I-PER

"""
REPORT = """processed 6 tokens with 2 phrases; found: 2 phrases; correct: 1.
accuracy:  83.33%; precision:  50.00%; recall:  50.00%; FB1:  50.00
              PER: precision:  50.00%; recall:  50.00%; FB1:  50.00  2
"""


def losses():
    """The losses of the words of each record."""
    for of_example in ROWS:
        for one in of_example:
            places = np.flatnonzero(one["label_ids"] >= 0)
            logits = one["logits"][places].astype(float)
            truth = logits[range(len(places)), one["label_ids"][places]]
            yield np.log(np.exp(logits).sum(-1)) - truth


def test_evaluation_has_conllevals_numbers_and_losses_of_words():
    padding = [row(None, None, None)]
    task = TokenTask(LABELS, None, 5)

    found = task.evaluate(EXAMPLES, iter([*ROWS, padding]), batch_size=2)

    first, second, third = losses()
    batches = [np.concatenate([first, second]).mean(), third.mean()]
    assert found.results == {
        "eval_f1": pytest.approx(0.5),
        "eval_precision": pytest.approx(0.5),
        "eval_recall": pytest.approx(0.5),
        "eval_token_accuracy": pytest.approx(5 / 6),
        "eval_loss": pytest.approx(np.concatenate([*losses()]).mean()),
        "loss": pytest.approx(np.mean(batches)),
    }
    assert set(found.results) == set(RESULTS)
    picture = found.files.pop("eval_report.svg")
    assert "0.500" in picture
    words = found.files.pop("eval_words.txt").splitlines()
    assert words[1:4] == [
        "B-PER      1.000   0.500  0.667        2",
        "I-PER      1.000   1.000  1.000        2",
        "O          0.667   1.000  0.800        2",
    ]
    confusion = [line.split()[1:] for line in words[6:9]]
    assert confusion == [["1", "0", "1"], ["0", "2", "0"], ["0", "0", "2"]]
    header, mistake = found.files.pop("eval_mistakes.tsv").splitlines()
    columns = "word sentence label predicted_label probability row guid"
    assert header.split("\t") == columns.split()
    sure = np.exp(2) / (np.exp(2) + 2)
    # Two words each have the confidence of logits of 1, 2 and 3; one of those
    # with 2 is wrong.
    first, third = (np.exp(x) / (np.exp(x) + 2) for x in (1, 3))
    gaps = 1 - first, sure - 1 / 2, 1 - third
    error = f"expected error {np.mean(gaps):.3f}"
    assert error in "".join(words) and error in picture.lower()
    want = ["Bo", "by Bo Lee", "B-PER", "O", f"{sure:.6f}", "5", "line-7"]
    assert mistake.split("\t") == want
    assert found.files == {
        "eval_predictions.txt": PREDICTIONS,
        "eval_report.txt": REPORT,
    }
    assert found.results_file == "eval_results.txt"


def test_chance_is_the_entropy_of_the_labels():
    shares = np.array([1 / 3, 1 / 3, 1 / 3])

    chance = TokenTask(LABELS, None, 5).chance_loss(EXAMPLES)

    assert chance == pytest.approx(-(shares * np.log(shares)).sum())


def test_a_test_set_with_labels_has_results_of_its_own(tmp_path):
    task = TokenTask(LABELS, None, 5)
    found = task.write(EXAMPLES, iter(ROWS), str(tmp_path), "predict")

    assert found.results_file == "test_eval_results.txt"
    assert found.results["eval_f1"] == pytest.approx(0.5)
    assert found.files["test_predictions.txt"] == PREDICTIONS


def test_without_labels_each_word_stands_beside_its_prediction(tmp_path):
    task = TokenTask(LABELS, None, 5)
    words = [example("Ann Lee ran"), example("by Bo Lee")]

    assert task.write(words, iter(ROWS), str(tmp_path), "predict") is None
    assert os.listdir(tmp_path) == ["test_predictions.txt"]
    assert (tmp_path / "test_predictions.txt").read_text() == (
        "Ann B-PER\nLee I-PER\nran O\n\nby O\nBo O\nLee I-PER\n\n"
    )


def test_predictions_are_in_the_scheme_of_the_file():
    one = example("Ann Lee ran", "I-PER I-PER O", scheme="IOB1")
    found = TokenTask(LABELS, None, 5).evaluate([one], iter(ROWS[:1]), 1)

    assert found.results["eval_token_accuracy"] == 1.0
    text = "Ann I-PER I-PER\nLee I-PER I-PER\nran O O\n\n"
    assert found.files["eval_predictions.txt"] == text


def test_a_word_that_is_not_predicted_is_an_error():
    rows = [[row("B-PER", "I-PER", None)]]

    with pytest.raises(RuntimeError, match="line 7 has 3 words, but 2"):
        TokenTask(LABELS, None, 5).evaluate(EXAMPLES[:1], iter(rows), 1)


def test_one_label_for_everything_is_a_warning_if_there_are_others():
    def warnings(label, labels):
        rows = [[row(label, label, label, labels=labels.split())]]
        examples = [example("Ann Lee ran", labels)]
        task = TokenTask(LABELS, None, 5)
        return task.evaluate(examples, iter(rows), 1).warnings

    (warning,) = warnings("O", "B-PER I-PER O")
    assert "All 3 words" in warning and "'O'" in warning
    assert "1 of them" in warning
    (warning,) = warnings("B-PER", "B-PER B-PER O")
    assert "'B-PER'" in warning and "2 of them" in warning
    # Nothing is wrong with it.
    assert warnings("O", "O O O") == []
