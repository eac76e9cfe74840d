"""The SavedModel of several heads on one encoder."""

import dataclasses

import tensorflow as tf

from bert_tf import errors
from bert_tf.checkpoints.folder_settings import NOTHING
from bert_tf.checkpoints.names import LABELS_FILE, POOLER
from bert_tf.checkpoints.shared_encoder import JoinedReader, poolers_differ
from bert_tf.exports import export, settings, signature
from bert_tf.exports.interface import PAIR, TEXT, WORDS
from bert_tf.exports.results import named_outputs, outputs_of
from bert_tf.exports.settings import ROWS_AT_ONCE
from bert_tf.exports.signature import DEVICE, STRINGS, TextRules, WindowRules
from bert_tf.tasks.classification.served import (
    OUTPUTS,
    logits_of_texts,
    settings_of,
)
from bert_tf.tasks.ner import graph_windows, graph_words
from bert_tf.tasks.ner.served import SAMPLE, TABLE, WORDS_SAMPLE, WordOutputs
from bert_tf.tasks.several_heads import open_heads
from bert_tf.tasks.several_model import HeadShape, several_heads


class Several(signature.Served):
    """Several heads; a text goes through the encoder once for all of them.

    Args:
        rules: `TextRules`.
        model: a model of `several_heads`.
        opened: `OpenedHeads`.
        rows_at_once: windows that are computed together.
    """

    head = "several"

    def __init__(self, rules, model, opened, rows_at_once):
        super().__init__(rules, model, rows_at_once)
        self.plain.opened = opened
        self.plain.classifiers = {
            name: OUTPUTS[one.target.label_type](one.target)
            for name, one in opened.classifiers.items()
        }
        self.plain.taggers = {
            name: WordOutputs(one.labels)
            for name, one in opened.taggers.items()
        }

    # -------------------------------------------------------------- its files

    def settings(self):
        opened, heads = self.plain.opened, {}
        reading = opened.doc_stride, opened.window_pooling
        for name in opened.order:
            if name in opened.classifiers:
                target = opened.classifiers[name].target
                own = {"head": "classifier", **settings_of(target, *reading)}
            else:
                outputs = self.plain.taggers[name]
                length = self.rules.max_seq_length
                own = {"head": "tokens", **outputs.settings(length)}
            noted = opened.of(name).folder.noted.settings.said()
            if "text_pairs" in noted:
                own["text_pairs"] = noted["text_pairs"]
            heads[name] = own
        return {"doc_stride": opened.doc_stride, "heads": heads}

    def files(self):
        every = {**self.plain.classifiers, **self.plain.taggers}
        texts = {name: outputs.file() for name, outputs in every.items()}
        return {f"{n}.{LABELS_FILE}": text for n, text in texts.items() if text}

    # ------------------------------------------------------------- signatures

    def row_outputs(self, rows, outputs):
        every = {**self.plain.classifiers, **self.plain.taggers}
        return named_outputs(
            {
                name: every[name].of_rows(outputs[f"{name}/logits"])
                for name in self.plain.opened.order
            }
        )

    def text_signatures(self):
        pairs = _traced(self.of_pairs, STRINGS, STRINGS)
        texts, found = _traced(self.of_texts, STRINGS), {}
        takes_pairs = self.rules.config.type_vocab_size > 1
        one, two = {"text_a": STRINGS}, dict.fromkeys(self.text_inputs, STRINGS)

        def alone(text_a):
            return pairs(text_a, tf.zeros_like(text_a))

        def pair(**given):
            return pairs(*signature.as_many(given, *self.text_inputs))

        if self.plain.taggers:
            words = _traced(self.of_words, TABLE)
            found[TEXT] = signature.trace(texts, one)
            found[WORDS] = signature.trace(words, {"words": TABLE})
        else:
            found[TEXT] = signature.trace(alone, one)
            if takes_pairs:
                found[PAIR] = signature.trace(pair, two)
        for name in self.plain.classifiers:
            found[f"{name}/{TEXT}"] = _only(name, alone, one)
            if takes_pairs:
                found[f"{name}/{PAIR}"] = _only(name, pair, two)
        for name in self.plain.taggers:
            found[f"{name}/{TEXT}"] = _only(
                name, lambda text: texts(text), {"text": STRINGS}
            )
            found[f"{name}/{WORDS}"] = _only(name, words, {"words": TABLE})
        return found

    def text_samples(self):
        text, second = {"text_a": SAMPLE}, {"text_b": ["Another one."]}
        found = {TEXT: text, PAIR: {**text, **second}, WORDS: WORDS_SAMPLE}
        for name in self.plain.classifiers:
            found |= {f"{name}/{kind}": found[kind] for kind in (TEXT, PAIR)}
        for name in self.plain.taggers:
            found[f"{name}/{TEXT}"] = {"text": SAMPLE}
            found[f"{name}/{WORDS}"] = WORDS_SAMPLE
        return found

    def of_pairs(self, text_a, text_b):
        """Outputs of classifiers for pairs, string [B] each."""
        opened = self.plain.opened
        logits, num_cut = logits_of_texts(
            self,
            (text_a, text_b),
            WindowRules(opened.doc_stride, self.plain.rows_at_once),
            opened.window_pooling,
            _widths(self.plain.classifiers),
        )
        return self._of_classifiers(logits, num_cut)

    def of_texts(self, text_a):
        """Outputs of all heads for texts, string [B]."""
        with tf.device(DEVICE):
            found = graph_words.split_words(text_a)
            windows = graph_windows.of_words(self, found.words, found.splits)
            whole = graph_windows.with_whole_texts(self, windows, found.splits)
        of_words, of_rows = graph_windows.logits(
            self,
            whole.windows if self.plain.classifiers else windows,
            _widths(self.plain.taggers),
            _widths(self.plain.classifiers),
        )
        of_texts = {
            name: tf.gather(one, whole.rows) for name, one in of_rows.items()
        }
        return {
            **self._of_classifiers(of_texts, whole.num_cut),
            **named_outputs(
                {
                    name: outputs.of_texts(
                        text_a, found, of_words[f"{name}/logits"]
                    )
                    for name, outputs in self.plain.taggers.items()
                }
            ),
        }

    def of_words(self, words):
        """Outputs of heads that label words, for words, string [B, W]."""
        with tf.device(DEVICE):
            flat, splits = graph_words.given_words(words)
            windows = graph_windows.of_words(self, flat, splits)
        logits, _ = graph_windows.logits(
            self, windows, _widths(self.plain.taggers)
        )
        return named_outputs(
            {
                name: outputs.of_words(flat, splits, logits[f"{name}/logits"])
                for name, outputs in self.plain.taggers.items()
            }
        )

    def _of_classifiers(self, logits, num_cut):
        return named_outputs(
            {
                name: {
                    **outputs.of_texts(logits[f"{name}/logits"]),
                    "num_cut": num_cut,
                }
                for name, outputs in self.plain.classifiers.items()
            }
        )


