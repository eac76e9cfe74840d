import json
import pathlib
import shutil
import sys

import ml_dtypes
import numpy as np
import pytest
from helpers.paths import GOLDEN

from bert_tf import checkpoints, models
from bert_tf.checkpoints.hugging_face import (
    from_hf,
    strip,
    to_hf,
)
from bert_tf.convert_checkpoint import cli, main
from bert_tf.errors import InputError
from bert_tf.layers import weights_to_come
from bert_tf.modeling import BertConfig, BertModel

safetensors = pytest.importorskip("safetensors.numpy")

CHECKPOINTS = GOLDEN / "checkpoints"
HUGGING_FACE = CHECKPOINTS / "hugging_face"
DATA = ".data-00000-of-00001"


@pytest.fixture
def hf(tmp_path):
    """Copies a Hugging Face folder, to be changed."""

    def copy(head):
        return pathlib.Path(
            shutil.copytree(HUGGING_FACE / head, tmp_path / f"hf_{head}")
        )

    return copy


@pytest.fixture
def tiny(tmp_path):
    """A copy of the tiny checkpoint's folder."""
    return pathlib.Path(shutil.copytree(CHECKPOINTS / "tiny", tmp_path / "t"))


def edit_json(path, **changes):
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def tensors_of(folder):
    return safetensors.load_file(folder / "model.safetensors")


def edit_tensors(folder, edit):
    """Lets `edit` change the dictionary of a folder's tensors."""
    tensors = {k: v.copy() for k, v in tensors_of(folder).items()}
    edit(tensors)
    safetensors.save_file(
        {name: np.ascontiguousarray(value) for name, value in tensors.items()},
        folder / "model.safetensors",
    )


def stored(prefix):
    reader = checkpoints.CheckpointReader(prefix)
    return {name: reader.tensor(name) for name in reader.names}


def assert_same(got, want):
    assert sorted(got) == sorted(want)
    for name, value in want.items():
        assert got[name].dtype == value.dtype
        np.testing.assert_array_equal(got[name], value, err_msg=name)


# What transformers computes, computed here.


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


# There and back.


@pytest.mark.parametrize("head", ["pretraining", "classifier", "span", "token"])
def test_from_hugging_face_and_back_gives_the_same_tensors(head, tmp_path):
    from_hf(HUGGING_FACE / head, tmp_path / "tf")
    to_hf(tmp_path / "tf", tmp_path / "back", head=head)

    assert_same(tensors_of(tmp_path / "back"), tensors_of(HUGGING_FACE / head))
    back = json.loads((tmp_path / "back" / "config.json").read_text())
    want = json.loads((HUGGING_FACE / head / "config.json").read_text())
    act = {"gelu_pytorch_tanh": "gelu_new"}.get(
        want["hidden_act"], want["hidden_act"]
    )
    assert back.pop("hidden_act") == act
    for key in set(back) & set(want) - {"hidden_act"}:
        assert back[key] == want[key], key
    assert {"architectures", "model_type", "layer_norm_eps"} < set(back)
    assert ("id2label" in back) == (head in ("classifier", "token"))


@pytest.mark.parametrize("folder", ["tiny", "toy"])
def test_to_hugging_face_and_back_gives_the_same_bytes(folder, tmp_path):
    source = CHECKPOINTS / folder
    strip(source, str(tmp_path / "bare" / "bert_model.ckpt"))
    to_hf(tmp_path / "bare", tmp_path / "hf")
    from_hf(tmp_path / "hf", tmp_path / "back")

    for name in ("index", DATA[1:]):
        want = (tmp_path / "bare" / f"bert_model.ckpt.{name}").read_bytes()
        got = (tmp_path / "back" / f"bert_model.ckpt.{name}").read_bytes()
        assert got == want
    for name in ("bert_config.json", "vocab.txt"):
        want = (source / name).read_text()
        got = (tmp_path / "back" / name).read_text()
        if name.endswith("json"):
            got, want = json.loads(got), json.loads(want)
        else:
            got, want = got.splitlines(), want.splitlines()
        assert got == want


@pytest.mark.parametrize("head", ["masked_lm", "next_sentence", "none"])
def test_other_heads_survive_there_and_back(head, tiny, tmp_path):
    to_hf(tiny, tmp_path / "hf", head=head)
    tensors = tensors_of(tmp_path / "hf")
    from_hf(tmp_path / "hf", tmp_path / "back")

    start = {
        "masked_lm": "cls/predictions/",
        "next_sentence": "cls/seq_relationship/",
        "none": "bert/",
    }[head]
    want = {
        name: value
        for name, value in stored(tiny).items()
        if name.startswith(("bert/", start))
    }
    assert_same(stored(tmp_path / "back"), want)
    assert "bert.pooler.dense.bias" in tensors or head == "none"
    assert ("pooler.dense.bias" in tensors) == (head == "none")


