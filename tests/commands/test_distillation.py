"""Training with a teacher: what it says, what records hold, kills, runs."""

import json
import re
import shutil

import numpy as np
import pytest
import tensorflow as tf
from helpers import prepared
from helpers.commands import results_of, run_classifier, run_command
from helpers.golden import read_variables, write_small_config
from helpers.output_files import unlisted
from helpers.trained_folders import (
    MRPC,
    make_mrpc_folder,
    mrpc_probabilities,
)

from bert_tf.tasks.classification.teacher import TextTeacher

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("without_graphs"),
]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a teacher, of the original's weights, and a config."""
    folder = tmp_path_factory.mktemp("distillation")
    make_mrpc_folder(folder / "teacher")
    write_small_config(folder, hidden_dropout_prob=0.1)
    return folder


def flags(place, **more):
    return {
        "task_name": "mrpc",
        "data_dir": MRPC / "data",
        "teacher": place / "teacher",
        "transfer_file": MRPC / "data" / "test.tsv",
        "vocab_file": place / "teacher" / "vocab.txt",
        "bert_config_file": place / "bert_config.json",
        "max_seq_length": 24,
        "learning_rate": 1e-3,
        "train_batch_size": 8,
        "save_checkpoints_steps": 10,
        "distill_temperature": 2,
        "distill_weight": 0.8,
        "do_train": True,
        "do_eval": True,
        "seed": 3,
        "output_dir": place / "out",
        **more,
    }


@pytest.fixture(scope="module")
def done(place):
    with prepared.graphs(True):
        run_classifier(**flags(place))
    return place / "out"


def read_records(path):
    """Features of each record, as TensorFlow reads them."""
    for serialized in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
        features = tf.train.Example.FromString(serialized).features.feature
        yield {
            "logits": list(features["teacher_logits"].float_list.value),
            "has_label": features["has_label"].int64_list.value[0],
            "label": features["label_ids"].int64_list.value[0],
        }


def test_records_hold_the_logits_of_the_original(done):
    found = list(read_records(done / "train.tf_record"))

    more = [one["logits"] for one in found if not one["has_label"]]
    shares = np.exp(more) / np.exp(more).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(shares, mrpc_probabilities(), atol=1e-5)
    train = (MRPC / "data" / "train.tsv").read_text(encoding="utf-8-sig")
    labels = [int(line[0]) for line in train.splitlines()[1:]]
    assert [x["label"] for x in found if x["has_label"]] == labels
    # They are mixed: among any ten there are both.
    kinds = [one["has_label"] for one in found]
    assert all(0 < sum(kinds[at : at + 10]) < 10 for at in range(len(kinds)))


def test_results_of_the_teacher_are_the_originals(done):
    found = results_of(done)
    folder = MRPC / "eval_in_model_dir"
    original = results_of(folder)
    assert found["teacher_accuracy"] == original["eval_accuracy"]
    assert found["teacher_loss"] == pytest.approx(
        original["eval_loss"], abs=1e-5
    )
    assert 0 <= found["eval_teacher_agreement"] <= 1
    assert found["eval_teacher_kl"] >= 0
    assert not unlisted(done)


@pytest.mark.usefixtures("with_graphs")
def test_a_killed_run_ends_with_the_same_weights(
    place, done, tmp_path, monkeypatch
):
    names = ["checkpoint", "train.tf_record", "teacher_logits_*", "*.json"]
    names += ["model.ckpt-10.*", "vocab.txt", "labels.txt"]
    for pattern in names:
        for path in done.glob(pattern):
            shutil.copy(path, tmp_path)
    (tmp_path / "checkpoint").write_text(
        'model_checkpoint_path: "model.ckpt-10"'
    )
    monkeypatch.delattr(TextTeacher, "loaded")  # It has read everything.

    given = flags(place, output_dir=tmp_path)
    del given["distill_weight"], given["distill_temperature"]  # It has them.
    run_classifier(**given)

    (last,) = {re.findall(r"\d+", p.name)[0] for p in done.glob("*-2?.index")}
    want, got = (
        read_variables(folder / f"model.ckpt-{last}")
        for folder in (done, tmp_path)
    )
    assert got.keys() == want.keys()
    for name, value in want.items():
        np.testing.assert_array_equal(got[name], value, err_msg=name)
    assert results_of(tmp_path) == results_of(done)


