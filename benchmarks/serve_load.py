r"""Measures a server under load, with and without batching.

    python benchmarks/serve_load.py --model=MODEL_FOLDER --clients=1,8,32

Serves the model twice, with and without --no_batching (the latter not with
--largest or --requests). As many clients as --clients says send requests one
after the other for --seconds, each on its own connection. Both servers run all
the time and are measured in turns, so that other load on the machine affects
both. Prints answers per second, the median and the 99th percentile of the
latency, the rows per batch, the most memory that was seen, and failures. --url
measures a server that is already running.

Texts are sentences of the sample data; --lengths lists how many sentences a
text may have, drawn for each request.

    python benchmarks/serve_load.py --model=MODEL_FOLDER --clients=16 \
      --seconds=60 --largest --requests=20000

--largest adds a client that sends the largest requests that the server takes to
all of its paths, in turns; its own answers are counted apart. A signature that
takes none of them is left out, and named.
--requests sends as many before and after which the server's memory is compared.
"""

import base64
import collections
import contextlib
import gzip
import http.client
import itertools
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

from bert_tf.server.protocol import Limits

ROOT = pathlib.Path(__file__).resolve().parent.parent
SAMPLES = ROOT / "run_scripts" / "sample_data" / "text"

flags.DEFINE_string("model", None, "Folder of a SavedModel, to be served here.")
flags.DEFINE_string("url", None, "http://HOST:PORT/v1/models/NAME instead.")
flags.DEFINE_list("clients", ["1", "8", "32"], "How many ask at once.")
flags.DEFINE_float("seconds", 5, "For each number of clients and each server.")
flags.DEFINE_list("lengths", ["1", "1", "1", "4"], "Sentences of a text.")
flags.DEFINE_integer("rows", 1, "Instances of a request.")
flags.DEFINE_list("flags", [], "More flags for the servers, NAME=VALUE.")
flags.DEFINE_boolean("largest", False, "One client sends large requests.")
flags.DEFINE_integer("requests", 0, "Requests for the test of memory.")
FLAGS = flags.FLAGS

MEGABYTE = 1024 * 1024


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

    def value(name):
        return [text(name), text(name)] if name == "choices" else text(name)

    rows = [{name: value(name) for name in inputs} for _ in range(FLAGS.rows)]
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

    def go_on(self):
        """Whether to ask once more."""
        return time.perf_counter() < self.until

    def run(self):
        connection = http.client.HTTPConnection(self.url.netloc, timeout=60)
        while self.go_on():
            began = time.perf_counter()
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


class Largest(threading.Thread):
    """Sends the largest requests that are taken to all paths, until stopped.

    Args:
        url: of the model.
        signatures: inputs and their tensors by signature, from /metadata.
    """

    def __init__(self, url, signatures):
        super().__init__()
        self.url = urllib.parse.urlsplit(url)
        found = [
            self.find_largest(make, suffix, name)
            for make, suffix, name in [
                *(
                    (make_rows(name, signature), ":predict", name)
                    for name, signature in signatures
                    # __saved_model_init_op has none.
                    if signature["inputs"]
                ),
                (lambda size: {"instances": make_texts(size)}, ":tokenize", ""),
            ]
        ]
        self.requests = [request for request in found if request]
        self.requests += [("GET", self.url.path + s, None) for s in GET_PATHS]
        self.requests += [("GET", path, None) for path in OTHER_PATHS]
        self.stopped = threading.Event()
        self.statuses = collections.Counter()

    def find_largest(self, make, suffix, name):
        """A request of the greatest size that is not refused with 4xx.

        None for a signature whose inputs are of another form.
        """
        path = self.url.path + suffix
        for half in range(20):
            body = json.dumps(make(0.5**half)).encode()
            status = self.send("POST", path, body)
            if not 400 <= status < 500:
                print(f"{suffix} {name} takes {len(body):,} bytes: {status}")
                return "POST", path, body
        print(f"{suffix} {name} is left out: {status}")
        return None

    def send(self, method, path, body):
        """The status, or 0 without an answer."""
        connection = http.client.HTTPConnection(self.url.netloc, timeout=300)
        headers = {"content-encoding": "gzip"} if body else {}
        body = body and gzip.compress(body, 1)
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            answer.read()
        except (OSError, http.client.HTTPException):
            return 0
        finally:
            connection.close()
        return answer.status

    def run(self):
        for method, path, body in itertools.cycle(self.requests):
            if self.stopped.is_set():
                return
            self.statuses[self.send(method, path, body)] += 1


