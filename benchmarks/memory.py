"""Measures how much memory a training step takes, and what lowers it.

    python benchmarks/memory.py --size base --batch 8 --json memory.json
    python benchmarks/memory.py --size base --largest --limit_gb 12

The first prints a table of fine-tuning steps at several lengths: plain, with
--gradient_accumulation_steps=4, with --recompute, with both, and with
--lora_rank=8, alone and with --recompute. Each row is a process that builds
model and optimizer, takes a step, and then --steps more, which are timed. The
table shows the medians over the rounds of the process's peak memory, of the
growth since before the first step, and of the time of a step.

The second measures two batches, of --tokens word pieces and of twice as many,
and fits a line: a fixed part and a part for each example. The largest batch
below the limit is computed from that line, not measured. It stands beside the
numbers of the original's README, which were found on a GPU of 12 GB, whereas
this is a process on the CPU: weights, gradients and optimizer slots count, and
so do about half a gigabyte of libraries, which a GPU does not hold. The peak
depends a little on which operations run at the same time, so a single round can
mislead. Linux only.
"""

import argparse
import json
import os
import pathlib
import statistics
import sys
import time

import own_process

SIZES = ("large", "base", "mini", "builtin")
LENGTHS = (64, 128, 256, 384, 512)
PARTS = 4

RANK = 8

# By name: gradient_accumulation_steps, recompute and LoRA.
VARIANTS = {
    "plain": (1, False, False),
    "accumulation": (PARTS, False, False),
    "recompute": (1, True, False),
    "both": (PARTS, True, False),
    "lora": (1, False, True),
    "lora-recompute": (1, True, True),
}

# google-research/bert, README.md, "Out-of-memory issues".
ORIGINAL_GB = 12
ORIGINAL = {
    "base": {64: 64, 128: 32, 256: 16, 320: 14, 384: 12, 512: 6},
    "large": {64: 12, 128: 6, 256: 2, 320: 1, 384: 0, 512: 0},
}
ORIGINAL_LENGTHS = tuple(ORIGINAL["base"])


def main():
    """Measures and prints one of the two tables."""
    arguments = parse_arguments()
    if arguments.job:
        return own_process.answer(take_steps(arguments.job))
    about = {
        "program": "memory",
        "mode": "largest" if arguments.largest else "table",
        "size": arguments.size,
        "rounds": arguments.rounds,
        **own_process.about(),
    }
    if arguments.largest:
        about["limit_gb"] = arguments.limit_gb
        jobs, as_table = jobs_of_largest(arguments), largest_table
    else:
        jobs, as_table = jobs_of_table(arguments), memory_table
    found = {tuple(job.items()): [] for job in jobs}
    for number in range(1, arguments.rounds + 1):
        for job, rounds in zip(jobs, found.values()):
            rounds.append(measure(job, number))
        measured = [(dict(job), rounds) for job, rounds in found.items()]
        if arguments.largest:
            limit = arguments.limit_gb * 1e9
            rows = largest_rows(measured, ORIGINAL.get(arguments.size), limit)
        else:
            rows = table_rows(measured)
        if arguments.json:
            text = json.dumps({"about": about, "rows": rows}, indent=1)
            pathlib.Path(arguments.json).write_text(text + "\n")
    print(head(about))
    print(as_table(rows))


