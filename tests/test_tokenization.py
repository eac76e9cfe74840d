"""Tokens, ids and offsets, against what the original wrote."""

import concurrent.futures
import copy
import gzip
import hashlib
import json
import logging
import pickle
import random
import string
import subprocess
import sys
import unicodedata

import pytest
from helpers.tokenization_golden import (
    CASES,
    RUNNING_TEXTS,
    SCALAR_VALUES,
    exceptions_by_code_point,
    random_text,
    read,
    texts,
)

from bert_tf import tokenization
from bert_tf.errors import InputError
from bert_tf.tokenization import (
    BasicTokenizer,
    FullTokenizer,
    UnknownTokenError,
    WordpieceTokenizer,
    load_vocab,
)


@pytest.fixture
def write_vocab(tmp_path):
    def write(content):
        path = tmp_path / "vocab.txt"
        path.write_bytes(content)
        return path

    return write


def text_tokens(text, do_lower_case=True, strip_accents=None):
    return BasicTokenizer(do_lower_case, strip_accents).tokenize(text)


def check_wordpiece_golden(rows, vocab_file):
    """Tokens, ids and tokens with offsets, for both casings."""
    golden = {row["i"]: row for row in rows}
    for case, do_lower_case in CASES.items():
        tokenizer = FullTokenizer(vocab_file, do_lower_case)
        for row in texts():
            want, text = golden[row["i"]], row["text"]
            tokens = tokenizer.tokenize(text)
            assert tokens == want[f"tokens_{case}"], text
            ids = tokenizer.convert_tokens_to_ids(tokens)
            assert ids == want[f"ids_{case}"], text
            pieces = tokenizer.tokenize_with_offsets(text)
            assert [piece.token for piece in pieces] == tokens, text


# Tokens, against the original's.


def test_most_golden_strings_can_be_compared():
    assert len(texts()) > 3000


@pytest.mark.parametrize("case", CASES)
def test_basic_tokens_are_the_originals(case):
    tokenizer = BasicTokenizer(CASES[case])
    for row in texts():
        assert tokenizer.tokenize(row["text"]) == row[f"basic_{case}"]


@pytest.mark.parametrize("vocab", ["tiny", "uncased"])
def test_pieces_and_ids_are_the_originals(vocab, vocab_files):
    check_wordpiece_golden(
        read(f"wordpiece_{vocab}.jsonl"), vocab_files / vocab
    )


def check_code_points(case, codes):
    exceptions = exceptions_by_code_point(unicodedata.unidata_version, case)
    tokenizer = BasicTokenizer(CASES[case])
    for begin in range(0, len(codes), 256):
        block = codes[begin : begin + 256]
        want = []
        for code in block:
            want += exceptions.get(code) or [f"a{chr(code)}b"]
        got = tokenizer.tokenize(" ".join(f"a{chr(code)}b" for code in block))
        assert got == want, f"between U+{block[0]:04X} and U+{block[-1]:04X}"


@pytest.mark.parametrize("case", CASES)
def test_every_assigned_character_gives_the_originals_tokens(case):
    def is_assigned(code):
        return unicodedata.category(chr(code)) not in ("Cn", "Co")

    codes = [c for c in SCALAR_VALUES if c % 64 == 0 or is_assigned(c)]
    assert len(codes) > 140_000
    check_code_points(case, codes)


@pytest.mark.exhaustive
@pytest.mark.parametrize("case", CASES)
def test_every_unicode_scalar_value_gives_the_originals_tokens(case):
    assert len(SCALAR_VALUES) == 1_112_064
    check_code_points(case, SCALAR_VALUES)


def test_ascii_punctuation_is_what_python_calls_so():
    ascii_characters = map(chr, range(128))
    found = filter(tokenization.is_punctuation, ascii_characters)
    assert set(found) == set(string.punctuation)


