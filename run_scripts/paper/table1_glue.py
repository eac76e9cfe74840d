"""Table 1 of the BERT paper: GLUE.

    python run_scripts/paper/table1_glue.py --data_dir=GLUE \
        --checkpoint=checkpoints/uncased_L-12_H-768_A-12 --output_dir=table1

The folder of the data has a folder for each task: MNLI, QQP, QNLI, SST-2, CoLA,
STS-B, MRPC, RTE. Runs that are finished are kept. See docs/paper.md.
"""

import sys

from glue_rows import ACCURACY, glue_row
from paper_runs import Result
from paper_table import Table, main


def row(task, *results):
    """The row of a task; results are name, key, and the paper's two numbers."""
    return glue_row(
        task,
        tuple(
            Result(name, key, {"base": base, "large": large})
            for name, key, base, large in results
        ),
    )


ROWS = [
    row(
        "MNLI",
        ("accuracy, matched", ACCURACY, 84.6, 86.7),
        ("accuracy, mismatched", "eval_mm_accuracy", 83.4, 85.9),
    ),
    row("QQP", ("F1", "eval_f1", 71.2, 72.1)),
    row("QNLI", ("accuracy", ACCURACY, 90.5, 92.7)),
    row("SST-2", ("accuracy", ACCURACY, 93.5, 94.9)),
    row(
        "CoLA",
        ("Matthews' correlation", "eval_matthews_correlation", 52.1, 60.5),
    ),
    row("STS-B", ("Spearman's correlation", "eval_spearman", 85.8, 86.5)),
    row("MRPC", ("F1", "eval_f1", 88.9, 89.3)),
    row("RTE", ("accuracy", ACCURACY, 66.4, 70.1)),
]

TABLE = Table(
    "Table 1: GLUE",
    lambda work: ROWS,
    notes=(
        "Ours are on the dev sets, the paper's on the hidden test sets, from "
        "GLUE's server.",
        "Ours are means over seeds with one learning rate; the paper's are of "
        "the best of four rates on dev, for BERT-Large also of the best of "
        "several restarts.",
    ),
    average={"base": 79.6, "large": 82.1},
)

if __name__ == "__main__":
    sys.exit(main(TABLE, __doc__))
