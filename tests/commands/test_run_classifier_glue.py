"""run_classifier on GLUE's tasks: results and files of several sets."""

import numpy as np
import pytest
from helpers.commands import results_of, run_classifier
from helpers.golden import write_small_config
from helpers.output_files import unlisted
from helpers.paths import GOLDEN

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("graphs_as_traced"),
]

MNLI = GOLDEN / "classification" / "mnli" / "data"
VOCAB = GOLDEN / "checkpoints" / "tiny" / "vocab.txt"
TRAIN = {
    "do_train": True,
    "do_eval": True,
    "do_predict": True,
    "train_batch_size": 8,
    "seed": 3,
}
STS = "0\ta\tb\t2012\t1\tc\td\t{}\t{}"


@pytest.fixture(scope="module")
def small_bert(tmp_path_factory):
    return write_small_config(tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="module")
def mnli(tmp_path_factory, small_bert):
    """The folder of a run of MNLI with all of its sets, and that of its data.

    The mismatched dev set has the matched one's rows twice; the mismatched test
    set has the matched one's in reverse order.
    """
    folder = tmp_path_factory.mktemp("mnli")
    data = folder / "MNLI"
    data.mkdir()
    for path in MNLI.iterdir():
        (data / path.name).write_bytes(path.read_bytes())
    header, *rows = (MNLI / "dev_matched.tsv").read_bytes().splitlines()
    text = b"\n".join([header, *rows, *rows]) + b"\n"
    (data / "dev_mismatched.tsv").write_bytes(text)
    header, *rows = (MNLI / "test_matched.tsv").read_bytes().splitlines()
    text = b"\n".join([header, *reversed(rows)]) + b"\n"
    (data / "test_mismatched.tsv").write_bytes(text)
    (folder / "diagnostic").mkdir()
    (folder / "diagnostic" / "diagnostic.tsv").write_text(
        "index\tsentence1\tsentence2\n0\ta b\tc\n1\td\te f"
    )
    run_classifier(
        task_name="MNLI",
        data_dir=data,
        output_dir=folder / "out",
        bert_config_file=small_bert,
        vocab_file=VOCAB,
        max_seq_length=32,
        learning_rate=1e-2,
        num_train_epochs=1,
        eval_every_steps=4,
        keep_best="eval_m_and_mm",
        **TRAIN,
    )
    return folder


def test_both_dev_sets_of_mnli_are_evaluated(mnli):
    results = results_of(mnli / "out")
    assert results["eval_mm_accuracy"] == results["eval_accuracy"]
    assert results["eval_m_and_mm"] == results["eval_accuracy"]
    assert results["eval_mm_loss"] == pytest.approx(
        results["eval_loss"], abs=1e-6
    )
    assert "mm_loss" not in results
    # The mismatched file has each row twice.
    sizes = [
        (mnli / "out" / f"{name}.tf_record").stat().st_size
        for name in ("eval", "eval_mm")
    ]
    assert sizes[1] == 2 * sizes[0]
    assert not unlisted(mnli / "out")
    assert (
        '"metric": "eval_m_and_mm"'
        in (mnli / "out" / "evaluations.json").read_text()
    )


def test_predictions_of_all_test_sets_of_mnli_are_written(mnli):
    def table(name):
        return np.loadtxt(mnli / "out" / f"test_results{name}.tsv")

    np.testing.assert_allclose(table("_mm")[::-1], table(""), atol=1e-6)
    assert table("_ax").shape == (2, 3)
    names = ("contradiction", "entailment", "neutral")
    for suffix, file in (("", "MNLI-m"), ("_mm", "MNLI-mm"), ("_ax", "AX")):
        text = (mnli / "out" / f"{file}.tsv").read_text()
        assert text.endswith("\n")
        header, *rows = text.splitlines()
        assert header == "index\tprediction"
        best = [names[at] for at in table(suffix).argmax(axis=1)]
        assert [row.split("\t")[1] for row in rows] == best
    # In the order of the file, with its own index.
    assert rows[0].startswith("0\t") and rows[1].startswith("1\t")
    first = (mnli / "out" / "MNLI-mm.tsv").read_text().splitlines()[1]
    assert not first.startswith("0\t")


