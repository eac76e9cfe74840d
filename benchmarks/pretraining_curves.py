"""Pretraining beside the original's: same weights, same records, same batches.

  python benchmarks/pretraining_curves.py --golden GOLDEN --output curves

GOLDEN holds what the original wrote: the model `tiny/`, and under `optim/` the
batches and the losses of 20 steps (dropout off). They are trained here again,
and beside them 200 steps on the same batches in turn, of which the original
left no numbers. Writes TensorBoard events, and `pretraining_curves.svg` if
matplotlib is there (pip install 'bert-tf[docs]').
"""

import argparse
import json
import os
import pathlib
import shutil
import subprocess
import sys

from bert_tf.training import settings as training_settings
from bert_tf.training import start as training_start

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import tensorflow as tf

from bert_tf import models
from bert_tf.modeling import BertConfig
from bert_tf.tasks.pretraining import task
from bert_tf.training import loop

PLOT = pathlib.Path(__file__).with_name("plot_training.py")


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
    original = golden / "optim" / "tiny_pretrain_warmup5.npz"
    for name, num_steps, warmup in (
        ("20_steps", 20, 5),
        ("200_steps", 200, 20),
    ):
        shutil.rmtree(output / name, ignore_errors=True)
        train(golden / "tiny", batches, output / name, num_steps, warmup)

    plot = [sys.executable, str(PLOT)]
    command = [
        *plot,
        f"--run=bert_tf, 20 steps={output / '20_steps'}",
        f"--run=the original={original}",
        f"--run=bert_tf, 200 steps={output / '200_steps'}",
        "--quantities",
        "masked_lm_loss",
        "next_sentence_loss",
        "masked_lm_accuracy",
        "next_sentence_accuracy",
        f"--picture={output / 'pretraining_curves.svg'}",
    ]
    subprocess.run(command, check=True)


def read_batches(path):
    """Features of all batches, {name: [batches, B, ...]}."""
    with np.load(path) as arrays:
        names = {key.split("/")[1] for key in arrays.files}
        count = len({key.split("/")[0] for key in arrays.files})
        return {
            name: np.stack([arrays[f"{i:02}/{name}"] for i in range(count)])
            for name in names
        }


def train(model_folder, batches, output, num_steps, warmup):
    """Trains without dropout on the batches in turn, a call for each step."""
    values = json.loads((model_folder / "bert_config.json").read_text())
    values["hidden_dropout_prob"] = values["attention_probs_dropout_prob"] = 0
    config = BertConfig.from_dict(values)
    start = training_start.find_starting_point(
        str(output), str(model_folder / "bert_model.ckpt")
    )
    model = training_start.build_model(
        lambda: models.pretraining(config), config, start
    )
    settings = training_settings.TrainingSettings(
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
        start,
        settings,
    )


if __name__ == "__main__":
    main()
