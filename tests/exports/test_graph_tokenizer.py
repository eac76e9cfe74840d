"""Ids and offsets from the graph, against the plain tokenizer's."""

import functools
import hashlib
import json
import random
import re
import subprocess
import sys
import unicodedata

import pytest
import tensorflow as tf
from helpers.tokenization_golden import (
    CASES,
    RUNNING_TEXTS,
    SCALAR_VALUES,
    random_text,
    read,
    texts,
)

from bert_tf.errors import InputError
from bert_tf.exports.graph_tokenizer import GraphTokenizer
from bert_tf.tasks.pretraining import cloze
from bert_tf.tokenization import (
    BasicTokenizer,
    FullTokenizer,
    Piece,
    load_vocab,
)

pytestmark = pytest.mark.usefixtures("graphs_as_traced")

STRINGS = [tf.TensorSpec([None], tf.string)]
MARKS = (
    "\u302e{}\u1b44"  # Classes 224 and 9: in the other order, if neighbours.
)


# do_lower_case and strip_accents.
CASINGS = {
    **{name: (lowers, None) for name, lowers in CASES.items()},
    "lower, with accents": (True, False),
    "cased, without accents": (False, True),
}


class Both:
    """A `FullTokenizer`, and a `GraphTokenizer` that must do the same.

    Args:
        vocab_file, do_lower_case, strip_accents: of both.
        traced: whether the second one is a graph. For a few texts it takes
            longer to make that than to compute them.
    """

    def __init__(
        self, vocab_file, do_lower_case, strip_accents=None, traced=True
    ):
        casing = do_lower_case, strip_accents
        self.plain = FullTokenizer(vocab_file, *casing)
        self.graph = GraphTokenizer(load_vocab(vocab_file), *casing)
        self.ids, self.offsets = self._ids, self.graph.tokenize
        if traced:
            self.ids, self.offsets = (
                tf.function(function, STRINGS, autograph=False)
                for function in (self.ids, self.offsets)
            )

    def _ids(self, texts):
        return self.graph.tokenize(texts, with_offsets=False).ids

    def check_ids(self, texts):
        """Compares the ids of texts; returns how many there were."""
        got = self.ids(tf.constant(texts, tf.string)).to_list()
        for text, ids in zip(texts, got, strict=True):
            tokens = self.plain.tokenize(text)
            assert ids == self.plain.convert_tokens_to_ids(tokens), text
        return len(got)

    def check(self, texts):
        """Compares ids and offsets of texts; returns how many there were."""
        assert self.check_ids(texts) == len(texts)
        found = self.offsets(tf.constant(texts, tf.string))
        rows = zip(*(part.to_list() for part in found), strict=True)
        for text, row in zip(texts, rows, strict=True):
            pieces = self.plain.tokenize_with_offsets(text)
            assert row == as_columns(self.plain, text, pieces), text
        return len(texts)


def as_columns(tokenizer, text, pieces):
    """What `GraphTokens` has for a text with these pieces."""
    places = [0]
    for char in text:
        places.append(places[-1] + len(char.encode()))
    return (
        tokenizer.convert_tokens_to_ids(piece.token for piece in pieces),
        [places[piece.start] for piece in pieces],
        [places[piece.end] for piece in pieces],
        [piece.start for piece in pieces],
        [piece.end for piece in pieces],
    )


def encodable(text):
    """The text without lone surrogates, which UTF-8 does not have."""
    return text.encode("utf-8", "ignore").decode("utf-8")


def batches(items, size):
    return [items[i : i + size] for i in range(0, len(items), size)]


def random_texts(seed, number):
    generator = random.Random(seed)
    return [encodable(random_text(generator)) for _ in range(number)]


def each_casing(*quick):
    """Parameters of a fixture; those that are not named are exhaustive.

    `test_characters_of_each_kind_in_contexts` has all casings.
    """
    return [
        pytest.param(
            name, marks=[] if name in quick else pytest.mark.exhaustive
        )
        for name in CASINGS
    ]


@pytest.fixture(scope="module", params=each_casing(*CASES))
def uncased_vocab(request, vocab_files):
    return Both(vocab_files / "uncased", *CASINGS[request.param])


@pytest.fixture(
    scope="module", params=each_casing(*CASES, "lower, with accents")
)
def tiny_vocab(request, vocab_files):
    return Both(vocab_files / "tiny", *CASINGS[request.param])


