r"""How long one text takes, text in and probabilities out, beside others.

    python benchmarks/serving_latency.py --size base --vocab_file VOCAB \
        --torch_python PYTHON --keras_hub_python PYTHON --json latency.json

A classifier of two classes is asked about one text at a time, of 16, 64 and 128
word pieces with [CLS] and [SEP]:

- serve_text, serving_default: the signatures of bert_tf's SavedModel, called in
  a process with TensorFlow alone; the second gets ids that are there already;
- Predictor: `bert_tf.Predictor`;
- HTTP: `python -m bert_tf.serve`, a process of its own, asked for one row at a
  time on a connection that stays;
- PyTorch: transformers' BertTokenizerFast and BertForSequenceClassification;
- keras-hub: BertTextClassifier with its preprocessor, packed to the length of
  the text. Once its `predict_on_batch`, which spares the dataset that `predict`
  makes for each call, and once preprocessor and model inside a `tf.function`.

The last two need --torch_python and --keras_hub_python, interpreters that have
transformers or keras-hub. Each way is a process that starts once, and computes
with --threads threads. Rounds ask all of them in turn, so that other work on
the machine strikes all; shown are the median and the 99th percentile of all
calls. The first calls of a round at a length are not counted.

Weights are drawn, everywhere anew: only the models' sizes are the same, which
is checked, as is that each way saw as many word pieces. Texts are made of words
that are single pieces of an uncased vocabulary, another text for each call.
"""

import argparse
import contextlib
import http.client
import itertools
import json
import os
import pathlib
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.parse

import own_process
from speed import percentile, rounded

from bert_tf.tasks.classification import served

WARM_CALLS = 3
THREAD_VARIABLES = ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS")
TEXTS = 64

# hidden_size, num_hidden_layers, num_attention_heads, intermediate_size.
SIZES = {"base": (768, 12, 12, 3072), "mini": (256, 4, 4, 1024)}
POSITIONS = 512
LABELS = ("negative", "positive")

OURS = ("serve_text", "serving_default", "Predictor", "HTTP")
THEIRS = {
    "PyTorch": "torch_python",
    "keras-hub predict_on_batch": "keras_hub_python",
    "keras-hub tf.function": "keras_hub_python",
}


def main():
    """Starts the ways, asks them in turn and prints the table."""
    arguments = parse_arguments()
    if arguments.job:
        return do_job(arguments.job)
    with tempfile.TemporaryDirectory(prefix="bert_tf_latency_") as folder:
        try:
            measure(arguments, folder)
        except (own_process.JobFailed, WayFailed) as error:
            sys.exit(str(error))


def parse_arguments(given=None):
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--vocab_file", help="uncased")
    parser.add_argument("--size", choices=SIZES, default="base", help="[base]")
    parser.add_argument(
        "--lengths", type=int, nargs="+", default=[16, 64, 128], metavar="S"
    )
    parser.add_argument("--rounds", type=int, default=5, help="[5]")
    parser.add_argument(
        "--calls", type=int, default=40, help="in a round, at a length [40]"
    )
    parser.add_argument("--threads", type=int, default=2, help="[2]")
    parser.add_argument("--torch_python", metavar="PYTHON")
    parser.add_argument("--keras_hub_python", metavar="PYTHON")
    parser.add_argument("--json", metavar="FILE", help="write all times")
    parser.add_argument("--job", type=json.loads, help=argparse.SUPPRESS)
    arguments = parser.parse_args(given)
    if arguments.job:
        return arguments
    if not arguments.vocab_file:
        parser.error("--vocab_file is required")
    for name in ("rounds", "calls", "threads"):
        if getattr(arguments, name) < 1:
            parser.error(f"--{name} must be above 0")
    if not all(2 < length <= POSITIONS for length in arguments.lengths):
        parser.error(f"--lengths must be from 3 to {POSITIONS}")
    return arguments


