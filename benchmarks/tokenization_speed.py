"""How fast text becomes token ids, beside the original if it is at hand.

Run it as `python benchmarks/tokenization_speed.py --text corpus.txt --vocab
vocab.txt --original bert/tokenization.py`.

Prints tokens per second of processor time, the median over the rounds:

- cold: a new tokenizer, which has not seen a word yet, reads all of the text;
- warm: the same tokenizer reads it again;
- offsets: the same tokenizer, with the span of every token (no ids);
- original: `--original`, the tokenization.py of google-research/bert, run with
  a stand-in for TensorFlow's file reader.

Rounds of all rows take turns, so that a busy machine slows all of them. The
ids must be those of the original, or the script fails.
"""

import argparse
import functools
import importlib.util
import statistics
import sys
import time
import types

from bert_tf.tokenization import FullTokenizer


def load_original(path):
    """Imports the original's module without TensorFlow."""
    utf8 = functools.partial(open, encoding="utf-8")
    stand_in = types.ModuleType("tensorflow")
    vars(stand_in).update(gfile=types.SimpleNamespace(GFile=utf8))
    spec = importlib.util.spec_from_file_location("original", path)
    module = importlib.util.module_from_spec(spec)
    before = sys.modules.get("tensorflow")
    sys.modules["tensorflow"] = stand_in
    try:
        spec.loader.exec_module(module)
    finally:
        del sys.modules["tensorflow"]
        if before is not None:
            sys.modules["tensorflow"] = before
    return module


def encode(tokenizer, lines):
    """Returns the ids of every line."""
    convert = tokenizer.convert_tokens_to_ids
    return [convert(tokenizer.tokenize(line)) for line in lines]


def find_offsets(tokenizer, lines):
    """Returns the pieces of every line."""
    return [tokenizer.tokenize_with_offsets(line) for line in lines]


def timed(function, *args):
    """Returns the result of `function(*args)` and its processor seconds."""
    start = time.process_time()
    result = function(*args)
    return result, time.process_time() - start


def run_round(args, lines, original, seconds):
    """Times every row once and appends to `seconds`; returns the ids."""
    tokenizer = FullTokenizer(args.vocab, not args.cased)
    for row in ("cold", "warm"):
        ids, spent = timed(encode, tokenizer, lines)
        seconds.setdefault(row, []).append(spent)
    _, spent = timed(find_offsets, tokenizer, lines)
    seconds.setdefault("offsets", []).append(spent)
    if original:
        tokenizer = original.FullTokenizer(args.vocab, not args.cased)
        wanted, spent = timed(encode, tokenizer, lines)
        seconds.setdefault("original", []).append(spent)
        for line, got, want in zip(lines, ids, wanted):
            if got != want:
                sys.exit(f"Other ids than the original's for: {line!r}")
    return ids


def main():
    """Reads the flags, runs the rounds, prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--text", required=True, help="UTF-8 text, by lines")
    parser.add_argument("--vocab", required=True, help="vocab.txt")
    parser.add_argument("--original", help="tokenization.py of the original")
    parser.add_argument("--cased", action="store_true", help="keep the case")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--lines", type=int, help="read only so many lines")
    args = parser.parse_args()

    with open(args.text, encoding="utf-8", newline="\n") as reader:
        lines = reader.read().split("\n")[: args.lines]
    original = load_original(args.original) if args.original else None
    seconds = {}
    for _ in range(args.rounds):
        ids = run_round(args, lines, original, seconds)

    tokens = sum(map(len, ids))
    size = sum(len(line.encode()) + 1 for line in lines)
    print(
        f"{len(lines)} lines, {size / 1e6:.2f} MB, {tokens} tokens, "
        f"median of {args.rounds} rounds, Python {sys.version.split()[0]}"
    )
    for row, each in seconds.items():
        middle = statistics.median(each)
        ratio = ""
        if original:
            times = statistics.median(seconds["original"]) / middle
            ratio = f"{times:8.1f} x original"
        print(f"{row:9} {middle:8.3f} s {tokens / middle:12,.0f}/s{ratio}")


if __name__ == "__main__":
    main()