@pytest.fixture
def make(tmp_path):
    """Makes `Both` of tokens."""

    def make_both(tokens, do_lower_case=True):
        path = tmp_path / "vocab.txt"
        path.write_text("\n".join(tokens) + "\n", encoding="utf-8")
        return Both(path, do_lower_case, traced=False)

    return make_both


# Texts.


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("vocab", ["tiny", "uncased"])
def test_ids_are_the_originals(case, vocab, vocab_files):
    both = Both(vocab_files / vocab, CASES[case])
    golden = {row["i"]: row for row in read(f"wordpiece_{vocab}.jsonl")}
    rows = [row for row in texts() if row["text"] == encodable(row["text"])]
    got = both.ids([row["text"] for row in rows]).to_list()
    assert len(got) > 3000
    for row, ids in zip(rows, got, strict=True):
        assert ids == golden[row["i"]][f"ids_{case}"], row["text"]


def test_golden_texts_have_the_plain_tokenizers_ids_and_offsets(uncased_vocab):
    uncased_vocab.check([encodable(row["text"]) for row in texts()])


def test_random_texts_of_mixed_scripts(tiny_vocab):
    assert tiny_vocab.check(random_texts(20181011, 2000)) == 2000


@pytest.mark.exhaustive
def test_many_random_texts_of_mixed_scripts(uncased_vocab):
    first = 2 * uncased_vocab.graph.do_lower_case
    for seed in range(first, first + 2):
        found = random_texts(seed, 10_000)
        assert uncased_vocab.check(found) == 10_000


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        " \t\n\r ",
        "\0",
        "\ufffd\u200b \u0301",
        "a\fb a\x1cb a\x85b",
        "a\u2028b\xa0c\u3000d",
        "[MASK] [mask] ##s [UNK] #",
        "cafe\u0301 Caf\xe9 CAFE\xad\u0301, -\u0301",
        "\u4e2d\u0301\u6587a\u0301",
        "ΟΔΟΣ. ΑΣ:Α ΑΣ'Σ Σ Σ\u4e2d ΑΣ\u4e2dΑ ΑΣ\0Α ΑΣ\u200b\u0301Α A\u02b0Σ",
        "ΑΣ\tΑ ΑΣ\xa0Α",
        "\u0130stanbul \u1e9e \u212a \u212b",
        "\ud55c\uae00 \u1112\u1161\u11ab",
        "\u2260 a\u2260b =\u0338",
        "\U0001d15e\U0001d165 a\u302e\u1b44 a\u302e\u034f\u1b44 \u302e \u1b44",
        "a\u302e\u1b44\t\u1b44 \u4e2d\u302e\u1b44\u4e2d\u1b44",
        "\U0002f800\uf900 \uf900\uf900",
        "word, word. word.. word,. ,word , . ., a,b word,word",
    ],
)
def test_odd_texts(text, uncased_vocab):
    uncased_vocab.check([text, "before " + text, text + " after"])


def test_words_of_200_characters_are_split_and_longer_ones_unknown(
    uncased_vocab,
):
    words = [
        letter * number + end
        for letter in ("x", "\xe9", "e\u0301", "\ud55c", "\u1112", "\xad")
        for number in (66, 67, 100, 199, 200, 201)
        for end in ("", ",")
    ]
    uncased_vocab.check([*words, " ".join(words)])


def test_batches_of_any_size_go_through_one_graph(uncased_vocab):
    for batch in ([], [""], ["", ""], ["a", ""], ["", "a b", "", ""]):
        assert uncased_vocab.check(batch) == len(batch)
    assert uncased_vocab.ids.experimental_get_tracing_count() == 1


def test_nothing_but_ids_is_computed_without_offsets(uncased_vocab):
    found = uncased_vocab.graph.tokenize(["a b"], with_offsets=False)
    assert found[1:] == (None,) * 4
    assert found.ids.dtype == tf.int32


def test_works_without_a_graph_too(uncased_vocab):
    found = uncased_vocab.graph.tokenize(["Unaffable, caf\xe9"])
    want = uncased_vocab.plain.tokenize_with_offsets("Unaffable, caf\xe9")
    assert found.char_starts.to_list() == [[piece.start for piece in want]]


# Characters.


