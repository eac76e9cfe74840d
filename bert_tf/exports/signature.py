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
from bert_tf.tasks.classification.datasets import LABELS_FILE
from bert_tf.tasks.pretraining import cloze
from bert_tf.tasks.squad import graph_answers
from bert_tf.tasks.vectors import lines
from bert_tf.tokenization import FullTokenizer

ROWS_AT_ONCE = 32
"""Windows that are computed together; the rest waits, to bound memory."""

NUMBERS = tf.TensorSpec([None, None], tf.int32)
STRINGS = tf.TensorSpec([None], tf.string)

_DEVICE = "CPU"  # For strings, and for the few numbers that rows are made of.


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
        with tf.device(_DEVICE):
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
        with tf.device(_DEVICE):
            return graph_rows.fill(
                rows, *pieces, special, self.rules.max_seq_length
            )

    def rows_of_texts(self, text_a, text_b):
        """The model's inputs, and how many pieces were cut off each."""
        with tf.device(_DEVICE):
            pieces = self.tokenize_pair(text_a, text_b)
            rows, num_cut = graph_rows.truncate(
                *pieces, self.rules.max_seq_length
            )
            return self.fill(rows, pieces), num_cut

    def windows_of_texts(self, text_a, text_b, doc_stride):
        """`graph_features.PairWindows` of texts, and the pieces of both."""
        with tf.device(_DEVICE):
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


class Classifier(Served):
    """Says which label a text has.

    Args:
        rules: `TextRules`.
        model: what `models.classifier` returns.
        labels: their names, in the order of their ids.
        window_rules: `WindowRules`.
        window_pooling: how the logits of a text's windows become one, as in
            `classification.WINDOW_POOLINGS`.
    """

    head = "classifier"

    def __init__(self, rules, model, labels, window_rules, window_pooling):
        super().__init__(rules, model)
        self.plain.labels = list(labels)
        self.plain.window_rules = window_rules
        self.window_pooling = window_pooling

    def settings(self):
        doc_stride = self.plain.window_rules.doc_stride
        return {
            "labels": self.plain.labels,
            "doc_stride": doc_stride,
            "window_pooling": doc_stride and self.window_pooling,
        }

    def files(self):
        return {LABELS_FILE: "".join(f"{x}\n" for x in self.plain.labels)}

    def row_outputs(self, rows, outputs):
        logits = outputs["logits"]
        return {"logits": logits, "probabilities": tf.nn.softmax(logits)}

    def text_outputs(self, text_a, text_b):
        if self.plain.window_rules.doc_stride is None:
            rows, num_cut = self.rows_of_texts(text_a, text_b)
            logits = self.forward(rows)["logits"]
        else:
            logits, num_cut = self._logits_of_windows(text_a, text_b)
        probabilities = tf.nn.softmax(logits)
        labels = tf.constant(self.plain.labels, tf.string)
        return {
            "probabilities": probabilities,
            "labels": tf.broadcast_to(labels, tf.shape(probabilities)),
            "label": tf.gather(labels, tf.argmax(probabilities, axis=-1)),
            "num_cut": num_cut,
        }

    def _logits_of_windows(self, text_a, text_b):
        rules = self.plain.window_rules
        windows, pieces = self.windows_of_texts(
            text_a, text_b, rules.doc_stride
        )
        texts = windows.rows.texts

        def logits_of(first, last):
            inputs = self.fill(windows.rows.part(first, last), pieces)
            return [self.forward(inputs)["logits"]]

        (logits,) = graph_rows.in_chunks(
            logits_of,
            tf.size(texts, tf.int64),
            rules.rows_at_once,
            [tf.TensorSpec([None, len(self.plain.labels)], tf.float32)],
        )
        pool = {
            "mean": tf.math.unsorted_segment_mean,
            "max": tf.math.unsorted_segment_max,
        }[self.window_pooling]
        count = tf.size(text_a, tf.int64)
        return pool(logits, texts, count), windows.num_cut


@dataclasses.dataclass(frozen=True)
class SpanRules:
    """How answers are looked for; as in `answer.Reader`.

    Attributes:
        doc_stride: how far apart windows start, in word pieces.
        max_query_length: word pieces of a question; the rest is cut.
        max_answer_length: the most word pieces of an answer.
        null_score_diff_threshold: a question is left unanswered if the null
            score is above that of the best span by more than this. None if
            every question has an answer.
        rows_at_once: windows that are computed together.
    """

    doc_stride: int
    max_query_length: int = 64
    max_answer_length: int = 30
    null_score_diff_threshold: float | None = None
    rows_at_once: int = ROWS_AT_ONCE