GET_PATHS = ("", "/metadata", "/versions/1")
OTHER_PATHS = ("/", "/page/app.js", "/page/about.json", "/metrics", "/readyz")

# The server's limits of a request, and positions of a model.
LIMITS, TOKENS = Limits(), 512


def make_texts(size):
    """Texts that fill this share of a body; first fewer, then shorter ones."""
    rows = max(1, int(LIMITS.instances * size))
    chars = min(LIMITS.text_chars, LIMITS.body_bytes // rows) - 300
    chars = int(chars * min(1, LIMITS.instances * size))
    text = " ".join(read_sentences()[:9]) + " [MASK] "
    return [(text * (1 + chars // len(text)))[: max(chars, 1)]] * rows


# Choices of a row, where the model chooses.
CHOICES = 2


def make_rows(name, signature):
    """Function of a size that returns a body for a signature."""
    inputs = {
        key: len(tensor["tensor_shape"]["dim"])
        for key, tensor in signature["inputs"].items()
    }

    def of_texts(size):
        # Several inputs share the body.
        texts = make_texts(size / sum(inputs.values()))
        lists = {
            "words": lambda text: text.split(),
            "choices": lambda text: [text] * CHOICES,
        }
        return {
            "signature_name": name,
            "inputs": {
                key: list(map(lists[key], texts)) if rank == 2 else texts
                for key, rank in inputs.items()
            },
        }

    def of_ids(size):
        row = [1] * max(1, int(TOKENS * size))
        return {
            "signature_name": name,
            "inputs": {
                key: [[row] * CHOICES if rank == 3 else row] * LIMITS.instances
                for key, rank in inputs.items()
            },
        }

    def of_examples(size):
        import tensorflow as tf

        tokens = max(1, int(TOKENS * size))
        example = tf.train.Example()
        # Each row of several choices begins with [CLS].
        ids = ([find_cls()] + [1] * tokens)[:tokens] * CHOICES
        for key, values in {
            "input_ids": ids,
            "input_mask": [1] * len(ids),
            "segment_ids": [0] * len(ids),
        }.items():
            example.features.feature[key].int64_list.value.extend(values)
        row = base64.b64encode(example.SerializeToString()).decode()
        rows = [{"b64": row}] * LIMITS.instances
        return {"signature_name": name, "inputs": rows}

    if "examples" in inputs:
        return of_examples
    return of_ids if "input_ids" in inputs else of_texts


def find_cls():
    """The id of [CLS] of the model that is served here; else 1."""
    for path in pathlib.Path(FLAGS.model or "").glob("*/assets/vocab.txt"):
        return path.read_text(encoding="utf-8").split("\n").index("[CLS]")
    return 1


class Memory(threading.Thread):
    """Looks at the server's memory until stopped.

    Attributes:
        peak: the most bytes that were seen.
    """

    def __init__(self, url):
        super().__init__()
        self.url, self.peak = url, 0
        self.stopped = threading.Event()

    def run(self):
        while not self.stopped.wait(0.1):
            # Where the server does not answer, a client counts that.
            with contextlib.suppress(OSError):
                self.peak = max(self.peak, read_metrics(self.url)[MEMORY])


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
    before, memory = read_metrics(url), Memory(url)
    memory.start()
    began = time.perf_counter()
    threads = [
        Client(url, bodies, began + FLAGS.seconds) for _ in range(clients)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took = time.perf_counter() - began
    memory.stopped.set()
    memory.join()
    after = read_metrics(url)
    seconds = sorted(s for thread in threads for s in thread.seconds)
    failures = sum(
        (thread.failures for thread in threads), start=collections.Counter()
    )
    runs, rows = (after[name] - before[name] for name in METRICS)
    if not seconds:
        return {"failures": dict(failures)}
    return {
        "peak MB": max(memory.peak, after[MEMORY]) / MEGABYTE,
        "answers/s": len(seconds) * FLAGS.rows / took,
        "median ms": 1000 * statistics.median(seconds),
        "p99 ms": 1000
        * seconds[min(len(seconds) - 1, int(len(seconds) * 0.99))],
        "rows/batch": rows / max(1, runs),
        "failures": dict(failures),
    }


SHOWN = ("answers/s", "median ms", "p99 ms", "rows/batch", "peak MB")
METRICS = ("bert_tf_batch_rows_count", "bert_tf_batch_rows_sum")
MEMORY = "process_resident_memory_bytes"


def read_metrics(url):
    """The counts of runs and rows, and bytes of memory, by name."""
    root = urllib.parse.urlsplit(url)
    with urllib.request.urlopen(f"http://{root.netloc}/metrics") as answer:
        lines = answer.read().decode().splitlines()
    pairs = dict(line.rpartition(" ")[::2] for line in lines)
    return {name: float(pairs[name]) for name in (*METRICS, MEMORY)}


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


@contextlib.contextmanager
def beside(url, signatures):
    """Runs a `Largest` client, if there is to be one; lists its statuses."""
    found = []
    if not FLAGS.largest:
        yield found
        return
    client = Largest(url, sorted(signatures.items()))
    client.start()
    yield found
    client.stopped.set()
    client.join()
    found += client.statuses.items()


def compare_memory(url, bodies):
    """Sends `--requests` and prints the server's memory before and after."""
    before = read_metrics(url)[MEMORY] / MEGABYTE
    numbers = iter(range(FLAGS.requests))
    failures = collections.Counter()

    class Some(Client):
        def go_on(self):
            return next(numbers, None) is not None

    clients = [Some(url, bodies, 0) for _ in range(16)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
        failures += client.failures
    after = read_metrics(url)[MEMORY] / MEGABYTE
    print(
        f"{FLAGS.requests} requests: {before:.0f} MB before, {after:.0f} MB "
        f"after ({after / before - 1:+.1%}), failures: {dict(failures)}",
        flush=True,
    )


def main(argv):
    """Measures, and prints a table."""
    if bool(FLAGS.model) == bool(FLAGS.url):
        raise SystemExit("Give either --model or --url.")
    with contextlib.ExitStack() as stack:
        if FLAGS.url:
            urls = {"as it runs": FLAGS.url}
        else:
            urls = {"batching": stack.enter_context(served())}
            if not FLAGS.largest and not FLAGS.requests:
                other = stack.enter_context(served("--no_batching"))
                urls["no batching"] = other
        url = next(iter(urls.values()))
        with urllib.request.urlopen(f"{url}/metadata") as answer:
            found = json.load(answer)["metadata"]["signature_def"]
        found = found["signature_def"]
        inputs = sorted(found["serve_text"]["inputs"])
        sentences, draw = read_sentences(), random.Random(1)
        bodies = Endless(
            [make_body(inputs, sentences, draw) for _ in range(500)]
        )
        for each in urls.values():
            measure(each, bodies, 2)  # Warm.
        print("clients  server      " + "".join(map("{:>11}".format, SHOWN)))
        for clients in map(int, FLAGS.clients):
            for name, each in urls.items():
                with beside(each, found) as large:
                    got = measure(each, bodies, clients)
                shown = "".join(f"{got.get(k, 0):11.1f}" for k in SHOWN)
                failures = got["failures"] or "none"
                print(
                    f"{clients:>7}  {name:<12}{shown}  failures: {failures}"
                    + (f"  the largest: {dict(large)}" if large else ""),
                    flush=True,
                )
        if FLAGS.requests:
            compare_memory(url, bodies)


if __name__ == "__main__":
    app.run(main)
