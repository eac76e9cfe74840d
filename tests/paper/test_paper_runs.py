"""Rows are run once, go on where they were stopped, and are checked first."""

import argparse
import pathlib
import signal
import subprocess
import sys
import time
from dataclasses import replace

import paper_runs
import pytest
from helpers.paths import ROOT
from paper_runs import EVAL_RESULTS, Failed, Missing, Result, Row, Work

ROW = Row(
    "CoLA",
    command="run_classifier",
    data="glue/CoLA",
    files=("train.tsv", "dev.tsv|valid.tsv"),
    flags={"data_dir": "{data}", "learning_rate": 2e-5, "num_train_epochs": 3},
    results=(
        Result("accuracy", "eval_accuracy"),
        Result("accuracy, test", "eval_accuracy", file="test.txt"),
    ),
    optional=("test.tsv",),
    optional_flags={"do_predict": True},
)
ACCURACY, TEST_ACCURACY = (result.id for result in ROW.results)


@pytest.fixture
def arguments(tmp_path):
    (tmp_path / "glue" / "CoLA").mkdir(parents=True)
    for name in ("train.tsv", "valid.tsv"):
        (tmp_path / "glue" / "CoLA" / name).write_text("a\n" * 9)
    return argparse.Namespace(
        data_dir=str(tmp_path),
        output_dir=str(tmp_path / "out"),
        size="builtin",
        checkpoint=None,
        num_runs=2,
        seed=3,
        train_rows=None,
        dev_rows=None,
        tiny=False,
        learning_rate=None,
        num_train_epochs=None,
        keep_checkpoints=False,
        more=[],
    )


class Commands:
    """Stands for the commands; notes them, and writes results."""

    def __init__(self):
        self.given = []
        self.codes = []

    def __call__(self, command, log):
        flags = dict(flag[2:].split("=", 1) for flag in command[3:])
        self.given.append(flags)
        log.write_text("reading\nout of memory\n\n")
        if self.codes:
            return self.codes.pop()
        for number in (1, 2):
            folder = pathlib.Path(flags["output_dir"]) / f"run_{number}"
            folder.mkdir(parents=True)
            (folder / "model.ckpt-3.index").touch()
            (folder / EVAL_RESULTS).write_text(f"eval_accuracy = 0.{number}\n")
        return 0


@pytest.fixture
def commands(monkeypatch):
    made = Commands()
    monkeypatch.setattr(paper_runs, "call", made)
    return made


def test_a_finished_row_is_kept_and_its_checkpoints_are_not(
    arguments, commands
):
    for _ in range(2):
        numbers = Work(arguments).numbers_of(ROW)
        assert numbers == {ACCURACY: [0.1, 0.2]}
    (flags,) = commands.given
    assert flags["data_dir"].endswith("glue/CoLA")
    assert flags["init_checkpoint"].endswith("checkpoints/builtin")
    assert (flags["num_runs"], flags["seed"]) == ("2", "3")
    # The built-in model's, not the table's.
    assert float(flags["learning_rate"]) == 3e-4
    assert "do_predict" not in flags
    folder = pathlib.Path(flags["output_dir"])
    assert (folder / "run_1" / EVAL_RESULTS).exists()
    assert not list(folder.rglob("model.ckpt*"))


def test_more_flags_are_for_commands_of_bert_tf(arguments, commands):
    arguments.more = ["--precision=mixed_bfloat16"]
    for row in (ROW, replace(ROW, name="own", command="conll_features")):
        Work(arguments).numbers_of(row)
    first, second = commands.given
    assert first["precision"] == "mixed_bfloat16"
    assert "precision" not in second


def test_a_row_that_failed_is_run_again_in_its_folder(arguments, commands):
    commands.codes = [1]
    with pytest.raises(Failed, match=r"ended with 1.*out of memory"):
        Work(arguments).numbers_of(ROW)
    assert Work(arguments).numbers_of(ROW)[ACCURACY] == [0.1, 0.2]
    first, second = commands.given
    assert first == second


@pytest.mark.parametrize("code", [0, 1])
def test_other_settings_in_the_same_folder_are_refused(
    arguments, commands, code
):
    commands.codes = [code] * code
    try:
        Work(arguments).numbers_of(ROW)
    except Failed:
        assert code
    arguments.learning_rate = 1e-3
    with pytest.raises(Failed, match=r"learning_rate=0.0003, now 0.001"):
        Work(arguments).numbers_of(ROW)
    assert len(commands.given) == 1


def test_results_that_were_not_written_have_no_numbers(tmp_path):
    (tmp_path / EVAL_RESULTS).write_text("eval_accuracy = 0.5\n")
    found = paper_runs.read_runs(
        tmp_path, 1, [*ROW.results, Result("second", "eval_mm_accuracy")]
    )
    assert found == {ACCURACY: [0.5]}


def test_missing_files_are_named_before_anything_runs(arguments, commands):
    folder = pathlib.Path(arguments.data_dir) / "glue" / "CoLA"
    (folder / "valid.tsv").unlink()
    with pytest.raises(Missing, match=r"glue/CoLA has no dev.tsv or valid.tsv"):
        Work(arguments).numbers_of(ROW)
    assert commands.given == []
    assert not pathlib.Path(arguments.output_dir).exists()


def test_data_may_lie_without_the_folder_of_their_kind(arguments, commands):
    arguments.data_dir = str(pathlib.Path(arguments.data_dir) / "glue")
    assert Work(arguments).numbers_of(ROW)[ACCURACY] == [0.1, 0.2]


def test_rows_are_counted_for_each_part_and_a_test_file_is_predicted(
    arguments, commands
):
    source = pathlib.Path(arguments.data_dir) / "glue" / "CoLA"
    (source / "test.tsv").write_text("a\n" * 9)
    arguments.train_rows, arguments.dev_rows = 4, 2
    Work(arguments).numbers_of(ROW)
    folder = pathlib.Path(commands.given[0]["data_dir"])
    assert folder != source
    lines = {
        path.name: path.read_text().count("\n") for path in folder.iterdir()
    }
    assert lines == {"train.tsv": 5, "valid.tsv": 3, "test.tsv": 3}
    assert commands.given[0]["do_predict"] == "True"


PROGRAM = """
import pathlib, signal, sys, time
folder = pathlib.Path(sys.argv[1])
def stop(number, frame):
    (folder / "saved").touch()
    sys.exit()
signal.signal(signal.SIGTERM, stop)
(folder / "ready").touch()
time.sleep(60)
"""


def test_a_terminated_script_lets_its_command_save(tmp_path):
    code = (
        "import pathlib, sys; from paper_runs import call; "
        f"call([sys.executable, '-c', {PROGRAM!r}, {str(tmp_path)!r}], "
        f"pathlib.Path({str(tmp_path)!r}) / 'log')"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=ROOT / "run_scripts" / "paper",
        env={"PYTHONPATH": f"{ROOT}"},
    )
    while not (tmp_path / "ready").exists() and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert process.wait() == 128 + signal.SIGTERM
    assert (tmp_path / "saved").exists()
