import json
import sys

import ml_dtypes
import numpy as np
import pytest
from helpers.hugging_face import (
    HUGGING_FACE,
    assert_same,
    edit_json,
    edit_tensors,
    safetensors,
    stored,
    tensors_of,
)

from bert_tf import checkpoints, models
from bert_tf.checkpoints import folders
from bert_tf.checkpoints.from_hugging_face import from_hf
from bert_tf.errors import InputError
from bert_tf.layers import weights_to_come
from bert_tf.modeling import BertConfig, BertModel


def build(head, config, num_labels):
    if head == "pretraining":
        return models.pretraining(config)
    if head == "span":
        return models.span(config)
    kinds = {
        "classifier": models.classifier,
        "token": models.token_classifier,
    }
    return kinds[head](config, num_labels)


@pytest.mark.parametrize("head", ["pretraining", "classifier", "span", "token"])
def test_converted_model_computes_what_transformers_does(head, tmp_path):
    from_hf(HUGGING_FACE / head, tmp_path)

    config = BertConfig.from_json_file(tmp_path / "bert_config.json")
    want = np.load(HUGGING_FACE / head / "outputs.npz")
    num_labels = want["logits"].shape[-1] if "logits" in want else None
    with weights_to_come():
        bert, model = BertModel(config), build(head, config, num_labels)
    for weights in map(checkpoints.named_weights, (bert, model)):
        if head in ("span", "token"):  # transformers has no pooler here.
            weights = {k: v for k, v in weights.items() if "pooler" not in k}
        checkpoints.load(weights, tmp_path, expect=weights)

    ids, mask, segments = (
        want[name].astype(np.int32)
        for name in ("input_ids", "attention_mask", "token_type_ids")
    )
    encoded = bert(ids, mask, segments)
    states = [encoded["embedding_output"], *encoded["all_encoder_layers"]]
    real = mask == 1
    np.testing.assert_allclose(
        np.stack(states)[:, real], want["hidden_states"][:, real], atol=1e-5
    )
    features = {"input_ids": ids, "input_mask": mask, "segment_ids": segments}
    if head == "pretraining":
        positions = np.broadcast_to(np.arange(12, dtype=np.int32), ids.shape)
        features["masked_lm_positions"] = positions
    got = {name: np.array(value) for name, value in model(features).items()}
    theirs = {
        "masked_lm_logits": "prediction_logits",
        "next_sentence_logits": "seq_relationship_logits",
    }
    for name, value in got.items():
        expected = want[theirs.get(name, name)]
        if value.shape[:2] == real.shape:
            value, expected = value[real], expected[real]
        np.testing.assert_allclose(value, expected, atol=1e-5)


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
        (
            {"hidden_size": 32},
            r"embeddings\S* in .* shape \[.*32.*It has \[.*16",
        ),
        ({"num_hidden_layers": 3}, r"lacks 16 .*layer_2/attention/output"),
        ({"num_hidden_layers": 1}, r"does not have: bert\.encoder\.layer\.1"),
        ({"id2label": {"0": "a", "1": "b"}}, r"each of 0, 1, 2 a label.*\{.0"),
    ],
)
def test_what_is_not_bert_is_refused(changes, message, hf, tmp_path):
    folder = hf("classifier")
    edit_json(folder / "config.json", **changes)
    with pytest.raises(InputError, match=message):
        from_hf(folder, tmp_path / "tf")
    assert not (tmp_path / "tf").exists()


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
            lambda f: (f / "model.safetensors").rename(f / "pytorch_model.bin"),
            r"must have model\.safetensors.*pytorch_model\.bin.*save_pretr",
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
    with pytest.raises(InputError, match=r"is a folder.*Received: .*nowhere"):
        from_hf(tmp_path / "nowhere", tmp_path / "tf")


def test_without_safetensors_the_error_says_what_to_install(
    monkeypatch, tmp_path
):
    monkeypatch.setitem(sys.modules, "safetensors", None)
    with pytest.raises(InputError, match=r"pip install 'bert-tf\[convert\]'"):
        from_hf(HUGGING_FACE / "span", tmp_path)
