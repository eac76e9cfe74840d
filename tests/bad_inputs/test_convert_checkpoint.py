"""Mistakes that convert_checkpoint reports."""

import json
from pathlib import Path

import numpy as np
import pytest
from helpers.bad_inputs import faults, of, run_case
from helpers.spoil import (
    CONFIG_FILE,
    INDEX,
    PREFIX,
    VOCAB_FILE,
    WEIGHTS,
    append,
    cut,
    flip_byte,
    folder,
    hf_tensors,
    hugging_face,
    move,
    remove,
    weights,
    with_classes,
    write,
)

case = of("convert_checkpoint")
HF_CONFIG, TENSORS = "hf/config.json", "hf/model.safetensors"
OUTPUT = ("--output", "output")


def from_hf(tried, *parts, source="hf", **more):
    words = ("from_hf", source, *OUTPUT)
    return case(f"from_hf: {tried}", *parts, words=words, **more)


def to_hf(tried, *parts, source="bert", options=(), **more):
    words = ("to_hf", source, *OUTPUT, *options)
    return case(f"to_hf: {tried}", *parts, words=words, **more)


def strip(tried, *parts, source="bert", output, **more):
    words = ("strip", source, "--output", output)
    return case(f"strip: {tried}", *parts, words=words, **more)


def write_8_bit_floats():
    """Declares a tensor to be of a dtype that NumPy lacks."""
    content = Path(TENSORS).read_bytes()
    size = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:size])
    entry = header["bert.pooler.dense.bias"]
    entry |= {"dtype": "F8_E4M3", "shape": [512]}
    text = json.dumps(header).encode()
    written = len(text).to_bytes(8, "little") + text + content[size:]
    write(TENSORS, written)()


def from_other(tried, *parts, source="other", options=(), **more):
    words = ("from_other", source, *OUTPUT, *options)
    return case(f"from_other: {tried}", *parts, words=words, **more)


