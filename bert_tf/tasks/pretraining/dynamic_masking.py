"""Draws new masks for pretraining records while they are read.

The masks in the records are removed and replaced, with the same statistics as
those drawn when the records were made: the same number for each sequence, any
token but [CLS] and [SEP], of which 80 % become [MASK], 10 % stay unchanged and
10 % become any entry of the vocabulary.
"""

import dataclasses

import tensorflow as tf

from bert_tf.errors import InputError

# The original's shares of the masked positions.
MASK_SHARE = 0.8
KEEP_SHARE = 0.1


@dataclasses.dataclass(frozen=True)
class Masker:
    """Draws masks.

    Attributes:
        mask_id, cls_id, sep_id: ids of [MASK], [CLS] and [SEP].
        vocab_size: random replacements are ids below this.
        continuations: for each id, whether the piece continues a word (`##`)
            and is masked together with it; None to mask single pieces.
        masked_lm_prob: share of the tokens of a sequence to predict.
    """

    mask_id: int
    cls_id: int
    sep_id: int
    vocab_size: int
    continuations: tuple[bool, ...] | None = None
    masked_lm_prob: float = 0.15

    @classmethod
    def from_vocab(cls, vocab, path, masked_lm_prob=0.15, whole_words=False):
        """Returns the masker for a vocabulary.

        Args:
            vocab: {token: id}, as from `tokenization.load_vocab`.
            path: its file, for the error message.
            masked_lm_prob: share of tokens to predict.
            whole_words: mask all pieces of a word together.

        Raises:
            InputError: the vocabulary lacks a special token.
        """
        for token in ("[MASK]", "[CLS]", "[SEP]"):
            if token not in vocab:
                raise InputError(f"The vocabulary {path} must have {token}")
        size = max(vocab.values()) + 1
        continuations = None
        if whole_words:
            continuations = [False] * size
            for token, number in vocab.items():
                continuations[number] = token.startswith("##")
            continuations = tuple(continuations)
        return cls(
            vocab["[MASK]"],
            vocab["[CLS]"],
            vocab["[SEP]"],
            size,
            continuations,
            masked_lm_prob,
        )

    def remask(self, batches, seed, start_step=0):
        """Returns a dataset of the same batches with new masks.

        Masks depend on the seed and the step only, so that a resumed run draws
        the same masks as an uninterrupted one.

        Args:
            batches: a `tf.data.Dataset` of pretraining features, one batch for
                each step.
            seed: int.
            start_step: the step of the first batch.
        """

        @tf.autograph.experimental.do_not_convert
        def mask(step, features):
            return self(features, tf.stack([seed, step]))

        return (
            batches.enumerate(start_step)
            .map(mask, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
            .prefetch(tf.data.AUTOTUNE)
        )

    def __call__(self, features, seed):
        """Returns a batch with new masks.

        Args:
            features: those of pretraining records, int32 and float32.
            seed: int tensor [2].

        Returns:
            The features, with new `input_ids` and `masked_lm_*`.
        """
        ids = unmasked(features)
        most = features["masked_lm_positions"].shape[1]
        chosen = self._choose(ids, features["input_mask"], most, seed)
        # Chosen positions in order, then zeros, as in records.
        places = tf.range(tf.shape(ids)[1])[None, :]
        beyond = tf.shape(ids)[1]
        positions = tf.sort(tf.where(chosen, places, beyond), axis=1)[:, :most]
        is_real = positions < beyond
        positions = tf.where(is_real, positions, 0)
        labels = tf.gather(ids, positions, batch_dims=1)
        return {
            **features,
            "input_ids": tf.where(chosen, self._replace(ids, seed), ids),
            "masked_lm_positions": positions,
            "masked_lm_ids": tf.where(is_real, labels, 0),
            "masked_lm_weights": tf.cast(is_real, tf.float32),
        }

    def _choose(self, ids, input_mask, most, seed):
        """Which tokens to predict, bool [B, S]."""
        is_candidate = (
            (input_mask == 1) & (ids != self.cls_id) & (ids != self.sep_id)
        )
        length = tf.reduce_sum(input_mask, axis=1)
        # `tf.round` rounds half to even, as Python does in the original.
        share = tf.cast(length, tf.float64) * self.masked_lm_prob
        wanted = tf.cast(tf.round(share), tf.int32)
        wanted = tf.clip_by_value(wanted, 1, most)
        draws = tf.random.stateless_uniform(tf.shape(ids), _part(seed, 0))
        if self.continuations is not None:
            words = self._whole_words(ids, is_candidate, draws, wanted)
            return is_candidate & words
        # Rank all other tokens after the candidates.
        draws = tf.where(is_candidate, draws, 2.0)
        rank = tf.argsort(tf.argsort(draws, axis=1), axis=1)
        return is_candidate & (rank < wanted[:, None])

    def _whole_words(self, ids, is_candidate, draws, wanted):
        """Chooses words in random order while they fit, bool [B, S]."""
        # As in the original, a piece joins the candidate before it, even across
        # a [SEP]; if there is none, it starts a word.
        count = tf.cumsum(tf.cast(is_candidate, tf.int32), axis=1)
        continues = tf.gather(self.continuations, ids) & (count > 1)
        starts = is_candidate & ~continues
        word = tf.maximum(tf.cumsum(tf.cast(starts, tf.int32), axis=1) - 1, 0)
        num_words = tf.shape(ids)[1]
        rows = tf.range(tf.shape(ids)[0])[:, None] * num_words
        sizes = tf.math.unsorted_segment_sum(
            tf.cast(is_candidate, tf.int32), rows + word, tf.size(ids)
        )
        sizes = tf.reshape(sizes, tf.shape(ids))  # [B, words]
        order = tf.argsort(draws, axis=1)
        ordered = tf.gather(sizes, order, batch_dims=1)

        def take(state, size):
            left, _ = state
            fits = (size > 0) & (size <= left)
            return left - tf.where(fits, size, 0), fits

        nothing = tf.zeros_like(wanted, tf.bool)
        _, taken = tf.scan(take, tf.transpose(ordered), (wanted, nothing))
        # Undo the random order.
        taken = tf.gather(
            tf.transpose(taken), tf.argsort(order, axis=1), batch_dims=1
        )
        return tf.gather(taken, word, batch_dims=1)

    def _replace(self, ids, seed):
        """The replacement at each position if it is chosen, int32 [B, S]."""
        draws = tf.random.stateless_uniform(tf.shape(ids), _part(seed, 1))
        others = tf.random.stateless_uniform(
            tf.shape(ids), _part(seed, 2), 0, self.vocab_size, tf.int32
        )
        kept = tf.where(draws < MASK_SHARE + KEEP_SHARE, ids, others)
        return tf.where(draws < MASK_SHARE, self.mask_id, kept)


def unmasked(features):
    """`input_ids` [B, S] before masking."""
    ids = features["input_ids"]
    positions = features["masked_lm_positions"]
    is_real = features["masked_lm_weights"] > 0
    rows = tf.where(is_real)[:, :1]
    places = tf.cast(positions[is_real], rows.dtype)[:, None]
    return tf.tensor_scatter_nd_update(
        ids,
        tf.concat([rows, places], axis=1),
        features["masked_lm_ids"][is_real],
    )


def _part(seed, number):
    """A separate seed for each of several draws."""
    return tf.random.experimental.stateless_fold_in(seed, number)
