"""Training, evaluation and predictions of multiple choice."""

import json
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import tensorflow as tf
from helpers.golden import (
    MICRO,
    assign,
    read_arrays,
    read_config,
    read_variables,
)
from helpers.paths import GOLDEN, ROOT

from bert_tf import heads, models
from bert_tf.optimization import create_optimizer
from bert_tf.tasks.choices.data import ChoiceExample
from bert_tf.tasks.choices.task import ChoiceTask
from bert_tf.training.settings import TrainingSettings
from bert_tf.training.step import Step, compile_steps

FOLDER = GOLDEN / "choices"
TRAINING = FOLDER / "training.npz"
LOSS = json.loads((FOLDER / "loss.json").read_text())
NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}

# As for the trajectories of the original: twice its noise between versions.
LOSS_NOISE, VARIABLE_NOISE, GRADIENT_NOISE = 1.2e-5, 3e-5, 2e-6
NORM_NOISE = 1e-5  # relative


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


def small_model():
    model = models.multiple_choice(read_config(MICRO.parent, **NO_DROPOUT))
    model.get_layer("classifier").dropout.rate = 0.0
    values = read_variables(MICRO) | read_arrays(TRAINING, "head_init/")
    assign(model.weights, values)
    return model


def read_batches():
    """{feature: [batches, B, ...]}, in the order in which they are fed."""
    arrays = [read_arrays(TRAINING, f"batch_{n}/") for n in range(5)]
    return {name: np.stack([a[name] for a in arrays]) for name in arrays[0]}


def take_steps(task, parts, num_steps):
    """The scalars of some steps, and all weights after them."""
    model = small_model()
    optimizer = create_optimizer(
        0.001, 10, 2, clip_norm=None, gradients_are_summed=True
    )
    optimizer.build(model.trainable_variables)
    settings = TrainingSettings(
        "", 10, 0.001, 2, 3, gradient_accumulation_steps=parts
    )
    dataset = tf.data.Dataset.from_tensor_slices(read_batches()).repeat()
    strategy = tf.distribute.get_strategy()
    step = Step(model, task.loss, task.count, optimizer, strategy, settings)
    rows, _ = compile_steps(step, dataset)(
        iter(dataset), tf.constant(num_steps)
    )
    scalars = dict(zip(step.scalar_names, rows.numpy().T))
    return scalars, {w.path: w.numpy() for w in model.weights}


# The gradient of the bias is 0 but for rounding: so is what Adam makes of it.
NOISE_ONLY = "output_bias"


def assert_same_weights(got, want):
    assert want
    for name, value in want.items():
        if name != NOISE_ONLY:
            np.testing.assert_allclose(
                got[name], value, rtol=0, atol=VARIABLE_NOISE, err_msg=name
            )


def test_first_logits_and_gradients_are_those_of_torch(task):
    model = small_model()
    batch = {name: x[0] for name, x in read_batches().items()}
    with tf.GradientTape() as tape:
        outputs = model({name: batch[name] for name in model.input})
        loss = task.loss(outputs, batch, None)
    variables = model.trainable_variables
    found = tape.gradient(loss, [v.value for v in variables])
    gradients = {
        v.path: tf.convert_to_tensor(g) for v, g in zip(variables, found)
    }

    want = read_arrays(TRAINING, "")["first_logits"]
    np.testing.assert_allclose(outputs["logits"], want, atol=LOSS_NOISE)
    for name, value in read_arrays(TRAINING, "grad_step0/").items():
        np.testing.assert_allclose(
            gradients[name], value, rtol=0, atol=GRADIENT_NOISE, err_msg=name
        )


@pytest.mark.parametrize("parts", [1, pytest.param(3, marks=pytest.mark.slow)])
def test_training_is_that_of_torch_in_one_part_or_in_three(task, parts):
    scalars, weights = take_steps(task, parts, 12)

    want = read_arrays(TRAINING, "per_step/")
    np.testing.assert_allclose(scalars["loss"], want["loss"], atol=LOSS_NOISE)
    np.testing.assert_allclose(
        scalars["gradient_norm"], want["grad_global_norm"], rtol=NORM_NOISE
    )
    # The last two of the twelve steps have a learning rate of 0.
    assert_same_weights(weights, read_arrays(TRAINING, "after_10/"))


