"""Text to WordPiece ids inside a TensorFlow graph, for SavedModels.

Comes in: a vocabulary, then strings. Goes out: the ids that `FullTokenizer` of
`tokenization.py` gives for the same strings, and where each comes from, as
ragged tensors. Only ops of TensorFlow itself are used, so that a SavedModel
with a `GraphTokenizer` in it needs neither bert_tf nor any other package.
Packing and padding do not belong here.

The rules are not written down a second time: Python is asked what it does with
each character (`character_rules.py`), and the graph looks that up. What is left
to do here is what depends on more than one character:

    text -> chunks       at spaces; most are in the vocabulary as they are
    chunk -> characters  each other chunk once, all of them in one flat row
    character -> what it becomes, from the tables; the form of a sigma and the
                 order of marks from its neighbours
    -> tokens            at word ends, CJK and punctuation
    -> pieces            whole from the vocabulary, or else letter by letter
                         down the tree of its pieces
"""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from bert_tf import character_rules
from bert_tf.character_rules import (
    ACCENT,
    ALONE,
    BLOCK_BITS,
    CASED,
    FINAL_SIGMA,
    FLAG_BITS,
    GONE,
    LENGTH_BITS,
    MANY,
    MOVES,
    PUNCTUATION,
    PUNCTUATION_IN_MANY,
    SEPARATES,
    SIGMA,
    SKIPPED,
    STOPS,
)
from bert_tf.errors import InputError
from bert_tf.tokenization import BasicTokenizer, WordpieceTokenizer

# No UTF-8 text has a surrogate: it marks what could not be decoded.
_NOT_UTF8 = 0xD800
_CODE_BITS = 21
# Roots of the tree of pieces: where a token begins, and where it goes on.
_BEGIN, _CONTINUE = 0, 1


class GraphTokens(NamedTuple):
    """The pieces of texts; ragged int32 [B, (pieces)] each.

    Attributes:
        ids: places in the vocabulary.
        starts, ends: the bytes of the text that the piece was made from, end
            exclusive; None without offsets.
        char_starts, char_ends: the same in characters (code points), as
            `FullTokenizer.tokenize_with_offsets` has them.
    """

    ids: tf.RaggedTensor
    starts: tf.RaggedTensor | None = None
    ends: tf.RaggedTensor | None = None
    char_starts: tf.RaggedTensor | None = None
    char_ends: tf.RaggedTensor | None = None


class _Characters(NamedTuple):
    """The characters of all chunks in a row, as the tables leave them.

    N characters came in, M go out.

    Attributes:
        codes: int32 [M], code points.
        token_starts: int64 [T], where tokens begin among them.
        sources: int64 [M], which of the N each was made from.
        ends: int64 [M], the last of the N that belongs to it, exclusive.
    """

    codes: tf.Tensor
    token_starts: tf.Tensor
    sources: tf.Tensor
    ends: tf.Tensor


class _Pieces(NamedTuple):
    """The pieces of chunks, P in all.

    Attributes:
        ids: int32 [P].
        splits: int64 [chunks + 1], where the pieces of each chunk begin.
        spans: int32 [4, P], in the chunk: the two bytes, the two characters.
    """

    ids: tf.Tensor
    splits: tf.Tensor
    spans: tf.Tensor | None