def test_ax_alone_is_predicted_with_the_checkpoint_of_mnli(mnli, tmp_path):
    run_classifier(
        task_name="ax",
        data_dir=mnli / "diagnostic",
        output_dir=tmp_path,
        init_checkpoint=mnli / "out" / "best",
        max_seq_length=32,
        do_predict=True,
    )
    got = np.loadtxt(tmp_path / "test_results.tsv")
    want = np.loadtxt(mnli / "out" / "test_results_ax.tsv")
    np.testing.assert_allclose(got, want, atol=1e-6)
    text = (tmp_path / "AX.tsv").read_text()
    assert text == (mnli / "out" / "AX.tsv").read_text()


def test_a_checkpoint_with_other_labels_is_refused(mnli, tmp_path):
    best = tmp_path / "best"
    best.mkdir()
    for path in (mnli / "out" / "best").iterdir():
        (best / path.name).write_bytes(path.read_bytes())
    (best / "labels.txt").write_text("entailment\nneutral\ncontradiction\n")
    with pytest.raises(ValueError, match=r"labels\.txt.*'contradiction', 'ent"):
        run_classifier(
            task_name="ax",
            data_dir=mnli / "diagnostic",
            output_dir=tmp_path / "out",
            init_checkpoint=best,
            max_seq_length=32,
            do_predict=True,
        )


def test_keeping_the_best_of_both_needs_both_sets(mnli, small_bert, tmp_path):
    with pytest.raises(ValueError, match=r"keep_best=eval_m_and_mm.*eval_mm"):
        run_classifier(
            task_name="mnli",
            data_dir=MNLI,
            output_dir=tmp_path,
            bert_config_file=small_bert,
            vocab_file=VOCAB,
            max_seq_length=32,
            do_train=True,
            train_batch_size=8,
            eval_every_steps=4,
            keep_best="eval_m_and_mm",
        )
    assert list(tmp_path.iterdir()) == []


def test_scores_of_sts_b_are_trained_evaluated_and_submitted(
    small_bert, tmp_path
):
    words = ["the river", "a market", "no letter", "the dog", "a bridge"]
    rows = [
        (a, b, 5.0 if a == b else 1.25 + 0.25 * at)
        for at, a in enumerate(words)
        for b in words
    ]
    header = "\t".join(f"c{at}" for at in range(10)) + "\n"
    labelled = [STS.format(a, b) + f"\t{score}\n" for a, b, score in rows]
    data = tmp_path / "data"
    data.mkdir()
    for part in ("train", "dev"):
        (data / f"{part}.tsv").write_text(header + "".join(labelled))
    tests = [STS.format(a, b)[1:] for a, b, _ in rows]
    lines = [f"{at}{text}\n" for at, text in enumerate(tests)]
    (data / "test.tsv").write_text(header[:-3] + "\n" + "".join(lines))

    out = tmp_path / "out"
    run_classifier(
        task_name="STS-B",
        data_dir=data,
        output_dir=out,
        bert_config_file=small_bert,
        vocab_file=VOCAB,
        max_seq_length=16,
        learning_rate=1e-3,
        num_train_epochs=8,
        **TRAIN,
    )

    text = (out / "test_results.tsv").read_text()
    values = np.array(text.split("\n")[:-1], float)
    truth = np.array([score for *_, score in rows])
    results = results_of(out)
    assert sorted(results) == [
        "eval_loss",
        "eval_mae",
        "eval_mse",
        "eval_pearson",
        "eval_pearson_and_spearman",
        "eval_spearman",
        "global_step",
        "loss",
    ]
    # dev and test have the same texts.
    want = np.mean((values - truth) ** 2)
    assert results["eval_loss"] == pytest.approx(want, rel=1e-5)
    assert results["eval_mse"] == pytest.approx(want, rel=1e-5)
    want = np.corrcoef(values, truth)[0, 1]
    assert results["eval_pearson"] == pytest.approx(want, abs=1e-5)
    _, *submitted = (out / "STS-B.tsv").read_text().splitlines()
    clipped = [f"{min(max(value, 0), 5):.3f}" for value in values]
    assert submitted == [f"{at}\t{x}" for at, x in enumerate(clipped)]
    assert not (out / "labels.txt").exists()
