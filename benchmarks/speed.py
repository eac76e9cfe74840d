"""Measures how fast bert_tf is, and how much memory it takes.

    python benchmarks/speed.py --size mini --json speed.json

Each measurement runs in a process of its own:

- infer/BxS: an encoder on B texts of S word pieces, without padding;
- latency/1x128: the same for one text at a time; p99 is the 99th percentile of
  the calls of all rounds, at least 100 per round;
- mixed-padded, mixed-grouped: 128 texts of mixed lengths in batches of at most
  32, padded to 128, and grouped by length as the commands do it;
- train-classifier, train-squad, train-pretraining: a training step;
- input-classifier, ...: reading and shuffling the records of such a step alone
  (training waits for records only if this is slower);
- startup: from the start of a process to its first answer, from a checkpoint;
- data: create_pretraining_data with dupe_factor 5, in one process;
- tokenizer: text to ids with the Python tokenizer, nothing cached.

Encoding and training are measured in float32 and in mixed_bfloat16, encoding
also with kernels of bfloat16 and int8, as exports have them.

Weights, ids and text are random with a fixed seed; --text names real text for
the last two, one sentence per line. All but the last three do their work once
or twice before it is timed. Rounds go over all measurements in turn, so that
other load on the machine affects all of them. The table shows the median of the
rounds' medians, the lowest and the highest of them, how many cores were busy on
average, and the peak memory over all rounds.

--only 'train-*' '*/float32' runs only what matches one of these patterns.
"""

import argparse
import fnmatch
import json
import math
import os
import pathlib
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from typing import NamedTuple

import own_process

VOCAB = pathlib.Path(__file__).parents[1] / "checkpoints/builtin/vocab.txt"
SIZES = ("base", "mini", "builtin")
# Of exports: `quantization.MODES`, which is not loaded here.
EXPORTED = ("bfloat16", "int8")
PRECISIONS = ("float32", "mixed_bfloat16", *EXPORTED)
MIXED_TEXTS, MIXED_BATCH = 128, 32
LEAST_CALLS, LEAST_LATENCY_CALLS = 3, 100
# A call of input-* reads so many batches: a single one may be there already.
RECORDS, BATCHES_READ = 2000, 100


class Measurement(NamedTuple):
    """One row of the table.

    Attributes:
        kind: what is done, as in the head of this file.
        batch, length: texts and word pieces, or 0.
        precision: one of `PRECISIONS`, or "" where it does not matter.
        unit: of what is done in a second, or "" for nothing.
    """

    kind: str
    batch: int = 0
    length: int = 0
    precision: str = ""
    unit: str = ""

    @property
    def name(self):
        """What `--only` selects by."""
        shape = f"{self.batch}x{self.length}" if self.batch else ""
        return "/".join(filter(None, (self.kind, shape, self.precision)))


def measurements():
    """All of them, in the order of the table."""
    shapes = [
        ("latency", 1, 128, "texts/s"),
        ("infer", 32, 128, "texts/s"),
        ("infer", 8, 384, "texts/s"),
        ("mixed-padded", MIXED_TEXTS, 128, "texts/s"),
        ("mixed-grouped", MIXED_TEXTS, 128, "texts/s"),
        ("train-classifier", 32, 128, "examples/s"),
        ("train-squad", 8, 384, "examples/s"),
        ("train-pretraining", 32, 128, "examples/s"),
    ]
    return [
        *(
            Measurement(kind, batch, length, precision, unit)
            for kind, batch, length, unit in shapes
            for precision in PRECISIONS
            if precision not in EXPORTED or not kind.startswith("train-")
        ),
        *(
            Measurement(f"input-{kind}", batch, length, unit="examples/s")
            for kind, batch, length in (
                ("classifier", 32, 128),
                ("squad", 8, 384),
                ("pretraining", 32, 128),
            )
        ),
        Measurement("startup", 1, 128),
        Measurement("data", unit="MB/s"),
        Measurement("tokenizer", unit="MB/s"),
    ]


