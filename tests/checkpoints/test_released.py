"""The registry of released models, and what is checked of their files."""

import csv
import dataclasses
import gzip
import json
import math
import re
import shutil

import pytest
from helpers.commands import run_subcommand
from helpers.download_server import CONFIG

from bert_tf.checkpoints import released
from bert_tf.errors import InputError

DATA = "bert_model.ckpt.data-00000-of-00001"


def indexed_variables(data):
    """Model -> {variable: shape}, as the released `.index` files have them."""
    models = {}
    path = data / "released_models" / "variables_of_released_indexes.tsv.gz"
    with gzip.open(path, "rt") as file:
        for model, name, shape in csv.reader(file, delimiter="\t"):
            shape = tuple(map(int, shape.split("x")))
            models.setdefault(model, {})[name] = shape
    return models


def registry_name(folder):
    """The indexes of 2020 stand in folders `2020_...`, each of them."""
    twin = "2020_uncased_L-12_H-768_A-12"
    return folder if folder == twin else folder.removeprefix("2020_")


def test_urls_are_those_of_the_original_readmes(data):
    text = (data / "released_models" / "urls_in_the_readme.txt").read_text()

    urls = [model.url for model in released.released_models()]

    assert sorted(urls) == sorted(text.split())
    assert len(set(urls)) == 33


def test_configs_agree_with_the_names():
    for model in released.released_models():
        layers, width, heads = map(
            int, re.search(r"_L-(\d+)_H-(\d+)_A-(\d+)$", model.name).groups()
        )
        assert model.config["num_hidden_layers"] == layers
        assert model.config["hidden_size"] == width
        assert model.config["intermediate_size"] == 4 * width
        assert model.config["num_attention_heads"] == heads
        assert model.config["vocab_size"] == model.vocab_tokens
        assert model.config["type_vocab_size"] == 2


def test_cased_models_are_the_cased_ones():
    cased = {m.name for m in released.released_models() if not m.do_lower_case}

    assert cased == {
        "cased_L-12_H-768_A-12",
        "cased_L-24_H-1024_A-16",
        "wwm_cased_L-24_H-1024_A-16",
        "multi_cased_L-12_H-768_A-12",
    }


def test_shapes_are_those_of_the_released_indexes(data):
    indexed = indexed_variables(data)

    assert len(indexed) == 11
    for folder, variables in indexed.items():
        assert released.find_model(registry_name(folder)).shapes == variables


@pytest.mark.parametrize(
    ("alias", "parameters"),
    [
        ("BERT-Base, Uncased", 109_482_240),
        ("BERT-Large, Uncased", 335_141_888),
        ("BERT-Base, Cased", 108_310_272),
        ("BERT-Base, Multilingual Cased", 177_853_440),
        ("BERT-Base, Chinese", 102_267_648),
        ("BERT-Tiny", 4_385_920),
    ],
)
def test_encoders_have_as_many_parameters_as_published(alias, parameters):
    assert released.find_model(alias).parameters == parameters


def test_data_size_is_that_of_the_released_file():
    for model in released.released_models():
        if DATA in model.files:
            assert model.data_bytes == model.files[DATA].bytes


@pytest.mark.parametrize(
    ("alias", "name"),
    [
        ("uncased_L-12_H-768_A-12", "uncased_L-12_H-768_A-12"),
        ("12/768", "2020_uncased_L-12_H-768_A-12"),
        ("bert-base-uncased", "uncased_L-12_H-768_A-12"),
        (
            "bert-large-cased-whole-word-masking",
            "wwm_cased_L-24_H-1024_A-16",
        ),
        ("bert-base-multilingual-uncased", "multilingual_L-12_H-768_A-12"),
        ("4/512 (bert-small)", "uncased_L-4_H-512_A-8"),
    ],
)
def test_aliases_find_their_model(alias, name):
    assert released.find_model(alias).name == name


def test_no_alias_belongs_to_two_models():
    names = [
        n for m in released.released_models() for n in (m.name, *m.aliases)
    ]

    assert all(released.find_model(n).name != "" for n in names)
    keys = [re.sub(r"[^a-z0-9]+", "", n.lower()) for n in names]
    assert len(set(keys)) == len(keys)


def test_unknown_name_suggests_the_nearest_and_lists_all():
    with pytest.raises(InputError, match=r"'BERT-Tni'.*'BERT-Tiny'") as caught:
        released.find_model("BERT-Tni")

    assert all(m.name in str(caught.value) for m in released.released_models())


def unknown_checksums(model):
    return dataclasses.replace(model, files={})


def test_verify_accepts_the_released_files(model, folder):
    report = released.verify(folder, model)

    assert report.ok and not report.notes
    assert len(report.facts) == len(model.files) + 4


