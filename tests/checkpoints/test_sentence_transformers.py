"""Folders of sentence-transformers: pooling, normalization and length."""

import json
import shutil

import pytest
from helpers.paths import GOLDEN

from bert_tf.checkpoints.folder_settings import FolderSettings
from bert_tf.checkpoints.from_hugging_face import from_hf
from bert_tf.checkpoints.sentence_transformers import (
    files_for,
    read_modules,
    read_settings,
)
from bert_tf.checkpoints.to_hugging_face import to_hf
from bert_tf.errors import InputError


def module(kind, path=""):
    return {"type": f"sentence_transformers.models.{kind}", "path": path}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "1_Pooling").mkdir()
    (tmp_path / "1_Pooling" / "config.json").write_text(
        json.dumps(
            {"pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True}
        )
    )
    return tmp_path


def put(folder, *modules):
    (folder / "modules.json").write_text(json.dumps(modules))


CLASSES = {  # Before version 6, and since.
    "Transformer": "base.modules.transformer",
    "Normalize": "base.modules.normalize",
    "Pooling": "sentence_transformer.modules.pooling",
}


@pytest.mark.parametrize("is_new", [False, True])
@pytest.mark.parametrize("normalizes", [False, True])
def test_pooling_and_normalization_are_read(folder, is_new, normalizes):
    modules = [module("Transformer"), module("Pooling", "1_Pooling")]
    modules += [module("Normalize", "2_Normalize")] * normalizes
    if is_new:
        for one in modules:
            name = one["type"].rpartition(".")[2]
            one["type"] = f"sentence_transformers.{CLASSES[name]}.{name}"
        new = {"embedding_dimension": 8, "pooling_mode": "mean"}
        (folder / "1_Pooling" / "config.json").write_text(json.dumps(new))
    put(folder, *modules)

    found = read_modules(folder)

    assert found.noted() == {
        "head": "features",
        "pooling": "mean",
        "normalize": normalizes,
    }
    (note,) = found.notes
    assert ("divided by their length" in note) == normalizes


def test_folders_of_others_say_nothing(folder):
    assert read_modules(folder).noted() == {}
    put(folder, module("Transformer"))
    assert read_modules(folder) == (None, False, [])


DENSE = [module("Pooling", "1_Pooling"), module("Dense", "2_Dense")]
OF_TOKENS = [module("Pooling", "1_Pooling"), module("Normalize", "2_Tokens")]


@pytest.mark.parametrize(
    ("modules", "settings", "named"),
    [
        (DENSE, {"pooling_mode": "mean"}, "Dense"),
        (DENSE[:1], {"pooling_mode": "lasttoken"}, "lasttoken"),
        (DENSE[:1], {"pooling_mode": ["cls", "mean"]}, "cls, mean"),
        (
            DENSE[:1],
            {"pooling_mode_weightedmean_tokens": True},
            "weightedmean_tokens",
        ),
        (DENSE[:1] * 2, {"pooling_mode": "mean"}, "Pooling"),
        (OF_TOKENS, {"pooling_mode": "mean"}, "Normalize"),
        ([module("Normalize")], {}, "Normalize"),
        ([module("LSTM")], {}, "LSTM"),
    ],
)
def test_what_would_make_other_vectors_is_refused_or_left_out(
    modules, settings, named, folder
):
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(settings))
    (folder / "2_Tokens").mkdir()
    tokens = {"module_input_name": "token_embeddings"}
    (folder / "2_Tokens" / "config.json").write_text(json.dumps(tokens))
    put(folder, module("Transformer"), *modules)
    with pytest.raises(InputError) as error:
        read_modules(folder)
    assert named in str(error.value) and "--allow_unused" in str(error.value)
    found = read_modules(folder, allow_unused=True)
    assert found.noted() == {} and named in found.notes[0]


def test_a_prompt_that_it_begins_texts_with_is_said(folder):
    put(folder, module("Transformer"), module("Pooling", "1_Pooling"))
    path = folder / "config_sentence_transformers.json"
    prompts = {"query": "Question: ", "document": ""}
    for name, notes in (("query", 1), ("document", 0), (None, 0)):
        settings = {"prompts": prompts, "default_prompt_name": name}
        path.write_text(json.dumps(settings))
        found = [x for x in read_modules(folder).notes if "prompt" in x]
        assert len(found) == notes
        assert not notes or "Question: " in found[0]


@pytest.mark.parametrize("pooling", ["mean", "cls", "max"])
@pytest.mark.parametrize("normalize", [False, True])
def test_what_is_written_is_read_again(tmp_path, pooling, normalize):
    noted = FolderSettings(
        "features", pooling=pooling, normalize=normalize, max_seq_length=64
    )
    for name, value in files_for(noted, 8, 512).items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(json.dumps(value))
    assert read_modules(tmp_path).noted() == {
        "head": "features",
        "pooling": pooling,
        "normalize": normalize,
    }
    assert read_settings(tmp_path) == (False, 64)
    assert not files_for(FolderSettings("classifier", pooling="cls"), 8, 512)


def test_a_checkpoint_goes_there_and_back(tmp_path):
    there, back = tmp_path / "hf", tmp_path / "back"
    source = tmp_path / "source"
    shutil.copytree(GOLDEN / "checkpoints" / "small", source)
    noted = {"head": "features", "pooling": "cls", "normalize": True}
    noted |= {"do_lower_case": True, "max_seq_length": 16}
    (source / "bert_tf.json").write_text(json.dumps(noted))

    report = to_hf(source, there, head="none", allow_unused=True)
    from_hf(there, back)

    assert "cls over tokens, divided by their length" in report
    assert (there / "2_Normalize" / "config.json").exists()
    got = json.loads((back / "bert_tf.json").read_text())
    assert {name: got[name] for name in noted} == noted

    # Of another model nothing is left that would be read with it.
    (source / "bert_tf.json").write_text("{}")
    report = to_hf(
        source, there, head="none", allow_unused=True, overwrite=True
    )
    assert f"Removed {there / 'modules.json'}" in report
    assert not list(there.rglob("modules.json"))
    assert read_modules(there).pooling is None
    assert read_settings(there).max_seq_length is None


def test_what_is_done_before_the_tokenizer_is_read(folder):
    assert read_settings(folder) == (False, None)
    path = folder / "sentence_bert_config.json"
    path.write_text('{"do_lower_case": true, "max_seq_length": 99}')
    assert read_settings(folder) == (True, 99)


@pytest.mark.parametrize("length", ['"99"', "0", "true", "1e9"])
def test_a_length_that_is_no_number_is_named(length, folder):
    path = folder / "sentence_bert_config.json"
    path.write_text(f'{{"max_seq_length": {length}}}')
    with pytest.raises(InputError, match=r"sentence_bert.*max_seq_length"):
        read_settings(folder)


def test_the_subfolder_of_the_model_is_named(folder, tmp_path):
    put(folder, module("Transformer", "0_Transformer"))
    with pytest.raises(InputError, match=r"model is in .*/0_Transformer"):
        from_hf(folder, tmp_path / "tf")


@pytest.mark.parametrize("text", ["{", "{}", "[1]"])
def test_damaged_modules_are_named(text, folder):
    (folder / "modules.json").write_text(text)
    with pytest.raises(InputError, match=r"modules\.json"):
        read_modules(folder)
