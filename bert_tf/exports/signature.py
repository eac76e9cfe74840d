"""The base of all exported models: text in, answers out, in one graph.

A `Served` is a `tf.Module` with the weights of a Keras model, a tokenizer and a
concrete function for each signature. Once saved, it needs neither Keras nor
bert_tf. docs/serving.md lists the signatures of each head.
"""

import dataclasses
from typing import Any

import numpy as np
import tensorflow as tf

from bert_tf import errors, models
from bert_tf.checkpoints import inference
from bert_tf.checkpoints.casing import casing_of
from bert_tf.data import packing
from bert_tf.errors import InputError
from bert_tf.exports import graph_rows
from bert_tf.exports.graph_tokenizer import GraphTokenizer
from bert_tf.exports.settings import ROWS_AT_ONCE
from bert_tf.modeling import BertConfig
from bert_tf.tokenization import FullTokenizer

NUMBERS = tf.TensorSpec([None, None], tf.int32)
STRINGS = tf.TensorSpec([None], tf.string)

DEVICE = "CPU"
"""Device for strings, and for the few numbers that rows are made of."""


@dataclasses.dataclass(frozen=True)
class TextRules:
    """How texts become rows of a model.

    Attributes:
        config: the model's `BertConfig`.
        tokenizer: its `FullTokenizer`.
        max_seq_length: the most word pieces of a row.
    """

    config: BertConfig
    tokenizer: FullTokenizer
    max_seq_length: int

    @property
    def casing(self):
        """What is done to texts, a `casing.Casing`."""
        return casing_of(self.tokenizer)

    def id_of(self, token):
        """The id of a token of the vocabulary."""
        return self.tokenizer.vocab[token]

    def pieces(self):
        """The token of each id."""
        # A vocabulary with a repeated token has ids that no text gets.
        return [
            self.tokenizer.inv_vocab.get(index, f"[id {index}]")
            for index in range(self.config.vocab_size)
        ]


@dataclasses.dataclass(frozen=True)
class WindowRules:
    """How texts that are too long for one row are read.

    Attributes:
        doc_stride: distance between the starts of windows, in word pieces. None
            truncates texts to one row.
        rows_at_once: windows that are computed together.
    """

    doc_stride: int | None = None
    rows_at_once: int = ROWS_AT_ONCE


def make_window_rules(rules, doc_stride, rows_at_once):
    """`WindowRules`, checked against the length of the rows.

    Args:
        rules: `TextRules`.
        doc_stride, rows_at_once: of the `WindowRules`.

    Raises:
        InputError: a number is out of range, or windows would have no room for
            both texts of a pair.
    """
    errors.require_positive("rows_at_once", rows_at_once)
    packing.require_stride(doc_stride, rules.max_seq_length)
    if doc_stride is not None and rules.max_seq_length < 5:
        raise InputError(
            "`max_seq_length` must be at least 5 with `doc_stride`: [CLS], two "
            "[SEP] and one token of each text of a pair take that much. "
            f"Received: max_seq_length={rules.max_seq_length}"
        )
    return WindowRules(doc_stride, rows_at_once)


class _Plain:
    """Holds values that TensorFlow must not save."""

    def __init__(self, **values):
        vars(self).update(values)


