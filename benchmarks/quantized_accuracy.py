"""What `--quantize` gives and takes: accuracy, size, time beside float32.

Comes in: a fine-tuned checkpoint, and data with the right answers. Goes out: a
table of SavedModels of it, float32, bfloat16 and int8, asked the same in turns.

    python benchmarks/quantized_accuracy.py --checkpoint /tmp/mrpc_output \
        --vocab_file BERT/vocab.txt --bert_config_file BERT/bert_config.json \
        --max_seq_length 96 --mrpc GLUE/MRPC

`--sst2 GLUE/SST-2` and `--squad dev-v1.1.json` are for checkpoints trained on
those. Accuracy is of the dev part, of SQuAD exact match and F1. Times are of
whole requests, text in and answer out: of all the data in batches of
`--batch_size`, and the median of single texts. The models take turns batch
by batch, so that whatever else keeps the machine busy slows all of them.
"""

import argparse
import json
import pathlib
import statistics
import tempfile
import time
from typing import NamedTuple

import bert_tf
from bert_tf.exports import export as serving
from bert_tf.exports import quantization
from bert_tf.tasks.classification import datasets
from bert_tf.tasks.classification import served as classification_served
from bert_tf.tasks.squad import metrics, served

SINGLE_TEXTS = 100
WARM_UP_BATCHES = 2
EXACT = "float32"
MODES = {EXACT: None, **{mode: mode for mode in quantization.MODES}}


class Data(NamedTuple):
    """What is asked, and how answers are counted.

    Attributes:
        texts: a text, or a pair of them, for each question.
        score: function of the answers, as text, that returns numbers by name.
        labels: of a classifier, else None.
    """

    texts: list
    score: object
    labels: tuple | None


def read_classifier(task, folder):
    """The dev part of a task of run_classifier."""
    if isinstance(task, datasets.TsvTask):
        task = task.learn_labels(folder)
    examples = task.get_dev_examples(folder)
    right = [example.label for example in examples]

    def accuracy(found):
        same = sum(a == b for a, b in zip(found, right, strict=True))
        return {"accuracy": 100 * same / len(right)}

    texts = [
        example.text_a
        if example.text_b is None
        else (example.text_a, example.text_b)
        for example in examples
    ]
    return Data(texts, accuracy, tuple(task.get_labels()))


def read_squad(path):
    """The questions of a SQuAD 1.1 file."""
    data = json.loads(pathlib.Path(path).read_text("utf-8"))["data"]
    texts, answers = [], {}
    for article in data:
        for paragraph in article["paragraphs"]:
            for question in paragraph["qas"]:
                texts.append((question["question"], paragraph["context"]))
                answers[question["id"]] = [
                    answer["text"] for answer in question["answers"]
                ]

    def score(found):
        found = dict(zip(answers, found, strict=True))
        return metrics.evaluate_v1(answers, found)

    return Data(texts, score, None)


def export(arguments, data, folder):
    """All SavedModels: `Predictor`s by the name of their numbers."""
    predictors = {}
    for name, quantize in MODES.items():
        source = serving.Source(
            arguments.checkpoint,
            arguments.vocab_file,
            arguments.bert_config_file,
            not arguments.cased,
            arguments.max_seq_length,
            quantize,
        )
        output_dir = str(pathlib.Path(folder) / name)
        if data.labels is None:
            path = served.export_span(source, output_dir, arguments.doc_stride)
        else:
            path = classification_served.export_classifier(
                source, output_dir, data.labels
            )
        predictors[name] = bert_tf.Predictor(path, arguments.batch_size)
    return predictors


def answer_of(result):
    """A result of `Predictor` as text."""
    return result.text if hasattr(result, "text") else result.label


def ask(predictors, batches):
    """Asks each batch of each model; answers, and seconds, by model."""
    found = {name: [] for name in predictors}
    seconds = {name: [] for name in predictors}
    for batch in batches:
        for name, predict in predictors.items():
            start = time.perf_counter()
            results = list(predict(batch))
            seconds[name].append(time.perf_counter() - start)
            found[name] += map(answer_of, results)
    return found, seconds


def megabytes(path):
    """Of all files of a SavedModel."""
    files = (file for file in pathlib.Path(path).rglob("*") if file.is_file())
    return sum(file.stat().st_size for file in files) / 1e6


def show(data, predictors, found, seconds, single):
    """Prints the table."""
    rows = {
        name: {
            **data.score(found[name]),
            "other answers": sum(map(str.__ne__, found[name], found[EXACT])),
            "MB": megabytes(predict.path),
            "seconds for all": sum(seconds[name]),
            "ms for one": 1000 * statistics.median(single[name]),
        }
        for name, predict in predictors.items()
    }
    columns = list(rows[EXACT])
    print(f"| {len(data.texts)} questions | {' | '.join(columns)} |")
    print("|---" * (len(columns) + 1) + "|")
    for name, row in rows.items():
        values = " | ".join(f"{row[column]:.2f}" for column in columns)
        print(f"| {name} | {values} |")


def main():
    """Read, export, ask and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--checkpoint", required=True)
    parser.add_argument("--vocab_file")
    parser.add_argument("--bert_config_file")
    parser.add_argument("--cased", action="store_true")
    parser.add_argument("--max_seq_length", type=int, default=128)
    parser.add_argument("--doc_stride", type=int, help="for --squad")
    parser.add_argument("--batch_size", type=int, default=32)
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--mrpc", help="folder of GLUE's MRPC")
    which.add_argument("--sst2", help="folder of GLUE's SST-2")
    which.add_argument("--squad", help="a file like dev-v1.1.json")
    arguments = parser.parse_args()
    if arguments.mrpc:
        data = read_classifier(datasets.find_task("mrpc"), arguments.mrpc)
    elif arguments.sst2:
        sentences = datasets.TsvTask(text_a_col="sentence")
        data = read_classifier(sentences, arguments.sst2)
    else:
        data = read_squad(arguments.squad)
    texts, size = data.texts, arguments.batch_size
    batches = [texts[i : i + size] for i in range(0, len(texts), size)]
    with tempfile.TemporaryDirectory() as folder:
        predictors = export(arguments, data, folder)
        ask(predictors, batches[:WARM_UP_BATCHES])
        found, seconds = ask(predictors, batches)
        _, single = ask(predictors, [[text] for text in texts[:SINGLE_TEXTS]])
        show(data, predictors, found, seconds, single)


if __name__ == "__main__":
    main()
