"""Functions that load versions for a server, and what becomes of them.

What a version's file `does` says happens: loading ends the process, takes for
ever, raises, or gives a model.
"""

import os
import pathlib
import sys
import time

from bert_tf.errors import InputError


def load(path, version):
    folder = pathlib.Path(path)
    with open(folder.parent / "loads", "a") as file:
        file.write(f"{os.getpid()} {version}\n")
    does = (folder / "does").read_text()
    print("said in between", flush=True)
    if does == "abort":
        print(
            "F0000 00:00:00 tensor.cc:1] Check failed: 1 > 2", file=sys.stderr
        )
        print("\x1b[2K a last line", file=sys.stderr, flush=True)
        os.abort()
    if does == "exit":
        os._exit(7)
    if does == "hang":
        time.sleep(600)
    if does == "refuse":
        raise InputError("its saved_model.pb\nis none")
    if does == "raise":
        raise KeyError("odd")
    return f"model {version}"
