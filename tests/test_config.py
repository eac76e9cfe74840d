import json
import math
import re

import pytest
from helpers.golden import DATA

from bert_tf.errors import InputError
from bert_tf.modeling import BertConfig, BertModel

GOLDEN = json.loads((DATA / "config" / "config_cases.json").read_text())


@pytest.mark.parametrize("case", GOLDEN["cases"], ids=lambda case: case["desc"])
def test_dictionary_gives_the_originals_values_and_text(case):
    config = BertConfig.from_dict(case["input_dict"])

    assert config.to_dict() == case["effective"]
    assert config.to_json_string() == case["from_dict_to_json_string"]


def test_constructor_has_the_originals_defaults():
    config = BertConfig(GOLDEN["constructor_vocab_size"])

    assert config.to_json_string() == GOLDEN["constructor_to_json_string"]


def test_constructor_takes_arguments_in_the_originals_order():
    config = BertConfig(9, 8, 7, 4, 5, "relu", 0.3, 0.2, 11, 3, 0.1)

    assert config.to_dict() == {
        "vocab_size": 9,
        "hidden_size": 8,
        "num_hidden_layers": 7,
        "num_attention_heads": 4,
        "intermediate_size": 5,
        "hidden_act": "relu",
        "hidden_dropout_prob": 0.3,
        "attention_probs_dropout_prob": 0.2,
        "max_position_embeddings": 11,
        "type_vocab_size": 3,
        "initializer_range": 0.1,
    }


def test_unknown_keys_survive_file_and_model(tmp_path):
    text = GOLDEN["cases"][3]["from_dict_to_json_string"]
    assert "pooler_type" in text
    path = tmp_path / "bert_config.json"
    path.write_text(text)

    config = BertConfig.from_json_file(path)

    assert config.pooler_type == "first_token_transform"
    assert config.to_json_string() == text


def test_model_keeps_unknown_keys(config):
    config.pooler_fc_size = 768

    model = BertModel.from_config(BertModel(config).get_config())

    assert model.config.to_dict() == config.to_dict()


def test_to_dict_is_a_copy(config):
    config.extra = [1]
    config.to_dict()["extra"].append(2)
    assert config.extra == [1]


# The original's config takes all of these; building a model, or a training run
# without a number in it, then fails.
@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("vocab_size", 0),
        ("vocab_size", -3),
        ("vocab_size", "30522"),
        ("hidden_size", -768),
        ("hidden_size", "768"),
        ("hidden_size", 768.0),
        ("hidden_size", None),
        ("num_hidden_layers", True),
        ("num_hidden_layers", 0),
        ("num_attention_heads", 0),
        ("num_attention_heads", 2.5),
        ("intermediate_size", None),
        ("max_position_embeddings", [512]),
        ("type_vocab_size", -1),
        ("type_vocab_size", 0),
        ("hidden_dropout_prob", 1.5),
        ("hidden_dropout_prob", 1),
        ("hidden_dropout_prob", "0.1"),
        ("attention_probs_dropout_prob", -0.1),
        ("attention_probs_dropout_prob", True),
        ("initializer_range", "0.02"),
        ("initializer_range", -0.02),
        ("initializer_range", None),
        ("initializer_range", math.nan),
        ("initializer_range", math.inf),
        ("hidden_act", "swish"),
        ("hidden_act", 3),
    ],
)
def test_bad_value_is_refused_by_file_key_and_value(tmp_path, key, value):
    path = tmp_path / "bert_config.json"
    path.write_text(json.dumps({"vocab_size": 10, key: value}))

    received = re.escape(f"{key}={value!r}")
    message = f"{re.escape(str(path))}.*`{key}` must be .*{received}"
    with pytest.raises(InputError, match=message):
        BertConfig.from_json_file(path)


def test_hidden_size_that_heads_do_not_divide_is_refused():
    with pytest.raises(InputError, match=r"hidden_size=8, .*_heads=3"):
        BertConfig(10, hidden_size=8, num_attention_heads=3)


def test_no_dropout_may_be_written_as_null_or_0():
    for nothing in (None, 0, 0.0):
        config = BertConfig(
            10,
            hidden_dropout_prob=nothing,
            attention_probs_dropout_prob=nothing,
        )
        assert config.hidden_dropout_prob == nothing


def test_unknown_activation_lists_the_known_ones():
    with pytest.raises(InputError, match=r"gelu.*linear.*relu.*tanh.*'swish'"):
        BertConfig(10, hidden_act="swish")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "Expecting value"),
        (b'{"vocab_size": 10', "delimiter"),
        (b"vocab_size: 10", "Expecting value"),
        (b"[10, 768]", "holds a list, not an object"),
        (b'"gelu"', "holds a str, not an object"),
        (b"null", "holds a NoneType, not an object"),
        (b'{"hidden_act": "gel\xff"}', "can't decode byte 0xff"),
        (b"\xef\xbb\xbf{}", "BOM"),
    ],
)
def test_file_that_is_no_config_is_named(tmp_path, content, message):
    path = tmp_path / "bert_config.json"
    path.write_bytes(content)

    message = f"{re.escape(str(path))} is not a valid BERT config: .*{message}"
    with pytest.raises(InputError, match=message):
        BertConfig.from_json_file(path)


def test_missing_file_is_named(tmp_path):
    path = tmp_path / "nowhere.json"
    with pytest.raises(InputError, match=r"cannot be read: .*nowhere\.json"):
        BertConfig.from_json_file(path)


def test_folder_instead_of_file_is_named(tmp_path):
    with pytest.raises(InputError, match=f"cannot be read: {tmp_path}"):
        BertConfig.from_json_file(tmp_path)


def test_model_without_a_vocabulary_size_is_refused():
    config = BertConfig.from_dict({"hidden_size": 24, "num_attention_heads": 2})
    with pytest.raises(InputError, match="vocab_size"):
        BertModel(config)


@pytest.mark.shared
def test_released_configs_survive_a_round_trip(shared_folder):
    paths = sorted(shared_folder.glob("data/configs/*/bert_config.json"))
    assert len(paths) == 11
    for path in paths:
        released = json.loads(path.read_text())
        written = BertConfig.from_json_file(path).to_json_string()
        assert json.loads(written) == released