def test_bytes_are_decoded_as_the_original_does(vocab_files):
    full = FullTokenizer(vocab_files / "uncased")
    for want in read("special_inputs.json")["bytes"]:
        text = bytes.fromhex(want["bytes_hex"])
        unicode = want["convert_to_unicode"]
        assert tokenization.convert_to_unicode(text) == unicode
        assert tokenization.printable_text(text) == want["printable_text"]
        assert text_tokens(text) == want["basic_lower"]
        assert full.tokenize(text) == want["uncased_tokens"]
        offsets = full.tokenize_with_offsets(text)
        assert offsets == full.tokenize_with_offsets(unicode)


def test_lone_surrogates_give_the_originals_tokens(vocab_files):
    full = FullTokenizer(vocab_files / "uncased")
    for want in read("special_inputs.json")["lone_surrogates"]:
        assert text_tokens(want["text"]) == want["basic_lower"]
        assert text_tokens(want["text"], False) == want["basic_cased"]
        assert full.tokenize(want["text"]) == want["uncased_tokens"]


def test_wordpiece_alone_gives_the_originals_tokens(vocab_files):
    vocab = load_vocab(vocab_files / "tiny")
    for want in read("special_inputs.json")["wordpiece_only"]:
        for tokenizer, key in (
            (WordpieceTokenizer(vocab), "tokens"),
            (WordpieceTokenizer(vocab, "[X]", 5), "tokens_max5_unk"),
        ):
            assert tokenizer.tokenize(want["text"]) == want[key]


def test_wordpiece_takes_any_container_of_tokens():
    assert WordpieceTokenizer({"un", "##able"}).tokenize("unable unx") == [
        "un",
        "##able",
        "[UNK]",
    ]
    assert WordpieceTokenizer({}).tokenize("a") == ["[UNK]"]


def test_word_of_200_characters_is_split_and_of_201_unknown():
    tokenizer = WordpieceTokenizer({"x": 0, "##x": 1})
    assert len(tokenizer.tokenize("x" * 200)) == 200
    assert tokenizer.tokenize("x" * 201) == ["[UNK]"]


@pytest.mark.parametrize(
    "text, strip_accents, tokens",
    [
        ("Café İ ΑΣ", None, ["cafe", "i", "ας"]),
        ("Café İ ΑΣ", True, ["cafe", "i", "ας"]),
        ("Café İ ΑΣ", False, ["café", "i̇", "ας"]),
    ],
)
def test_accents_when_lower_casing(text, strip_accents, tokens):
    assert text_tokens(text, True, strip_accents) == tokens


@pytest.mark.parametrize(
    "text, strip_accents, tokens",
    [
        ("Café İ ΑΣ", None, ["Café", "İ", "ΑΣ"]),
        ("Café İ ΑΣ", False, ["Café", "İ", "ΑΣ"]),
        ("Café İ ΑΣ", True, ["Cafe", "I", "ΑΣ"]),
        ("Ångström's naïveté", True, ["Angstrom", "'", "s", "naivete"]),
    ],
)
def test_accents_when_keeping_the_case(text, strip_accents, tokens):
    assert text_tokens(text, False, strip_accents) == tokens


def test_full_tokenizer_strips_accents_apart_from_the_case(write_vocab):
    vocab = write_vocab("[UNK]\nCafe\ncafé\ncafe\n".encode())
    got = {
        (lower, strip): FullTokenizer(vocab, lower, strip).tokenize("Café")
        for lower in (True, False)
        for strip in (None, True, False)
    }
    assert got == {
        (True, None): ["cafe"],
        (True, True): ["cafe"],
        (True, False): ["café"],
        (False, None): ["[UNK]"],
        (False, True): ["Cafe"],
        (False, False): ["[UNK]"],
    }


# Offsets.


@pytest.fixture
def small_vocab(write_vocab):
    """One file of the pieces that the offset tables need."""
    pieces = """[UNK] hello world , ! . - = a b c ab ##b ##c cafe i οδος
        北 京 豈 ᄒ ##ᅡ ##ᆫ글 I ##é e ##e"""
    return write_vocab("\n".join(pieces.split()).encode())


