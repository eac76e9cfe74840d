"""Measures a server under load, with and without batching.

    python benchmarks/serve_load.py --model=MODEL_FOLDER --clients=1,8,32

Serves the model twice, with and without --no_batching. As many clients as
--clients says send requests one after the other for --seconds, each on its own
connection. Both servers run all the time and are measured in turns, so that
other load on the machine affects both. Prints answers per second, the median
and the 99th percentile of the latency, the rows per batch, and failures. --url
measures a server that is already running.

Texts are sentences of the sample data; --lengths lists how many sentences a
text may have, drawn for each request.
"""

import collections
import contextlib
import http.client
import json
import pathlib
import random
import re
import statistics
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request

from absl import app, flags

ROOT = pathlib.Path(__file__).resolve().parent.parent
SAMPLES = ROOT / "run_scripts" / "sample_data" / "text"

flags.DEFINE_string("model", None, "Folder of a SavedModel, to be served here.")
flags.DEFINE_string("url", None, "http://HOST:PORT/v1/models/NAME instead.")
flags.DEFINE_list("clients", ["1", "8", "32"], "How many ask at once.")
flags.DEFINE_float("seconds", 5, "For each number of clients and each server.")
flags.DEFINE_list("lengths", ["1", "1", "1", "4"], "Sentences of a text.")
flags.DEFINE_integer("rows", 1, "Instances of a request.")
flags.DEFINE_list("flags", [], "More flags for the servers, NAME=VALUE.")
FLAGS = flags.FLAGS


def read_sentences():
    """The sentences of the sample data."""
    paths = sorted(SAMPLES.glob("*.txt"))
    lines = (line for path in paths for line in path.read_text().splitlines())
    return [line.strip() for line in lines if len(line.split()) > 4]


def make_body(inputs, sentences, draw):
    """A request to serve_text, with texts that are drawn."""

    def text(name):
        count = 1 if name == "question" else int(draw.choice(FLAGS.lengths))
        found = " ".join(draw.choice(sentences) for _ in range(count))
        return found.replace("the", "[MASK]", 1) if name == "text" else found

    rows = [{name: text(name) for name in inputs} for _ in range(FLAGS.rows)]
    return json.dumps({"signature_name": "serve_text", "instances": rows})


class Client(threading.Thread):
    """Asks one after the other until the time is over."""

    def __init__(self, url, bodies, until):
        super().__init__()
        self.url = urllib.parse.urlsplit(url)
        self.bodies = bodies
        self.until = until
        self.seconds = []
        self.failures = collections.Counter()

    def run(self):
        connection = http.client.HTTPConnection(self.url.netloc, timeout=60)
        while (began := time.perf_counter()) < self.until:
            try:
                path = f"{self.url.path}:predict"
                connection.request("POST", path, next(self.bodies))
                answer = connection.getresponse()
                answer.read()
            except (OSError, http.client.HTTPException) as error:
                self.failures[type(error).__name__] += 1
                connection.close()
                continue
            if answer.status == 200:
                self.seconds.append(time.perf_counter() - began)
            else:
                self.failures[answer.status] += 1


class Endless:
    """Bodies for all clients, made beforehand, in turns."""

    def __init__(self, bodies):
        self.bodies = bodies
        self.lock = threading.Lock()
        self.index = 0

    def __next__(self):
        with self.lock:
            self.index += 1
            return self.bodies[self.index % len(self.bodies)]


def measure(url, bodies, clients):
    """What so many clients got: numbers by name."""
    before = read_metrics(url)
    began = time.perf_counter()
    threads = [
        Client(url, bodies, began + FLAGS.seconds) for _ in range(clients)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took = time.perf_counter() - began
    after = read_metrics(url)
    seconds = sorted(s for thread in threads for s in thread.seconds)
    failures = sum(
        (thread.failures for thread in threads), start=collections.Counter()
    )
    runs, rows = (after[name] - before[name] for name in METRICS)
    if not seconds:
        return {"failures": dict(failures)}
    return {
        "answers/s": len(seconds) * FLAGS.rows / took,
        "median ms": 1000 * statistics.median(seconds),
        "p99 ms": 1000
        * seconds[min(len(seconds) - 1, int(len(seconds) * 0.99))],
        "rows/batch": rows / max(1, runs),
        "failures": dict(failures),
    }


SHOWN = ("answers/s", "median ms", "p99 ms", "rows/batch")
METRICS = ("bert_tf_batch_rows_count", "bert_tf_batch_rows_sum")


def read_metrics(url):
    """The counts of runs and rows, by name."""
    root = urllib.parse.urlsplit(url)
    with urllib.request.urlopen(f"http://{root.netloc}/metrics") as answer:
        lines = answer.read().decode().splitlines()
    pairs = dict(line.rpartition(" ")[::2] for line in lines)
    return {name: float(pairs[name]) for name in METRICS}


@contextlib.contextmanager
def served(*more):
    """The address of the model on a server of its own."""
    command = [sys.executable, "-m", "bert_tf.serve", FLAGS.model, "--port=0"]
    command += [f"--{flag}" for flag in FLAGS.flags]
    process = subprocess.Popen(
        [*command, *more],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        line = process.stdout.readline()
        if not line:
            raise SystemExit(f"{FLAGS.model} cannot be served.")
        yield re.search(r"at (\S+)\. Try", line)[1]
    finally:
        process.terminate()
        process.wait()


def main(argv):
    """Measures, and prints a table."""
    if bool(FLAGS.model) == bool(FLAGS.url):
        raise SystemExit("Give either --model or --url.")
    with contextlib.ExitStack() as stack:
        if FLAGS.url:
            urls = {"as it runs": FLAGS.url}
        else:
            urls = {
                "batching": stack.enter_context(served()),
                "no batching": stack.enter_context(served("--no_batching")),
            }
        url = next(iter(urls.values()))
        with urllib.request.urlopen(f"{url}/metadata") as answer:
            found = json.load(answer)["metadata"]["signature_def"]
        inputs = sorted(found["signature_def"]["serve_text"]["inputs"])
        sentences, draw = read_sentences(), random.Random(1)
        bodies = Endless(
            [make_body(inputs, sentences, draw) for _ in range(500)]
        )
        for each in urls.values():
            measure(each, bodies, 2)  # Warm.
        print("clients  server      " + "".join(map("{:>11}".format, SHOWN)))
        for clients in map(int, FLAGS.clients):
            for name, each in urls.items():
                got = measure(each, bodies, clients)
                shown = "".join(f"{got.get(k, 0):11.1f}" for k in SHOWN)
                failures = got["failures"] or "none"
                print(
                    f"{clients:>7}  {name:<12}{shown}  failures: {failures}",
                    flush=True,
                )


if __name__ == "__main__":
    app.run(main)
