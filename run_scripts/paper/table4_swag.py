"""Table 4 of the BERT paper: SWAG.

    python run_scripts/paper/table4_swag.py --data_dir=SWAG \
        --checkpoint=checkpoints/uncased_L-12_H-768_A-12 --output_dir=table4

The folder of the data has train.csv and val.csv. Runs that are finished are
kept. See docs/paper.md.
"""

import sys

from paper_runs import Result, Row
from paper_table import Table, main

ROW = Row(
    name="SWAG",
    command="run_multiple_choice",
    data="swag",
    files=("train.csv", "val.csv"),
    flags={
        "data_dir": "{data}",
        "do_train": True,
        "do_eval": True,
        "max_seq_length": 80,
        "train_batch_size": 16,
        "eval_batch_size": 8,
        "learning_rate": 2e-5,
        "num_train_epochs": 3,
    },
    results=(
        Result("accuracy, dev", "eval_accuracy", {"base": 81.6, "large": 86.6}),
    ),
)

TABLE = Table(
    "Table 4: SWAG",
    lambda work: [ROW],
    notes=(
        "The labels of the test set are hidden (the paper: 86.3, BERT-Large). "
        "Guessing gives 25.0.",
    ),
)

if __name__ == "__main__":
    sys.exit(main(TABLE, __doc__))
