"""The checkpoint from which run_classifier starts."""

import numpy as np
import pytest
import tensorflow as tf
from helpers.bad_inputs import faults, of, run_case
from helpers.spoil import (
    INDEX,
    PREFIX,
    VOCAB_FILE,
    WEIGHTS,
    cut,
    flip_byte,
    folder,
    hugging_face,
    move,
    remove,
    weights,
    with_classes,
    with_nan,
    write,
)

case = of("run_classifier")
EMBEDDINGS = "bert/embeddings/word_embeddings"


def save_object_based():
    """Adds a checkpoint as tf.train.Checkpoint writes it."""
    tf.train.Checkpoint(weights=tf.Variable(1.0)).write("bert/tf2.ckpt")


def halves(values):
    """Changes weights: float16."""
    return {name: value.astype(np.float16) for name, value in values.items()}


CASES = [
    case(
        "missing",
        ("bert/model.ckpt", "bert_model.ckpt.index"),
        init_checkpoint="bert/model.ckpt",
    ),
    case(
        "no such folder",
        "nowhere/bert_model.ckpt",
        init_checkpoint="nowhere/bert_model.ckpt",
    ),
    case(
        "an empty folder",
        ("void", ".index"),
        folder("void"),
        init_checkpoint="void",
    ),
    case(
        "two checkpoints in the folder",
        (PREFIX, "bert/second.ckpt"),
        weights(dict, "bert/second.ckpt"),
        init_checkpoint="bert",
    ),
    case("another file", VOCAB_FILE, init_checkpoint=VOCAB_FILE),
    case(
        "a zip file",
        ("bert.zip", "unzip"),
        write("bert.zip", "PK"),
        init_checkpoint="bert.zip",
    ),
    case(
        "a PyTorch file",
        ("hf/pytorch_model.bin", "convert_checkpoint"),
        write("hf/pytorch_model.bin", "PK"),
        init_checkpoint="hf/pytorch_model.bin",
    ),
    case(
        "a Hugging Face folder",
        ("hf", "convert_checkpoint"),
        hugging_face(),
        init_checkpoint="hf",
    ),
    case(
        "the object-based format",
        ("bert/tf2.ckpt", "object-based", "convert_checkpoint from_other"),
        save_object_based,
        init_checkpoint="bert/tf2.ckpt",
    ),
    case(
        "a SavedModel",
        ("hub", "convert_checkpoint from_other"),
        write("hub/saved_model.pb", "PB"),
        init_checkpoint="hub",
    ),
    case("no .data file", WEIGHTS, remove(WEIGHTS)),
    case("half a .data file", (WEIGHTS, "2,145,500"), cut(WEIGHTS)),
    case(
        "a Git LFS pointer",
        (WEIGHTS, "git lfs pull"),
        write(WEIGHTS, "version https://git-lfs.github.com/spec/v1\n"),
    ),
    case(
        "a damaged weight",
        (PREFIX, "bert/encoder/layer_0/intermediate/dense/kernel"),
        flip_byte(WEIGHTS, 900_000),
    ),
    case("half an index", INDEX, cut(INDEX)),
    case("an empty index", INDEX, write(INDEX, "")),
    case("a damaged index", INDEX, flip_byte(INDEX, 300)),
    case(
        "no name of BERT's",
        (PREFIX, "model/bert"),
        weights(lambda v: {f"model/{k}": x for k, x in v.items()}),
    ),
    case(
        "three labels, and two in the data",
        (PREFIX, "`output_weights`", "[2, 128]", "[3, 128]"),
        weights(with_classes(3)),
    ),
    case(
        "half precision",
        ("bert/half.ckpt", EMBEDDINGS, "float16"),
        weights(halves, "bert/half.ckpt"),
        init_checkpoint="bert/half.ckpt",
    ),
    case(
        "a bracket in the path",
        "be[r]t/bert_model.ckpt",
        move("bert", "be[r]t"),
        vocab_file="be[r]t/vocab.txt",
        bert_config_file="be[r]t/bert_config.json",
        init_checkpoint="be[r]t/bert_model.ckpt",
    ),
    case(
        "a path that is not UTF-8",
        r"be\udce9t/bert_model.ckpt",
        init_checkpoint="be\udce9t/bert_model.ckpt",
    ),
    case("NaN", (PREFIX, EMBEDDINGS, "NaN"), weights(with_nan)),
]


@pytest.mark.parametrize("case", CASES)
def test_message_names_what_is_wrong(case):
    assert faults(case, run_case(case)) == []
