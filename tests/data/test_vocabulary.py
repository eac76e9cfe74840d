import collections
import lzma
import random

import pytest

from bert_tf.data import vocabulary
from bert_tf.errors import InputError
from bert_tf.tokenization import BasicTokenizer, FullTokenizer

UNCASED, CASED = BasicTokenizer(True), BasicTokenizer(False)

# ------------------------------------------------------------------- learning


def test_words_are_counted_as_the_tokenizer_makes_them():
    lines = ["The café, the CAFÉ", "", "naïve\u00ad the"]
    got = vocabulary.count_words(lines, UNCASED)
    assert got == {"the": 3, "cafe": 2, ",": 1, "naive": 1}
    got = vocabulary.count_words(lines, CASED)
    want = {"The": 1, "the": 2, "café": 1, "CAFÉ": 1, ",": 1, "naïve": 1}
    assert got == want


def test_characters_are_counted_with_their_words():
    counts = {"ab": 5, "bb": 2, "c": 4, "d": 4, "e": 3}  # a 5, b 9
    choose = vocabulary.choose_characters
    assert choose(counts, 4, 99) == ["a", "b", "c", "d"]
    assert choose(counts, 1, 3) == ["a", "b", "c"]


def test_words_of_known_characters_are_sorted_by_frequency():
    counts = {"zb": 3, "ab": 3, "b": 7, "abc": 9, "a": 1}
    got = vocabulary.choose_words(counts, "abz", 3)
    assert got == [("b", 7), ("ab", 3), ("zb", 3)]


def test_first_tokens_are_those_of_the_released_models(data):
    path = data / "tokenization" / "vocab_uncased.txt.xz"
    released = lzma.decompress(path.read_bytes()).decode("utf-8")
    assert vocabulary.first_tokens(99) == released.split("\n")[:104]


def test_characters_that_are_words_continue_none():
    got = vocabulary.character_tokens(["é", "a", "!", "中", "の"], CASED)
    assert got == ["!", "a", "é", "の", "中", "##a", "##é", "##の"]


def learner_of(counts, needed, asked):
    def learn(threshold):
        asked.append(threshold)
        frequent = [t for t, n in counts.most_common() if n >= threshold]
        return [*needed, *frequent]

    return learn


@pytest.mark.parametrize("seed", range(20))
def test_rarest_tokens_of_the_largest_threshold_are_dropped(seed):
    rng = random.Random(seed)
    sizes = [int(10 ** rng.uniform(1, 5) / (n + 1)) + 1 for n in range(500)]
    counts = collections.Counter({f"t{n}": s for n, s in enumerate(sizes)})
    frequencies = [count for _, count in counts.most_common()]
    needed, size, asked = ["n0", "n1"], rng.randint(3, 502), []

    got = vocabulary.fit_size(
        learner_of(counts, needed, asked), needed, size, frequencies, 1
    )
    # This learner only orders tokens: the answer is a sort and a cut.
    want = [token for token, _ in counts.most_common(size - 2)]
    assert got == [*needed, *want]
    best = max(
        threshold
        for threshold in frequencies
        if sum(count >= threshold for count in frequencies) >= size - 2
    )
    assert best in asked or best + 1 in asked
    assert len(set(asked)) == len(asked) < 25


def test_a_needed_token_stays_however_rare():
    tokens = ["[PAD]", "a", "the", "of", "##q", "##ing", "##z"]

    def learn(threshold):
        return tokens if threshold <= 4 else tokens[:3]

    got = vocabulary.fit_size(learn, ["[PAD]", "a", "##q", "##z"], 5, [9], 1)
    assert got == ["[PAD]", "a", "the", "##q", "##z"]


def test_more_characters_than_tokens_is_an_error():
    with pytest.raises(InputError, match=r"at least 3, .*vocab_size=2\."):
        vocabulary.fit_size(lambda threshold: [], ["a", "b", "c"], 2, [5], 1)


def test_error_for_too_little_text_names_the_possible_size():
    counts = collections.Counter({"ab": 30, "cd": 20, "ef": 10, "gh": 9})
    learn = learner_of(counts, ["n"], [])
    frequencies = [30, 20, 10, 9]
    with pytest.raises(InputError, match=r"at most 4 .* occur 10 times"):
        vocabulary.fit_size(learn, ["n"], 5, frequencies, 10)
    got = vocabulary.fit_size(learn, ["n"], 4, frequencies, 10)
    assert got == ["n", "ab", "cd", "ef"]