class GraphTokenizer(tf.Module):
    """`FullTokenizer` in a graph: the same ids for every UTF-8 text.

    Args:
        vocab: the tokens in the order of their ids, or what `load_vocab`
            returns. It must have [UNK].
        do_lower_case: lower-case the text and strip accents.

    Attributes:
        unicode_version: of the Python that made the tables.

    Raises:
        InputError: the vocabulary has no [UNK].
    """

    def __init__(
        self, vocab: Sequence[str] | Mapping[str, int], do_lower_case: bool
    ):
        super().__init__()
        if not isinstance(vocab, Mapping):
            vocab = {token.strip(): index for index, token in enumerate(vocab)}
        self.vocab = dict(vocab)
        self.do_lower_case = do_lower_case
        self.unicode_version = unicodedata.unidata_version
        wordpiece = WordpieceTokenizer(self.vocab)
        if wordpiece.unk_token not in vocab:
            raise InputError(
                f"The vocabulary must have {wordpiece.unk_token}, for words "
                f"that it has no pieces for. Received: {len(vocab)} tokens "
                "without it."
            )
        self._unknown = np.int64(self.vocab[wordpiece.unk_token])
        self._longest_word = wordpiece.max_input_chars_per_word
        with tf.device("CPU"):
            self._make_tables()

    def _make_tables(self):
        rules = character_rules.character_rules(self.do_lower_case)
        self._rules = type(rules)(*map(tf.constant, rules))
        tokens = list(self.vocab)
        ids = np.array(list(self.vocab.values()), np.int64)
        self._ids = _hash_table(tf.constant(tokens, tf.string), ids)
        # Chunks that are their own and only piece, and how long they are.
        basic = BasicTokenizer(self.do_lower_case)
        size = int(ids.max()) + 1
        lasting, spans = np.zeros(size, bool), np.zeros((4, size), np.int32)
        for token, index in self.vocab.items():
            lasting[index] = len(token) <= self._longest_word and (
                basic.tokenize(token) == [token]
            )
            spans[:, index] = 0, len(token.encode()), 0, len(token)
        self._lasting, self._spans = tf.constant(lasting), tf.constant(spans)
        self._tree = _hash_table(*_tree_of_pieces(self.vocab))

    def tokenize(
        self,
        texts: tf.Tensor,
        with_offsets: bool = True,
        literal: str | None = None,
    ) -> GraphTokens:
        """Splits texts into pieces.

        Args:
            texts: string [B], UTF-8.
            with_offsets: also find where each piece comes from.
            literal: a token, such as [MASK], that stands for itself wherever
                the text has it, as in `masked_text.tokenize`. It has neither
                space nor upper-case letters that are not its own.

        Returns:
            The pieces of each text.

        Raises:
            InputError: `literal` is not in the vocabulary.
            tf.errors.InvalidArgumentError: a text is not UTF-8.
        """
        with tf.device("CPU"):
            texts = tf.convert_to_tensor(texts, tf.string)
            chunks, is_literal = self._split(texts, literal)
            splits, words = chunks.row_splits, chunks.flat_values
            ids = self._ids.lookup(words)
            known = tf.gather(self._lasting, tf.maximum(ids, 0)) & (ids >= 0)
            if literal is not None:
                known |= is_literal
            rest, rows = tf.unique(
                tf.boolean_mask(words, ~known), out_idx=tf.int64
            )
            pieces = self._split_chunks(rest, with_offsets)
            # Each chunk's pieces lie in a row of all of them: the tokens of
            # the vocabulary first.
            size = tf.size(self._lasting, tf.int64)
            first = tf.tensor_scatter_nd_update(
                ids, tf.where(~known), size + tf.gather(pieces.splits, rows)
            )
            last = tf.tensor_scatter_nd_update(
                ids + 1,
                tf.where(~known),
                size + tf.gather(pieces.splits, rows + 1),
            )
            places = tf.ragged.range(first, last, row_splits_dtype=tf.int64)
            row_splits = tf.gather(places.row_splits, splits)

            def rag(values):
                return tf.RaggedTensor.from_row_splits(
                    values, row_splits, validate=False
                )

            own = tf.range(tf.size(self._lasting))
            every_id = tf.concat([own, pieces.ids], 0)
            found = rag(tf.gather(every_id, places.flat_values))
            if not with_offsets:
                return GraphTokens(found)
            spans = tf.concat([self._spans, pieces.spans], 1)
            spans = tf.gather(spans, places.flat_values, axis=1)
            bases = self._find_bases(words, splits, literal and is_literal)
            row = _rows_of(places.row_splits, tf.size(places.flat_values))
            spans += tf.gather(bases, row, axis=1)
            return GraphTokens(found, *map(rag, tf.unstack(spans, 4)))

    def _split(self, texts, literal):
        """Returns ragged chunks without spaces, and which are the literal."""
        if literal is not None:
            if literal not in self.vocab:
                raise InputError(
                    "`literal` must be a token of the vocabulary. Received: "
                    f"literal={literal!r}"
                )
            texts = tf.strings.regex_replace(
                texts, re.escape(literal), f" {literal} "
            )
        chunks = tf.strings.split(texts, " ")
        is_literal = None
        if literal is not None:
            is_literal = chunks.flat_values == literal
        if self.do_lower_case:
            # Letters of ASCII can be lower-cased before anything else: that
            # changes nothing for others. More chunks are in the vocabulary.
            lower = tf.strings.lower(chunks.flat_values)
            if literal is not None:
                lower = tf.where(is_literal, chunks.flat_values, lower)
            chunks = chunks.with_flat_values(lower)
        return chunks, is_literal

    def _find_bases(self, words, splits, is_literal):
        """Where each chunk begins in its text: bytes twice, characters twice.

        Returns:
            int32 [4, chunks].
        """
        lengths = tf.stack(
            [
                tf.strings.length(words),
                tf.strings.length(words, unit="UTF8_CHAR"),
            ]
        )
        starts = tf.cumsum(lengths + 1, axis=1, exclusive=True)
        if is_literal is not None:
            # There are two spaces around each that the text does not have.
            added = tf.cast(is_literal, tf.int32)
            starts -= 2 * tf.cumsum(added, exclusive=True) + added
        row = _rows_of(splits, tf.size(words))
        starts = tf.concat([starts, [[0], [0]]], 1)  # For texts at the end.
        starts = starts[:, :-1] - tf.gather(
            tf.gather(starts, splits, axis=1), row, axis=1
        )
        return tf.repeat(starts, 2, axis=0)

    def _split_chunks(self, chunks, with_offsets):
        """Returns the `_Pieces` of chunks that have no space in them."""
        decoded, byte_starts = tf.strings.unicode_decode_with_offsets(
            chunks,
            "UTF-8",
            errors="replace",
            replacement_char=_NOT_UTF8,
        )
        codes, splits = decoded.flat_values, decoded.row_splits
        wrong = tf.reduce_any(codes == _NOT_UTF8)
        check = tf.debugging.Assert(
            ~wrong,
            ["Texts must be UTF-8. Received one with other bytes in it."],
        )
        with tf.control_dependencies([check]):
            characters = self._normalize(codes, splits)
        ids, places = self._find_pieces(characters)
        sources = tf.gather(characters.sources, places)
        piece_splits = tf.searchsorted(sources, splits, out_type=tf.int64)
        ids = tf.cast(ids, tf.int32)
        if not with_offsets:
            return _Pieces(ids, piece_splits, None)
        size = tf.size(characters.codes, tf.int64)
        last = tf.concat([places[1:], [size]], 0)[: tf.size(places)] - 1
        until = tf.gather(characters.ends, last)
        byte_starts = byte_starts.flat_values
        widths = 1 + sum(
            tf.cast(codes >= bound, tf.int64) for bound in (0x80, 0x800, 65536)
        )
        row = _rows_of(piece_splits, tf.size(places))
        base = tf.gather(splits, row)
        spans = tf.stack(
            [
                tf.gather(byte_starts, sources),
                tf.gather(byte_starts + widths, until - 1),
                sources - base,
                until - base,
            ]
        )
        return _Pieces(ids, piece_splits, tf.cast(spans, tf.int32))

    def _normalize(self, codes, splits):
        """Does what `BasicTokenizer` does.

        Args:
            codes: int32 [N], the code points of all chunks.
            splits: int64 [chunks + 1], where the chunks begin among them.

        Returns:
            `_Characters`.
        """
        block = tf.gather(self._rules.blocks, _shift(codes, BLOCK_BITS))
        rules = tf.gather(
            self._rules.rules, block + (codes & (1 << BLOCK_BITS) - 1)
        )
        size = tf.size(codes, tf.int64)
        begins = (rules & (ALONE | SEPARATES)) != 0
        begins |= tf.concat([[True], begins[:-1]], 0)[:size]
        begins = tf.cast(begins, tf.int32)
        begins = tf.concat([begins, [0]], 0)  # Chunks at the end may be empty.
        begins = tf.tensor_scatter_nd_max(
            begins, splits[:, None], tf.ones_like(splits, tf.int32)
        )[:-1]
        words = tf.cumsum(begins)
        if self.do_lower_case:
            rules = tf.cond(
                tf.reduce_any(codes == SIGMA),
                lambda: _form_final_sigmas(codes, rules, words),
                lambda: rules,
            )
        sources = tf.squeeze(tf.where((rules & GONE) == 0), 1)
        kept = tf.gather(rules, sources)
        became = tf.gather(codes, sources) + _shift(kept, FLAG_BITS)
        became += (kept & PUNCTUATION) * PUNCTUATION_IN_MANY
        became, sources = tf.cond(
            tf.reduce_any((kept & MANY) != 0),
            lambda: self._multiply(became, kept, sources),
            lambda: (became, sources),
        )
        out_words = tf.gather(words, sources)
        if self.do_lower_case:
            became = tf.cond(
                tf.reduce_any((rules & MOVES) != 0),
                lambda: self._order_marks(became, out_words, rules, sources),
                lambda: became,
            )
        is_punctuation = became >= PUNCTUATION_IN_MANY
        begins = out_words[1:] != out_words[:-1]
        begins |= is_punctuation[1:] | is_punctuation[:-1]
        begins = tf.concat([[True], begins], 0)[: tf.size(became)]
        ends = sources + 1
        if self.do_lower_case:
            ends = tf.cond(
                tf.reduce_any((rules & ACCENT) != 0),
                lambda: _include_accents(ends, words, rules, sources),
                lambda: ends,
            )
        return _Characters(
            became & (PUNCTUATION_IN_MANY - 1),
            tf.squeeze(tf.where(begins), 1),
            sources,
            ends,
        )

    def _multiply(self, became, kept, sources):
        """Puts all that a character becomes where it is `MANY`."""
        size = tf.size(became)
        number = _shift(kept, FLAG_BITS)
        is_many = (kept & MANY) != 0
        first = tf.where(
            is_many, size + _shift(number, LENGTH_BITS), tf.range(size)
        )
        count = tf.where(is_many, number & (1 << LENGTH_BITS) - 1, 1)
        every = tf.concat([became, self._rules.many], 0)
        places = tf.ragged.range(
            first, first + count, row_splits_dtype=tf.int64
        )
        row = _rows_of(places.row_splits, tf.size(places.flat_values))
        return tf.gather(every, places.flat_values), tf.gather(sources, row)

    def _order_marks(self, became, out_words, rules, sources):
        """Sorts the marks that follow a letter, as NFD does.

        Only those that are no accents are left. An accent that stands still
        keeps those before and behind it apart, although it is gone.
        """
        is_mark = became[:, None] == self._rules.marks
        classes = tf.reduce_sum(
            tf.where(is_mark, self._rules.mark_classes, 0), 1
        )
        stops = tf.cumsum(tf.cast((rules & STOPS) != 0, tf.int32))
        group = tf.cumsum(tf.cast(classes == 0, tf.int32)) + out_words
        group += tf.gather(stops, sources)
        key = tf.cast(group, tf.int64) * 256 + tf.cast(classes, tf.int64)
        return tf.gather(became, tf.argsort(key, stable=True))

    def _find_pieces(self, characters):
        """Returns the ids of all pieces, and where they begin: int64 [P]."""
        codes, starts = characters.codes, characters.token_starts
        ends = tf.concat([starts[1:], [tf.size(codes, tf.int64)]], 0)
        ends = ends[: tf.size(starts)]
        splits = tf.concat([[0], ends], 0)
        tokens = tf.RaggedTensor.from_row_splits(codes, splits, validate=False)
        ids = self._ids.lookup(tf.strings.unicode_encode(tokens, "UTF-8"))
        ids = tf.where(ends - starts > self._longest_word, self._unknown, ids)
        missing = tf.squeeze(tf.where(ids < 0), 1)
        places, more, failed = self._walk(
            codes, tf.gather(starts, missing), tf.gather(ends, missing)
        )
        ids = tf.tensor_scatter_nd_update(
            ids,
            tf.gather(missing, failed)[:, None],
            tf.fill(tf.shape(failed), self._unknown),
        )
        whole = tf.squeeze(tf.where(ids >= 0), 1)
        places = tf.concat([tf.gather(starts, whole), places], 0)
        ids = tf.concat([tf.gather(ids, whole), more], 0)
        order = tf.argsort(places)
        return tf.gather(ids, order), tf.gather(places, order)

    def _walk(self, codes, starts, ends):
        """Finds the longest pieces of tokens, a letter of each at a time.

        Returns:
            For all tokens that can be put together, where the pieces begin and
            their ids; and the numbers of the other tokens. int64 each.
        """
        codes = tf.concat([tf.cast(codes, tf.int64), [0]], 0)
        none = tf.zeros([0], tf.int64)
        token = tf.range(tf.size(starts, tf.int64))
        root = tf.fill(tf.shape(starts), tf.constant(_BEGIN, tf.int64))
        # Active: the token, where the piece begins, where we are, the node,
        # the longest piece up to here and where it ends, the token's end.
        active = tf.stack([token, starts, starts, root, root - 1, starts, ends])
        found = tf.stack([none, none, none])  # Token, place, id.

        def step(active, found, failed):
            token, begin, here, node, best, best_end, end = tf.unstack(active)
            key = node * (1 << _CODE_BITS) + tf.gather(codes, here)
            value = self._tree.lookup(tf.where(here < end, key, -1))
            goes_on = value >= 0
            id_ = (value & (1 << 32) - 1) - 1
            is_piece = goes_on & (id_ >= 0)
            here += 1
            best = tf.where(is_piece, id_, best)
            best_end = tf.where(is_piece, here, best_end)
            stuck = ~goes_on & (best < 0)
            cut = ~goes_on & (best >= 0)
            new = tf.boolean_mask(tf.stack([token, begin, best]), cut, axis=1)
            found = tf.concat([found, new], 1)
            failed = tf.concat([failed, tf.boolean_mask(token, stuck)], 0)
            begin = tf.where(cut, best_end, begin)
            here = tf.where(cut, best_end, here)
            node = tf.where(
                cut, tf.constant(_CONTINUE, tf.int64), _shift(value, 32)
            )
            best = tf.where(cut, tf.constant(-1, tf.int64), best)
            active = tf.stack([token, begin, here, node, best, best_end, end])
            stays = goes_on | (cut & (best_end < end))
            return tf.boolean_mask(active, stays, axis=1), found, failed

        _, found, failed = tf.while_loop(
            lambda active, *_: tf.shape(active)[1] > 0,
            step,
            (active, found, none),
            shape_invariants=(
                tf.TensorShape([7, None]),
                tf.TensorShape([3, None]),
                tf.TensorShape([None]),
            ),
        )
        good = tf.tensor_scatter_nd_update(
            tf.ones_like(starts, tf.bool),
            failed[:, None],
            tf.zeros_like(failed, tf.bool),
        )
        found = tf.boolean_mask(found, tf.gather(good, found[0]), axis=1)
        return found[1], found[2], failed


