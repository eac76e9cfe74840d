"""Models of tf-models, TF-Hub, keras-hub, keras-bert and bert4keras.

What they compute was written down by these programs: tests/golden/foreign.
"""

import json
import math

import h5py
import numpy as np
import pytest
import tensorflow as tf
from helpers.converted import assert_computes
from helpers.golden import CHECKPOINTS
from helpers.hugging_face import assert_same, edit_json, stored
from tensorflow.core.protobuf import saved_model_pb2

from bert_tf import checkpoints
from bert_tf.checkpoints import folder_settings
from bert_tf.checkpoints.from_other import from_other
from bert_tf.errors import InputError


def settings_of(folder):
    return folder_settings.read(folder).said()


@pytest.mark.parametrize(
    ("name", "head"),
    [
        ("tf_models_2020", "none"),  # The first TransformerEncoder.
        ("tf_models_released", "none"),
        ("tf_models_pretraining", "pretraining"),
        # Folders of tf-models' trainer, with optimizer and params.yaml.
        ("tf_models_training_bert", "pretraining"),
        ("tf_models_training_bert_v2", "pretraining"),
        ("tf_models_classifier", "classifier"),
        ("tf_hub_2", "none"),
        ("tf_hub_4", "masked_lm"),
        ("keras_hub_encoder", "none"),
        ("keras_hub_classifier", "classifier"),
        ("keras_bert/model.h5", "pretraining"),
        ("keras_bert/weights.h5", "pretraining"),
        ("bert4keras/model.h5", "pretraining"),
        ("bert4keras/weights.h5", "pretraining"),
    ],
)
def test_converted_model_computes_what_the_program_did(
    name, head, foreign, tmp_path
):
    archive, _, file = name.partition("/")
    folder = foreign(archive)
    report = from_other(folder / file, tmp_path / "tf")

    assert f"head: {head}," in report
    with np.load(folder / "outputs.npz") as want:
        assert_computes(tmp_path / "tf", dict(want), head)


def test_a_head_without_a_name_of_its_own_needs_the_flag(foreign, tmp_path):
    folder = foreign("tf_models_span")
    with pytest.raises(InputError, match=r"transform/logits.*--head=classif"):
        from_other(folder, tmp_path / "tf")
    from_other(folder, tmp_path / "tf", head="span")
    with np.load(folder / "outputs.npz") as want:
        assert_computes(tmp_path / "tf", dict(want), "span")

    report = from_other(folder, tmp_path / "bare", head="none")
    assert "Left out 2: model/layer_with_weights-1/" in report
    bare = stored(tmp_path / "bare")
    assert sorted(bare) == sorted(
        name for name in stored(tmp_path / "tf") if name.startswith("bert/")
    )


def test_the_masked_lm_head_of_keras_hub_has_a_gelu_of_its_own(
    foreign, tmp_path
):
    folder = foreign("keras_hub_masked_lm")
    report = from_other(folder, tmp_path / "tf")
    with np.load(folder / "outputs.npz") as file:
        want = dict(file)

    # It has the exact gelu and another epsilon, the layers have not.
    v, scope = stored(tmp_path / "tf"), "cls/predictions/transform"
    x = want["hidden_states"][-1].astype(np.float64)
    x = x @ v[f"{scope}/dense/kernel"] + v[f"{scope}/dense/bias"]
    x = x * (1 + np.vectorize(math.erf)(x / np.sqrt(2))) / 2
    x = x - x.mean(-1, keepdims=True)
    x = x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-5)
    x = x * v[f"{scope}/LayerNorm/gamma"] + v[f"{scope}/LayerNorm/beta"]
    logits = x @ v["bert/embeddings/word_embeddings"].T
    logits += v["cls/predictions/output_bias"]
    np.testing.assert_allclose(logits, want["logits"], atol=1e-5)

    assert "masked-LM head with the exact gelu" in report
    assert_computes(tmp_path / "tf", want, "masked_lm", atol=2e-3)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("tf_hub_2", {"do_lower_case": True}),
        ("tf_hub_4", {"do_lower_case": False}),
        ("tf_models_released", {}),
        ("keras_hub_encoder", {"do_lower_case": True, "strip_accents": False}),
        (
            "keras_hub_classifier",
            {
                "head": "classifier",
                "do_lower_case": True,
                "strip_accents": False,
                "max_seq_length": 10,
                "label_type": "class",
            },
        ),
    ],
)
def test_what_files_tell_of_texts_is_noted(name, settings, foreign, tmp_path):
    folder = foreign(name)
    from_other(folder, tmp_path / "tf")
    assert settings_of(tmp_path / "tf") == settings
    assert (tmp_path / "tf" / "bert_tf.json").exists() == bool(settings)
    vocab = [path for path in folder.rglob("vocab*.txt")]
    assert (tmp_path / "tf" / "vocab.txt").read_bytes() == vocab[0].read_bytes()