class Span(Served):
    """Answers questions about texts of any length.

    Args:
        rules: `TextRules`.
        model: what `models.span` returns.
        span_rules: `SpanRules`.
    """

    head = "span"
    text_inputs = ("question", "context")

    def __init__(self, rules, model, span_rules):
        super().__init__(rules, model)
        self.plain.span_rules = span_rules

    def settings(self):
        rules = self.plain.span_rules
        return {
            "doc_stride": rules.doc_stride,
            "max_query_length": rules.max_query_length,
            "max_answer_length": rules.max_answer_length,
            "version_2_with_negative": (
                rules.null_score_diff_threshold is not None
            ),
            "null_score_diff_threshold": rules.null_score_diff_threshold,
        }

    def samples(self):
        return {
            "serve_text": {
                "question": ["Who wrote the book?"],
                "context": ["The book was written by a friend of mine."],
            }
        }

    def row_outputs(self, rows, outputs):
        return dict(outputs)

    def text_signatures(self):
        def both(**texts):
            return self.text_outputs(*as_many(texts, *self.text_inputs))

        inputs = dict.fromkeys(self.text_inputs, STRINGS)
        return {"serve_text": _trace(both, inputs)}

    def text_outputs(self, question, context):
        rules = self.plain.span_rules
        with tf.device(_DEVICE):
            documents = self.tokenizer.tokenize(context)
            pieces = self.tokenize(question), documents.ids
            asked = pieces[0].row_lengths()
            asked = tf.minimum(asked, rules.max_query_length)
            # Nothing is looked for where nothing is asked.
            num_pieces = tf.where(asked > 0, documents.ids.row_lengths(), 0)
            # [CLS] and [SEP] around the question, and the last [SEP].
            room = self.rules.max_seq_length - 3 - asked
            windows = graph_rows.split_documents(
                num_pieces, room, rules.doc_stride
            )
            is_owned = graph_rows.find_max_context(windows, num_pieces)
            rows = graph_rows.Rows(
                windows.rows,
                tf.zeros_like(windows.rows),
                tf.gather(asked, windows.rows),
                windows.starts,
                windows.lengths,
            )

        def find_best(first, last):
            some = rows.part(first, last)
            outputs = self.forward(self.fill(some, pieces))
            with tf.device(_DEVICE):
                may_start = is_owned[first:last].to_tensor(False)
            return graph_answers.best_in_windows(
                outputs["start_logits"],
                outputs["end_logits"],
                some.lengths_a + 2,
                some.lengths_b,
                may_start,
                rules.max_answer_length,
            )

        found = graph_rows.in_chunks(
            find_best,
            tf.size(windows.rows, tf.int64),
            rules.rows_at_once,
            graph_answers.WindowBest.specs(),
        )
        with tf.device(_DEVICE):
            best = graph_answers.best_of_questions(
                graph_answers.WindowBest(*found),
                windows,
                tf.size(question, tf.int64),
                rules.null_score_diff_threshold,
            )
            return _cut_out(best, context, documents)


def _cut_out(best, context, documents):
    """The outputs of a text signature, with the answers' text and places."""

    def place(ragged, piece):
        # Where there is no answer there may not be a piece either.
        values = tf.concat([ragged.values, [-1]], axis=0)
        nowhere = tf.size(values, tf.int64) - 1
        index = tf.where(best.is_answered, ragged.row_starts() + piece, nowhere)
        return tf.gather(values, index)

    places = {
        "start": place(documents.char_starts, best.first),
        "end": place(documents.char_ends, best.last),
        "start_byte": place(documents.starts, best.first),
        "end_byte": place(documents.ends, best.last),
    }
    length = places["end_byte"] - places["start_byte"]
    begin = tf.maximum(places["start_byte"], 0)
    outputs = {
        "answer": tf.strings.substr(context, begin, length),
        "score": tf.cast(best.probability, tf.float32),
        **places,
    }
    if best.null_probability is not None:
        null = tf.cast(best.null_probability, tf.float32)
        outputs["null_probability"] = null
    return outputs


