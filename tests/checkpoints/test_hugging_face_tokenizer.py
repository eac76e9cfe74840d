import json

import pytest
from helpers.hugging_face import edit_json

from bert_tf.checkpoints.hugging_face_tokenizer import read_tokenizer
from bert_tf.errors import InputError
from bert_tf.modeling import BertConfig

TOKENS = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    "the",
    "a",
    "cat",
    "dog",
    "##s",
    "##ed",
    "jump",
]
CONFIG = BertConfig(len(TOKENS), max_position_embeddings=16)


def bert_json(tokens=TOKENS, **changes):
    def special(name, segment):
        return {"SpecialToken": {"id": name, "type_id": segment}}

    def text(name, segment):
        return {"Sequence": {"id": name, "type_id": segment}}

    single = [special("[CLS]", 0), text("A", 0), special("[SEP]", 0)]
    return {
        "added_tokens": [],
        "normalizer": {
            "type": "BertNormalizer",
            "clean_text": True,
            "handle_chinese_chars": True,
            "strip_accents": None,
            "lowercase": True,
        },
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": single,
            "pair": [*single, text("B", 1), special("[SEP]", 1)],
        },
        "model": {
            "type": "WordPiece",
            "unk_token": "[UNK]",
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100,
            "vocab": {token: place for place, token in enumerate(tokens)},
        },
        **changes,
    }


def put(folder, name, value):
    text = value if isinstance(value, str) else json.dumps(value)
    (folder / name).write_text(text, encoding="utf-8")


@pytest.fixture
def folder(tmp_path):
    put(tmp_path, "vocab.txt", "\n".join(TOKENS) + "\n")
    return tmp_path


@pytest.fixture
def fast(tmp_path):
    put(tmp_path, "tokenizer.json", bert_json())
    return tmp_path


@pytest.mark.parametrize(
    "settings",
    [
        {"strip_accents": None, "do_lower_case": False},
        {"strip_accents": False, "do_lower_case": False},
        {"strip_accents": True, "do_lower_case": True},
        {"strip_accents": False},
        {"strip_accents": True, "do_lower_case": False},
        {"tokenizer_class": "BertTokenizerFast", "never_split": None},
        {"tokenizer_class": "DistilBertTokenizer", "never_split": ["[MASK]"]},
        {"do_basic_tokenize": True, "wordpieces_prefix": "##"},
        {"tokenize_chinese_chars": True, "padding_side": "right"},
    ],
)
def test_settings_of_bert_are_taken(settings, folder):
    put(folder, "tokenizer_config.json", settings)
    got = read_tokenizer(folder, CONFIG)
    assert got.vocab == TOKENS
    assert got.do_lower_case == settings.get("do_lower_case", True)
    assert got.strip_accents is settings.get("strip_accents")


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"tokenize_chinese_chars": False}, "tokenize_chinese_chars=false"),
        ({"do_basic_tokenize": False}, "do_basic_tokenize=false"),
        ({"never_split": ["New York"]}, r"never_split=\[.New York"),
        ({"wordpieces_prefix": "@@"}, 'wordpieces_prefix="@@"'),
        ({"do_word_tokenize": False}, "do_word_tokenize=false"),
        ({"padding_side": "left"}, 'padding_side="left"'),
        ({"truncation_side": "left"}, 'truncation_side="left"'),
        ({"tokenizer_class": "XLNetTokenizer"}, 'class="XLNetTokenizer"'),
        ({"tokenizer_class": "PreTrainedTokenizerFast"}, "PreTrained"),
        ({"auto_map": {"AutoTokenizer": "x.Y"}}, "auto_map="),
        ({"cls_token": "<s>"}, 'cls_token="<s>", .*no such token'),
        ({"cls_token": "[SEP]"}, r'cls_token="\[SEP\]", .*of its own'),
    ],
)
def test_other_settings_are_named_or_ignored(settings, named, folder):
    put(folder, "tokenizer_config.json", settings)
    with pytest.raises(InputError, match=f"_config.json has .*{named}.*--ign"):
        read_tokenizer(folder, CONFIG)
    got = read_tokenizer(folder, CONFIG, ignore_settings=True)
    assert got.vocab == TOKENS
    assert "Ignored: " in got.notes[-1]


