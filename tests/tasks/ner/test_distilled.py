"""Words learnt from a teacher: records, loss, results, unlabelled files."""

import numpy as np
import pytest
import tensorflow as tf

from bert_tf.errors import InputError
from bert_tf.tasks.ner.data import Example, FileSettings, iterate_unlabelled
from bert_tf.tasks.ner.distilled import DistilledTokens
from bert_tf.tasks.ner.task import TokenTask
from bert_tf.tasks.teacher_logits import Distillation
from bert_tf.tokenization import FullTokenizer

LABELS = ("B-PER", "I-PER", "O")


def log_softmax(x):
    return x - np.log(np.exp(x).sum(axis=-1, keepdims=True))


def student(logits=None, length=6, tokenizer=None, **settings):
    task = TokenTask(LABELS, tokenizer, length)
    return DistilledTokens(task, logits, Distillation(**settings))


class Known:
    """Stands for `TeacherLogits` whose files are there."""

    def __init__(self, *values):
        self.values = values

    def name_of(self, examples):
        return "eval"

    def logits(self, name):
        return iter(self.values)


def test_loss_is_that_of_first_pieces_divided_by_all_of_them(rng):
    logits, teacher = rng.normal(size=(2, 2, 4, 3)).astype("float32")
    label_ids = np.array([[-1, 0, 2, -1], [-1, 1, -1, -1]])
    batch = {
        "label_ids": tf.constant(label_ids, tf.int32),
        "teacher_logits": tf.constant(teacher.transpose(0, 2, 1)),
        "has_label": tf.constant([1, 0]),
    }
    task = student(temperature=2.0, weight=0.3)

    loss = task.loss({"logits": tf.constant(logits)}, batch, None)

    q, p = log_softmax(logits / 2), np.exp(log_softmax(teacher / 2))
    soft, hard = -4 * (p * q).sum(axis=-1), -log_softmax(logits)
    words = [
        0.3 * soft[0, 1] + 0.7 * hard[0, 1, 0],
        0.3 * soft[0, 2] + 0.7 * hard[0, 2, 2],
        soft[1, 1],
    ]
    assert float(loss) == pytest.approx(np.mean(words), abs=1e-6)
    parts = [
        task.loss(
            {"logits": tf.constant(logits[at : at + 1])},
            {name: x[at : at + 1] for name, x in batch.items()},
            task.count(batch),
        )
        for at in (0, 1)
    ]
    assert float(sum(parts)) == pytest.approx(float(loss), abs=1e-6)


def test_a_student_equal_to_its_teacher_has_no_gradient(rng):
    logits = tf.constant(rng.normal(size=(2, 4, 3)), tf.float32)
    batch = {
        "label_ids": tf.constant([[-1, 0, 2, -1]] * 2),
        "teacher_logits": tf.transpose(logits, (0, 2, 1)),
        "has_label": tf.constant([1, 0]),
    }
    with tf.GradientTape() as tape:
        tape.watch(logits)
        loss = student().loss({"logits": logits}, batch, None)
    gradient = tape.gradient(loss, logits)
    np.testing.assert_allclose(gradient, 0, atol=1e-7)


def test_each_word_has_its_logits_in_the_record_that_predicts_it(
    vocab_files, rng
):
    tokenizer = FullTokenizer(str(vocab_files / "uncased"))
    known = Known(*(rng.normal(size=(n, 3)).astype("float32") for n in (4, 2)))
    one = Example([["a", "b", "c", "d"]], 0, None, None, "none", 1)
    two = Example([["a", "b"]], 0, ["O"] * 2, ["O"] * 2, "IOB2", 6)
    task = student(known, length=5, tokenizer=tokenizer)

    (first, second), (third,) = task.records([one, two], is_training=True)

    for record, words, has_label in (
        (first, {1: known.values[0][0], 2: known.values[0][1]}, 0),
        (second, {2: known.values[0][2], 3: known.values[0][3]}, 0),
        (third, {1: known.values[1][0], 2: known.values[1][1]}, 1),
    ):
        got = np.reshape(record["teacher_logits"], (3, 5)).T
        want = np.zeros((5, 3))
        for place, values in words.items():
            want[place] = values
        np.testing.assert_allclose(got, want, rtol=1e-6)
        assert record["has_label"] == [has_label]
        assert record.keys() == task.schema(True).keys()
    # Evaluation needs none of them.
    assert task.schema(False).keys() == task.task.schema(False).keys()


def test_results_compare_words(rng):
    logits, teacher = rng.normal(size=(2, 3, 3)).astype("float32")
    labels = ["B-PER", "I-PER", "O"]
    one = Example([["Ann", "Lee", "ran"]], 0, labels, labels, "IOB2", 1)
    row = {"label_ids": np.array([0, 1, 2]), "logits": logits}

    whole = student(Known(teacher)).evaluate([one], iter([[row]]), 8)
    found = {**whole.all(), **whole.fixed}

    best, wanted = logits.argmax(axis=1), teacher.argmax(axis=1)
    assert found["eval_teacher_agreement"] == np.mean(best == wanted)
    p, q = log_softmax(teacher), log_softmax(logits)
    kl = (np.exp(p) * (p - q)).sum(axis=1).mean()
    assert found["eval_teacher_kl"] == pytest.approx(kl, abs=1e-5)
    loss = -p[[0, 1, 2], [0, 1, 2]].mean()
    assert found["teacher_loss"] == pytest.approx(loss, abs=1e-5)
    accuracy = np.mean(wanted == [0, 1, 2])
    assert found["teacher_token_accuracy"] == accuracy
    assert "teacher_f1" in found and "eval_f1" in found


SENTENCES = "-DOCSTART- O\n\na O\nb O\n\nc O\n\n-DOCSTART- O\n\nd O\n"


@pytest.mark.parametrize(
    ("context", "documents"),
    [(False, [["a", "b"], ["c"], ["d"]]), (True, [["a", "b"], ["d"]])],
)
def test_unlabelled_sentences_are_read_one_by_one_or_by_document(
    tmp_path, context, documents
):
    path = tmp_path / "more.txt"
    path.write_text(SENTENCES)
    settings = FileSettings("", document_context=context, label_col=7)

    found = list(iterate_unlabelled(settings, str(path)))

    assert [one.words for one in found] == [["a", "b"], ["c"], ["d"]]
    assert [one.line for one in found] == [3, 6, 10]
    assert all(one.labels is None and one.targets is None for one in found)
    firsts = [one.document[0] for one in found if one.number == 0]
    assert firsts == documents


def test_labels_of_joined_words_are_not_looked_at(tmp_path):
    path = tmp_path / "more.tsv"
    path.write_text("text_a\tlabel\nAnn\x02ran\tB-PER\x02O\na\x02b\tO\n")

    found = list(iterate_unlabelled(FileSettings(""), str(path)))

    assert [one.words for one in found] == [["Ann", "ran"], ["a", "b"]]
    assert all(one.labels is None and one.targets is None for one in found)


@pytest.mark.parametrize(
    ("text", "facts"),
    [
        ("a O\nb\n", r"line 2.*1 column.*2 as in line 1"),
        ("\n\n", "no words"),
        ("a\n\nb\n", "--teacher=T.*DOCSTART.*more.txt has none"),
    ],
)
def test_bad_unlabelled_files_are_refused(tmp_path, text, facts):
    path = tmp_path / "more.txt"
    path.write_text(text)
    settings = FileSettings(
        "", document_context=True, documents_for="--teacher=T"
    )
    with pytest.raises(InputError, match=f"(?s){facts}"):
        list(iterate_unlabelled(settings, str(path)))