@pytest.mark.parametrize(
    "text, parts",
    [
        ("Hello, World", [("hello", "Hello"), (",", ","), ("world", "World")]),
        ("  a\t\n b ", [("a", "a"), ("b", "b")]),
        ("Caf\u00e9!", [("cafe", "Caf\u00e9"), ("!", "!")]),
        ("Cafe\u0301!", [("cafe", "Cafe\u0301"), ("!", "!")]),
        ("Cafe\xad\u0301!", [("cafe", "Cafe\xad\u0301"), ("!", "!")]),
        ("\u0301a", [("a", "a")]),
        ("ab\u0301c", [("ab", "ab\u0301"), ("##c", "c")]),
        ("\u0130b", [("i", "\u0130"), ("##b", "b")]),
        ("ΟΔΟΣ.", [("οδος", "ΟΔΟΣ"), (".", ".")]),
        (
            "\ud55c\uae00",  # Two syllables of three jamo each.
            [
                ("\u1112", "\ud55c"),
                ("##\u1161", "\ud55c"),
                ("##\u11ab\u1100\u1173\u11af", "\ud55c\uae00"),
            ],
        ),
        ("北京a", [("北", "北"), ("京", "京"), ("a", "a")]),
        ("\uf900b", [("\u8c48", "\uf900"), ("b", "b")]),
        ("a\u200bb\u200b", [("ab", "a\u200bb")]),
        ("\ufffda\x0bb\0c", [("ab", "a\x0bb"), ("##c", "c")]),
        ("ab\xa0qq\u3000a", [("ab", "ab"), ("[UNK]", "qq"), ("a", "a")]),
        ("qqe\u0301-a", [("[UNK]", "qqe\u0301"), ("-", "-"), ("a", "a")]),
        ("a\u2260b", [("a", "a"), ("=", "\u2260"), ("b", "b")]),
        ("\U0001f600a", [("[UNK]", "\U0001f600a")]),
        ("\u200b \u0301", []),
    ],
)
def test_offsets_point_at_the_characters_of_the_text(text, parts, small_vocab):
    pieces = FullTokenizer(small_vocab).tokenize_with_offsets(text)
    got = [(token, text[start:end]) for token, start, end in pieces]
    assert got == parts


@pytest.mark.parametrize(
    "lower, strip, parts",
    [
        (True, True, [("i", "\u0130"), ("##e", "\u00e9"), ("e", "e\u0301")]),
        (True, False, [("[UNK]", "\u0130\u00e9"), ("[UNK]", "e\u0301")]),
        (False, True, [("I", "\u0130"), ("##e", "\u00e9"), ("e", "e\u0301")]),
        (False, False, [("[UNK]", "\u0130\u00e9"), ("[UNK]", "e\u0301")]),
    ],
)
def test_offsets_follow_both_settings(lower, strip, parts, small_vocab):
    text = "\u0130\u00e9 e\u0301"
    tokenizer = FullTokenizer(small_vocab, lower, strip)
    pieces = tokenizer.tokenize_with_offsets(text)
    got = [(token, text[start:end]) for token, start, end in pieces]
    assert got == parts


def test_character_that_becomes_two_gives_both_its_span():
    tokenizer = BasicTokenizer(True, False)
    assert list(tokenizer.align("x \u0130y")) == [
        ("x", range(0, 1), range(1, 2)),
        ("i\u0307y", [2, 2, 3], [3, 3, 4]),
    ]


@pytest.mark.parametrize("case", CASES)
def test_spans_stay_in_order_and_inside_the_text(case, vocab_files):
    tokenizer = FullTokenizer(vocab_files / "tiny", CASES[case])
    for row in texts():
        start = end = 0
        for piece in tokenizer.tokenize_with_offsets(row["text"]):
            assert start <= piece.start < piece.end <= len(row["text"])
            assert end <= piece.end
            start, end = piece.start, piece.end


