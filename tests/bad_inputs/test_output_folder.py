"""The folder in which run_classifier writes."""

import pytest
from helpers.bad_inputs import BESIDE, each_path, faults, of, run_case
from helpers.spoil import cut, folder, trained, with_classes, write

case = of("run_classifier")

LABELS, DATA = "output/labels.txt", "output/model.ckpt-3.data-00000-of-00001"
TRAINED = ("checkpoint", "model.ckpt-3")
PREDICT = {"do_train": False, "do_eval": False, "do_predict": True}

CASES = [
    case("empty --output_dir", "--output_dir", output_dir=""),
    case("a file", ("--output_dir", "'output'"), write("output", "x")),
    *each_path(case, output_dir=["data/train.tsv/output", "/proc/output"]),
    case("a bracket in the path", "out[1]", output_dir="out[1]"),
    case(
        "a checkpoint file that names a missing one",
        ("output/checkpoint", "output/model.ckpt-7"),
        write("output/checkpoint", 'model_checkpoint_path: "model.ckpt-7"\n'),
        leaves=("checkpoint",),
    ),
    case(
        "a checkpoint file of another format",
        "output/checkpoint",
        write("output/checkpoint", "model.ckpt-7\n"),
        leaves=("checkpoint",),
    ),
    case(
        "half a checkpoint",
        DATA,
        trained(with_classes(2)),
        cut(DATA),
        leaves=TRAINED,
    ),
    case(
        "a checkpoint of three labels",
        ("output/model.ckpt-3", "`output_weights`", "[3, 128]"),
        trained(with_classes(3)),
        leaves=TRAINED,
    ),
    case(
        "a checkpoint of another task",
        ("output/model.ckpt-3", "output_weights", "--output_dir"),
        trained(dict),
        leaves=TRAINED,
    ),
    case(
        "other labels than the training file's",
        (LABELS, "'bad'", "'negative'"),
        write(LABELS, "bad\ngood\n"),
        leaves=("labels.txt",),
    ),
    case(
        "a label twice",
        (LABELS, "'good'"),
        write(LABELS, "good\ngood\n"),
        leaves=("labels.txt",),
        **PREDICT,
    ),
    case("no labels to predict", LABELS, **PREDICT),
    case(
        "a folder in the place of train.tf_record",
        "output/train.tf_record",
        folder("output/train.tf_record"),
        leaves=(*BESIDE, "train.tf_record"),
    ),
    case(
        "a folder in the place of eval_results.txt",
        "output/eval_results.txt",
        folder("output/eval_results.txt"),
        write(LABELS, "negative\npositive\n"),
        leaves=("eval.tf_record", "eval_results.txt", "labels.txt"),
        do_train=False,
    ),
    case(
        "no room for train.tf_record",
        "output/train.tf_record",
        max_seq_length=128,
        largest_file=4_000,
        leaves=BESIDE,
    ),
    case(
        "no room for a checkpoint",
        ("output", "checkpoint", "100,000"),
        largest_file=100_000,
        leaves=(*BESIDE, "events.out.tfevents", "train.tf_record"),
    ),
]


@pytest.mark.parametrize("case", CASES)
def test_message_names_what_is_wrong(case):
    assert faults(case, run_case(case)) == []
