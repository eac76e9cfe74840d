"""run_multiple_choice as its users see it: flags in, files out."""

import csv
import json
import shutil

import numpy as np
import pytest
import tensorflow as tf
from helpers.commands import results_of, run_command
from helpers.golden import write_small_config
from helpers.output_files import unlisted
from helpers.paths import GOLDEN

from bert_tf.errors import InputError

pytestmark = pytest.mark.usefixtures("without_graphs")

VOCAB = GOLDEN / "checkpoints" / "tiny" / "vocab.txt"


@pytest.fixture
def model(tmp_path):
    return {
        "vocab_file": VOCAB,
        "bert_config_file": write_small_config(tmp_path),
        "max_seq_length": 24,
        "seed": 3,
    }


def read_shares(folder):
    lines = (folder / "test_results.tsv").read_text().splitlines()
    return np.array([line.split("\t") for line in lines], float)


@pytest.mark.slow
def test_swag_is_trained_evaluated_and_predicted(tmp_path, model):
    data, out = tmp_path / "swag", tmp_path / "out"
    data.mkdir()
    for name in ("train.csv", "val.csv", "test.csv"):
        shutil.copyfile(GOLDEN / "choices" / "odd_rows.csv", data / name)
    with open(data / "val.csv", newline="", encoding="utf-8") as file:
        _, *rows = csv.reader(file)

    run_command(
        "run_multiple_choice",
        do_train=True,
        do_eval=True,
        do_predict=True,
        data_dir=data,
        output_dir=out,
        train_batch_size=2,
        num_train_epochs=2,
        gradient_accumulation_steps=2,
        bucket_by_length=True,
        eval_every_steps=2,
        keep_best="eval_loss",
        **model,
    )

    results, shares = results_of(out), read_shares(out)
    assert results.keys() == {"eval_accuracy", "eval_loss", "global_step"}
    # The texts of both files are the same.
    labels = [int(row[-1]) for row in rows]
    right = shares[range(len(rows)), labels]
    assert results["eval_accuracy"] == np.mean(shares.argmax(1) == labels)
    assert results["eval_loss"] == pytest.approx(
        -np.log(right).mean(), abs=1e-5
    )
    names = (out / "test_predictions.txt").read_text().split()
    assert names == [str(best) for best in shares.argmax(1)]
    of_test = results_of(out, "test_eval_results.txt")
    assert of_test == pytest.approx(results, abs=1e-6)
    assert not unlisted(out)
    for name in ("train", "eval", "predict"):
        records = list(tf.data.TFRecordDataset(str(out / f"{name}.tf_record")))
        assert len(records) == 4
        features = tf.train.Example.FromString(records[0].numpy()).features
        ids = features.feature["input_ids"].int64_list.value
        assert len(ids) == 4 * 24
    noted = json.loads((out / "bert_tf.json").read_text())
    assert noted["head"] == "choices" and noted["max_seq_length"] == 24
    assert noted["swag_inputs"] == "sentences" and noted["first_label"] == "0"


@pytest.mark.slow
def test_predictions_of_a_later_run_are_named_as_in_training(tmp_path, model):
    data, out = tmp_path / "own", tmp_path / "out"
    data.mkdir()
    rows = [
        {"context": "the museum", "choices": ["a", "b", "c"], "label": label}
        for label in "CABC"
    ]
    for name, count in (("train", 4), ("dev", 3), ("test", 2)):
        lines = "".join(json.dumps(row) + "\n" for row in rows[:count])
        (data / f"{name}.jsonl").write_text(lines)
    given = {
        "data_dir": data,
        "output_dir": out,
        "train_batch_size": 2,
        **model,
    }
    run_command(
        "run_multiple_choice", do_train=True, num_train_epochs=1, **given
    )
    unlabelled = [{**row, "label": None} for row in rows[:2]]
    lines = "".join(json.dumps(row) + "\n" for row in unlabelled)
    (data / "test.jsonl").write_text(lines)
    del given["max_seq_length"]  # The folder notes it.

    run_command("run_multiple_choice", do_predict=True, **given)

    names = (out / "test_predictions.txt").read_text().split()
    assert names == ["ABC"[best] for best in read_shares(out).argmax(1)]
    header, *lines = (out / "test_predictions.tsv").read_text().splitlines()
    assert header.split("\t")[-3:] == ["label", "choice", "probability"]
    assert [line.split("\t")[-2] for line in lines] == names
    shares = [float(line.split("\t")[-1]) for line in lines]
    np.testing.assert_allclose(shares, read_shares(out).max(1))
    # Labels of a file are read by the noted name, too.
    lines = "".join(json.dumps({**row, "label": 0}) + "\n" for row in rows)
    (data / "dev.jsonl").write_text(lines)
    with pytest.raises(InputError, match=r"'0'; expected one of A, B, C"):
        run_command("run_multiple_choice", do_eval=True, **given)
