"""Saves checkpoints without end, is killed, and looks what is left.

    python kill_saving.py FOLDER TIMES

Each time a child saves one step after the other, goes on where the last one
was killed, and dies by SIGKILL at a random moment. A second child then loads
the newest checkpoint and compares every number with its step. Prints those
steps.
TensorFlow is imported once; children fork before anything of it runs.
"""

import os
import random
import re
import signal
import sys
import time
import traceback

import numpy as np
import tensorflow as tf

from bert_tf import checkpoints

NAMES = [f"layer_{i}/kernel" for i in range(20)]


def save_without_end(folder):
    newest = checkpoints.latest(folder)
    step = 0 if newest is None else checkpoints.global_step(newest)
    while True:
        # Every third time the newest is written again, as after a restart.
        step += step % 3 != 2 or random.random() < 0.5
        values = {name: np.full(5000, step, np.float32) for name in NAMES}
        checkpoints.save(folder, step, values, keep=2)


def print_newest(folder):
    newest = checkpoints.latest(folder)
    step = checkpoints.global_step(newest)
    variables = {name: tf.Variable(tf.zeros(5000)) for name in NAMES}
    checkpoints.load(variables, newest, expect=variables)
    for variable in variables.values():
        np.testing.assert_array_equal(variable, np.float32(step))
    # What a kill leaves half-written is gone after the next save. (A kill just
    # before old files are removed leaves those for good: they are whole.)
    marked = [n for n in os.listdir(folder) if "unfinished" in n or ".rep" in n]
    if len(marked) > 5:
        raise SystemExit(f"leftovers: {sorted(marked)}")
    print(step, flush=True)


def in_child(work, folder):
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        random.seed(os.getpid())
        work(folder)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def saved_step(folder):
    """That of the newest checkpoint, without TensorFlow; 0 if there is none."""
    path = os.path.join(folder, "checkpoint")
    if not os.path.exists(path):
        return 0
    with open(path) as file:
        return int(re.search(r'ckpt-(\d+)"', file.readline())[1])


def main(folder, times):
    for _ in range(times):
        before = saved_step(folder)
        saving = in_child(save_without_end, folder)
        # However busy the machine is, each child goes on before it is killed.
        while saved_step(folder) < before + 2:
            if os.waitpid(saving, os.WNOHANG)[0]:
                raise SystemExit("It ended by itself.")
            time.sleep(0.01)
        time.sleep(random.uniform(0.05, 0.35))
        os.kill(saving, signal.SIGKILL)
        os.waitpid(saving, 0)
        _, status = os.waitpid(in_child(print_newest, folder), 0)
        if status:
            raise SystemExit("The newest checkpoint is not whole.")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
