r"""What the pretraining of the built-in model is worth.

  python benchmarks/builtin_model.py finetune --sst2 GLUE/SST-2 \
      --imdb aclImdb_train.tar.xz --folder runs
  python benchmarks/builtin_model.py heldout --records heldout.tfrecord \
      --results heldout/eval_results.txt
  python benchmarks/builtin_model.py reviews --imdb aclImdb_train.tar.xz \
      --output reviews.txt

`finetune` trains a classifier of sentences (SST-2) and one of film reviews
(IMDB) from the checkpoint and from random weights of the same architecture,
with several seeds. Everything else is the same on both sides: data, order of a
seed, settings. Each run is a process of `bert_tf.run_classifier`. Prints the
accuracies, their mean and deviation, and the margin; `runs/results.json` has
each of them. Started again after it was stopped, it goes on with the run that
was stopped.

`heldout` says how well the model guesses masked pieces of text it has not seen,
from what `bert_tf.run_pretraining --do_eval` wrote, beside always guessing the
one piece that is most often right.

`reviews` writes the reviews that `finetune` may train on, and none that it
tests on, without their labels: one in each line, for pretraining.

The data: SST-2 in GLUE's files; its dev set is the test here. IMDB's train part
(`train/pos/0_9.txt`, ...), of which the last fifth of each label is the test.
Reviews of one film follow each other there and are 30 at most, so 30 between
both parts are left out: none of the train part's praise is of a film that the
test part praises. (A film that one part praises and the other damns is
possible: the archive does not name films.)
"""

import argparse
import csv
import hashlib
import json
import math
import os
import pathlib
import random
import re
import shutil
import statistics
import subprocess
import sys
import tarfile
import time
from typing import NamedTuple

from bert_tf.support import files

# Decides which rows are taken; has nothing to do with the seeds of the runs.
SUBSET_SEED = 20181011

# The most reviews of one film, by the README of the data set.
REVIEWS_OF_A_FILM = 30
TEST_SHARE = 0.2

STARTS = ("builtin", "random")
REVIEW_FILE = re.compile(r"train/(pos|neg)/(\d+)_\d+\.txt$")


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


class Row(NamedTuple):
    """A text and its label."""

    text: str
    label: str


class Review(NamedTuple):
    """A review of a film; those of one film have numbers in a row."""

    number: int
    row: Row


def main():
    """Does what the command line asks for."""
    arguments = parse_arguments()
    if arguments.command == "finetune":
        finetune(arguments)
    elif arguments.command == "heldout":
        heldout(arguments)
    else:
        reviews(arguments)


def parse_arguments():
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    tuning = commands.add_parser("finetune", help="beside random weights")
    tuning.add_argument(
        "--checkpoint",
        default="checkpoints/builtin",
        help="folder of bert_model.ckpt, bert_config.json and vocab.txt",
    )
    tuning.add_argument("--sst2", help="folder of GLUE's SST-2")
    tuning.add_argument("--imdb", help="archive or folder of IMDB's train part")
    tuning.add_argument(
        "--folder", required=True, help="for data, logs and results.json"
    )
    tuning.add_argument("--seeds", type=int, default=5)
    tuning.add_argument("--learning_rate", type=float, default=3e-4)
    tuning.add_argument("--warmup_proportion", type=float, default=0.2)
    tuning.add_argument(
        "--dropout",
        type=float,
        default=0.1,
        help="BERT's own rate; the built-in model was pretrained without",
    )
    tuning.add_argument("--batch_size", type=int, default=32)
    for name, kind in Sizes.__annotations__.items():
        defaults = ", ".join(
            f"{t} {s._asdict()[name]}" for t, s in SIZES.items()
        )
        tuning.add_argument(f"--{name}", type=kind, help=f"[{defaults}]")
    held = commands.add_parser("heldout", help="masked pieces of unseen text")
    held.add_argument("--records", required=True, help="TFRecord file")
    held.add_argument("--results", required=True, help="eval_results.txt")
    texts = commands.add_parser("reviews", help="text to pretrain on")
    texts.add_argument(
        "--imdb", required=True, help="archive or folder of IMDB's train part"
    )
    texts.add_argument("--output", required=True, help="text file")
    arguments = parser.parse_args()
    if arguments.command == "finetune" and not (
        arguments.sst2 or arguments.imdb
    ):
        parser.error("finetune needs --sst2 or --imdb, or both")
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


