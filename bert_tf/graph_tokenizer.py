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
    BLOCK_BITS,
    CASED,
    ENDS_WORD,
    FINAL_SIGMA,
    FLAG_BITS,
    GONE,
    LENGTH_BITS,
    MANY,
    MOVES,
    SIGMA,
    SINGLE,
    SINGLE_CODE,
    SKIPPED,
    SPACE,
    STOPS,
)
from bert_tf.errors import InputError
from bert_tf.tokenization import BasicTokenizer, WordpieceTokenizer

# No UTF-8 text has a surrogate: it marks what could not be decoded.
_NOT_UTF8 = 0xD800
# What is not in the vocabulary.
_NONE = -1
# In the tree of pieces, so many bits hold a letter, or 1 + the id of a piece;
# those above hold a node. Two nodes are roots: at a token's begin, and further
# on in it. The last is no letter, and stands behind each token.
_ID_BITS = 21
_ID_MASK = (1 << _ID_BITS) - 1
_BEGIN, _CONTINUE = 1, 2
_STOP = np.int64(_ID_MASK)
# So many letters are taken before it is looked which pieces have ended.
_STRIDE = 4


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
        size = max(self.vocab.values()) + 1
        self._space = np.int64(size)  # An id that no token has.
        # For the tokens that are a piece wherever they are a chunk, the table
        # has the id, for others (##s, [UNK]) one below `_NONE`.
        basic = BasicTokenizer(self.do_lower_case)
        values, spans = {}, np.zeros((4, size), np.int32)
        for token, index in self.vocab.items():
            is_chunk = len(token) <= self._longest_word and (
                basic.tokenize(token) == [token]
            )
            values[token] = index if is_chunk else _NONE - 1 - index
            spans[:, index] = 0, len(token.encode()), 0, len(token)
        self._ids = _hash_table(list(values), list(values.values()), _NONE)
        self._spans = tf.constant(spans)
        self._tree = _hash_table(*_tree_of_pieces(self.vocab), 0)

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
            known = ids >= 0
            if literal is not None:
                ids = tf.where(is_literal, np.int64(self.vocab[literal]), ids)
                known |= is_literal
            others = tf.where(~known)
            rest, rows = tf.unique(tf.gather_nd(words, others), tf.int64)
            pieces = self._split_chunks(rest, with_offsets)
            # Each chunk's pieces lie in a row of all of them: the tokens of
            # the vocabulary first.
            splits_of_rest = pieces.splits + self._space
            first = tf.tensor_scatter_nd_update(
                ids, others, tf.gather(splits_of_rest, rows)
            )
            last = tf.tensor_scatter_nd_update(
                ids + 1, others, tf.gather(splits_of_rest, rows + 1)
            )
            places = tf.ragged.range(first, last, row_splits_dtype=tf.int64)
            row_splits = tf.gather(places.row_splits, splits)

            def rag(values):
                return tf.RaggedTensor.from_row_splits(
                    values, row_splits, validate=False
                )

            own = tf.range(tf.constant(self._space, tf.int32))
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
        # Letters of ASCII can be lower-cased before all else, which changes
        # nothing for others: more chunks are in the vocabulary then.
        lower = tf.strings.lower if self.do_lower_case else tf.identity
        if literal is None:
            return tf.strings.split(lower(texts), " "), None
        if literal not in self.vocab:
            raise InputError(
                "`literal` must be a token of the vocabulary. Received: "
                f"literal={literal!r}"
            )
        texts = tf.strings.regex_replace(
            texts, re.escape(literal), f" {literal} "
        )
        chunks = tf.strings.split(texts, " ")
        words = chunks.flat_values
        return chunks.with_flat_values(lower(words)), words == literal

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
        codes, byte_starts = tf.strings.unicode_decode_with_offsets(
            tf.strings.reduce_join(chunks, separator=" "),
            "UTF-8",
            errors="replace",
            replacement_char=_NOT_UTF8,
        )
        check = tf.debugging.Assert(
            tf.reduce_all(codes != _NOT_UTF8),
            ["Texts must be UTF-8. Received one with other bytes in it."],
        )
        with tf.control_dependencies([check]):
            characters = self._normalize(codes)
        ids, lasts = self._find_pieces(characters)
        firsts = tf.concat([[0], lasts + 1], 0)[:-1]
        real = tf.squeeze(tf.where(ids != self._space), 1)
        ids = tf.cast(tf.gather(ids, real), tf.int32)
        firsts, lasts = tf.gather(firsts, real), tf.gather(lasts, real)
        starts = tf.gather(characters.sources, firsts)
        spaces = tf.squeeze(tf.where(codes == SPACE), 1)
        splits = tf.searchsorted(starts, spaces, out_type=tf.int64)
        splits = tf.concat([[0], splits, [tf.size(ids, tf.int64)]], 0)
        if not with_offsets:
            return _Pieces(ids, splits, None)
        ends = tf.gather(characters.ends, lasts)
        widths = 1 + sum(
            tf.cast(codes >= bound, tf.int64) for bound in (0x80, 0x800, 65536)
        )
        bases = tf.concat([[0], spaces + 1], 0)
        row = _rows_of(splits, tf.size(ids))
        byte_bases = tf.concat([[0], tf.gather(byte_starts, spaces) + 1], 0)
        base, byte_base = tf.gather(bases, row), tf.gather(byte_bases, row)
        spans = tf.stack(
            [
                tf.gather(byte_starts, starts) - byte_base,
                tf.gather(byte_starts + widths, ends - 1) - byte_base,
                starts - base,
                ends - base,
            ]
        )
        return _Pieces(ids, splits, tf.cast(spans, tf.int32))

    def _normalize(self, codes):
        """Does what `BasicTokenizer` does.

        Args:
            codes: int32 [N], code points.

        Returns:
            `_Characters`.
        """
        block = tf.gather(self._rules.blocks, _shift(codes, BLOCK_BITS))
        rules = tf.gather(
            self._rules.rules, block + (codes & (1 << BLOCK_BITS) - 1)
        )
        if self.do_lower_case:
            rules = tf.cond(
                tf.reduce_any(codes == SIGMA),
                lambda: _form_final_sigmas(codes, rules),
                lambda: rules,
            )
        sources = tf.squeeze(tf.where((rules & GONE) == 0), 1)
        became = codes + _shift(rules, FLAG_BITS)
        became = tf.gather(became + (rules & SINGLE) * SINGLE_CODE, sources)
        became, sources = tf.cond(
            tf.reduce_any((rules & MANY) != 0),
            lambda: self._multiply(became, sources, rules),
            lambda: (became, sources),
        )
        ends = sources + 1
        if self.do_lower_case:
            became = tf.cond(
                tf.reduce_any((rules & MOVES) != 0),
                lambda: self._order_marks(became, sources, rules),
                lambda: became,
            )
            ends = tf.cond(
                tf.reduce_any((rules & ACCENT) != 0),
                lambda: _include_accents(ends, sources, rules),
                lambda: ends,
            )
        single = became >= SINGLE_CODE
        begins = tf.concat([[True], single[1:] | single[:-1]], 0)
        begins = begins[: tf.size(became)]
        return _Characters(
            became & (SINGLE_CODE - 1),
            tf.squeeze(tf.where(begins), 1),
            sources,
            ends,
        )

    def _multiply(self, became, sources, rules):
        """Puts all that a character becomes where it is `MANY`."""
        size = tf.size(became)
        kept = tf.gather(rules, sources)
        number, is_many = _shift(kept, FLAG_BITS), (kept & MANY) != 0
        first = size + _shift(number, LENGTH_BITS)
        first = tf.where(is_many, first, tf.range(size))
        count = tf.where(is_many, number & (1 << LENGTH_BITS) - 1, 1)
        every = tf.concat([became, self._rules.many], 0)
        places = tf.ragged.range(
            first, first + count, row_splits_dtype=tf.int64
        )
        row = _rows_of(places.row_splits, tf.size(places.flat_values))
        return tf.gather(every, places.flat_values), tf.gather(sources, row)

    def _order_marks(self, became, sources, rules):
        """Sorts the marks that follow a letter, as NFD does.

        Only those that are no accents are left. An accent that stands still
        keeps those before and behind it apart, although it is gone.
        """
        is_mark = became[:, None] == self._rules.marks
        classes = tf.where(is_mark, self._rules.mark_classes, 0)
        classes = tf.reduce_sum(classes, 1)
        stops = tf.cumsum(tf.cast((rules & STOPS) != 0, tf.int32))
        group = tf.cumsum(tf.cast(classes == 0, tf.int32))
        group += tf.gather(stops, sources)
        key = tf.cast(group, tf.int64) * 256 + tf.cast(classes, tf.int64)
        return tf.gather(became, tf.argsort(key, stable=True))

    def _find_pieces(self, characters):
        """Returns the ids of all pieces, and their last characters: int64 [P].

        Spaces are pieces here, with the id `_space`, so that each piece begins
        where the one before it ends.
        """
        codes, starts = characters.codes, characters.token_starts
        size = tf.size(codes, tf.int64)
        splits = tf.concat([starts, [size]], 0)
        ends = splits[1:]
        tokens = tf.RaggedTensor.from_row_splits(codes, splits, validate=False)
        ids = self._ids.lookup(tf.strings.unicode_encode(tokens, "UTF-8"))
        # Found, but no chunk: see `_make_tables`.
        ids = tf.where(ids < _NONE, _NONE - 1 - ids, ids)
        ids = tf.where(ends - starts > self._longest_word, self._unknown, ids)
        ids = tf.where(tf.gather(codes, starts) == SPACE, self._space, ids)
        missing = tf.squeeze(tf.where(ids < 0), 1)
        more, lasts, failed = self._walk(
            codes, tf.gather(starts, missing), tf.gather(ends, missing)
        )
        failed = tf.gather(missing, failed)
        ids = tf.tensor_scatter_nd_update(
            ids, failed[:, None], tf.fill(tf.shape(failed), self._unknown)
        )
        whole = tf.squeeze(tf.where(ids >= 0), 1)
        ids = tf.concat([tf.gather(ids, whole), more], 0)
        lasts = tf.concat([tf.gather(ends, whole) - 1, lasts], 0)
        ids = tf.scatter_nd(lasts[:, None], ids + 1, size[None])
        lasts = tf.squeeze(tf.where(ids > 0), 1)
        return tf.gather(ids, lasts) - 1, lasts

    def _walk(self, codes, starts, ends):
        """Finds the longest pieces of tokens, a letter of each at a time.

        Returns:
            Of all tokens that can be put together, the ids of the pieces and
            their last characters; and the numbers of the other tokens. int64.
        """
        places = tf.ragged.range(starts, ends + 1, row_splits_dtype=tf.int64)
        splits, places = places.row_splits, places.flat_values
        codes = tf.concat([tf.cast(codes, tf.int64), [_STOP]], 0)
        letters = tf.tensor_scatter_nd_update(
            tf.gather(codes, places),
            splits[1:, None] - 1,
            tf.fill(tf.shape(starts), _STOP),
        )
        letters = tf.concat([letters, [_STOP] * _STRIDE], 0)

        def step(here, node, best, found):
            # `best` has the place above and 1 + the id below; if there is no
            # piece yet, where the search began, as a negative number.
            for _ in range(_STRIDE):
                value = self._tree.lookup(node + tf.gather(letters, here))
                piece = value & _ID_MASK
                here += 1
                longer = here * (_ID_MASK + 1) + piece
                best = tf.where(piece > 0, longer, best)
                node = value - piece  # 0, where nothing follows, stays 0.
            goes, ends = node > 0, tf.boolean_mask(best, node <= 0)
            found = tf.concat([found, ends], 0)
            rest = tf.boolean_mask(_shift(ends, _ID_BITS), ends > 0)
            rest = tf.boolean_mask(rest, tf.gather(letters, rest) != _STOP)
            root = tf.zeros_like(rest) + (_CONTINUE << _ID_BITS)
            here = tf.concat([tf.boolean_mask(here, goes), rest], 0)
            node = tf.concat([tf.boolean_mask(node, goes), root], 0)
            best = tf.concat([tf.boolean_mask(best, goes), -1 - rest], 0)
            return here, node, best, found

        here = splits[:-1]
        root = tf.zeros_like(here) + (_BEGIN << _ID_BITS)
        *_, found = tf.while_loop(
            lambda here, *_: tf.size(here) > 0,
            step,
            (here, root, -1 - here, tf.zeros([0], tf.int64)),
            shape_invariants=(tf.TensorShape([None]),) * 4,
        )
        failed = -1 - tf.boolean_mask(found, found < 0)
        failed = tf.searchsorted(splits, failed, "right", tf.int64) - 1
        found = tf.boolean_mask(found, found > 0)
        ends = _shift(found, _ID_BITS)
        row = tf.searchsorted(splits, ends, out_type=tf.int64) - 1
        good = tf.tensor_scatter_nd_update(
            tf.ones_like(starts, tf.bool),
            failed[:, None],
            tf.zeros_like(failed, tf.bool),
        )
        good = tf.gather(good, row)
        ids = tf.boolean_mask(found & _ID_MASK, good) - 1
        return ids, tf.gather(places, tf.boolean_mask(ends, good) - 1), failed