def chosen(patterns):
    """The measurements that fit one of the patterns; all without any.

    Raises:
        SystemExit: a pattern fits none.
    """
    every = measurements()
    for pattern in patterns or ():
        if not any(fnmatch.fnmatch(one.name, pattern) for one in every):
            names = "\n  ".join(one.name for one in every)
            sys.exit(f"--only {pattern!r} fits none of\n  {names}")
    return [
        one
        for one in every
        if not patterns
        or any(fnmatch.fnmatch(one.name, pattern) for pattern in patterns)
    ]


def main():
    """Runs the rounds and prints the table."""
    arguments = parse_arguments()
    if arguments.job:
        return do_job(arguments.job)
    every = chosen(arguments.only)
    folder = tempfile.mkdtemp(prefix="bert_tf_speed_")
    try:
        measure(arguments, every, folder)
    except own_process.JobFailed as error:
        sys.exit(str(error))
    finally:
        shutil.rmtree(folder)


def parse_arguments():
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        "--size", choices=SIZES, default="base", help="of the model [base]"
    )
    parser.add_argument(
        "--only", nargs="+", metavar="PATTERN", help="measure no others"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--seconds", type=float, default=3, help="the least of a round [3]"
    )
    parser.add_argument("--text", help="for data and tokenizer")
    parser.add_argument(
        "--megabytes", type=float, default=1, help="to make without --text [1]"
    )
    parser.add_argument(
        "--vocab", default=str(VOCAB), help="for these two [the built-in one]"
    )
    parser.add_argument("--json", metavar="FILE", help="write all numbers")
    parser.add_argument("--job", type=json.loads, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.rounds < 1:
        parser.error(f"--rounds must be above 0, not {arguments.rounds}")
    return arguments


def measure(arguments, every, folder):
    """Does the rounds, shows them as they go, then the table."""
    job = {
        "size": arguments.size,
        "seconds": arguments.seconds,
        "vocab": arguments.vocab,
        "text": arguments.text or f"{folder}/text.txt",
        "megabytes": 0 if arguments.text else arguments.megabytes,
        "folder": folder,
    }
    about = {
        "program": "speed",
        "size": arguments.size,
        "rounds": arguments.rounds,
        "seconds": arguments.seconds,
        "text": arguments.text or f"{arguments.megabytes:g} MB, made up",
        **own_process.about(),
    }
    if any(one.kind in ("startup", "data", "tokenizer") for one in every):
        own_process.run(__file__, {**job, "kind": "prepare"})
    answers = {one: [] for one in every}
    rows = []
    for number in range(1, arguments.rounds + 1):
        for one in every:
            now = {"started": time.time(), **job, **one._asdict()}
            answers[one].append(own_process.run(__file__, now))
            seconds = statistics.median(answers[one][-1]["seconds"])
            print(
                f"round {number}: {one.name} {seconds:.4g} s",
                file=sys.stderr,
                flush=True,
            )
        rows = [summary(one, rounds) for one, rounds in answers.items()]
        if arguments.json:
            text = json.dumps({"about": about, "rows": rows}, indent=1)
            pathlib.Path(arguments.json).write_text(text + "\n")
    print(head(about))
    print(table(rows))


# ------------------------------------------------------------- what came out


def summary(one, rounds):
    """What the rounds of a measurement come to, a dictionary for JSON.

    Args:
        one: the `Measurement`.
        rounds: dictionaries of `seconds`, a list with one number for each call;
            `processor_seconds` of all of them; `amount`, what one call does;
            `peak_bytes`.
    """
    medians = sorted(statistics.median(each["seconds"]) for each in rounds)
    seconds = statistics.median(medians)
    calls = [number for each in rounds for number in each["seconds"]]
    row = {
        "name": one.name,
        **one._asdict(),
        "seconds": seconds,
        "seconds_low": medians[0],
        "seconds_high": medians[-1],
        "calls": len(calls),
        "cores": sum(each["processor_seconds"] for each in rounds) / sum(calls),
        "peak_bytes": max(each["peak_bytes"] for each in rounds),
    }
    if one.kind == "latency":
        row["p99_seconds"] = percentile(calls, 99)
    if one.unit:
        row["rate"] = rounds[0]["amount"] / seconds
    return row


def percentile(values, percent):
    """The smallest value that so many percent of them do not exceed."""
    ordered = sorted(values)
    return ordered[math.ceil(len(ordered) * percent / 100) - 1]


def head(about):
    """What stands above the table."""
    return (
        f"{about['size']}, median of {about['rounds']} rounds (lowest to "
        f"highest); {about['cores']} cores, TensorFlow {about['tensorflow']}, "
        f"Python {about['python']}, load {about['load']} at the start; text: "
        f"{about['text']}\n"
    )


def table(rows):
    """The rows as a table in Markdown."""
    lines = [
        "| measurement | precision | time | lowest to highest | p99 | rate "
        "| cores | memory |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        shape = f" {row['batch']}x{row['length']}" if row["batch"] else ""
        p99 = row.get("p99_seconds")
        low, high = row["seconds_low"], row["seconds_high"]
        cells = [
            row["kind"] + shape,
            row["precision"],
            in_unit(row["seconds"]),
            f"{in_unit(low)} to {in_unit(high)}",
            in_unit(p99) if p99 else "",
            f"{rounded(row['rate'])} {row['unit']}" if "rate" in row else "",
            f"{row['cores']:.1f}",
            f"{row['peak_bytes'] / 1e9:.2f} GB",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def in_unit(seconds):
    """Seconds, or milliseconds below one, to three digits."""
    if seconds < 1:
        return f"{rounded(seconds * 1000)} ms"
    return f"{rounded(seconds)} s"


def rounded(number):
    """A number to three digits, or to the whole one where it has more."""
    if number >= 100:
        return f"{number:,.0f}"
    digits = 2 - math.floor(math.log10(number)) if number > 0 else 0
    return f"{number:.{digits}f}"


# ------------------------------------------------------------- in its process


def do_job(job):
    """Does what `measure` asks for and answers."""
    kind = job["kind"]
    if kind == "prepare":
        return own_process.answer(prepare(job))
    function = {"data": make_data, "tokenizer": tokenize, "startup": start_up}
    own_process.answer(function.get(kind, run_model)(job))


def make_answer(seconds, processor_seconds, amount, who=resource.RUSAGE_SELF):
    """The answer, as `summary` takes it."""
    return {
        "seconds": seconds,
        "processor_seconds": processor_seconds,
        "amount": amount,
        "peak_bytes": own_process.peak_bytes(who),
    }


def run_model(job):
    """Calls a model, or a step of training, again and again."""
    call, amount, least = build(job)
    return make_answer(*time_calls(call, job["seconds"], least), amount)


def time_calls(call, seconds, least):
    """Calls that take so long altogether, at least so many.

    Returns:
        The seconds of each, and the processor seconds of all.
    """
    # The first is traced; after the second, memory is where it will stay.
    call()
    call()
    spent, before = [], own_process.processor_seconds()
    while sum(spent) < seconds or len(spent) < least:
        start = time.perf_counter()
        call()
        spent.append(time.perf_counter() - start)
    return spent, own_process.processor_seconds() - before


def build(job):
    """A function to be timed, what one call of it does, and the least calls."""
    import keras
    import workloads

    from bert_tf.checkpoints import inference
    from bert_tf.data import records
    from bert_tf.exports import quantization

    keras.utils.set_random_seed(1)
    config = workloads.find_config(job["size"])
    kind, batch, length = job["kind"], job["batch"], job["length"]
    if kind.startswith("input-"):
        path = os.path.join(job["folder"], "records.tf_record")
        kind = kind.removeprefix("input-")
        schema = workloads.write_training_records(
            path, kind, config, RECORDS, length
        )
        batches = records.training_batches([path], schema, batch, seed=1)
        batches = iter(batches)

        def read():
            for _ in range(BATCHES_READ):
                features = next(batches)
            return features

        return read, batch * BATCHES_READ, LEAST_CALLS
    if kind.startswith("train-"):
        kind = kind.removeprefix("train-")
        make = workloads.TRAININGS[kind].make
        model = workloads.build_model(lambda: make(config), job["precision"])
        features = workloads.training_features(kind, config, batch, length)
        step = workloads.compile_training(kind, model, features)
        return step, batch, LEAST_CALLS
    mode = precision = job["precision"]
    if mode in EXPORTED:
        precision = quantization.precision(mode)
    model = workloads.build_model(
        lambda: workloads.make_encoder(config), precision
    )
    if mode in EXPORTED:
        quantization.quantize(model, mode)
    run = inference.compile_forward(model)
    if not kind.startswith("mixed-"):
        inputs = workloads.encoder_inputs(config, batch, length)
        least = LEAST_LATENCY_CALLS if kind == "latency" else LEAST_CALLS
        return lambda: run(inputs), batch, least
    lengths = workloads.mixed_lengths(batch, length)
    inputs = workloads.encoder_inputs(config, batch, length, lengths)
    in_batches = {
        "mixed-padded": workloads.in_padded_batches,
        "mixed-grouped": workloads.in_grouped_batches,
    }[kind]

    def call():
        batches = in_batches(lengths, MIXED_BATCH, length)
        return workloads.run_batches(run, inputs, batches)

    return call, batch, LEAST_CALLS


def prepare(job):
    """Writes a checkpoint to start from, and text if none is given."""
    import workloads

    from bert_tf import checkpoints

    config = workloads.find_config(job["size"])
    model = workloads.build_model(lambda: workloads.make_encoder(config))
    folder = pathlib.Path(job["folder"])
    weights = checkpoints.named_weights(model)
    checkpoints.write(folder / "bert_model.ckpt", weights)
    if job["megabytes"]:
        text = workloads.make_text(job["vocab"], job["megabytes"])
        pathlib.Path(job["text"]).write_text(text, encoding="utf-8")


def start_up(job):
    """From the start of this process to the first answer."""
    from bert_tf.checkpoints import inference  # isort: skip  (First, as users do.)
    import workloads

    config = workloads.find_config(job["size"])
    model, _ = inference.load_model(
        lambda: workloads.make_encoder(config),
        config,
        job["folder"],
        may_lack=(),
    )
    inputs = workloads.encoder_inputs(config, job["batch"], job["length"])
    inference.compile_forward(model)(inputs)
    seconds = time.time() - job["started"]
    return make_answer([seconds], own_process.processor_seconds(), job["batch"])


def make_data(job):
    """Makes pretraining data as a user does, from start to end."""
    output = os.path.join(job["folder"], "examples.tfrecord")
    command = [
        *(sys.executable, "-m", "bert_tf.create_pretraining_data"),
        f"--input_file={job['text']}",
        f"--output_file={output}",
        f"--vocab_file={job['vocab']}",
        "--dupe_factor=5",
    ]
    before, start = own_process.processor_seconds(), time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    seconds = time.perf_counter() - start
    computed = own_process.processor_seconds() - before
    os.remove(output)
    size = os.path.getsize(job["text"]) / 1e6
    return make_answer([seconds], computed, size, resource.RUSAGE_CHILDREN)


def tokenize(job):
    """Turns all lines to ids once."""
    from bert_tf.tokenization import FullTokenizer

    with open(job["text"], encoding="utf-8", newline="\n") as reader:
        lines = reader.read().split("\n")
    tokenizer = FullTokenizer(job["vocab"])
    before, start = own_process.processor_seconds(), time.perf_counter()
    for line in lines:
        tokenizer.convert_tokens_to_ids(tokenizer.tokenize(line))
    seconds = time.perf_counter() - start
    computed = own_process.processor_seconds() - before
    return make_answer([seconds], computed, os.path.getsize(job["text"]) / 1e6)


if __name__ == "__main__":
    main()
