"""Labels words by a BiLSTM on the vectors of a BERT that is not trained.

    python run_scripts/paper/conll_features.py --data_dir=CONLL \
        --init_checkpoint=checkpoints/cased_L-12_H-768_A-12 \
        --features=concat --features_dir=features --output_dir=concat

Section 5.3 of the BERT paper: two layers of BiLSTM read the vectors of each
word's first piece, which extract_features writes to --features_dir, once. With
-DOCSTART- lines BERT reads whole documents, in windows; else sentences. Writes
eval_results.txt, and with several runs runs.tsv, as run_ner does.
"""

import argparse
import os
import subprocess
import sys
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf
from paper_runs import read_results

from bert_tf.checkpoints.names import EVAL_RESULTS
from bert_tf.errors import InputError
from bert_tf.support import files
from bert_tf.tasks.ner import data, metrics, schemes
from bert_tf.tasks.run import write_runs
from bert_tf.tasks.vectors.lines import EMBEDDINGS
from bert_tf.tokenization import convert_to_unicode
from bert_tf.training.evaluation import write_eval_results
from bert_tf.training.settings import RUNS_FILE, ModelFiles, folder_of_run
from bert_tf.training.start import open_model

NUM_LAST_LAYERS = 4
# Stands for words that the tokenizer leaves nothing of.
NO_PIECES = "?"
NO_LABEL = -1


class WeightedSum(keras.layers.Layer):
    """Sums vectors with weights that are learnt: [B, S, L, D] to [B, S, D]."""

    def build(self, shape):
        self.scores = self.add_weight(
            name="scores", shape=(shape[2],), initializer="zeros"
        )

    def call(self, x):
        weights = keras.ops.softmax(self.scores)
        return keras.ops.einsum("bsld,l->bsd", x, weights)


class Features(NamedTuple):
    """What is read of BERT.

    Attributes:
        layers: function of the model's number of layers that returns those to
            extract, as `extract_features --layers` takes them.
        combine: function of the vectors [..., L, D] of a word.
        file: tells the file of these layers from others.
    """

    layers: object
    combine: object = lambda x: x
    file: str = ""


def last_layers(num_layers):
    """The last four, or those that there are, the last one first."""
    return range(-1, -1 - min(NUM_LAST_LAYERS, num_layers), -1)


# One of the last four layers, all four side by side, or their sum with learnt
# weights; that of all layers; or the embeddings.
FEATURES = {
    "embeddings": Features(lambda _: [EMBEDDINGS], file="_embeddings"),
    "last": Features(last_layers, lambda x: x[..., :1, :]),
    "second_to_last": Features(last_layers, lambda x: x[..., 1:2, :]),
    "weighted_sum": Features(last_layers),
    "concat": Features(last_layers, lambda x: x.reshape(*x.shape[:-2], 1, -1)),
    "weighted_sum_all": Features(range, file="_all"),
}


class Sentences(NamedTuple):
    """Sentences with the vectors of their words.

    Attributes:
        examples: `ner.data.Example`s.
        vectors: for each an array [words, L, D].
    """

    examples: list
    vectors: list


def main(arguments=None):
    """Extracts what is missing, trains and evaluates."""
    given = parse_arguments(arguments)
    settings = data.FileSettings(given.data_dir)
    train, labels = data.read_train(settings)
    dev = data.read_part(settings, "dev", labels)
    os.makedirs(given.features_dir, exist_ok=True)
    parts = {}
    for name, examples in (("train", train), ("dev", dev)):
        vectors = list(read_vectors(given, name, examples))
        parts[name] = Sentences(examples, vectors)
    results = []
    for number in range(1, given.num_runs + 1):
        folder = given.output_dir
        if given.num_runs > 1:
            folder = folder_of_run(folder, number)
        results.append(
            run_once(given, parts, labels, folder, given.seed + number - 1)
        )
    if given.num_runs > 1:
        write_runs(os.path.join(given.output_dir, RUNS_FILE), results)


