"""What the original's tokenizer wrote, and texts to compare tokenizers with."""

import functools
import json
import lzma
import unicodedata
import zipfile

import pytest

from helpers.paths import GOLDEN

DATA = GOLDEN / "tokenization"
CASES = {"lower": True, "cased": False}  # Name in the goldens, do_lower_case.
UNICODE_OF_STRINGS = "14.0.0"


def unpack(path):
    return lzma.decompress(path.read_bytes())


@functools.cache
def read(name):
    """The value of a packed .json file, or the list of a .jsonl file."""
    content = unpack(DATA / f"{name}.xz").decode("utf-8")
    if name.endswith(".jsonl"):
        return [json.loads(line) for line in content.splitlines()]
    return json.loads(content)


@functools.cache
def exceptions_by_code_point(unicode_version, case):
    """Code point -> tokens of "a@b", wherever they are not just ["a@b"]."""
    goldens = read("codepoints.json")
    if unicode_version not in goldens:
        pytest.skip(f"no golden for Unicode {unicode_version}")
    golden = goldens[unicode_version][case]
    assert golden["default"] == ["a@b"]
    found = {int(code, 16): v for code, v in golden["explicit"].items()}
    for first, last, kind in golden["ranges"]:
        for code in range(first, last + 1):
            tokens = golden["kinds"][kind]
            found[code] = [t.replace("@", chr(code)) for t in tokens]
    return found


@functools.cache
def characters_that_changed():
    """Characters with other tokens in this Unicode than in the strings'."""
    here = unicodedata.unidata_version
    if here == UNICODE_OF_STRINGS:
        return frozenset()
    changed = set()
    for case in CASES:
        old = exceptions_by_code_point(UNICODE_OF_STRINGS, case)
        new = exceptions_by_code_point(here, case)
        changed |= {c for c in old.keys() | new if old.get(c) != new.get(c)}
    return frozenset(map(chr, changed))


def texts():
    """The golden strings that mean the same in this version of Unicode."""
    rows = read("strings.jsonl")
    return [r for r in rows if not characters_that_changed() & set(r["text"])]


SCALAR_VALUES = [*range(0xD800), *range(0xE000, 0x110000)]

SCRIPTS = [
    "abcDEF XYZ 019",
    "\0\t\n\r\x0b\x0c\x1c\x1f\x85\xa0\u2028\u2029\u200b\ufeff\ufffd\u3000\xad",
    "ΣσςΑΒα'.:\u0301·",
    "İIıiß\u0307é\u0301\u0323e",
    "中文\U00020000\uf900\U0002f800がガｱ가힣\u1112\u1161\u11ab\u302e",
    "!?-_$€£+<=>^`|~[]#@",
    "\U0001d165\U0001d16d\u0338≮≠\u037e\u1fef\u212a\u212b",
    "्कािंกำ\u0e31\u0e34",
    "\ud800\udfff\U0001f600\U0010ffff\u0378",
]


def random_text(generator):
    """A few runs of characters, each from one script, some with spaces."""
    text = ""
    for _ in range(generator.randint(0, 10)):
        characters = generator.choice(SCRIPTS)
        text += "".join(
            generator.choices(characters, k=generator.randint(1, 5))
        )
        text += generator.choice(["", "", " "])
    return text


def wiki_lines(shared_folder):
    packed = "data/corpus/wiki_featured_00-09_sentences.txt.xz"
    text = unpack(shared_folder / packed).decode("utf-8")
    return text.split("\n")[:12000]


def chinese_sentences(shared_folder):
    archive = zipfile.ZipFile(shared_folder / "data/ner/peopledaily_zh.zip")
    lines = archive.read("train.txt").decode("utf-8").split("\n")[:60000]
    sentences = [""]
    for line in lines:
        if line.split():
            sentences[-1] += line.split()[0]
        else:
            sentences.append("")
    return list(filter(None, sentences[:-1]))  # The last one does not end.


# Names in the golden digests of real data, and where the lines are.
RUNNING_TEXTS = [
    ("tokenize_wiki_lines_0_12000_uncased_lower", wiki_lines),
    ("tokenize_wiki_lines_0_12000_cased_cased", wiki_lines),
    ("tokenize_wiki_lines_0_12000_multi_cased_cased", wiki_lines),
    ("tokenize_peopledaily_chinese_lower", chinese_sentences),
]
