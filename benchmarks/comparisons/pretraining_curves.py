r"""Repeats a pretraining of the original: same weights, records and batches.

    python benchmarks/comparisons/pretraining_curves.py --golden GOLDEN \
        --output curves

GOLDEN holds what the original wrote: the model `tiny/`, and in `optim/` the
batches and the losses of 20 steps without dropout. Repeats these steps, prints
the largest relative difference of each loss, then takes 200 steps on the same
batches in turn, for which there are no numbers of the original. Writes
TensorBoard events, and `pretraining_curves.svg` if matplotlib is installed
(`pip install 'bert-tf[docs]'`).
"""

import argparse
import json
import os
import pathlib
import shutil

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import tensorflow as tf

from bert_tf import models
from bert_tf.modeling import BertConfig
from bert_tf.tasks.pretraining import task
from bert_tf.training import loop, settings, start

QUANTITIES = (
    "masked_lm_loss",
    "next_sentence_loss",
    "masked_lm_accuracy",
    "next_sentence_accuracy",
)


def main():
    """Trains twice, compares, draws."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--golden", required=True, type=pathlib.Path)
    parser.add_argument("--output", required=True, type=pathlib.Path)
    arguments = parser.parse_args()
    golden, output = arguments.golden, arguments.output

    batches = read_batches(golden / "optim" / "tiny_pretrain_batches.npz")
    curves = {}
    for num_steps, warmup in ((20, 5), (200, 20)):
        folder = output / f"{num_steps}_steps"
        shutil.rmtree(folder, ignore_errors=True)
        train(golden / "tiny", batches, folder, num_steps, warmup)
        curves[f"bert_tf, {num_steps} steps"] = read_events(folder)
    original = read_losses(golden / "optim" / "tiny_pretrain_warmup5.npz")
    curves["the original"] = original
    for name, want in original.items():
        got = curves["bert_tf, 20 steps"][name]
        # The original went on for two steps without a learning rate.
        difference = np.abs(got / want[: len(got)] - 1).max()
        print(f"{name}: largest relative difference {difference:.2e}")
    draw(curves, output / "pretraining_curves.svg")


def read_batches(path):
    """Features of all batches, {name: [batches, B, ...]}."""
    with np.load(path) as arrays:
        names = {key.split("/")[1] for key in arrays.files}
        count = len({key.split("/")[0] for key in arrays.files})
        return {
            name: np.stack([arrays[f"{i:02}/{name}"] for i in range(count)])
            for name in names
        }


def read_losses(path):
    """The original's losses, {name: [steps]}."""
    with np.load(path) as arrays:
        return {
            name: arrays[f"per_step/{name}"]
            for name in QUANTITIES
            if f"per_step/{name}" in arrays.files
        }


def read_events(folder):
    """What a training wrote for TensorBoard, {name: [steps]}."""
    found = {name: [] for name in QUANTITIES}
    for path in folder.glob("events.out.tfevents.*"):
        for event in tf.compat.v1.train.summary_iterator(str(path)):
            for value in event.summary.value:
                if value.tag in found:
                    number = float(tf.make_ndarray(value.tensor))
                    found[value.tag].append(number)
    return {name: np.array(values) for name, values in found.items()}


def train(model_folder, batches, output, num_steps, warmup):
    """Trains without dropout on the batches in turn, one step per call."""
    values = json.loads((model_folder / "bert_config.json").read_text())
    values["hidden_dropout_prob"] = values["attention_probs_dropout_prob"] = 0
    config = BertConfig.from_dict(values)
    beginning = start.find_starting_point(
        str(output), str(model_folder / "bert_model.ckpt")
    )
    model = start.build_model(
        lambda: models.pretraining(config), config, beginning
    )
    training_settings = settings.TrainingSettings(
        output_dir=str(output),
        num_train_steps=num_steps,
        learning_rate=1e-3,
        num_warmup_steps=warmup,
        batch_size=len(batches["input_ids"][0]),
        steps_per_call=1,
    )
    loop.train(
        model,
        task.losses,
        lambda step: (
            tf.data.Dataset.from_tensor_slices(batches).repeat().skip(step)
        ),
        beginning,
        training_settings,
    )


def draw(curves, path):
    """Draws a panel for each quantity, a curve for each training."""
    try:
        import matplotlib
    except ImportError:
        return
    matplotlib.use("Agg")
    # The same numbers give the same SVG.
    matplotlib.rcParams["svg.hashsalt"] = "bert_tf"
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(
        2, 2, figsize=(9, 6.4), layout="constrained"
    )
    for panel, quantity in zip(panels.flat, QUANTITIES):
        for name, found in curves.items():
            if quantity in found:
                steps = np.arange(1, len(found[quantity]) + 1)
                panel.plot(steps, found[quantity], label=name)
        panel.set_title(quantity.replace("_", " "))
        panel.set_xlabel("step")
        panel.legend()
    figure.savefig(path, metadata={"Date": None})
    print(path)


if __name__ == "__main__":
    main()
