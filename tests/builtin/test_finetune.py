"""Fine-tuning beside random weights: data, margin, resuming."""

import json
import sys

import finetune
import numpy as np
import pytest
from helpers.paths import ROOT
from reviews import Row

CHECKPOINT = ROOT / "checkpoints" / "builtin"


def test_sentences_of_the_test_are_not_trained_on(tmp_path):
    (tmp_path / "train.tsv").write_text(
        'sentence\tlabel\na "quoted phrase \t1\nin both \t0\n'
    )
    (tmp_path / "dev.tsv").write_text("sentence\tlabel\nin both\t1\n")
    train, test = finetune.read_sst2(tmp_path)
    assert train == [Row('a "quoted phrase', "1")]
    assert test == [Row("in both", "1")]


def test_summary_and_margin_are_those_of_numpy(rng):
    ours, other = rng.random(5), rng.random(5)
    found = finetune.summaries(
        [
            {"task": "sst2", "start": start, "accuracy": accuracy}
            for start, side in (("builtin", ours), ("random", other))
            for accuracy in side
        ]
    )["sst2"]

    assert found["builtin"]["mean"] == pytest.approx(ours.mean())
    assert found["builtin"]["deviation"] == pytest.approx(np.std(ours, ddof=1))
    assert found["random"]["lowest"] == other.min()
    assert found["margin"] == pytest.approx(ours.mean() - other.mean())
    variances = [np.var(side, ddof=1) / 5 for side in (ours, other)]
    assert found["standard_error"] == pytest.approx(np.sqrt(sum(variances)))


def test_finished_runs_are_remembered_and_other_settings_refused(tmp_path):
    path = tmp_path / "results.json"
    results = finetune.Results(path, {"batch_size": 32})
    results.add("sst2", "random", 3, 0.75, 60.0)

    again = finetune.Results(path, {"batch_size": 32})
    assert again.has("sst2", "random", 3)
    assert not again.has("sst2", "builtin", 3)
    assert not again.has("sst2", "random", 2)
    with pytest.raises(SystemExit, match=r"other settings.*--folder"):
        finetune.Results(path, {"batch_size": 64})


def start(monkeypatch, tmp_path, run):
    (tmp_path / "sst2").mkdir(exist_ok=True)
    for name in ("train.tsv", "dev.tsv"):
        (tmp_path / "sst2" / name).write_text(
            f"sentence\tlabel\none of {name}\t1\n"
        )
    command = [
        "finetune",
        f"--sst2={tmp_path}/sst2",
        f"--folder={tmp_path}/runs",
        f"--checkpoint={CHECKPOINT}",
        "--seeds=2",
    ]
    monkeypatch.setattr(sys, "argv", command)
    monkeypatch.setattr(finetune, "run", run)
    finetune.main()


def test_stopped_comparison_goes_on_with_the_run_that_was_stopped(
    monkeypatch, tmp_path, capsys
):
    done = []

    def run(arguments, folder, task, sizes, start, seed):
        if len(done) == 2:
            done.append("stopped")
            raise KeyboardInterrupt
        done.append((start, seed))
        return 0.8 if start == "builtin" else 0.5 + seed / 100

    with pytest.raises(KeyboardInterrupt):
        start(monkeypatch, tmp_path, run)
    start(monkeypatch, tmp_path, run)

    assert done == [
        ("builtin", 1),
        ("random", 1),
        "stopped",
        ("builtin", 2),
        ("random", 2),
    ]
    found = json.loads((tmp_path / "runs" / "results.json").read_text())
    assert found["summary"]["sst2"]["margin"] == pytest.approx(0.285)
    assert "| sst2 | **margin** | | **+0.2850** |" in capsys.readouterr().out
