import gzip
import json
import random

import numpy as np
import pytest

from bert_tf.data.packing import truncate_at_random_ends
from bert_tf.errors import InputError
from bert_tf.tasks.pretraining.instances import (
    Instances,
    Settings,
    Summary,
    check_vocab,
    create_masked_lm_predictions,
    create_training_instances,
    draw_below,
    find_word_starts,
    mark_words,
    read_documents,
    shuffled,
)
from bert_tf.tokenization import FullTokenizer

SPECIAL = "[PAD] [UNK] [CLS] [SEP] [MASK]"
WORDS = "the cat sat on a mat . dog ran fast ##er and ##s far 我 们 喜 欢 苹 果"
TEXT = [
    "the cat sat on a mat .",
    "a dog ran faster and faster .",
    "\u200b",
    "the mat sat .",
    "",
    "   \t",
    "a cat ran far .",
    "the dogs ran and the cats sat .",
]
SMALL = Settings(max_seq_length=16, max_predictions_per_seq=4, dupe_factor=3)


@pytest.fixture
def functions(data):
    path = data / "create_pretraining_data" / "functions.json.gz"
    return json.loads(gzip.decompress(path.read_bytes()))


@pytest.fixture
def tokenizer(tmp_path):
    path = tmp_path / "vocab.txt"
    path.write_text("\n".join(f"{SPECIAL} {WORDS}".split()), "utf-8")
    return FullTokenizer(path)


def settings(case):
    names = ("do_whole_word_mask", "masked_lm_prob", "max_predictions_per_seq")
    given = {name: case[name] for name in names}
    return Settings(max_seq_length=1000, **given)


def test_tokens_are_masked_as_the_original_masked_them(functions):
    words = functions["vocab_words_for_masked_lm"]
    for case in functions["masked_lm"]:
        rng = random.Random(case["rng_seed"])
        got = create_masked_lm_predictions(
            case["tokens"], settings(case), words, rng
        )
        assert got == (case["output_tokens"], case["positions"], case["labels"])
        assert rng.random() == case["rng_random_after"]
    assert len(functions["masked_lm"]) == 80


def test_pairs_are_cut_at_random_ends_as_the_original_cut_them(functions):
    for case in functions["truncate_pretraining"]:
        rng = random.Random(case["rng_seed"])
        slices = truncate_at_random_ends(
            case["len_a"], case["len_b"], case["max_num_tokens"], rng
        )
        pair = [
            [f"{letter}{number}" for number in range(case[f"len_{letter}"])]
            for letter in "ab"
        ]
        kept = [tokens[part] for tokens, part in zip(pair, slices)]
        assert kept == case["out"]
        assert rng.random() == case["rng_random_after"]
    assert len(functions["truncate_pretraining"]) == 48


@pytest.mark.parametrize("count", [0, 1, 2, 3, 7, 8, 9, 125, 300, 70000])
def test_shuffling_draws_what_the_standard_library_draws(count):
    rng, other = random.Random(5), random.Random(5)
    want = list(range(count))
    other.shuffle(want)
    assert shuffled(count, rng) == want
    assert rng.getstate() == other.getstate()


@pytest.mark.parametrize("count", [0, 1, 2, 19, 20, 125, 300])
@pytest.mark.parametrize("first", [0, 1, 19, 64])
def test_the_first_of_a_shuffle_are_those_of_a_whole_one(count, first):
    rng, other = random.Random(7), random.Random(7)
    want = list(range(count))
    other.shuffle(want)
    assert shuffled(count, rng, first) == want[:first]
    assert rng.getstate() == other.getstate()


@pytest.mark.parametrize("bound", [1, 2, 3, 64, 30522])
def test_drawing_below_draws_what_the_standard_library_draws(bound):
    rng, other = random.Random(6), random.Random(6)
    got = [draw_below(bound, rng) for _ in range(100)]
    assert got == [other.randrange(bound) for _ in range(100)]
    assert rng.getstate() == other.getstate()


