"""Losses and results of a student, by torch and by formulas in NumPy."""

import json

import numpy as np
import pytest
import tensorflow as tf
from helpers.paths import GOLDEN

from bert_tf.tasks.classification.data import InputExample
from bert_tf.tasks.classification.distilled import DistilledClassification
from bert_tf.tasks.classification.targets import ManyLabels, Number, OneLabel
from bert_tf.tasks.classification.task import ClassificationTask
from bert_tf.tasks.task import merge
from bert_tf.tasks.teacher_logits import Distillation

LOSSES = json.loads((GOLDEN / "losses" / "losses.json").read_text())["cases"]
NAMES = tuple("abcdefgh")


def student(target, teacher_logits=None, **settings):
    task = ClassificationTask(target, None, 16)
    return DistilledClassification(
        task, teacher_logits, Distillation(**settings)
    )


def loss_and_gradient(task, logits, teacher_logits, labels, has_label=None):
    """The loss, which the parts of the batch add up to, and its gradient."""
    logits = tf.constant(logits, tf.float32)
    count = len(logits)
    batch = {
        "label_ids": tf.constant(labels),
        "teacher_logits": tf.constant(teacher_logits, tf.float32),
        "has_label": tf.constant(has_label or [1] * count),
    }
    with tf.GradientTape() as tape:
        tape.watch(logits)
        loss = task.loss({"logits": logits}, batch, None)
    parts = [
        task.loss(
            {"logits": logits[at : at + 1]},
            {name: x[at : at + 1] for name, x in batch.items()},
            {"examples": tf.constant(float(count))},
        )
        for at in range(count)
    ]
    assert float(sum(parts)) == pytest.approx(float(loss), abs=2e-6)
    return float(loss), tape.gradient(loss, logits).numpy()


def softmax(x):
    x = np.exp(x - x.max(axis=-1, keepdims=True))
    return x / x.sum(axis=-1, keepdims=True)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, id=case["name"])
        for case in LOSSES
        if case["name"].startswith("distil")
    ],
)
def test_loss_and_gradient_are_those_of_torch(case):
    logits = case["logits"]
    is_number = case["name"] == "distil_regression"
    task = student(
        Number() if is_number else OneLabel(NAMES[: len(logits[0])]),
        temperature=case.get("temperature", 1.0),
        weight=case.get("alpha", 1.0),
    )
    blank = [0.0 if is_number else 0] * len(logits)

    loss, gradient = loss_and_gradient(
        task, logits, case["teacher_logits"], case.get("labels", blank)
    )

    assert loss == pytest.approx(case["loss"], abs=1e-6)
    np.testing.assert_allclose(gradient, case["gradient"], atol=1e-6)


def test_several_labels_learn_the_scores_of_the_teacher(rng):
    logits, teacher = rng.normal(size=(2, 4, 3), scale=3)
    labels = rng.integers(2, size=(4, 3))
    task = student(ManyLabels(NAMES[:3]), temperature=2.0, weight=0.7)

    loss, gradient = loss_and_gradient(task, logits, teacher, labels)

    p, q = sigmoid(teacher / 2), sigmoid(logits / 2)
    soft = -4 * (p * np.log(q) + (1 - p) * np.log(1 - q)).mean()
    s = sigmoid(logits)
    hard = -(labels * np.log(s) + (1 - labels) * np.log(1 - s)).mean()
    assert loss == pytest.approx(0.7 * soft + 0.3 * hard, abs=1e-5)
    want = (0.7 * 2 * (q - p) + 0.3 * (s - labels)) / logits.size
    np.testing.assert_allclose(gradient, want, atol=1e-6)


def test_a_number_learns_that_of_the_teacher(rng):
    logits, teacher = rng.normal(size=(2, 5, 1))
    values = rng.normal(size=5).astype("float32")

    loss, gradient = loss_and_gradient(
        student(Number(), weight=0.25), logits, teacher, values
    )

    s, t = logits[:, 0], teacher[:, 0]
    losses = 0.25 * (s - t) ** 2 + 0.75 * (s - values) ** 2
    assert loss == pytest.approx(losses.mean(), abs=1e-6)
    want = 2 * (0.25 * (s - t) + 0.75 * (s - values)) / 5
    np.testing.assert_allclose(gradient[:, 0], want, atol=1e-6)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
@pytest.mark.parametrize(
    "target", [OneLabel(NAMES[:3]), ManyLabels(NAMES[:3])], ids=repr
)
def test_a_student_equal_to_its_teacher_has_no_gradient(
    target, temperature, rng
):
    logits = rng.normal(size=(4, 3), scale=3)
    labels = np.zeros((4, *target.record_shape), "int32")
    task = student(target, temperature=temperature)

    _, gradient = loss_and_gradient(task, logits, logits, labels)

    np.testing.assert_allclose(gradient, 0, atol=1e-7)


def test_at_a_high_temperature_logits_themselves_are_learnt(rng):
    logits, teacher = rng.normal(size=(2, 4, 5))
    task = student(OneLabel(NAMES[:5]), temperature=100.0)

    _, gradient = loss_and_gradient(task, logits, teacher, [0] * 4)

    apart = logits - teacher
    want = (apart - apart.mean(axis=1, keepdims=True)) / 5 / 4
    # Up to terms of the order of 1 / T.
    np.testing.assert_allclose(gradient, want, atol=1e-2 * np.abs(want).max())