def interpreters(arguments):
    """The Python of each way that can be measured."""
    found = dict.fromkeys(OURS, sys.executable)
    given = {name: getattr(arguments, each) for name, each in THEIRS.items()}
    return found | {name: python for name, python in given.items() if python}


def measure(arguments, folder):
    """Does the rounds, then shows what came out."""
    job = {
        "folder": folder,
        "size": arguments.size,
        "vocab_file": os.path.abspath(arguments.vocab_file),
        "threads": arguments.threads,
        "longest": max(arguments.lengths),
    }
    own_process.run(__file__, {**job, "way": "prepare"})
    about = {
        "program": "serving_latency",
        "size": arguments.size,
        "threads": arguments.threads,
        "rounds": arguments.rounds,
        "calls": arguments.calls,
        **own_process.about(),
    }
    with contextlib.ExitStack() as stack:
        ways = {}
        for name, python in interpreters(arguments).items():
            way = Way(name, python, job)
            stack.callback(way.close)
            ways[name] = way
            print(f"{name}: {way.about}", file=sys.stderr, flush=True)
        check_same("parameters", {n: w.about for n, w in ways.items()})
        times = {
            name: {length: [] for length in arguments.lengths} for name in ways
        }
        for number in range(1, arguments.rounds + 1):
            for length in arguments.lengths:
                answers = {
                    name: way.ask(length=length, calls=arguments.calls)
                    for name, way in ways.items()
                }
                check_same("length", answers, length)
                for name, answer in answers.items():
                    times[name][length] += answer["seconds"]
            print(f"round {number} is done", file=sys.stderr, flush=True)
        about["ways"] = {name: way.about for name, way in ways.items()}
    if arguments.json:
        text = json.dumps({"about": about, "seconds": times}, indent=1)
        pathlib.Path(arguments.json).write_text(text + "\n", encoding="utf-8")
    print(head(about))
    print(table(times))


# ------------------------------------------------------------- what came out


class WayFailed(Exception):
    """A way did not answer, or not what was asked."""


def check_same(key, answers, wanted=None):
    """Raises if ways that know a number know different ones.

    Args:
        key: of the answers; None for it means that a way does not know.
        answers: dictionaries by the names of the ways.
        wanted: what it must be, if that is known.

    Raises:
        WayFailed: they differ.
    """
    known = {
        name: answer[key]
        for name, answer in answers.items()
        if answer[key] is not None
    }
    if len({*known.values(), *([] if wanted is None else [wanted])}) > 1:
        wish = "" if wanted is None else f" instead of {wanted}"
        raise WayFailed(f"The ways differ in {key}: {known}{wish}")


def head(about):
    """What stands above the table."""
    return (
        f"{about['size']}, {about['threads']} threads, {about['rounds']} "
        f"rounds of {about['calls']} calls; {about['cores']} cores, load "
        f"{about['load']} at the start; median / 99th percentile in "
        "milliseconds\n"
    )


def table(times):
    """A row for each way, a column for each length, in Markdown.

    Args:
        times: by way and length, the seconds of each call.
    """
    lengths = list(next(iter(times.values())))
    lines = [
        "| word pieces | " + " | ".join(map(str, lengths)) + " |",
        "|---" * (len(lengths) + 1) + "|",
    ]
    for name, by_length in times.items():
        cells = [shown(by_length[length]) for length in lengths]
        lines.append(f"| {' | '.join([name, *cells])} |")
    return "\n".join(lines)


def shown(seconds):
    """Median and 99th percentile in milliseconds."""
    both = statistics.median(seconds), percentile(seconds, 99)
    return " / ".join(rounded(1000 * one) for one in both)


# ---------------------------------------------------------------------- texts


def read_vocab(vocab_file):
    """The entries, in the order of their ids."""
    text = pathlib.Path(vocab_file).read_text(encoding="utf-8")
    return text.rstrip("\n").split("\n")


