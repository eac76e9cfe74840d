"""Table 7 of the BERT paper: named entities of CoNLL-2003.

    python run_scripts/paper/table7_conll.py --data_dir=CONLL \
        --checkpoint=checkpoints/cased_L-12_H-768_A-12 --output_dir=table7

Fine-tunes BERT; and trains BiLSTMs on its vectors (conll_features.py). The
folder of the data has train, dev and perhaps test, as run_ner reads them, with
-DOCSTART- lines. Runs that are finished are kept. See docs/paper.md.
"""

import sys

from paper_runs import TEST_RESULTS, Result, Row
from paper_table import Table, main

from bert_tf.tasks.ner.data import FILES

TRAIN, DEV, TEST = ("|".join(FILES[part]) for part in ("train", "dev", "test"))
FINE_TUNED = (
    Result("F1, dev", "eval_f1", {"base": 96.4, "large": 96.6}),
    Result("F1, test", "eval_f1", {"base": 92.4, "large": 92.8}, TEST_RESULTS),
)
# What conll_features can take, as the paper calls it, with its F1 on dev.
FEATURES = {
    "embeddings": ("embeddings", 91.0),
    "second_to_last": ("second-to-last hidden", 95.6),
    "last": ("last hidden", 94.9),
    "weighted_sum": ("weighted sum of last four hidden", 95.9),
    "concat": ("concat of last four hidden", 96.1),
    "weighted_sum_all": ("weighted sum of all layers", 95.5),
}


def rows(work):
    """Fine-tuned, then feature-based."""
    fine_tuned = Row(
        name="fine-tuned",
        command="run_ner",
        data="conll2003",
        files=(TRAIN, DEV),
        optional=(TEST,),
        flags={
            "data_dir": "{data}",
            "do_train": True,
            "do_eval": True,
            "document_context": True,
            "max_seq_length": 384,
            "train_batch_size": 32,
            "eval_batch_size": 32,
            "learning_rate": 5e-5,
            "num_train_epochs": 4,
        },
        optional_flags={"do_predict": True},
        results=FINE_TUNED,
    )
    return [
        fine_tuned,
        *(
            Row(
                name=f"features: {name}",
                command="conll_features",
                data="conll2003",
                files=(TRAIN, DEV),
                flags={
                    "data_dir": "{data}",
                    "features": features,
                    "features_dir": work.folder / "features",
                    "max_seq_length": 384,
                    "doc_stride": 128,
                    "units": 768,
                    "train_batch_size": 32,
                    "learning_rate": 1e-3,
                    "num_train_epochs": 5,
                },
                results=(Result("F1, dev", "eval_f1", {"base": paper}),),
            )
            for features, (name, paper) in FEATURES.items()
        ),
    ]


TABLE = Table(
    "Table 7: CoNLL-2003",
    rows,
    notes=(
        "The paper's are means of five restarts, of cased models. How it "
        "reads the context of documents, and the settings of its BiLSTMs "
        "besides two layers of 768, are not said there.",
        "A model with fewer than four layers gives those that it has.",
    ),
)

if __name__ == "__main__":
    sys.exit(main(TABLE, __doc__))