class Pretraining(Served):
    """Guesses masked pieces, and whether one text follows another.

    Args:
        rules: `TextRules`.
        model: what `models.pretraining` returns.
        top_k: how many pieces are guessed for each [MASK].
        next_sentence: whether the second is wanted.
        rows_at_once: rows that are computed together.
    """

    head = "pretraining"
    row_inputs = (*models.ENCODER_INPUTS, "masked_lm_positions")
    text_inputs = ("text", "text_b")

    def __init__(
        self, rules, model, top_k, next_sentence, rows_at_once=ROWS_AT_ONCE
    ):
        super().__init__(rules, model)
        self.top_k = top_k
        self.next_sentence = next_sentence
        self.rows_at_once = rows_at_once

    def settings(self):
        return {
            "num_predictions": self.top_k,
            "next_sentence": self.next_sentence,
        }

    def samples(self):
        text = [f"A short {cloze.MASK}."]
        return {
            "serve_text": {"text": text},
            "serve_text_pair": {"text": text, "text_b": ["Another one."]},
        }

    def row_outputs(self, rows, outputs):
        found = {"masked_lm_logits": outputs["masked_lm_logits"]}
        if self.next_sentence:
            logits = outputs["next_sentence_logits"]
            found["next_sentence_logits"] = logits
            found["next_sentence_probabilities"] = tf.nn.softmax(logits)
        return found

    def from_rows(self, rows):
        positions = rows["masked_lm_positions"]
        shape = tf.shape(rows["input_ids"])
        checks = [
            tf.debugging.Assert(
                tf.reduce_all((positions >= 0) & (positions < shape[1])),
                [
                    "masked_lm_positions must be below the length of the rows,",
                    shape[1],
                    ". Received:",
                    positions,
                ],
                summarize=64,
            ),
            tf.debugging.assert_equal(
                tf.shape(positions)[0],
                shape[0],
                "There must be masked_lm_positions for each row. How many:",
            ),
        ]
        with tf.control_dependencies(checks):
            positions = tf.identity(positions)
        return super().from_rows({**rows, "masked_lm_positions": positions})

    def tokenize(self, texts):
        return self.tokenizer.tokenize(
            texts, with_offsets=False, literal=cloze.MASK
        ).ids

    def text_outputs(self, text_a, text_b):
        with tf.device(_DEVICE):
            pieces = self.tokenize_pair(text_a, text_b)
            asked = graph_rows.mask_rows(
                *pieces,
                self.rules.max_seq_length,
                self.rules.id_of(cloze.MASK),
            )

        def guess(first, last):
            inputs = self.fill(asked.rows.part(first, last), pieces)
            with tf.device(_DEVICE):
                positions = asked.positions[first:last]
                is_asked = tf.sequence_mask(positions.row_lengths())
                inputs["masked_lm_positions"] = positions.to_tensor(0)
            outputs = self.forward(inputs)
            logits = tf.boolean_mask(outputs["masked_lm_logits"], is_asked)
            scores, ids = tf.math.top_k(tf.nn.softmax(logits), self.top_k)
            follows = tf.nn.softmax(outputs["next_sentence_logits"])
            return ids, scores, follows[:, 0]

        ids, scores, follows = graph_rows.in_chunks(
            guess,
            tf.size(asked.rows.texts, tf.int64),
            self.rows_at_once,
            [
                tf.TensorSpec([None, self.top_k], tf.int32),
                tf.TensorSpec([None, self.top_k], tf.float32),
                tf.TensorSpec([None], tf.float32),
            ],
        )
        with tf.device(_DEVICE):
            pieces = tf.constant(self.rules.pieces(), tf.string)
            found = {
                "tokens": self._by_text(asked, tf.gather(pieces, ids)),
                "token_scores": self._by_text(asked, scores),
                "num_cut": asked.num_cut,
            }
            if self.next_sentence:
                # A pair has one row, whose value this is.
                of_text = tf.math.unsorted_segment_max(
                    follows, asked.rows.texts, tf.size(text_a, tf.int64)
                )
                found["next_sentence_probability"] = tf.where(
                    asked.is_pair, of_text, 0.0
                )
        return found

    def _by_text(self, asked, guesses):
        """[B, M, K] of [Q, K], what there is for each position asked for."""
        extra = tf.cast(asked.has_extra, tf.int64)
        is_mask = tf.repeat(
            tf.tile([False, True], [tf.size(extra)]),
            tf.reshape(tf.stack([extra, asked.num_masks], axis=1), [-1]),
        )
        guesses = tf.RaggedTensor.from_row_lengths(
            tf.boolean_mask(guesses, is_mask), asked.num_masks, validate=False
        )
        return guesses.to_tensor(shape=[None, None, self.top_k])


