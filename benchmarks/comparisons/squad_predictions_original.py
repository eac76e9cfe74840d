r"""Compares answers with the original's on a whole SQuAD file, given logits.

    python benchmarks/comparisons/squad_predictions_original.py \
        --squad dev-v1.1.json --vocab vocab.txt --original bert

`--original` is a checkout of google-research/bert. Draws logits for all windows
of the file: low for the question and the padding, higher for the text, highest
at one place in it. The kind `random` has them as drawn; `ties` rounds them, so
that the order of equal logits matters. From these logits, bert_tf and the
original's own code (in a process of its own, on TensorFlow's version-1 API,
from its own examples and features) choose answers, once as for SQuAD 1.1 and
once as for 2.0. Prints how many questions have another answer, n-best list or
null odds, and whether the files are equal byte for byte; exits with 1 if they
are not. Takes minutes.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np

from bert_tf.tasks.squad import answers, data
from bert_tf.tasks.squad import windows as squad_windows
from bert_tf.tokenization import BasicTokenizer, FullTokenizer

MAX_SEQ_LENGTH, DOC_STRIDE, MAX_QUERY_LENGTH = 384, 128, 64
KINDS = ("random", "ties")
VERSIONS = ("1.1", "2.0")
FILES = ("predictions.json", "nbest_predictions.json", "null_odds.json")

# Lets the original, written for TensorFlow 1, run on TensorFlow 2. Its
# arguments: its folder, the SQuAD file, the vocabulary, the file of logits, and
# the folder to write to.
ORIGINAL = f"""
import os, sys
import numpy as np, tensorflow
sys.modules["tensorflow"] = tensorflow.compat.v1
folder, squad, vocab, logits, output = sys.argv[1:]
sys.path.insert(0, folder)
import run_squad, tokenization
flags = run_squad.FLAGS
flags(["run_squad", "--vocab_file=" + vocab, "--bert_config_file=none",
       "--output_dir=none"])
tensorflow.compat.v1.logging.set_verbosity("ERROR")
examples = run_squad.read_squad_examples(squad, is_training=False)
features = []
run_squad.convert_examples_to_features(
    examples=examples, tokenizer=tokenization.FullTokenizer(vocab, True),
    max_seq_length={MAX_SEQ_LENGTH}, doc_stride={DOC_STRIDE},
    max_query_length={MAX_QUERY_LENGTH}, is_training=False,
    output_fn=features.append)
for kind, rows in np.load(logits).items():
    results = [
        run_squad.RawResult(
            unique_id=feature.unique_id,
            start_logits=[float(x) for x in start.flat],
            end_logits=[float(x) for x in end.flat])
        for feature, (start, end) in zip(features, rows, strict=True)]
    for version in {VERSIONS!r}:
        flags.version_2_with_negative = version == "2.0"
        place = os.path.join(output, kind + "_" + version)
        os.makedirs(place)
        run_squad.write_predictions(
            examples, features, results, 20, 30, True,
            *(os.path.join(place, name) for name in {FILES!r}))
"""


def make_logits(windows, rng):
    """Start and end logits of each window, float32 [2, S], as `random` has."""
    logits = rng.normal(-9, 1, (len(windows), 2, MAX_SEQ_LENGTH))
    for row, window in zip(logits, windows):
        first, length = len(window.front), window.span.length
        row[:, first : first + length] += rng.normal(4, 1, (2, length))
        # Now and then no answer is the best.
        row[:, 0] += rng.normal(8, 3)
        start = rng.integers(length)
        end = min(start + rng.integers(8), length - 1)
        row[(0, 1), (first + start, first + end)] += rng.normal(8, 3, 2)
    return logits.astype(np.float32)


def predict(pairs, logits, version, basic_tokenizer, folder):
    """Writes the files that bert_tf makes of the logits of all windows."""
    settings = answers.AnswerSettings(version_2_with_negative=version == "2.0")
    rows = iter(logits)
    predictions = [
        answers.predict(
            example,
            windows,
            [answers.Logits(*next(rows)) for _ in windows],
            settings,
            basic_tokenizer,
        )
        for example, windows in pairs
    ]
    items = (
        ((one.qas_id, one.answer(0.0)) for one in predictions),
        ((one.qas_id, answers.nbest_to_json(one.nbest)) for one in predictions),
        ((one.qas_id, one.null_odds) for one in predictions),
    )
    folder.mkdir()
    for name, values in zip(FILES, items):
        if version == "2.0" or name != "null_odds.json":
            answers.write_json(str(folder / name), values)


def compare(ours, original):
    """Prints what differs between two folders; returns whether nothing does."""
    is_same = True
    for name in FILES:
        paths = ours / name, original / name
        if not paths[1].exists():
            continue
        raw = [path.read_bytes() for path in paths]
        got, want = map(json.loads, raw)
        different = sum(got.get(key) != want[key] for key in want)
        if name == "predictions.json":
            name += f" ({sum(not want[key] for key in want)} without answer)"
        if name.startswith("nbest"):
            texts = sum(
                [one["text"] for one in got.get(key, [])]
                != [one["text"] for one in want[key]]
                for key in want
            )
            name += f" ({texts} in their texts)"
        same_bytes = raw[0] == raw[1]
        print(
            f"  {name}: {different} of {len(want)} questions differ; the "
            f"files are {'' if same_bytes else 'not '}the same"
        )
        is_same &= same_bytes
    return is_same


def main():
    """Makes logits, predicts twice, compares."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("squad", "vocab", "original"):
        parser.add_argument(f"--{name}", type=pathlib.Path, required=True)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()

    examples = data.read_squad_examples(str(options.squad), is_training=False)
    maker = squad_windows.WindowMaker(
        FullTokenizer(options.vocab, do_lower_case=True),
        MAX_SEQ_LENGTH,
        DOC_STRIDE,
        MAX_QUERY_LENGTH,
    )
    pairs = list(maker.windows_by_example(examples))
    windows = [window for _, some in pairs for window in some]
    print(f"{len(examples)} questions, {len(windows)} windows", flush=True)
    drawn = make_logits(windows, np.random.default_rng(options.seed))
    logits = {
        kind: drawn if kind == "random" else np.round(drawn)
        for kind in options.kinds
    }
    is_same = True
    with tempfile.TemporaryDirectory() as place:
        folder = pathlib.Path(place)
        np.savez(folder / "logits.npz", **logits)
        (folder / "original").mkdir()
        subprocess.run(
            [
                *(sys.executable, "-c", ORIGINAL),
                options.original.resolve(),
                options.squad.resolve(),
                options.vocab.resolve(),
                folder / "logits.npz",
                folder / "original",
            ],
            cwd=folder,
            check=True,
        )
        for kind, rows in logits.items():
            for version in VERSIONS:
                ours = folder / f"{kind}_{version}"
                predict(pairs, rows, version, BasicTokenizer(True), ours)
                print(f"logits {kind}, as for SQuAD {version}:")
                is_same &= compare(ours, folder / "original" / ours.name)
    return 0 if is_same else 1


if __name__ == "__main__":
    sys.exit(main())
