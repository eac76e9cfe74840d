"""Table 6 of the BERT paper: the size of the model.

    python run_scripts/paper/table6_sizes.py --data_dir=GLUE \
        --checkpoints_dir=checkpoints --output_dir=table6

Fine-tunes the released models that are there, by the names of their folders
(`python -m bert_tf.released_models download`). The folder of the data has MNLI,
MRPC and SST-2; --text is for perplexities (lm_perplexity.py). Runs that are
finished are kept. See docs/paper.md.
"""

import pathlib
import sys

from glue_rows import accuracy
from paper_runs import BUILTIN, BUILTIN_FOLDER, Result, Row
from paper_table import Table, main

TASKS = ("MNLI", "MRPC", "SST-2")
# Layers, width, heads, and the paper's perplexity and numbers for the tasks.
PAPER = (
    (3, 768, 12, (5.84, 77.9, 79.8, 88.4)),
    (6, 768, 3, (5.24, 80.6, 82.2, 90.7)),
    (6, 768, 12, (4.68, 81.9, 84.8, 91.3)),
    (12, 768, 12, (3.99, 84.4, 86.7, 92.9)),
    (12, 1024, 16, (3.54, 85.7, 86.9, 93.3)),
    (24, 1024, 16, (3.23, 86.6, 87.8, 93.7)),
)
SMALL = ((2, 128, 2), (4, 256, 4), (4, 512, 8), (8, 512, 8))
NOT_RELEASED = {(3, 768, 12), (6, 768, 3), (12, 1024, 16)}
NOTHING = (None, None, None, None)


def define(parser):
    """Adds where the models are, and the text."""
    parser.add_argument("--checkpoints_dir", default="checkpoints")
    parser.add_argument(
        "--text",
        help="for perplexities: a sentence on each line, blank lines between "
        "documents",
    )


def rows(work):
    """The rows of each model, small ones first; or of the built-in one."""
    if work.arguments.size == BUILTIN:
        return rows_of(work, BUILTIN, BUILTIN_FOLDER, NOTHING, {})
    top = pathlib.Path(work.arguments.checkpoints_dir).resolve()
    made = []
    for *size, paper in (*((*size, NOTHING) for size in SMALL), *PAPER):
        layers, width, heads = size
        name = f"L-{layers} H-{width} A-{heads}"
        if tuple(size) in NOT_RELEASED:
            made.append(Row(name, why_not="not released"))
            continue
        folder = top / f"uncased_L-{layers}_H-{width}_A-{heads}"
        # What the release of the small models recommends.
        own = {"learning_rate": 1e-4, "num_train_epochs": 4}
        made += rows_of(work, name, folder, paper, own if width < 768 else {})
    return made


def rows_of(work, name, folder, paper, flags):
    """The rows of a model."""
    perplexity, *accuracies = paper
    text = work.arguments.text
    return [
        Row(
            f"{name}: masked LM",
            command="lm_perplexity",
            flags={"text": text, "max_seq_length": 128},
            results=(Result("perplexity", "perplexity", perplexity, scale=1),),
            checkpoint=folder,
            why_not="" if text else "no --text",
        ),
        *(
            accuracy(task, number, f"{name}: {task}", folder, **flags)
            for task, number in zip(TASKS, accuracies)
        ),
    ]


TABLE = Table(
    "Table 6: sizes, accuracy on the dev sets",
    rows,
    notes=(
        "The paper's are means of five restarts. Its models of this table are "
        "not those that were released, but for the sizes of BERT-Base and "
        "BERT-Large. Its perplexities are on text held out from its "
        "pretraining, which is not published; they are not in percent.",
        "L is the number of layers, H the width, A the number of heads.",
    ),
    has_checkpoint=False,
    define=define,
)

if __name__ == "__main__":
    sys.exit(main(TABLE, __doc__))