def parse_arguments():
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        "--size", choices=SIZES, default="base", help="of the model [base]"
    )
    parser.add_argument(
        "--lengths",
        type=int,
        nargs="+",
        help=f"[{LENGTHS}; with --largest {ORIGINAL_LENGTHS}]",
    )
    parser.add_argument(
        "--batch", type=int, default=8, help="for the first table [8]"
    )
    parser.add_argument(
        "--variants",
        nargs="+",
        choices=VARIANTS,
        help="[all; with --largest plain and recompute]",
    )
    parser.add_argument(
        "--steps",
        type=int,
        help="to be timed after the first [3; with --largest 1]",
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--largest", action="store_true", help="print the second table"
    )
    parser.add_argument("--limit_gb", type=float, default=ORIGINAL_GB)
    parser.add_argument(
        "--tokens", type=int, default=2048, help="of the smaller batch [2048]"
    )
    parser.add_argument("--json", metavar="FILE", help="write all numbers")
    parser.add_argument("--job", type=json.loads, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.steps is None:
        arguments.steps = 1 if arguments.largest else 3
    for name in ("batch", "steps", "rounds", "limit_gb", "tokens"):
        if getattr(arguments, name) <= 0:
            parser.error(f"--{name} must be above 0")
    few = ("plain", "recompute") if arguments.largest else tuple(VARIANTS)
    arguments.variants = arguments.variants or few
    usual = ORIGINAL_LENGTHS if arguments.largest else LENGTHS
    arguments.lengths = arguments.lengths or usual
    parts = max(VARIANTS[name][0] for name in arguments.variants)
    if not arguments.largest and arguments.batch % parts:
        parser.error(f"--batch must be a multiple of {parts}")
    return arguments


def jobs_of_table(arguments):
    """A job for each length and variant."""
    return [
        make_job(arguments, length, arguments.batch, variant)
        for length in arguments.lengths
        for variant in arguments.variants
    ]


def jobs_of_largest(arguments):
    """Two jobs for each length and variant, of one batch and of twice that."""
    return [
        make_job(arguments, length, batch, variant)
        for length in arguments.lengths
        for variant in arguments.variants
        for batch in two_batches(arguments.tokens, length, variant)
    ]


def two_batches(tokens, length, variant):
    """The batch of about so many word pieces, and twice that."""
    parts = VARIANTS[variant][0]
    batch = max(1, tokens // (length * parts)) * parts
    return batch, 2 * batch


def make_job(arguments, length, batch, variant):
    """What one process has to do."""
    return {
        "size": arguments.size,
        "length": length,
        "batch": batch,
        "variant": variant,
        "steps": arguments.steps,
    }


def measure(job, number):
    """What a process found, or None if it was killed for want of memory."""
    what = f"{job['variant']}, {job['batch']}x{job['length']}"
    try:
        found = own_process.run(__file__, job)
    except own_process.JobFailed as error:
        if not error.killed:
            sys.exit(str(error))
        print(f"round {number}: {error}", file=sys.stderr, flush=True)
        return None
    print(
        f"round {number}: {what}: {found['peak_bytes'] / 1e9:.2f} GB, "
        f"{statistics.median(found['seconds']):.3g} s",
        file=sys.stderr,
        flush=True,
    )
    return found


# ------------------------------------------------------------- in its process


def take_steps(job):
    """Takes steps of fine-tuning; what they needed."""
    # Memory of a GPU is not the process's.
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    import keras
    import workloads

    from bert_tf import models

    keras.utils.set_random_seed(1)
    config = workloads.find_config(job["size"])
    parts, recomputes, adapts = VARIANTS[job["variant"]]
    make = workloads.TRAININGS["classifier"].make
    model = workloads.build_model(lambda: make(config))
    if recomputes:
        models.recompute(model)
    if adapts:
        models.add_lora(model, RANK)
    features = workloads.training_features(
        "classifier", config, job["batch"], job["length"]
    )
    step = workloads.compile_training("classifier", model, features, parts)
    before = own_process.held_bytes()
    step()
    seconds = []
    for _ in range(job["steps"]):
        start = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - start)
    return {
        "seconds": seconds,
        "before_bytes": before,
        "peak_bytes": own_process.peak_bytes(),
    }


# ------------------------------------------------------------- what came out


def medians(rounds):
    """The medians over the rounds; empty if one was killed."""
    if None in rounds:
        return {}
    middle = statistics.median
    return {
        "peak_bytes": middle(found["peak_bytes"] for found in rounds),
        "step_bytes": middle(
            found["peak_bytes"] - found["before_bytes"] for found in rounds
        ),
        "seconds": middle(middle(found["seconds"]) for found in rounds),
    }


def table_rows(measured):
    """A row for each length and variant, from pairs of a job and its rounds."""
    return [
        {
            "length": job["length"],
            "variant": job["variant"],
            "batch": job["batch"],
            **medians(rounds),
        }
        for job, rounds in measured
    ]


def linear_fit(points):
    """The line through points, by least squares: (at 0, slope)."""
    slope, at_zero = statistics.linear_regression(*zip(*points))
    return at_zero, slope


def largest_batch(fixed, per_example, limit):
    """The largest batch below the limit, 0 if not even one example fits.

    Returns:
        None if memory does not grow with the batch, as the two batches were
        too small to show it.
    """
    if per_example <= 0:
        return None
    return max(0, int((limit - fixed) // per_example))


def largest_rows(measured, original, limit):
    """A row for each length and variant: the fit, and what follows from it.

    Args:
        measured: pairs of a job and what its rounds found.
        original: the original's largest batches by length, or None.
        limit: bytes.
    """
    points = {}
    for job, rounds in measured:
        key = job["length"], job["variant"]
        points.setdefault(key, []).append((job["batch"], medians(rounds)))
    rows = []
    for (length, variant), found in points.items():
        row = {"length": length, "variant": variant}
        if all(values for _, values in found):
            row["points"] = [[b, v["peak_bytes"]] for b, v in found]
            fixed, slope = linear_fit(row["points"])
            row["fixed_bytes"], row["example_bytes"] = fixed, slope
            row["largest"] = largest_batch(fixed, slope, limit)
        row["original"] = (original or {}).get(length)
        rows.append(row)
    return rows


def head(about):
    """What stands above a table."""
    text = (
        f"{about['size']}, float32, median of {about['rounds']} rounds; "
        f"{about['cores']} cores, TensorFlow {about['tensorflow']}, Python "
        f"{about['python']}, load {about['load']} at the start\n"
    )
    if about["mode"] == "table":
        return text
    return text + (
        "Measured is the memory of a process on the CPU with two batches. The "
        "largest batch is arithmetic from that:\n"
        f"({about['limit_gb']:g} GB - fixed) / per example. The original's "
        f"numbers are those of its README, for a GPU of {ORIGINAL_GB} GB.\n"
    )


def memory_table(rows):
    """The first table in Markdown."""
    lines = [
        "| length | batch | | most memory | of that, the steps | beside plain "
        "| time of a step | beside plain |",
        "|---|---|---|---|---|---|---|---|",
    ]
    plain = {row["length"]: row for row in rows if row["variant"] == "plain"}
    for row in rows:
        cells = [str(row["length"]), str(row["batch"]), row["variant"]]
        if "seconds" in row:
            other = plain.get(row["length"], {})
            cells += [
                gigabytes(row["peak_bytes"]),
                gigabytes(row["step_bytes"]),
                share(row["step_bytes"], other.get("step_bytes")),
                f"{row['seconds']:.3g} s",
                share(row["seconds"], other.get("seconds")),
            ]
        else:
            cells += ["killed", "", "", "", ""]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def gigabytes(number):
    """Bytes as text."""
    return f"{number / 1e9:.2f} GB"


def share(number, whole):
    """A number as percent of another one; empty without that."""
    return f"{100 * number / whole:.0f} %" if whole else ""


def largest_table(rows):
    """The second table in Markdown."""
    variants = list(dict.fromkeys(row["variant"] for row in rows))
    titles = ["length", "original"]
    for variant in variants:
        titles += [f"{variant}: largest", "measured", "fixed", "per example"]
    lines = [f"| {' | '.join(titles)} |", "|---" * len(titles) + "|"]
    for length in dict.fromkeys(row["length"] for row in rows):
        of_length = {r["variant"]: r for r in rows if r["length"] == length}
        original = next(iter(of_length.values()))["original"]
        cells = [str(length), "" if original is None else str(original)]
        for variant in variants:
            row = of_length[variant]
            if "points" not in row:
                cells += ["", "killed", "", ""]
                continue
            largest = row["largest"]
            cells += [
                "unknown" if largest is None else str(largest),
                ", ".join(f"{b}: {gigabytes(p)}" for b, p in row["points"]),
                gigabytes(row["fixed_bytes"]),
                f"{row['example_bytes'] / 1e6:.0f} MB",
            ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
