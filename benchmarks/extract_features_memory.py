"""How much memory extract_features takes, by the length of the text.

Run it as `python benchmarks/extract_features_memory.py --text sentences.txt
--checkpoint checkpoints/builtin --lines 1000 10000`.

The text has one sentence in each line; blank lines are left out. For each
number of lines, extract_features runs in a process of its own on the first so
many. Prints the seconds, the size of what was written, and the most memory
that the process held at once (what the kernel calls the maximum resident set
size). Other flags of extract_features go behind `--`.
"""

import argparse
import os
import pathlib
import subprocess
import sys
import tempfile
import time


def measure(text, arguments, folder):
    """Runs extract_features; returns seconds, bytes written, peak bytes."""
    (folder / "input.txt").write_text(text, encoding="utf-8")
    start = time.perf_counter()
    with (folder / "log").open("w+") as log:
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "bert_tf.extract_features",
                f"--input_file={folder / 'input.txt'}",
                f"--output_file={folder / 'output'}",
                *arguments,
            ],
            stderr=log,
        )
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            log.seek(0)
            sys.exit(log.read())
    seconds = time.perf_counter() - start
    size = (folder / "output").stat().st_size
    return seconds, size, used.ru_maxrss * 1024


def main():
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--text", type=pathlib.Path, required=True)
    parser.add_argument("--checkpoint", type=pathlib.Path, required=True)
    parser.add_argument("--lines", type=int, nargs="+", default=[1000, 10_000])
    parser.add_argument("rest", nargs="*", help="flags of extract_features")
    options = parser.parse_args()
    text = options.text.read_text(encoding="utf-8")
    lines = [line for line in text.split("\n") if line.strip()]
    arguments = [
        f"--vocab_file={options.checkpoint / 'vocab.txt'}",
        f"--bert_config_file={options.checkpoint / 'bert_config.json'}",
        f"--init_checkpoint={options.checkpoint / 'bert_model.ckpt'}",
        *options.rest,
    ]
    print("lines  seconds  written  peak memory")
    for count in options.lines:
        if count > len(lines):
            sys.exit(f"{options.text} has {len(lines)} lines, not {count}")
        with tempfile.TemporaryDirectory() as folder:
            chosen = "".join(f"{line}\n" for line in lines[:count])
            seconds, size, peak = measure(
                chosen, arguments, pathlib.Path(folder)
            )
        print(
            f"{count:5}  {seconds:7.1f}  {size / 1e6:4.0f} MB  "
            f"{peak / 1e6:8.0f} MB",
            flush=True,
        )


if __name__ == "__main__":
    main()
