"""Gives a running server damaged versions in turn, with fixed seeds.

python -m helpers.hostile_versions MODEL FOLDER COUNT [FIRST] serves a copy of
MODEL/1 from FOLDER, and prints what became of the versions. What is damaged,
but loads, must give the answers of MODEL.
"""

import collections
import json
import pathlib
import random
import re
import shutil
import subprocess
import sys
import threading
import time

from bert_tf.exports.folder import format_of
from bert_tf.exports.settings import MODEL_FILES
from helpers import hostile_http, prepared
from helpers.hostile import damaged

SECONDS = 600


def damage(rng, folder):
    """Damages a version, and says how."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    # Files are chosen as often as they matter, not as they are many.
    model = folder / MODEL_FILES[format_of(folder)]
    path = rng.choice([*files, model])
    way = rng.randrange(6)
    if way == 0:
        path.unlink()
        return f"{path.name} deleted"
    if way == 1:
        other = rng.choice([each for each in files if each != path])
        content = path.read_bytes()
        path.write_bytes(other.read_bytes())
        other.write_bytes(content)
        return f"{path.name} and {other.name} swapped"
    if way == 2:
        path.write_bytes(b"")
        return f"{path.name} emptied"
    if way == 3:
        shutil.rmtree(path.parent)
        folder.mkdir(exist_ok=True)
        return f"{path.parent.name}/ deleted"
    content = path.read_bytes()
    if content:
        path.write_bytes(damaged(rng, content))
    return f"{path.name} damaged"


class Asking(threading.Thread):
    """Asks all the time, and notes each answer that is another one."""

    def __init__(self, address, name):
        super().__init__(daemon=True)
        self.address, self.name = address, name
        self.wanted = hostile_http.probe(address, name)
        self.stopped, self.asked, self.others = False, 0, []

    def run(self):
        while not self.stopped:
            try:
                answer = hostile_http.probe(self.address, self.name)
            except OSError as error:
                answer = error
            self.asked += 1
            time.sleep(0.2)
            if answer != self.wanted:
                self.others.append(answer)


def state(address, number):
    """The state of a version and its error; None before it is known."""
    sent = f"GET /v1/models/m/versions/{number} HTTP/1.1\r\n"
    sent += "host: localhost\r\n\r\n"
    status, content = hostile_http.answer_to(address, sent.encode())
    if status == 404:
        return None
    (found,) = json.loads(content)["model_version_status"]
    return found["state"], found["status"]["error_message"]


def run(model, folder, count, first=0):
    """Damages versions; a list of what was wrong, and what became of them.

    Args:
        model: MODEL, which has one version.
        folder: an empty one to work in.
        count: number of versions.
        first: the number of those that an earlier run has had.
    """
    rng = random.Random(22)
    model, folder = pathlib.Path(model), pathlib.Path(folder)
    served = folder / "m"
    shutil.copytree(model / "1", served / "1")
    wrong, became = [], collections.Counter()
    with open(folder / "log", "w") as log:
        process = prepared.Popen(
            [
                *("-m", "bert_tf.serve", served),
                *("--port=0", "--poll_seconds=0.2"),
            ],
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    try:
        port = int(re.search(r":(\d+)/v1", process.stdout.readline())[1])
        asking = Asking(("127.0.0.1", port), "m")
        asking.start()
        for number in range(2, count + 2):
            made = folder / "made"
            shutil.copytree(model / "1", made)
            what = damage(rng, made)
            if number < first + 2:
                shutil.rmtree(made)
                continue
            made.rename(served / str(number))
            until = time.monotonic() + SECONDS
            while not (found := state(asking.address, number)) or (
                found[0] == "LOADING"
            ):
                if process.poll() is not None or time.monotonic() > until:
                    raise SystemExit(f"{what}: the server ended or waits")
                time.sleep(0.3)
            became[found[0]] += 1
            print(f"{number}: {what}: {found[0]} {found[1][:300]}", flush=True)
            if asking.others:
                wrong.append(f"{what}: {asking.others[:2]}")
                print(f"{number}: other answers", flush=True)
                asking.others.clear()
            shutil.rmtree(served / str(number))
            # The status of the first version may be too old to be kept.
            while found[0] == "AVAILABLE" and (
                (state(asking.address, 1) or "?")[0] != "AVAILABLE"
            ):
                time.sleep(0.3)
        asking.stopped = True
        asking.join()
        if process.poll() is not None:
            wrong.append(f"the server ended with {process.returncode}")
    finally:
        process.terminate()
        process.wait()
    if "Traceback" in (folder / "log").read_text():
        wrong.append("a traceback in the log")
    return wrong, {**became, "answers meanwhile": asking.asked}


def main(model, folder, count, first=0):
    """Prints what is wrong, and what became of the versions."""
    wrong, became = run(model, folder, int(count), int(first))
    print(*wrong, sep="\n")
    print(f"{len(wrong)} of {count} wrong; {became}")


if __name__ == "__main__":
    main(*sys.argv[1:])
