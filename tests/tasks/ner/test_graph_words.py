"""Words and entities in a graph, held to the tokenizer and to plain Python."""

import itertools

import pytest
import tensorflow as tf

from bert_tf import tokenization
from bert_tf.tasks.ner import graph_words, schemes

TEXTS = [
    "Ann Lee lives in New York .",
    "",
    " ",
    "\u200b",
    "a\u200b\u00a0b\tc\nd\r\ne\u3000f\x0bg",
    "我在New York，很好。北京",
    "我",
    "한국어 é\u0301 Kraków\u2028\U0001f600 x\U00020000y",
    "  two  blanks  ",
]


def python_words(text):
    """The words that `BasicTokenizer` splits one by one, and their places."""
    return [
        (match.group(), *match.span())
        for match in tokenization.WORD.finditer(text)
    ]


def test_words_are_those_that_the_tokenizer_divides():
    found = graph_words.split_words(tf.constant(TEXTS))

    splits = found.splits.numpy()
    assert len(splits) == len(TEXTS) + 1
    for number, text in enumerate(TEXTS):
        row = slice(splits[number], splits[number + 1])
        words = [word.decode() for word in found.words.numpy()[row]]
        places = zip(words, found.starts.numpy()[row], found.ends.numpy()[row])
        assert list(places) == python_words(text), text
        in_bytes = zip(
            found.byte_starts.numpy()[row], found.byte_ends.numpy()[row]
        )
        assert [
            text.encode()[start:end].decode() for start, end in in_bytes
        ] == words


def test_there_may_be_no_text():
    found = graph_words.split_words(tf.zeros([0], tf.string))

    assert found.words.shape == (0,)
    assert found.splits.numpy().tolist() == [0]


@pytest.mark.parametrize(
    "labels",
    [
        ("B-A", "B-B", "I-A", "I-B", "O"),
        ("B-A", "E-A", "I-A", "I-B", "O", "S-A", "S-B"),
        ("B", "I", "O"),
        ("DT", "NN", "O"),
        ("B-A", "I-A", "L-A", "U-A", "O", "X", "[PAD]"),
    ],
)
def test_entities_of_all_short_sentences_are_those_of_plain_python(labels):
    sentences = [
        ids
        for length in range(5)
        for ids in itertools.product(range(len(labels)), repeat=length)
    ]
    flat = list(itertools.chain.from_iterable(sentences))
    splits = [0, *itertools.accumulate(map(len, sentences))]

    found = graph_words.find_entities(
        tf.constant(flat, tf.int64), tf.constant(splits, tf.int64), labels
    )

    scheme = schemes.scheme_of_model(labels)
    wanted, wanted_splits = [], [0]
    for begin, ids in zip(splits, sentences):
        for kind, first, end in schemes.find_entities(
            [labels[index] for index in ids], scheme
        ):
            wanted.append((kind, begin + first, begin + end - 1))
        wanted_splits.append(len(wanted))
    kinds = [kind.decode() for kind in found.types.numpy()]
    got = zip(kinds, found.firsts.numpy(), found.lasts.numpy())
    assert list(got) == wanted
    assert found.splits.numpy().tolist() == wanted_splits


def test_there_may_be_no_word():
    found = graph_words.find_entities(
        tf.zeros([0], tf.int64), tf.constant([0, 0], tf.int64), ("B-A", "O")
    )

    assert found.types.shape == (0,)
    assert found.splits.numpy().tolist() == [0, 0]