def test_blank_lines_end_documents_and_lines_without_tokens_do_not(tokenizer):
    got = read_documents(TEXT, tokenizer)

    sentences = [tokenizer.tokenize(line) for line in TEXT]
    sentences = [tokens for tokens in sentences if tokens]
    assert list(got.document_starts) == [0, 3, 5]
    ends = np.cumsum([len(tokens) for tokens in sentences])
    assert list(got.sentence_starts) == [0, *ends]
    flat = [token for tokens in sentences for token in tokens]
    assert got.token_ids.tolist() == tokenizer.convert_tokens_to_ids(flat)


@pytest.mark.parametrize("lines", [[], ["", " "], ["\u200b", "", "\u200b"]])
def test_text_without_tokens_has_no_documents(tokenizer, lines):
    documents = read_documents(lines, tokenizer)
    instances, order = create_training_instances(
        documents, SMALL, random.Random(1)
    )
    assert (len(documents), len(instances), order) == (0, 0, [])


def test_features_are_the_instance_padded_with_zeros(tokenizer):
    documents = read_documents(TEXT, tokenizer)
    instances, order = create_training_instances(
        documents, SMALL, random.Random(1)
    )
    columns = instances.features(np.array(order))

    assert sorted(order) == list(range(len(instances)))
    for row, number in enumerate(order):
        instance = instances[number]
        size = len(instance.tokens)
        ids = tokenizer.convert_tokens_to_ids(instance.tokens)
        labels = tokenizer.convert_tokens_to_ids(instance.masked_lm_labels)
        first = instance.tokens.index("[SEP]") + 1
        want = {
            "input_ids": ids,
            "input_mask": [1] * size,
            "segment_ids": [0] * first + [1] * (size - first),
            "masked_lm_positions": instance.masked_lm_positions,
            "masked_lm_ids": labels,
            "masked_lm_weights": [1.0] * len(labels),
            "next_sentence_labels": [int(instance.is_random_next)],
        }
        for name, values in want.items():
            got = columns[name][row].tolist()
            assert got[: len(values)] == values, name
            assert not any(got[len(values) :]), name


def test_summary_counts_what_is_in_the_features(tokenizer):
    documents = read_documents([*TEXT, "unheard of ."], tokenizer)
    instances, order = create_training_instances(
        documents, SMALL, random.Random(1)
    )
    columns = instances.features(np.array(order))
    got = instances.summary()

    assert (got.documents, got.sentences) == (2, 6)
    assert got.unknown_tokens == 2
    assert got.instances == len(instances)
    assert got.positions == columns["input_mask"].size
    assert got.padding == (columns["input_mask"] == 0).sum()
    assert got.masked_tokens == columns["masked_lm_weights"].sum()
    assert got.random_next == columns["next_sentence_labels"].sum()
    assert got.lone_documents == 0


def test_texts_of_a_single_document_are_counted(tokenizer):
    two = read_documents(TEXT, tokenizer)
    one = read_documents(TEXT[:3], tokenizer)
    sums = [Instances(text, SMALL).summary() for text in (one, two, one)]
    total = sum(sums, Summary())
    assert (total.documents, total.lone_documents) == (4, 2)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"max_seq_length": 4}, "at least 5.*Received: max_seq_length=4"),
        ({"max_predictions_per_seq": 0}, "from 1 to 125"),
        ({"max_predictions_per_seq": 126}, "from 1 to 125.*=126"),
        ({"dupe_factor": 0}, "`dupe_factor` must be at least 1"),
        ({"masked_lm_prob": 0.0}, r"`masked_lm_prob` must be in \(0, 1\]"),
        ({"masked_lm_prob": 15.0}, "masked_lm_prob=15.0"),
        ({"short_seq_prob": -0.1}, "short_seq_prob=-0.1"),
    ],
)
def test_settings_that_make_no_sense_are_named(wrong, message):
    with pytest.raises(InputError, match=message):
        Settings(**wrong)


def test_the_smallest_settings_give_examples(tokenizer):
    smallest = Settings(max_seq_length=5, max_predictions_per_seq=2)
    documents = read_documents(TEXT, tokenizer)
    instances, _ = create_training_instances(
        documents, smallest, random.Random(1)
    )
    assert {len(one.tokens) for one in instances} == {5}