@pytest.mark.slow
def test_three_replicas_and_a_resumed_run_train_as_torch_does(
    tmp_path,
):
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    done = subprocess.run(
        [sys.executable, str(program), str(tmp_path)],
        cwd=ROOT,
        env={
            "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}",
            "TF_CPP_MIN_LOG_LEVEL": "2",
            "PATH": "",
        },
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]

    want = read_arrays(TRAINING, "after_10/")
    for run in ("replicas", "resumed"):
        file = tmp_path / f"{run}.npz"
        assert_same_weights(read_arrays(file, ""), want)


PROGRAM = textwrap.dedent(
    """
    import pathlib
    import sys

    import numpy as np
    import tensorflow as tf

    cpu = tf.config.list_physical_devices("CPU")[0]
    devices = [tf.config.LogicalDeviceConfiguration()] * 3
    tf.config.set_logical_device_configuration(cpu, devices)

    from helpers.golden import read_arrays
    from helpers.paths import GOLDEN

    from bert_tf import checkpoints, models
    from bert_tf.tasks.choices.task import ChoiceTask
    from bert_tf.training import loop
    from bert_tf.training.settings import TrainingSettings
    from bert_tf.training.start import find_starting_point
    from helpers.golden import MICRO, assign, read_config, read_variables

    file = GOLDEN / "choices" / "training.npz"
    arrays = [read_arrays(file, f"batch_{n}/") for n in range(5)]
    batches = {name: np.stack([a[name] for a in arrays]) for name in arrays[0]}
    task = ChoiceTask(("0", "1", "2", "3"), None, 16)

    def make_dataset(step):
        rows = {n: x.reshape(-1, *x.shape[2:]) for n, x in batches.items()}
        rows = tf.data.Dataset.from_tensor_slices(rows)
        return rows.repeat().batch(3, drop_remainder=True).skip(step)

    def run(folder, strategy):
        config = read_config(
            MICRO.parent,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
        )
        start = find_starting_point(folder)
        with strategy.scope():
            model = models.multiple_choice(config, 4)
        model.get_layer("classifier").dropout.rate = 0.0
        values = read_variables(MICRO) | read_arrays(file, "head_init/")
        assign(model.weights, values)
        if start.prefix:
            checkpoints.load(checkpoints.named_weights(model), start.prefix)
        settings = TrainingSettings(
            folder, 10, 0.001, 2, 3, save_checkpoints_steps=4
        )
        loop.train(
            model, task.loss, make_dataset, start, settings, strategy,
            task.count,
        )
        return {weight.path: weight.numpy() for weight in model.weights}

    folder = pathlib.Path(sys.argv[1])
    all = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1", "CPU:2"])
    assert all.num_replicas_in_sync == 3
    np.savez(folder / "replicas.npz", **run(str(folder / "2"), all))

    one = tf.distribute.get_strategy()
    # Resumed on one device.
    (folder / "3").mkdir()
    for path in (folder / "2").glob("model.ckpt-4.*"):
        (folder / "3" / path.name).write_bytes(path.read_bytes())
    tf.compat.v1.train.update_checkpoint_state(
        str(folder / "3"), "model.ckpt-4"
    )
    assert find_starting_point(str(folder / "3")).step == 4
    np.savez(folder / "resumed.npz", **run(str(folder / "3"), one))
    """
)


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


def test_a_wrong_choice_is_shown_with_all_choices(task):
    found = task.evaluate(EXAMPLES, rows(), batch_size=2)

    lines = found.files["eval_report.txt"].splitlines()
    # The choice 4 is right in one example, in which 2 is predicted.
    counts = [line.split() for line in lines if line.startswith("4")]
    assert counts == [
        ["4", "0.000", "0.000", "0.000", "1"],
        ["4", "0", "1", "0", "0"],
    ]
    header, row = found.files["eval_mistakes.tsv"].splitlines()
    columns = "context choice_1 choice_2 choice_3 choice_4 label"
    columns += " predicted_label probability row guid"
    assert header.split("\t") == columns.split()
    share = np.exp(2) / np.exp([1.0, 2, 0, 0]).sum()
    want = ["", "", "", "", "", "4", "2", f"{share:.6f}", "2", "dev-3"]
    assert row.split("\t") == want


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
