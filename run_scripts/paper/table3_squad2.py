"""Table 3 of the BERT paper: SQuAD 2.0.

    python run_scripts/paper/table3_squad2.py --data_dir=SQUAD \
        --checkpoint=checkpoints/uncased_L-24_H-1024_A-16 --output_dir=table3

The folder of the data has train-v2.0.json and dev-v2.0.json. Runs that are
finished are kept. See docs/paper.md.
"""

import sys

from paper_runs import Result
from paper_table import Table, main
from squad_rows import squad_row

RESULTS = (
    Result("EM, dev", "exact", {"large": 78.7}, scale=1.0),
    Result("F1, dev", "f1", {"large": 81.9}, scale=1.0),
)

TABLE = Table(
    "Table 3: SQuAD 2.0",
    lambda work: [
        squad_row(
            "v2.0",
            RESULTS,
            version_2_with_negative=True,
            # As in the paper, the threshold is that of the best F1 on dev.
            null_score_diff_threshold="auto",
            learning_rate=5e-5,
            train_batch_size=48,
            num_train_epochs=2,
        )
    ],
    notes=("The paper has BERT-Large alone (test: EM 80.0, F1 83.1).",),
)

if __name__ == "__main__":
    sys.exit(main(TABLE, __doc__))
