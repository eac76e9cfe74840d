"""Commands of pages on data of their own, and the Python after them."""

import json
import re
import shlex

import pytest
from helpers import in_process
from helpers.commands import results_of
from helpers.paths import ROOT
from helpers.shell import shell

from bert_tf.server.model import ServedModel
from bert_tf.tasks.classification import datasets


def read(page):
    return (ROOT / "docs" / page).read_text(encoding="utf-8")


def blocks(page, word):
    """The indented blocks of a page that have a word."""
    found = re.findall(r"(?:^    .*\n)+", read(page), re.M)
    return [block for block in found if word in block]


def run_python(page, folder):
    """Runs the Python of a page; returns its names."""
    names = {}
    (code,) = re.findall(r"```python\n(.*?)```", read(page), re.S)
    exec(compile(code.replace("/tmp/", f"{folder}/"), page, "exec"), names)
    return names


@pytest.mark.exhaustive
def test_choices_are_learnt_asked_and_served(tmp_path):
    jsonl, csv, served = blocks("multiple_choice.md", "/tmp/park")
    shell(jsonl, tmp_path)
    assert results_of(tmp_path / "park_output")["eval_accuracy"] == 1
    shell(csv, tmp_path)
    choice = run_python("multiple_choice.md", tmp_path)["predict"](
        "A dog sees a cat.", ["It barks.", "It reads."]
    )
    assert choice.choice == 0
    model = ServedModel(str(tmp_path / "park_output" / "export" / "1"), 1)
    body = json.loads(shlex.split(served.partition(" -d ")[2])[0])
    with in_process.answering(model) as server:
        found = server.predict(body)
    assert len(found["predictions"]) == 1


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", ["stars", "kinds"])
def test_numbers_and_several_labels_are_learnt(name, tmp_path):
    (block,) = blocks("classification.md", f"--data_dir=/tmp/{name} ")
    shell(block, tmp_path)
    found = results_of(tmp_path / name / "out")
    main = {"stars": "eval_spearman", "kinds": "eval_micro_f1"}[name]
    assert found[main] > 0.9


@pytest.mark.exhaustive
def test_names_are_learnt_and_found(tmp_path):
    sentence = "Michael B-PER\nSchumacher I-PER\nwon O\nin O\nMonaco B-LOC\n"
    for part in ("train", "dev", "test"):
        text = (sentence + "on O\nSunday O\n\n") * 8
        text = ("-DOCSTART- O\n\n" + text) * 8
        (tmp_path / f"{part}.txt").write_text(text)
    train, tag, export = (
        blocks("ner.md", name)[0] for name in ("run_ner", "tag", "export_")
    )
    # Of so few steps no more is learnt with the page's rate.
    train = train.replace("=CONLL", "=/tmp/").replace("5e-4", "2e-3")
    shell(train, tmp_path)
    assert results_of(tmp_path / "ner")["eval_f1"] == 1
    assert "PER  Michael Schumacher" in shell(tag, tmp_path)
    shell(export, tmp_path)
    names = run_python("ner.md", tmp_path)
    expected = ["B-PER", "I-PER", "O", "O", "B-LOC", "O", "O"]
    assert names["result"].labels == expected
    assert names["last"].text == "Monaco" and names["last"].start == 26


@pytest.mark.slow
def test_the_inside_is_shown(tmp_path):
    attention = blocks("inspection.md", "bert_tf.attention")[0]
    shell(attention.replace("map.html", "/tmp/map.html"), tmp_path)
    assert (tmp_path / "map.html").exists()
    found = shell(blocks("inspection.md", "bert_tf.neighbours")[0], tmp_path)
    first, _, last = re.search(
        r"    (bank: 16 occ.*\n)((?:.*\n)*?)    (Without context.*\n)",
        read("inspection.md"),
    ).groups()
    assert first in found and last.partition(",")[0] in found


@pytest.mark.slow
def test_words_are_learnt_and_added(tmp_path):
    learn, extend = (
        blocks("extending.md", name)[0] for name in ("learn_", "extend_v")
    )
    learn = learn.replace("'corpus", "'run_scripts/sample_data/text")
    learn = learn.replace("=8192", "=150").replace("=vocab", "=/tmp/vocab")
    shell(learn, tmp_path)
    learnt = (tmp_path / "vocab.txt").read_text().splitlines()
    assert len(learnt) == 150 and learnt[0] == "[PAD]"
    shell(extend.replace("=BERT", "=/tmp/BERT"), tmp_path)
    words = (tmp_path / "BERT_with_words" / "vocab.txt").read_text().split()
    assert words[1:3] == ["coronavirus", "remdesivir"]


@pytest.mark.slow
def test_a_pretrained_model_is_asked(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    model = run_python("pretraining.md", tmp_path)["model"]
    assert model.tokenizer.vocab["[MASK]"] == 20


def test_a_data_set_is_added():
    (code,) = re.findall(r"```python\n(.*?)```", read("developing.md"), re.S)
    names = dict(vars(datasets))
    exec(compile(code, "developing.md", "exec"), names)
    assert names["RTE"] == datasets.RTE