def _widths(heads):
    """The number of logits of each head, by the name of the model's output."""
    return {f"{name}/logits": one.num_outputs for name, one in heads.items()}


def _traced(function, *specs):
    # Traced once for all signatures.
    return tf.function(function, input_signature=specs, autograph=False)


def _only(name, function, specs):
    """The signature of one head, by names as if there were no others."""
    return signature.trace(
        lambda **inputs: outputs_of(name, function(**inputs)), specs
    )


def export_several(
    source,
    output_dir,
    heads,
    doc_stride=None,
    window_pooling=None,
    rows_at_once=ROWS_AT_ONCE,
):
    """Exports heads that were trained on one encoder as one model.

    Args:
        source: a `Source`, for all heads; its `checkpoint` is not used.
        output_dir: the folder MODEL.
        heads: the output folders of run_classifier and run_ner, or checkpoints,
            by the names of heads.
        doc_stride, window_pooling: of classifiers; None for what the folders
            note.
        rows_at_once: windows that are computed together.

    Returns:
        The path of the new version.

    Raises:
        InputError: a file is missing or does not fit, the encoders differ, the
            heads read texts in different ways, or the folder cannot be written.
    """
    errors.require_positive("rows_at_once", rows_at_once)
    settings.check(source)
    opened = open_heads(source, heads, doc_stride, window_pooling)
    joined, shapes = _join(opened)
    config = joined.config
    rules = TextRules(config, opened.tokenizer, opened.max_seq_length)
    model = export.load(
        source,
        joined,
        lambda: several_heads(config, shapes),
        may_lack=() if opened.classifiers else (POOLER,),
    )
    served = Several(rules, model, opened, rows_at_once)
    return export.save(served, source, joined, output_dir)


def _join(opened):
    """All folders as one `folders.ModelFolder`, and the shapes of heads."""
    of_all = {name: one.reader for name, one in opened.folders.items()}
    pooler = next((of_all[name] for name in opened.classifiers), None)
    own = {
        name
        for name in opened.classifiers
        if poolers_differ(pooler, of_all[name])
    }
    shapes = {}
    for name, reader in of_all.items():
        count = reader.shapes["output_weights"][0]
        shapes[name] = HeadShape(count, name in opened.taggers, name in own)
    first = next(iter(opened.folders.values()))
    reader = JoinedReader(first.reader, of_all, pooler, own)
    # What a folder notes is of its head alone.
    return dataclasses.replace(first, reader=reader, noted=NOTHING), shapes
