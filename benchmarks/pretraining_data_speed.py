"""How fast text becomes pretraining examples, beside the original.

Run it as `python benchmarks/pretraining_data_speed.py --text corpus.txt
--vocab vocab.txt --original bert`.

Each row is a process of its own, from its start to its end:

- exact: one process, the original's records;
- sharded: `--workers` processes;
- original: create_pretraining_data.py in the folder `--original`, a checkout
  of google-research/bert, on TensorFlow's version-1 API.

Prints MB of text per second of time and of processor time (all processes
together), the median over the rounds, and the most memory that the processes
of a row held together. Rounds of all rows take turns, so that a busy machine
slows all of them. The records of `exact` must be those of the original, or the
script fails.
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
PAGE = resource.getpagesize()


def memory_of_tree(root):
    """Returns the bytes that a process and all below it hold in memory."""
    parents, pages = {}, {}
    for folder in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            stat = (folder / "stat").read_text().rpartition(")")[2].split()
            pages[int(folder.name)] = int(stat[21])
            parents[int(folder.name)] = int(stat[1])
        except OSError:
            continue  # It ended meanwhile.
    total = 0
    for process, held in pages.items():
        above = process
        while above and above != root:
            above = parents.get(above, 0)
        total += held * (above == root)
    return total * PAGE


def timed(command):
    """Runs it; returns seconds, processor seconds, peak bytes of memory."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start, peak = time.perf_counter(), 0
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(command, stderr=said, stdout=said)
        while process.poll() is None:
            peak = max(peak, memory_of_tree(process.pid))
            time.sleep(0.1)
        seconds = time.perf_counter() - start
        if process.returncode:
            said.seek(0)
            sys.exit(said.read().decode())
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = sum(after[:2]) - sum(before[:2])
    return seconds, spent, peak


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
    parser.add_argument("--rows", default="exact,sharded,original")
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
        rows = {
            name: rows[name] for name in args.rows.split(",") if name in rows
        }
        runs = {name: [] for name in rows}
        for turn in range(args.rounds):
            for name, command in rows.items():
                output = f"{folder}/{name}-{turn}"
                runs[name].append(timed([*command, f"--output_file={output}"]))
                if turn:  # The first ones are compared.
                    for path in pathlib.Path(folder).glob(f"{name}-{turn}*"):
                        path.unlink()
        if {"exact", "original"} <= rows.keys():
            compare(f"{folder}/exact-0", f"{folder}/original-0")

    print(
        f"{size:.1f} MB, dupe_factor {args.dupe_factor}, median of "
        f"{args.rounds} rounds, {args.workers} workers, {os.cpu_count()} "
        f"cores, Python {sys.version.split()[0]}"
    )
    print("row          MB/s  MB/s of processor time  x original  memory MB")
    middle = {
        name: [statistics.median(column) for column in zip(*each)]
        for name, each in runs.items()
    }
    for name, (seconds, spent, peak) in middle.items():
        times = ""
        if "original" in middle:
            times = f"{middle['original'][0] / seconds:.1f}"
        print(
            f"{name:9}{size / seconds:8.3f}{size / spent:24.3f}{times:>12}"
            f"{peak / 1e6:11.0f}"
        )


if __name__ == "__main__":
    main()