def test_casing_can_be_given(foreign, tmp_path):
    folder = foreign("keras_hub_encoder")
    from_other(folder, tmp_path / "tf", strip_accents=True)
    assert settings_of(tmp_path / "tf")["strip_accents"] is True
    from_other(foreign("tf_hub_2"), tmp_path / "b", do_lower_case=False)
    assert settings_of(tmp_path / "b") == {"do_lower_case": False}


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("tf_models_released", "gelu"),
        ("tf_models_training_bert", "gelu"),
        ("tf_hub_4", "gelu"),
        ("keras_hub_encoder", "gelu"),
        ("keras_bert/weights.h5", "gelu"),
        ("bert4keras/model.h5", "gelu_exact"),
        ("bert4keras/weights.h5", "gelu_exact"),
    ],
)
def test_the_activation_is_that_which_the_program_computes(
    name, wanted, foreign, tmp_path
):
    archive, _, file = name.partition("/")
    from_other(foreign(archive) / file, tmp_path / "tf")
    config = json.loads((tmp_path / "tf" / "bert_config.json").read_text())
    assert config["hidden_act"] == wanted
    by_trainer = name == "tf_models_training_bert"
    assert config["hidden_dropout_prob"] == (0.2 if by_trainer else 0.1)
    assert config["num_attention_heads"] == 2


def test_a_config_is_not_needed_where_shapes_tell_all(foreign, tmp_path):
    folder = foreign("tf_models_released")
    (folder / "bert_config.json").unlink()
    report = from_other(folder, tmp_path / "tf")
    assert "gelu is assumed" in report
    config = json.loads((tmp_path / "tf" / "bert_config.json").read_text())
    assert (config["num_attention_heads"], config["vocab_size"]) == (2, 15)


def test_a_module_of_the_first_tf_hub_has_the_names_already(tmp_path):
    # As made: variables by name, a graph, the vocabulary.
    tiny, hub = CHECKPOINTS / "tiny", tmp_path / "hub"
    for path in tiny.glob("bert_model.ckpt.*"):
        target = hub / "variables" / f"variables{path.suffix}"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    (hub / "assets").mkdir()
    (hub / "assets" / "vocab.txt").write_bytes(
        (tiny / "vocab.txt").read_bytes()
    )
    saved = saved_model_pb2.SavedModel()
    meta = saved.meta_graphs.add()
    meta.asset_file_def.add(filename="vocab.txt")
    for op in ("Pow", "Tanh", "Tanh"):
        meta.graph_def.node.add(op=op)
    (hub / "saved_model.pb").write_bytes(saved.SerializeToString())

    config_file = tiny / "bert_config.json"
    from_other(hub, tmp_path / "tf", bert_config_file=str(config_file))
    assert_same(stored(tmp_path / "tf"), stored(tiny))
    with pytest.raises(InputError, match="number of attention heads"):
        from_other(hub, tmp_path / "no")


# ------------------------------------------------------------------ bad inputs


def fails(path, told, tmp_path, **options):
    with pytest.raises(InputError, match=told) as raised:
        from_other(path, tmp_path / "no", **options)
    assert not (tmp_path / "no").exists()
    return str(raised.value)


def save_object_based(folder, values):
    """Variables of these names, as TensorFlow 2 keeps them."""
    items = {
        f"v{number}": tf.Variable(value, name=name)
        for number, (name, value) in enumerate(values.items())
    }
    tf.train.Checkpoint(**items).write(str(folder / "ckpt-1"))
    return folder / "ckpt-1"


def test_other_architectures_of_tf_models_are_named(foreign, tmp_path):
    albert = save_object_based(
        tmp_path,
        {
            "word_embeddings/embeddings": np.zeros((15, 8), np.float32),
            "embedding_projection/kernel": np.zeros((8, 16), np.float32),
        },
    )
    fails(albert, r"ckpt-1.*ALBERT.*embedding_projection/kernel", tmp_path)
    other = save_object_based(tmp_path, {"dense/kernel": np.zeros((2, 2))})
    message = fails(other, "ckpt-1.*does not have", tmp_path)
    assert "v0" in message
    fails(other, "no bert/embeddings/word", tmp_path, allow_unused=True)

    folder = foreign("tf_models_training_bert")
    text = (folder / "params.yaml").read_text()
    for old, new, told in [
        ("norm_first: false", "norm_first: true", "normalizes before"),
        ("type: bert\n", "type: albert\n", "encoder.type=albert"),
        ("mlm_activation: gelu", "mlm_activation: relu", "mlm_activation=relu"),
        ("activation: gelu", "activation: swish", "swish"),
        ("dropout_rate: 0.2", "dropout_rate: much", "dropout_rate.*much"),
    ]:
        (folder / "params.yaml").write_text(text.replace(old, new))
        fails(folder, f"(?s)params.yaml.*{told}|{told}.*", tmp_path)


