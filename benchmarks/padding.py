r"""Compares steps of fine-tuning that compute padding with steps that do not.

    python benchmarks/padding.py --records OUTPUT_DIR/train.tf_record \
        --kind classifier --batch 32 --length 128 --rounds 3

Batches have the lengths of records that a command has written, drawn at random
as training draws them; ids and weights are random. Each way is a process of its
own, which stays; rounds go over all of them in turn with the same batches.
`--other NAME=COMMAND` adds a process of another program: it prints a line when
it is ready, then for each line it reads, a JSON list of the lengths of a batch,
the seconds of a step and its peak memory in bytes.
"""

import argparse
import json
import pathlib
import queue
import random
import shlex
import statistics
import subprocess
import sys
import time

import own_process


def main():
    """Runs the rounds and prints the table."""
    arguments = parse_arguments()
    if arguments.job:
        return take_steps(json.loads(arguments.job))
    lengths = read_lengths(arguments.records)
    drawn = random.Random(arguments.seed)
    batches = [
        drawn.sample(lengths, arguments.batch)
        for _ in range(arguments.rounds * arguments.steps)
    ]
    processes = {name: start(one) for name, one in ways(arguments).items()}
    for name, process in processes.items():
        if not process.stdout.readline():
            sys.exit(f"{name} has ended: {process.wait()}")
    for process in processes.values():
        ask(process, batches[0])
    steps = {name: [] for name in processes}
    for lengths_of_batch in batches:
        for name, process in processes.items():
            steps[name].append(ask(process, lengths_of_batch))
    for process in processes.values():
        process.communicate()
    show(arguments, batches, steps)


def parse_arguments():
    """The options of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--records", type=pathlib.Path, help="a .tf_record")
    kinds = ("classifier", "tokens", "squad")
    parser.add_argument("--kind", choices=kinds, default="classifier")
    parser.add_argument("--size", default="base")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=2, help="in a round")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--only-packed", action="store_true")
    parser.add_argument("--other", nargs="*", default=(), help="NAME=COMMAND")
    parser.add_argument("--job", help=argparse.SUPPRESS)
    return parser.parse_args()


def read_lengths(path):
    """How many tokens each record of a file has."""
    import tensorflow as tf

    features = {"input_mask": tf.io.VarLenFeature(tf.int64)}
    return [
        int(tf.sparse.reduce_sum(parsed["input_mask"]))
        for parsed in tf.data.TFRecordDataset(str(path)).map(
            lambda record: tf.io.parse_single_example(record, features)
        )
    ]


def ways(arguments):
    """The command of each process, by name."""
    program = [sys.executable, __file__]
    job = {
        name: getattr(arguments, name)
        for name in ("kind", "size", "batch", "length", "precision")
    }
    found = {
        name: [*program, f"--job={json.dumps({**job, 'packed': packed})}"]
        for name, packed in (("padded", False), ("packed", True))
        if packed or not arguments.only_packed
    }
    for other in arguments.other:
        name, command = other.split("=", 1)
        found[name] = shlex.split(command)
    return found


def start(command):
    """A process that answers lines."""
    return subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def ask(process, lengths):
    """Seconds and bytes of a step."""
    process.stdin.write(json.dumps(lengths) + "\n")
    process.stdin.flush()
    seconds, peak = process.stdout.readline().split()
    return float(seconds), float(peak)


def show(arguments, batches, steps):
    """Prints a line for each way, and what it takes beside the packed one."""
    mean = statistics.fmean(statistics.fmean(batch) for batch in batches)
    longest = statistics.fmean(max(batch) for batch in batches)
    print(
        f"{arguments.records}: {arguments.batch} x {arguments.length}, "
        f"{arguments.size}, {arguments.precision}; tokens: mean {mean:.0f}, "
        f"longest of a batch {longest:.0f}; {own_process.about()}"
    )
    middle = {
        name: statistics.median(seconds for seconds, _ in taken)
        for name, taken in steps.items()
    }
    for name, taken in steps.items():
        seconds = [each for each, _ in taken]
        ratio = middle[name] / middle["packed"]
        peak = max(peak for _, peak in taken) / 1e9
        print(
            f"{name:24} {middle[name]:7.2f} s  "
            f"({min(seconds):.2f} to {max(seconds):.2f})  "
            f"{ratio:5.2f} x packed  {peak:5.1f} GB"
        )


def take_steps(job):
    """Answers lines until there are no more."""
    import tensorflow as tf
    import workloads

    from bert_tf import layers, models

    config = workloads.find_config(job["size"])
    kind = job["kind"]
    make = workloads.TRAININGS[kind].make
    with layers.precision(job["precision"]):
        model = make(config)
    if job["packed"]:
        models.skip_padding(model)
    waiting = queue.Queue()

    def batch(lengths):
        size, longest = job["batch"], job["length"]
        cut = [min(length, longest) for length in lengths]
        return workloads.training_features(
            kind, config, size, longest, lengths=cut
        )

    example = batch([job["length"]] * job["batch"])
    dataset = tf.data.Dataset.from_generator(
        lambda: iter(waiting.get, None),
        output_signature={
            name: tf.TensorSpec(value.shape, value.dtype)
            for name, value in example.items()
        },
    )
    step = workloads.compile_training(kind, model, dataset)
    print("ready", flush=True)
    for line in sys.stdin:
        waiting.put(batch(json.loads(line)))
        started = time.perf_counter()
        step()
        seconds = time.perf_counter() - started
        print(seconds, own_process.peak_bytes(), flush=True)
    waiting.put(None)


if __name__ == "__main__":
    main()
