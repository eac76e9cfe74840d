"""How fast text becomes pretraining examples, beside the original.

Run it as `python benchmarks/pretraining_data_speed.py --text corpus.txt
--vocab vocab.txt --original bert`.

Each row is a process of its own, from its start to its end:

- exact: one process, the original's records;
- sharded: `--workers` processes;
- original: create_pretraining_data.py in the folder `--original`, a checkout
  of google-research/bert, on TensorFlow's version-1 API.

Prints for each row, as the median over its runs:

- seconds, and MB of text in a second: what a user of an idle machine sees;
- processor seconds, of all its processes;
- those of the longest chain: of the first process and the busiest of those
  that it started. A machine with enough idle cores takes about so long, so this
  is what to compare where other work keeps the cores busy;
- the most memory, as the sum of what each process held at most.

Rows take turns, so that a busy machine slows all of them; a row may be named
more than once, as in `--rows exact,original,exact`. The records of `exact` must
be those of the original, or the script fails.
"""

import argparse
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import tempfile
import time

# Lets the original, written for TensorFlow 1, run on TensorFlow 2.
AS_VERSION_1 = """
import runpy, sys, tensorflow
sys.modules["tensorflow"] = tensorflow.compat.v1
folder = sys.argv.pop(1)
sys.path.insert(0, folder)
sys.argv[0] = folder + "/create_pretraining_data.py"
runpy.run_path(sys.argv[0], run_name="__main__")
"""
TICKS = os.sysconf("SC_CLK_TCK")


def look_at_tree(process):
    """Yields (process, its processor seconds, its most bytes of memory)."""
    folder = pathlib.Path(f"/proc/{process}")
    try:
        times = (folder / "stat").read_text().rpartition(")")[2].split()[11:13]
        status = (folder / "status").read_text()
        most = status.partition("VmHWM:")[2].split()
        children = (folder / f"task/{process}/children").read_text().split()
    except OSError:
        return  # It ended meanwhile.
    if most:  # Otherwise it is ending.
        seconds = sum(map(int, times)) / TICKS
        yield process, seconds, int(most[0]) * 1024
    for child in children:
        yield from look_at_tree(int(child))


def timed(command):
    """Runs it; returns the four numbers that `main` prints."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start, spent, held = time.perf_counter(), {}, {}
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(command, stderr=said, stdout=said)
        while process.poll() is None:
            for number, seconds, most in look_at_tree(process.pid):
                spent[number], held[number] = seconds, most
            time.sleep(0.1)
        seconds = time.perf_counter() - start
        if process.returncode:
            said.seek(0)
            sys.exit(said.read().decode())
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    total = sum(after[:2]) - sum(before[:2])
    others = [spent[number] for number in spent if number != process.pid]
    # What one process spent since the last look is in the total only.
    chain = spent[process.pid] + max(others) if others else total
    return seconds, total, chain, sum(held.values())


def parsed(path):
    """Yields the features of each record."""
    import tensorflow as tf

    for serialized in tf.data.TFRecordDataset(path).as_numpy_iterator():
        entries = tf.train.Example.FromString(serialized).features.feature
        yield {name: str(entries[name]) for name in entries}


def compare(ours, originals):
    """Ends the script unless both files have the same records."""
    count = 0
    for count, (one, other) in enumerate(
        zip(parsed(ours), parsed(originals), strict=True), start=1
    ):
        if one != other:
            sys.exit(f"Record {count} is not the original's.")
    print(f"{count} records, all of them the original's")


def main():
    """Reads the flags, runs the rounds, prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--text", required=True, help="sentence per line")
    parser.add_argument("--vocab", required=True, help="vocab.txt")
    parser.add_argument("--original", help="folder of google-research/bert")
    parser.add_argument("--dupe_factor", type=int, default=5)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rows", help="which, in which order [all]")
    args = parser.parse_args()

    size = os.path.getsize(args.text) / 1e6
    with tempfile.TemporaryDirectory() as folder:
        ours = [sys.executable, "-m", "bert_tf.create_pretraining_data"]
        flags = [
            f"--input_file={args.text}",
            f"--vocab_file={args.vocab}",
            f"--dupe_factor={args.dupe_factor}",
        ]
        rows = {
            "exact": [*ours, *flags],
            "sharded": [*ours, *flags, f"--num_workers={args.workers}"],
        }
        if args.original:
            original = [sys.executable, "-c", AS_VERSION_1, args.original]
            rows["original"] = [*original, *flags]
        turns = args.rows.split(",") if args.rows else list(rows)
        if unknown := sorted(set(turns) - set(rows)):
            sys.exit(f"--rows must be of {sorted(rows)}, not {unknown}")
        runs = {name: [] for name in turns}
        for name in turns * args.rounds:
            turn = len(runs[name])
            output = f"{folder}/{name}-{turn}"
            runs[name].append(timed([*rows[name], f"--output_file={output}"]))
            if turn:  # The first ones are compared.
                for path in pathlib.Path(folder).glob(f"{name}-{turn}*"):
                    path.unlink()
        if {"exact", "original"} <= runs.keys():
            compare(f"{folder}/exact-0", f"{folder}/original-0")

    print(
        f"{size:.1f} MB, dupe_factor {args.dupe_factor}, {args.workers} "
        f"workers, {os.cpu_count()} cores, Python {sys.version.split()[0]}"
    )
    print("row      runs  seconds   MB/s  processor s  chain s  memory MB")
    middle = {
        name: [statistics.median(column) for column in zip(*each)]
        for name, each in runs.items()
    }
    for name, (seconds, spent, chain, held) in middle.items():
        print(
            f"{name:9}{len(runs[name]):4}{seconds:9.1f}{size / seconds:7.3f}"
            f"{spent:13.1f}{chain:9.1f}{held / 1e6:11.0f}"
        )
    for name, other in (("exact", "original"), ("sharded", "exact")):
        if {name, other} <= middle.keys():
            ratios = [b / a for a, b in zip(middle[name], middle[other])]
            print(
                f"{name} is {ratios[0]:.2f} times as fast as {other}, by "
                f"processor time {ratios[1]:.2f}, by its chain {ratios[2]:.2f}"
            )


if __name__ == "__main__":
    main()
