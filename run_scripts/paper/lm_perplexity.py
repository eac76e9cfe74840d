"""The masked-LM perplexity of a pretrained BERT on a text.

    python run_scripts/paper/lm_perplexity.py --text=TEXT \
        --init_checkpoint=checkpoints/uncased_L-12_H-768_A-12 --output_dir=ppl

The exponential of the mean loss of masked word pieces, in nats. Each run masks
others. Writes eval_results.txt, and with several runs runs.tsv, as commands do
that train.
"""

import argparse
import math
import os
import subprocess
import sys

import tensorflow as tf
from paper_runs import read_results

from bert_tf.checkpoints.names import EVAL_RESULTS
from bert_tf.tasks.run import write_runs
from bert_tf.training.evaluation import write_eval_results
from bert_tf.training.settings import RUNS_FILE, folder_of_run

BATCH_SIZE = 32
# Of the original's README: 15 % of 128 word pieces.
MASKED_SHARE = 0.15


def main(arguments=None):
    """Masks and evaluates what has not been done yet."""
    given = parse_arguments(arguments)
    results = []
    for number in range(1, given.num_runs + 1):
        folder = given.output_dir
        if given.num_runs > 1:
            folder = folder_of_run(folder, number)
        results.append(run_once(given, folder, given.seed + number - 1))
    if given.num_runs > 1:
        write_runs(os.path.join(given.output_dir, RUNS_FILE), results)


def parse_arguments(arguments):
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    for name in ("text", "init_checkpoint", "output_dir"):
        parser.add_argument(f"--{name}", required=True)
    for name, default in (
        ("max_seq_length", 128),
        ("num_runs", 1),
        ("seed", 1),
    ):
        parser.add_argument(
            f"--{name}", type=int, default=default, help="[%(default)s]"
        )
    return parser.parse_args(arguments)


def run_once(given, folder, seed):
    """The results with the masks of a seed, unless they are there."""
    path = os.path.join(folder, EVAL_RESULTS)
    if os.path.exists(path):
        results = read_results(path)
        del results["global_step"]
        return results
    os.makedirs(folder, exist_ok=True)
    records = os.path.join(folder, "eval.tf_record")
    lengths = {
        "max_seq_length": given.max_seq_length,
        "max_predictions_per_seq": math.ceil(
            MASKED_SHARE * given.max_seq_length
        ),
    }
    call(
        "create_pretraining_data",
        input_file=given.text,
        output_file=records,
        vocab_file=os.path.join(given.init_checkpoint, "vocab.txt"),
        dupe_factor=1,
        random_seed=seed,
        **lengths,
    )
    # Evaluation repeats the records: those that fill no batch are left out.
    count = sum(1 for _ in tf.data.TFRecordDataset(records))
    size = min(BATCH_SIZE, count)
    evaluated = os.path.join(folder, "evaluated")
    call(
        "run_pretraining",
        input_file=records,
        init_checkpoint=given.init_checkpoint,
        do_eval=True,
        eval_batch_size=size,
        max_eval_steps=count // size,
        output_dir=evaluated,
        **lengths,
    )
    loss = read_results(os.path.join(evaluated, EVAL_RESULTS))["masked_lm_loss"]
    results = {"masked_lm_loss": loss, "perplexity": math.exp(loss)}
    write_eval_results(folder, {"global_step": 0}, results)
    return results


def call(command, **flags):
    """Runs a command of bert_tf; ends this one if it fails."""
    words = [f"--{name}={value}" for name, value in flags.items()]
    module = f"bert_tf.{command}"
    code = subprocess.run([sys.executable, "-m", module, *words]).returncode
    if code:
        sys.exit(code)


if __name__ == "__main__":
    main()
