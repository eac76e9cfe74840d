r"""Compares fine-tuning from the built-in model with random weights.

    python run_scripts/builtin/finetune.py --sst2 GLUE/SST-2 \
        --imdb aclImdb_train.tar.xz --folder runs

Trains classifiers of sentences (SST-2) and of film reviews (IMDB) from the
checkpoint and from random weights of the same architecture, with several seeds.
Everything else is the same on both sides: data, its order for a seed, settings.
Each run is a process of `bert_tf.run_classifier`. Prints the mean and the
deviation of the accuracies, and the margin; `runs/results.json` has each run.
Started again after it was stopped, it repeats only the run that was stopped.

SST-2 is in GLUE's files; its dev set is the test set here. `reviews.py` says
how IMDB's train part is split.
"""

import argparse
import csv
import hashlib
import json
import math
import pathlib
import random
import shutil
import statistics
import subprocess
import sys
import time
from typing import NamedTuple

from heldout import read_results
from reviews import Row, read_imdb, split_reviews, without_texts_of

from bert_tf.support import files

# Decides which rows are taken; has nothing to do with the seeds of the runs.
SUBSET_SEED = 20181011

STARTS = ("builtin", "random")


class Sizes(NamedTuple):
    """How large a task is made."""

    train_examples: int
    test_examples: int
    max_seq_length: int
    epochs: float


# For a model of two million weights: on one core a run of SST-2 takes six
# minutes, and one of IMDB two.
SIZES = {
    "sst2": Sizes(20_000, 872, 48, 3.0),
    "imdb": Sizes(2000, 1000, 128, 3.0),
}


def main():
    """Does the runs that are missing, and prints the summary."""
    arguments = parse_arguments()
    folder = pathlib.Path(arguments.folder)
    tasks = {
        task: chosen_sizes(arguments, task)
        for task in SIZES
        if getattr(arguments, task)
    }
    results = Results(folder / "results.json", settings_of(arguments, tasks))
    readers = {
        "sst2": lambda: read_sst2(arguments.sst2),
        "imdb": lambda: split_reviews(read_imdb(arguments.imdb)),
    }
    folder.mkdir(parents=True, exist_ok=True)
    write_config(arguments, folder / "bert_config.json")
    for task, sizes in tasks.items():
        data = folder / "data" / task
        data.mkdir(parents=True, exist_ok=True)
        train, test = readers[task]()
        write_rows(data / "train.tsv", subset(train, sizes.train_examples))
        write_rows(data / "dev.tsv", subset(test, sizes.test_examples))
    for seed in range(1, arguments.seeds + 1):
        for task, sizes in tasks.items():
            for start in STARTS:
                if results.has(task, start, seed):
                    continue
                began = time.monotonic()
                accuracy = run(arguments, folder, task, sizes, start, seed)
                seconds = time.monotonic() - began
                results.add(task, start, seed, accuracy, round(seconds, 1))
                print(
                    f"{task} from {start} weights, seed {seed}: "
                    f"{accuracy:.4f} ({seconds:.0f} s)",
                    flush=True,
                )
    print(table(results.runs))


def parse_arguments():
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        "--checkpoint",
        default="checkpoints/builtin",
        help="folder of bert_model.ckpt, bert_config.json and vocab.txt",
    )
    parser.add_argument("--sst2", help="folder of GLUE's SST-2")
    parser.add_argument("--imdb", help="archive or folder of IMDB's train part")
    parser.add_argument(
        "--folder", required=True, help="for data, logs and results.json"
    )
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--learning_rate", type=float, default=3e-4)
    parser.add_argument("--warmup_proportion", type=float, default=0.2)
    parser.add_argument(
        "--dropout",
        type=float,
        default=0.1,
        help="BERT's own rate; the built-in model was pretrained without",
    )
    parser.add_argument("--batch_size", type=int, default=32)
    for name, kind in Sizes.__annotations__.items():
        defaults = ", ".join(
            f"{t} {s._asdict()[name]}" for t, s in SIZES.items()
        )
        parser.add_argument(f"--{name}", type=kind, help=f"[{defaults}]")
    arguments = parser.parse_args()
    if not (arguments.sst2 or arguments.imdb):
        parser.error("--sst2 or --imdb is needed, or both")
    return arguments


# ------------------------------------------------------------------- the data


def read_sst2(folder):
    """Rows of train.tsv and dev.tsv: (train, test).

    Phrases of the train part that are whole sentences of the test are left out.
    """
    parts = []
    for name in ("train.tsv", "dev.tsv"):
        path = pathlib.Path(folder) / name
        with open(path, encoding="utf-8", newline="") as file:
            rows = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
            parts.append(
                [Row(row["sentence"].strip(), row["label"]) for row in rows]
            )
    train, test = parts
    return without_texts_of(train, test), test


def subset(rows, count):
    """So many of the rows, always the same ones; all if there are fewer."""
    return random.Random(SUBSET_SEED).sample(rows, min(count, len(rows)))


def write_rows(path, rows):
    """Writes a file for `--task_name=tsv`."""
    lines = [f"{row.text}\t{row.label}\n" for row in rows]
    files.write_text(str(path), "".join(["text\tlabel\n", *lines]))


# ----------------------------------------------------------------- fine-tuning


def write_config(arguments, path):
    """The checkpoint's config, with the rate of dropout that is asked for."""
    config = pathlib.Path(arguments.checkpoint) / "bert_config.json"
    values = json.loads(config.read_text(encoding="utf-8"))
    for name in ("attention_probs_dropout_prob", "hidden_dropout_prob"):
        values[name] = arguments.dropout
    files.write_text(str(path), json.dumps(values, indent=2) + "\n")