@pytest.mark.parametrize("lower", [True, False])
@pytest.mark.parametrize("strip", [True, False])
def test_the_text_of_a_span_gives_the_token_again(lower, strip):
    tokenizer = BasicTokenizer(lower, strip)
    for row in texts():
        for token, starts, ends in tokenizer.align(row["text"]):
            part = row["text"][starts[0] : ends[-1]]
            got = "".join(tokenizer.tokenize(part))
            # Only a sigma's form depends on what stands around the span.
            assert got.replace("ς", "σ") == token.replace("ς", "σ")
            assert len(starts) == len(ends) == len(token)


@pytest.mark.parametrize("lower", [True, False])
@pytest.mark.parametrize("strip", [None, True, False])
def test_tokens_with_offsets_are_those_without(lower, strip, vocab_files):
    generator = random.Random(20181011)
    tokenizer = FullTokenizer(vocab_files / "uncased", lower, strip)
    for _ in range(2000):
        text = random_text(generator)
        pieces = tokenizer.tokenize_with_offsets(text)
        assert [piece.token for piece in pieces] == tokenizer.tokenize(text)


# Vocabularies, ids and the case check.


def test_vocabulary_files_are_read_as_the_original_does(write_vocab):
    for want in read("special_inputs.json")["load_vocab"]:
        path = write_vocab(bytes.fromhex(want["file_hex"]))
        vocab = load_vocab(str(path))
        assert list(map(list, vocab.items())) == want["ordered_items"]
        inverse = FullTokenizer(path).inv_vocab
        assert sorted(inverse.items()) == list(map(tuple, want["inverse"]))


def test_odd_lines_of_a_vocabulary_are_logged(write_vocab, caplog):
    path = write_vocab("\ufeffa\n\nb\nc\nb\n \n\u2028\n".encode())
    load_vocab(path)
    assert [record.getMessage() for record in caplog.records] == [
        f"{path}: line 1 starts with a byte-order mark (lines of this kind: 1)",
        f"{path}: line 2 is blank (lines of this kind: 2)",
        f"{path}: line 3 has a token that is repeated later "
        "(lines of this kind: 1)",
    ]


def test_good_vocabulary_is_read_without_a_word(vocab_files, caplog):
    caplog.set_level(logging.DEBUG)
    assert len(load_vocab(vocab_files / "uncased")) == 30522
    assert not caplog.records


@pytest.mark.parametrize("path", ["missing.txt", ".", None, 3, "a\0b"])
def test_unreadable_vocabulary_is_an_error_that_names_it(path):
    with pytest.raises(InputError) as error:
        FullTokenizer(path)
    assert f"vocab_file={path!r}" in str(error.value)


def test_vocabulary_that_is_not_utf8_is_an_error_with_its_line(write_vocab):
    path = write_vocab(b"a\nb\ncaf\xe9\nd\n")
    with pytest.raises(InputError, match=r"vocab.txt, line 3: .*UTF-8.*0xe9"):
        load_vocab(path)


def test_tokens_become_ids_and_tokens_again(vocab_files):
    tokenizer = FullTokenizer(vocab_files / "uncased")
    tokens = ["[CLS]", "hello", "##s", "[SEP]"]
    ids = tokenizer.convert_tokens_to_ids(tokens)
    assert ids == [101, 7592, 2015, 102]
    assert tokenizer.convert_ids_to_tokens(ids) == tokens
    vocab, inverse = tokenizer.vocab, tokenizer.inv_vocab
    assert tokenization.convert_tokens_to_ids(vocab, iter(tokens)) == ids
    assert tokenization.convert_ids_to_tokens(inverse, ids) == tokens


def test_unknown_token_or_id_is_a_key_error_that_explains(vocab_files):
    tokenizer = FullTokenizer(vocab_files / "tiny")
    for convert, unknown in (
        (tokenizer.convert_tokens_to_ids, "no such token"),
        (tokenizer.convert_ids_to_tokens, 1027),
    ):
        with pytest.raises(UnknownTokenError) as error:
            convert([unknown])
        assert isinstance(error.value, KeyError)
        assert isinstance(error.value, InputError)
        message = str(error.value)
        assert message.startswith("Every item must be one of the 1027")
        assert str(vocab_files / "tiny") in message
        assert f"Received: {unknown!r}." in message


