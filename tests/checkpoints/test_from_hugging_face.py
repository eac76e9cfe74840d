import json
import sys

import ml_dtypes
import numpy as np
import pytest
from helpers.converted import assert_computes
from helpers.hugging_face import (
    HUGGING_FACE,
    assert_same,
    edit_json,
    edit_tensors,
    safetensors,
    stored,
    tensors_of,
)

from bert_tf.checkpoints import folders
from bert_tf.checkpoints.from_hugging_face import from_hf
from bert_tf.errors import InputError


@pytest.mark.parametrize(
    "head", ["pretraining", "classifier", "span", "token", "choices"]
)
def test_converted_model_computes_what_transformers_does(head, tmp_path):
    from_hf(HUGGING_FACE / head, tmp_path)
    want = np.load(HUGGING_FACE / head / "outputs.npz")
    assert_computes(tmp_path, want, head)


def test_no_pooler_is_said(tmp_path):
    report = from_hf(HUGGING_FACE / "span", tmp_path)
    assert "no pooler" in report
    assert not [name for name in stored(tmp_path) if "pooler" in name]


def test_old_names_and_buffers_are_understood(hf, tmp_path):
    folder = hf("classifier")

    def age(tensors):
        for name in list(tensors):
            value = tensors.pop(name)
            old = name.replace("LayerNorm.weight", "LayerNorm.gamma")
            old = old.replace("LayerNorm.bias", "LayerNorm.beta")
            tensors[old.removeprefix("bert.")] = value
        tensors["embeddings.position_ids"] = np.arange(12)[None]

    edit_tensors(folder, age)
    from_hf(folder, tmp_path / "old")
    from_hf(HUGGING_FACE / "classifier", tmp_path / "new")
    assert_same(stored(tmp_path / "old"), stored(tmp_path / "new"))


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_half_precision_becomes_float32(dtype, hf, tmp_path):
    folder = hf("classifier")

    def halve(tensors):
        for name, value in tensors.items():
            tensors[name] = value.astype(dtype)

    edit_tensors(folder, halve)
    from_hf(folder, tmp_path / "tf")
    got = stored(tmp_path / "tf")["output_weights"]
    whole = tensors_of(HUGGING_FACE / "classifier")["classifier.weight"]
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got, whole.astype(dtype).astype(np.float32))


def test_shards_are_joined(hf, tmp_path):
    folder = hf("pretraining")
    tensors = tensors_of(folder)
    names = sorted(tensors)
    (folder / "model.safetensors").unlink()
    files = ["model-1-of-2.safetensors", "model-2-of-2.safetensors"]
    for file, part in zip(files, (names[:20], names[20:]), strict=True):
        safetensors.save_file({n: tensors[n] for n in part}, folder / file)
    index = {"weight_map": {n: files[n in names[20:]] for n in names}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))

    from_hf(folder, tmp_path / "sharded")
    from_hf(HUGGING_FACE / "pretraining", tmp_path / "whole")

    assert_same(stored(tmp_path / "sharded"), stored(tmp_path / "whole"))
    (folder / files[1]).unlink()
    with pytest.raises(InputError, match=r"missing: .*model-2-of-2"):
        from_hf(folder, tmp_path / "sharded", overwrite=True)


def test_tied_output_layer_must_equal_the_embeddings(hf, tmp_path):
    folder = hf("pretraining")

    def tie(tensors):
        table = tensors["bert.embeddings.word_embeddings.weight"]
        tensors["cls.predictions.decoder.weight"] = table.copy()
        bias = tensors.pop("cls.predictions.bias")
        tensors["cls.predictions.decoder.bias"] = bias

    def untie(tensors):
        tensors["cls.predictions.decoder.weight"][0, 0] += 1

    edit_tensors(folder, tie)
    from_hf(folder, tmp_path / "tied")
    from_hf(HUGGING_FACE / "pretraining", tmp_path / "new")
    assert_same(stored(tmp_path / "tied"), stored(tmp_path / "new"))
    edit_tensors(folder, untie)
    with pytest.raises(InputError, match=r"decoder\.weight in .* must equal"):
        from_hf(folder, tmp_path / "untied")


def test_vocabulary_is_taken_from_tokenizer_json(hf, tmp_path):
    folder = hf("span")
    tokens = (folder / "vocab.txt").read_text().split()
    (folder / "vocab.txt").unlink()
    with pytest.raises(InputError, match=r"vocab\.txt or tokenizer\.json"):
        from_hf(folder, tmp_path / "tf")
    ids = {token: i for i, token in reversed(list(enumerate(tokens)))}
    tokenizer = {
        "model": {"type": "WordPiece", "vocab": ids},
        "added_tokens": [{"id": 4, "content": "[MASK]"}],
    }
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    from_hf(folder, tmp_path / "tf")
    assert (tmp_path / "tf" / "vocab.txt").read_text().split() == tokens
    tokenizer["model"]["type"] = "BPE"
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    with pytest.raises(InputError, match=r"WordPiece vocabulary.*'BPE'"):
        from_hf(folder, tmp_path / "tf", overwrite=True)


