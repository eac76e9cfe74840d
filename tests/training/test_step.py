"""A step in micro-batches changes the weights as the whole batch does."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers.golden import (
    DATA,
    MICRO,
    assign,
    read_arrays,
    read_config,
    read_variables,
)

from bert_tf import heads, models
from bert_tf.errors import InputError
from bert_tf.optimization import create_optimizer
from bert_tf.tasks.pretraining import task as pretraining
from bert_tf.training.settings import TrainingSettings
from bert_tf.training.start import set_seed
from bert_tf.training.step import LossScale, Step, compile_steps, count_examples

NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
ONE_LAYER = {**NO_DROPOUT, "num_hidden_layers": 1}


def classification_loss(outputs, batch, totals):
    num_examples = (totals or {}).get("examples")
    return heads.classification_loss(
        outputs["logits"], batch["label_ids"], num_examples
    )[0]


def span_loss(outputs, batch, totals):
    return heads.span_loss(
        outputs["start_logits"],
        outputs["end_logits"],
        batch["start_positions"],
        batch["end_positions"],
        (totals or {}).get("examples"),
    )


def classifier(config):
    model = models.classifier(config, 3)
    model.get_layer("classifier").dropout.rate = 0.0
    return model


TASKS = {
    "classifier": (classifier, classification_loss, count_examples),
    "squad": (models.span, span_loss, count_examples),
    "pretrain": (models.pretraining, pretraining.losses, pretraining.count),
}


def read_batches(task):
    """{feature: [batches, B, ...]}; B is 4."""
    arrays = read_arrays(DATA / "optim" / f"micro_{task}_batches.npz", "")
    names = {key.split("/")[1] for key in arrays}
    count = len({key.split("/")[0] for key in arrays})
    batches = {
        name: np.stack([arrays[f"{i:02}/{name}"] for i in range(count)])
        for name in names
    }
    if task == "pretrain":
        # The last part of a batch has fewer predictions than the first.
        batches["masked_lm_weights"][:, 2:, 1:] = 0
    return batches


@functools.cache
def take_steps(task, parts, num_steps=3, jit_compile=False):
    """Scalars by name, and all weights and slots, after some steps."""
    set_seed(1)
    build, loss_fn, count = TASKS[task]
    model = build(read_config(MICRO.parent, **ONE_LAYER))
    values = read_variables(MICRO)
    assign([w for w in model.weights if w.path in values], values)
    optimizer = create_optimizer(
        0.01, 10, 0, clip_norm=None, gradients_are_summed=True
    )
    optimizer.build(model.trainable_variables)
    dataset = tf.data.Dataset.from_tensor_slices(read_batches(task))
    step = Step(
        model,
        loss_fn,
        count,
        optimizer,
        tf.distribute.get_strategy(),
        TrainingSettings(
            output_dir="",
            num_train_steps=10,
            learning_rate=0.01,
            num_warmup_steps=0,
            batch_size=4,
            gradient_accumulation_steps=parts,
            jit_compile=jit_compile,
        ),
    )
    run_steps = compile_steps(step, dataset)
    rows, _ = run_steps(iter(dataset), tf.constant(num_steps))
    variables = {w.path: w.numpy() for w in model.weights}
    slots = {k: v.numpy() for k, v in optimizer.slots().items()}
    return dict(zip(step.scalar_names, rows.numpy().T)), variables | slots


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "parts"),
    [
        # `tasks/test_training` has classifiers in parts, and torch's numbers.
        pytest.param("classifier", 4, marks=pytest.mark.exhaustive),
        pytest.param("squad", 2, marks=pytest.mark.exhaustive),
        ("pretrain", 2),
    ],
)
def test_micro_batches_change_the_weights_as_the_whole_batch_does(task, parts):
    scalars, weights = take_steps(task, 1)
    of_parts, weights_of_parts = take_steps(task, parts)

    assert of_parts.keys() == scalars.keys()
    for name, values in scalars.items():
        assert len(values) == 3
        np.testing.assert_allclose(of_parts[name], values, rtol=1e-5)
    start = read_variables(MICRO)
    for name, value in weights.items():
        # Its gradient is 0 but for rounding errors, and Adam takes a step in
        # the direction of their sign.
        close = 2e-4 if name == "cls/squad/output_bias" else 2e-5
        np.testing.assert_allclose(
            weights_of_parts[name], value, atol=close, err_msg=name
        )
        if "/layer_0/" in name and name in start and name.endswith("kernel"):
            assert np.abs(value - start[name]).max() > 1e-3, name


def test_micro_batches_of_the_pretraining_data_have_different_weights():
    weights = read_batches("pretrain")["masked_lm_weights"][:3]
    halves = weights.reshape(3, 2, -1).sum(-1)
    np.testing.assert_array_equal(halves, [[3, 2], [4, 2], [5, 2]])


@pytest.mark.slow
def test_the_norm_of_micro_batches_counts_rows_before_they_are_summed():
    golden = np.load(DATA / "optim" / "micro_classifier3.npz")
    want = golden["per_step/grad_global_norm"][0]
    dense = golden["per_step/grad_global_norm_dense"][0]
    assert abs(want - dense) > 1e-3

    config = read_config(MICRO.parent, **NO_DROPOUT)
    model = classifier(config)
    values = read_variables(MICRO)
    for name in ("output_weights", "output_bias"):
        values[name] = golden[f"head_init/{name}"]
    assign(model.weights, values)
    optimizer = create_optimizer(
        0.01, 10, 0, clip_norm=None, gradients_are_summed=True
    )
    optimizer.build(model.trainable_variables)
    dataset = tf.data.Dataset.from_tensor_slices(read_batches("classifier"))
    step = Step(
        model,
        classification_loss,
        count_examples,
        optimizer,
        tf.distribute.get_strategy(),
        TrainingSettings("", 10, 0.01, 0, 4, gradient_accumulation_steps=4),
    )
    rows, _ = compile_steps(step, dataset)(iter(dataset), tf.constant(1))

    norm = rows.numpy()[0, step.scalar_names.index("gradient_norm")]
    assert norm == pytest.approx(want, rel=1e-5)


@pytest.mark.exhaustive
def test_micro_batches_can_be_compiled_with_xla():
    scalars, weights = take_steps("pretrain", 2)
    compiled, compiled_weights = take_steps("pretrain", 2, jit_compile=True)
    for name, values in scalars.items():
        np.testing.assert_allclose(compiled[name], values, rtol=1e-5)
    for name, value in weights.items():
        np.testing.assert_allclose(
            compiled_weights[name], value, atol=2e-5, err_msg=name
        )


def test_an_optimizer_that_clips_is_refused():
    strategy = tf.distribute.get_strategy()
    model = classifier(read_config(MICRO.parent, **ONE_LAYER))
    with pytest.raises(ValueError, match=r"must not clip.*clip_norm=1\.0"):
        Step(
            model,
            classification_loss,
            count_examples,
            create_optimizer(0.01, 10, 0),
            strategy,
            TrainingSettings("", 10, 0.01, 0, 4),
        )


def test_a_batch_that_cannot_be_split_evenly_is_refused():
    with pytest.raises(InputError, match=r"multiple of 3.*train_batch_size=4"):
        take_steps("classifier", 3)


@pytest.mark.slow
def test_the_loss_scale_changes_as_that_of_keras():
    ours = LossScale()
    theirs = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.0))
    variable = keras.Variable([1.0])
    theirs.build([variable])
    update = tf.function(ours.update)
    apply = tf.function(lambda gradient: theirs.apply([gradient], [variable]))
    for steps, is_good in ((2001, True), (3, False), (2000, True), (40, False)):
        for _ in range(steps):
            update(tf.constant(is_good))
            apply(tf.constant([0.0 if is_good else np.inf]))
        # Ours stays at 1 at least.
        assert ours.scale.numpy() == max(float(theirs.dynamic_scale), 1.0)
    assert ours.skipped_steps.numpy() == 43