def _hash_table(keys, values, default):
    """A table of int64 values, and `default` for what is not in it."""
    initializer = tf.lookup.KeyValueTensorInitializer(
        tf.constant(keys), tf.constant(values, tf.int64)
    )
    return tf.lookup.StaticHashTable(initializer, default)


def _shift(numbers, bits):
    """`numbers >> bits`."""
    return tf.bitwise.right_shift(numbers, tf.constant(bits, numbers.dtype))


def _tree_of_pieces(vocab):
    """The letters of all pieces as a tree.

    Returns:
        Keys, int64: a node, and a letter that follows. Values, int64: the next
        node, and 1 + the id of the piece that ends there, or 0.
    """
    nodes: dict[int, int] = {}
    ids: dict[int, int] = {}
    for token, index in vocab.items():
        node, letters = _BEGIN, token
        if token.startswith("##"):  # No word but "#" begins like that.
            node, letters = _CONTINUE, token[2:]
        for letter in letters:
            key = node << _ID_BITS | ord(letter)
            node = nodes.setdefault(key, len(nodes) + 3)
        ids[node] = index
    values = [n << _ID_BITS | ids.get(n, -1) + 1 for n in nodes.values()]
    return np.array(list(nodes), np.int64), np.array(values, np.int64)


def _rows_of(splits, size):
    """Returns the row of each of `size` values: int64 [size]."""
    starts = tf.math.bincount(
        tf.cast(splits[1:-1], tf.int32), minlength=size, dtype=tf.int64
    )
    return tf.cumsum(starts[:size])


