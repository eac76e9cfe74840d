"""run_sentence_vectors as its users see it: flags in, files out."""

import json

import numpy as np
import pytest
from absl import flags as absl_flags
from helpers.commands import results_of, run_command
from helpers.golden import write_small_config
from helpers.output_files import unlisted
from helpers.paths import GOLDEN

import bert_tf
from bert_tf import run_sentence_vectors
from bert_tf.cli import command_line
from bert_tf.tasks import metrics

pytestmark = pytest.mark.usefixtures("without_graphs")

VOCAB = GOLDEN / "checkpoints" / "tiny" / "vocab.txt"
PAIRS = [
    ("the museum", "the old museum", 5.0),
    ("it was in the park", "the park", 4.0),
    ("how old ?", "it was born in the city", 1.0),
    ("who was it ?", "the park is old .", 0.5),
]


def write_pairs(folder, label=lambda score: score):
    folder.mkdir()
    lines = (f"{a}\t{b}\t{label(score)}\n" for a, b, score in PAIRS)
    text = "text_a\ttext_b\tlabel\n" + "".join(lines)
    for name in ("train", "dev", "test"):
        (folder / f"{name}.tsv").write_text(text)
    return folder


@pytest.fixture
def flags(tmp_path):
    return {
        "data_dir": write_pairs(tmp_path / "pairs"),
        "output_dir": tmp_path / "out",
        "vocab_file": VOCAB,
        "bert_config_file": write_small_config(tmp_path),
        "max_score": 5,
        "seed": 3,
    }


def cosines_of(folder):
    """Those of the pairs, with the vectors of a training's folder."""
    bert = bert_tf.load(folder)
    both = np.stack([bert.encode([p[n] for p in PAIRS]) for n in (0, 1)], 1)
    both = metrics.unit(both)
    return (both[:, 0] * both[:, 1]).sum(axis=-1)


@pytest.mark.slow
def test_scores_are_learned_evaluated_and_predicted(flags, tmp_path):
    out = flags["output_dir"]
    run_command(
        "run_sentence_vectors",
        objective="cosine",
        pooling="cls",
        normalize=True,
        max_seq_length=12,
        do_train=True,
        do_eval=True,
        do_predict=True,
        train_batch_size=2,
        num_train_epochs=2,
        gradient_accumulation_steps=2,
        eval_every_steps=2,
        keep_best="eval_loss",
        **flags,
    )

    noted = json.loads((out / "bert_tf.json").read_text())
    assert noted["head"] == "features" and noted["objective"] == "cosine"
    assert noted["pooling"] == "cls" and noted["normalize"] is True
    want = cosines_of(out / "best")
    got = np.loadtxt(out / "test_results.tsv")
    np.testing.assert_allclose(got, want, atol=1e-5)
    scores = np.array([score for *_, score in PAIRS]) / 5
    results = results_of(out)
    assert results == {
        "eval_pearson": pytest.approx(
            np.corrcoef(scores, want)[0, 1], abs=1e-4
        ),
        "eval_spearman": pytest.approx(metrics.spearman(scores, want)),
        "eval_loss": pytest.approx(np.mean((want - scores) ** 2), abs=1e-4),
        "global_step": results["global_step"],
    }
    of_test = results_of(out, "test_eval_results.txt")
    assert of_test == pytest.approx(results, abs=1e-6)
    assert not unlisted(out)

    # A later run takes what the folder notes.
    del flags["max_score"]
    flags["output_dir"] = tmp_path / "later"
    run_command(
        "run_sentence_vectors",
        do_predict=True,
        init_checkpoint=out / "best",
        **flags,
    )
    later = np.loadtxt(tmp_path / "later" / "test_results.tsv")
    np.testing.assert_allclose(later, want, atol=1e-5)


@pytest.mark.slow
def test_labels_are_learned_and_scores_evaluated(flags, tmp_path):
    flags["data_dir"] = write_pairs(
        tmp_path / "named", lambda score: "near" if score > 2 else "far"
    )
    flags["eval_data_dir"] = tmp_path / "pairs"
    run_command(
        "run_sentence_vectors",
        objective="softmax",
        max_seq_length=12,
        do_train=True,
        do_eval=True,
        do_predict=True,
        train_batch_size=2,
        num_train_epochs=1,
        eval_task_name="tsv",
        sweep="learning_rate=1e-3,1e-4",
        **flags,
    )
    out = flags["output_dir"]
    assert results_of(out).keys() == {
        "eval_pearson",
        "eval_spearman",
        "global_step",
    }
    header, first, *_ = (out / "test_predictions.tsv").read_text().splitlines()
    assert header.split("\t")[-3:] == [
        "cosine",
        "predicted_label",
        "probability",
    ]
    assert first.split("\t")[-2] in ("near", "far")
    assert (out / "labels.txt").read_text() == "far\nnear\n"
    np.testing.assert_allclose(
        np.loadtxt(out / "test_results.tsv"), cosines_of(out), atol=1e-5
    )


@pytest.mark.exhaustive
@pytest.mark.usefixtures("with_graphs")
def test_a_new_training_goes_on_from_the_vectors_of_the_first(flags, tmp_path):
    out = flags["output_dir"]
    given = {
        "objective": "in_batch",
        "do_train": True,
        "train_batch_size": 2,
        "num_train_epochs": 1,
        "min_score": 4,
        **flags,
    }
    run_command("run_sentence_vectors", **given, pooling="max")
    given |= {"output_dir": tmp_path / "more", "init_checkpoint": out}
    run_command("run_sentence_vectors", **given, do_export=True)
    noted = json.loads((tmp_path / "more" / "bert_tf.json").read_text())
    assert noted["pooling"] == "max" and noted["normalize"] is False
    predict = bert_tf.Predictor(tmp_path / "more" / "export")
    got = np.stack([predict(a).embedding for a, *_ in PAIRS])
    want = bert_tf.load(tmp_path / "more").encode([a for a, *_ in PAIRS])
    np.testing.assert_allclose(got, want, atol=1e-5)


def test_labels_of_a_trained_model_need_no_training_file(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "labels.txt").write_text("far\nnear\n")
    labels = {"eval_accuracy": "near", "eval_spearman": 0.5}
    for name in labels:
        folder = write_pairs(tmp_path / name, lambda _, name=name: labels[name])
        (folder / "train.tsv").unlink()
        values = absl_flags.FlagValues()
        run_sentence_vectors.define_flags(values)
        given = {"objective": "softmax", "do_eval": True, "data_dir": folder}
        given["output_dir"] = out
        words = [f"--{flag}={value}" for flag, value in given.items()]
        command_line.parse(values, ["run_sentence_vectors", *words])
        assert run_sentence_vectors.main_result(values) == name
