"""Small SavedModels to be served, whose answers a test can work out itself."""

import json
import pathlib

import tensorflow as tf

VOCAB = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    "good",
    "bad",
    "##ly",
    ".",
]
LABELS = ["bad", "good"]
IDS = ("input_ids", "input_mask", "segment_ids")


def strings(name):
    return tf.TensorSpec([None], tf.string, name)


# Defaults of signatures must be tensors.
AND_MORE = tf.constant([" and more"])


def counts_of(texts):
    """How often each label stands in texts [B], float [B, L]."""
    words = tf.strings.split(texts)
    counts = [
        tf.reduce_sum(tf.cast(words == label, tf.float32), 1)
        for label in LABELS
    ]
    return tf.stack(counts, 1)


class TextModel(tf.Module):
    """A model that takes texts only, with its function `serve_text`."""

    def signatures(self):
        return {
            "serving_default": self.serve_text,
            "serve_text": self.serve_text,
        }


class HalfPlusThree(tf.Module):
    """The model of TensorFlow Serving's documentation: y = x / 2 + 3."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, "x")])
    def __call__(self, x):
        return {"y": x * 0.5 + 3.0}


class Reviews(tf.Module):
    """A classifier by bert_tf's contract, that counts instead of reading.

    Its logits are how often "bad" and "good" stand in a row of ids, or in a
    text, or in both texts of a pair. `offset` is added to the second one.
    """

    head = "classifier"

    def __init__(self, offset=0.0):
        super().__init__()
        self.offset = tf.Variable(float(offset))

    def finish(self, logits):
        logits += tf.stack([0.0, self.offset])
        return logits, tf.nn.softmax(logits)

    def from_rows(self, input_ids, input_mask, segment_ids):
        counts = [
            tf.reduce_sum(
                tf.where(input_ids == VOCAB.index(label), input_mask, 0), 1
            )
            for label in LABELS
        ]
        logits, shares = self.finish(tf.cast(tf.stack(counts, 1), tf.float32))
        return {"logits": logits, "probabilities": shares}

    def from_examples(self, examples):
        spec = tf.io.RaggedFeature(tf.int64)
        rows = tf.io.parse_example(examples, dict.fromkeys(IDS, spec))
        lengths = rows["input_ids"].row_lengths()
        tf.debugging.assert_equal(
            lengths, lengths[:1], "examples must be equally long"
        )
        return self.from_rows(
            *(tf.cast(rows[name].to_tensor(), tf.int32) for name in IDS)
        )

    def from_text(self, text_a):
        return self.from_pair(text_a, tf.zeros_like(text_a))

    def from_pair(self, text_a, text_b):
        tf.debugging.assert_equal(
            tf.reduce_all(tf.strings.unicode_transcode(
                text_a, "UTF-8", "UTF-8", errors="replace"
            ) == text_a),
            True,
            "Text must be UTF-8.",
        )  # fmt: skip
        texts = tf.strings.join([text_a, text_b], " ")
        _, shares = self.finish(counts_of(texts))
        labels = tf.tile(tf.constant([LABELS]), [tf.shape(shares)[0], 1])
        return {
            "probabilities": shares,
            "labels": labels,
            "label": tf.gather(LABELS, tf.argmax(shares, 1)),
        }

    def signatures(self):
        rows = [tf.TensorSpec([None, None], tf.int32, name) for name in IDS]
        specs = {
            "serving_default": (self.from_rows, rows),
            "serve_examples": (self.from_examples, [strings("examples")]),
            "serve_text": (self.from_text, [strings("text_a")]),
            "serve_text_pair": (
                self.from_pair,
                [strings("text_a"), strings("text_b")],
            ),
        }
        return {
            name: tf.function(function, input_signature=spec)
            for name, (function, spec) in specs.items()
        }


class Masks(TextModel):
    """Guesses for [MASK]s by bert_tf's contract: always "good", then "bad"."""

    head = "pretraining"

    @tf.function(input_signature=[strings("text")])
    def serve_text(self, text):
        parts = tf.strings.regex_replace(text, r"\[MASK\]", "\n")
        parts = tf.strings.split(parts, "\n")
        masks = tf.cast(parts.row_lengths(), tf.int32) - 1
        shown = tf.sequence_mask(masks)[:, :, tf.newaxis]
        return {
            "tokens": tf.where(shown, tf.constant([[["good", "bad"]]]), ""),
            "token_scores": tf.where(shown, tf.constant([[[0.7, 0.2]]]), 0.0),
            "num_cut": tf.zeros_like(masks),
        }