def _hash_table(keys, values):
    """A table of int64 values; -1 for what is not in it."""
    return tf.lookup.StaticHashTable(
        tf.lookup.KeyValueTensorInitializer(
            keys, tf.constant(values, tf.int64)
        ),
        default_value=-1,
    )


def _shift(numbers, bits):
    """`numbers >> bits`."""
    return tf.bitwise.right_shift(numbers, tf.constant(bits, numbers.dtype))


def _tree_of_pieces(vocab):
    """The letters of all pieces as a tree.

    Returns:
        Keys, int64: node << 21 | code point. Values, int64: the node that
        follows << 32 | 1 + the id of the piece that ends there, or 0.
    """
    nodes: dict[int, int] = {}
    ids: dict[int, int] = {}
    for token, index in vocab.items():
        node, letters = _BEGIN, token
        if token.startswith("##"):  # No word but "#" begins like that.
            node, letters = _CONTINUE, token[2:]
        for letter in letters:
            key = node << _CODE_BITS | ord(letter)
            node = nodes.setdefault(key, len(nodes) + 2)
        ids[node] = index
    keys = np.array(list(nodes), np.int64)
    values = [node << 32 | ids.get(node, -1) + 1 for node in nodes.values()]
    return keys, np.array(values, np.int64)


def _rows_of(splits, size):
    """Returns the row of each of `size` values: int64 [size]."""
    starts = tf.math.bincount(
        tf.cast(splits[1:-1], tf.int32), minlength=size, dtype=tf.int64
    )
    return tf.cumsum(starts[:size])


