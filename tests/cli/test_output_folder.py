import os

import pytest
from absl import flags

from bert_tf import run_classifier, run_pretraining, run_squad
from bert_tf.cli import output_folder
from bert_tf.errors import InputError


def parsed(command, **given):
    values = flags.FlagValues()
    command.define_flags(values)
    given = {"output_dir": "out", "init_checkpoint": "bert", **given}
    if command is run_classifier:
        given = {"task_name": "tsv", "data_dir": "out", **given}
    values(["command", *(f"--{name}={value}" for name, value in given.items())])
    return values


@pytest.fixture
def out(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out").mkdir()
    (tmp_path / "bert").mkdir()
    for name in (
        "train.tsv",
        "dev.tsv",
        "vocab.txt",
        "bert_config.json",
        "labels.txt",
        "questions.json",
        "eval.tf_record",
        "test_results.tsv",
        "predictions.json",
    ):
        (tmp_path / "out" / name).touch()
    return tmp_path / "out"


@pytest.mark.parametrize(
    "given",
    [
        {},  # The data lie in the output folder.
        {"vocab_file": "out/vocab.txt", "bert_config_file": "out/./x"},
        {"init_checkpoint": "out"},
        {"init_checkpoint": "out/best"},
    ],
)
def test_input_in_the_output_folder_is_legal_under_other_names(out, given):
    output_folder.check(parsed(run_classifier, **given))
    more = {"train_file": "out/questions.json", "predict_file": "nowhere"}
    output_folder.check(parsed(run_squad, **given, **more))


def test_records_to_pretrain_on_are_only_read(out):
    (out / "pretrain.tf_record").touch()
    given = {"input_file": "out/pre*.tf_record"}
    output_folder.check(parsed(run_pretraining, **given))
    with pytest.raises(InputError, match=r"eval\.tf_record.*--input_file"):
        output_folder.check(parsed(run_pretraining, input_file="out/*record"))


@pytest.mark.parametrize(
    "flag, path, output",
    [
        ("predict_file", "out/predictions.json", "predictions.json"),
        ("train_file", "link", "predictions.json"),
        ("vocab_file", "hard", "test_results.tsv"),
        (
            "bert_config_file",
            "out/best/model.ckpt-1.index",
            "best/model.ckpt-1",
        ),
        ("vocab_file", "out/run_2/eval_results.txt", "run_2/eval_results"),
    ],
)
def test_what_is_written_must_not_be_read(out, flag, path, output):
    os.symlink("out/predictions.json", "link")
    os.link(out / "test_results.tsv", "hard")
    for name in ("best/model.ckpt-1.index", "run_2/eval_results.txt"):
        os.makedirs(os.path.dirname(out / name))
        (out / name).touch()
    with pytest.raises(InputError, match="--output_dir") as caught:
        output_folder.check(parsed(run_squad, **{flag: path}))
    for fact in (f"out/{output}", f"--{flag}"):
        assert fact in str(caught.value)


@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_a_file_of_the_data_may_be_a_link_to_one_that_is_written(out, link):
    os.mkdir("data")
    link(out / "test_results.tsv", "data/test.tsv")
    with pytest.raises(InputError, match=r"test_results\.tsv.*--data_dir"):
        output_folder.check(parsed(run_classifier, data_dir="data"))


def test_a_submission_is_not_written_over_the_set_of_its_name(out):
    (out / "CoLA.tsv").touch()
    output_folder.check(parsed(run_classifier))
    (out / "AX.tsv").touch()
    with pytest.raises(InputError, match=r"AX\.tsv.*--data_dir"):
        output_folder.check(parsed(run_classifier))
    (out / "diagnostic.tsv").touch()
    output_folder.check(parsed(run_classifier))


def test_training_does_not_begin_where_it_keeps_its_best(out):
    given = {"init_checkpoint": "out/best", "keep_best": "eval_accuracy"}
    given |= {"eval_every_steps": 5, "do_train": True}
    (out / "best").mkdir()
    with pytest.raises(InputError, match=r"--init_checkpoint.*out/best"):
        output_folder.check(parsed(run_classifier, **given))
    # The folder is resumed: the flag has no effect.
    (out / "model.ckpt-5.index").touch()
    output_folder.check(parsed(run_classifier, **given))
