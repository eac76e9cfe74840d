"""How fast text becomes ids in a graph, beside tensorflow-text's tokenizers.

Run it as `python benchmarks/graph_tokenizer_speed.py --text corpus.txt --vocab
vocab.txt`; needs tensorflow-text.

Prints megabytes of text per second of processor time, the median over the
rounds, for batches of several sizes:

- graph: `GraphTokenizer`, ids only;
- graph, offsets: with bytes and characters of each piece;
- plain: `FullTokenizer`, text to ids, after it has read all of the text;
- fast: tensorflow-text's `FastBertTokenizer`, ids only, and with offsets;
- bert: tensorflow-text's `BertTokenizer`, ids only.

All run on one thread and take turns with every batch, so that a busy machine
slows all of them alike. The ids of `graph` must be those of `plain`, or the
script fails; of how many lines tensorflow-text has other ids is printed.
"""

import argparse
import statistics
import sys
import time

import tensorflow as tf
import tensorflow_text as tf_text

from bert_tf.exports.graph_tokenizer import GraphTokenizer
from bert_tf.tokenization import FullTokenizer


def make_rows(vocab_file, lower):
    """Returns name -> function from a batch of texts to their ids."""
    plain = FullTokenizer(vocab_file, lower)
    tokens = [plain.inv_vocab[index] for index in range(len(plain.vocab))]
    graph = GraphTokenizer(tokens, lower)
    options = {"token_out_type": tf.int32}
    fast = tf_text.FastBertTokenizer(
        tokens, lower_case_nfd_strip_accents=lower, **options
    )
    initializer = tf.lookup.KeyValueTensorInitializer(
        tokens, tf.range(len(tokens), dtype=tf.int64)
    )
    table = tf.lookup.StaticVocabularyTable(initializer, 1)
    bert = tf_text.BertTokenizer(table, lower_case=lower, **options)

    def encode(texts):
        convert = plain.convert_tokens_to_ids
        return [convert(plain.tokenize(text)) for text in texts.numpy()]

    functions = {
        "graph": lambda texts: graph.tokenize(texts, with_offsets=False).ids,
        "graph, offsets": graph.tokenize,
        "fast": fast.tokenize,
        "fast, offsets": fast.tokenize_with_offsets,
        "bert": lambda texts: bert.tokenize(texts).merge_dims(-2, -1),
    }
    signature = [tf.TensorSpec([None], tf.string)]
    rows = {
        name: tf.function(function, signature)
        for name, function in functions.items()
    }
    return {**rows, "plain": encode}


def check(rows, batches):
    """Counts lines with other ids than `plain`'s; none may be `graph`'s."""
    others = dict.fromkeys(("graph", "fast", "bert"), 0)
    for batch in batches:
        want = rows["plain"](batch)
        for name in others:
            got = rows[name](batch).to_list()
            others[name] += sum(a != b for a, b in zip(got, want, strict=True))
    if others["graph"]:
        sys.exit(f"{others['graph']} lines have other ids than FullTokenizer's")
    return others


def run_round(rows, batches):
    """Runs every row on all batches, in turns; returns seconds."""
    seconds = dict.fromkeys(rows, 0.0)
    for batch in batches:
        for name, function in rows.items():
            start = time.process_time()
            function(batch)
            seconds[name] += time.process_time() - start
    return seconds


def main():
    """Reads the flags, runs the rounds, prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--text", required=True, help="UTF-8 text, by lines")
    parser.add_argument("--vocab", required=True, help="vocab.txt")
    parser.add_argument("--cased", action="store_true", help="keep the case")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--megabytes", type=float, help="read only so much")
    parser.add_argument(
        "--batches", default="10,100,1000,10000", help="lines in a batch"
    )
    args = parser.parse_args()
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)

    with open(args.text, "rb") as reader:
        content = reader.read(int((args.megabytes or -1e-6) * 1e6))
    lines = content.split(b"\n")[:-1]
    rows = make_rows(args.vocab, not args.cased)
    others = check(rows, [tf.constant(lines)])
    print(
        f"{len(lines)} lines, {len(content) / 1e6:.2f} MB, median of "
        f"{args.rounds} rounds, TensorFlow {tf.__version__}, tensorflow-text "
        f"{tf_text.__version__}\nlines with other ids than FullTokenizer's: "
        + ", ".join(f"{name} {number}" for name, number in others.items())
    )
    print(
        "MB/s by lines in a batch\n"
        + " " * 10
        + "".join(f"{n:>16}" for n in rows)
    )
    for size in map(int, args.batches.split(",")):
        # Small batches take long: a thousand lines, or what fills two.
        part = lines[: max(1000, 2 * size)] if size < 1000 else lines
        batches = [
            tf.constant(part[i : i + size]) for i in range(0, len(part), size)
        ]
        run_round(rows, batches[:2])
        rounds = [run_round(rows, batches) for _ in range(args.rounds)]
        megabytes = sum(map(len, part)) / 1e6
        print(f"{size:10}", end="")
        for name in rows:
            middle = statistics.median(each[name] for each in rounds)
            print(f"{megabytes / middle:16.2f}", end="")
        print(flush=True)


if __name__ == "__main__":
    main()
