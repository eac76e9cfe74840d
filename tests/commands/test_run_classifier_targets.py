"""run_classifier with numbers and several labels: files, folders, exports."""

import csv
import json

import numpy as np
import pytest
from helpers.commands import results_of, run_classifier, run_command
from helpers.golden import write_small_config
from helpers.paths import GOLDEN

import bert_tf

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("graphs_as_traced"),
]

VOCAB = GOLDEN / "checkpoints" / "tiny" / "vocab.txt"
WORDS = ("river", "market", "letter", "dog", "bridge", "museum")


@pytest.fixture(scope="module")
def small_bert(tmp_path_factory):
    return write_small_config(tmp_path_factory.mktemp("small"))


def common(folder, small_bert, **more):
    return {
        "task_name": "tsv",
        "data_dir": folder / "data",
        "output_dir": folder / "out",
        "bert_config_file": small_bert,
        "vocab_file": VOCAB,
        "max_seq_length": 12,
        "train_batch_size": 8,
        "learning_rate": 3e-3,
        "seed": 5,
        **more,
    }


def texts():
    return [f"the {a} and the {b}" for a in WORDS for b in WORDS]


@pytest.fixture(scope="module")
def multi(tmp_path_factory, small_bert):
    """The folder of a run whose labels are words of the texts."""
    folder = tmp_path_factory.mktemp("multi")
    (folder / "data").mkdir()
    names = ("river", "dog", "museum")
    rows = ["id,comment,river,dog,museum\n"]
    for at, text in enumerate(texts()):
        flags = ",".join(str(int(name in text)) for name in names)
        rows.append(f"{at},{text},{flags}\n")
    for part in ("train", "dev", "test"):
        (folder / "data" / f"{part}.csv").write_text("".join(rows))
    run_classifier(
        **common(
            folder,
            small_bert,
            label_type="multi",
            label_cols="river,dog,museum",
            label_separator="|",
            text_a_col="comment",
            class_weights="balanced",
            threshold="auto",
            do_train=True,
            do_eval=True,
            do_predict=True,
            do_export=True,
            num_train_epochs=30,
            eval_every_steps=40,
            keep_best="eval_micro_f1",
        )
    )
    return folder


def test_a_run_of_several_labels_writes_scores_names_and_thresholds(multi):
    out = multi / "out"
    results = results_of(out)
    assert set(results) == {
        "eval_auc",
        "eval_loss",
        "eval_macro_f1",
        "eval_micro_f1",
        "eval_subset_accuracy",
        "global_step",
        "loss",
    }
    assert results["eval_micro_f1"] > 0.9
    assert (out / "labels.txt").read_text() == "river\ndog\nmuseum\n"
    noted = json.loads((out / "best" / "bert_tf.json").read_text())
    assert (noted["label_type"], noted["label_separator"]) == ("multi", "|")
    scores = np.loadtxt(out / "test_results.tsv")
    lines = (out / "best" / "thresholds.tsv").read_text().splitlines()
    limits = np.array([line.split("\t")[1] for line in lines], np.float32)
    found = (out / "test_predictions.txt").read_text().split("\n")[:-1]
    names = np.array(["river", "dog", "museum"])
    holds = np.float32(scores) >= limits
    assert found == ["|".join(names[row]) for row in holds]
    with open(out / "test_predictions.tsv", newline="") as file:
        table = list(csv.DictReader(file, delimiter="\t"))
    assert [row["labels"] for row in table] == found
    assert [row["comment"] for row in table] == texts()
    # The file has a column of each name already.
    of_dog = [float(row["predicted_dog"]) for row in table]
    np.testing.assert_allclose(of_dog, scores[:, 1])
    # dev and test are the same texts.
    truth = np.array([[name in text for name in names] for text in texts()])
    hits = (truth & holds).sum()
    f1 = 2 * hits / (truth.sum() + holds.sum())
    assert results["eval_micro_f1"] == pytest.approx(f1, abs=1e-6)
    tested = results_of(out, "test_eval_results.txt")
    assert tested["eval_micro_f1"] == pytest.approx(results["eval_micro_f1"])
    for name in ("report.txt", "mistakes.tsv", "per_label.tsv"):
        of_dev = (out / f"eval_{name}").read_text()
        of_test = (out / f"test_{name}").read_text()
        assert of_test.count("\n") == of_dev.count("\n")
    header, *rows = (out / "eval_per_label.tsv").read_text().splitlines()
    assert header.startswith("label\tsupport\tprecision\trecall\tf1\tauc")
    assert [row.split("\t")[1] for row in rows] == ["11", "11", "11"]


def test_a_later_prediction_takes_what_the_folder_has(
    multi, small_bert, tmp_path
):
    run_classifier(
        task_name="tsv",
        data_dir=multi / "data",
        text_a_col="comment",
        label_cols="river,dog,museum",
        label_type="multi",
        output_dir=tmp_path,
        init_checkpoint=multi / "out" / "best",
        do_predict=True,
    )
    for name in ("test_predictions.txt", "test_results.tsv"):
        want = (multi / "out" / name).read_text()
        assert (tmp_path / name).read_text() == want
    with pytest.raises(ValueError, match=r"label_type=class.*multi"):
        run_classifier(
            task_name="tsv",
            data_dir=multi / "data",
            text_a_col="comment",
            label_type="class",
            output_dir=tmp_path / "other",
            init_checkpoint=multi / "out" / "best",
            do_predict=True,
        )


