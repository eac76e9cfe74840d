r"""Compares masked-LM accuracy on unseen text with the best constant guess.

    python run_scripts/builtin/heldout.py --records heldout.tfrecord \
        --results heldout/eval_results.txt

The results are those of `bert_tf.run_pretraining --do_eval` on these records;
the constant guess is the most frequent masked word piece.
"""

import argparse
import math
import os
import pathlib


def main():
    """Prints accuracy and perplexity beside the best constant guess."""
    import tensorflow as tf

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--records", required=True, help="TFRecord file")
    parser.add_argument("--results", required=True, help="eval_results.txt")
    arguments = parser.parse_args()
    counts = {}
    for record in tf.data.TFRecordDataset(arguments.records):
        example = tf.train.Example.FromString(record.numpy()).features.feature
        count_masked(
            counts,
            example["masked_lm_ids"].int64_list.value,
            example["masked_lm_weights"].float_list.value,
        )
    results = read_results(arguments.results)
    guessed, share = constant_guess(counts)
    accuracy = results["masked_lm_accuracy"]
    print(
        f"{sum(counts.values()):,} masked pieces of "
        f"{os.path.basename(arguments.records)}\n"
        f"masked-LM accuracy  {accuracy:.4f}\n"
        f"always id {guessed}  {share:.4f}\n"
        f"perplexity  {math.exp(results['masked_lm_loss']):.2f}\n"
        f"perplexity of guessing by frequency  {unigram_perplexity(counts):.2f}"
    )
    if "next_sentence_accuracy" in results:
        found = results["next_sentence_accuracy"]
        print(f"next-sentence accuracy  {found:.4f}")


def count_masked(counts, ids, weights):
    """Adds a record's masked ids to the counts; weight 0 is padding."""
    for number, weight in zip(ids, weights):
        if weight:
            counts[number] = counts.get(number, 0) + 1


def constant_guess(counts):
    """The id that is most often right, and how often it is."""
    best = max(counts, key=counts.get)
    return best, counts[best] / sum(counts.values())


def unigram_perplexity(counts):
    """Of knowing how frequent each id is in this very text, and no more."""
    total = sum(counts.values())
    entropy = -sum(n / total * math.log(n / total) for n in counts.values())
    return math.exp(entropy)


def read_results(path):
    """The numbers of an eval_results.txt."""
    lines = pathlib.Path(path).read_text(encoding="utf-8").splitlines()
    pairs = [line.split(" = ") for line in lines if " = " in line]
    return {name: float(value) for name, value in pairs}


if __name__ == "__main__":
    main()