def make_texts(vocab, length, count=TEXTS):
    """Texts of so many word pieces, [CLS] and [SEP] included.

    Args:
        vocab: of `read_vocab`.
        length: of each text.
        count: how many.

    Returns:
        A list of strings, the same each time.
    """
    words = [
        entry
        for entry in vocab
        if len(entry) > 1
        and entry.isascii()
        and entry.isalpha()
        and entry.islower()
    ]
    draw = random.Random(length)
    return [" ".join(draw.choices(words, k=length - 2)) for _ in range(count)]


# ------------------------------------------------------- the ways, from outside


class Way:
    """A process that asks a model, and times that.

    Args:
        name: of the way.
        python: its interpreter.
        job: what it must know.

    Attributes:
        about: what it says of itself: parameters, versions.
    """

    def __init__(self, name, python, job):
        self.name = name
        # Open for as long as the process, until `close`.
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115
        job = {**job, "way": name}
        self._process = subprocess.Popen(
            [python, __file__, f"--job={json.dumps(job)}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            encoding="utf-8",
            env={
                "TF_CPP_MIN_LOG_LEVEL": "2",
                **os.environ,
                **dict.fromkeys(THREAD_VARIABLES, str(job["threads"])),
            },
        )
        self.about = self._read()

    def ask(self, **command):
        """What it answers to a command."""
        print(json.dumps(command), file=self._process.stdin, flush=True)
        return self._read()

    def _read(self):
        line = self._process.stdout.readline()
        if line:
            return json.loads(line)
        self._process.wait()
        self._errors.seek(0)
        said = self._errors.read().decode("utf-8", "replace")
        raise WayFailed(f"{said[-3000:]}\n{self.name} failed")

    def close(self):
        """Ends it."""
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()
        self._errors.close()


# -------------------------------------------------------- the ways, from inside


def do_job(job):
    """Prepares, or answers commands until there are no more."""
    if job["way"] == "prepare":
        return own_process.answer(prepare(job))
    # Libraries may print; only answers go to the parent.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    start = {
        "serve_text": start_text,
        "serving_default": start_ids,
        "Predictor": start_predictor,
        "HTTP": start_http,
        "PyTorch": start_torch,
        "keras-hub predict_on_batch": start_keras_hub,
        "keras-hub tf.function": start_keras_hub,
    }[job["way"]]
    vocab = read_vocab(job["vocab_file"])
    with contextlib.ExitStack() as stack:
        about, at_length = start(job, vocab, stack)
        print(json.dumps(about), file=answers, flush=True)
        for line in sys.stdin:
            command = json.loads(line)
            length = command["length"]
            texts = make_texts(vocab, length)
            call, seen = at_length(length)
            seconds = time_calls(call, texts, command["calls"])
            answer = {"length": seen(texts), "seconds": seconds}
            print(json.dumps(answer), file=answers, flush=True)


def time_calls(call, texts, calls):
    """The seconds of so many calls, each with the next of the texts."""
    texts = itertools.cycle(texts)
    for text in itertools.islice(texts, WARM_CALLS):
        call(text)
    seconds = []
    for text in itertools.islice(texts, calls):
        start = time.perf_counter()
        call(text)
        seconds.append(time.perf_counter() - start)
    return seconds


def only(values):
    """The one value there is."""
    (value,) = set(values)
    return value


def prepare(job):
    """Writes a checkpoint and exports it."""
    import workloads

    from bert_tf import (
        checkpoints,
        modeling,
        models,
    )
    from bert_tf.exports import export

    folder = pathlib.Path(job["folder"])
    vocab_size = len(read_vocab(job["vocab_file"]))
    config = modeling.BertConfig(
        vocab_size,
        *SIZES[job["size"]],
        max_position_embeddings=POSITIONS,
        type_vocab_size=2,
    )
    model = workloads.build_model(
        lambda: models.classifier(config, len(LABELS))
    )
    weights = checkpoints.named_weights(model)
    checkpoints.write(folder / "bert_model.ckpt", weights)
    (folder / "bert_config.json").write_text(config.to_json_string())
    source = export.Source(
        str(folder / "bert_model.ckpt"),
        job["vocab_file"],
        str(folder / "bert_config.json"),
        max_seq_length=job["longest"],
    )
    served.export_classifier(source, str(folder / "model"), LABELS)


