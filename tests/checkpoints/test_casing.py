"""Casing by the caller, the folder, the vocabulary and the name."""

import logging
import lzma

import pytest
from helpers.golden import DATA, TINY

from bert_tf.checkpoints import casing
from bert_tf.checkpoints.folder_settings import FolderSettings, Noted
from bert_tf.errors import InputError
from bert_tf.tokenization import FullTokenizer, load_vocab

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[unused0]", "<S>"]
LOWER = [f"word{chr(97 + i)}{chr(97 + j)}" for i in range(26) for j in range(9)]
UNCASED = [*SPECIAL, *LOWER, "##A", "don", "é", "中", "1"]
CASED = [*UNCASED, *(word.capitalize() for word in LOWER[:80])]
FEW = [*UNCASED, "Ann", "Bob"]
CAPITALS = [*SPECIAL, *"ACDEFGHIKLMNPQRSTVWY"]
WITHOUT_CASE = [*SPECIAL, "中", "文", "كتاب", "1"]


@pytest.mark.parametrize(
    ("vocab", "capitals", "is_cased"),
    [
        (UNCASED, 0, False),
        (FEW, 2, False),
        (CASED, 80, True),
        (CAPITALS, 20, True),
        (["a", "B"], 1, True),
        (WITHOUT_CASE, 0, False),
        ([], 0, False),
    ],
)
def test_capitals_of_words_tell_a_cased_vocabulary(vocab, capitals, is_cased):
    found = casing.count_capitals(vocab)
    assert (len(found.capitals), found.is_cased) == (capitals, is_cased)


def test_the_released_uncased_vocabulary_has_no_capital():
    packed = DATA / "tokenization" / "vocab_uncased.txt.xz"
    vocab = lzma.decompress(packed.read_bytes()).decode().split("\n")
    assert casing.count_capitals(vocab).capitals == []


@pytest.mark.parametrize(
    ("name", "is_cased", "capitals"),
    [
        ("cased", True, 7974),
        ("multi_cased", True, 18443),
        ("multilingual_uncased", False, 0),
        ("chinese", False, 0),
    ],
)
def test_released_vocabularies(name, is_cased, capitals, shared_folder):
    vocab = load_vocab(shared_folder / "data" / "vocabs" / f"{name}.txt")
    found = casing.count_capitals(vocab)
    assert (found.is_cased, len(found.capitals)) == (is_cased, capitals)


@pytest.mark.parametrize(
    ("vocab", "lowers", "level"),
    [
        (UNCASED, True, "INFO"),
        (WITHOUT_CASE, True, "INFO"),
        (FEW, True, "WARNING"),
        (CASED, False, "WARNING"),
    ],
)
def test_what_is_assumed_is_said_in_one_line(vocab, lowers, level, caplog):
    caplog.set_level(logging.INFO)
    assert casing.decide(vocab, "v.txt") == (lowers, None)
    (record,) = caplog.records
    assert record.levelname == level
    text = record.getMessage()
    assert f"--do_lower_case={str(lowers).lower()}" in text and "v.txt" in text
    assert ("capital" in text) and (vocab is not FEW or "'Ann'" in text)


def test_lower_casing_a_cased_vocabulary_is_an_error_with_a_way_round():
    with pytest.raises(InputError) as error:
        casing.decide(CASED, "v.txt", do_lower_case=True)
    for fact in (
        "v.txt",
        "80 of",
        "'Wordaa'",
        "--do_lower_case=false",
        "--ignore_folder_settings",
    ):
        assert fact in str(error.value)
    ignoring = casing.decide(
        CASED, "v.txt", do_lower_case=True, ignore_folder_settings=True
    )
    assert ignoring.do_lower_case


@pytest.mark.parametrize(
    ("vocab", "given", "warns"),
    [
        (CASED, False, False),
        (UNCASED, True, False),
        (FEW, True, True),
        (UNCASED, False, True),
        (WITHOUT_CASE, False, False),
    ],
)
def test_what_is_given_is_done(vocab, given, warns, caplog):
    assert casing.decide(vocab, "v.txt", do_lower_case=given) == (given, None)
    assert bool(caplog.records) == warns


