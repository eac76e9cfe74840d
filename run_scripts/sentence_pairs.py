r"""Makes pairs with scores of MRPC and QNLI, to try run_sentence_vectors.

    python run_scripts/sentence_pairs.py GLUE OUTPUT

GLUE holds MRPC/train.tsv, MRPC/dev.tsv and QNLI/dev.tsv. No pair was rated by
people: its score follows from where it comes from.

    5  MRPC, a paraphrase
    4  MRPC, no paraphrase, though many words are the same
    3  QNLI, a question and its answer
    2  QNLI, a question and another sentence of the page
    0  two first sentences of MRPC, drawn

OUTPUT/cosine, OUTPUT/softmax and OUTPUT/in_batch get train.tsv (2,000 pairs:
400 of each score; the same with a name for a label; pairs of the scores 5 and
3 only), and the same dev.tsv and test.tsv (600 pairs: 120 of each score). Train
and dev share no pair: they are of different files of MRPC and different halves
of QNLI's.
"""

import pathlib
import random
import sys

NAMES = {5: "same", 4: "near", 3: "answer", 2: "topic", 0: "far"}


def rows(path):
    """The cells of a GLUE file after its header; quotes mean nothing."""
    lines = path.read_bytes().decode("utf-8-sig").replace("\r", "").split("\n")
    return [line.split("\t") for line in lines[1:] if line]


def groups(mrpc, qnli, far, rng):
    """All pairs by their score.

    Args:
        mrpc, qnli: rows.
        far: number of pairs that do not belong together.
        rng: a `random.Random`.
    """
    texts = [row[3] for row in mrpc]
    return {
        5: [(row[3], row[4]) for row in mrpc if row[0] == "1"],
        4: [(row[3], row[4]) for row in mrpc if row[0] == "0"],
        3: [(row[1], row[2]) for row in qnli if row[3] == "entailment"],
        2: [(row[1], row[2]) for row in qnli if row[3] == "not_entailment"],
        0: [tuple(rng.sample(texts, 2)) for _ in range(far)],
    }


def drawn(found, number, rng):
    """The same number of pairs of each score, in any order."""
    pairs = [
        (*pair, score)
        for score, group in found.items()
        for pair in rng.sample(group, number)
    ]
    rng.shuffle(pairs)
    return pairs


def write(path, header, lines):
    """Writes a file of cells with tabs between."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join("\t".join(map(str, x)) + "\n" for x in (header, *lines))
    path.write_text(text, encoding="utf-8")


def main(glue, output):
    """Reads the files of both tasks, and writes three folders."""
    qnli = rows(glue / "QNLI" / "dev.tsv")
    random.Random(1).shuffle(qnli)
    half = len(qnli) // 2
    rng = random.Random(2)
    found = groups(rows(glue / "MRPC" / "train.tsv"), qnli[:half], 400, rng)
    train = drawn(found, 400, rng)
    together = rng.sample(found[5], 1000) + rng.sample(found[3], 1000)
    rng.shuffle(together)
    held = groups(rows(glue / "MRPC" / "dev.tsv"), qnli[half:], 120, rng)
    dev = drawn(held, 120, rng)
    header = ("text_a", "text_b", "label")
    named = [(a, b, NAMES[score]) for a, b, score in train]
    for name, lines in (
        ("cosine", [header, *train]),
        ("softmax", [header, *named]),
        ("in_batch", [header[:2], *together]),
    ):
        write(output / name / "train.tsv", lines[0], lines[1:])
        for part in ("dev", "test"):
            write(output / name / f"{part}.tsv", header, dev)


if __name__ == "__main__":
    main(*map(pathlib.Path, sys.argv[1:]))
