"""Each table in miniature, from the built-in model, on files of each layout.

Commands run in this process, but for one.
"""

import importlib
import json
import math
import re
import runpy
import shutil
import subprocess
import sys

import keras
import numpy as np
import paper_runs
import paper_table
import pytest
from helpers import prepared
from helpers.commands import run_command
from helpers.paths import GOLDEN, ROOT

pytestmark = pytest.mark.usefixtures("graphs_as_traced")

SAMPLES = ROOT / "run_scripts" / "sample_data"
NUMBER = re.compile(r"\d+\.\d( ± \d+\.\d)?$")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A folder with the data of all tables, but of GLUE only MRPC."""
    top = tmp_path_factory.mktemp("data")
    (top / "glue").mkdir()
    shutil.copytree(SAMPLES / "mrpc", top / "glue" / "MRPC")
    (top / "squad").mkdir()
    for part in ("train", "dev"):
        for version in ("v1.1", "v2.0"):
            name = f"{part}-{version}.json"
            shutil.copyfile(GOLDEN / "squad" / name, top / "squad" / name)
    (top / "swag").mkdir()
    for name in ("train.csv", "val.csv"):
        shutil.copyfile(
            GOLDEN / "choices" / "odd_rows.csv", top / "swag" / name
        )
    (top / "conll2003").mkdir()
    document = "-DOCSTART- -X- O O\n\n"
    sentence = "Ann NN I-NP B-PER\nlives NN I-NP O\nin NN I-NP O\n"
    sentence += "New NN I-NP B-LOC\nYork NN I-NP I-LOC\n\n"
    for name in ("train", "dev", "test"):
        text = (document + sentence * 5) * 3
        (top / "conll2003" / f"{name}.txt").write_text(text)
    return top


def in_process(command, log=None):
    """Runs a command of bert_tf, or a program, in this process."""
    _, kind, *given = command
    if kind == "-m":
        name, *flags = given
        pairs = (flag[2:].split("=", 1) for flag in flags)
        run_command(name.removeprefix("bert_tf."), **dict(pairs))
    else:
        sys.argv[:] = [kind, *given]
        runpy.run_path(kind, run_name="__main__")
    return 0


@pytest.fixture
def here(monkeypatch):
    """Runs commands in this process."""

    def run(command, **_):
        return subprocess.CompletedProcess(command, in_process(command))

    monkeypatch.setattr(sys, "argv", ["table"])
    monkeypatch.setattr(paper_runs, "call", in_process)
    monkeypatch.setattr(subprocess, "run", run)


def make(name, data, folder, *more):
    """A table's numbers: {(row, result): ours}."""
    given = [f"--data_dir={data}", f"--output_dir={folder}", *more]
    module = importlib.import_module(name)
    common = ["--size=builtin", "--tiny"]
    code = paper_table.main(module.TABLE, "", [*given, *common])
    text = (folder / "table.md").read_text()
    assert code == 0, text
    cells = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in text.splitlines()
        if line.startswith("| ")
    ]
    return {(row, result): ours for row, result, ours, _ in cells}


@pytest.mark.slow
def test_table_1_has_the_tasks_that_are_there(here, data, tmp_path):
    found = make("table1_glue", data, tmp_path, "--num_runs=2")
    assert NUMBER.match(found["MRPC", "F1"])
    assert found["QQP", "F1"] == found["average", ""] == "not here"
    # The summary is that of the command.
    lines = (tmp_path / "MRPC" / "runs.tsv").read_text().splitlines()
    summary = {name: numbers for name, *numbers in map(str.split, lines)}
    mean, deviation = (100 * float(x) for x in summary["eval_f1"][:2])
    assert found["MRPC", "F1"] == f"{mean:.1f} ± {deviation:.1f}"


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        pytest.param("table2_squad1", marks=pytest.mark.exhaustive),
        "table3_squad2",
    ],
)
def test_tables_2_and_3_have_official_metrics(here, data, tmp_path, name):
    found = make(name, data, tmp_path, "--num_runs=1")
    assert len(found) == 3
    row = "SQuAD v1.1" if name == "table2_squad1" else "SQuAD v2.0"
    results = paper_runs.read_results(
        tmp_path / row.replace(" ", "_") / "eval_results.txt"
    )
    assert found[row, "F1, dev"] == f"{results['f1']:.1f}"


@pytest.mark.slow
@pytest.mark.usefixtures("steps_without_graphs")
def test_table_4_runs_its_command_as_a_process(data, tmp_path, monkeypatch):
    # The server starts with the Python of this process.
    for name, value in prepared.start_server().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "executable", prepared.python())
    found = make("table4_swag", data, tmp_path, "--num_runs=1")
    assert NUMBER.match(found["SWAG", "accuracy, dev"])
    assert "eval_accuracy" in (tmp_path / "SWAG.log").read_text()


