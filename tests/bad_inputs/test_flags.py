"""Flags of run_classifier."""

import pytest
from helpers.bad_inputs import BESIDE, MRPC, each_value, faults, of, run_case
from helpers.spoil import move

case = of("run_classifier")

CASES = [
    case(
        "unknown", ("'do_lower'", "do_lower_case"), words=["--do_lower=False"]
    ),
    case("half a name", ("'epochs'", "num_train_epochs"), words=["--epochs=3"]),
    *each_value(
        case,
        do_train=["maybe"],
        max_seq_length=["long", 2],
        learning_rate=["2e-5x", -1.0, "nan", "inf"],
        header=["maybe"],
        train_batch_size=[0],
        eval_batch_size=[-8, 10**30],
        predict_batch_size=[0],
        save_checkpoints_steps=[0],
        iterations_per_loop=[0],
        num_train_epochs=[0.0, -1.0, "inf"],
        warmup_proportion=[1.5, -0.1, "nan"],
        seed=[-1, 2**32],
    ),
    case("no --data_dir", "--data_dir", data_dir=None),
    case("missing --flagfile", "nowhere", words=["--flagfile=nowhere"]),
    case(
        "a boolean without =", ("'False'", "--do_train=true"), words=["False"]
    ),
    case(
        "nothing to do",
        ("do_train", "do_eval", "do_predict"),
        do_train=False,
        do_eval=False,
    ),
    case("unknown task", ("task_name", "SNLI"), task_name="SNLI"),
    case(
        "columns of a task that fixes them",
        ("text_a_col", "MRPC"),
        **MRPC,
        text_a_col="text",
    ),
    case(
        "the same column for text and label",
        ("text_a_col", "label_col"),
        text_a_col="text",
        label_col="text",
    ),
    case(
        "prediction for XNLI, which has no test set",
        ("do_predict", "xnli"),
        task_name="XNLI",
        do_train=False,
        do_eval=False,
        do_predict=True,
    ),
    case(
        "longer than the model's positions",
        ("--max_seq_length", "512", "128"),
        max_seq_length=512,
    ),
    case(
        "a batch larger than the training set",
        ("--train_batch_size=64", "12 examples"),
        train_batch_size=64,
    ),
    case(
        "a learning rate that makes the loss NaN",
        ("step 1", "nan", "--learning_rate"),
        exhaustive=True,  # `test_run_classifier` has one that diverges.
        learning_rate=1e30,
        warmup_proportion=0.0,
        leaves=(
            *BESIDE,
            "events.out.tfevents",
            "not_finite_at_step_1.npz",
            "train.tf_record",
            "training.svg",
        ),
        slow=True,
    ),
    case("--use_tpu without a TPU", "--use_tpu", use_tpu=True),
    case(
        "a cased model, lower-cased",
        ("--do_lower_case=False", "cased_L-12_H-768_A-12"),
        move("bert", "cased_L-12_H-768_A-12"),
        init_checkpoint="cased_L-12_H-768_A-12/bert_model.ckpt",
        vocab_file="cased_L-12_H-768_A-12/vocab.txt",
        bert_config_file="cased_L-12_H-768_A-12/bert_config.json",
        do_lower_case=True,
    ),
]


@pytest.mark.parametrize("case", CASES)
def test_message_names_what_is_wrong(case):
    assert faults(case, run_case(case)) == []