@pytest.mark.parametrize("lowers", [True, False])
def test_casing_is_that_of_tokenizer_json(lowers, fast):
    content = bert_json()
    content["normalizer"]["lowercase"] = lowers
    put(fast, "tokenizer.json", content)
    got = read_tokenizer(fast, CONFIG)
    assert (got.do_lower_case, got.vocab) == (lowers, TOKENS)
    assert not any("casing" in note for note in got.notes)
    put(fast, "tokenizer_config.json", {"do_lower_case": not lowers})
    with pytest.raises(InputError, match=r"lowercase=.*states the contrary"):
        read_tokenizer(fast, CONFIG)
    got = read_tokenizer(fast, CONFIG, ignore_settings=True)
    assert got.do_lower_case is not lowers


@pytest.mark.parametrize("strips", [True, False])
def test_accents_are_those_of_tokenizer_json(strips, fast):
    content = bert_json()
    content["normalizer"]["strip_accents"] = strips
    put(fast, "tokenizer.json", content)
    assert read_tokenizer(fast, CONFIG).strip_accents is strips
    put(fast, "tokenizer_config.json", {"strip_accents": not strips})
    with pytest.raises(InputError, match=r"strip_accents=.*the contrary"):
        read_tokenizer(fast, CONFIG)


def test_a_guess_of_the_casing_is_said(folder):
    got = read_tokenizer(folder, CONFIG)
    assert got.do_lower_case
    assert "casing" in got.notes[0]


@pytest.mark.parametrize(
    ("part", "changes", "named"),
    [
        ("normalizer", {"handle_chinese_chars": False}, "chinese_chars=false"),
        ("normalizer", {"clean_text": False}, "clean_text=false"),
        ("normalizer", {"type": "NFKC"}, 'normalizer="NFKC"'),
        ("normalizer", None, "normalizer=null"),
        (
            "normalizer",
            {"type": "Sequence", "normalizers": [{"type": "NFD"}, {}]},
            "normalizer=.*Sequence of .*NFD",
        ),
        ("pre_tokenizer", {"type": "Whitespace"}, 'izer="Whitespace"'),
        ("pre_tokenizer", None, "pre_tokenizer=null"),
        ("post_processor", None, "post_processor=null"),
        ("post_processor", {"type": "RobertaProcessing"}, '"RobertaProc'),
        ("post_processor", {"single": []}, "post_processor="),
        ("model", {"continuing_subword_prefix": "@@"}, 'prefix="@@"'),
        ("model", {"max_input_chars_per_word": 10}, "per_word=10"),
        ("model", {"unk_token": "<unk>"}, 'unk_token="<unk>"'),
    ],
)
def test_other_tokenizer_files_are_named(part, changes, named, fast):
    content = bert_json()
    content[part] = None if changes is None else content[part] | changes
    put(fast, "tokenizer.json", content)
    with pytest.raises(InputError, match=f"tokenizer.json has .*{named}"):
        read_tokenizer(fast, CONFIG)
    read_tokenizer(fast, CONFIG, ignore_settings=True)


def test_parts_alone_in_a_sequence_are_understood(fast):
    content = bert_json()
    content["normalizer"] = {
        "type": "Sequence",
        "normalizers": [content["normalizer"]],
    }
    content["pre_tokenizer"] = {
        "type": "Sequence",
        "pretokenizers": [content["pre_tokenizer"]],
    }
    put(fast, "tokenizer.json", content)
    assert read_tokenizer(fast, CONFIG).vocab == TOKENS