@pytest.mark.slow
def test_table_5_pretrains_a_variant_once_and_fine_tunes_it(
    here, data, tmp_path
):
    text = SAMPLES / "text" / "*.txt"
    rows = ["LTR & No NSP: MRPC", "LTR & No NSP: SQuAD 1.1"]
    only = f"--only={','.join([*rows, 'LTR & No NSP + BiLSTM'])}"
    found = make(
        "table5_ablations",
        data,
        tmp_path,
        f"--text={text}",
        "--num_runs=1",
        only,
    )
    assert NUMBER.match(found["LTR & No NSP: MRPC", "accuracy"])
    assert NUMBER.match(found["LTR & No NSP: SQuAD 1.1", "F1"])
    assert found["LTR & No NSP + BiLSTM", ""] == "not here"

    def direction(folder):
        config = json.loads(
            (tmp_path / folder / "bert_config.json").read_text()
        )
        return config.get("directionality", "bidi")

    assert direction("pretraining/LTR___No_NSP") == "left_to_right"
    assert direction("LTR___No_NSP__SQuAD_1.1") == "left_to_right"
    assert direction("LTR___No_NSP__MRPC") == "bidi"


@pytest.mark.slow
def test_table_6_has_a_row_for_each_model_and_task(here, data, tmp_path):
    text = f"--text={SAMPLES / 'text' / '*.txt'}"
    found = make("table6_sizes", data, tmp_path, "--num_runs=1", text)
    assert NUMBER.match(found["builtin: MRPC", "accuracy"])
    assert found["builtin: SST-2", "accuracy"] == "not here"
    results = paper_runs.read_results(
        tmp_path / "builtin__masked_LM" / "eval_results.txt"
    )
    perplexity = math.exp(results["masked_lm_loss"])
    assert found["builtin: masked LM", "perplexity"] == f"{perplexity:.1f}"


@pytest.mark.slow
@pytest.mark.usefixtures("steps_without_graphs")
def test_table_7_is_fine_tuned_and_feature_based(here, data, tmp_path):
    concat, embeddings, all_layers = (
        f"features: {name}"
        for name in (
            "concat of last four hidden",
            "embeddings",
            "weighted sum of all layers",
        )
    )
    only = f"--only=fine-tuned,{concat},{embeddings},{all_layers}"
    found = make("table7_conll", data, tmp_path, "--num_runs=1", only)
    for part in ("dev", "test"):
        assert NUMBER.match(found["fine-tuned", f"F1, {part}"])
    for row in (concat, embeddings, all_layers):
        assert NUMBER.match(found[row, "F1, dev"])
    # The vectors are those of whole documents.
    for name, layers in (
        ("train", [-1, -2, -3]),
        ("train_embeddings", [-4]),
        ("train_all", [0, 1, 2]),
    ):
        arrays = np.load(tmp_path / "features" / f"{name}.npz")
        assert len(arrays["offsets"]) == 3 + 1
        assert arrays["layers"].tolist() == layers
        assert arrays["values"].shape[1:] == (len(layers), 160)


# --------------------------------------------------------- vectors of words


class Pieces:
    """Takes three letters for a piece, and knows nothing of `-`."""

    def tokenize(self, text):
        return [] if text == "-" else re.findall("...?.?", f"{text:3}")


def test_lines_have_pieces_for_every_word():
    from conll_features import text_of

    from bert_tf.tasks.ner.data import Example

    document = [["abc", "-"], ["abcdefgh", "x"]]
    other = [["y"]]
    examples = [
        Example(one, number, None, None, "IOB2", 1)
        for one in (document, other)
        for number in range(len(one))
    ]
    lines, counts = text_of(examples, Pieces())
    assert lines == ["abc ? abcdefgh x", "y"]
    assert counts == [[1, 1, 2, 1], [1]]
    # Without marks of documents sentences are read one by one.
    lines, _ = text_of(examples[:2], Pieces())
    assert lines == ["abc ?", "abcdefgh x"]


def test_batches_are_padded_with_zeros_and_no_label():
    from conll_features import NO_LABEL, batch_of

    vectors = [np.ones((2, 1, 3), np.float16), np.ones((1, 1, 3), np.float16)]
    x, y = batch_of(vectors, [[4, 5], [6]])
    assert x[:, :, 0, 0].tolist() == [[1, 1], [1, 0]]
    assert y.tolist() == [[4, 5], [6, NO_LABEL]]


def test_padding_changes_no_logits(rng):
    from conll_features import batch_of, build

    keras.utils.set_random_seed(1)
    model = build((4, 6), 3, 5, 1e-3)
    long, short = (rng.normal(size=(n, 4, 6)) for n in (7, 3))
    padded = model.predict_on_batch(batch_of([long, short])[0])
    alone = model.predict_on_batch(batch_of([short])[0])
    np.testing.assert_allclose(padded[1, :3], alone[0], atol=1e-6)