class Served(tf.Module):
    """A model, and the functions that a SavedModel of it offers.

    Attributes of a `tf.Module` are saved: here the weights and the tokenizer's
    tables. The Keras model is not an attribute.

    Args:
        rules: `TextRules`.
        model: a `keras.Model`.
        rows_at_once: rows of texts that are computed together.
    """

    head = ""
    """Its name in assets/bert_tf.json."""

    row_inputs: tuple[str, ...] = models.ENCODER_INPUTS
    """Inputs of serving_default, and features of serve_examples."""

    row_spec = NUMBERS
    """Of each input of serving_default."""

    text_inputs: tuple[str, ...] = ("text_a", "text_b")
    """Inputs of text signatures: serve_text takes the first, serve_text_pair
    both."""

    def __init__(self, rules, model, rows_at_once=ROWS_AT_ONCE):
        super().__init__()
        # Saved once only, as part of the signatures.
        forward = inference.trace_forward(model)
        self.plain: Any = _Plain(
            rules=rules,
            forward=forward,
            model=model,
            rows_at_once=rows_at_once,
        )
        used = forward.get_concrete_function().variables
        used = set(map(id, used))
        self.weights = {
            weight.path: weight.value
            for weight in model.weights
            if id(weight.value) in used
        }
        self.tokenizer = GraphTokenizer(rules.tokenizer.vocab, *rules.casing)

    # ------------------------------------------------- what a head declares

    def settings(self):
        """The head's own entries of assets/bert_tf.json."""
        return {}

    def graph_settings(self):
        """What its ONNX graph depends on besides the model's config."""
        return self.settings()

    def files(self):
        """Texts of further assets, by name."""
        return {}

    def row_outputs(self, rows, outputs):
        """Outputs of serving_default and serve_examples.

        Args:
            rows: the model's inputs.
            outputs: the model's outputs.
        """
        raise NotImplementedError

    def text_outputs(self, first, second):
        """Outputs of text signatures; string [B] each, "" for no second."""
        raise NotImplementedError

    def text_samples(self):
        """Inputs for each text signature, one text of each."""
        first, second = self.text_inputs
        return {
            "serve_text": {first: ["A short text."]},
            "serve_text_pair": {first: ["A text."], second: ["Another one."]},
        }

    def text_signatures(self):
        """Concrete functions of the signatures that take text, by name."""
        # Traced once for both.
        outputs = tf.function(
            self.text_outputs,
            input_signature=[STRINGS, STRINGS],
            autograph=False,
        )
        first, second = self.text_inputs

        def alone(**texts):
            return outputs(texts[first], tf.zeros_like(texts[first]))

        def pair(**texts):
            return outputs(*as_many(texts, first, second))

        found = {"serve_text": trace(alone, {first: STRINGS})}
        # With one token type there are no pairs.
        if self.rules.config.type_vocab_size > 1:
            inputs = {first: STRINGS, second: STRINGS}
            found["serve_text_pair"] = trace(pair, inputs)
        return found

    # ------------------------------------------------------ for all heads

    @property
    def rules(self):
        """Its `TextRules`."""
        return self.plain.rules

    def forward(self, inputs):
        """The model's outputs; traced once, for all signatures."""
        return self.plain.forward(inputs)

    def signatures(self):
        """Concrete functions by the names of signatures."""
        return {
            "serving_default": trace(
                lambda **rows: self.from_rows(rows),
                dict.fromkeys(self.row_inputs, self.row_spec),
            ),
            "serve_examples": trace(
                lambda examples: self.from_examples(examples),
                {"examples": STRINGS},
            ),
            **self.text_signatures(),
        }

    def samples(self):
        """A small request for each signature: inputs by signature."""
        ids = [self.rules.id_of(token) for token in ("[CLS]", "[SEP]")]
        row = {name: [0, 0] for name in self.row_inputs}
        row |= {"input_ids": ids, "input_mask": [1, 1]}
        # One row, of all dimensions before its tokens.
        shape = (1,) * (self.row_spec.shape.rank - 1) + (2,)
        example = tf.train.Example()
        for name, values in row.items():
            example.features.feature[name].int64_list.value.extend(values)
        return {
            "serving_default": {
                name: np.array(values, np.int32).reshape(shape)
                for name, values in row.items()
            },
            "serve_examples": {"examples": [example.SerializeToString()]},
            **self.text_samples(),
        }

    def from_rows(self, rows):
        """Outputs for int32 tensors by name, such as input_ids [B, S]."""
        rows = graph_rows.checked(rows, self.rules.config)
        return self.row_outputs(rows, self.forward(rows))

    def from_examples(self, examples):
        """Outputs for serialized `tf.train.Example`s, string [B]."""
        with tf.device(DEVICE):
            parsed = graph_rows.parse_examples(examples, self.row_inputs)
            rows = graph_rows.encoder_rows(parsed)
            for name in self.row_inputs[len(rows) :]:
                rows[name] = parsed[name].to_tensor(0)
        return self.from_rows(rows)

    def tokenize(self, texts):
        """Ids of the pieces of each text, int32 [B, (n)]."""
        return self.tokenizer.tokenize(texts, with_offsets=False).ids

    def tokenize_pair(self, text_a, text_b) -> tuple[Any, Any]:
        """Ids of the pieces of both."""
        pieces = self.tokenize(tf.concat([text_a, text_b], axis=0))
        count = tf.size(text_a)
        return pieces[:count], pieces[count:]

    def fill(self, rows, pieces: tuple[Any, Any]):
        """The model's inputs for `graph_rows.Rows` of two texts' pieces."""
        special = graph_rows.Special(
            self.rules.id_of("[CLS]"), self.rules.id_of("[SEP]")
        )
        with tf.device(DEVICE):
            return graph_rows.fill(
                rows, *pieces, special, self.rules.max_seq_length
            )

    def rows_of_texts(self, text_a, text_b):
        """The model's inputs, and the number of pieces cut off each text."""
        with tf.device(DEVICE):
            pieces = self.tokenize_pair(text_a, text_b)
            rows, num_cut = graph_rows.truncate(
                *pieces, self.rules.max_seq_length
            )
            return self.fill(rows, pieces), num_cut

    def windows_of_texts(self, text_a, text_b, doc_stride):
        """`graph_rows.PairWindows` of texts, and the pieces of both."""
        with tf.device(DEVICE):
            pieces = self.tokenize_pair(text_a, text_b)
            windows = graph_rows.pair_windows(
                *pieces, self.rules.max_seq_length, doc_stride
            )
            return windows, pieces


def as_many(texts, *names):
    """Tensors of texts in the order of `names`, checked to be of one length.

    Raises:
        InvalidArgumentError: at run time, where they are not.
    """
    first, *others = names
    checks = [
        tf.debugging.assert_equal(
            tf.shape(texts[name])[:1],
            tf.shape(texts[first])[:1],
            f"There must be as many of {name} as of {first}. Received:",
        )
        for name in others
    ]
    with tf.control_dependencies(checks):
        return [tf.identity(texts[name]) for name in names]


def trace(function, specs):
    """The concrete function of keyword arguments with these `TensorSpec`s."""
    specs = {
        name: tf.TensorSpec(spec.shape, spec.dtype, name)
        for name, spec in specs.items()
    }
    # No Python control flow has to become part of the graph.
    traced = tf.function(function, autograph=False)
    return traced.get_concrete_function(**specs)