def test_a_saved_model_of_another_placement_is_named(foreign, tmp_path):
    folder = foreign("tf_hub_4")
    metadata = folder / "keras_metadata.pb"
    spoiled = metadata.read_bytes().replace(
        b'"norm_first": false', b'"norm_first": true '
    )
    metadata.write_bytes(spoiled)
    fails(folder, r"saved_model\.pb.*normalizes before", tmp_path)


@pytest.mark.parametrize(
    ("op", "activation"), [("Erf", "gelu_exact"), ("Relu", "relu")]
)
def test_the_graph_of_a_saved_model_tells_its_activation(
    op, activation, foreign, tmp_path
):
    folder = foreign("tf_hub_2")
    graph = folder / "saved_model.pb"
    saved = saved_model_pb2.SavedModel.FromString(graph.read_bytes())
    saved.meta_graphs[0].graph_def.library.function[0].node_def.add(op=op)
    graph.write_bytes(saved.SerializeToString())
    report = from_other(folder, tmp_path / "tf")
    assert f"hidden_act: {activation}." in report


@pytest.mark.parametrize(
    ("name", "file", "told"),
    [
        ("tf_models_released", "bert_model.ckpt-1.index", "is damaged"),
        ("tf_models_released", "bert_model.ckpt-1.data-00000-of-00001", "cut"),
        ("tf_hub_2", "saved_model.pb", "is damaged"),
        ("tf_hub_2", "variables/variables.data-00000-of-00001", "cut short"),
        ("keras_hub_encoder", "model.weights.h5", "is damaged"),
        ("keras_hub_encoder", "tokenizer.json", "JSON"),
        ("keras_hub_classifier", "task.weights.h5", "is damaged"),
        ("keras_bert", "model.h5", "is damaged"),
    ],
)
def test_damaged_files_are_named(name, file, told, foreign, tmp_path):
    folder = foreign(name)
    path = folder / file
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    opened = path if name == "keras_bert" else folder
    message = fails(opened, told, tmp_path)
    assert str(path) in message


@pytest.mark.parametrize(
    ("name", "file", "change", "told"),
    [
        (
            "keras_hub_encoder",
            "config.json",
            {"class_name": "RobertaBackbone"},
            "BertBackbone.*RobertaBackbone",
        ),
        (
            "keras_hub_encoder",
            "tokenizer.json",
            {"class_name": "BytePairTokenizer"},
            "BertTokenizer.*BytePairTokenizer",
        ),
        (
            "keras_hub_classifier",
            "task.json",
            {"class_name": "BertTextEmbedder"},
            "BertTextClassifier.*BertTextEmbedder",
        ),
        (
            "tf_models_released",
            "bert_config.json",
            {"intermediate_size": 32},
            "intermediate_size=32 where the weights have 24",
        ),
        (
            "tf_models_released",
            "bert_config.json",
            {"num_attention_heads": 4},
            "num_attention_heads=4 where the weights have 2",
        ),
        (
            "tf_models_released",
            "bert_config.json",
            {"hidden_act": "swish"},
            "swish",
        ),
    ],
)
def test_files_of_other_models_are_named(
    name, file, change, told, foreign, tmp_path
):
    folder = foreign(name)
    edit_json(folder / file, **change)
    assert str(folder / file) in fails(folder, told, tmp_path)


@pytest.mark.parametrize(
    ("name", "file", "place", "told"),
    [
        (
            "keras_hub_encoder",
            "model.weights.h5",
            "layers/transformer_encoder_1/_feedforward_output_dense/vars/0",
            r"must have the shape \[24, 16\].*layer_1/output/dense/kernel",
        ),
        (
            "keras_hub_classifier",
            "task.weights.h5",
            "layers/dense/vars/0",
            r"must have the shape \[16, 3\].*`output_weights`",
        ),
        (
            "bert4keras",
            "weights.h5",
            "NSP-Proba/NSP-Proba/kernel:0",
            r"must have the shape \[16, 2\].*seq_relationship/output_weights",
        ),
        (
            "keras_bert",
            "weights.h5",
            "Encoder-2-MultiHeadSelfAttention/Encoder-2-MultiHeadSelfAttention"
            "/Encoder-2-MultiHeadSelfAttention_Wo:0",
            r"must have the shape \[16, 16\] or \[2, 8, 16\].*layer_1",
        ),
    ],
)
def test_wrong_shapes_are_named_with_both(
    name, file, place, told, foreign, tmp_path
):
    folder = foreign(name)
    with h5py.File(folder / file, "a") as opened:
        value = opened[place][()]
        del opened[place]
        opened[place] = value[1:]
    opened = folder / file if name.endswith(("keras", "bert")) else folder
    message = fails(opened, told, tmp_path)
    assert place in message
    assert f"It has {list(value[1:].shape)}" in message


