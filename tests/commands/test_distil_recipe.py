"""The recipe from a teacher to an export in 8 bits, in miniature."""

import importlib.util
import re
import subprocess
import types

import pytest
from helpers import prepared
from helpers.commands import results_of
from helpers.golden import TINY
from helpers.paths import ROOT
from helpers.trained_folders import MRPC, make_mrpc_folder

import bert_tf

FOLDER = ROOT / "run_scripts" / "distillation"
RECIPE = FOLDER / "distil.sh"


def run(*arguments, **settings):
    return subprocess.run(
        [RECIPE, *arguments],
        env={**prepared.environment(), "PYTHON": prepared.python(), **settings},
        capture_output=True,
        text=True,
    )


def steps_of(done):
    assert done.returncode == 0, done.stderr
    return re.findall(r"^(\d)\. ", done.stdout, re.MULTILINE)


def test_without_a_teacher_the_recipe_says_what_it_needs(tmp_path):
    done = run(tmp_path / "out", MRPC / "data")
    assert done.returncode == 1 and not (tmp_path / "out").exists()
    assert "usage: " in done.stderr and "TEACHER_CHECKPOINT" in done.stderr


@pytest.mark.slow
@pytest.mark.usefixtures("graphs_as_traced")
def test_recipe_ends_with_a_table_and_keeps_what_is_finished(tmp_path):
    out, data = tmp_path / "out", MRPC / "data"
    settings = {
        "TASK": "mrpc",
        "TEACHER": str(make_mrpc_folder(tmp_path / "teacher")),
        "STUDENT": str(TINY.parent),
        "EPOCHS": "1",
        "MAX_SEQ_LENGTH": "24",
        "FORMAT": "onnx",  # A SavedModel takes five times as long to make.
    }

    first = run(out, data, data / "test.tsv", **settings)
    assert steps_of(first) == [*"23", *"4444", "5"]
    table = (out / "table.md").read_text()
    assert first.stdout.endswith(f"{table}The model: {out}/int8\n")
    rows = [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in table.splitlines()[2:]
    ]
    names = ["teacher", "student alone", "distilled", "distilled, 8 bits"]
    assert [row[0] for row in rows] == names
    # Computed by the original, and by another command.
    accuracies = [results_of(MRPC / "eval_in_model_dir")["eval_accuracy"]] + [
        results_of(out / name)["eval_accuracy"]
        for name in ("alone", "distilled")
    ]
    assert [row[1] for row in rows[:3]] == [
        f"{100 * x:.1f}" for x in accuracies
    ]
    megabytes = [float(row[2]) for row in rows]
    assert megabytes[2] > megabytes[3] > 0
    assert len(list((out / "distilled").glob("teacher_logits_*"))) == 2
    assert bert_tf.Predictor(out / "int8")("A text.").label in ("0", "1")

    # What is left to do is tried by a program that does nothing.
    again = run(out, data, data / "test.tsv", **settings, PYTHON="true")
    assert steps_of(again) == ["5"]


@pytest.fixture(scope="module")
def table():
    spec = importlib.util.spec_from_file_location("table", FOLDER / "table.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_row_has_the_mean_of_its_runs_and_the_size_of_the_first(table):
    rows = {
        "teacher": [table.Measured(0.8768, 91.04, 50.2)],
        "distilled": [
            table.Measured(0.71, 9.3, 999.6),
            table.Measured(0.73, 9.4, 900.0),
        ],
    }
    assert table.table(rows).splitlines()[2:] == [
        "| teacher | 87.7 | 91.0 | 50 |",
        # The deviation of a sample of two is their distance / sqrt(2).
        "| distilled | 72.0 ± 1.4 | 9.3 | 1000 |",
    ]


def test_runs_are_in_the_order_of_their_numbers(table, tmp_path):
    for name in ("alone-10", "alone-2", "alone-2.new", "teacher", "int8-1"):
        (tmp_path / name).mkdir()
    flags = types.SimpleNamespace(folder=str(tmp_path))
    found = [path.rpartition("/")[2] for path in table.paths_of(flags, "alone")]
    assert found == ["alone-2", "alone-10"]
    assert table.paths_of(flags, "teacher") == [str(tmp_path / "teacher")]