@pytest.mark.exhaustive
def test_an_export_later_on_has_them_too(multi, capsys):
    run_command(
        "export_saved_model",
        head="classifier",
        checkpoint=multi / "out" / "best",
        output_dir=multi / "again",
    )
    check_export(multi, multi / "again")


def test_exports_have_the_scores_and_labels_of_the_run(multi):
    check_export(multi, multi / "out" / "export")
    # The run's own folder stands for its best checkpoint.
    check_export(multi, multi / "out")


def check_export(multi, folder):
    scores = np.loadtxt(multi / "out" / "test_results.tsv")
    found = (multi / "out" / "test_predictions.txt").read_text().split("\n")
    results = list(bert_tf.Predictor(folder)(texts()))
    got = [list(one.scores.values()) for one in results]
    np.testing.assert_allclose(got, scores, rtol=0, atol=1e-6)
    names = ["|".join(one.labels) for one in results]
    # A threshold is a score of the dev set: rounding may part the two.
    assert sum(a != b for a, b in zip(names, found)) <= 3


def test_classify_has_the_scores_and_labels_of_the_run(multi, tmp_path):
    (tmp_path / "in").write_text("".join(f"{text}\n" for text in texts()))
    run_command(
        "classify",
        checkpoint=multi / "out",
        input_file=tmp_path / "in",
        output_file=tmp_path / "found",
    )
    rows = (tmp_path / "found").read_text().splitlines()
    results = [json.loads(row) for row in rows]
    got = [list(one["scores"].values()) for one in results]
    scores = np.loadtxt(multi / "out" / "test_results.tsv")
    np.testing.assert_allclose(got, scores, rtol=0, atol=1e-6)
    found = (multi / "out" / "test_predictions.txt").read_text().split("\n")
    names = ["|".join(one["labels"]) for one in results]
    assert sum(a != b for a, b in zip(names, found)) <= 3


def test_a_number_is_trained_predicted_and_exported(
    small_bert, tmp_path, capsys
):
    (tmp_path / "data").mkdir()
    values = {word: 0.5 * at - 1 for at, word in enumerate(WORDS)}
    rows = "".join(
        f"the {a} and the {b}\t{values[a] + values[b]}\n"
        for a in WORDS
        for b in WORDS
    )
    for part in ("train", "dev", "test"):
        (tmp_path / "data" / f"{part}.tsv").write_text("text\tscore\n" + rows)
    given = common(tmp_path, small_bert, label_type="number", label_col="score")

    run_classifier(
        **given,
        do_train=True,
        do_eval=True,
        do_predict=True,
        do_export=True,
        num_train_epochs=30,
    )

    out = tmp_path / "out"
    results = results_of(out)
    assert results["eval_pearson"] > 0.7
    got = np.array((out / "test_results.tsv").read_text().split(), float)
    truth = [values[a] + values[b] for a in WORDS for b in WORDS]
    error = np.abs(got - truth)
    assert results["eval_mae"] == pytest.approx(error.mean(), abs=1e-5)
    assert results["eval_mse"] == pytest.approx((error**2).mean(), abs=1e-5)
    assert not (out / "labels.txt").exists()
    assert not (out / "test_predictions.txt").exists()
    exported = [one.value for one in bert_tf.Predictor(out / "export")(texts())]
    np.testing.assert_allclose(exported, got, rtol=0, atol=2e-6)
    capsys.readouterr()
    run_command("classify", checkpoint=out, text=texts()[3])
    printed = capsys.readouterr().out.splitlines()
    assert printed == [texts()[3], f"  {got[3]:8.4f}"]

    # The folder says that it is a number.
    run_classifier(
        task_name="tsv",
        data_dir=tmp_path / "data",
        output_dir=out,
        label_col="score",
        do_eval=True,
    )
    again = results_of(out)
    assert again["eval_pearson"] == pytest.approx(results["eval_pearson"])


def test_a_given_threshold_is_kept_for_later_uses(multi, small_bert):
    given = common(
        multi,
        small_bert,
        label_type="multi",
        label_cols="river,dog,museum",
        text_a_col="comment",
        output_dir=multi / "given",
        threshold=0.125,
        do_train=True,
        num_train_epochs=1,
    )
    run_classifier(**given)
    text = (multi / "given" / "thresholds.tsv").read_text()
    (multi / "given" / "best").mkdir()
    assert text == "river\t0.125\ndog\t0.125\nmuseum\t0.125\n"
    # The same training again, and another threshold for predictions alone.
    run_classifier(**given)
    assert (multi / "given" / "best" / "thresholds.tsv").read_text() == text
    del given["do_train"]
    run_classifier(**{**given, "threshold": 0.9, "do_predict": True})
    assert (multi / "given" / "thresholds.tsv").read_text() == text
    predict = bert_tf.Predictor(multi / "given")
    result = predict(texts()[0])
    want = [name for name, score in result.scores.items() if score >= 0.125]
    assert result.labels == want
