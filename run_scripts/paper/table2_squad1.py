"""Table 2 of the BERT paper: SQuAD 1.1.

    python run_scripts/paper/table2_squad1.py --data_dir=SQUAD \
        --checkpoint=checkpoints/uncased_L-12_H-768_A-12 --output_dir=table2

The folder of the data has train-v1.1.json and dev-v1.1.json. Runs that are
finished are kept. See docs/paper.md.
"""

import sys

from paper_runs import Result
from paper_table import Table, main
from squad_rows import squad_row

RESULTS = (
    Result("EM, dev", "exact_match", {"base": 80.8, "large": 84.1}, scale=1.0),
    Result("F1, dev", "f1", {"base": 88.5, "large": 90.9}, scale=1.0),
)

TABLE = Table(
    "Table 2: SQuAD 1.1",
    lambda work: [
        squad_row(
            "v1.1",
            RESULTS,
            learning_rate=5e-5,
            train_batch_size=32,
            num_train_epochs=3,
        )
    ],
    notes=(
        "The paper's are single models. Its ensembles, and its models that are "
        "first trained on TriviaQA (EM 84.2, F1 91.1), are not here.",
    ),
)

if __name__ == "__main__":
    sys.exit(main(TABLE, __doc__))
