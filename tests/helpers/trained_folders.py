"""Training folders around what the original trained."""

import json
import shutil

from helpers.golden import DATA, TINY

MRPC = DATA / "classification" / "mrpc"
FINE_TUNED = DATA / "run_classifier" / "mrpc_fine_tuned"


def make_mrpc_folder(folder):
    """A folder as run_classifier leaves it, with the original's weights."""
    shutil.copytree(FINE_TUNED, folder)
    for name in ("vocab.txt", "bert_config.json"):
        shutil.copy(TINY.parent / name, folder)
    (folder / "labels.txt").write_text("0\n1\n")
    noted = {
        "head": "classifier",
        "do_lower_case": True,
        "max_seq_length": 40,
        "label_type": "class",
        "text_pairs": True,
    }
    (folder / "bert_tf.json").write_text(json.dumps(noted))
    return folder


def mrpc_pairs():
    """The pairs of texts of MRPC's test.tsv."""
    text = (MRPC / "data" / "test.tsv").read_text(encoding="utf-8-sig")
    return [tuple(row.split("\t")[3:5]) for row in text.splitlines()[1:]]


def mrpc_probabilities():
    """What the original wrote to test_results.tsv for them."""
    text = (MRPC / "eval_in_model_dir" / "test_results.tsv").read_text()
    return [list(map(float, line.split("\t"))) for line in text.splitlines()]