class Spans(TextModel):
    """Answers by bert_tf's contract: where the question stands in the context.

    All rows of a batch are asked the question of the first one.
    """

    head = "span"

    @tf.function(input_signature=[strings("question"), strings("context")])
    def serve_text(self, question, context):
        before = tf.strings.split(context, question[0])
        before = before.to_tensor(shape=[None, 1])[:, 0]
        is_there = before != context
        start = tf.strings.length(before, "UTF8_CHAR")
        length = tf.strings.length(question[0], "UTF8_CHAR")
        return {
            "answer": tf.where(is_there, question[0], ""),
            "score": tf.where(is_there, 0.75, 0.25),
            "start": tf.where(is_there, start, -1),
            "end": tf.where(is_there, start + length, -1),
            "null_probability": tf.where(is_there, 0.125, 0.75),
        }


class Vectors(TextModel):
    """Vectors by bert_tf's contract: how often "good" and "bad" stand in it."""

    head = "features"

    @tf.function(input_signature=[strings("text_a")])
    def serve_text(self, text_a):
        return {"embedding": counts_of(text_a)}


class Counts(TextModel):
    """A classifier of several labels, by how often they stand in a text.

    A label that stands there n times has the score 1 - 1 / (1 + n). With
    `label_type="number"` its value is how often "good" does.
    """

    head = "classifier"

    def __init__(self, label_type):
        super().__init__()
        self.label_type = label_type
        self.about = {"label_type": label_type, "thresholds": [0.5, 0.75]}

    @tf.function(input_signature=[strings("text_a")])
    def serve_text(self, text_a):
        counts = counts_of(text_a)
        none = tf.zeros_like(counts[:, 1], tf.int32)
        if self.label_type == "number":
            return {"value": counts[:, 1], "num_cut": none}
        scores = 1 - 1 / (1 + counts)
        labels = tf.broadcast_to(tf.constant(LABELS), tf.shape(scores))
        return {"scores": scores, "labels": labels, "num_cut": none}


class Words(TextModel):
    """Entities by bert_tf's contract: each "good" is one of the type OK."""

    head = "tokens"

    @tf.function(input_signature=[strings("text")])
    def serve_text(self, text):
        words = tf.strings.split(text)
        first = tf.strings.split(text, "good").to_tensor("")[:, 0]
        is_there = first != text
        start = tf.where(is_there, tf.strings.length(first, "UTF8_CHAR"), -1)
        end = tf.where(is_there, start + 4, -1)
        labels = tf.where(words.to_tensor("") == "good", "B-OK", "O")
        return {
            "words": words.to_tensor(""),
            "labels": labels,
            "entity_types": tf.where(is_there, "OK", "")[:, None],
            "entity_texts": tf.where(is_there, "good", "")[:, None],
            "entity_starts": start[:, None],
            "entity_ends": end[:, None],
            "entity_probabilities": tf.where(is_there, 0.75, 0.0)[:, None],
        }