def chosen_sizes(arguments, task):
    """A task's sizes, where the command line does not say otherwise."""
    given = {name: getattr(arguments, name) for name in Sizes._fields}
    return SIZES[task]._replace(
        **{name: value for name, value in given.items() if value is not None}
    )


def settings_of(arguments, tasks):
    """What all runs of a results.json have in common."""
    index = pathlib.Path(arguments.checkpoint) / "bert_model.ckpt.index"
    return {
        # The index has a checksum of each weight.
        "checkpoint": hashlib.sha256(index.read_bytes()).hexdigest()[:16],
        "learning_rate": arguments.learning_rate,
        "warmup_proportion": arguments.warmup_proportion,
        "dropout": arguments.dropout,
        "batch_size": arguments.batch_size,
        "tasks": {task: sizes._asdict() for task, sizes in tasks.items()},
    }


class Results:
    """The accuracies so far, in a file that is whole after each of them."""

    def __init__(self, path, settings):
        self.path = path
        self.settings = settings
        self.runs = []
        if path.exists():
            found = json.loads(path.read_text(encoding="utf-8"))
            if found["settings"] != settings:
                sys.exit(
                    f"{path} holds runs of other settings: name another "
                    f"--folder, or remove it.\nThere: {found['settings']}\n"
                    f"Asked for: {settings}"
                )
            self.runs = found["runs"]

    def has(self, task, start, seed):
        """Whether that run is done."""
        return any(
            (run["task"], run["start"], run["seed"]) == (task, start, seed)
            for run in self.runs
        )

    def add(self, task, start, seed, accuracy, seconds):
        """Keeps a run."""
        self.runs.append(
            {
                "task": task,
                "start": start,
                "seed": seed,
                "accuracy": accuracy,
                "seconds": seconds,
            }
        )
        found = {
            "settings": self.settings,
            "runs": self.runs,
            "summary": summaries(self.runs),
        }
        files.write_text(str(self.path), json.dumps(found, indent=2) + "\n")


def run(arguments, folder, task, sizes, start, seed):
    """Trains and tests a classifier in a process of its own: the accuracy."""
    name = f"{task}_{start}_{seed}"
    output, log = folder / name, folder / f"{name}.log"
    # A run that was stopped is done again from its start, which takes a minute.
    shutil.rmtree(output, ignore_errors=True)
    bert = pathlib.Path(arguments.checkpoint)
    command = [
        *(sys.executable, "-m", "bert_tf.run_classifier"),
        *("--task_name=tsv", "--text_a_col=text", "--label_col=label"),
        *("--do_train", "--do_eval", f"--seed={seed}"),
        f"--data_dir={folder / 'data' / task}",
        f"--vocab_file={bert / 'vocab.txt'}",
        f"--bert_config_file={folder / 'bert_config.json'}",
        f"--max_seq_length={sizes.max_seq_length}",
        f"--num_train_epochs={sizes.epochs}",
        f"--train_batch_size={arguments.batch_size}",
        f"--learning_rate={arguments.learning_rate}",
        f"--warmup_proportion={arguments.warmup_proportion}",
        "--eval_batch_size=64",
        "--save_checkpoints_steps=1000000",
        f"--output_dir={output}",
    ]
    if start == "builtin":
        command.append(f"--init_checkpoint={bert / 'bert_model.ckpt'}")
    with open(log, "wb") as file:
        code = subprocess.run(command, stdout=file, stderr=file).returncode
    if code:
        last = log.read_text(encoding="utf-8", errors="replace")[-2000:]
        sys.exit(f"{last}\n{name} ended with {code}: {log}")
    accuracy = read_results(output / "eval_results.txt")["eval_accuracy"]
    shutil.rmtree(output)
    return accuracy


# ---------------------------------------------------------------- what came out


def summary(accuracies):
    """Mean, sample deviation (0 of one run) and range of some accuracies."""
    return {
        "runs": len(accuracies),
        "mean": statistics.fmean(accuracies),
        "deviation": (
            statistics.stdev(accuracies) if len(accuracies) > 1 else 0.0
        ),
        "lowest": min(accuracies),
        "highest": max(accuracies),
    }


def margin(ours, other):
    """Difference of the means of two summaries, and its standard error."""
    variances = [s["deviation"] ** 2 / s["runs"] for s in (ours, other)]
    return {
        "margin": ours["mean"] - other["mean"],
        "standard_error": math.sqrt(sum(variances)),
    }


def summaries(runs):
    """For each task with runs from both starts: their summaries, the margin."""
    found = {}
    for task in dict.fromkeys(run["task"] for run in runs):
        sides = {
            start: [
                run["accuracy"]
                for run in runs
                if (run["task"], run["start"]) == (task, start)
            ]
            for start in STARTS
        }
        if all(sides.values()):
            made = {start: summary(values) for start, values in sides.items()}
            found[task] = {**made, **margin(*made.values())}
    return found


def table(runs):
    """The summaries as a table for the README."""
    lines = [
        "| task | from | runs | mean accuracy | deviation | range |",
        "|---|---|---|---|---|---|",
    ]
    for task, found in summaries(runs).items():
        for start in STARTS:
            side = found[start]
            lines.append(
                f"| {task} | {start} weights | {side['runs']} "
                f"| {side['mean']:.4f} | {side['deviation']:.4f} "
                f"| {side['lowest']:.4f} to {side['highest']:.4f} |"
            )
        lines.append(
            f"| {task} | **margin** | | **{found['margin']:+.4f}** "
            f"| {found['standard_error']:.4f} (standard error) | |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
