"""--sweep as its users see it: folders, table, the best model, a kill."""

import logging
import pathlib
import subprocess
import time

import numpy as np
import pytest
from helpers import prepared
from helpers.commands import results_of, run_command
from helpers.golden import read_variables, write_small_config
from helpers.output_files import unlisted
from helpers.paths import GOLDEN, ROOT

import bert_tf

pytestmark = pytest.mark.usefixtures("without_graphs")

GRID = "learning_rate=1e-2,1e-4;train_batch_size=16"
NAMES = [
    f"learning_rate={rate},train_batch_size=16" for rate in ("1e-2", "1e-4")
]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """Flags of a small training."""
    folder = tmp_path_factory.mktemp("bert")
    return {
        "task_name": "mrpc",
        "data_dir": GOLDEN / "classification" / "mrpc" / "data",
        "vocab_file": GOLDEN / "checkpoints" / "tiny" / "vocab.txt",
        "bert_config_file": write_small_config(folder),
        "max_seq_length": 40,
        "do_train": True,
        "do_eval": True,
        "num_train_epochs": 1,
        "seed": 5,
    }


@pytest.fixture(scope="module")
def undisturbed(base, tmp_path_factory):
    """The output folder of a sweep."""
    out = tmp_path_factory.mktemp("sweep") / "out"
    given = {"do_predict": True, "do_export": True, "sweep": GRID}
    run_command("run_classifier", **base, **given, output_dir=out)
    return out


def rows_of(out):
    header, *lines = (
        line.split("\t")
        for line in (out / "sweep.tsv").read_text().splitlines()
    )
    return [dict(zip(header, line)) for line in lines]


@pytest.mark.slow
def test_each_run_is_the_one_that_its_values_alone_give(
    base, undisturbed, tmp_path
):
    rows = rows_of(undisturbed)
    assert [row["folder"] for row in rows] == [f"sweep/{n}" for n in NAMES]
    for row in rows:
        results = results_of(undisturbed / row["folder"])
        assert float(row["eval_f1"]) == results["eval_f1"]
        assert float(row["step"]) == results["global_step"]
    # The records are written once.
    (records,) = (undisturbed / "sweep").rglob("train.tf_record")
    assert records.parent.name == NAMES[0]
    assert unlisted(undisturbed) == set()

    values = {"learning_rate": "1e-4", "train_batch_size": 16}
    alone = tmp_path / "alone"
    run_command("run_classifier", **base, **values, output_dir=alone)

    second = undisturbed / "sweep" / NAMES[1]
    assert results_of(alone) == results_of(second)
    kept = read_variables(second)
    for name, value in read_variables(alone).items():
        np.testing.assert_array_equal(value, kept[name], err_msg=name)


@pytest.mark.slow
def test_the_output_folder_is_that_of_the_best_run(undisturbed, tmp_path):
    out, metric = undisturbed, "eval_f1_and_accuracy"
    rows = rows_of(out)
    best = max(rows, key=lambda row: float(row[metric]))

    assert results_of(out) == results_of(out / best["folder"])
    ours, theirs = read_variables(out), read_variables(out / best["folder"])
    assert "output_weights/adam_m" in theirs
    assert not any(name.endswith("adam_m") for name in ours)
    for name, value in ours.items():
        np.testing.assert_array_equal(value, theirs[name], err_msg=name)

    # It is used without any other flag of the model.
    given = {"task_name": "mrpc", "do_predict": True, "output_dir": out}
    before = (out / "test_results.tsv").read_text()
    data = GOLDEN / "classification" / "mrpc" / "data"
    run_command("run_classifier", **given, data_dir=data)
    assert (out / "test_results.tsv").read_text() == before
    assert len(before.splitlines()) > 1
    predictor = bert_tf.Predictor(str(out / "export"))
    assert predictor("One text.", "Another one.").label in ("0", "1")