def test_a_row_without_a_label_learns_from_the_teacher_alone(rng):
    logits, teacher = rng.normal(size=(2, 3, 2))
    weights = (0.5, 3.0)
    task = student(OneLabel(NAMES[:2], weights=weights), weight=0.4)

    loss, _ = loss_and_gradient(task, logits, teacher, [1, 0, 0], [1, 1, 0])

    soft = -(softmax(teacher) * np.log(softmax(logits))).sum(axis=1)
    # Weights of labels are for what is learnt from labels.
    hard = -np.log(softmax(logits)[[0, 1], [1, 0]]) * weights[::-1]
    losses = [*(0.4 * soft[:2] + 0.6 * hard), soft[2]]
    assert loss == pytest.approx(np.mean(losses), abs=1e-6)


class Known:
    """Stands for `TeacherLogits` whose files are there."""

    def __init__(self, target, logits, name):
        self.name = name
        self.teacher = self
        self.target = target
        self.values = logits

    def name_of(self, examples):
        return self.name

    def logits(self, name):
        return iter(self.values[:, None])


def evaluate(target, labels, logits, teacher_logits, name="eval"):
    """An evaluation of texts of which the first is read in two windows."""
    known = Known(target, teacher_logits.astype("float32"), name)
    examples = [
        InputExample(f"dev-{n}", "text", None, label)
        for n, label in enumerate(labels)
    ]
    rows = [
        [
            {
                "label_ids": np.array(target.encode(label)),
                "is_real_example": 1,
                "logits": one.astype("float32"),
            }
        ]
        for label, one in zip(labels, logits)
    ]
    apart = {**rows[0][0], "logits": rows[0][0]["logits"] + 1}
    rows[0] = [
        {**apart, "logits": apart["logits"] - 2},
        apart,
    ]
    blank = {**apart, "is_real_example": 0}
    task = ClassificationTask(target, None, 16)
    return DistilledClassification(task, known, Distillation()).evaluate(
        examples, iter([*rows, [blank]]), 2
    )


def results(*arguments):
    found = evaluate(*arguments)
    return {**found.all(), **found.fixed}


def test_results_compare_student_and_teacher(rng):
    logits, teacher = rng.normal(size=(2, 6, 3), scale=2)
    found = results(OneLabel(NAMES[:3]), "abcabc", logits, teacher)

    best, wanted = logits.argmax(axis=1), teacher.argmax(axis=1)
    truth = np.array([0, 1, 2, 0, 1, 2])
    p, q = softmax(teacher), softmax(logits)
    assert found["eval_accuracy"] == np.mean(best == truth)
    assert found["eval_teacher_agreement"] == np.mean(best == wanted)
    kl = (p * np.log(p / q)).sum(axis=1).mean()
    assert found["eval_teacher_kl"] == pytest.approx(kl, abs=1e-5)
    assert found["teacher_accuracy"] == np.mean(wanted == truth)
    loss = -np.log(p[range(6), truth]).mean()
    assert found["teacher_loss"] == pytest.approx(loss, abs=1e-5)
    assert found.keys() == {
        *("eval_accuracy", "eval_loss", "loss", "eval_teacher_agreement"),
        *("eval_teacher_kl", "teacher_accuracy", "teacher_loss"),
    }


def test_each_set_has_results_of_the_teacher(rng):
    logits, teachers = rng.normal(size=(6, 3)), rng.normal(size=(2, 6, 3))
    sets = {
        name: evaluate(OneLabel(NAMES[:3]), "abcabc", logits, teacher, name)
        for name, teacher in zip(("eval", "eval_mm"), teachers)
    }

    found = merge(sets, {})

    truth = [0, 1, 2, 0, 1, 2]
    for name, teacher in zip(("teacher", "teacher_mm"), teachers):
        right = np.mean(teacher.argmax(axis=1) == truth)
        assert found.fixed[f"{name}_accuracy"] == right
    assert "eval_mm_teacher_kl" in found.more


def test_several_labels_are_compared_one_by_one(rng):
    logits, teacher = rng.normal(size=(2, 4, 2))
    labels = [("a",), (), ("a", "b"), ("b",)]
    target = ManyLabels(NAMES[:2], thresholds=(0.3, 0.6))
    found = results(target, labels, logits, teacher)

    agreement = np.mean((logits > 0) == (teacher > 0))
    assert found["eval_teacher_agreement"] == agreement
    p, q = sigmoid(teacher), sigmoid(logits)
    kl = p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))
    assert found["eval_teacher_kl"] == pytest.approx(kl.mean(), abs=1e-5)
    # By the teacher's own thresholds.
    holds = sigmoid(teacher) >= [0.3, 0.6]
    truth = [[1, 0], [0, 0], [1, 1], [0, 1]]
    hits, total = (holds & truth).sum(), holds.sum() + np.sum(truth)
    assert found["teacher_micro_f1"] == pytest.approx(2 * hits / total)


def test_numbers_are_compared_by_their_distance(rng):
    logits, teacher = rng.normal(size=(2, 4, 1))
    found = results(Number(), [0.5, 1.0, -1.0, 0.0], logits, teacher)

    mse = np.mean((logits - teacher) ** 2)
    assert found["eval_teacher_mse"] == pytest.approx(mse, abs=1e-6)
    off = np.abs(teacher[:, 0] - [0.5, 1.0, -1.0, 0.0])
    assert found["teacher_mae"] == pytest.approx(off.mean(), abs=1e-6)