class Features(Served):
    """Gives vectors of texts, or of their tokens.

    Args:
        rules: `TextRules`.
        model: what `models.encoder` returns, tokens not pooled.
        pooling: one of `feature_extraction.POOLINGS`.
        layers: what the model was made with.
        has_pooler: whether `pooled_output` means anything.
        window_rules: `WindowRules`.
    """

    head = "features"

    def __init__(self, rules, model, pooling, layers, has_pooler, window_rules):
        super().__init__(rules, model)
        self.pooling = pooling
        self.over_tokens = lines.POOLINGS[pooling].over_tokens
        self.has_pooler = has_pooler
        self.plain.layers = list(layers)
        self.plain.window_rules = window_rules
        _, _, *self.plain.shape = model.output["values"].shape

    def settings(self):
        return {
            "pooling": self.pooling,
            "layers": self.plain.layers,
            "doc_stride": self.plain.window_rules.doc_stride,
        }

    def row_outputs(self, rows, outputs):
        found = {"sequence_output": outputs["sequence_output"]}
        if self.has_pooler:
            found["pooled_output"] = outputs["pooled_output"]
        return {**found, "embedding": self._embedding(rows, outputs)}

    def _embedding(self, rows, outputs):
        """What there is of one row for each text."""
        values = outputs["values"]  # [B, S, L, D]
        if self.over_tokens is not None:
            values = tf.transpose(values, [0, 2, 1, 3])
            values = models.pool(values, rows["input_mask"], self.over_tokens)
        return _side_by_side(values)

    def text_outputs(self, text_a, text_b):
        if self.plain.window_rules.doc_stride is not None:
            return self._outputs_of_windows(text_a, text_b)
        rows, num_cut = self.rows_of_texts(text_a, text_b)
        embedding = self._embedding(rows, self.forward(rows))
        found = {"embedding": embedding, "num_cut": num_cut}
        if self.over_tokens is None:
            is_token = rows["input_mask"] > 0
            found["tokens"] = self._names(rows["input_ids"], is_token)
        return found

    def _names(self, ids, is_token):
        with tf.device(_DEVICE):
            pieces = tf.constant(self.rules.pieces(), tf.string)
            return tf.where(is_token, tf.gather(pieces, ids), "")

    def _outputs_of_windows(self, text_a, text_b):
        # As `feature_extraction.join_windows` puts windows together.
        rules = self.plain.window_rules
        windows, pieces = self.windows_of_texts(
            text_a, text_b, rules.doc_stride
        )
        texts = windows.rows.texts
        kind = tf.float64 if self.over_tokens == "mean" else tf.float32

        def inputs_of(first, last):
            """The model's inputs, and which of their tokens are owned."""
            rows = self.fill(windows.rows.part(first, last), pieces)
            with tf.device(_DEVICE):
                shape = tf.shape(rows["input_ids"], tf.int64)
                return rows, windows.is_owned[first:last].to_tensor(
                    False, shape=shape
                )

        def pool_each(first, last):
            rows, is_owned = inputs_of(first, last)
            values = self.forward(rows)["values"]
            if self.over_tokens is None:
                ids = tf.boolean_mask(rows["input_ids"], is_owned)
                return [tf.boolean_mask(values, is_owned), ids]
            if self.over_tokens == "first":
                return [values[:, 0]]
            is_owned = is_owned[:, :, None, None]
            values = tf.cast(values, kind)
            if self.over_tokens == "mean":
                values = tf.where(is_owned, values, 0.0)
                return [tf.reduce_sum(values, axis=1)]
            values = tf.where(is_owned, values, values.dtype.min)
            return [tf.reduce_max(values, axis=1)]

        specs = [tf.TensorSpec([None, *self.plain.shape], kind)]
        if self.over_tokens is None:
            specs.append(tf.TensorSpec([None], tf.int32))
        values, *ids = graph_rows.in_chunks(
            pool_each, tf.size(texts, tf.int64), rules.rows_at_once, specs
        )
        count = tf.size(text_a, tf.int64)
        owned = tf.reduce_sum(tf.cast(windows.is_owned, tf.int64), axis=1)
        lengths = tf.math.unsorted_segment_sum(owned, texts, count)
        found = {"num_cut": windows.num_cut}
        if self.over_tokens is None:
            ids = tf.RaggedTensor.from_row_lengths(*ids, lengths)
            found["tokens"] = self._names(
                ids.to_tensor(), tf.sequence_mask(lengths)
            )
            values = tf.RaggedTensor.from_row_lengths(values, lengths)
            values = values.to_tensor(shape=[None, None, *self.plain.shape])
        elif self.over_tokens == "mean":
            values = tf.math.unsorted_segment_sum(values, texts, count)
            values /= tf.cast(lengths, kind)[:, None, None]
            values = tf.cast(values, tf.float32)
        elif self.over_tokens == "max":
            values = tf.math.unsorted_segment_max(values, texts, count)
        else:
            values = tf.math.unsorted_segment_mean(values, texts, count)
        return {**found, "embedding": _side_by_side(values)}


def _side_by_side(values):
    """[..., L * D] of [..., L, D]."""
    *dimensions, layers, width = values.shape
    joined = tf.concat([tf.shape(values)[:-2], [layers * width]], axis=0)
    joined = tf.reshape(values, joined)
    return tf.ensure_shape(joined, [*dimensions, layers * width])
