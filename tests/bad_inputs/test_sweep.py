"""Values of --sweep, in each command that takes it."""

import pytest
from helpers.bad_inputs import faults, of, run_case
from helpers.spoil import write

case = of("run_classifier")
RATES = "learning_rate=1e-4,2e-4"

CASES = [
    case("unknown name", ("--sweep", "'rate=1'", "rate"), sweep="rate=1"),
    case(
        "a folder",
        ("--sweep", "'output_dir=a,b'", "--output_dir"),
        sweep=f"{RATES};output_dir=a,b",
    ),
    case(
        "a name twice",
        ("--sweep", "'learning_rate=3e-4'", "learning_rate"),
        sweep=f"{RATES};learning_rate=3e-4",
    ),
    case(
        "no number",
        ("--sweep", "'learning_rate=fast'", "fast"),
        sweep="learning_rate=fast",
    ),
    case(
        "a number out of range",
        ("--sweep", "learning_rate=-1", "at least 0"),
        sweep="learning_rate=1e-4,-1",
    ),
    case(
        "a length that is too short",
        ("--sweep", "max_seq_length=2", "at least 3"),
        sweep="max_seq_length=32,2",
    ),
    case(
        "a length that is too long",
        ("--sweep", "max_seq_length=4096", "4096"),
        sweep="max_seq_length=32,4096",
    ),
    case(
        "a rank that is too high",
        ("--sweep", "lora_rank=4096", "hidden size"),
        sweep="lora_rank=2,4096",
    ),
    case(
        "a batch that leaves no step",
        ("--train_batch_size=500", "12 examples"),
        sweep="train_batch_size=4,500",
        # The folder of the first run, which is empty.
        leaves=("sweep",),
    ),
    case(
        "no evaluation",
        ("--sweep", "--do_eval"),
        sweep=RATES,
        do_eval=False,
    ),
    case(
        "no training",
        ("--sweep", "--do_train"),
        sweep=RATES,
        do_train=False,
    ),
    case(
        "an unknown result",
        ("--keep_best=eval_f2", "eval_accuracy"),
        sweep=RATES,
        keep_best="eval_f2",
    ),
    case(
        "patience without evaluations",
        ("--early_stopping_patience", "--eval_every_steps"),
        sweep=RATES,
        keep_best="eval_loss",
        early_stopping_patience=2,
    ),
    case(
        "a bad row of the test file",
        ("data/test.tsv", "line 2"),
        write("data/test.tsv", "text\tlabel\nGood.\ta\tmore\n"),
        sweep=RATES,
        do_predict=True,
        leaves=("sweep",),
    ),
    case(
        "notes that are no JSON",
        ("sweep/sweep.json",),
        write("output/sweep/sweep.json", "{"),
        sweep=RATES,
        leaves=("sweep",),
    ),
    of("run_ner")(
        "words: unknown name",
        ("--sweep", "'doc_stride=8'", "doc_stride"),
        sweep="doc_stride=8",
    ),
    of("run_multiple_choice")(
        "choices: no number",
        ("--sweep", "'seed=one'", "one"),
        sweep="seed=one",
    ),
]


@pytest.mark.parametrize("case", CASES)
def test_message_names_what_is_wrong(case):
    assert faults(case, run_case(case)) == []
