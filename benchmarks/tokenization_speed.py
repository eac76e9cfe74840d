"""How fast text becomes token ids, beside the original if it is at hand.

Run it as `python benchmarks/tokenization_speed.py --text corpus.txt --vocab
vocab.txt --original bert/tokenization.py`.

Prints tokens per second of processor time, the median over the rounds:

- cold: text to ids by a new tokenizer, which has seen no word yet;
- warm: text to ids by one that has read all of the text before;
- offsets: that one again, text to tokens with their spans, but no ids;
- original: text to ids by `--original`, the tokenization.py of
  google-research/bert, with a stand-in for TensorFlow's file reader.

The rows take turns every thousand lines, so that a busy machine slows all of
them alike. The ids must be those of the original, or the script fails.
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


def run_round(rows, lines):
    """Runs every row on all lines, in turns; returns seconds and tokens.

    Args:
        rows: name -> (function, tokenizer).
    """
    seconds, tokens = dict.fromkeys(rows, 0.0), 0
    for begin in range(0, len(lines), 1000):
        block, results = lines[begin : begin + 1000], {}
        for name, (function, tokenizer) in rows.items():
            start = time.process_time()
            results[name] = function(tokenizer, block)
            seconds[name] += time.process_time() - start
        tokens += sum(map(len, results["cold"]))
        wanted = results.get("original", results["warm"])
        for line, got, want in zip(block, results["cold"], wanted):
            if got != want:
                sys.exit(f"Other ids than the original's for: {line!r}")
    return seconds, tokens


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
    make = functools.partial(FullTokenizer, args.vocab, not args.cased)
    rows = {"warm": (encode, make()), "offsets": (find_offsets, make())}
    for function, tokenizer in rows.values():
        function(tokenizer, lines)
    if args.original:
        module = load_original(args.original)
        reference = module.FullTokenizer(args.vocab, not args.cased)
        rows["original"] = encode, reference
    rounds = []
    for _ in range(args.rounds):
        each, tokens = run_round({"cold": (encode, make()), **rows}, lines)
        rounds.append(each)

    size = sum(len(line.encode()) + 1 for line in lines)
    print(
        f"{len(lines)} lines, {size / 1e6:.2f} MB, {tokens} tokens, "
        f"median of {args.rounds} rounds, Python {sys.version.split()[0]}"
    )
    for name in rounds[0]:
        middle = statistics.median(each[name] for each in rounds)
        print(f"{name:9}{middle:8.3f} s{tokens / middle:12,.0f}/s", end="")
        if args.original:
            times = statistics.median(e["original"] / e[name] for e in rounds)
            print(f"{times:8.1f} x original", end="")
        print()


if __name__ == "__main__":
    main()