def test_vocabulary_is_filled_up_to_the_embeddings(hf, tmp_path):
    folder = hf("span")
    tokens = (folder / "vocab.txt").read_text().split()
    (folder / "vocab.txt").write_text("\n".join(tokens[:-2]))
    report = from_hf(folder, tmp_path / "tf")
    folders.check_vocab(len(tokens), tmp_path / "tf" / "vocab.txt")
    assert "13 tokens for 15 embeddings" in report
    (folder / "vocab.txt").write_text("\n".join([*tokens, "more"]))
    with pytest.raises(InputError, match=r"vocab_size=15. It has 16"):
        from_hf(folder, tmp_path / "tf", overwrite=True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "roberta"}, r'model_type="bert". It has .*"roberta"'),
        ({"is_decoder": True}, r"is_decoder=false"),
        ({"add_cross_attention": True}, r"add_cross_attention=false"),
        ({"position_embedding_type": "relative_key"}, r'type="absolute"'),
        ({"pruned_heads": {"0": [1]}}, r"pruned_heads=\{\}"),
        ({"quantization_config": {"bits": 8}}, r"quantization_config=null"),
        ({"layer_norm_eps": 1e-5}, r"1e-12.*1e-05.*--ignore_layer_norm_eps"),
        ({"hidden_act": "silu"}, r"gelu_new.*It has hidden_act='silu'"),
        ({"hidden_size": 17}, r"config\.json: `hidden_size` must be a multi"),
        ({"hidden_size": 32}, r"hidden_size=32 where the weights have 16"),
        ({"num_hidden_layers": 3}, r"num_hidden_layers=3 .*weights have 2"),
        ({"num_hidden_layers": 1}, r"num_hidden_layers=1 .*weights have 2"),
        ({"num_hidden_layers": 2**31}, r"layers=2147483648 .*weights have 2"),
        ({"vocab_size": 2**40}, r"vocab_size=1099511627776 .*have 15"),
        ({"type_vocab_size": 3}, r"type_vocab_size=3 .*have 2"),
        ({"max_position_embeddings": 2**40}, r"max_position_emb\S*=1.*have 12"),
        ({"intermediate_size": 25}, r"intermediate_size=25 .*have 24"),
        ({"embedding_size": 8}, r"embedding_size equal to hidden_size=16"),
        ({"auto_map": {"AutoModel": "x.Y"}}, r"config\.json has auto_map"),
        ({"hidden_act": "gelu_10"}, r"hidden_act='gelu_10'"),
        ({"hidden_act": "quick_gelu"}, r"hidden_act='quick_gelu'"),
        (
            {"problem_type": "regression"},
            r'problem_type="regression".*one output. It has 3.*--head=none',
        ),
        (
            {"problem_type": "ranking"},
            r'regression.*problem_type="ranking".*--head=none',
        ),
        (
            {"architectures": ["BertForMultipleChoice"]},
            r"one output.*config\.json has 3.*a classifier",
        ),
        ({"architectures": "BertModel"}, r"a list of architectures"),
        (
            {"tokenizer_class": "BertJapaneseTokenizer"},
            r"config.json has token",
        ),
        ({"id2label": {"0": "a", "1": "b"}}, r"each of 0, 1, 2 a label.*\{.0"),
        (
            {"id2label": {"0": "a", "1": "b\nx", "2": "c"}},
            r'labels of one line.*"b\\nx"',
        ),
        (
            {"id2label": {"0": "a", "1": "b\tx", "2": "c"}},
            r'without tabs.*"b\\tx"',
        ),
    ],
)
def test_what_is_not_bert_is_refused(changes, message, hf, tmp_path):
    folder = hf("classifier")
    edit_json(folder / "config.json", **changes)
    with pytest.raises(InputError, match=message):
        from_hf(folder, tmp_path / "tf")
    assert not (tmp_path / "tf").exists()


def test_an_encoder_can_be_taken_from_a_refused_classifier(hf, tmp_path):
    folder = hf("classifier")
    edit_json(folder / "config.json", problem_type="ranking")
    from_hf(folder, tmp_path / "tf", head="none")
    assert "output_weights" not in stored(tmp_path / "tf")


def keep_outputs(folder, count):
    """Leaves a classifier its first outputs."""

    def keep(tensors):
        for name in ("classifier.weight", "classifier.bias"):
            tensors[name] = tensors[name][:count]

    edit_tensors(folder, keep)


