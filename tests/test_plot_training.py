"""Curves of a training, from whatever holds them, to a table and a picture."""

import sys
import xml.etree.ElementTree

import numpy as np
import pytest
from helpers.paths import ROOT
from helpers.programs import load

load(ROOT / "benchmarks" / "pictures.py")
plot_training = load(ROOT / "benchmarks" / "plot_training.py")


def write_events(folder, points, seconds):
    """As TensorFlow writes them; `seconds` is in the file's name."""
    import tensorflow as tf

    writer = tf.summary.create_file_writer(str(folder / "new"))
    with writer.as_default():
        for step, value in points.items():
            tf.summary.write("loss", tf.constant(value), step=step)
    writer.close()
    (file,) = (folder / "new").iterdir()
    parts = file.name.split(".")
    file.rename(folder / ".".join([*parts[:3], str(seconds), *parts[4:]]))


def test_events_of_a_continued_training_count_as_the_later_file_has_them(
    tmp_path,
):
    write_events(tmp_path, {30: 2.0, 40: 1.5}, 1_000_000_000)
    write_events(tmp_path, {10: 4.0, 20: 3.0, 30: 9.0}, 999_999_999)

    steps, values = plot_training.read_run(str(tmp_path))["loss"]

    assert steps.tolist() == [10, 20, 30, 40]
    assert values.tolist() == [4.0, 3.0, 2.0, 1.5]


def test_folder_without_events_says_so(tmp_path):
    with pytest.raises(SystemExit, match="holds no TensorBoard events"):
        plot_training.read_run(str(tmp_path))


def test_arrays_of_the_original_count_the_steps_that_are_done(data):
    path = data / "optim" / "micro_pretrain_warmup3.npz"
    steps, values = plot_training.read_run(str(path))["masked_lm_loss"]
    with np.load(path) as arrays:
        losses = arrays["per_step/masked_lm_loss"]
    assert steps.tolist() == list(range(1, len(losses) + 1))
    np.testing.assert_array_equal(values, losses.astype(float))


CURVES = {
    "loss": (np.array([1, 2, 4]), np.array([8.0, 4.0, 2.0])),
    "accuracy": (np.array([2, 4]), np.array([0.25, 1 / 3])),
}
TABLE = "step,loss,accuracy\n1,8,\n2,4,0.25\n4,2,0.3333333\n"


def test_table_has_a_row_for_each_step():
    names = ["loss", "accuracy", "absent"]
    assert plot_training.to_table(CURVES, names) == TABLE


def test_table_is_read_back(tmp_path):
    (tmp_path / "run.csv").write_text(TABLE)
    found = plot_training.read_run(str(tmp_path / "run.csv"))
    for quantity, want in CURVES.items():
        np.testing.assert_allclose(found[quantity], want, atol=1e-7)


def test_difference_is_the_largest_at_the_steps_in_common():
    other = {"loss": (np.array([2, 3, 4]), np.array([4.0, 7.0, 2.5]))}
    runs = {"ours": CURVES, "theirs": other}
    (line,) = plot_training.differences(runs, ["loss", "accuracy"])
    assert "2 steps in common" in line
    assert "2.00e-01, at step 4" in line


def test_picture_has_a_curve_for_each_run_and_is_always_the_same(
    tmp_path, monkeypatch, capsys
):
    pytest.importorskip("matplotlib", reason="bert-tf[docs] is not installed")
    (tmp_path / "run.csv").write_text(TABLE)
    pictures = [tmp_path / "a.svg", tmp_path / "b.svg"]
    for picture in pictures:
        monkeypatch.setattr(
            sys,
            "argv",
            [
                *("plot_training", f"--run=ours={tmp_path}/run.csv"),
                f"--run=theirs={tmp_path}/run.csv",
                *("--quantities", "loss", "accuracy"),
                f"--picture={picture}",
            ],
        )
        plot_training.main()

    assert pictures[0].read_bytes() == pictures[1].read_bytes()
    root = xml.etree.ElementTree.parse(pictures[0]).getroot()
    panels = [g for g in root.iter() if g.get("id", "").startswith("axes_")]
    assert len(panels) == 2
    assert "0.00e+00" in capsys.readouterr().out


def test_run_without_what_is_wanted_lists_what_it_has(tmp_path, monkeypatch):
    (tmp_path / "run.csv").write_text(TABLE)
    command = ["plot_training", f"--run=ours={tmp_path}/run.csv"]
    monkeypatch.setattr(sys, "argv", [*command, "--quantities", "norm"])
    with pytest.raises(SystemExit, match=r"none of norm.*accuracy, loss"):
        plot_training.main()