@pytest.fixture(scope="module")
def make_letters(tmp_path_factory):
    """Makes `Both` with a piece for all that characters become.

    So no mistake hides behind [UNK]. A graph of pieces for all characters, and
    not only for some, takes five seconds to make.
    """

    @functools.cache
    def make(case, codes):
        basic = BasicTokenizer(*CASINGS[case])
        became = set("abςσ\u4e2d\u302e\u1b44")
        for code in codes():
            became.update(basic.normalize(chr(code)))
        tokens = ["[UNK]"]
        for char in sorted(became):
            if not char.isspace():
                tokens += [char, "##" + char]
        path = tmp_path_factory.mktemp("letters") / "vocab.txt"
        path.write_text("\n".join(tokens), encoding="utf-8")
        return Both(path, *CASINGS[case])

    return make


@functools.cache
def assigned_code_points():
    def is_assigned(code):
        return unicodedata.category(chr(code)) not in ("Cn", "Co")

    return list(filter(is_assigned, SCALAR_VALUES))


@functools.cache
def some_code_points():
    """All that change, combine or separate, and some of the others."""
    codes = assigned_code_points()
    some = {code for code in codes if code % 10 == 0}
    changing = filter(may_change, codes)
    return sorted(some | {code for code in changing if not is_syllable(code)})


def may_change(code):
    """Whether it has a lower case or parts, combines, or is no sign at all."""
    char = chr(code)
    parts = unicodedata.normalize("NFD", char.lower())
    return parts != char or unicodedata.category(char)[0] in "MCZ"


def is_syllable(code):
    """One of the 11,172 of Hangul, which are all of one kind."""
    return 0xAC00 <= code <= 0xD7A3


def in_context(context, codes, size=64):
    """Texts with so many words, each a character in a context."""
    for block in batches(codes, size):
        yield " ".join(context.format(chr(code)) for code in block)


CONTEXTS = [
    ("lower", "a{}b"),
    ("lower", "ΑΣ{0} {0}Σ"),
    ("lower", MARKS),
    ("cased", "a{}b"),
    ("lower, with accents", "ΑΣ{0} {0}Σ"),
    ("cased, without accents", MARKS),
]


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    "case, context",
    [
        *CONTEXTS,
        ("lower, with accents", "a{}b"),
        ("lower, with accents", MARKS),
        ("cased, without accents", "a{}b"),
    ],
)
def test_every_assigned_character_in_contexts(case, context, make_letters):
    codes = assigned_code_points()
    assert len(codes) > 140_000
    both = make_letters(case, assigned_code_points)
    for block in batches(list(in_context(context, codes)), 512):
        both.check_ids(block)


@pytest.mark.slow
@pytest.mark.parametrize("case, context", CONTEXTS)
def test_characters_of_each_kind_in_contexts(case, context, make_letters):
    codes = some_code_points()
    assert 15_000 < len(codes) < 30_000
    both = make_letters(case, some_code_points)
    for block in batches(list(in_context(context, codes)), 512):
        both.check_ids(block)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASINGS)
def test_offsets_of_characters_that_change_their_number(case, make_letters):
    both = make_letters(case, some_code_points)
    codes = some_code_points()
    normalize = both.plain.basic_tokenizer.normalize
    changing = [c for c in codes if len(normalize(chr(c))) != 1]
    for context in ("a{}b", "{0}{0}-{0} \u4e2d{0} \t{0}"):
        both.check(list(in_context(context, changing + codes[::9])))


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    "case, context",
    [("lower", "{}"), ("lower", "a{}b"), ("lower", "ΑΣ{}"), ("cased", "a{}b")],
)
def test_every_unicode_scalar_value_in_contexts(case, context, make_letters):
    assert len(SCALAR_VALUES) == 1_112_064
    for block in batches(list(in_context(context, SCALAR_VALUES)), 1024):
        make_letters(case, assigned_code_points).check_ids(block)


def test_tables_name_their_version_of_unicode(uncased_vocab):
    assert uncased_vocab.graph.unicode_version == unicodedata.unidata_version


# Vocabularies.


