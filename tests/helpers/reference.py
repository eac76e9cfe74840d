"""The Python models and functions whose numbers exported models must give."""

import functools

import numpy as np
import tensorflow as tf

from bert_tf import models, tokenization
from bert_tf.checkpoints import inference
from bert_tf.data import packing
from bert_tf.exports.results import Entity, Tags
from bert_tf.tasks.ner import schemes
from bert_tf.tasks.ner.windows import WindowMaker
from bert_tf.tasks.pretraining.language_model import LanguageModel
from bert_tf.tasks.squad.reader import Reader
from bert_tf.tasks.vectors import lines
from bert_tf.tokenization import FullTokenizer
from helpers import exported
from helpers.exported import LABELS, SPANS, THRESHOLD, TOKEN_LABELS
from helpers.golden import TINY, read_config

# Vectors reach 5, and rows of another length are added up in another order.
VECTOR_NOISE = 5e-6

HEADS = ("classifier", "span", "pretraining", "features", "choices")

TEXTS = [
    "Who wrote the book?",
    "",
    "the quiet museum measured John Smith . " * 30,
    "Très bien — 東京 Ὀδυσσεύς! \u200b\u0000 naïve",
    " \t\n",
    "e\u0301" * 50,
    "unaffable " * 21,
]
PAIRS = [
    ("the museum", "John Smith was born in 1895."),
    ("a", ""),
    ("", "b c"),
    ("the book " * 40, "short"),
    ("short", "the book " * 40),
    ("the quiet museum " * 20, "measured John Smith " * 20),
    ("\u200b", "x"),
]


@functools.cache
def tokenizer():
    return FullTokenizer(exported.BESIDE["vocab_file"])


@functools.cache
def python_model(name):
    """A forward pass in Python, with the same weights.

    At padding, too, it gives what an export gives.
    """
    config = read_config(TINY.parent)
    every = lines.POOLINGS["none"]
    build = {
        "classifier": lambda: models.classifier(config, len(LABELS)),
        "span": lambda: models.span(config),
        "choices": lambda: models.multiple_choice(config),
        "pretraining": lambda: models.pretraining(config),
        "features": lambda: models.encoder(config, exported.LAYERS, every),
        "tokens": lambda: models.encoder(config, exported.TOKEN_LAYERS, every),
        "ner": lambda: models.token_classifier(config, len(TOKEN_LABELS)),
    }[name]
    model, _ = inference.load_model(
        build,
        config,
        exported.CHECKPOINTS[name],
        ("bert/pooler/",),
        skip_padding=name != "span",
    )
    return inference.compile_forward(model)


def rows_of(pairs, max_seq_length):
    """Rows of texts or pairs, packed in Python, without padding."""
    for text_a, text_b in pairs:
        packed = packing.truncate_and_pack(
            tokenizer().tokenize(text_a),
            tokenizer().tokenize(text_b),
            max_seq_length,
        )
        ids = tokenizer().convert_tokens_to_ids(packed.tokens)
        row = (ids, packed.segment_ids)
        yield inference.encoder_inputs([row], len(ids))


def softmax(logits):
    powers = np.exp(logits - logits.max(-1, keepdims=True), dtype=np.float64)
    return powers / powers.sum(-1, keepdims=True)


def assert_close(got, want, atol=1e-6):
    np.testing.assert_allclose(got, want, rtol=1e-6, atol=atol)


def random_rows(rng, name):
    lengths = [9, 23, 1, 14]
    rows = {key: np.zeros((4, 23), np.int32) for key in models.ENCODER_INPUTS}
    for row, length in enumerate(lengths):
        rows["input_ids"][row, :length] = rng.integers(0, 1027, length)
        rows["input_mask"][row, :length] = 1
        rows["segment_ids"][row, length // 2 : length] = 1
    if name == "pretraining":
        rows["masked_lm_positions"] = rng.integers(0, 23, (4, 3), np.int32)
    if name == "choices":
        # Of each row only the first token is [CLS].
        cls = tokenizer().vocab["[CLS]"]
        rows["input_ids"][rows["input_ids"] == cls] += 1
        rows["input_ids"][:, 0] = cls
        rows = {key: x.reshape(2, 2, 23) for key, x in rows.items()}
    return rows


def as_example(row):
    built = tf.train.Example()
    for name, values in row.items():
        built.features.feature[name].int64_list.value.extend(
            values.ravel().tolist()
        )
    return built.SerializeToString()


def as_examples(rows):
    return [as_example(dict(zip(rows, row))) for row in zip(*rows.values())]


def wanted_of_rows(name, rows):
    """Outputs of serving_default, computed by the Python model."""
    want = dict(python_model(name)(rows))
    if name in ("classifier", "choices"):
        want["probabilities"] = softmax(want["logits"])
    if name == "pretraining":
        chances = softmax(want["next_sentence_logits"])
        want["next_sentence_probabilities"] = chances
    if name == "features":
        values, lengths = want.pop("values"), rows["input_mask"].sum(1)
        want["embedding"] = [
            one[:length].mean(0).ravel() for one, length in zip(values, lengths)
        ]
    return want


def windows_of(text_a, text_b):
    return packing.pack_windows(
        tokenizer().tokenize(text_a),
        tokenizer().tokenize(text_b),
        24,
        exported.STRIDE,
    )


def window_inputs(window):
    ids = tokenizer().convert_tokens_to_ids(window.tokens)
    return inference.encoder_inputs([(ids, window.segment_ids)], len(ids))


@functools.cache
def reader(name):
    more = {}
    if name == "span_v2":
        more = {
            "version_2_with_negative": True,
            "null_score_diff_threshold": THRESHOLD,
        }
    return Reader(
        exported.CHECKPOINTS[name], **exported.BESIDE, **SPANS, **more
    )


@functools.cache
def language_model():
    return LanguageModel(exported.CHECKPOINTS["pretraining"], max_seq_length=24)


def token_probabilities(words):
    """float [words, L], of a sentence."""
    maker = WindowMaker(tokenizer(), exported.LENGTHS["ner"])
    found = {}
    for window in maker.windows([words], 0):
        ids = tokenizer().convert_tokens_to_ids(window.tokens)
        rows = inference.encoder_inputs(
            [(ids, [0] * len(ids))], exported.LENGTHS["ner"]
        )
        (logits,) = python_model("ner")(rows)["logits"]
        found.update(zip(window.words, softmax(logits)[window.positions]))
    return np.array([found[word] for word in range(len(words))]).reshape(-1, 3)


def python_tags(text):
    """The result for a text: words are what the tokenizer splits one by one."""
    matches = list(tokenization.WORD.finditer(text))
    words = [match.group() for match in matches]
    shares = token_probabilities(words)
    labels = [TOKEN_LABELS[index] for index in shares.argmax(-1)]
    entities = []
    for kind, first, end in schemes.find_entities(labels):
        begin, stop = matches[first].start(), matches[end - 1].end()
        entity = Entity(
            kind, text[begin:stop], begin, stop, shares[first].max()
        )
        entities.append(entity)
    return Tags(labels, entities, words, list(shares.max(-1, initial=0)))