def test_another_teacher_cannot_take_over(place, done, tmp_path):
    shutil.copytree(done, tmp_path / "out")
    shutil.copytree(place / "teacher", tmp_path / "teacher")
    noted = tmp_path / "teacher" / "bert_tf.json"
    noted.write_text(noted.read_text().replace("40", "32"))
    with pytest.raises(ValueError, match=r"teacher_logits_train-00000.*began"):
        run_classifier(
            **flags(
                place,
                teacher=tmp_path / "teacher",
                output_dir=tmp_path / "out",
                num_train_epochs=9,
            )
        )


def test_a_training_goes_on_with_the_loss_that_it_began_with(place, done):
    noted = json.loads((done / "bert_tf.json").read_text())
    assert (noted["distill_temperature"], noted["distill_weight"]) == (2, 0.8)
    for name, value in (("distill_weight", 0.5), ("distill_temperature", 1)):
        with pytest.raises(ValueError, match=f"--{name}={value}.*json.*{name}"):
            run_classifier(**flags(place, num_train_epochs=9, **{name: value}))


def test_several_runs_and_sweeps_ask_the_teacher_once(
    place, tmp_path, monkeypatch
):
    loads = []
    loaded = TextTeacher.loaded

    def load(teacher):
        loads.append(teacher.path)
        return loaded(teacher)

    monkeypatch.setattr(TextTeacher, "loaded", load)
    given = flags(place, output_dir=tmp_path / "runs", num_train_epochs=0.2)
    run_classifier(**given, num_runs=2)
    given["output_dir"] = tmp_path / "sweep"
    run_classifier(**given, sweep="distill_temperature=1,4")

    assert len(loads) == 2
    runs = (tmp_path / "runs" / "runs.tsv").read_text()
    assert "eval_teacher_kl" in runs
    for folder in ("runs", "sweep"):
        files = sorted((tmp_path / folder).rglob("*.npz"))
        assert [path.parent for path in files] == [tmp_path / folder] * 2


def write_words(path, count, labels=True):
    names = ("Smith", "John")
    lines = []
    for number in range(count):
        name = names[number % 2]
        words = [("the", "O"), (name, "B-PER"), ("measured", "O")]
        lines += [f"{w} {x}" if labels else w for w, x in words] + [""]
    path.write_text("\n".join(lines))


@pytest.mark.usefixtures("with_graphs")
def test_words_are_learnt_from_a_teacher_of_words(place, tmp_path):
    write_words(tmp_path / "train.txt", 24)
    write_words(tmp_path / "dev.txt", 9)
    write_words(tmp_path / "more.txt", 60, labels=False)
    given = {
        "data_dir": tmp_path,
        "vocab_file": place / "teacher" / "vocab.txt",
        "bert_config_file": place / "bert_config.json",
        "do_lower_case": False,
        "max_seq_length": 12,
        "learning_rate": 3e-3,
        "train_batch_size": 8,
        "do_train": True,
        "do_eval": True,
        "seed": 1,
    }
    run_command(
        "run_ner",
        **given,
        output_dir=tmp_path / "teacher",
        num_train_epochs=6,
    )
    run_command(
        "run_ner",
        **given,
        teacher=tmp_path / "teacher",
        transfer_file=tmp_path / "more.txt",
        output_dir=tmp_path / "student",
        num_train_epochs=2,
    )

    known = results_of(tmp_path / "teacher")
    found = results_of(tmp_path / "student")
    for name in ("f1", "token_accuracy", "loss"):
        assert found[f"teacher_{name}"] == pytest.approx(
            known[f"eval_{name}"], abs=1e-6
        )
    assert known["eval_f1"] == 1
    assert found["eval_teacher_agreement"] > 0.9
    assert found["eval_teacher_kl"] < 0.1
    assert not unlisted(tmp_path / "student")
