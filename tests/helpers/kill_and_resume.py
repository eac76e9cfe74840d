"""Kills a training again and again, and checks what it resumes from.

    cd tests && PYTHONPATH=.. python -m helpers.kill_and_resume --kills 20
    ... --flags lora_rank=2 learning_rate=1e-2

Trains a small classifier twice: once undisturbed, and once killed (SIGKILL) at
random moments and started again with the same command. Of five kills, one falls
into the start of the process, two into the writing of a checkpoint and two
anywhere after a random step. Exits with code 0 if

- each restart resumes from a checkpoint no older than the last one reported as
  saved;
- after each kill, TensorFlow's own reader finds the newest checkpoint and can
  read all of it;
- both runs end at the same step with the same weights and optimizer slots.
"""

import argparse
import atexit
import os
import pathlib
import random
import re
import shutil
import sys
import tempfile
import time

import numpy as np

from helpers import prepared
from helpers.paths import GOLDEN, ROOT

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

EXAMPLES, BATCH_SIZE = 61, 8
SAVE_STEPS = 5
STEPS_PER_KILL = 25

# What the log has one after the other, before there is a step.
START = ("", "Devices found", "Running training")

# About as long as one checkpoint takes.
WRITE_SECONDS = 0.02

SAVED = re.compile(r"Saved \S+model\.ckpt-(\d+)")
RESUMED = re.compile(r"Resuming from (\S+) \(step (\d+)\)")


