r"""Predicts the word pieces at each [MASK] of a text.

  python -m bert_tf.fill_mask --checkpoint=builtin \
    --text='It is one of the largest cities in the United [MASK].'

Needs a pretrained checkpoint with its masked-LM head. docs/pretraining.md has
the same in Python.
"""

import itertools
import reprlib

import numpy as np

from bert_tf.cli import command_line, inference_flags
from bert_tf.cli.command_line import FlagSet
from bert_tf.data import grouping
from bert_tf.errors import InputError
from bert_tf.exports.results import Candidate
from bert_tf.tasks.pretraining import cloze


def fill_mask(model, text, top_k=5):
    """Predicts the pieces at each [MASK] of a text.

    Args:
        model: a `LanguageModel`.
        text: str with at least one `[MASK]`.
        top_k: number of pieces, the most probable first.

    Returns:
        For each [MASK] a list of `Candidate`s.

    Raises:
        InputError: no [MASK] in the text, or no masked-LM head.
    """
    ((_, masks),) = fill_masks(model, [text], top_k)
    return masks


def fill_masks(model, texts, top_k=5):
    """Like `fill_mask` for many texts, in batches.

    Yields:
        Each text and the result of `fill_mask` for it.
    """
    model.require_masked_lm()
    number = 0
    for batch in grouping.batched(texts, model.batch_size):
        rows_of_texts = []
        for text in batch:
            number += 1
            pieces = model.tokenize(text)
            rows = cloze.rows_of_masks(pieces, model.max_seq_length)
            if not rows:
                raise InputError(
                    f"Each text must hold {cloze.MASK}, written so, at "
                    f"least once. Received: text {number}, "
                    f"{reprlib.repr(text)}"
                )
            rows_of_texts.append(rows)
        log_probs = model.masked_lm_log_probs(
            itertools.chain.from_iterable(rows_of_texts)
        )
        for text, rows in zip(batch, rows_of_texts):
            yield text, [_best(next(log_probs), top_k, model) for _ in rows]


def _best(log_probs, top_k, model):
    # Among equal values, the lower id comes first.
    ids = np.argsort(-log_probs, kind="stable")[:top_k].tolist()
    # If a token is repeated in the vocabulary, one of its ids has no name.
    return [
        Candidate(
            model.tokenizer.inv_vocab.get(index, f"[id {index}]"),
            float(np.exp(log_probs[index])),
        )
        for index in ids
    ]


def define_flags(values):
    """Defines this command's flags on a `FlagValues`."""
    flags = FlagSet(values)
    inference_flags.define_texts(flags)
    flags.integer("top_k", 5, "Number of pieces for each [MASK].")


def main(flags):
    """Runs the command with parsed flags."""
    command_line.require_positive(flags, "top_k")
    texts = inference_flags.read_texts(flags)
    model = inference_flags.load_language_model(flags)
    with inference_flags.open_output(flags) as write:
        for text, masks in fill_masks(model, texts, flags.top_k):
            write(show(text, masks), as_dict(text, masks))
    model.unknown.warn()


def show(text, masks):
    """The pieces for a text, as text."""
    lines = [text]
    for number, candidates in enumerate(masks, start=1):
        if len(masks) > 1:
            lines.append(f"  [MASK] {number}")
        lines += [f"  {c.probability:8.4f}  {c.piece}" for c in candidates]
    return "\n".join(lines)


def as_dict(text, masks):
    """The pieces for a text, for JSON."""
    candidates = [[c._asdict() for c in candidates] for candidates in masks]
    return {"text": text, "masks": candidates}


def cli():
    """The console command."""
    command_line.run(define_flags, main, __doc__)


if __name__ == "__main__":
    cli()