def _form_final_sigmas(codes, rules, words):
    """Lets a capital sigma at the end of a word become the final form.

    It stands behind a letter with a case and not before one, not counting
    what is skipped: the rule of Unicode, as `str.lower` has it.
    """
    counted = tf.where((rules & SKIPPED) == 0)
    word = tf.gather_nd(words, counted)
    word = tf.concat([[-1], word, [-1]], 0)
    cased = tf.gather_nd((rules & CASED) != 0, counted)
    cased = tf.concat([[False], cased, [False]], 0)
    behind = cased[:-2] & (word[:-2] == word[1:-1])
    before = cased[2:] & (word[2:] == word[1:-1])
    final = tf.scatter_nd(
        counted,
        tf.cast(behind & ~before, tf.int32),
        tf.shape(codes, tf.int64),
    )
    final *= tf.cast(codes == SIGMA, tf.int32)
    change = FINAL_SIGMA - ord("σ")
    return rules + final * (change << FLAG_BITS)


def _include_accents(ends, words, rules, sources):
    """Moves the end of what stands before an accent in its word behind it."""
    accents = tf.squeeze(tf.where((rules & ACCENT) != 0), 1)
    before = tf.searchsorted(sources, accents, out_type=tf.int64) - 1
    same = before >= 0
    accents, before = accents[same], before[same]
    same = tf.gather(words, accents) == tf.gather(
        words, tf.gather(sources, before)
    )
    return tf.tensor_scatter_nd_max(
        ends, before[same][:, None], accents[same] + 1
    )