@pytest.mark.parametrize("given", [None, True])
def test_a_name_that_contradicts_the_vocabulary_is_an_error(given):
    path = "x/cased_L-12_H-768_A-12/bert_model.ckpt"
    match = "cased_L-12_H-768_A-12.*--do_lower_case=False.*--ignore_folder_"
    with pytest.raises(InputError, match=match):
        casing.decide(UNCASED, "v.txt", path, do_lower_case=given)
    assert not casing.decide(CASED, "v.txt", path).do_lower_case
    right = casing.decide(UNCASED, "v.txt", path, do_lower_case=False)
    assert not right.do_lower_case
    ignoring = casing.decide(
        UNCASED,
        "v.txt",
        path,
        do_lower_case=True,
        ignore_folder_settings=True,
    )
    assert ignoring.do_lower_case


def test_the_name_of_a_folder_counts_like_that_of_a_checkpoint(tmp_path):
    folder = tmp_path / "uncased_L-12_H-768_A-12"
    folder.mkdir()
    with pytest.raises(InputError, match=r"uncased_L-12.*=True"):
        casing.decide(CASED, "v.txt", folder)


def noted(**settings):
    return Noted("run/bert_tf.json", FolderSettings(**settings))


def test_the_folder_decides_before_vocabulary_and_name(caplog):
    path = "x/cased_L-12_H-768_A-12/bert_model.ckpt"
    for lowers in (True, False):
        folder = noted(do_lower_case=lowers)
        for vocab in (CASED, UNCASED):
            found = casing.decide(vocab, "v.txt", path, folder)
            assert found.do_lower_case is lowers
    assert not [r for r in caplog.records if r.levelname == "WARNING"]


@pytest.mark.parametrize(
    ("settings", "given", "wrong"),
    [
        ({"do_lower_case": True}, {"do_lower_case": False}, "do_lower_case"),
        (
            {"do_lower_case": True, "strip_accents": None},
            {"strip_accents": False},
            "strip_accents",
        ),
        (
            {"do_lower_case": True, "strip_accents": False},
            {"strip_accents": True},
            "strip_accents",
        ),
    ],
)
def test_contradicting_the_folder_is_an_error(settings, given, wrong):
    with pytest.raises(InputError) as error:
        casing.decide(UNCASED, "v.txt", None, noted(**settings), **given)
    value = str(given[wrong]).lower()
    was = "false" if value == "true" else "true"
    for fact in (
        f"--{wrong}={value}",
        f"{wrong}={was}",
        "run/bert_tf.json",
        "--ignore_folder_settings",
    ):
        assert fact in str(error.value)
    ignoring = casing.decide(
        UNCASED,
        "v.txt",
        None,
        noted(**settings),
        ignore_folder_settings=True,
        **given,
    )
    assert getattr(ignoring, wrong) is given[wrong]


def test_accents_are_as_lower_casing_unless_somebody_says_otherwise():
    assert casing.decide(UNCASED, "v.txt").strips
    assert not casing.decide(CASED, "v.txt").strips
    kept = casing.decide(
        UNCASED, "v.txt", None, noted(do_lower_case=True, strip_accents=False)
    )
    assert kept == (True, False) and not kept.strips
    # What is the same in effect is no contradiction.
    folder = noted(do_lower_case=True, strip_accents=None)
    assert casing.decide(
        UNCASED, "v.txt", None, folder, strip_accents=True
    ).strips


def test_a_tokenizer_does_what_was_decided():
    vocab = str(TINY.parent / "vocab.txt")
    tokenizer = casing.load_tokenizer(vocab, None, noted(do_lower_case=False))
    assert casing.casing_of(tokenizer) == (False, None)
    text = "The New York."
    assert tokenizer.tokenize(text) == FullTokenizer(vocab, False).tokenize(
        text
    )