@pytest.mark.parametrize("problem", ["regression", None])
def test_a_single_output_is_a_number(problem, hf, tmp_path):
    folder = hf("classifier")
    keep_outputs(folder, 1)
    changes = {"id2label": {"0": "LABEL_0"}, "problem_type": problem}
    edit_json(folder / "config.json", **changes)

    from_hf(folder, tmp_path / "tf")

    noted = json.loads((tmp_path / "tf" / "bert_tf.json").read_text())
    assert (noted["head"], noted["label_type"]) == ("classifier", "number")
    assert not (tmp_path / "tf" / "labels.txt").exists()
    assert stored(tmp_path / "tf")["output_weights"].shape == (1, 16)


def test_one_label_of_one_is_refused(hf, tmp_path):
    folder = hf("classifier")
    keep_outputs(folder, 1)
    problem = "single_label_classification"
    edit_json(folder / "config.json", problem_type=problem)
    with pytest.raises(InputError, match=r"single_label.*two or more. It has"):
        from_hf(folder, tmp_path / "tf")


@pytest.mark.parametrize(
    ("problem", "label_type"),
    [
        ("single_label_classification", "class"),
        (None, "class"),
        ("multi_label_classification", "multi"),
    ],
)
def test_the_type_of_labels_is_noted(problem, label_type, hf, tmp_path):
    folder = hf("classifier")
    edit_json(folder / "config.json", problem_type=problem)
    from_hf(folder, tmp_path / "tf")
    noted = json.loads((tmp_path / "tf" / "bert_tf.json").read_text())
    assert (noted["head"], noted["label_type"]) == ("classifier", label_type)
    labels = (tmp_path / "tf" / "labels.txt").read_text()
    assert labels == "red\ngreen\nblue\n"


@pytest.mark.parametrize(
    ("labels", "scheme"),
    [
        (["O", "B-X", "I-X", "B-Y"], None),
        (["B-X", "I-X", "E-X", "S-X"], "IOBES"),
        (["E-mail", "S-bahn", "B", "I"], None),
    ],
)
def test_the_scheme_of_words_labels_is_noted(labels, scheme, hf, tmp_path):
    names = {str(number): label for number, label in enumerate(labels)}
    folder = hf("token")
    edit_json(folder / "config.json", id2label=names)
    from_hf(folder, tmp_path / "tf")
    noted = json.loads((tmp_path / "tf" / "bert_tf.json").read_text())
    assert noted["head"] == "tokens"
    assert noted.get("train_scheme") == scheme
    assert (tmp_path / "tf" / "labels.txt").read_text().split() == labels


def test_labels_may_be_in_label2id_alone(hf, tmp_path):
    folder = hf("classifier")
    label2id = {"c": 2, "a,b": 0, "d": 1}
    problem = "multi_label_classification"
    edit_json(
        folder / "config.json",
        id2label=None,
        label2id=label2id,
        problem_type=problem,
    )
    from_hf(folder, tmp_path / "tf")
    labels = (tmp_path / "tf" / "labels.txt").read_text().splitlines()
    assert labels == ["a,b", "d", "c"]
    # The usual one is in a label.
    noted = json.loads((tmp_path / "tf" / "bert_tf.json").read_text())
    assert noted["label_separator"] == ";"


def test_label2id_of_another_number_of_labels_is_not_taken(hf, tmp_path):
    folder = hf("classifier")
    edit_json(folder / "config.json", id2label=None, label2id={"a": 0})
    from_hf(folder, tmp_path / "tf")
    labels = (tmp_path / "tf" / "labels.txt").read_text().split()
    assert labels == ["LABEL_0", "LABEL_1", "LABEL_2"]


def test_a_head_for_choices_is_no_classifier(hf, tmp_path):
    with pytest.raises(InputError, match=r"compares texts.*--head=choices"):
        from_hf(hf("choices"), tmp_path / "tf", head="classifier")


def test_default_labels_of_another_number_are_numbered(hf, tmp_path):
    folder = hf("classifier")
    default = {"0": "LABEL_0", "1": "LABEL_1"}
    edit_json(folder / "config.json", id2label=default)
    report = from_hf(folder, tmp_path / "tf")
    labels = (tmp_path / "tf" / "labels.txt").read_text().split()
    assert labels == ["LABEL_0", "LABEL_1", "LABEL_2"]
    assert "id2label has 2 of 3" in report


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_numbers_must_be_finite(bad, hf, tmp_path):
    folder = hf("classifier")

    def spoil(tensors):
        tensors["bert.pooler.dense.weight"][1, 2] = bad

    edit_tensors(folder, spoil)
    with pytest.raises(InputError, match=r"`bert/pooler/dense/kernel` has 1 "):
        from_hf(folder, tmp_path / "tf")
    assert not (tmp_path / "tf").exists()