@pytest.mark.slow
def test_a_killed_sweep_goes_on_and_more_values_add_runs(
    base, undisturbed, tmp_path, caplog
):
    caplog.set_level(logging.INFO)
    out = tmp_path / "out"
    flags = {**base, "sweep": GRID, "output_dir": out}
    given = [f"--{name}={value}" for name, value in flags.items()]
    process = prepared.Popen(
        ["-m", "bert_tf.run_classifier", *given],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    table = out / "sweep.tsv"
    # The first run has ended, and the second has begun.
    while not table.exists() or not rows_of(out):
        assert process.poll() is None
        time.sleep(0.02)
    process.kill()
    process.wait()
    (done,) = rows_of(out)
    kept = times(out / done["folder"])

    run_command("run_classifier", **flags)

    assert table.read_text() == (undisturbed / "sweep.tsv").read_text()
    assert results_of(out) == results_of(undisturbed)
    assert times(out / done["folder"]) == kept
    assert caplog.text.count("has ended before") == 1
    assert "Run 2 of 2: learning_rate=1e-4, train_batch_size=16" in caplog.text

    # 0.01 is 1e-2, which has been.
    caplog.clear()
    more = "train_batch_size=16;learning_rate=0.01,1e-4,3e-3"
    run_command("run_classifier", **{**flags, "sweep": more})

    assert caplog.text.count("has ended before") == 2
    rows = rows_of(out)
    assert [row["folder"] for row in rows[:2]] == [f"sweep/{n}" for n in NAMES]
    assert rows[2]["folder"] == "sweep/train_batch_size=16,learning_rate=3e-3"


def times(folder: pathlib.Path):
    """When the files of a folder were written."""
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


@pytest.mark.exhaustive
def test_seeds_and_lengths(base, tmp_path):
    out = tmp_path / "out"
    flags = {
        **base,
        "num_runs": 2,
        "keep_best": "eval_loss",
        "sweep": "max_seq_length=24,40",
        "output_dir": out,
    }
    run_command("run_classifier", **flags)

    rows = rows_of(out)
    assert [(row["max_seq_length"], row["run"]) for row in rows] == [
        ("24", "1"),
        ("24", "2"),
        ("40", "1"),
        ("40", "2"),
    ]
    means = {}
    for length in ("24", "40"):
        folder = out / "sweep" / f"max_seq_length={length}"
        summary = (folder / "runs.tsv").read_text()
        lines = [line.split("\t") for line in summary.splitlines()]
        means[length] = {name: float(mean) for name, mean, *_ in lines[1:]}
    best = min(means, key=lambda length: means[length]["eval_loss"])
    losses = [
        float(row["eval_loss"]) for row in rows if row["max_seq_length"] == best
    ]
    assert means[best]["eval_loss"] == pytest.approx(np.mean(losses), rel=1e-6)
    assert results_of(out)["eval_loss"] == min(losses)
    # Each length has its own records.
    found = (out / "sweep").rglob("train.tf_record")
    assert sorted(path.parent.parent.name for path in found) == [
        "max_seq_length=24",
        "max_seq_length=40",
    ]


WORDS = "Ann B-PER\nran O\n\nin O\nthe O\npark B-LOC\n\n" * 4
CHOICE = '{"context": "the park", "choices": ["is old", "is"], "label": 0}\n'


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "ending", "text", "result"),
    [
        ("run_ner", "txt", WORDS, "eval_f1"),
        pytest.param(
            "run_multiple_choice",
            "jsonl",
            CHOICE * 8,
            "eval_accuracy",
            marks=pytest.mark.exhaustive,
        ),
    ],
)
def test_other_commands_sweep_too(
    command, ending, text, result, tmp_path, caplog
):
    caplog.set_level(logging.INFO)
    for part in ("train", "dev", "test"):
        (tmp_path / f"{part}.{ending}").write_text(text)
    out = tmp_path / "out"
    run_command(
        command,
        data_dir=tmp_path,
        init_checkpoint=GOLDEN / "checkpoints" / "small",
        do_train=True,
        do_eval=True,
        do_predict=True,
        train_batch_size=4,
        num_train_epochs=1,
        max_seq_length=16,
        seed=1,
        sweep="learning_rate=1e-3,1e-5",
        output_dir=out,
    )

    values = [float(row[result]) for row in rows_of(out)]
    assert len(values) == 2
    assert results_of(out)[result] == max(values)
    assert list(out.glob("test_predictions*"))
    assert f"Runs are compared by {result}" in caplog.text