def test_a_vocabulary_without_special_tokens_is_refused():
    with pytest.raises(InputError, match=r"x\.txt lacks \[SEP\], \[MASK\]"):
        check_vocab({"[UNK]": 0, "[CLS]": 1, "a": 2}, "x.txt")


# --------------------------------------------------------------- whole words


def toy_segmenter(text):
    """Words of two characters, split at spaces, too."""
    return [
        part[start : start + 2]
        for part in text.split()
        for start in range(0, len(part), 2)
    ]


def test_segmented_characters_continue_their_word(tokenizer):
    text = "我们喜欢 苹果 cat ."
    pieces = tokenizer.tokenize_with_offsets(text)
    tokens = [piece.token for piece in pieces]
    assert tokens == [*"我们喜欢苹果", "cat", "."]
    # The toy cuts "ca" off, but a token that starts a word is not joined.
    assert mark_words(text, pieces, toy_segmenter) == [0, 1, 0, 1, 0, 1, 0, 0]


def test_pieces_of_a_word_stay_together_whatever_the_segmenter_says(tokenizer):
    text = "faster"
    pieces = tokenizer.tokenize_with_offsets(text)
    assert [piece.token for piece in pieces] == ["fast", "##er"]
    assert mark_words(text, pieces, lambda text: ["fast", "er"]) == [0, 1]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["我", "喜欢"], "returned '喜欢' where '们喜欢' comes next"),
        (["我们", "XX"], "returned 'XX'"),
        (["我们"], "left out '喜欢'"),
    ],
)
def test_words_that_are_not_those_of_the_text_are_refused(
    tokenizer, words, message
):
    text = "我们喜欢"
    pieces = tokenizer.tokenize_with_offsets(text)
    with pytest.raises(InputError, match=message):
        mark_words(text, pieces, lambda text: words)


def test_whole_word_masking_masks_segmented_words_as_a_whole(tokenizer):
    whole = Settings(
        max_seq_length=16,
        max_predictions_per_seq=4,
        do_whole_word_mask=True,
        masked_lm_prob=0.3,
        dupe_factor=20,
        short_seq_prob=0.0,
    )
    # A document of one sentence is both A and B, never cut: 3 + 2 * 6 = 15.
    lines = ["我们喜欢苹果", "", "苹果喜欢我们"]
    documents = read_documents(lines, tokenizer, True, toy_segmenter)
    instances, _ = create_training_instances(documents, whole, random.Random(3))
    assert len(instances) == 40
    for instance in instances:
        assert len(instance.tokens) == 15
        # Words start at 1, 3, 5, and, after [SEP] at 7, at 8, 10, 12.
        start = instance.masked_lm_positions[::2]
        assert set(start) <= {1, 3, 5, 8, 10, 12}
        end = [place + 1 for place in start]
        assert instance.masked_lm_positions[1::2] == end
        assert len(start) == 2


def test_the_segmenter_changes_no_tokens(tokenizer):
    plain = read_documents(TEXT, tokenizer, whole_words=True)
    segmented = read_documents(TEXT, tokenizer, True, str.split)
    assert segmented.token_ids.tolist() == plain.token_ids.tolist()
    assert list(segmented.sentence_starts) == list(plain.sentence_starts)
    assert segmented.continues.tolist() == plain.continues.tolist()


@pytest.mark.parametrize(
    ("continues", "starts"),
    [([0, 1, 1, 0], [0, 3]), ([1, 0, 1], [0, 1]), ([1, 1], [0])],
)
def test_the_first_token_always_starts_a_word(continues, starts):
    assert find_word_starts(continues) == starts


def test_whole_words_need_documents_that_know_them(tokenizer):
    documents = read_documents(TEXT, tokenizer)
    whole = Settings(do_whole_word_mask=True)
    with pytest.raises(ValueError, match="read with `whole_words`"):
        create_training_instances(documents, whole, random.Random(1))