@pytest.mark.parametrize(
    "seed",
    [0, *(pytest.param(n, marks=pytest.mark.exhaustive) for n in range(1, 9))],
)
def test_pieces_of_random_vocabularies(seed, make):
    generator = random.Random(seed)

    def draw(most):
        return "".join(generator.choices("abcdé", k=generator.randint(1, most)))

    tokens = {draw(4) for _ in range(20)} | {"##" + draw(4) for _ in range(20)}
    both = make(["[UNK]", *sorted(tokens)], do_lower_case=False)
    words = [draw(12) for _ in range(500)]
    both.check([*words, " ".join(words)])
    known = sum(ids != [0] for ids in both.ids(words).to_list())
    assert 50 < known < 450


@pytest.mark.parametrize(
    "tokens",
    [
        ["[UNK]"],
        ["", "#", "##", "###", "##a", "a", "[UNK]", "a", "a,", ",", "##,"],
        ["x" * 201, "[UNK]", ".", "x" * 200],
    ],
)
def test_odd_vocabularies(tokens, make):
    both = make(tokens)
    both.check(["", "a aa # ## ##a a, aa,. a.", "[UNK]", "x" * 201 + "."])


def test_vocabulary_may_be_a_list_of_lines(vocab_files):
    text = (vocab_files / "tiny").read_text(encoding="utf-8")
    found = GraphTokenizer(text.splitlines(keepends=True), True)
    want = GraphTokenizer(load_vocab(vocab_files / "tiny"), True)
    lines = [encodable(row["text"]) for row in texts()[::20]]
    got = found.tokenize(lines).ids.to_list()
    assert got == want.tokenize(lines).ids.to_list()


def test_vocabulary_without_a_token_for_unknown_words_is_refused():
    with pytest.raises(InputError, match=r"must have \[UNK\].*2 tokens"):
        GraphTokenizer(["a", "b"], True)


# A token that is meant as itself.


def plain_pieces_with_masks(tokenizer, text):
    """What `masked_text.tokenize` does, with offsets."""
    pieces, start = [], 0
    for part in text.split(cloze.MASK):
        for token, first, last in tokenizer.tokenize_with_offsets(part):
            pieces.append(Piece(token, start + first, start + last))
        start += len(part) + len(cloze.MASK)
        pieces.append(Piece(cloze.MASK, start - len(cloze.MASK), start))
    return pieces[:-1]


def test_masks_are_those_of_masked_text(uncased_vocab):
    generator = random.Random(1)
    parts = [*random_texts(2, 300), "[MASK", "MASK]", "[mask]", "Σ", " "]
    lines = [
        "[MASK]",
        "a[MASK]b [MASK][MASK].",
        "[[MASK]]",
        "[MASK",
        "ΑΣ[MASK]",
    ]
    for _ in range(300):
        some = generator.choices(parts, k=generator.randint(1, 4))
        lines.append("[MASK]".join(some))
    plain = uncased_vocab.plain
    found = uncased_vocab.graph.tokenize(lines, literal="[MASK]")
    rows = zip(*(part.to_list() for part in found), strict=True)
    for text, row in zip(lines, rows, strict=True):
        pieces = plain_pieces_with_masks(plain, text)
        tokens = cloze.tokenize(text, plain)
        assert [piece.token for piece in pieces] == tokens
        assert row == as_columns(plain, text, pieces), text


@pytest.mark.parametrize("literal", ["", "[mask]", "a b"])
def test_literal_that_is_no_token_is_refused(literal, make):
    both = make(["[UNK]", "", "a b", "[MASK]"])
    with pytest.raises(InputError, match=re.escape(f"literal={literal!r}")):
        both.graph.tokenize(["a"], literal=literal)


def test_literal_may_have_any_signs(make):
    tokens = ["[UNK]", r"<\1>*", "a", "b", "<", ">", "*", "\\", "1"]
    graph = make(tokens).graph
    found = graph.tokenize([r"a<\1>*b <\1> <\\1>*"], literal=r"<\1>*")
    want = [[2, 1, 3, 4, 7, 8, 5, 4, 7, 7, 8, 5, 6]]
    assert found.ids.to_list() == want


# What is no text.


@pytest.mark.parametrize(
    "wrong",
    [
        b"\xff",
        b"\x80",
        b"caf\xe9",
        b"\xe2\x82",
        b"\xc0\x80",
        b"\xed\xa0\x80",
        b"\xf4\x90\x80\x80",
    ],
)
def test_bytes_that_are_not_utf8_are_refused(wrong, tiny_vocab):
    for text in (wrong, b"a " + wrong + b" b", b"a" + wrong + b"b"):
        with pytest.raises(UnicodeDecodeError):
            text.decode()
        for function in (
            tiny_vocab.ids,
            tiny_vocab.graph.tokenize,
            functools.partial(tiny_vocab.graph.tokenize, literal="[MASK]"),
        ):
            with pytest.raises(
                tf.errors.InvalidArgumentError, match="must be UTF-8"
            ):
                function(tf.constant([b"a", text]))


