"""Mistakes that run_squad reports."""

import pytest
from helpers.bad_inputs import (
    ANSWER,
    BESIDE,
    SQUAD_DEV,
    SQUAD_TRAIN,
    each_path,
    each_value,
    faults,
    of,
    run_case,
)
from helpers.spoil import (
    CONFIG_FILE,
    VOCAB_FILE,
    append,
    asked,
    copy_file,
    cut,
    edit_json,
    folder,
    one_token_type,
    replace,
    squad,
    write,
)

case = of("run_squad")

THRESHOLD = "output/null_score_diff_threshold.txt"
AUTO = {
    "do_train": False,
    "version_2_with_negative": True,
    "null_score_diff_threshold": "auto",
}

CASES = [
    case(
        "nothing to do",
        ("do_train", "do_predict"),
        do_train=False,
        do_predict=False,
    ),
    case("no --train_file", "train_file", train_file=None),
    case("no --predict_file", "predict_file", predict_file=None),
    *each_path(case, train_file=["nowhere.json"], predict_file=["squad"]),
    case("half a file", (SQUAD_TRAIN, "line 1"), cut(SQUAD_TRAIN)),
    case(
        "a number of 5,000 digits",
        (SQUAD_TRAIN, "JSON"),
        write(SQUAD_TRAIN, '{"data": ' + "9" * 5000 + "}"),
    ),
    case(
        "lists of 100,000 lists",
        (SQUAD_TRAIN, "JSON"),
        write(SQUAD_TRAIN, "[" * 100_000),
    ),
    case(
        "not UTF-8", (SQUAD_DEV, "0xe9"), replace(SQUAD_DEV, b"Ann", b"\xe9nn")
    ),
    case("a list", (SQUAD_TRAIN, "'data'"), write(SQUAD_TRAIN, [])),
    case(
        "a paragraph without questions",
        (f"{SQUAD_DEV}: data[0].paragraphs[0]", "'qas'"),
        replace(SQUAD_DEV, b'"qas"', b'"questions"'),
    ),
    case("no questions", SQUAD_DEV, squad(SQUAD_DEV)),
    case(
        "a number for a question",
        (SQUAD_DEV, "qas[0]", "'q1'"),
        squad(SQUAD_DEV, asked(1, ANSWER, question=7)),
    ),
    case(
        "the same id twice",
        (SQUAD_DEV, "'q1'"),
        squad(SQUAD_DEV, asked(1, ANSWER), asked(1, ANSWER)),
    ),
    case(
        "two answers to train on",
        (SQUAD_TRAIN, "'q1'", "2"),
        squad(SQUAD_TRAIN, asked(1, ANSWER, ANSWER)),
    ),
    case(
        "no answer to train on",
        (SQUAD_TRAIN, "'q1'", "--version_2_with_negative=true"),
        squad(SQUAD_TRAIN, asked(1)),
    ),
    case(
        "SQuAD 1.1 read as 2.0",
        (SQUAD_TRAIN, "is_impossible"),
        version_2_with_negative=True,
    ),
    case(
        "an answer in the wrong place",
        (SQUAD_TRAIN, "'q1'", "'Bob'"),
        squad(SQUAD_TRAIN, asked(1, ("Bob", 25))),
        on_bad_answer="stop",
    ),
    case(
        "every answer in the wrong place",
        (SQUAD_TRAIN, "'q1'", "No question"),
        squad(SQUAD_TRAIN, asked(1, ("Bob", 25))),
    ),
    case(
        "an answer beyond the text",
        (SQUAD_TRAIN, "'q1'", "2500"),
        squad(SQUAD_TRAIN, asked(1, ("Ann", 2500))),
        on_bad_answer="stop",
    ),
    case(
        "longer than the model's positions",
        ("512", "128", "--max_seq_length"),
        max_seq_length=512,
    ),
    case(
        "no room beside the question",
        ("max_seq_length (19)", "max_query_length (16)"),
        max_seq_length=19,
    ),
    case(
        "an unknown choice",
        ("on_bad_answer=drop", "skip", "stop"),
        on_bad_answer="drop",
    ),
    *each_value(
        case,
        doc_stride=[0],
        max_query_length=[0],
        train_batch_size=[0],
        predict_batch_size=[-1],
        n_best_size=[0],
        max_answer_length=[0],
        num_runs=[0],
        learning_rate=["nan"],
        num_train_epochs=[-1.0],
        warmup_proportion=[1.5],
        seed=[-1],
        null_score_diff_threshold=["often", "nan"],
    ),
    case(
        "several runs without predictions to compare",
        ("--num_runs=2", "--do_predict"),
        num_runs=2,
        do_predict=False,
    ),
    case(
        "several runs without answers to compare them by",
        ("--num_runs", SQUAD_DEV),
        squad(SQUAD_DEV, asked(1)),
        num_runs=2,
        leaves=("output",),
    ),
    case(
        "auto for SQuAD 1.1",
        ("--null_score_diff_threshold=auto", "--version_2_with_negative"),
        null_score_diff_threshold="auto",
    ),
    case(
        "auto without answers to choose by",
        (SQUAD_DEV, THRESHOLD),
        squad(SQUAD_DEV, asked(1)),
        **AUTO,
    ),
    case(
        "a stored threshold that is no number",
        (THRESHOLD, "'high'"),
        squad(SQUAD_DEV, asked(1)),
        write(THRESHOLD, "high\n"),
        leaves=("null_score",),
        **AUTO,
    ),
    case("one token type", ("type_vocab_size", "1"), one_token_type),
    case(
        "a batch larger than the training set",
        ("8 examples", "--train_batch_size=9"),
        train_batch_size=9,
    ),
    case(
        "another vocab.txt in the output folder",
        ("output/vocab.txt", VOCAB_FILE, "line 694"),
        folder("output"),
        copy_file(VOCAB_FILE, "output/vocab.txt"),
        append("output/vocab.txt", "[more]\n"),
        leaves=BESIDE,
    ),
    case(
        "another bert_config.json in the output folder",
        ("output/bert_config.json", CONFIG_FILE, "hidden_act"),
        folder("output"),
        copy_file(CONFIG_FILE, "output/bert_config.json"),
        edit_json("output/bert_config.json", hidden_act="relu"),
        leaves=BESIDE,
    ),
    case(
        "a folder in the place of predictions.json",
        "output/predictions.json",
        folder("output/predictions.json"),
        leaves=("eval.tf_record", "nbest_predictions.json", "predictions.json"),
        do_train=False,
    ),
]


@pytest.mark.parametrize("case", CASES)
def test_message_names_what_is_wrong(case):
    assert faults(case, run_case(case)) == []