def test_labels_travel_in_both_directions(tmp_path):
    from_hf(HUGGING_FACE / "classifier", tmp_path / "tf")
    labels = tmp_path / "tf" / "labels.txt"
    assert labels.read_text() == "red\ngreen\nblue\n"
    labels.write_text("x\ny\nz\n")
    to_hf(tmp_path / "tf", tmp_path / "hf")
    config = json.loads((tmp_path / "hf" / "config.json").read_text())
    assert config["id2label"] == {"0": "x", "1": "y", "2": "z"}
    assert config["label2id"] == {"x": 0, "y": 1, "z": 2}
    labels.write_text("x\ny\n")
    with pytest.raises(InputError, match=r"labels\.txt must name the 3.*has 2"):
        to_hf(tmp_path / "tf", tmp_path / "hf", overwrite=True)


def test_no_pooler_is_said(tmp_path):
    report = from_hf(HUGGING_FACE / "span", tmp_path)
    assert "no pooler" in report
    assert not [name for name in stored(tmp_path) if "pooler" in name]


# Reading what there is in the world.


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
    checkpoints.check_vocab(len(tokens), tmp_path / "tf" / "vocab.txt")
    assert "13 tokens for 15 embeddings" in report
    (folder / "vocab.txt").write_text("\n".join([*tokens, "more"]))
    with pytest.raises(InputError, match=r"vocab_size=15. It has 16"):
        from_hf(folder, tmp_path / "tf", overwrite=True)


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("gelu", "gelu_exact"),
        ("gelu_new", "gelu"),
        ("gelu_pytorch_tanh", "gelu"),
        ("relu", "relu"),
        ("tanh", "tanh"),
        ("linear", "linear"),
    ],
)
def test_activation_is_translated(theirs, ours, hf, tmp_path):
    folder = hf("span")
    edit_json(folder / "config.json", hidden_act=theirs)
    from_hf(folder, tmp_path / "tf")
    config = json.loads((tmp_path / "tf" / "bert_config.json").read_text())
    assert config["hidden_act"] == ours
    to_hf(tmp_path / "tf", tmp_path / "back")
    back = json.loads((tmp_path / "back" / "config.json").read_text())
    assert back["hidden_act"] == theirs.replace("gelu_pytorch_tanh", "gelu_new")


def test_activation_can_be_overridden(hf, tmp_path):
    from_hf(hf("pretraining"), tmp_path / "tf", hidden_act="gelu")
    to_hf(tmp_path / "tf", tmp_path / "back", hidden_act="gelu")
    for path, act in (("tf/bert_config", "gelu"), ("back/config", "gelu")):
        config = json.loads((tmp_path / f"{path}.json").read_text())
        assert config["hidden_act"] == act
    with pytest.raises(InputError, match=r"gelu_exact.*Received.*'swish'"):
        from_hf(hf("span"), tmp_path / "no", hidden_act="swish")
    with pytest.raises(InputError, match=r"gelu_new.*Received.*'gelu_exact'"):
        to_hf(tmp_path / "tf", tmp_path / "no", hidden_act="gelu_exact")


@pytest.mark.parametrize(
    ("vocab", "lowers"), [(["a", "the", "[CLS]"], True), (["a", "B"], False)]
)
def test_casing_is_told_from_the_vocabulary(vocab, lowers, tmp_path):
    from_hf(HUGGING_FACE / "span", tmp_path / "tf")
    vocab_file = tmp_path / "tf" / "vocab.txt"
    vocab_file.write_text("\n".join(vocab + ["x"] * (15 - len(vocab))))
    to_hf(tmp_path / "tf", tmp_path / "hf")
    to_hf(tmp_path / "tf", tmp_path / "other", do_lower_case=not lowers)
    for folder, want in (("hf", lowers), ("other", not lowers)):
        path = tmp_path / folder / "tokenizer_config.json"
        assert json.loads(path.read_text())["do_lower_case"] is want
    report = from_hf(tmp_path / "other", tmp_path / "again")
    assert f"--do_lower_case={str(not lowers).lower()}." in report


# What is refused.


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


def test_unknown_variables_are_refused_or_left_out(tiny, tmp_path):
    values = {**stored(tiny), "other/kernel": np.zeros(3)}
    checkpoints.write(tiny / "bert_model.ckpt", values)
    with pytest.raises(InputError, match="does not have: other/kernel"):
        to_hf(tiny, tmp_path / "hf")
    report = to_hf(tiny, tmp_path / "hf", allow_unused=True)
    assert "Left out 1: other/kernel." in report


def test_a_direction_that_transformers_lacks_is_refused(tiny, tmp_path):
    edit_json(tiny / "bert_config.json", directionality="left_to_right")
    with pytest.raises(InputError, match="would attend in both directions"):
        to_hf(tiny, tmp_path / "hf")


