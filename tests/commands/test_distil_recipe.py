"""The recipe from a teacher to an export in 8 bits, in miniature."""

import os
import re
import subprocess
import sys

import pytest
from helpers.commands import results_of
from helpers.paths import GOLDEN, ROOT

import bert_tf

RECIPE = ROOT / "run_scripts" / "distillation" / "distil.sh"
SAMPLES = ROOT / "run_scripts" / "sample_data" / "reviews"


def run(*arguments, **settings):
    return subprocess.run(
        [RECIPE, *arguments],
        env={**os.environ, "PYTHON": sys.executable, **settings},
        capture_output=True,
        text=True,
    )


def test_without_a_teacher_the_recipe_says_what_it_needs(tmp_path):
    done = run(tmp_path / "out", SAMPLES)
    assert done.returncode == 1 and not (tmp_path / "out").exists()
    assert "usage: " in done.stderr and "TEACHER_CHECKPOINT" in done.stderr


@pytest.mark.slow
def test_recipe_ends_with_a_table_and_keeps_what_is_finished(tmp_path):
    data, out = tmp_path / "data", tmp_path / "out"
    data.mkdir()
    for name, rows in (("train", 97), ("dev", 33)):
        lines = (SAMPLES / f"{name}.tsv").read_text().splitlines(True)
        (data / f"{name}.tsv").write_text("".join(lines[:rows]))
    lines = (SAMPLES / "train.tsv").read_text().splitlines(True)
    (data / "more.tsv").write_text("".join(lines[:1] + lines[97:]))
    settings = {
        "TEACHER_CHECKPOINT": "builtin",
        "TEACHER_LEARNING_RATE": "3e-4",
        "STUDENT": str(GOLDEN / "checkpoints" / "small"),
        "DATA_FLAGS": "--text_a_col=text --label_col=label",
        "EPOCHS": "1",
        "MAX_SEQ_LENGTH": "24",
        "NUM_RUNS": "2",
    }

    first = run(out, data, data / "more.tsv", **settings)
    assert first.returncode == 0, first.stderr
    steps = re.findall(r"^(\d)\. ", first.stdout, re.MULTILINE)
    assert steps == [*"123", *"4" * 7, "5"]
    table = (out / "table.md").read_text()
    assert first.stdout.endswith(f"{table}The model: {out}/int8\n")
    rows = [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in table.splitlines()[2:]
    ]
    names = ["teacher", "student alone", "distilled", "distilled, 8 bits"]
    assert [row[0] for row in rows] == names
    # Computed by other commands.
    accuracy = 100 * results_of(out / "teacher")["eval_accuracy"]
    assert rows[0][1] == f"{accuracy:.1f}"
    for kind, row in (("alone", rows[1]), ("distilled", rows[2])):
        found = [
            100 * results_of(out / kind / f"run_{number}")["eval_accuracy"]
            for number in (1, 2)
        ]
        mean, deviation = sum(found) / 2, abs(found[0] - found[1]) / 2**0.5
        assert row[1] == f"{mean:.1f} ± {deviation:.1f}"
    megabytes = [float(row[2]) for row in rows]
    assert megabytes[0] > megabytes[2] > megabytes[3] > 0
    assert len(list((out / "distilled").glob("teacher_logits_*"))) == 2
    result = bert_tf.Predictor(out / "int8")("A wonderful place.")
    assert result.label in ("negative", "positive")

    again = run(out, data, data / "more.tsv", **settings)
    assert again.returncode == 0, again.stderr
    assert re.findall(r"^(\d)\. ", again.stdout, re.M) == ["5"]
