"""Comparing the built-in model with random weights: data, resuming, summary."""

import io
import json
import sys
import tarfile

import numpy as np
import pytest
from helpers.paths import ROOT
from helpers.programs import load

builtin_model = load(ROOT / "benchmarks" / "builtin_model.py")
Review, Row = builtin_model.Review, builtin_model.Row


def reviews_of(label, count):
    rows = [Review(n, Row(f"{label} {n}", label)) for n in range(count)]
    return rows[::-1]  # No order is promised.


def test_reviews_of_train_and_test_are_a_film_apart():
    reviews = {label: reviews_of(label, 100) for label in ("neg", "pos")}
    train, test = builtin_model.split_reviews(reviews, 0.2, gap=30)

    for label in reviews:
        numbers = [
            sorted(int(r.text.split()[1]) for r in part if r.label == label)
            for part in (train, test)
        ]
        assert numbers == [list(range(50)), list(range(80, 100))]


def test_review_that_is_in_the_test_is_not_trained_on():
    reviews = {"neg": reviews_of("neg", 10), "pos": reviews_of("pos", 10)}
    reviews["pos"][-1] = Review(0, Row("neg 9", "pos"))
    train, test = builtin_model.split_reviews(reviews, 0.2, gap=1)

    assert not {row.text for row in train} & {row.text for row in test}
    assert len(train) == 13


def test_archive_and_folder_of_reviews_are_read_alike(tmp_path):
    texts = {
        "aclImdb/train/pos/0_9.txt": "Good<br /><br />film,\tyes.",
        "aclImdb/train/neg/11_2.txt": "Bad “film”.",
        "aclImdb/train/unsup/3_0.txt": "No label.",
        "aclImdb/README": "Read me.",
    }
    with tarfile.open(tmp_path / "reviews.tar.xz", "w:xz") as archive:
        for name, text in texts.items():
            member = tarfile.TarInfo(name)
            member.size = len(text.encode())
            archive.addfile(member, io.BytesIO(text.encode()))
            path = tmp_path / "folder" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")

    want = {
        "pos": [Review(0, Row("Good film, yes.", "pos"))],
        "neg": [Review(11, Row("Bad “film”.", "neg"))],
    }
    assert builtin_model.read_imdb(tmp_path / "reviews.tar.xz") == want
    assert builtin_model.read_imdb(tmp_path / "folder") == want


def test_folder_without_reviews_says_what_is_missing(tmp_path):
    with pytest.raises(SystemExit, match=r"train/pos/\*\.txt"):
        builtin_model.read_imdb(tmp_path)


def test_sentences_of_the_test_are_not_trained_on(tmp_path):
    (tmp_path / "train.tsv").write_text(
        'sentence\tlabel\na "quoted phrase \t1\nin both \t0\n'
    )
    (tmp_path / "dev.tsv").write_text("sentence\tlabel\nin both\t1\n")
    train, test = builtin_model.read_sst2(tmp_path)
    assert train == [Row('a "quoted phrase', "1")]
    assert test == [Row("in both", "1")]


def test_subset_is_drawn_alike_each_time_and_from_all_rows():
    rows = list(range(1000))
    first = builtin_model.subset(rows, 100)
    assert first == builtin_model.subset(rows, 100)
    assert len(set(first)) == 100
    assert max(first) > 900
    assert sorted(builtin_model.subset(rows, 5000)) == rows


def test_summary_and_margin_are_those_of_numpy(rng):
    ours, other = rng.random(5), rng.random(5)
    found = builtin_model.summaries(
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


def test_task_with_one_side_only_has_no_margin_yet():
    run = {"task": "imdb", "start": "random", "accuracy": 0.5}
    assert builtin_model.summaries([run]) == {}


def test_finished_runs_are_remembered_and_other_settings_refused(tmp_path):
    path = tmp_path / "results.json"
    results = builtin_model.Results(path, {"batch_size": 32})
    results.add("sst2", "random", 3, 0.75, 60.0)

    again = builtin_model.Results(path, {"batch_size": 32})
    assert again.has("sst2", "random", 3)
    assert not again.has("sst2", "builtin", 3)
    assert not again.has("sst2", "random", 2)
    with pytest.raises(SystemExit, match=r"other settings.*--folder"):
        builtin_model.Results(path, {"batch_size": 64})


def fine_tune(monkeypatch, tmp_path, run):
    (tmp_path / "sst2").mkdir(exist_ok=True)
    for name in ("train.tsv", "dev.tsv"):
        (tmp_path / "sst2" / name).write_text(
            f"sentence\tlabel\none of {name}\t1\n"
        )
    command = [
        "builtin_model",
        "finetune",
        f"--sst2={tmp_path}/sst2",
        f"--folder={tmp_path}/runs",
        f"--checkpoint={ROOT}/checkpoints/builtin",
        "--seeds=2",
    ]
    monkeypatch.setattr(sys, "argv", command)
    monkeypatch.setattr(builtin_model, "run", run)
    builtin_model.main()


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
        fine_tune(monkeypatch, tmp_path, run)
    fine_tune(monkeypatch, tmp_path, run)

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


def test_constant_guess_is_the_most_frequent_masked_piece():
    counts = {}
    builtin_model.count_masked(counts, [7, 9, 7, 0, 0], [1, 1, 1, 0, 0])
    builtin_model.count_masked(counts, [5, 0], [1.0, 0.0])
    assert counts == {7: 2, 9: 1, 5: 1}
    assert builtin_model.constant_guess(counts) == (7, 0.5)
    # 2 ** 1.5 bits.
    assert builtin_model.unigram_perplexity(counts) == pytest.approx(2**1.5)