class Several(TextModel):
    """Heads of each kind by bert_tf's contract, on one text."""

    head = "several"

    def __init__(self):
        super().__init__()
        self.parts = {
            "mood": Reviews(),
            "kinds": Counts("multi"),
            "size": Counts("number"),
            "found": Words(),
        }

    @property
    def about(self):
        """Not an attribute, in which TensorFlow would wrap dictionaries."""
        thresholds = [0.5, 0.75]
        heads = {
            "mood": {"head": "classifier"},
            "kinds": {"head": "classifier", "label_type": "multi"},
            "size": {"head": "classifier", "label_type": "number"},
            "found": {"head": "tokens"},
        }
        heads["kinds"]["thresholds"] = thresholds
        same = {"labels": LABELS, "doc_stride": None}
        return {"heads": {name: same | own for name, own in heads.items()}}

    @tf.function(input_signature=[strings("text_a")])
    def serve_text(self, text_a):
        outputs = {
            name: part.serve_text(text_a)
            for name, part in self.parts.items()
            if name != "mood"
        }
        outputs["mood"] = self.parts["mood"].from_text(text_a)
        outputs["kinds"]["num_cut"] += 3
        return {
            f"{name}/{key}": value
            for name, of_head in outputs.items()
            for key, value in of_head.items()
        }


class Choices(TextModel):
    """Choices by bert_tf's contract: how often "good" stands in each text."""

    head = "choices"
    choices = tf.TensorSpec([None, None], tf.string, "choices")

    @tf.function(input_signature=[strings("context"), choices])
    def serve_text(self, context, choices):
        words = tf.strings.split(choices)
        is_good = tf.cast(words == "good", tf.float32)
        shares = tf.nn.softmax(tf.reduce_sum(is_good, -1).to_tensor())
        best = tf.argmax(shares, -1, tf.int32)
        return {
            "probabilities": tf.ensure_shape(shares, [None, None]),
            "choice": best,
            "num_cut": tf.zeros_like(best),
        }

    @tf.function(
        input_signature=[strings("context"), strings("question"), choices]
    )
    def serve_text_pair(self, context, question, choices):
        return self.serve_text(context, choices)

    def signatures(self):
        return {
            **super().signatures(),
            "serve_text_pair": self.serve_text_pair,
        }


class Odd(tf.Module):
    """What other people's SavedModels have."""

    @tf.function(
        input_signature=[
            tf.TensorSpec([None], tf.float32, "x"),
            tf.TensorSpec([], tf.float32, "seconds"),
        ]
    )
    def wait(self, x, seconds):
        """Keeps a processor busy."""
        until = tf.timestamp() + tf.cast(seconds, tf.float64)
        tf.while_loop(
            lambda now: now < until,
            lambda now: (tf.timestamp(),),
            [tf.timestamp()],
        )
        return {"x": tf.identity(x)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, "x")])
    def total(self, x):
        """Has no rows."""
        return {"total": tf.reduce_sum(x), "x": x}

    @tf.function(input_signature=[strings("a"), strings("b")])
    def join(self, a, b=AND_MORE):
        """Has an input with a default."""
        return {"joined": tf.strings.join([a, b])}

    @tf.function(input_signature=[strings("text")])
    def characters(self, text):
        """How wide the output is depends on the texts."""
        return {"characters": tf.strings.bytes_split(text).to_tensor()}

    def signatures(self):
        return {
            "serving_default": self.join,
            "wait": self.wait,
            "total": self.total,
            "characters": self.characters,
        }


def save(module, folder, signatures=None, **about):
    """Writes a version of a model; with `head`, as bert_tf's export does.

    Args:
        module: a `tf.Module`.
        folder: MODEL/1, say.
        signatures: functions by name, if the module does not give them.
        about: more for assets/bert_tf.json.
    """
    folder = pathlib.Path(folder)
    tf.saved_model.save(module, str(folder), signatures or module.signatures())
    if not hasattr(module, "head"):
        return folder
    about = {
        "format": 1,
        "bert_tf_version": "0.1.0",
        "head": module.head,
        "labels": LABELS if module.head == "classifier" else None,
        "do_lower_case": True,
        "max_seq_length": 64,
        **getattr(module, "about", {}),
        **about,
    }
    assets = folder / "assets"
    assets.mkdir(exist_ok=True)
    (assets / "bert_tf.json").write_text(json.dumps(about))
    (assets / "vocab.txt").write_text("\n".join(VOCAB) + "\n")
    return folder