def test_two_heads_in_a_file_need_a_choice(tiny, tmp_path):
    values = stored(tiny)
    values |= {"output_weights": np.zeros((2, 64)), "output_bias": np.zeros(2)}
    checkpoints.write(tiny / "bert_model.ckpt", values)
    with pytest.raises(
        InputError, match=r"several heads: classifier, .*--head"
    ):
        to_hf(tiny, tmp_path / "hf")
    report = to_hf(tiny, tmp_path / "hf", head="classifier")
    assert "Left out 7: cls/predictions" in report
    with pytest.raises(InputError, match=r"lacks 2 .*'span': cls/squad/"):
        to_hf(tiny, tmp_path / "hf", head="span", overwrite=True)
    with pytest.raises(InputError, match=r"one of .*Received: head='nsp'"):
        to_hf(tiny, tmp_path / "hf", head="nsp", overwrite=True)


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


def test_a_config_of_another_model_is_refused(tiny, tmp_path):
    edit_json(tiny / "bert_config.json", num_hidden_layers=4)
    with pytest.raises(InputError, match=r"t/bert_config\.json does not fit"):
        to_hf(tiny, tmp_path / "hf")


def test_existing_output_is_kept(tiny, tmp_path):
    to_hf(tiny, tmp_path / "hf")
    with pytest.raises(InputError, match=r"Already there: .*--overwrite"):
        to_hf(tiny, tmp_path / "hf")
    from_hf(tmp_path / "hf", tmp_path / "tf")
    with pytest.raises(InputError, match=r"Already there: .*--overwrite"):
        from_hf(tmp_path / "hf", tmp_path / "tf")
    with pytest.raises(InputError, match=r"Already there: .*--overwrite"):
        strip(tiny, str(tmp_path / "tf" / "bert_model.ckpt"))
    with pytest.raises(InputError, match=r"Received a folder: .*tf"):
        strip(tiny, str(tmp_path / "tf"))


def test_without_safetensors_the_error_says_what_to_install(
    monkeypatch, tmp_path
):
    monkeypatch.setitem(sys.modules, "safetensors", None)
    with pytest.raises(InputError, match=r"pip install 'bert-tf\[convert\]'"):
        from_hf(HUGGING_FACE / "span", tmp_path)


# Stripping.


def test_strip_leaves_the_weights_as_they_are(tmp_path):
    output = tmp_path / "bare" / "bert.ckpt"
    report = strip(CHECKPOINTS / "toy", str(output))

    whole, bare = stored(CHECKPOINTS / "toy"), stored(output)
    want = {n: v for n, v in whole.items() if "adam" not in n}
    del want["global_step"]
    assert_same(bare, want)
    sizes = [
        pathlib.Path(f"{prefix}{DATA}").stat().st_size
        for prefix in (output, CHECKPOINTS / "toy" / "bert_model.ckpt")
    ]
    assert f"{sizes[0]:,} bytes, before {sizes[1]:,}" in report
    assert "93 of the optimizer: 46 adam_m, 46 adam_v, 1 global_step" in report
    for name in ("bert_config.json", "vocab.txt"):
        want = (CHECKPOINTS / "toy" / name).read_bytes()
        assert (output.parent / name).read_bytes() == want


def test_strip_knows_slots_of_other_optimizers(tmp_path):
    weights = {"bert/pooler/dense/bias": np.ones(2), "output_bias": np.ones(2)}
    slots = {
        f"{name}/{slot}": np.ones(2)
        for name in weights
        for slot in ("Adam", "Adam_1", "LAMB", "lamb_m", "ExponentialAverage")
    }
    counters = {"beta1_power": 0.9, "beta2_power": 0.99, "global_step": 3}
    checkpoints.write(tmp_path / "c", weights | slots | counters)
    strip(tmp_path / "c", str(tmp_path / "bare"))
    assert sorted(stored(tmp_path / "bare")) == sorted(weights)


def test_strip_of_nothing_but_slots_is_refused(tmp_path):
    checkpoints.write(tmp_path / "c", {"global_step": np.int64(3)})
    with pytest.raises(InputError, match=r"holds no weights.*global_step"):
        strip(tmp_path / "c", str(tmp_path / "bare"))


# The command line.


def test_command_line_converts_and_reports(tmp_path, capsys):
    source, output = str(HUGGING_FACE / "classifier"), str(tmp_path / "tf")
    main(["from_hf", source, "--output", output, "--hidden_act=relu"])
    assert "41 variables" in capsys.readouterr().out
    main(["to_hf", output, "--output", str(tmp_path / "hf"), "--head=token"])
    config = json.loads((tmp_path / "hf" / "config.json").read_text())
    assert config["architectures"] == ["BertForTokenClassification"]
    assert config["hidden_act"] == "relu"
    main(["strip", output, "--output", str(tmp_path / "bare")])
    assert "Kept 41 weights" in capsys.readouterr().out


def test_command_line_prints_mistakes_without_a_traceback(
    monkeypatch, capsys, tmp_path
):
    arguments = ["convert", "strip", str(tmp_path), "--output=x"]
    monkeypatch.setattr(sys, "argv", arguments)
    assert cli() == 1
    printed = capsys.readouterr().err
    assert printed.startswith("convert_checkpoint: error: No checkpoint in")
    assert printed.count("\n") == 1
