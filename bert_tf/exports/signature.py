"""What a SavedModel of bert_tf does: text in, answers out, in one graph.

Comes in: a Keras model with its weights, and how to make rows for it of text.
Goes out: a `tf.Module` for each head, with the weights, the tokenizer and a
concrete function for each signature. They need neither Keras nor bert_tf once
they are saved. Where a model comes from, and the folder that it is written to,
are for `serving.py`, which also lists what goes into and comes out of each
signature.

The steps are those of the Python rooms, as a graph: pieces of texts in
`graph_tokenizer.py`, rows and windows in `graph_features.py`, spans in
`graph_answers.py`.
"""

import dataclasses

import tensorflow as tf

from bert_tf import models
from bert_tf.checkpoints import inference
from bert_tf.exports import graph_rows
from bert_tf.exports.graph_rows import Special
from bert_tf.exports.graph_tokenizer import GraphTokenizer
from bert_tf.modeling import BertConfig
from bert_tf.tokenization import FullTokenizer

ROWS_AT_ONCE = 32
"""Windows that are computed together; the rest waits, to bound memory."""

NUMBERS = tf.TensorSpec([None, None], tf.int32)
STRINGS = tf.TensorSpec([None], tf.string)

DEVICE = "CPU"  # For strings, and for the few numbers that rows are made of.


@dataclasses.dataclass(frozen=True)
class TextRules:
    """How texts become rows of a model.

    Attributes:
        config: the model's `BertConfig`.
        tokenizer: with its vocabulary.
        max_seq_length: the most word pieces of a row.
    """

    config: BertConfig
    tokenizer: FullTokenizer
    max_seq_length: int

    @property
    def do_lower_case(self):
        """Whether texts are lower-cased."""
        return self.tokenizer.basic_tokenizer.do_lower_case

    def id_of(self, token):
        """The id of a token of the vocabulary."""
        return self.tokenizer.vocab[token]

    def pieces(self):
        """What each id stands for, as `fill_mask` names it."""
        # A vocabulary with a repeated token has ids that no text gets.
        return [
            self.tokenizer.inv_vocab.get(index, f"[id {index}]")
            for index in range(self.config.vocab_size)
        ]


class _Plain:
    """Keeps values out of what TensorFlow saves."""

    def __init__(self, **values):
        vars(self).update(values)


class Served(tf.Module):
    """A model, and the functions that a SavedModel of it offers.

    What is an attribute gets saved: the weights, the tokenizer's tables. The
    Keras model is none; the functions keep what they need of it.

    Args:
        rules: `TextRules`.
        model: a `keras.Model`.
    """

    head = ""
    """Its name in assets/bert_tf.json."""

    row_inputs = models.ENCODER_INPUTS
    """What rows that come as numbers have."""

    text_inputs = ("text_a", "text_b")
    """What text signatures call their texts. The second is left out in
    serve_text; serve_text_pair takes both."""

    def __init__(self, rules, model):
        super().__init__()
        # Not an attribute of itself: it would be saved once more.
        forward = inference.trace_forward(model)
        self.plain = _Plain(rules=rules, forward=forward)
        used = forward.get_concrete_function().variables
        used = set(map(id, used))
        self.weights = {
            weight.path: weight.value
            for weight in model.weights
            if id(weight.value) in used
        }
        self.tokenizer = GraphTokenizer(
            rules.tokenizer.vocab, rules.do_lower_case
        )

    @property
    def rules(self):
        """Its `TextRules`."""
        return self.plain.rules

    def forward(self, inputs):
        """What the model says of its inputs; one function for all callers."""
        return self.plain.forward(inputs)

    def settings(self):
        """What assets/bert_tf.json says of this head only."""
        return {}

    def files(self):
        """Texts of further assets, by name."""
        return {}

    def samples(self):
        """For each text signature its inputs, one text of each."""
        first, second = self.text_inputs
        return {
            "serve_text": {first: ["A short text."]},
            "serve_text_pair": {first: ["A text."], second: ["Another one."]},
        }

    def row_outputs(self, rows, outputs):
        """What serving_default and serve_examples return of the model's."""
        raise NotImplementedError

    def text_outputs(self, first, second):
        """What text signatures return; string [B] each, "" for no second."""
        raise NotImplementedError

    def signatures(self):
        """Concrete functions by the names of signatures."""
        return {
            "serving_default": _trace(
                lambda **rows: self.from_rows(rows),
                dict.fromkeys(self.row_inputs, NUMBERS),
            ),
            "serve_examples": _trace(
                lambda examples: self.from_examples(examples),
                {"examples": STRINGS},
            ),
            **self.text_signatures(),
        }

    def text_signatures(self):
        """Those of them that take text."""
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

        found = {"serve_text": _trace(alone, {first: STRINGS})}
        # With one token type there are no pairs.
        if self.rules.config.type_vocab_size > 1:
            inputs = {first: STRINGS, second: STRINGS}
            found["serve_text_pair"] = _trace(pair, inputs)
        return found

    def from_rows(self, rows):
        """Outputs for int32 tensors by name, [B, S] and whatever else."""
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

    def tokenize_pair(self, text_a, text_b):
        """Ids of the pieces of both."""
        pieces = self.tokenize(tf.concat([text_a, text_b], axis=0))
        count = tf.size(text_a)
        return pieces[:count], pieces[count:]

    def fill(self, rows, pieces):
        """`graph_features.Rows` of two texts' pieces, as the model's inputs."""
        special = Special(self.rules.id_of("[CLS]"), self.rules.id_of("[SEP]"))
        with tf.device(DEVICE):
            return graph_rows.fill(
                rows, *pieces, special, self.rules.max_seq_length
            )

    def rows_of_texts(self, text_a, text_b):
        """The model's inputs, and how many pieces were cut off each."""
        with tf.device(DEVICE):
            pieces = self.tokenize_pair(text_a, text_b)
            rows, num_cut = graph_rows.truncate(
                *pieces, self.rules.max_seq_length
            )
            return self.fill(rows, pieces), num_cut

    def windows_of_texts(self, text_a, text_b, doc_stride):
        """`graph_features.PairWindows` of texts, and the pieces of both."""
        with tf.device(DEVICE):
            pieces = self.tokenize_pair(text_a, text_b)
            windows = graph_rows.pair_windows(
                *pieces, self.rules.max_seq_length, doc_stride
            )
            return windows, pieces


def as_many(texts, *names):
    """Texts by name, once there are as many of each.

    Raises:
        InvalidArgumentError: when it runs: there are not.
    """
    first, *others = names
    checks = [
        tf.debugging.assert_equal(
            tf.shape(texts[name]),
            tf.shape(texts[first]),
            f"There must be as many of {name} as of {first}. Received:",
        )
        for name in others
    ]
    with tf.control_dependencies(checks):
        return [tf.identity(texts[name]) for name in names]


def _trace(function, specs):
    specs = {
        name: tf.TensorSpec(spec.shape, spec.dtype, name)
        for name, spec in specs.items()
    }
    # There is no Python in here that would have to become part of a graph.
    traced = tf.function(function, autograph=False)
    return traced.get_concrete_function(**specs)


@dataclasses.dataclass(frozen=True)
class WindowRules:
    """How texts that are too long for one row are read.

    Attributes:
        doc_stride: how far apart windows start, in word pieces. None reads one
            row of each text, and cuts off what is over.
        rows_at_once: windows that are computed together.
    """

    doc_stride: int | None = None
    rows_at_once: int = ROWS_AT_ONCE
