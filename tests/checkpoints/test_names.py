import csv
import gzip
import re

import pytest
import tensorflow as tf
from helpers.golden import CHECKPOINTS

from bert_tf import checkpoints, models
from bert_tf.layers import weights_to_come
from bert_tf.modeling import BertConfig, BertModel


def released_variables():
    """Model -> name -> (dtype, shape), from the indexes of released models."""
    released = {}
    path = CHECKPOINTS / "released_variables.tsv.gz"
    with gzip.open(path, "rt", encoding="utf-8") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            shape = tuple(int(size) for size in row["shape"].split("x"))
            variables = released.setdefault(row["model"], {})
            variables[row["name"]] = (row["dtype"], shape)
    return released


RELEASED = released_variables()


def config_of(variables):
    """The sizes that the shapes of a released checkpoint tell."""
    vocab_size, width = variables["bert/embeddings/word_embeddings"][1]
    layers = re.findall(r"layer_(\d+)/output/dense/bias", " ".join(variables))
    return BertConfig(
        vocab_size=vocab_size,
        hidden_size=width,
        num_hidden_layers=len(layers),
        num_attention_heads=width // 64,
        intermediate_size=4 * width,
        type_vocab_size=2,
    )


def described(weights):
    return {name: (w.dtype, tuple(w.shape)) for name, w in weights.items()}


def marks(name):
    """Of a released model, by the time that it takes to build it."""
    if "_L-2_" in name or "_L-4_" in name:
        return ()
    if name in ("uncased_L-12_H-768_A-12", "uncased_L-24_H-1024_A-16"):
        return pytest.mark.slow
    return pytest.mark.exhaustive


@pytest.mark.parametrize(
    "model", [pytest.param(name, marks=marks(name)) for name in RELEASED]
)
def test_pretraining_model_has_the_variables_of_released_models(model):
    want = RELEASED[model]
    with weights_to_come():
        built = models.pretraining(config_of(want))
    assert described(checkpoints.named_weights(built)) == want


@pytest.mark.shared
@pytest.mark.slow
def test_pretraining_model_has_the_variables_of_all_indexes(shared_folder):
    folders = sorted((shared_folder / "data" / "ckpt_index").glob("*/"))
    assert len(folders) == 11
    for folder in folders:
        config_file = shared_folder / "data/configs" / folder.name
        config = BertConfig.from_json_file(config_file / "bert_config.json")
        checkpoints.check_config(config, folder)
        with weights_to_come():
            built = models.pretraining(config)
        reader = tf.compat.v1.train.NewCheckpointReader(
            str(folder / "bert_model.ckpt")
        )
        shapes = reader.get_variable_to_shape_map()
        dtypes = reader.get_variable_to_dtype_map()
        want = {n: (dtypes[n].name, tuple(shapes[n])) for n in shapes}
        assert described(checkpoints.named_weights(built)) == want


def test_two_weights_of_one_path_are_refused():
    config = BertConfig(vocab_size=9, hidden_size=4, num_attention_heads=2)
    both = [BertModel(config), BertModel(config)]

    class Pair:
        weights = both[0].weights + both[1].weights

    with pytest.raises(ValueError, match="path of its own"):
        checkpoints.named_weights(Pair)


def test_slots_of_a_trained_checkpoint_are_all_but_the_model():
    reader = checkpoints.CheckpointReader(
        CHECKPOINTS / "trained_squad" / "model.ckpt-14599"
    )
    slots = checkpoints.optimizer_slots(reader.names)
    config = config_of(RELEASED["2020_uncased_L-2_H-128_A-2"])
    with weights_to_come():
        model = models.span(config)
    assert set(reader.names) - slots == set(checkpoints.named_weights(model))
    # The pooler has no gradient in SQuAD, hence no slots.
    assert len(slots) == 2 * (len(model.weights) - 2) + 1


@pytest.mark.shared
def test_slots_of_training_directories_end_in_adam_m_and_adam_v(shared_folder):
    folder = shared_folder / "data" / "ckpt_trained"
    indexes = sorted(folder.glob("*/*.index"))
    assert len(indexes) == 5
    for index in indexes:
        names = checkpoints.CheckpointReader(index).names
        want = {n for n in names if n.endswith(("/adam_m", "/adam_v"))}
        assert checkpoints.optimizer_slots(names) == want | {"global_step"}