def versions(*packages):
    """Of what does the work, in words."""
    from importlib import metadata

    return ", ".join(f"{name} {metadata.version(name)}" for name in packages)


def pieces_by_cutting(ask, texts, longest):
    """How many word pieces a SavedModel sees, by how many it cuts.

    Args:
        ask: function of a text that returns `num_cut`.
        texts: all of one length.
        longest: the most that it reads.
    """
    room = longest - 2

    def pieces(text):
        # So often that it surely does not fit.
        times = room // len(text.split()) + 1
        return (ask(" ".join([text] * times)) + room) / times + 2

    return only(map(pieces, texts[:3]))


def load_alone(job):
    """The SavedModel in a process with TensorFlow alone, and what it is."""
    import tensorflow as tf

    model = tf.saved_model.load(os.path.join(job["folder"], "model", "1"))
    about = {
        "parameters": parameters_of(model.signatures[job["way"]]),
        "versions": versions("tensorflow"),
    }
    return tf, model, about


def start_text(job, vocab, stack):
    """The signature that takes text."""
    tf, model, about = load_alone(job)

    def ask(text):
        outputs = model.signatures["serve_text"](text_a=tf.constant([text]))
        return {name: value.numpy() for name, value in outputs.items()}

    def seen(texts):
        return pieces_by_cutting(
            lambda text: int(ask(text)["num_cut"][0]), texts, job["longest"]
        )

    return about, lambda length: (ask, seen)


def start_ids(job, vocab, stack):
    """The signature that takes ids."""
    tf, model, about = load_alone(job)
    ids = {entry: number for number, entry in enumerate(vocab)}

    def at_length(length):
        rows = {
            text: [ids[word] for word in ("[CLS]", *text.split(), "[SEP]")]
            for text in make_texts(vocab, length)
        }

        def call(text):
            outputs = model.signatures["serving_default"](
                input_ids=tf.constant([rows[text]]),
                input_mask=tf.constant([[1] * length]),
                segment_ids=tf.constant([[0] * length]),
            )
            return {name: value.numpy() for name, value in outputs.items()}

        return call, lambda texts: only(len(rows[text]) for text in texts)

    return about, at_length


def parameters_of(signature):
    """How many numbers the weights of a function of TensorFlow have."""
    weights = (
        variable
        for variable in signature.variables
        if variable.dtype.is_floating
    )
    return sum(variable.shape.num_elements() for variable in weights)


def start_predictor(job, vocab, stack):
    """`bert_tf.Predictor`."""
    import bert_tf

    predict = bert_tf.Predictor(os.path.join(job["folder"], "model"))
    about = {
        "parameters": parameters_of(predict.signatures["serve_text"]),
        "versions": versions("bert_tf", "tensorflow"),
    }

    def seen(texts):
        return pieces_by_cutting(
            lambda text: predict(text).num_cut, texts, job["longest"]
        )

    return about, lambda length: (predict, seen)