def parse_arguments(arguments):
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    for name in ("data_dir", "init_checkpoint", "features_dir", "output_dir"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--features", choices=FEATURES, default="concat")
    for name, kind, default in (
        ("max_seq_length", int, 384),
        ("doc_stride", int, 128),
        ("units", int, 768),
        ("train_batch_size", int, 32),
        ("learning_rate", float, 1e-3),
        ("num_train_epochs", float, 5),
        ("num_runs", int, 1),
        ("seed", int, 1),
    ):
        parser.add_argument(
            f"--{name}", type=kind, default=default, help="[%(default)s]"
        )
    return parser.parse_args(arguments)


# --------------------------------------------------------------------- vectors


def documents_of(examples):
    """The documents of sentences, in order; a sentence alone is one, too."""
    documents = []
    for example in examples:
        if example.number == 0:
            documents.append(example.document)
    return documents


def text_of(examples, tokenizer):
    """What BERT reads: the lines, and for each the pieces of its words.

    A file without -DOCSTART- is one document, and is read by sentences.

    Args:
        examples: of a part.
        tokenizer: a `FullTokenizer`.

    Returns:
        The lines, and for each of them the number of pieces of each word.
    """
    documents = documents_of(examples)
    if len(documents) == 1:
        documents = [[sentence] for sentence in documents[0]]
    lines, counts = [], []
    for document in documents:
        words = [convert_to_unicode(w) for one in document for w in one]
        pieces = [len(tokenizer.tokenize(word)) for word in words]
        pairs = zip(words, pieces)
        lines.append(" ".join(w if n else NO_PIECES for w, n in pairs))
        counts.append([count or 1 for count in pieces])
    return lines, counts


def read_vectors(given, part, examples):
    """Yields the vectors of the words of each sentence: [words, L, D].

    Raises:
        InputError: a line is not tokenized as its words are.
    """
    opened = open_model(ModelFiles(given.init_checkpoint))
    lines, counts = text_of(examples, opened.tokenizer)
    features = FEATURES[given.features]
    path = os.path.join(given.features_dir, f"{part}{features.file}.npz")
    if not os.path.exists(path):
        layers = features.layers(opened.config.num_hidden_layers)
        extract(given, part, lines, path, layers)
    arrays = np.load(path)
    offsets = arrays["offsets"]
    firsts = []
    for number, pieces in enumerate(counts):
        found = offsets[number + 1] - offsets[number]
        if found != sum(pieces) + 2:
            raise InputError(
                f"{path} must have {sum(pieces) + 2} tokens for line "
                f"{number + 1}. It has {found}: remove it to make it anew"
            )
        begins = np.cumsum([1, *pieces[:-1]])
        firsts.extend(offsets[number] + begins)
    vectors = arrays["values"][np.asarray(firsts)]
    vectors = features.combine(vectors)
    place = 0
    for example in examples:
        yield vectors[place : place + len(example.words)]
        place += len(example.words)


def extract(given, part, lines, path, layers):
    """Writes the vectors of layers."""
    text = os.path.join(given.features_dir, f"{part}.txt")
    files.write_text(text, "".join(f"{line}\n" for line in lines))
    flags = {
        "input_file": text,
        "output_file": path,
        "init_checkpoint": given.init_checkpoint,
        "layers": ",".join(map(str, layers)),
        "max_seq_length": given.max_seq_length,
        "doc_stride": given.doc_stride,
        "output_format": "npz",
        "float16": True,
    }
    command = [sys.executable, "-m", "bert_tf.extract_features"]
    command += [f"--{name}={value}" for name, value in flags.items()]
    code = subprocess.run(command).returncode
    if code:
        sys.exit(code)


# ------------------------------------------------------------------- the model


def build(shape, num_labels, units, learning_rate):
    """Two layers of BiLSTM over words: [B, S, L, D] to logits [B, S, labels].

    Args:
        shape: (L, D); several vectors are summed with learnt weights.
        num_labels: int.
        units: int, the width of each direction.
        learning_rate: of Adam.
    """
    inputs = keras.Input((None, *shape))
    mask = keras.ops.any(inputs != 0, axis=(2, 3))
    if shape[0] > 1:
        x = WeightedSum()(inputs)
    else:
        x = keras.ops.squeeze(inputs, axis=2)
    for _ in range(2):
        lstm = keras.layers.LSTM(units, return_sequences=True)
        x = keras.layers.Bidirectional(lstm)(x, mask=mask)
    model = keras.Model(inputs, keras.layers.Dense(num_labels)(x))
    model.compile(
        optimizer=keras.optimizers.Adam(learning_rate),
        loss=keras.losses.SparseCategoricalCrossentropy(
            from_logits=True, ignore_class=NO_LABEL
        ),
    )
    return model


def batch_of(vectors, targets=None):
    """Arrays of a batch, padded to its longest sentence.

    Returns:
        Vectors [B, S, L, D] with zeros at the end, and label ids [B, S] with
        `NO_LABEL` there; None without targets.
    """
    length = max(map(len, vectors))
    x = np.zeros((len(vectors), length, *vectors[0].shape[1:]), np.float32)
    y = None
    if targets is not None:
        y = np.full((len(vectors), length), NO_LABEL, np.int32)
    for row, vector in enumerate(vectors):
        x[row, : len(vector)] = vector
        if y is not None:
            y[row, : len(vector)] = targets[row]
    return x, y


def run_once(given, parts, labels, folder, seed):
    """Trains and evaluates, unless that has been done; returns the results."""
    path = os.path.join(folder, EVAL_RESULTS)
    if os.path.exists(path):
        results = read_results(path)
        del results["global_step"]
        return results
    keras.utils.set_random_seed(seed)
    train, dev = parts["train"], parts["dev"]
    shape = train.vectors[0].shape[1:]
    model = build(shape, len(labels), given.units, given.learning_rate)
    ids = {label: number for number, label in enumerate(labels)}
    targets = [[ids[one] for one in e.targets] for e in train.examples]
    size = given.train_batch_size
    steps = max(1, round(given.num_train_epochs * len(targets) / size))

    def batches():
        chosen = orders(len(targets), seed)
        while True:
            rows = [next(chosen) for _ in range(size)]
            vectors = [train.vectors[row] for row in rows]
            yield batch_of(vectors, [targets[row] for row in rows])

    # With a signature, batches of all lengths are traced once.
    signature = signature_of(shape), tf.TensorSpec((None, None), tf.int32)
    dataset = tf.data.Dataset.from_generator(
        batches, output_signature=signature
    )
    model.fit(dataset, steps_per_epoch=steps, shuffle=False, verbose=2)
    results = evaluate(model, dev, labels)
    os.makedirs(folder, exist_ok=True)
    write_eval_results(folder, {"global_step": steps}, results)
    return results


def signature_of(shape):
    """The signature of a batch of vectors [B, S, L, D], of L and D."""
    return tf.TensorSpec((None, None, *shape), tf.float32)


def orders(count, seed):
    """Yields the numbers below a count in new random orders, without end."""
    rng = np.random.default_rng(seed)
    while True:
        yield from rng.permutation(count)


def evaluate(model, part, labels, size=64):
    """The results of conlleval, by name."""
    counts, scheme = metrics.EntityCounts(), schemes.scheme_of_model(labels)
    signature = [signature_of(part.vectors[0].shape[1:])]
    predict = tf.function(model, input_signature=signature)
    for first in range(0, len(part.examples), size):
        x, _ = batch_of(part.vectors[first : first + size])
        predicted = predict(x).numpy().argmax(-1)
        for example, ids in zip(part.examples[first : first + size], predicted):
            names = [labels[n] for n in ids[: len(example.words)]]
            counts.add(example.targets, names, scheme)
    return counts.results()


if __name__ == "__main__":
    main()