CASES = [
    case("no command", ("to_hf", "from_hf", "strip")),
    case("an unknown command", ("'strp'", "strip"), words=("strp", "bert")),
    case("no --output", "--output", words=("strip", "bert")),
    from_hf("no such folder", "hf"),
    from_hf("an empty folder", HF_CONFIG, folder("hf")),
    from_hf("the original's format", "bert/config.json", source="bert"),
    from_hf(
        "only PyTorch's format",
        ("hf/pytorch_model.bin", "pip install torch", "weights_only=True"),
        hugging_face(),
        move(TENSORS, "hf/pytorch_model.bin"),
    ),
    from_hf("half a config", HF_CONFIG, hugging_face(), cut(HF_CONFIG)),
    *[
        from_hf(
            f"{key}={value!r}", (HF_CONFIG, name), hugging_face(**{key: value})
        )
        for key, value, name in [
            ("model_type", "roberta", 'model_type="roberta"'),
            ("layer_norm_eps", 1e-5, "layer_norm_eps=1e-05"),
            ("hidden_act", "silu", "hidden_act='silu'"),
            ("hidden_size", "128", "hidden_size='128'"),
            ("num_hidden_layers", 2**31, "num_hidden_layers=2147483648"),
        ]
    ],
    *[
        from_hf(
            f"tokenizer_config.json with {settings}",
            ("hf/tokenizer_config.json", name, "--ignore_tokenizer_settings"),
            hugging_face(),
            write("hf/tokenizer_config.json", settings),
        )
        for settings, name in [
            ({"tokenize_chinese_chars": False}, "tokenize_chinese_chars=false"),
            (
                {"tokenizer_class": "BertJapaneseTokenizer"},
                'tokenizer_class="BertJapaneseTokenizer"',
            ),
        ]
    ],
    from_hf(
        "NaN in a tensor",
        (TENSORS, "bert/pooler/dense/bias", "NaN"),
        hf_tensors(bert__pooler__dense__bias=np.full(128, np.nan, np.float32)),
    ),
    from_hf("half the tensors", TENSORS, hugging_face(), cut(TENSORS)),
    from_hf(
        "an index of shards without tensors",
        (f"{TENSORS}.index.json", "weight_map"),
        hugging_face(),
        remove(TENSORS),
        write(f"{TENSORS}.index.json", {"metadata": {}}),
    ),
    from_hf(
        "8-bit floats",
        (TENSORS, "bert.pooler.dense.bias", "F8_E4M3"),
        hugging_face(),
        write_8_bit_floats,
    ),
    from_hf(
        "a missing tensor",
        ("hf", "bert/pooler/dense/bias"),
        hf_tensors(bert__pooler__dense__bias=None),
    ),
    from_hf(
        "a tensor that BERT does not have",
        ("hf", "bert.pooler.gate"),
        hf_tensors(bert__pooler__gate=np.zeros(1, np.float32)),
    ),
    from_hf(
        "a tensor of the wrong shape",
        ("hf", "bert.pooler.dense.bias", "[128]", "[64]"),
        hf_tensors(bert__pooler__dense__bias=np.zeros(64, np.float32)),
    ),
    *[
        from_hf(
            f"labels {labels}",
            (HF_CONFIG, "id2label"),
            weights(with_classes(2)),
            hugging_face(id2label=labels),
        )
        for labels in [
            {"good": 0, "bad": 1},
            ["good", "bad"],
            {"0": "good", "1": "good"},
        ]
    ],
    from_hf(
        "tokenizer_config.json is a list",
        "hf/tokenizer_config.json",
        hugging_face(),
        write("hf/tokenizer_config.json", []),
    ),
    from_hf(
        "no vocabulary",
        ("hf", "vocab.txt"),
        hugging_face(),
        remove("hf/vocab.txt"),
    ),
    *[
        from_hf(
            f"tokenizer.json of {model}",
            ("hf/tokenizer.json", name),
            hugging_face(),
            remove("hf/vocab.txt"),
            write("hf/tokenizer.json", {"model": model}),
        )
        for model, name in [
            ({"type": "BPE"}, "'BPE'"),
            ({"type": "WordPiece"}, "vocab"),
        ]
    ],
    from_hf(
        "the output exists",
        ("output/bert_model.ckpt.index", "--overwrite"),
        hugging_face(),
        write("output/bert_model.ckpt.index", "x"),
        leaves=("bert_model.ckpt.index",),
    ),
    from_other("nothing there", "other"),
    from_other("an empty folder", ("other", "keras-hub"), folder("other")),
    from_other("a Hugging Face folder", "from_hf", hugging_face(), source="hf"),
    from_other("the original's format", "original", source="bert"),
    from_other(
        "half an .h5 file",
        "other/x.h5",
        write("other/x.h5", b"\x89HDF\r\n\x1a\n"),
    ),
    from_other(
        "a preset of another model",
        ("other/config.json", "class_name=RobertaBackbone"),
        write(
            "other/config.json",
            {
                "registered_name": "keras_hub>RobertaBackbone",
                "class_name": "RobertaBackbone",
                "config": {},
            },
        ),
    ),
    from_other(
        "no boolean",
        "--do_lower_case",
        options=("--do_lower_case=x",),
    ),
    to_hf("no such checkpoint", "nowhere", source="nowhere"),
    to_hf("no config", CONFIG_FILE, remove(CONFIG_FILE)),
    to_hf(
        "a vocabulary of another length",
        (VOCAB_FILE, "694 lines"),
        append(VOCAB_FILE, "more\n"),
    ),
    to_hf(
        "a head that the checkpoint lacks",
        (PREFIX, "output_weights"),
        options=("--head", "classifier"),
    ),
    to_hf(
        "an activation that transformers lacks",
        "hidden_act='swish'",
        options=("--hidden_act", "swish"),
    ),
    to_hf(
        "a casing that contradicts the folder",
        (
            "--do_lower_case=false",
            "bert/bert_tf.json, which has do_lower_case=true",
            "--ignore_folder_settings",
        ),
        write("bert/bert_tf.json", {"do_lower_case": True}),
        options=("--do_lower_case", "false"),
    ),
    to_hf(
        "a damaged weight",
        (PREFIX, "bert/encoder/layer_0/intermediate/dense/kernel"),
        flip_byte(WEIGHTS, 900_000),
    ),
    to_hf("the output is a file", "output", write("output", "x")),
    to_hf(
        "a full disk",
        TENSORS.replace("hf", "output"),
        leaves=("config.json", "tokenizer_config.json", "vocab.txt"),
        largest_file=100_000,
    ),
    strip("onto its own folder", (INDEX, "--output"), output="bert"),
    strip("onto itself", (INDEX, "--output"), output=PREFIX),
    strip(
        "the output is a file", "output", write("output", "x"), output="output"
    ),
    case(
        "strip: onto itself with --overwrite",
        (INDEX, "--output"),
        words=("strip", "bert", "--output", PREFIX, "--overwrite"),
    ),
    case(
        "from_hf: onto its own vocabulary",
        ("hf/vocab.txt", "--output"),
        hugging_face(),
        words=("from_hf", "hf", "--output", "hf", "--overwrite"),
    ),
    case(
        "to_hf: onto the config that it reads",
        (HF_CONFIG, "--output", "--bert_config_file"),
        lambda: write(HF_CONFIG, Path(CONFIG_FILE).read_text())(),
        words=(
            *("to_hf", "bert", "--output", "hf", "--overwrite"),
            *("--bert_config_file", HF_CONFIG),
        ),
    ),
    strip(
        "only optimizer slots",
        ("slots/slots.ckpt", "weights"),
        weights(
            lambda values: {"bias/adam_m": np.zeros(1, np.float32)},
            "slots/slots.ckpt",
        ),
        source="slots/slots.ckpt",
        output="output/slots.ckpt",
    ),
    strip(
        "a full disk",
        "output/bert_model.ckpt",
        output="output/bert_model.ckpt",
        leaves=("bert_config.json", "vocab.txt"),
        largest_file=100_000,
    ),
]


@pytest.mark.parametrize("case", CASES)
def test_message_names_what_is_wrong(case):
    assert faults(case, run_case(case)) == []