def test_every_character_may_stand_in_a_text(tiny_vocab):
    for code in (0, 0xD7FF, 0xE000, 0xFEFF, 0xFFFD, 0xFFFE, 0xFFFF, 0x10FFFF):
        tiny_vocab.check([chr(code), f"a{chr(code)}b"])


# In a SavedModel.


class Served(tf.Module):
    def __init__(self, graph):
        super().__init__()
        self.graph = graph

    @tf.function(input_signature=STRINGS)
    def serve(self, texts):
        found = self.graph.tokenize(texts, literal="[MASK]")._asdict()
        flat = {name: part.flat_values for name, part in found.items()}
        return {**flat, "splits": found["ids"].row_splits}


@pytest.mark.exhaustive  # `test_export` has it with a model around it.
@pytest.mark.parametrize("uncased_vocab", ["lower"], indirect=True)
def test_saved_model_needs_nothing_but_tensorflow(uncased_vocab, tmp_path):
    served = Served(uncased_vocab.graph)
    tf.saved_model.save(served, tmp_path, signatures=served.serve)
    lines = [encodable(row["text"]) for row in texts()[::10]]
    lines += ["a [MASK] b, \u0130[MASK]", "", "unaffable"]
    code = """
import json, sys
import tensorflow as tf
serve = tf.saved_model.load(sys.argv[1]).signatures["serving_default"]
for batch in json.load(sys.stdin):
    found = serve(texts=tf.constant(batch, tf.string))
    print(json.dumps({k: v.numpy().tolist() for k, v in found.items()}))
assert not {"bert_tf", "tensorflow_text"} & set(sys.modules)
"""
    result = subprocess.run(
        [sys.executable, "-c", code, tmp_path],
        input=json.dumps([lines, lines[-1:], []]),
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert result.returncode == 0, result.stderr
    got = list(map(json.loads, result.stdout.splitlines()))
    assert len(got) == 3
    for batch, found in zip((lines, lines[-1:], []), got, strict=True):
        want = served.serve(tf.constant(batch, tf.string))
        assert found == {k: v.numpy().tolist() for k, v in want.items()}
        assert len(found["splits"]) == len(batch) + 1


# Large real data.


@pytest.mark.shared
@pytest.mark.parametrize("name, read_lines", RUNNING_TEXTS)
def test_running_text_gives_the_originals_ids(name, read_lines, shared_folder):
    digests = shared_folder / "golden/real_data_digests/real_data_digests.json"
    want = json.loads(digests.read_text())["items"][name]
    vocab = load_vocab(shared_folder / want["vocab"])
    graph = GraphTokenizer(vocab, want["do_lower_case"])
    lines = read_lines(shared_folder)
    assert len(lines) == want["records"]
    digest = hashlib.sha256()
    for batch in batches(lines, 1000):
        for ids in graph.tokenize(batch, with_offsets=False).ids.to_list():
            digest.update((" ".join(map(str, ids)) + "\n").encode())
    assert digest.hexdigest() == want["canonical_sha256"]


@pytest.mark.shared
@pytest.mark.parametrize("name, read_lines", RUNNING_TEXTS)
def test_running_text_has_the_plain_tokenizers_offsets(
    name, read_lines, shared_folder
):
    digests = shared_folder / "golden/real_data_digests/real_data_digests.json"
    item = json.loads(digests.read_text())["items"][name]
    both = Both(shared_folder / item["vocab"], item["do_lower_case"])
    for batch in batches(read_lines(shared_folder)[:3000], 1000):
        both.check(batch)


@pytest.mark.shared
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(
    "vocab", ["cased", "chinese", "multi_cased", "multilingual_uncased"]
)
def test_real_vocabularies_give_the_plain_tokenizers_pieces(
    vocab, case, shared_folder
):
    both = Both(shared_folder / f"data/vocabs/{vocab}.txt", CASES[case])
    both.check([encodable(row["text"]) for row in texts()])
    both.check(random_texts(3, 2000))