def test_text_of_another_type_is_refused():
    for want in read("special_inputs.json")["type_errors"]:
        assert want["error"][0] == "ValueError"
    for value in (None, 5, 1.5, ["a"]):
        for function in (
            tokenization.convert_to_unicode,
            tokenization.printable_text,
            BasicTokenizer().tokenize,
            BasicTokenizer().align,
            WordpieceTokenizer({}).tokenize,
        ):
            with pytest.raises(InputError, match="must be str or bytes"):
                list(function(value))


def test_strip_accents_of_another_kind_is_refused():
    with pytest.raises(InputError, match=r"True, False or None.*'yes'"):
        BasicTokenizer(strip_accents="yes")


def test_case_check_refuses_what_the_original_refused():
    for want in read("special_inputs.json")["validate_case_matches_checkpoint"]:
        flags = want["do_lower_case"], want["init_checkpoint"]
        if want["error"] is None:
            tokenization.validate_case_matches_checkpoint(*flags)
            continue
        with pytest.raises(InputError) as error:
            tokenization.validate_case_matches_checkpoint(*flags)
        assert f"--do_lower_case={not flags[0]}, as" in str(error.value)
        assert f"--init_checkpoint={flags[1]}" in str(error.value)


def test_whitespace_tokenize_splits_at_whitespace_of_any_kind():
    assert tokenization.whitespace_tokenize(" \t\n ") == []
    text = "a\xa0b\u2028c  d\x1ce "
    assert tokenization.whitespace_tokenize(text) == ["a", "b", "c", "d", "e"]


def test_separators_are_the_whitespace_that_is_not_control():
    for code in range(sys.maxunicode + 1):
        char = chr(code)
        control = unicodedata.category(char) in ("Cc", "Cf")
        separates = char.isspace() and (char in "\t\n\r" or not control)
        assert separates == (not tokenization.WORD.match(char)), hex(code)


# The cache.


@pytest.fixture
def small_cache(monkeypatch):
    monkeypatch.setattr(tokenization.WordCache, "MOST_WORDS", 10)
    monkeypatch.setattr(tokenization.WordCache, "LONGEST_WORD", 5)


def test_cache_is_bounded_and_stays_right(small_cache):
    tokenizer = BasicTokenizer()
    generator = random.Random(1)
    for _ in range(1000):
        number = generator.randint(0, 99)
        assert tokenizer.tokenize(f"É{number}x") == [f"e{number}x"]
    cache = tokenizer._cache
    assert 0 < len(cache) <= 10
    assert 0 < len(cache.older) <= 10


def test_long_words_are_not_kept(small_cache):
    tokenizer = BasicTokenizer()
    assert tokenizer.tokenize("ééééé éééééé") == ["eeeee", "eeeeee"]
    assert list(tokenizer._cache) == ["ééééé"]


def test_changing_a_result_does_not_change_later_ones(vocab_files):
    tokenizer = FullTokenizer(vocab_files / "tiny")
    tokens = tokenizer.tokenize("running")
    want = list(tokens)
    tokens.append("changed")
    assert tokenizer.tokenize("running") == want


def test_changed_setting_takes_effect_on_words_already_split():
    basic = BasicTokenizer(True)
    assert basic.tokenize("É") == ["e"]
    basic.strip_accents = False
    assert basic.tokenize("É") == ["é"]
    basic.do_lower_case = False
    assert basic.tokenize("É") == ["É"]
    wordpiece = WordpieceTokenizer({"a": 0, "##b": 1})
    assert wordpiece.tokenize("abb") == ["a", "##b", "##b"]
    wordpiece.max_input_chars_per_word = 2
    assert wordpiece.tokenize("abb") == ["[UNK]"]
    wordpiece.unk_token = "?"
    assert wordpiece.tokenize("abb") == ["?"]
    wordpiece.max_input_chars_per_word = 200
    wordpiece.vocab = {"abbbbbb": 0}
    assert wordpiece.tokenize("abbbbbb") == ["abbbbbb"]
    assert list(wordpiece.find_ids(["abbbbbb"])) == [0]
    wordpiece.vocab = {"abbbbbb": 7}
    assert list(wordpiece.find_ids(["abbbbbb"])) == [7]