def test_numbers_too_large_for_float32_are_not_finite(hf, tmp_path):
    folder = hf("classifier")

    def enlarge(tensors):
        tensors["classifier.bias"] = np.array([1e300, 0.0, 0.0])

    edit_tensors(folder, enlarge)
    with pytest.raises(InputError, match=r"`output_bias` has 1 of 3"):
        from_hf(folder, tmp_path / "tf")


def test_quantized_tensors_are_refused(hf, tmp_path):
    folder = hf("classifier")

    def quantize(tensors):
        name = "bert.pooler.dense.weight"
        tensors[name] = tensors[name].astype(np.int8)

    edit_tensors(folder, quantize)
    with pytest.raises(InputError, match=r"pooler\.dense\.weight .* int8"):
        from_hf(folder, tmp_path / "tf")


@pytest.mark.parametrize(
    "prefix", ["model.", "module.", "0.auto_model.", "module.model."]
)
@pytest.mark.parametrize("without", ["", "bert."])
def test_a_wrapper_is_left_out_of_names_and_named(
    prefix, without, hf, tmp_path
):
    folder = hf("classifier")

    def wrap(tensors):
        for name in list(tensors):
            value = tensors.pop(name)
            tensors[prefix + name.removeprefix(without)] = value

    edit_tensors(folder, wrap)
    report = from_hf(folder, tmp_path / "wrapped")
    from_hf(HUGGING_FACE / "classifier", tmp_path / "bare")
    assert f"names: '{prefix}'" in report
    assert_same(stored(tmp_path / "wrapped"), stored(tmp_path / "bare"))


def test_a_part_of_another_model_is_named(hf, tmp_path):
    folder = hf("span")

    def embed(tensors):
        for name in list(tensors):
            tensors[f"question_encoder.{name}"] = tensors.pop(name)

    edit_tensors(folder, embed)
    with pytest.raises(InputError, match=r"'question_encoder\.'.*another"):
        from_hf(folder, tmp_path / "tf")


def test_another_epsilon_can_be_ignored(hf, tmp_path):
    folder = hf("classifier")
    edit_json(folder / "config.json", layer_norm_eps=1e-5)
    from_hf(folder, tmp_path / "tf", ignore_layer_norm_eps=True)
    assert "output_weights" in stored(tmp_path / "tf")


def test_unknown_tensors_are_refused_or_left_out(hf, tmp_path):
    folder = hf("classifier")
    edit_tensors(folder, lambda t: t.update({"lora.A": np.zeros(3)}))
    with pytest.raises(
        InputError, match=r"does not have: lora\.A\. With --all"
    ):
        from_hf(folder, tmp_path / "tf")
    report = from_hf(folder, tmp_path / "tf", allow_unused=True)
    assert "Left out 1: lora.A." in report


def test_a_classifier_without_pooler_is_refused(hf, tmp_path):
    folder = hf("classifier")

    def drop_pooler(tensors):
        for name in [name for name in tensors if "pooler" in name]:
            del tensors[name]

    edit_tensors(folder, drop_pooler)
    with pytest.raises(InputError, match=r"lacks 2 .*bert/pooler/dense/bias"):
        from_hf(folder, tmp_path / "tf")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / "config.json").unlink(), r"config\.json cannot be"),
        (lambda f: (f / "config.json").write_text("{"), "not valid JSON"),
        (lambda f: (f / "config.json").write_text("[]"), "a JSON object"),
        (
            lambda f: (f / "model.safetensors").write_bytes(b"12345678{}"),
            r"model\.safetensors is damaged",
        ),
        (
            lambda f: (f / "model.safetensors").rename(
                f / "flax_model.msgpack"
            ),
            r"must have model\.safetensors.*tf_model\.h5.*msgpack.*save_pretr",
        ),
        (lambda f: (f / "vocab.txt").write_bytes(b"\xff\n"), "must be UTF-8"),
    ],
)
def test_damaged_folders_are_named(damage, message, hf, tmp_path):
    folder = hf("span")
    damage(folder)
    with pytest.raises(InputError, match=message):
        from_hf(folder, tmp_path / "tf")


def test_a_folder_is_needed(tmp_path):
    with pytest.raises(InputError, match=r"no folder .*nowhere"):
        from_hf(tmp_path / "nowhere", tmp_path / "tf")


def test_without_safetensors_the_error_says_what_to_install(
    monkeypatch, tmp_path
):
    monkeypatch.setitem(sys.modules, "safetensors", None)
    with pytest.raises(InputError, match=r"pip install 'bert-tf\[convert\]'"):
        from_hf(HUGGING_FACE / "span", tmp_path)