def compare_runs(folder, kills, seed=1, more=()):
    """Does both runs, prints a line for each kill, and compares.

    Args:
        folder: where to work.
        kills: how many.
        seed: of everything.
        more: flags of the training, as NAME=VALUE.

    Raises:
        SystemExit: the runs are different.
    """
    steps = STEPS_PER_KILL * kills
    print(f"{steps} steps, a checkpoint every {SAVE_STEPS}; in {folder}")

    whole = Run(folder / "undisturbed", steps, seed, more)
    began = time.monotonic()
    start_seconds = whole.start().wait_for_step(0)
    whole.finish()
    seconds = time.monotonic() - began
    print(f"undisturbed: {seconds:.0f} s, {start_seconds:.0f} of them to start")

    run = Run(folder / "killed", steps, seed, more)
    rng = random.Random(seed)
    numbers = range(1, kills + 1)
    between_saves = (seconds - start_seconds) / (steps / SAVE_STEPS)
    # Not at the very end, so that none gets there before it is killed.
    moments = [rng.randrange(steps * 4 // 5) for _ in numbers]
    print("kill  at                  began at  last saved  left behind")
    for number, moment in zip(numbers, sorted(moments)):
        run.start()
        if number % 5 == 0:
            place = "the start"
            run.wait_for_text(rng.choice(START))
            run.wait(rng.uniform(0, 0.5))
        elif number % 5 in (1, 3):
            place = f"a write from {moment}"
            run.wait_for_step(moment)
            run.wait_for_write()
            run.wait(rng.uniform(0, WRITE_SECONDS))
        else:
            place = f"a step from {moment}"
            run.wait_for_step(moment)
            run.wait(rng.uniform(0, between_saves))
        run.kill()
        print(f"{number:4}  {place:17}  {run}", flush=True)
    run.start().finish()
    print(f" end  {'':17}  {run}")

    differences = compare(whole.final(), run.final())
    print(
        f"{kills} kills, {run.inside_write} of them left a file "
        f"half-written; {run.resumes} starts went on from a checkpoint, "
        f"{run.beginnings} had none yet, {run.unknown} were killed before; "
        f"final step {run.last_saved}"
    )
    if differences or run.half_written():
        print(f"DIFFERENT from the undisturbed run: {differences[:5]}")
        print(f"Half-written files: {run.half_written()}")
        sys.exit(1)
    print("Weights, slots and step identical to those of the undisturbed run.")


def main():
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--kills", type=int, default=20, help="how many")
    parser.add_argument("--seed", type=int, default=1, help="of everything")
    parser.add_argument(
        "--flags", nargs="*", default=[], help="more flags of the training"
    )
    parser.add_argument("--folder", help="where to work; stays [a new one]")
    arguments = parser.parse_args()
    folder = arguments.folder or tempfile.mkdtemp(prefix="kill_and_resume_")
    compare_runs(
        pathlib.Path(folder), arguments.kills, arguments.seed, arguments.flags
    )
    if arguments.folder is None:
        shutil.rmtree(folder)


class Run:
    """One training folder, and the processes that work in it in turn."""

    def __init__(self, folder, steps, seed, more):
        self.folder = folder
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        self.log = folder.with_suffix(".log")
        self.steps = steps
        self.last_saved = self.began_at = None
        self.resumes = self.beginnings = self.unknown = 0
        self.inside_write = 0
        self.process = None
        # None goes on when this script ends, whatever the reason.
        atexit.register(lambda: self.process and self.process.kill())
        from helpers.golden import write_one_layer

        model = folder.with_suffix(".model")
        model.mkdir(exist_ok=True)
        flags = {
            "task_name": "MRPC",
            "do_train": True,
            "data_dir": GOLDEN / "classification" / "mrpc" / "data",
            "init_checkpoint": write_one_layer(model),
            "max_seq_length": 24,
            "train_batch_size": BATCH_SIZE,
            # Half a step more, for rounding is down.
            "num_train_epochs": (steps + 0.5) * BATCH_SIZE / EXAMPLES,
            "save_checkpoints_steps": SAVE_STEPS,
            "seed": seed,
            "output_dir": folder,
        }
        self.command = ["-m", "bert_tf.run_classifier"]
        self.command += [f"--{name}={value}" for name, value in flags.items()]
        self.command += [f"--{flag}" for flag in more]

    def start(self):
        """Starts a process with the command that every one of them has."""
        with open(self.log, "w") as log:
            self.process = prepared.Popen(
                self.command, stdout=log, stderr=log, cwd=ROOT
            )
        return self

    def wait_for_text(self, text):
        """Until the log has it."""
        while text not in self.log.read_text():
            self.wait(0.002)

    def wait_for_step(self, step):
        """Until one not before it is saved; returns how long that took."""
        began = time.monotonic()
        while not (saved := self._saved_steps()) or saved[-1] < step:
            self.wait(0.002)
        return time.monotonic() - began

    def wait_for_write(self):
        """Until a file is being written."""
        while not self.half_written():
            self.wait(0.0005)

    def wait(self, seconds):
        """Sleeps; the process must go on all that time."""
        time.sleep(seconds)
        if self.process.poll() is not None:
            self._fail("ended by itself")

    def kill(self):
        """Ends the process at once, and looks at what it leaves."""
        self.process.kill()
        self.process.wait()
        self._take_stock()
        self.inside_write += bool(self.half_written())
        newest = find_latest(self.folder)
        if newest is None and self.last_saved is not None:
            self._fail("left no checkpoint that TensorFlow finds")
        if newest is not None:
            read(newest)

    def finish(self):
        """Lets the process go on to its last step."""
        if self.process.wait():
            self._fail(f"ended with {self.process.returncode}")
        self._take_stock()
        if self.last_saved != self.steps:
            self._fail(f"ended at step {self.last_saved}")

    def final(self):
        """All arrays of the last checkpoint."""
        return read(self.folder / f"model.ckpt-{self.steps}")

    def half_written(self):
        """Names of files that are not yet, or will never be, complete."""
        parts = ("unfinished", "incomplete", "replacement")
        names = os.listdir(self.folder)
        return [name for name in names if any(part in name for part in parts)]

    def __str__(self):
        began, saved = (
            "none" if step is None else step
            for step in (self.began_at, self.last_saved)
        )
        return f"{began:>8}  {saved:>10}  {len(self.half_written()):5} files"

    def _saved_steps(self):
        return [int(step) for step in SAVED.findall(self.log.read_text())]

    def _take_stock(self):
        """Looks at where the process that has ended began, and came to."""
        text = self.log.read_text()
        resumed = RESUMED.search(text)
        if resumed:
            self.began_at = int(resumed[2])
            self.resumes += 1
            if self.began_at < (self.last_saved or 0):
                self._fail(f"threw away step {self.last_saved}")
            if self.began_at % SAVE_STEPS:
                self._fail("resumed from a step that is never saved")
        elif "Running training" in text:
            self.began_at = 0
            self.beginnings += 1
            if self.last_saved is not None:
                self._fail("began anew")
        else:
            self.began_at = None
            self.unknown += 1
        for step in self._saved_steps():
            self.last_saved = step

    def _fail(self, what):
        self.process.kill()
        sys.exit(f"The training {what}:\n{self.log.read_text()[-3000:]}")


def find_latest(folder):
    """The newest checkpoint, as TensorFlow itself finds it."""
    import tensorflow as tf

    return tf.train.latest_checkpoint(str(folder))


def read(prefix):
    """All arrays of a checkpoint, by TensorFlow's reader and not by ours."""
    import tensorflow as tf

    reader = tf.train.load_checkpoint(str(prefix))
    arrays = {
        name: reader.get_tensor(name)
        for name in reader.get_variable_to_shape_map()
    }
    bad = [name for name, a in arrays.items() if not np.isfinite(a).all()]
    if bad:
        sys.exit(f"{prefix} has values that are not finite: {bad}")
    return arrays


def compare(want, got):
    """What differs: names, or (name, largest difference)."""
    if want.keys() != got.keys():
        return sorted(want.keys() ^ got.keys())
    return [
        (name, float(np.abs(want[name] - got[name]).max()))
        for name in want
        if not np.array_equal(want[name], got[name])
    ]


if __name__ == "__main__":
    main()