def test_ids_of_words_are_the_places_of_their_pieces_in_the_vocabulary():
    wordpiece = WordpieceTokenizer({"[UNK]": 4, "a": 8, "##b": 5})
    words = ["ab", "a", "x", "ab"]
    assert list(wordpiece.find_ids(words)) == [8, 5, 8, 4, 8, 5]
    wordpiece.unk_token = "?"
    with pytest.raises(InputError, match=r"Received: '\?'"):
        list(wordpiece.find_ids(["x"]))


def test_own_basic_tokenizer_may_be_put_in(vocab_files):
    class AtCommas:
        def tokenize(self, text):
            return text.split(",")

    tokenizer = FullTokenizer(vocab_files / "tiny")
    want = tokenizer.tokenize("running walked up")
    tokenizer.basic_tokenizer = AtCommas()
    assert tokenizer.tokenize("running walked,up,, ") == want


@pytest.mark.parametrize(
    "duplicate", [lambda x: pickle.loads(pickle.dumps(x)), copy.deepcopy]
)
def test_copied_tokenizer_gives_the_same_tokens(duplicate, vocab_files):
    tokenizer = FullTokenizer(vocab_files / "uncased", False, True)
    want = tokenizer.tokenize("Un événement, 북경 unaffable")
    twin = duplicate(tokenizer)
    assert twin.tokenize("Un événement, 북경 unaffable") == want
    assert twin.vocab == tokenizer.vocab
    assert twin.vocab is twin.wordpiece_tokenizer.vocab
    assert twin.basic_tokenizer._cache.split.__self__ is twin.basic_tokenizer


def test_threads_may_share_a_tokenizer(small_cache, vocab_files):
    lines = [row["text"] for row in texts()]
    tokenizer = FullTokenizer(vocab_files / "uncased")
    want = list(map(FullTokenizer(vocab_files / "uncased").tokenize, lines))
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        for _ in range(2):
            assert list(pool.map(tokenizer.tokenize, lines)) == want


def test_importing_the_room_loads_neither_tensorflow_nor_keras():
    code = (
        "import sys, bert_tf.tokenization; "
        "sys.exit(bool({'tensorflow', 'keras', 'numpy'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


# Large real data.


@pytest.mark.shared
@pytest.mark.parametrize(
    "vocab", ["cased", "chinese", "multi_cased", "multilingual_uncased"]
)
def test_real_vocabularies_give_the_originals_pieces(vocab, shared_folder):
    path = shared_folder / "golden" / "tokenization"
    with gzip.open(path / f"wordpiece_{vocab}.jsonl.gz", "rt") as reader:
        rows = [json.loads(line) for line in reader]
    check_wordpiece_golden(rows, shared_folder / f"data/vocabs/{vocab}.txt")


@pytest.mark.shared
@pytest.mark.parametrize("name, read_lines", RUNNING_TEXTS)
def test_running_text_gives_the_originals_ids(name, read_lines, shared_folder):
    digests = shared_folder / "golden/real_data_digests/real_data_digests.json"
    want = json.loads(digests.read_text())["items"][name]
    vocab_file = shared_folder / want["vocab"]
    tokenizer = FullTokenizer(vocab_file, want["do_lower_case"])
    lines = read_lines(shared_folder)
    assert len(lines) == want["records"]
    digest = hashlib.sha256()
    for line in lines:
        ids = tokenizer.convert_tokens_to_ids(tokenizer.tokenize(line))
        digest.update((" ".join(map(str, ids)) + "\n").encode())
    assert digest.hexdigest() == want["canonical_sha256"]
