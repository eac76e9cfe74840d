import json

import pytest

from bert_tf.checkpoints.from_hugging_face import from_hf
from bert_tf.checkpoints.sentence_transformers import read_settings, report
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


def test_pooling_normalization_and_length_are_said(folder):
    put(
        folder,
        module("Transformer"),
        module("Pooling", "1_Pooling"),
        module("Normalize", "2_Normalize"),
    )
    settings = {"max_seq_length": 256, "do_lower_case": False}
    (folder / "sentence_bert_config.json").write_text(json.dumps(settings))
    pooling, normalization, length = report(folder)
    assert "mean_tokens" in pooling
    assert "divided by their length" in normalization
    assert "first 256 tokens" in length


def test_a_module_with_weights_is_refused_or_left_out(folder):
    put(folder, module("Transformer"), module("Dense", "2_Dense"))
    with pytest.raises(InputError, match=r"models\.Dense.*--allow_unused"):
        report(folder)
    (line,) = report(folder, allow_unused=True)
    assert "models.Dense" in line


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
        report(folder)


def test_the_subfolder_of_the_model_is_named(folder, tmp_path):
    put(folder, module("Transformer", "0_Transformer"))
    with pytest.raises(InputError, match=r"model is in .*/0_Transformer"):
        from_hf(folder, tmp_path / "tf")


@pytest.mark.parametrize("text", ["{", "{}", "[1]"])
def test_damaged_modules_are_named(text, folder):
    (folder / "modules.json").write_text(text)
    with pytest.raises(InputError, match=r"modules\.json"):
        report(folder)
