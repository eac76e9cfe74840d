"""Teachers, transfer files and their flags, with one thing wrong each."""

import json
import pathlib

import pytest
from helpers.bad_inputs import NER_TRAIN, TRAIN, faults, of, run_case
from helpers.spoil import write
from helpers.trained_folders import make_mrpc_folder

case, words = of("run_classifier"), of("run_ner")

TEACHER = {"teacher": "teacher"}
MORE = {**TEACHER, "transfer_file": "more.tsv"}
# The teacher's labels are 0 and 1.
ROWS = "text\tlabel\nGood.\t1\nPoor.\t0\nBad.\t0\n"


def trained(noted=None, labels="0\n1\n", folder="teacher"):
    """Makes a teacher."""

    def make():
        path = make_mrpc_folder(pathlib.Path(folder))
        if labels is None:
            (path / "labels.txt").unlink()
        else:
            (path / "labels.txt").write_text(labels)
        for name in ("train", "dev"):
            write(f"data/{name}.tsv", ROWS * 1)()
        settings = path / "bert_tf.json"
        values = json.loads(settings.read_text()) | (noted or {})
        settings.write_text(json.dumps(values))

    return make


CASES = [
    *(
        case(f"{flag} without a teacher", (flag, "--teacher"), **{flag: value})
        for flag, value in (
            ("transfer_file", TRAIN),
            ("distill_temperature", 2),
            ("distill_weight", 0.5),
        )
    ),
    *(
        case(f"{flag}={value}", (flag, str(value)), **{flag: value}, **TEACHER)
        for flag, value in (
            ("distill_temperature", 0),
            ("distill_temperature", -1),
            ("distill_weight", 1.5),
            ("distill_weight", -0.1),
        )
    ),
    case(
        "nothing to learn or to compare",
        ("--teacher", "do_train", "do_eval"),
        do_train=False,
        do_eval=False,
        do_predict=True,
        **TEACHER,
    ),
    case(
        "a transfer file without training",
        ("transfer_file", "do_train"),
        do_train=False,
        **MORE,
    ),
    case("no transfer file", ("--transfer_file", "more.tsv"), **MORE),
    case("no such teacher", ("--teacher=teacher", "No checkpoint"), **TEACHER),
    case(
        "a teacher that was not fine-tuned",
        ("--teacher=bert", "labels.txt", "run_classifier"),
        teacher="bert",
    ),
    case(
        "a teacher without labels.txt",
        ("--teacher=teacher", "labels.txt"),
        trained(labels=None),
        **TEACHER,
    ),
    case(
        "a teacher in the student's folder",
        ("--teacher", "--output_dir=output"),
        trained(folder="output"),
        leaves=("",),
        max_seq_length=40,
        teacher="output",
    ),
    case(
        "a teacher in a run's folder",
        ("--teacher=output/run_2", "--output_dir=output"),
        trained(folder="output/run_2"),
        leaves=("run_2",),
        teacher="output/run_2",
    ),
    case(
        "a training that would go on without its teacher",
        ("--teacher", "output", "teacher_logits_train-00000.npz"),
        trained(folder="output"),
        write("output/teacher_logits_train-00000.npz", ""),
        leaves=("",),
        max_seq_length=40,
    ),
    case(
        "other labels",
        ("--teacher=teacher/model.ckpt-30", "'0', '1'", "'bad', 'good'"),
        trained(),
        write(TRAIN, "text\tlabel\nGood.\tgood\nPoor.\tbad\n"),
        **TEACHER,
    ),
    case(
        "labels in another order",
        ("--teacher=teacher/model.ckpt-30", "'0', '1'", "'1', '0'"),
        trained(labels="1\n0\n"),
        **TEACHER,
    ),
    case(
        "another type of labels",
        ("--teacher=teacher/model.ckpt-30", "=number", "=class"),
        trained(),
        write(TRAIN, "text\tlabel\nGood.\t1.5\nPoor.\t0\n"),
        label_type="number",
        **TEACHER,
    ),
    case(
        "a teacher of words",
        ("--teacher=teacher", "bert_tf.json", "head=tokens"),
        trained({"head": "tokens"}),
        **TEACHER,
    ),
    case(
        "a temperature for numbers",
        ("distill_temperature", "number"),
        label_type="number",
        distill_temperature=2,
        **TEACHER,
    ),
    case(
        "a transfer file without the column of the text",
        ("more.tsv", "text_a_col", "'text'", "'sentence'"),
        trained(),
        write("more.tsv", "sentence\nGood.\n"),
        **MORE,
    ),
    case(
        "a transfer file without texts",
        ("more.tsv", "none after its header"),
        trained(),
        write("more.tsv", "text\n"),
        **MORE,
    ),
    case(
        "a transfer file with bad rows",
        ("more.tsv has 2 bad rows", "line 3", "line 4"),
        trained(),
        write("more.tsv", "text\tmore\na\tb\nc\nd\n"),
        **MORE,
    ),
    case(
        "a transfer file of an unknown kind",
        ("more.txt", ".tsv, .csv, .jsonl"),
        trained(),
        write("more.txt", "text\nGood.\n"),
        **{**MORE, "transfer_file": "more.txt"},
    ),
    case(
        "a published task: other columns",
        ("more.tsv", "'#1 String'", "'sentence'"),
        trained(),
        write("more.tsv", "sentence\nGood.\n"),
        task_name="mrpc",
        data_dir="mrpc",
        **MORE,
    ),
    case(
        "a teacher that cannot read pairs",
        ("--teacher=teacher/model.ckpt-30", "type_vocab_size", "train-"),
        trained(),
        lambda: _one_token_type("teacher"),
        task_name="mrpc",
        data_dir="mrpc",
        **TEACHER,
    ),
    words(
        "words: a teacher of texts",
        ("--teacher=teacher", "bert_tf.json", "head=classifier"),
        trained(),
        **TEACHER,
    ),
    words(
        "words: other labels",
        ("--teacher=teacher/model.ckpt-30", "'0', '1'", "'B-LOC', 'B-PER'"),
        trained({"head": "tokens"}),
        **TEACHER,
    ),
    words(
        "words: a transfer file of another width",
        ("more.txt", "line 2", "2 columns"),
        trained({"head": "tokens"}, labels="B-PER\nO\n"),
        write(NER_TRAIN, "Ann B-PER\nran O\n"),
        write("more.txt", "Ann\nran fast\n"),
        teacher="teacher",
        transfer_file="more.txt",
    ),
    words(
        "words: no documents for a teacher that reads them",
        ("--teacher=teacher/model.ckpt-30", "-DOCSTART-", NER_TRAIN),
        trained({"head": "tokens", "document_context": True}, "B-PER\nO\n"),
        write(NER_TRAIN, "Ann B-PER\nran O\n"),
        **TEACHER,
    ),
]


def _one_token_type(folder):
    """Rewrites a checkpoint with one token type."""
    from bert_tf import checkpoints

    prefix = f"{folder}/model.ckpt-30"
    reader = checkpoints.CheckpointReader(prefix)
    values = {name: reader.tensor(name) for name in reader.names}
    name = "bert/embeddings/token_type_embeddings"
    checkpoints.write(prefix, {**values, name: values[name][:1]})
    config = pathlib.Path(folder) / "bert_config.json"
    settings = json.loads(config.read_text()) | {"type_vocab_size": 1}
    config.write_text(json.dumps(settings))


@pytest.mark.parametrize("case", CASES)
def test_message_names_what_is_wrong(case):
    assert faults(case, run_case(case)) == []
