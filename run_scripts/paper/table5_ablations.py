"""Table 5 of the BERT paper: what pretraining tasks are worth.

    python run_scripts/paper/table5_ablations.py --data_dir=DATA --text=TEXT \
        --size=builtin --output_dir=table5

Pretrains three models on the text: as BERT; without next sentences; and,
besides, with attention to the left alone. Then fine-tunes each. With
--size=builtin pretraining is that of run_scripts/builtin, and all three start
from the same weights; else config and vocabulary are those of the checkpoint,
and the first weights are random.

The folder of the data has glue/MNLI, glue/QNLI, glue/MRPC, glue/SST-2 and
squad; the text is as create_pretraining_data reads it. What is finished is
kept. See docs/paper.md.
"""

import functools
import json
import sys

from glue_rows import accuracy
from paper_runs import BUILTIN, Result, Row, config_file
from paper_table import Table, main, positive
from squad_rows import squad_row

from bert_tf.support import files

TASKS = ("MNLI", "QNLI", "MRPC", "SST-2")
# The variants: the paper's numbers for the tasks, then for SQuAD.
BERT, NO_NSP, LTR = "BERT", "No NSP", "LTR & No NSP"
PAPER = {
    BERT: (84.4, 88.4, 86.7, 92.7, 88.5),
    NO_NSP: (83.9, 84.9, 86.5, 92.6, 87.9),
    LTR: (82.1, 84.3, 77.5, 92.1, 77.8),
}
BILSTM = "LTR & No NSP + BiLSTM"

RECORDS = {"max_seq_length": 128, "max_predictions_per_seq": 20}
TINY_RECORDS = {"max_seq_length": 32, "max_predictions_per_seq": 5}
# Those of run_scripts/builtin/pretrain.sh, and the original's README.
BUILTIN_TRAINING = {
    "train_batch_size": 16,
    "learning_rate": 1e-3,
    "num_train_steps": 34500,
    "num_warmup_steps": 300,
}
TRAINING = {
    "train_batch_size": 256,
    "learning_rate": 1e-4,
    "num_train_steps": 1_000_000,
    "num_warmup_steps": 10_000,
}
TINY_STEPS = 4


def define(parser):
    """Adds what is to be pretrained on, and how long."""
    parser.add_argument(
        "--text",
        required=True,
        help="a sentence on each line, blank lines between documents",
    )
    parser.add_argument("--pretraining_steps", type=positive)


def rows(work):
    """The rows of all variants; a variant is pretrained when it is needed."""
    made = []
    for variant, numbers in PAPER.items():
        checkpoint = functools.partial(pretrained, variant)
        vocab = {"vocab_file": work.checkpoint / "vocab.txt"}
        flags = dict(vocab)
        if variant == LTR:
            # [CLS], which is pooled, would see nothing but itself.
            flags["bert_config_file"] = config_file(work.checkpoint)
        for task, paper in zip(TASKS, numbers):
            name = f"{variant}: {task}"
            made.append(accuracy(task, paper, name, checkpoint, **flags))
        made.append(
            squad_row(
                "v1.1",
                (Result("F1", "f1", numbers[-1], scale=1.0),),
                f"{variant}: SQuAD 1.1",
                checkpoint,
                learning_rate=5e-5,
                train_batch_size=32,
                num_train_epochs=3,
                **vocab,
            )
        )
    made.append(Row(BILSTM, why_not="no BiLSTM is put on a fine-tuned BERT"))
    return made


def pretrained(variant, work):
    """The folder of a variant, pretrained."""
    given = work.arguments
    top = work.folder / "pretraining"
    lengths = TINY_RECORDS if given.tiny else RECORDS
    records = make_records(work, top / "records", lengths)
    folder = top / "".join(c if c.isalnum() else "_" for c in variant)
    folder.mkdir(parents=True, exist_ok=True)
    config = json.loads(
        config_file(work.checkpoint).read_text(encoding="utf-8")
    )
    if variant == LTR:
        config["directionality"] = "left_to_right"
    own_config = top / f"{folder.name}.json"
    files.write_text(str(own_config), json.dumps(config, indent=2) + "\n")
    training = dict(BUILTIN_TRAINING if given.size == BUILTIN else TRAINING)
    steps = TINY_STEPS if given.tiny else training["num_train_steps"]
    training["num_train_steps"] = steps = given.pretraining_steps or steps
    warmup = training["num_warmup_steps"]
    training["num_warmup_steps"] = min(warmup, steps // 10)
    flags = {
        "input_file": records,
        "do_train": True,
        "bert_config_file": own_config,
        "next_sentence": variant == BERT,
        "seed": given.seed,
        "output_dir": folder,
        **lengths,
        **training,
    }
    if given.size == BUILTIN:
        flags["init_checkpoint"] = first_weights(work, top / "first_weights")
    command = "run_pretraining"
    work.run(variant, command, as_text(flags), folder, given.more)
    return folder


def make_records(work, folder, lengths):
    """The file of records, which all variants read."""
    flags = {
        "input_file": work.arguments.text,
        "output_file": folder / "train.tfrecord",
        "vocab_file": work.checkpoint / "vocab.txt",
        "dupe_factor": 2,
        "random_seed": 12345,
        **lengths,
    }
    command = "create_pretraining_data"
    work.run("records", command, as_text(flags), folder)
    return flags["output_file"]


def first_weights(work, folder):
    """The checkpoint from which all variants of the built-in model start."""
    flags = {
        "seed": work.arguments.seed,
        "bert_config_file": config_file(work.checkpoint),
        "output": folder / "model.ckpt",
    }
    command = "../builtin/initial_weights"
    work.run("first weights", command, as_text(flags), folder)
    return flags["output"]


def as_text(flags):
    """The same flags with texts for values."""
    return {name: str(value) for name, value in flags.items()}


TABLE = Table(
    "Table 5: ablations of pretraining, on the dev sets",
    rows,
    notes=(
        "The paper pretrained BERT-Base for a million steps on 3.3 billion "
        "words.",
        f"{LTR}: the paper fine-tuned with attention to the left, too. Here "
        "that holds for SQuAD; tasks of GLUE are fine-tuned with attention to "
        "both sides, since [CLS] is pooled, and left of it is nothing.",
    ),
    define=define,
)

if __name__ == "__main__":
    sys.exit(main(TABLE, __doc__))