def test_vocabularies_of_two_files_must_agree(folder):
    put(folder, "tokenizer.json", bert_json([*TOKENS[:-1], "jumps"]))
    with pytest.raises(InputError, match=r"vocab\['jumps'\].*txt lacks it"):
        read_tokenizer(folder, CONFIG)
    put(folder, "tokenizer.json", bert_json())
    assert read_tokenizer(folder, CONFIG).vocab == TOKENS


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("added_tokens.json", {"[E1]": 13, "[/E1]": 12}),
        (
            "tokenizer_config.json",
            {
                "added_tokens_decoder": {
                    "12": {"content": "[/E1]"},
                    "13": {"content": "[E1]"},
                }
            },
        ),
    ],
)
def test_added_tokens_keep_their_text_and_are_said(name, content, folder):
    put(folder, name, content)
    config = BertConfig(15)
    got = read_tokenizer(folder, config)
    assert got.vocab == [*TOKENS, "[/E1]", "[E1]", "[unused_14]"]
    assert any("added tokens" in n and "'[E1]'" in n for n in got.notes)
    with pytest.raises(InputError, match=r"\[E1\]=13, .*only 13 embeddings"):
        read_tokenizer(folder, BertConfig(13))


@pytest.mark.parametrize(
    "added",
    [{"cow": 7}, {"cat": 12}, {"cow": "x"}, {"co\nw": 12}, {"cow": [1]}],
)
def test_added_tokens_must_fit_the_vocabulary(added, folder):
    put(folder, "added_tokens.json", added)
    with pytest.raises(InputError, match=r"added_tokens\.json"):
        read_tokenizer(folder, BertConfig(15))


@pytest.mark.parametrize("as_object", [False, True])
def test_special_tokens_get_the_names_of_bert(as_object, folder):
    tokens = ["<pad>", "<unk>", "<s>", "</s>", "<mask>", *TOKENS[5:]]
    put(folder, "vocab.txt", "\n".join(tokens))
    keys = ("pad_token", "unk_token", "cls_token", "sep_token", "mask_token")
    special = {
        key: {"content": token} if as_object else token
        for key, token in zip(keys, tokens)
    }
    put(folder, "special_tokens_map.json", special)
    got = read_tokenizer(folder, CONFIG)
    assert got.vocab == TOKENS
    assert any("cls_token is '<s>'" in note for note in got.notes)


def test_a_special_token_changes_places_with_the_one_of_its_name(folder):
    put(folder, "special_tokens_map.json", {"cls_token": "cat"})
    got = read_tokenizer(folder, CONFIG)
    assert (got.vocab[7], got.vocab[2]) == ("[CLS]", "cat")
    put(folder, "tokenizer_config.json", {"cls_token": "dog"})
    with pytest.raises(InputError, match=r'map.json has cls_token="cat", but'):
        read_tokenizer(folder, CONFIG)


def test_a_shorter_tokenizer_than_positions_is_said(folder):
    put(folder, "tokenizer_config.json", {"model_max_length": 8})
    got = read_tokenizer(folder, CONFIG)
    assert "at 8 tokens" in got.notes[-1]
    assert got.max_seq_length == 8


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("tokenizer_config.json", {"do_lower_case": "yes"}),
        ("tokenizer_config.json", {"strip_accents": 1}),
        ("tokenizer_config.json", {"added_tokens_decoder": {"a": {}}}),
        ("tokenizer_config.json", {"added_tokens_decoder": [1]}),
        ("tokenizer.json", {"added_tokens": [{"id": 1}]}),
        ("tokenizer.json", {"added_tokens": 3}),
        ("special_tokens_map.json", "["),
        ("added_tokens.json", []),
    ],
)
def test_damaged_files_are_named(name, content, folder):
    put(folder, name, content)
    with pytest.raises(InputError, match=name):
        read_tokenizer(folder, CONFIG)


def test_the_class_in_the_config_counts_too(folder):
    with pytest.raises(InputError, match=r"config\.json has tokenizer_class"):
        read_tokenizer(folder, CONFIG, "BertJapaneseTokenizer")


def test_a_general_class_does_what_its_file_says(fast):
    put(fast, "tokenizer_config.json", {})
    edit_json(
        fast / "tokenizer_config.json",
        tokenizer_class="PreTrainedTokenizerFast",
    )
    assert read_tokenizer(fast, CONFIG).vocab == TOKENS