def _form_final_sigmas(codes, rules):
    """Lets a capital sigma at the end of a word become the final form.

    It stands behind a letter with a case and not before one, not counting
    what is skipped: the rule of Unicode, as `str.lower` has it. Nothing that
    ends a word has a case or is skipped.
    """
    counted = tf.where((rules & SKIPPED) == 0)
    cased = tf.gather_nd((rules & CASED) != 0, counted)
    cased = tf.concat([[False], cased, [False]], 0)
    final = tf.scatter_nd(
        counted,
        tf.cast(cased[:-2] & ~cased[2:], tf.int32),
        tf.shape(codes, tf.int64),
    )
    final *= tf.cast(codes == SIGMA, tf.int32)
    return rules + final * (FINAL_SIGMA - ord("σ") << FLAG_BITS)


def _include_accents(ends, sources, rules):
    """Moves the end of what stands before an accent in its word behind it."""
    accents = tf.squeeze(tf.where((rules & ACCENT) != 0), 1)
    before = tf.searchsorted(sources, accents, out_type=tf.int64) - 1
    accents = tf.boolean_mask(accents, before >= 0)
    before = tf.boolean_mask(before, before >= 0)
    rule = tf.gather(rules, tf.gather(sources, before))
    ends_word = (rule & ENDS_WORD) != 0
    return tf.tensor_scatter_nd_max(
        ends,
        tf.boolean_mask(before, ~ends_word)[:, None],
        tf.boolean_mask(accents, ~ends_word) + 1,
    )