def read_imdb(path):
    """The reviews of an archive or a folder.

    Returns:
        A dictionary, label to `Review`s.
    """
    path = pathlib.Path(path)
    reviews = {"pos": [], "neg": []}

    def add(name, content):
        found = REVIEW_FILE.search(name)
        if found:
            text = content().decode("utf-8").replace("<br />", " ")
            row = Row(" ".join(text.split()), found[1])
            reviews[found[1]].append(Review(int(found[2]), row))

    if path.is_dir():
        for file in path.rglob("*.txt"):
            add(file.as_posix(), file.read_bytes)
    else:
        with tarfile.open(path) as archive:
            for member in archive:
                add(
                    member.name,
                    lambda member=member: archive.extractfile(member).read(),
                )
    if not all(reviews.values()):
        sys.exit(f"{path} holds no train/pos/*.txt and train/neg/*.txt.")
    return reviews


def split_reviews(reviews, test_share=TEST_SHARE, gap=REVIEWS_OF_A_FILM):
    """Cuts each label's reviews at one place: (train, test).

    Args:
        reviews: label to `Review`s, in any order.
        test_share: share of the last ones that is for testing.
        gap: so many before these are in neither part.
    """
    train, test = [], []
    for label in sorted(reviews):
        ordered = [r.row for r in sorted(reviews[label])]
        cut = len(ordered) - round(len(ordered) * test_share)
        train += ordered[: max(cut - gap, 0)]
        test += ordered[cut:]
    return without_texts_of(train, test), test


def reviews(arguments):
    """Writes the training part's texts alone, in an order without meaning."""
    train, test = split_reviews(read_imdb(arguments.imdb))
    texts = sorted({row.text for row in train})
    files.write_text(arguments.output, "".join(f"{text}\n" for text in texts))
    print(
        f"{arguments.output}: {len(texts):,} reviews; "
        f"{len(test):,} are left for testing"
    )


def without_texts_of(rows, others):
    """The rows whose text is not that of one of the others."""
    texts = {other.text for other in others}
    return [row for row in rows if row.text not in texts]


def subset(rows, count):
    """So many of the rows, always the same ones; all if there are fewer."""
    return random.Random(SUBSET_SEED).sample(rows, min(count, len(rows)))


def write_rows(path, rows):
    """Writes a file for `--task_name=tsv`."""
    lines = [f"{row.text}\t{row.label}\n" for row in rows]
    files.write_text(str(path), "".join(["text\tlabel\n", *lines]))


# ----------------------------------------------------------------- fine-tuning


def finetune(arguments):
    """Does the runs that are missing, and prints what came out."""
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


def read_results(path):
    """The numbers of an eval_results.txt."""
    lines = pathlib.Path(path).read_text(encoding="utf-8").splitlines()
    pairs = [line.split(" = ") for line in lines if " = " in line]
    return {name: float(value) for name, value in pairs}


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


# ------------------------------------------------------------------ unseen text


def heldout(arguments):
    """Prints accuracy and perplexity beside the best constant guess."""
    import tensorflow as tf

    counts = {}
    for record in tf.data.TFRecordDataset(arguments.records):
        example = tf.train.Example.FromString(record.numpy()).features.feature
        count_masked(
            counts,
            example["masked_lm_ids"].int64_list.value,
            example["masked_lm_weights"].float_list.value,
        )
    results = read_results(arguments.results)
    guessed, share = constant_guess(counts)
    accuracy = results["masked_lm_accuracy"]
    print(
        f"{sum(counts.values()):,} masked pieces of "
        f"{os.path.basename(arguments.records)}\n"
        f"masked-LM accuracy  {accuracy:.4f}\n"
        f"always id {guessed}  {share:.4f}\n"
        f"perplexity  {math.exp(results['masked_lm_loss']):.2f}\n"
        f"perplexity of guessing by frequency  {unigram_perplexity(counts):.2f}"
    )
    if "next_sentence_accuracy" in results:
        found = results["next_sentence_accuracy"]
        print(f"next-sentence accuracy  {found:.4f}")


def count_masked(counts, ids, weights):
    """Adds a record's masked ids to the counts; weight 0 is padding."""
    for number, weight in zip(ids, weights):
        if weight:
            counts[number] = counts.get(number, 0) + 1


def constant_guess(counts):
    """The id that is most often right, and how often it is."""
    best = max(counts, key=counts.get)
    return best, counts[best] / sum(counts.values())


def unigram_perplexity(counts):
    """Of knowing how frequent each id is in this very text, and no more."""
    total = sum(counts.values())
    entropy = -sum(n / total * math.log(n / total) for n in counts.values())
    return math.exp(entropy)


if __name__ == "__main__":
    main()
