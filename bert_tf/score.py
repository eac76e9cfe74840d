r"""Computes how probable a text is, or that one text follows another.

  python -m bert_tf.score --checkpoint=builtin \
    --text='The cat sat on the mat.' --text='He slept. ||| Then he got up.'

Needs a pretrained checkpoint with its heads. docs/pretraining.md has what the
numbers mean, and the same in Python.
"""

import math
import reprlib
from typing import NamedTuple

from absl import logging

from bert_tf.cli import command_line, inference_flags
from bert_tf.cli.command_line import FlagSet
from bert_tf.data import grouping, packing
from bert_tf.errors import InputError
from bert_tf.tasks.pretraining import cloze
from bert_tf.tasks.vectors.lines import split_pair


class TextScore(NamedTuple):
    """The log probability of each piece of a text.

    Attributes:
        pieces: its word pieces, without [CLS], [SEP] and [MASK]s.
        log_probs: the natural logarithm of the probability of each piece, with
            that piece masked.
    """

    pieces: list[str]
    log_probs: list[float]

    @property
    def pseudo_log_likelihood(self):
        """The sum of the log probabilities."""
        return math.fsum(self.log_probs)

    @property
    def perplexity(self):
        """The pseudo-perplexity per piece; None for an empty text."""
        return perplexity(self.pseudo_log_likelihood, len(self.pieces))

    def as_dict(self):
        """The score for JSON."""
        return {
            "pseudo_log_likelihood": self.pseudo_log_likelihood,
            "perplexity": self.perplexity,
            "pieces": self.pieces,
            "log_probs": self.log_probs,
        }

    def show(self):
        """The score as text."""
        if not self.pieces:
            return "no word pieces"
        return (
            f"perplexity {self.perplexity:.4f}, pseudo-log-likelihood "
            f"{self.pseudo_log_likelihood:.4f}, {len(self.pieces)} pieces"
        )


class PairScore(NamedTuple):
    """Whether text B follows text A.

    Attributes:
        next_sentence_probability: from 0 to 1.
        num_cut: number of truncated word pieces.
    """

    next_sentence_probability: float
    num_cut: int

    def as_dict(self):
        """The score for JSON."""
        return self._asdict()

    def show(self):
        """The score as text."""
        cut = f", {self.num_cut} word pieces cut off" if self.num_cut else ""
        return f"follows: {self.next_sentence_probability:.4f}{cut}"


def score_text(model, text):
    """The `TextScore` of one text; see `score_texts`."""
    return next(score_texts(model, [text]))


def score_pair(model, text_a, text_b):
    """The `PairScore` of two texts; see `score_pairs`."""
    return next(score_pairs(model, [(text_a, text_b)]))


def score_texts(model, texts):
    """Masks each piece of each text in turn.

    In texts longer than the inputs of the model, each piece is guessed from the
    window around it. A `[MASK]` in a text stays masked and is not scored.

    Args:
        model: a `LanguageModel`.
        texts: list of str.

    Yields:
        The `TextScore` of each text.

    Raises:
        InputError: no masked-LM head.
    """
    model.require_masked_lm()
    pieces = list(map(model.tokenize, texts))
    log_probs = model.masked_lm_log_probs(
        row
        for of_text in pieces
        for row in cloze.rows_of_pieces(of_text, model.max_seq_length)
    )
    for of_text in pieces:
        scored = [piece for piece in of_text if piece != cloze.MASK]
        ids = model.tokenizer.convert_tokens_to_ids(scored)
        yield TextScore(
            scored, [float(next(log_probs)[index]) for index in ids]
        )


def score_pairs(model, pairs):
    """Scores pairs with the next-sentence head; long ones are truncated.

    Args:
        model: a `LanguageModel`.
        pairs: list of pairs of texts, A and B.

    Yields:
        The `PairScore` of each pair.

    Raises:
        InputError: no next-sentence head, or a text without a word piece.
    """
    model.require_next_sentence()
    packed, cut = [], []
    for text_a, text_b in pairs:
        tokens_a, tokens_b = map(model.tokenizer.tokenize, (text_a, text_b))
        if not tokens_a or not tokens_b:
            raise InputError(
                "Both texts of a pair must hold a word piece. Received: "
                f"{reprlib.repr(text_a)} and {reprlib.repr(text_b)}"
            )
        ids = model.tokenizer.convert_tokens_to_ids(tokens_a + tokens_b)
        model.unknown.add(ids)
        whole = packing.pack_tokens(tokens_a, tokens_b)
        packed.append(
            packing.truncate_and_pack(tokens_a, tokens_b, model.max_seq_length)
        )
        cut.append(len(whole.tokens) - len(packed[-1].tokens))
    log_probs = model.next_sentence_log_probs(packed)
    for log_prob, num_cut in zip(log_probs, cut, strict=True):
        yield PairScore(math.exp(log_prob[0]), num_cut)


def perplexity(log_likelihood, num_pieces):
    """The exponential of minus the mean; None without any piece."""
    return math.exp(-log_likelihood / num_pieces) if num_pieces else None


def define_flags(values):
    """Defines this command's flags on a `FlagValues`."""
    inference_flags.define_texts(FlagSet(values))


def main(flags):
    """Runs the command with parsed flags."""
    lines = inference_flags.read_texts(flags)
    model = inference_flags.load_language_model(flags)
    num_pieces = num_cut_pairs = 0
    log_likelihood = 0.0
    with inference_flags.open_output(flags) as write:
        for line, score in score_lines(model, lines):
            write(
                f"{line}\n  {score.show()}", {"text": line, **score.as_dict()}
            )
            if isinstance(score, PairScore):
                num_cut_pairs += score.num_cut > 0
            else:
                num_pieces += len(score.pieces)
                log_likelihood += score.pseudo_log_likelihood
    if num_pieces:
        logging.info(
            "All texts together: perplexity %.4f, %d word pieces.",
            perplexity(log_likelihood, num_pieces),
            num_pieces,
        )
    model.unknown.warn()
    if num_cut_pairs:
        logging.warning(
            "%d pairs were cut to %d word pieces.",
            num_cut_pairs,
            model.max_seq_length,
        )


def score_lines(model, lines):
    """Yields each line, `A` or `A ||| B`, and its score, in order."""
    for batch in grouping.batched(lines, model.batch_size):
        pairs = [split_pair(line) for line in batch]
        texts = iter(score_texts(model, [a for a, b in pairs if not b]))
        follows = iter(score_pairs(model, [pair for pair in pairs if pair[1]]))
        for line, (_, text_b) in zip(batch, pairs):
            yield line, next(follows if text_b else texts)


def cli():
    """The console command."""
    command_line.run(define_flags, main, __doc__)


if __name__ == "__main__":
    cli()