def test_missing_layers_are_named(foreign, tmp_path):
    folder = foreign("bert4keras")
    with h5py.File(folder / "weights.h5", "a") as opened:
        del opened["Embedding-Position/Embedding-Position"]
    fails(folder / "weights.h5", "Embedding-Position/embed", tmp_path)

    folder = foreign("keras_hub_encoder")
    with h5py.File(folder / "model.weights.h5", "a") as opened:
        del opened["layers/position_embedding"]
    fails(folder, r"lacks 1 variables.*position_embeddings", tmp_path)


def test_unknown_layers_are_named_or_left_out(foreign, tmp_path):
    folder = foreign("keras_hub_encoder")
    with h5py.File(folder / "model.weights.h5", "a") as opened:
        opened["layers/adapter/vars/0"] = np.zeros(3, np.float32)
    fails(folder, "layers/adapter/vars/0.*--allow_unused", tmp_path)
    report = from_other(folder, tmp_path / "tf", allow_unused=True)
    assert "Left out 1: layers/adapter/vars/0." in report


def test_quantized_and_infinite_numbers_are_named(foreign, tmp_path):
    folder, place = foreign("keras_hub_encoder"), "layers/dense/vars/0"
    for value, told in [
        (np.zeros((16, 16), np.int8), "int8: if the model was quantized"),
        (np.full((16, 16), np.inf, np.float32), "NaN or infinite"),
    ]:
        with h5py.File(folder / "model.weights.h5", "a") as opened:
            del opened[place]
            opened[place] = value
        fails(folder, told, tmp_path)


def test_a_file_in_the_place_of_the_output_is_named(foreign, tmp_path):
    folder, taken = foreign("keras_hub_encoder"), tmp_path / "taken"
    taken.write_text("")
    for output in (taken, taken / "new"):
        with pytest.raises(InputError, match=r"--output.*taken"):
            from_other(folder, output)


def test_without_heads_or_vocabulary_the_flag_is_named(foreign, tmp_path):
    folder = foreign("keras_bert")
    (folder / "bert_config.json").unlink()
    fails(folder / "weights.h5", "attention heads.*bert_config_file", tmp_path)
    (folder / "vocab.txt").unlink()
    fails(folder / "model.h5", "vocabulary.*--vocab_file", tmp_path)
    vocab = tmp_path / "vocab.txt"
    vocab.write_text("[PAD]\n[UNK]\n")
    fails(
        folder / "model.h5",
        r"vocab\.txt must have as many lines.*15",
        tmp_path,
        vocab_file=str(vocab),
    )


def test_what_is_none_of_these_is_named(foreign, hf, tmp_path):
    (tmp_path / "empty").mkdir()
    fails(tmp_path / "empty", "It has: nothing", tmp_path)
    fails(foreign("keras_bert"), "several .h5 files.*model.h5", tmp_path)
    fails(hf("span"), "Hugging Face.*from_hf", tmp_path)
    fails(CHECKPOINTS / "tiny", "nothing is to be converted", tmp_path)
    fails(tmp_path / "nowhere", "nowhere", tmp_path)
    tf_model = foreign("transformers_span") / "tf_model.h5"
    fails(tf_model, "transformers.*from_hf", tmp_path)
    weights = foreign("keras_hub_encoder") / "model.weights.h5"
    fails(weights, "keras-hub, convert the folder", tmp_path)
    packed = tmp_path / "bert.tar.gz"
    packed.write_bytes(b"x")
    fails(packed, "unpack", tmp_path)


@pytest.mark.parametrize(
    "name",
    [
        "tf_models_released",
        "tf_models_training_bert",
        "tf_hub_2",
        "keras_hub_encoder",
        "keras_bert",
        "bert4keras/weights.h5",
    ],
)
def test_opening_them_as_a_checkpoint_names_the_conversion(name, foreign):
    archive, _, file = name.partition("/")
    with pytest.raises(InputError, match="convert_checkpoint from_other"):
        checkpoints.CheckpointReader(foreign(archive) / file)


def test_the_output_is_not_overwritten(foreign, tmp_path):
    folder = foreign("tf_models_released")
    from_other(folder, tmp_path / "tf")
    with pytest.raises(InputError, match=r"Already there.*--overwrite"):
        from_other(folder, tmp_path / "tf")
    from_other(folder, tmp_path / "tf", overwrite=True)
    with pytest.raises(InputError, match="another file than `PATH`"):
        from_other(folder, folder, overwrite=True)