def start_http(job, vocab, stack):
    """The server, in a process of its own, and a connection to it."""
    folder = os.path.join(job["folder"], "model")
    server = subprocess.Popen(
        # The connection must last while the other ways are asked.
        [
            *(sys.executable, "-m", "bert_tf.serve", folder),
            *("--port=0", f"--idle_seconds={24 * 3600}"),
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    stack.callback(server.wait)
    stack.callback(server.terminate)
    line = server.stdout.readline()
    if not line:
        sys.exit("The model cannot be served.")
    url = urllib.parse.urlsplit(re.search(r"at (\S+)\. Try", line)[1])
    connection = http.client.HTTPConnection(url.netloc)

    def ask(text):
        body = {"signature_name": "serve_text", "instances": [text]}
        connection.request("POST", f"{url.path}:predict", json.dumps(body))
        answer = connection.getresponse()
        content = json.load(answer)
        if answer.status != 200:
            sys.exit(f"The server answered {answer.status}, {content}")
        return content["predictions"][0]

    def seen(texts):
        return pieces_by_cutting(
            lambda text: ask(text)["num_cut"], texts, job["longest"]
        )

    about = {
        # The same SavedModel as above; it does not say.
        "parameters": None,
        "versions": versions("bert_tf", "tensorflow"),
    }
    return about, lambda length: (ask, seen)


def start_torch(job, vocab, stack):
    """PyTorch with transformers."""
    import torch
    import transformers

    torch.set_num_threads(job["threads"])
    width, layers, heads, inner = SIZES[job["size"]]
    config = transformers.BertConfig(
        vocab_size=len(vocab),
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=inner,
        max_position_embeddings=POSITIONS,
        type_vocab_size=2,
        num_labels=len(LABELS),
    )
    # Versions of transformers name the argument for the file differently.
    folder = pathlib.Path(job["folder"]) / "transformers"
    folder.mkdir()
    (folder / "vocab.txt").write_bytes(
        pathlib.Path(job["vocab_file"]).read_bytes()
    )
    tokenizer = transformers.BertTokenizerFast.from_pretrained(
        str(folder), do_lower_case=True
    )
    model = transformers.BertForSequenceClassification(config).eval()

    def call(text):
        with torch.inference_mode():
            inputs = tokenizer(text, return_tensors="pt")
            return model(**inputs).logits.softmax(-1).numpy()

    def seen(texts):
        return only(len(tokenizer(text)["input_ids"]) for text in texts)

    about = {
        "parameters": sum(weight.numel() for weight in model.parameters()),
        "versions": versions("torch", "transformers"),
    }
    return about, lambda length: (call, seen)


def start_keras_hub(job, vocab, stack):
    """keras-hub under TensorFlow."""
    os.environ["KERAS_BACKEND"] = "tensorflow"
    import keras_hub
    import numpy as np
    import tensorflow as tf

    width, layers, heads, inner = SIZES[job["size"]]
    tokenizer = keras_hub.models.BertTokenizer(vocabulary=vocab, lowercase=True)
    preprocessor = keras_hub.models.BertTextClassifierPreprocessor(tokenizer)
    classifier = keras_hub.models.BertTextClassifier(
        keras_hub.models.BertBackbone(
            vocabulary_size=len(vocab),
            num_layers=layers,
            num_heads=heads,
            hidden_dim=width,
            intermediate_dim=inner,
            max_sequence_length=POSITIONS,
            num_segments=2,
        ),
        num_classes=len(LABELS),
        preprocessor=preprocessor,
        activation="softmax",
    )

    def seen(texts):
        used = np.asarray(preprocessor(texts)["padding_mask"])
        # Nothing is padded; one more would be cut.
        return only([used.shape[1], *used.sum(-1).tolist()])

    def on_batch(text):
        return classifier.predict_on_batch([text])

    def make_graph():
        @tf.function(input_signature=[tf.TensorSpec([1], tf.string)])
        def classify(texts):
            return classifier(preprocessor(texts), training=False)

        return lambda text: classify(tf.constant([text])).numpy()

    graphs = {}

    def at_length(length):
        preprocessor.sequence_length = length
        if job["way"] == "keras-hub predict_on_batch":
            return on_batch, seen
        if length not in graphs:
            graphs[length] = make_graph()
        return graphs[length], seen

    about = {
        "parameters": classifier.count_params(),
        "versions": versions("keras-hub", "keras", "tensorflow"),
    }
    return about, at_length


if __name__ == "__main__":
    main()