def test_coverage_is_that_of_the_tokenizer_on_the_text(tmp_path):
    tokens = ["[UNK]", "the", "rail", "##way", "##s", "x"]
    text = "the railways the railway rails xs q x\u00e9"
    path = tmp_path / "vocab.txt"
    path.write_text("\n".join(tokens))
    pieces = FullTokenizer(path).tokenize(text)

    counts = vocabulary.count_words([text], UNCASED)
    got = vocabulary.measure(counts, tokens)

    assert (got.words, got.distinct) == (8, 7)
    assert got.pieces == len(pieces) == 13
    assert got.unknown == pieces.count("[UNK]") == 2
    assert "25.0000% of the words are [UNK]" in str(got)


# ------------------------------------------------------------------ extending


@pytest.fixture
def vocab():
    tokens = ["[PAD]", "[unused0]", "[unused1]", "[UNK]", "cor", "##ona", "the"]
    return {token: index for index, token in enumerate(tokens)}


def test_words_replace_unused_tokens_in_order(vocab):
    got = vocabulary.plan_words(["corona", "zoo"], vocab, UNCASED, 7, False)
    assert got == [("corona", 1, (4, 5)), ("zoo", 2, (3,))]


def test_with_grow_words_are_appended(vocab):
    got = vocabulary.plan_words(["zoo", "corona"], vocab, UNCASED, 7, True)
    assert got == [("zoo", 7, (3,)), ("corona", 8, (4, 5))]


def test_too_few_unused_tokens_are_an_error(vocab):
    with pytest.raises(InputError, match=r"3 words .* has 2 .*--grow=True"):
        vocabulary.plan_words(["a", "b", "c"], vocab, UNCASED, 7, False)


@pytest.mark.parametrize(
    "word, problem",
    [
        ("Covid", "'Covid' becomes 'covid'"),
        ("naïve", "'naïve' becomes 'naive'"),
        ("covid-19", "'covid-19' becomes 'covid' '-' '19'"),
        ("new york", "'new york' becomes 'new' 'york'"),
        ("東京", "'東京' becomes '東' '京'"),
        ("##ing", "'##ing' becomes '#' '#' 'ing'"),
        ("[SEP]", r"'\[SEP\]' becomes '\[' 'sep' '\]'"),
        ("", "'' becomes nothing"),
        ("the", "'the' is a token already, id 6"),
        ("x" * 201, "'x{20}'... has more than 200 characters"),
    ],
)
def test_a_word_that_no_text_could_have_is_refused(vocab, word, problem):
    match = rf"--do_lower_case=True.*Received: {problem}"
    with pytest.raises(InputError, match=match):
        vocabulary.plan_words([word], vocab, UNCASED, 7, True)


@pytest.mark.parametrize("word", ["Covid", "naïve"])
def test_a_cased_model_can_have_capitals_and_accents(vocab, word):
    [got] = vocabulary.plan_words([word], vocab, CASED, 7, True)
    assert got == (word, 7, (3,))


def test_all_mistakes_are_named_and_those_beyond_ten_counted(vocab):
    words = ["zoo", "zoo", "A", *(f"{n}x!" for n in range(11))]
    with pytest.raises(InputError) as caught:
        vocabulary.plan_words(words, vocab, UNCASED, 7, True)
    message = str(caught.value)
    assert "'zoo' is given twice; 'A' becomes 'a'; '0x!' becomes" in message
    assert message.endswith("'7x!' becomes '7x' '!'; and 3 more")


def test_lines_that_are_not_replaced_stay_byte_for_byte():
    content = b"[PAD]\r\n [unused0]\n\xe2\x80\xa8\nx"
    words = [
        vocabulary.NewWord("é", 1, ()),
        vocabulary.NewWord("y", 4, ()),
        vocabulary.NewWord("z", 5, ()),
    ]
    got = vocabulary.place_words(content, words)
    assert got == b"[PAD]\r\n\xc3\xa9\n\xe2\x80\xa8\nx\ny\nz\n"


# ------------------------------------------------------------------- checking


def test_unknown_tokens_are_counted_among_the_words(caplog):
    vocab = {"[UNK]": 0, "a": 1, "[CLS]": 2, "[SEP]": 3, "[MASK]": 4}
    unknown = vocabulary.UnknownTokens(vocab)

    unknown.add([2, 0, 1, 3])
    assert not unknown.warn()
    unknown.add([2, 0, 0, 4, 3])
    assert unknown.warn("dev.tsv")

    assert (unknown.unknown, unknown.total) == (3, 4)
    (warning,) = caplog.messages
    assert "75 %" in warning and "dev.tsv" in warning