def test_verify_finds_a_model_by_name(folder, model, monkeypatch):
    monkeypatch.setattr(released, "released_models", lambda: (model,))

    assert released.verify("bert-tiny", folder=folder.parent).ok
    assert released.verify(folder).ok


def test_verify_tells_an_unproven_checksum_from_a_proven_one(model, folder):
    known = dataclasses.replace(model.files["vocab.txt"], confirmed=False)
    model = dataclasses.replace(model, files={"vocab.txt": known})
    content = (folder / "vocab.txt").read_bytes()
    (folder / "vocab.txt").write_bytes(content.replace(b"n7\n", b"n8\n"))

    report = released.verify(folder, model)

    assert report.ok
    assert "vocab.txt: differs from the one copy" in report.notes[0]


def change(name, old, new):
    def spoil(folder):
        content = (folder / name).read_bytes()
        assert old in content
        (folder / name).write_bytes(content.replace(old, new))

    return spoil


def shorten(name):
    def spoil(folder):
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: len(content) // 2])

    return spoil


def flip_a_weight(folder):
    content = bytearray((folder / DATA).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / DATA).write_bytes(content)


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (
            change("bert_config.json", b"gelu", b"relu"),
            "bert_config.json: hidden_act must be 'gelu'. Found: 'relu'",
        ),
        (shorten("bert_config.json"), "bert_config.json: not valid JSON"),
        (
            change("vocab.txt", b"token7\n", b""),
            "vocab.txt: must have 3,000 lines. Found: 2,999",
        ),
        (shorten("bert_model.ckpt.index"), "index: cannot be read"),
        (shorten(DATA), "00001: must have .* bytes. Found"),
        (flip_a_weight, "00001: .* is damaged"),
    ],
)
def test_verify_finds_what_is_wrong(model, folder, spoil, problem):
    spoil(folder)

    report = released.verify(folder, unknown_checksums(model))

    assert not report.ok
    assert re.search(problem, "\n".join(report.problems))


def test_guessed_config_value_does_not_condemn_a_model(model, folder):
    model = dataclasses.replace(
        unknown_checksums(model), config_source="derived"
    )
    change("bert_config.json", b"gelu", b"relu")(folder)

    report = released.verify(folder, model)

    assert report.ok
    assert "hidden_act must be 'gelu'. Found: 'relu'" in report.notes[0]


def test_verify_compares_the_index_with_the_config(model, folder):
    deeper = CONFIG | {"num_hidden_layers": 3, "max_position_embeddings": 65}
    (folder / "bert_config.json").write_text(json.dumps(deeper))
    model = dataclasses.replace(unknown_checksums(model), config=deeper)

    (problem,) = released.verify(folder, model).problems

    assert "17 variables differ" in problem
    assert "layer_2/attention/output/LayerNorm/beta is missing" in problem


def test_verify_asks_which_model_a_folder_holds(folder):
    unnamed = folder.rename(folder.parent / "my_bert")

    with pytest.raises(InputError, match=r"model is in .*my_bert.*--model"):
        released.verify(unnamed)


def test_verify_of_what_is_not_there_says_how_to_get_it(tmp_path):
    with pytest.raises(
        InputError, match="download uncased_L-2_H-128_A-2 --dir"
    ):
        released.verify("BERT-Tiny", folder=tmp_path)


def test_verify_command_fails_for_a_broken_model(folder, capsys):
    words = ("--model", "BERT-Tiny")
    with pytest.raises(SystemExit) as ended:
        run_subcommand("released_models", "verify", str(folder), *words)
    assert ended.value.code == 1

    told = capsys.readouterr().out
    assert "WRONG    vocab.txt: must have 30,522 lines. Found: 3,000" in told


@pytest.mark.shared
def test_real_indexes_configs_and_vocabularies_pass(shared_folder, tmp_path):
    real = shared_folder / "data"
    folders = [p for p in (real / "ckpt_index").iterdir() if p.is_dir()]
    assert len(folders) == 11
    for index in folders:
        model = released.find_model(registry_name(index.name))
        folder = tmp_path / model.name
        folder.mkdir()
        shutil.copy(real / "configs" / index.name / "bert_config.json", folder)
        shutil.copy(index / "bert_model.ckpt.index", folder)
        vocab = real / "vocabs" / f"{model.vocabulary}.txt"
        shutil.copy(vocab, folder / "vocab.txt")
        with open(
            folder / DATA, "wb"
        ) as file:  # Holes where weights should be.
            file.truncate(4 * sum(map(math.prod, model.shapes.values())))

        report = released.verify(folder, model)

        assert not report.notes or DATA in report.notes[0]
        assert all(problem.startswith(DATA) for problem in report.problems)
        assert "LayerNorm/beta is damaged" in report.problems[-1]
        (folder / DATA).unlink()
